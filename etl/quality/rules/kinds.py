"""The kinds of check that a rule may name, and their parameters.

A rule in `mappings/rules/*.yaml` has `check: <kind>` and the kind's parameters, whose names are
written with hyphens. The kinds for provider directories only come last. The checks themselves are
in `etl.quality.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Final, Literal, TypeAlias, dataclass_transform

from pydantic import ConfigDict

from etl.documents.models import Flag, Mistake, Model, RawText, Whole
from etl.errors import nearest
from etl.model.canonical_tables import CLAIM_TABLES, HEADER_OF, HEADERS, TABLES, FieldType
from etl.quality.rules import parameters as p
from etl.quality.rules.parameters import RuleNames, column_mistakes, hyphenate


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on one column of the row, or of the header or coverage it belongs to.

    Attributes:
        above: `claim`, `prior_auth` or `coverage` if the column is one of that parent row; else "".
        column: the column.
        words: the cell must be one of these, in lower case; `""` means an empty cell. Empty if only
            `filled` counts.
        filled: without words: whether the cell must be filled or empty.
    """

    above: str
    column: str
    words: frozenset[str]
    filled: bool


Condition: TypeAlias = tuple[Clause, ...]
"""True if all clauses are; an empty condition is always true."""


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class RuleKind(Model):
    """Kind of a rule: the check behind it. Subclasses become frozen dataclasses.

    Attributes:
        check: its name in rule files; by default the class name with hyphens.
        reads: columns that its tables must have, besides those that a rule names.
        only: the tables that it can check; empty: any.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", alias_generator=hyphenate)
    check: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    only: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, check: str | None = None) -> None:
        """Register the kind under its name; classes with "" are groups of kinds."""
        dataclass(frozen=True)(cls)
        cls.check = (
            re.sub(r"(?<=.)(?=[A-Z])", "-", cls.__name__).lower() if check is None else check
        )
        if cls.check:
            KINDS[cls.check] = cls

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return its parameters and the fields of every rule."""
        return (*map(hyphenate, super().known_keys()), *RULE_KEYS)

    def mistakes(self, context: RuleNames) -> Iterator[Mistake]:
        """Yield tables that the kind can't check, and missing columns."""
        for table in context.tables:
            if self.only and table not in self.only:
                what = f"this check is for table {self.only[0]!r}, not for {table!r}"
                yield Mistake("rule-column", what, at=("table",))
        for name in self.reads:
            yield from column_mistakes(name, context.tables, location=("table",))


KINDS: Final[dict[str, type[RuleKind]]] = {}
"""Every kind by its name in rule files."""
RULE_KEYS: Final = (
    *("id", "table", "check", "severity", "says", "spoils"),
    *("when", "unless", "blanks", "firm"),
)
"""Fields of every rule, beside the parameters of its kind."""


class CellKind(RuleKind, check=""):
    """A kind that checks one cell; the first to run."""


class RowKind(RuleKind, check=""):
    """A kind that checks one row; it sees the cells that earlier checks left."""


class RelationKind(RuleKind, check=""):
    """A kind that checks rows together; it sees the rows that earlier checks left."""


class Reading(RuleKind):
    """Raised by `sources` while a file is read; nothing is looked for here."""


class Unmet(RuleKind):
    """The row would make a resource that breaks its profile; found in what was mapped.

    Attributes:
        obligations: their ids (`c4bb.oral.adjudication`), `*` standing for any characters; they
            are reported under this rule instead of their own.
    """

    obligations: p.Obligations

    def names(self, rule_id: str) -> bool:
        """Return whether the patterns include an obligation."""
        return any(fnmatchcase(rule_id, pattern) for pattern in self.obligations)


class Unreadable(RuleKind):
    """A filled cell cannot be read as the type of its column. The cell is absent afterwards.

    Attributes:
        type: a `FieldType`, by its value. The rule covers every column of that type, but for those
            that another rule lists.
        columns: instead of a type: the rule covers only these columns of its tables.
        beyond_cents: of amounts, only those with more than two fraction digits that matter; the
            rule without it covers the other ones.
    """

    type: p.ColumnType = ""
    columns: p.Columns = ()
    beyond_cents: Flag = False

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield a missing type, and `beyond_cents` with a type other than money."""
        yield from super().mistakes(context)
        if bool(self.type) == bool(self.columns):
            yield Mistake("rule-key", "this check needs either 'type' or 'columns'", at=("check",))
        if self.beyond_cents and self.type != FieldType.MONEY.value:
            yield Mistake("rule-value", "'beyond-cents' is for type money", at=("beyond-cents",))


class Rewrite(CellKind):
    r"""A cell that matches is put right.

    Attributes:
        columns: which cells.
        pattern: RE2.
        becomes: replacement; `\1` is the first group.
    """

    columns: p.Columns
    pattern: p.Pattern
    becomes: RawText

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield an invalid replacement, such as a missing group."""
        yield from super().mistakes(context)
        reason = p.replacement_mistake(self.pattern, self.becomes)
        if reason:
            yield Mistake("rule-value", f"no replacement: {reason}", at=("becomes",))


class Forbidden(CellKind):
    """A cell fails where it matches `pattern` (RE2)."""

    columns: p.Columns
    pattern: p.Pattern


class Allowed(CellKind):
    """A cell fails where it is none of what is allowed. An empty cell passes.

    Attributes:
        columns: which cells.
        values: allowed words; another spelling of case is put into this one.
        pattern: allowed shape (RE2).
        crosswalk: name of a crosswalk; its source words are allowed, in any case.
        each: whether a list's values are checked one by one.
    """

    columns: p.Columns
    values: p.RawTexts = ()
    pattern: p.Pattern = ""
    crosswalk: p.CrosswalkName = ""
    each: Flag = False

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield that no allowed values are configured."""
        yield from super().mistakes(context)
        if not (self.values or self.pattern or self.crosswalk):
            what = "this check needs values, pattern or crosswalk"
            yield Mistake("rule-key", what, is_absence=True)


class IcdVersion(CellKind):
    """No version of an ICD code is stated, and the day of its claim says ICD-9; it is filled in.

    The discharge decides of inpatient claims (else the statement's end), the statement's start of
    all others. A code that only ICD-10 can have is none of ICD-9, whatever the day.

    Attributes:
        ten_from: the first day of ICD-10.
        contradicts: fail versions instead that are not used on any day of the claim.
    """

    ten_from: p.Day
    contradicts: Flag = False
    reads: ClassVar = ("claim_id", "code", "icd_version")


class IcdPoint(CellKind):
    """An ICD code has its point in the wrong place; it is put right."""

    reads: ClassVar = ("code", "icd_version")


class IcdShape(CellKind):
    """An ICD code does not look like one of its version.

    Attributes:
        impossible: fail only what cannot be one at all, not what is merely of unusual shape.
    """

    impossible: Flag = False
    reads: ClassVar = ("code", "icd_version")


class Npi(CellKind):
    """A cell is no National Provider Identifier: not 10 digits, or an invalid check digit.

    Attributes:
        columns: which cells.
        only_ten_digits: check only cells of 10 digits: the column holds other ids too.
        unassigned: fail the NPIs instead that begin with a digit that none given out begins with.
    """

    columns: p.Columns
    only_ten_digits: Flag = False
    unassigned: Flag = False


class Sentinel(CellKind):
    """A date stands for "none", as systems write it that cannot leave a date empty.

    Attributes:
        days: which days, `YYYY-MM-DD`.
        columns: which cells; every date where empty.
    """

    days: p.Days
    columns: p.Dates = ()


class NotBefore(CellKind):
    """A date is earlier than can be."""

    columns: p.Dates
    day: p.Day


class NotAfterExtract(CellKind):
    """A date or instant is later than the day of the extract (its `as_of`; else not looked at)."""

    columns: p.DatesOrTimestamps


class AtLeast(CellKind):
    """A number is smaller than `least`."""

    columns: p.Numbers
    least: Whole


class Required(RowKind):
    """A compulsory cell is empty, or could not be read."""


class Order(RowKind):
    """Two dates or instants of a row stand in the wrong order; equal ones pass.

    Two instants are compared as such; a day and an instant by the day, as written.

    Attributes:
        pairs: `earlier_column <= later_column`, one or more.
        apart: fail pairs instead of which the second is more than so many days later; 0: none.
        hours: fail pairs of instants instead of which the second is more than so many hours later;
            0: none.
    """

    pairs: p.DatePairs
    apart: Whole = 0
    hours: Whole = 0


class NotAbove(RowKind):
    """A number of a row is greater than another one; equal ones pass.

    Attributes:
        pairs: `smaller_column <= greater_column`, one or more.
    """

    pairs: p.NumberPairs


class Equation(RowKind):
    """An amount is not the sum it should be. Absent parts count as nothing.

    Attributes:
        total: the amount; rows without it pass.
        plus: amounts added.
        minus: amounts taken off.
        needs: rows without all of these pass too.
        at_most: fail only totals greater than the sum, both without their sign.
    """

    total: p.Amount
    plus: p.Amounts
    minus: p.Amounts = ()
    needs: p.Columns = ()
    at_most: Flag = False


class AnyFilled(RowKind, check="one-of"):
    """None of the columns is filled."""

    columns: p.Columns


class Together(RowKind):
    """More than one of the columns is filled."""

    columns: p.Columns


class UnequalLists(RowKind):
    """A list has values, but not as many as the one that it stands beside.

    Attributes:
        column: the list.
        beside: the other one.
    """

    column: p.ColumnName
    beside: p.ColumnName


class Unexpected(RowKind):
    """One of the columns is filled, though (the rule's `when`) it should not be."""

    columns: p.Columns


class Misplaced(RowKind):
    """The row itself should not be there: the rule's `when` says where."""


class Duplicate(RuleKind):
    """Another row has the same key.

    Attributes:
        of: `identical` (same content: one row stays), `older` (another is newer by last_updated
            and stays) or `conflict` (it is not known which is right: none stays).
    """

    of: Literal["identical", "older", "conflict"]


class KeyOfTwoMembers(RuleKind):
    """Rows of two members have the same key: its owner is not known."""

    reads: ClassVar = ("member_id",)


class Repeated(RelationKind):
    """A further row says the same.

    Attributes:
        columns: what is compared, without regard to case, blanks, hyphens, dots and brackets.
        within: the column with the owner: rows of one owner are compared.
        also: columns of the row's own member that are compared with the first of `columns`.
    """

    columns: p.Columns
    within: p.ColumnName
    also: p.MemberColumns = ()
    reads: ClassVar = ("sequence",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables whose rows belong to no member."""
        yield from super().mistakes(context)
        if self.also:
            yield from p.relation_mistakes(context.tables, "member", "also")


class NoFirst(RelationKind):
    """The first row of a claim by its sequence, those that are rejected aside, is not number 1."""

    reads: ClassVar = ("claim_id", "sequence")


class Orphan(RelationKind):
    """The row that this one belongs to is not there.

    Attributes:
        parent: table of that row.
        by: the column that names it; for `claim_line` also `line_number`.
    """

    parent: p.Parent
    by: p.ColumnName

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables without this parent, and columns that don't refer to it."""
        yield from super().mistakes(context)
        keys = p.PARENT_KEYS[self.parent]
        if self.by in keys:
            yield from p.relation_mistakes(context.tables, self.parent, "parent")
        else:
            what = f"{self.parent!r} is named by {' and '.join(keys)}, not by {self.by!r}"
            yield Mistake("rule-column", what, nearest(self.by, keys), at=("by",))


class Childless(RelationKind):
    """No row of another table belongs to this one.

    Attributes:
        child: that table.
        filled: only rows with this column filled count.
    """

    child: p.Child
    filled: RawText = ""

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables that aren't parents of the child table."""
        yield from super().mistakes(context)
        for table in context.tables:
            if table in p.PARENT_KEYS:
                yield from p.relation_mistakes([self.child], table, "child")
                if self.filled:
                    yield from p.column_mistakes(self.filled, [self.child], location=("filled",))
            else:
                what = f"no rows of others belong to {table!r}"
                yield Mistake("rule-column", what, at=("table",))


class Disagrees(RelationKind):
    """A cell says otherwise than the row that its row names, or than other cells of its own row.

    It fails where it is none of what it is compared with, of which one cell at least is filled.
    Numbers are compared as numbers, text without regard to case, all else as it stands.

    Attributes:
        columns: the cells.
        parent: table of the other row; the row itself where empty.
        against: columns of that row; those of the same name where empty.
        crosswalk: words to which it gives one answer say the same.
        without_line_amounts: only rows of claims of which no line carries an amount.
    """

    columns: p.Columns
    parent: p.Parent = ""
    against: p.RawTexts = ()
    crosswalk: p.CrosswalkName = ""
    without_line_amounts: Flag = False

    def compared(self, column: str) -> tuple[str, ...]:
        """Return the columns of the other row that a column is compared with."""
        return self.against or (column,)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables without this parent, unknown columns, and missing comparisons."""
        yield from super().mistakes(context)
        if self.parent:
            yield from p.relation_mistakes(context.tables, self.parent, "parent")
        elif not self.against:
            yield Mistake("rule-key", "this check needs 'parent' or 'against'", is_absence=True)
        key = "against" if self.against else "columns"
        tables = [self.parent] if self.parent else context.tables
        for column in self.against or self.columns:
            yield from p.column_mistakes(column, tables, location=(key,))
        if self.without_line_amounts and not set(context.tables) <= {"claim", *CLAIM_TABLES}:
            yield Mistake("rule-column", "the table belongs to no claim", at=("table",))


class OfAnother(RelationKind):
    """The coverage that the row names belongs to another member than the claim."""

    only: ClassVar = ("claim", "claim_other_payer", "prior_auth")
    reads: ClassVar = ("coverage_id",)


class Outside(RelationKind):
    """A date lies outside the period of a row above.

    Attributes:
        column: the date.
        above: the tables on the way up, the last one holding the period.
        start: its first day; not checked where empty.
        end: its last day; not checked where empty.
    """

    column: p.DateName
    above: p.Parents
    start: RawText = ""
    end: RawText = ""

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield invalid parents on the way up, and a missing or unknown period."""
        yield from super().mistakes(context)
        below = context.tables
        for parent in self.above:
            yield from p.relation_mistakes(below, parent, "above")
            below = (parent,)
        if not (self.start or self.end):
            yield Mistake("rule-key", "this check needs 'start' or 'end'", is_absence=True)
        for key, name in (("start", self.start), ("end", self.end)):
            if name:
                yield from p.column_mistakes(name, self.above[-1:], p.DATES, location=(key,))


class SumOfLines(RelationKind):
    """An amount of the header is not the sum of its lines, category by category."""

    only: ClassVar = ("claim",)


class SumOfPayments(RelationKind):
    """Payments of other payers, by their rows, are not what the claim or the line states."""

    only: ClassVar = ("claim_other_payer",)


class NoAmount(RelationKind):
    """Neither the claim nor any of its lines carries an amount.

    Attributes:
        summed: lines do, and only the claim itself states none: its totals are their sums.
    """

    summed: Flag = False
    only: ClassVar = ("claim",)


class UnlikeLines(RelationKind):
    """The line has nothing that another line of its claim has.

    Attributes:
        columns: what a line may have.
        child: a table of which it may have rows.
    """

    columns: p.Columns
    child: p.Child
    only: ClassVar = ("claim_line",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield a child table that isn't one of claim lines."""
        yield from super().mistakes(context)
        yield from p.relation_mistakes([self.child], "claim_line", "child")


class NamesNoLine(RelationKind):
    """`column` names a line that the claim or prior authorization does not have."""

    column: p.ColumnName
    only: ClassVar = tuple(HEADER_OF)


class NotInDirectory(RelationKind):
    """An id names nobody in the directory's tables.

    Attributes:
        columns: the ids.
        of: `organization`, `practitioner`, or both.
        listed: only ids that the other table lists.
    """

    columns: p.Columns
    of: p.DirectoryTables
    listed: p.DirectoryTables = ()


class CardOfAnother(RelationKind):
    """`card_member_id` is the member id of somebody else."""

    reads: ClassVar = ("card_member_id", "member_id")


class UnknownClaim(RelationKind):
    """A claim named as earlier or later version, or as authorized, is none that can be one.

    Attributes:
        columns: those that name it, or lists of them.
        fault: `absent`: it is nowhere in the extract; `itself`: it is the claim itself; `another`:
            it is in the extract, and another member's.
    """

    columns: p.Columns
    fault: Literal["absent", "itself", "another"] = "absent"
    reads: ClassVar = ("member_id",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables without a claim id to compare with."""
        yield from super().mistakes(context)
        if self.fault == "itself":
            yield from column_mistakes("claim_id", context.tables, location=("table",))


class HangsOnRejected(RuleKind):
    """The member, coverage, claim, prior authorization or line of the row was rejected."""


class LineRejected(RuleKind):
    """A line was rejected, so that the money of its claim would not add up."""

    only: ClassVar = HEADERS


class NotActive(RowKind):
    """The row is not in force: it is counted as withdrawn, and not published.

    Rows below a claim or prior authorization are withdrawn with it.

    Attributes:
        flag: a column with N then.
        status: a column with a word that is not among `in-force` then; empty is in force.
        in_force: the words of `status`.
        until: a date that is before the day of the extract then.
    """

    flag: p.ColumnName = ""
    status: p.ColumnName = ""
    in_force: p.RawTexts = ()
    until: p.DateName = ""


class PastMidnight(RowKind):
    """A time of day is before the one that it should follow.

    Attributes:
        opens: column with the earlier time, as HH:MM.
        closes: column with the later one.
    """

    opens: p.ColumnName
    closes: p.ColumnName


class NamesNobody(RuleKind):
    """A column names a row that is not there, or is not published.

    With a severity that rejects, the row goes with what it refers to. Otherwise the reference is
    left out, of a list that one alone.

    Attributes:
        columns: one key each, or a list of them.
        of: the table that the keys belong to.
        along: columns that hold for what is named alone, and are left out with it.
        within: columns of both tables that the key begins with, where it has several; of lists
            there are none.
    """

    columns: p.Columns
    of: p.Child
    along: p.Columns = ()
    within: p.Columns = ()


class WithdrawnName(RuleKind):
    """A list holds a name of which a withdrawn or rejected row of another table says more.

    The name is left out of the list.

    Attributes:
        column: the list.
        by: that table: its key is the key of the row, then the name.
    """

    column: p.ColumnName
    by: p.Child


class Circle(RuleKind):
    """A chain of names leads back to where it began; its last link is left out.

    Attributes:
        column: that names another row of the table.
    """

    column: p.ColumnName


class HangsOnWithdrawn(RuleKind):
    """A row that the row belongs to is not in force: the row is withdrawn with it."""

    only: ClassVar = ("directory_organization",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield nothing: this kind checks all tables of a provider directory."""
        del context
        return iter(())


class Unnamed(RelationKind):
    """No row of another table names this one.

    Attributes:
        named_in: that table and its column (`table.column`): one name or a list of them.
    """

    named_in: RawText

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield an unknown column."""
        yield from super().mistakes(context)
        yield from _check_columns_exist([self.named_in], "named-in")


class NoPlace(RelationKind):
    """None of the columns is filled, and the row is no area that others name.

    Attributes:
        columns: cells with its location.
        areas: lists of other tables (`table.column`) that name areas.
    """

    columns: p.Columns
    areas: p.RawTexts = ()

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield unknown columns."""
        yield from super().mistakes(context)
        yield from _check_columns_exist(self.areas, "areas")


class SharedValue(RelationKind):
    """Another row has the same value.

    Attributes:
        column: the value.
        or_key: a key of another row counts as well.
    """

    column: p.ColumnName
    or_key: Flag = False


class Stale(RelationKind):
    """The row was last updated longer ago than so many days before the day of the extract."""

    days: Whole


class Elsewhere(RelationKind):
    """A ZIP code or a position lies outside the state that the row names.

    Attributes:
        crosswalk: state -> `zips` (first digits, `010-027 055`), `south`, `north`, `west`, `east`.
        columns: `postal_code`, or `latitude` and `longitude`.
    """

    crosswalk: p.CrosswalkName
    columns: p.Columns
    reads: ClassVar = ("state",)


def _check_columns_exist(names: Iterable[str], key: str) -> Iterator[Mistake]:
    """Yield names that aren't an existing `table.column`."""
    for name in names:
        table, _, column = name.partition(".")
        if table not in TABLES or TABLES[table].column(column) is None:
            yield Mistake("rule-column", f"no column {name!r}", at=(key,))
