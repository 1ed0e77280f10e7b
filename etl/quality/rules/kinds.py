"""The kinds of check that a rule may name, and their parameters.

A rule in `mappings/rules/*.yaml` has `check: <kind>` and the kind's parameters, whose names are
written with hyphens. The kinds for data without members come last. The checks themselves are
in `etl.quality.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Final, Literal, TypeAlias, dataclass_transform

from pydantic import ConfigDict

from etl.documents.models import Flag, Mistake, Model, RawText, Whole
from etl.errors import nearest
from etl.model.canonical_tables import CLAIM_TABLES, HEADER_OF, HEADERS, FieldType
from etl.quality.rules import parameters as p
from etl.quality.rules.parameters import RuleNames, column_mistakes, hyphenate


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on one column of the row, or of the header or coverage it belongs to.

    Attributes:
        above: the table of the parent row with the column; "" for the row's own.
        column: the column.
        words: allowed words, in lower case; `""` means an empty cell. If there are none, only
            `filled` counts.
        filled: whether the cell must be filled, or empty.
        pattern: regular expression (RE2) that the cell must match; "" for none.
    """

    above: str
    column: str
    words: frozenset[str]
    filled: bool
    pattern: str = ""


Condition: TypeAlias = tuple[Clause, ...]
"""True if all clauses are; an empty condition is always true."""


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class RuleKind(Model):
    """A kind of rule, with the parameters of its check. Subclasses become frozen dataclasses.

    Attributes:
        check: name of the kind in rule files; by default the class name with hyphens.
        reads: columns that the rule's tables must have, besides those that its parameters name.
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
                problem = f"this check is for table {self.only[0]!r}, not for {table!r}"
                yield Mistake("rule-column", problem, at=("table",))
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
    """A kind that checks single cells. Runs first."""


class RowKind(RuleKind, check=""):
    """A kind that checks single rows, without the cells that cell kinds blanked."""


class RelationKind(RuleKind, check=""):
    """A kind that compares rows, without those that earlier checks rejected."""


class Reading(RuleKind):
    """A finding that `etl.sources` reports while it reads a file; nothing is checked here."""


class Unmet(RuleKind):
    """The row would become a resource that breaks its profile. Checked after mapping.

    Attributes:
        obligations: ids of obligations (`c4bb.oral.adjudication`; `*` matches any characters) that
            are reported under this rule.
    """

    obligations: p.Obligations

    def reports(self, rule_id: str) -> bool:
        """Return whether an obligation is reported under this rule."""
        return any(fnmatchcase(rule_id, pattern) for pattern in self.obligations)


class Unreadable(RuleKind):
    """A cell is not a value of its column's type. It is emptied.

    Attributes:
        type: value of a `FieldType`; the rule covers every column of that type, except those that
            another rule lists.
        columns: instead of a type, the columns that the rule covers.
        beyond_cents: cover only amounts with more than two significant decimals; a rule without it
            covers the other ones.
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
    r"""A cell matches a pattern. The match is replaced.

    Attributes:
        columns: columns to check.
        pattern: regular expression (RE2).
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
    """A cell matches a regular expression (RE2)."""

    columns: p.Columns
    pattern: p.Pattern


class Allowed(CellKind):
    """A filled cell is not an allowed value.

    Attributes:
        columns: columns to check.
        values: allowed words; words that differ only in case are rewritten to these.
        pattern: regular expression (RE2) of allowed values.
        crosswalk: name of a crosswalk; its source words are allowed, in any case.
        shape: a format that the filter `shape` of mappings knows.
        each: check each value of a list.
    """

    columns: p.Columns
    values: p.RawTexts = ()
    pattern: p.Pattern = ""
    crosswalk: p.CrosswalkName = ""
    shape: p.ShapeName = ""
    each: Flag = False

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield that no allowed values are configured."""
        yield from super().mistakes(context)
        if not (self.values or self.pattern or self.crosswalk or self.shape):
            problem = "this check needs values, pattern, crosswalk or shape"
            yield Mistake("rule-key", problem, is_absence=True)


class IcdVersion(CellKind):
    """The version of an ICD code is missing, and the claim's date means ICD-9. It is filled in.

    For inpatient claims the date is the discharge date, or else the end of the statement; for
    others, the start of the statement. A code that exists only in ICD-10 doesn't become ICD-9.

    Attributes:
        ten_from: the first day of ICD-10.
        contradicts: report instead stated versions that are not valid on any day of the claim.
    """

    ten_from: p.Day
    contradicts: Flag = False
    reads: ClassVar = ("claim_id", "code", "icd_version")


class IcdPoint(CellKind):
    """The decimal point of an ICD code is in the wrong place. It is moved."""

    reads: ClassVar = ("code", "icd_version")


class IcdShape(CellKind):
    """A code does not have the format of its ICD version.

    Attributes:
        impossible: report only codes that cannot exist, not those of an unusual format.
    """

    impossible: Flag = False
    reads: ClassVar = ("code", "icd_version")


class Npi(CellKind):
    """A cell is not a National Provider Identifier: not 10 digits, or an invalid check digit.

    Attributes:
        columns: columns to check.
        only_ten_digits: check only cells of 10 digits, because the column has other IDs, too.
        unassigned: report instead NPIs whose first digit isn't used yet.
    """

    columns: p.Columns
    only_ten_digits: Flag = False
    unassigned: Flag = False


class Sentinel(CellKind):
    """A date or instant is a placeholder of systems that cannot leave it empty.

    Attributes:
        days: the placeholders, `YYYY-MM-DD`.
        columns: columns to check; if empty, all dates and instants but `last_updated`.
    """

    days: p.Days
    columns: p.Dates = ()


class NotBefore(CellKind):
    """A date is before `day`."""

    columns: p.Dates
    day: p.Day


class NotAfterExtract(CellKind):
    """A date or instant is after the extract's `as_of`; not checked if that is unknown."""

    columns: p.DatesOrTimestamps


class BeforeExtract(CellKind):
    """A date is before the extract's `as_of`; not checked if that is unknown."""

    columns: p.Dates


class AtLeast(CellKind):
    """A number is smaller than `least`."""

    columns: p.Numbers
    least: Whole


class Required(RowKind):
    """A required cell is empty, or could not be read."""


class Order(RowKind):
    """Two dates or instants of a row are in the wrong order; they may be equal.

    A day and an instant are compared by the day that is written.

    Attributes:
        pairs: `earlier_column <= later_column`, one or more.
        apart: if not 0, report instead pairs that are more than this number of days apart.
        hours: if not 0, report instead pairs of instants that are more than this number of hours
            apart.
    """

    pairs: p.DatePairs
    apart: Whole = 0
    hours: Whole = 0


class NotAbove(RowKind):
    """A number of a row is greater than another one.

    Attributes:
        pairs: `smaller_column <= greater_column`, one or more.
    """

    pairs: p.NumberPairs


class Equation(RowKind):
    """An amount is not the sum of other amounts. Missing ones count as 0.

    Attributes:
        total: the sum; rows without it are not checked.
        plus: added amounts.
        minus: subtracted amounts.
        needs: rows without all of these columns are not checked.
        at_most: report only totals that are greater than the sum, in absolute values.
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


class Incomplete(RowKind):
    """Some of the columns are filled, but not all of them."""

    columns: p.Columns


class UnequalLists(RowKind):
    """A list has values, but not as many as another list of the row.

    Attributes:
        column: the list.
        beside: the other list.
    """

    column: p.ColumnName
    beside: p.ColumnName


class Unexpected(RowKind):
    """One of the columns is filled in a row in which (the rule's `when`) it must be empty."""

    columns: p.Columns


class Misplaced(RowKind):
    """The row must not exist; the rule's `when` selects such rows."""


class Duplicate(RuleKind):
    """Another row has the same key.

    Attributes:
        of: `identical` (same content: one row stays), `older` (the newest by last_updated stays)
            or `conflict` (no row stays, because none is known to be right).
    """

    of: Literal["identical", "older", "conflict"]


class KeyOfTwoMembers(RuleKind):
    """Rows of two members have the same key, so its owner is not known."""

    reads: ClassVar = ("member_id",)


class Repeated(RelationKind):
    """A row repeats an earlier one.

    Attributes:
        columns: columns to compare, ignoring case, blanks, hyphens, dots and brackets.
        within: column with the owner; only rows of the same owner are compared.
        overlap: columns with the start and the end of a period; report instead later rows whose
            period begins before that of an earlier one ends.
        also: columns of the row's member that are compared with the first of `columns`.
    """

    columns: p.Columns
    within: p.ColumnName
    also: p.MemberColumns = ()
    overlap: p.Dates = ()

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables whose rows belong to no member."""
        yield from super().mistakes(context)
        if self.also:
            yield from p.relation_mistakes(context.tables, "member", ("also",))


class NoFirst(RelationKind):
    """The first accepted row of a claim, by `sequence`, is not number 1."""

    reads: ClassVar = ("claim_id", "sequence")


class Orphan(RelationKind):
    """The row's parent does not exist.

    Attributes:
        parent: table of the parent.
        by: column that refers to it; for `claim_line` also `line_number`.
    """

    parent: p.TableParent
    by: p.ColumnName

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield a column that doesn't refer to the parent."""
        yield from super().mistakes(context)
        keys = p.PARENT_KEYS[self.parent]
        if self.by not in keys:
            problem = f"{self.parent!r} is named by {' and '.join(keys)}, not by {self.by!r}"
            yield Mistake("rule-column", problem, nearest(self.by, keys), at=("by",))


class Childless(RelationKind):
    """The row has no children in another table.

    Attributes:
        child: table of the children.
        filled: count only children in which this column is filled.
        values: check only rows with children; count only those in which `filled` is one of these
            words (`""` is an empty cell).
    """

    child: p.Child
    filled: RawText = ""
    values: p.RawTexts = ()

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables that aren't parents of the child table."""
        yield from super().mistakes(context)
        for table in context.tables:
            if table in p.PARENT_KEYS:
                yield from p.relation_mistakes([self.child], table, ("child",))
                if self.filled:
                    yield from p.column_mistakes(self.filled, [self.child], location=("filled",))
            else:
                problem = f"no rows of others belong to {table!r}"
                yield Mistake("rule-column", problem, at=("table",))


class Disagrees(RelationKind):
    """A cell differs from all filled cells that it is compared with.

    Numbers are compared as numbers, text without regard to case. If none of the other cells is
    filled, nothing is reported.

    Attributes:
        columns: columns to check.
        parent: table of the parent row to compare with; if empty, the row itself.
        against: columns of that row; by default those of the same name.
        crosswalk: words with the same answer in this crosswalk are equal.
        without_line_amounts: check only rows of claims whose lines have no amounts. Without
            `parent`, a cell then also differs from empty ones.
        alike: report instead cells that are equal to one of the cells.
        words: cells agree if they have a word in common.
    """

    columns: p.Columns
    parent: p.TableParent = ""
    against: p.RawTexts = ()
    crosswalk: p.CrosswalkName = ""
    without_line_amounts: Flag = False
    alike: Flag = False
    words: Flag = False

    def compared(self, column: str) -> tuple[str, ...]:
        """Return the columns of the other row that a column is compared with."""
        return self.against or (column,)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield unknown columns, and missing comparisons."""
        yield from super().mistakes(context)
        if not (self.parent or self.against):
            yield Mistake("rule-key", "this check needs 'parent' or 'against'", is_absence=True)
        key = "against" if self.against else "columns"
        tables = [self.parent] if self.parent else context.tables
        for column in self.against or self.columns:
            yield from p.column_mistakes(column, tables, location=(key,))
        if self.without_line_amounts and not set(context.tables) <= {"claim", *CLAIM_TABLES}:
            yield Mistake("rule-column", "the table belongs to no claim", at=("table",))


class OfAnother(RelationKind):
    """The row's coverage belongs to another member than its claim."""

    only: ClassVar = ("claim", "claim_other_payer", "prior_auth")
    reads: ClassVar = ("coverage_id",)


class Outside(RelationKind):
    """A date is outside the period of a row above.

    Attributes:
        column: the date.
        above: the tables on the way up; the last one has the period.
        start: column with the first day of the period; not checked if empty.
        end: column with the last day of the period; not checked if empty.
        apart: report only dates that are more than this number of days outside.
    """

    column: p.DateName
    above: p.Parents
    start: RawText = ""
    end: RawText = ""
    apart: Whole = 0

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield invalid parents on the way up, and a missing or unknown period."""
        yield from super().mistakes(context)
        tables = context.tables
        for parent in self.above:
            yield from p.relation_mistakes(tables, parent, ("above",))
            tables = (parent,)
        if not (self.start or self.end):
            yield Mistake("rule-key", "this check needs 'start' or 'end'", is_absence=True)
        for key, name in (("start", self.start), ("end", self.end)):
            if name:
                yield from p.column_mistakes(name, self.above[-1:], p.DATES, location=(key,))


class SumOfLines(RelationKind):
    """An amount of a claim is not the sum of its lines in that category."""

    only: ClassVar = ("claim",)


class SumOfPayments(RelationKind):
    """Other payers' payments differ from what their claim or line states.

    Attributes:
        above_submitted: report instead payments whose sum is greater than the submitted amount.
    """

    above_submitted: Flag = False
    only: ClassVar = ("claim_other_payer",)


class NoAmount(RelationKind):
    """Neither the claim nor any of its lines has an amount.

    Attributes:
        summed: report instead claims without amounts whose lines have some.
    """

    summed: Flag = False
    only: ClassVar = ("claim",)


class UnlikeLines(RelationKind):
    """The line has none of several things, although another line of its claim has one.

    Attributes:
        columns: columns that a line may have filled.
        child: table of which a line may have rows.
    """

    columns: p.Columns
    child: p.LineChild
    only: ClassVar = ("claim_line",)


class NamesNoLine(RelationKind):
    """`column` names a line that the claim or prior authorization does not have."""

    column: p.ColumnName
    only: ClassVar = tuple(HEADER_OF)


class NotInDirectory(RelationKind):
    """An ID is not in the tables of the provider directory.

    Attributes:
        columns: columns with IDs.
        of: tables to look in: `organization`, `practitioner`, or both.
        listed: report only IDs that these tables contain; `payer`: organizations of that kind.
    """

    columns: p.Columns
    of: p.DirectoryTables
    listed: p.DirectoryTables = ()


class CardOfAnother(RelationKind):
    """`card_member_id` is the member ID of another member."""

    reads: ClassVar = ("card_member_id", "member_id")


class MembersDiffer(RuleKind):
    """Rows of several members agree in some columns, and differ in others.

    Upper and lower case, blanks, hyphens, dots and brackets don't matter. Members with several rows
    are not compared. A member without `unique_member_id` is compared by `member_id` instead.

    Attributes:
        agree: columns in which the rows agree; all must be filled.
        differ: columns of which one differs; empty cells are not compared.
        or_key: report instead rows whose `agree` is the key of a row that differs.
    """

    agree: p.Columns
    differ: p.Columns
    or_key: Flag = False
    only: ClassVar = ("member",)


class UnknownClaim(RelationKind):
    """A reference to another claim, or to a prior authorization, can't be right.

    Attributes:
        columns: columns with references, or lists of them.
        fault: `absent`: it isn't in the extract; `itself`: it is the claim itself; `another`: it
            belongs to another member.
    """

    columns: p.Columns
    fault: Literal["absent", "itself", "another"] = "absent"
    reads: ClassVar = ("member_id",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield tables without a claim ID to compare with."""
        yield from super().mistakes(context)
        if self.fault == "itself":
            yield from column_mistakes("claim_id", context.tables, location=("table",))


class HangsOnRejected(RuleKind):
    """The member, coverage, claim, prior authorization or line of the row was rejected."""


class LineRejected(RuleKind):
    """A line was rejected, so the amounts of its claim would not add up."""

    only: ClassVar = HEADERS


class NotActive(RowKind):
    """The row is not in force. It is withdrawn: counted, but not published.

    The children of a claim or prior authorization are withdrawn with it. A row is not in force if
    one of these columns says so:

    Attributes:
        flag: column that is N.
        status: column with a word that is not in `in_force`; an empty cell is in force.
        in_force: words of `status` for rows in force.
        until: date that is before the day of the extract.
    """

    flag: p.ColumnName = ""
    status: p.ColumnName = ""
    in_force: p.RawTexts = ()
    until: p.DateName = ""


class DrgVersion(RowKind):
    """The version of an MS-DRG is not that of the discharge's fiscal year, which is year - 1983.

    Attributes:
        older: number of years by which the version may be older.
    """

    older: Whole
    reads: ClassVar = ("drg_version", "discharge_date")


class PastMidnight(RowKind):
    """A closing time is before the opening time.

    Attributes:
        opens: column with the earlier time, as HH:MM.
        closes: column with the later one.
    """

    opens: p.ColumnName
    closes: p.ColumnName


class NamesNobody(RuleKind):
    """A column refers to a row that does not exist, or is not published.

    A rule whose severity rejects rejects the row. Otherwise only the reference is left out.

    Attributes:
        columns: columns with a key, or a list of keys.
        of: table of the keys.
        along: columns that only make sense with the reference, and are left out with it.
        within: columns of both tables with which a key of several columns begins; not for lists.
    """

    columns: p.Columns
    of: p.Child
    along: p.Columns = ()
    within: p.Columns = ()


class WithdrawnName(RuleKind):
    """A withdrawn or rejected row of another table is about a name in a list.

    The name is left out of the list.

    Attributes:
        column: the list.
        by: the other table; its key is the key of the row, then the name.
    """

    column: p.ColumnName
    by: p.Child


class Circle(RuleKind):
    """References between rows of a table form a circle. The last one is left out.

    Attributes:
        column: column that refers to another row of the table.
    """

    column: p.ColumnName


class HangsOnWithdrawn(RuleKind):
    """The row's parent is not in force. The row is withdrawn, too."""

    only: ClassVar = ("directory_organization",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield nothing: this kind checks all tables of a provider directory."""
        del context
        return iter(())


class Unnamed(RelationKind):
    """No row of another table refers to this one.

    Attributes:
        named_in: `table.column` with the references, or lists of them.
    """

    named_in: p.TableColumn


class NoPlace(RelationKind):
    """None of the columns is filled, and no other row refers to the row as an area.

    Attributes:
        columns: columns with the location.
        areas: lists of areas in other tables (`table.column`).
    """

    columns: p.Columns
    areas: p.TableColumns = ()


class Unlisted(RelationKind):
    """A name is neither in the row's list, nor is a row of another table about it.

    Attributes:
        column: the name.
        listed: the list.
        by: the other table; its key is the key of the row, then the name.
    """

    column: p.ColumnName
    listed: p.ColumnName
    by: p.Child


class SharedValue(RelationKind):
    """Another row has the same value.

    Attributes:
        column: the value.
        or_key: also report values that are the key of another row.
    """

    column: p.ColumnName
    or_key: Flag = False


class Fractions(RelationKind):
    """No percentage in the table is above 1, and some are above 0: they may be fractions.

    Attributes:
        column: the percentage.
    """

    column: p.ColumnName


class UnpricedTier(RelationKind):
    """No plan of the drug's formulary has a cost for its tier. Formularies without a plan pass.

    Attributes:
        crosswalk: words with the same answer in this crosswalk are the same tier.
    """

    crosswalk: p.CrosswalkName
    only: ClassVar = ("formulary_item",)


class Stale(RelationKind):
    """The row was last updated more than `days` before the day of the extract."""

    days: Whole


class Elsewhere(RelationKind):
    """A ZIP code or a position is outside the row's state.

    Attributes:
        crosswalk: state -> `zips` (first digits, `010-027 055`), `south`, `north`, `west`, `east`.
        columns: `postal_code`, or `latitude` and `longitude`.
    """

    crosswalk: p.CrosswalkName
    columns: p.Columns
    reads: ClassVar = ("state",)
