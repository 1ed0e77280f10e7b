"""The kinds of check that a rule may name, and the parameters that each takes.

A rule in `mappings/rules/*.yaml` says `check: <kind>` and gives the kind's parameters under their
names with hyphens. What a kind does is in `etl.quality.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, TypeAlias


class Meaning(Enum):
    """What the text of a parameter is; `etl.quality.rules.parameters` holds each to it."""

    COLUMN = auto()
    DATE = auto()
    AMOUNT = auto()
    NUMBER = auto()
    MEMBER_COLUMN = auto()
    PARENT = auto()
    CHILD = auto()
    DIRECTORY = auto()
    PAIR = auto()
    PATTERN = auto()
    DAY = auto()
    TYPE = auto()
    OBLIGATION = auto()


Columns: TypeAlias = Annotated[tuple[str, ...], Meaning.COLUMN]
Dates: TypeAlias = Annotated[tuple[str, ...], Meaning.DATE]
Amounts: TypeAlias = Annotated[tuple[str, ...], Meaning.AMOUNT]
Pattern: TypeAlias = Annotated[str, Meaning.PATTERN]
Days: TypeAlias = Annotated[tuple[str, ...], Meaning.DAY]
Parent: TypeAlias = Annotated[str, Meaning.PARENT]


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on one column of the row or of the claim it belongs to.

    Attributes:
        of_claim: the column is one of the row's claim.
        column: the column.
        words: the column holds one of these, in lower case, `""` standing for an
            empty cell; no words where only `filled` counts.
        filled: the column is filled (or, where false and `words` is empty, is empty).
    """

    of_claim: bool
    column: str
    words: frozenset[str]
    filled: bool


Condition: TypeAlias = tuple[Clause, ...]
"""Holds where every clause holds; the empty one always holds."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Raised by `sources` while a file is read; nothing is looked for here."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """The row would make a resource that breaks its profile; told of what was mapped.

    Attributes:
        obligations: their ids (`c4bb.oral.adjudication`), `*` standing for any characters; they
            are reported under this rule instead of their own.
    """

    obligations: Annotated[tuple[str, ...], Meaning.OBLIGATION]

    def names(self, rule_id: str) -> bool:
        """Tell whether an obligation is one of these."""
        return any(fnmatchcase(rule_id, one) for one in self.obligations)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A filled cell cannot be read as the type of its column. The cell is absent afterwards.

    Attributes:
        type: a `FieldType`, by its value. The rule covers every column of that type.
        beyond_cents: of amounts, only those with more than two fraction digits that matter; the
            rule without it covers the other ones.
    """

    type: Annotated[str, Meaning.TYPE]
    beyond_cents: bool = False


@dataclass(frozen=True, slots=True)
class Rewrite:
    r"""A cell that matches is put right.

    Attributes:
        columns: which cells.
        pattern: RE2.
        becomes: replacement; `\1` is the first group.
    """

    columns: Columns
    pattern: Pattern
    becomes: str


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A cell fails where it matches `pattern` (RE2)."""

    columns: Columns
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Allowed:
    """A cell fails where it is none of what is allowed. An empty cell passes.

    Attributes:
        columns: which cells.
        values: allowed words; another spelling of case is put into this one.
        pattern: allowed shape (RE2).
        crosswalk: name of a crosswalk whose source words are allowed, in any case.
        each: a list's values are looked at one by one.
    """

    columns: Columns
    values: tuple[str, ...] = ()
    pattern: Pattern = ""
    crosswalk: str = ""
    each: bool = False


@dataclass(frozen=True, slots=True)
class IcdPoint:
    """An ICD code has its point in the wrong place; it is put right."""

    reads: ClassVar = ("code", "icd_version")


@dataclass(frozen=True, slots=True)
class IcdShape:
    """An ICD code does not look like one of its version.

    Attributes:
        impossible: fail only what cannot be one at all, not what is merely of unusual shape.
    """

    impossible: bool = False
    reads: ClassVar = ("code", "icd_version")


@dataclass(frozen=True, slots=True)
class Npi:
    """A cell is no National Provider Identifier: not 10 digits, or an invalid check digit.

    Attributes:
        columns: which cells.
        only_ten_digits: look only at cells of 10 digits: other ids stand there too.
        unassigned: fail the NPIs instead that begin with a digit that none given out begins with.
    """

    columns: Columns
    only_ten_digits: bool = False
    unassigned: bool = False


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A date stands for "none", as systems write it that cannot leave a date empty.

    Attributes:
        days: which days, `YYYY-MM-DD`.
        columns: which cells; every date where empty.
    """

    days: Days
    columns: Dates = ()


@dataclass(frozen=True, slots=True)
class NotBefore:
    """A date is earlier than can be."""

    columns: Dates
    day: Annotated[str, Meaning.DAY]


@dataclass(frozen=True, slots=True)
class NotAfterExtract:
    """A date is later than the day of the extract (its `as_of`; not looked at without one)."""

    columns: Dates


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A number is smaller than `least`."""

    columns: Annotated[tuple[str, ...], Meaning.NUMBER]
    least: int


@dataclass(frozen=True, slots=True)
class Required:
    """A compulsory cell is empty, or could not be read."""


@dataclass(frozen=True, slots=True)
class Order:
    """Two dates of a row stand in the wrong order; equal ones pass.

    Attributes:
        pairs: `earlier_column <= later_column`, one or more.
    """

    pairs: Annotated[tuple[str, ...], Meaning.PAIR]

    def columns(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs, taken apart."""
        both = (pair.split(" <= ") for pair in self.pairs)
        return tuple((earlier, later) for earlier, later in both)


@dataclass(frozen=True, slots=True)
class Equation:
    """An amount is not the sum it should be. Absent parts count as nothing.

    Attributes:
        total: the amount; rows without it pass.
        plus: amounts added.
        minus: amounts taken off.
        needs: rows without all of these pass too.
    """

    total: Annotated[str, Meaning.AMOUNT]
    plus: Amounts
    minus: Amounts = ()
    needs: Columns = ()


@dataclass(frozen=True, slots=True)
class AnyFilled:
    """None of the columns is filled."""

    columns: Columns


@dataclass(frozen=True, slots=True)
class Together:
    """More than one of the columns is filled."""

    columns: Columns


@dataclass(frozen=True, slots=True)
class Unexpected:
    """One of the columns is filled, though (the rule's `when`) it should not be."""

    columns: Columns


@dataclass(frozen=True, slots=True)
class Misplaced:
    """The row itself should not be there: the rule's `when` says where."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another row has the same key.

    Attributes:
        of: `identical` (same content: one row stays), `older` (last_updated tells that another is
            newer, which stays) or `conflict` (nobody can tell which is right: none stays).
    """

    of: str


@dataclass(frozen=True, slots=True)
class KeyOfTwoMembers:
    """Rows of two members have the same key: nobody can tell whose it is."""

    reads: ClassVar = ("member_id",)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A further row says the same.

    Attributes:
        columns: what is compared, without regard to case, blanks, hyphens, dots and brackets.
        within: the column that says whose rows are compared.
        also: columns of the row's own member that are compared with the first of `columns`.
    """

    columns: Columns
    within: Annotated[str, Meaning.COLUMN]
    also: Annotated[tuple[str, ...], Meaning.MEMBER_COLUMN] = ()
    reads: ClassVar = ("sequence",)


@dataclass(frozen=True, slots=True)
class Orphan:
    """The row that this one belongs to is not there.

    Attributes:
        parent: table of that row.
        by: the column that names it; for `claim_line` also `line_number`.
    """

    parent: Parent
    by: Annotated[str, Meaning.COLUMN]


@dataclass(frozen=True, slots=True)
class Childless:
    """No row of another table belongs to this one."""

    child: Annotated[str, Meaning.CHILD]


@dataclass(frozen=True, slots=True)
class Disagrees:
    """The row that this one names says otherwise.

    Attributes:
        parent: table of that row.
        column: column of both, compared.
    """

    parent: Parent
    column: Annotated[str, Meaning.COLUMN]


@dataclass(frozen=True, slots=True)
class OfAnother:
    """The coverage that the claim names belongs to another member."""

    reads: ClassVar = ("coverage_id", "member_id")


@dataclass(frozen=True, slots=True)
class Outside:
    """A date lies outside the period of a row above.

    Attributes:
        column: the date.
        above: the tables on the way up, the last one holding the period.
        start: its first day; not looked at where empty.
        end: its last day; not looked at where empty.
    """

    column: Annotated[str, Meaning.DATE]
    above: Annotated[tuple[str, ...], Meaning.PARENT]
    start: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class SumOfLines:
    """An amount of the header is not the sum of its lines, category by category."""

    only: ClassVar = ("claim",)


@dataclass(frozen=True, slots=True)
class LacksLine:
    """The claim lacks a line, and one that cannot be read and names no claim may be it."""


@dataclass(frozen=True, slots=True)
class NoAmount:
    """Neither the claim nor any of its lines carries an amount.

    Attributes:
        summed: lines do, and only the claim itself states none: its totals are their sums.
    """

    summed: bool = False
    only: ClassVar = ("claim",)


@dataclass(frozen=True, slots=True)
class NamesNoLine:
    """`column` names a line that the claim does not have."""

    column: Annotated[str, Meaning.COLUMN]
    reads: ClassVar = ("claim_id",)


@dataclass(frozen=True, slots=True)
class NotInDirectory:
    """An id names nobody in the directory's tables.

    Attributes:
        columns: the ids.
        of: `organization`, `practitioner`, or both.
    """

    columns: Columns
    of: Annotated[tuple[str, ...], Meaning.DIRECTORY]


@dataclass(frozen=True, slots=True)
class CardOfAnother:
    """`card_member_id` is the member id of somebody else."""

    reads: ClassVar = ("card_member_id", "member_id")


@dataclass(frozen=True, slots=True)
class UnknownClaim:
    """A claim named as earlier or later version is none that can be one.

    Attributes:
        columns: those that name it.
        fault: `absent`: it is nowhere in the extract; `itself`: it is the claim itself; `another`:
            it is in the extract, and another member's.
    """

    columns: Columns
    fault: str = "absent"
    reads: ClassVar = ("claim_id", "member_id")


@dataclass(frozen=True, slots=True)
class HangsOnRejected:
    """The member, coverage, claim or line of the row was rejected."""


@dataclass(frozen=True, slots=True)
class LineRejected:
    """A line of the claim was rejected, so that its money would not add up."""

    only: ClassVar = ("claim",)


Kind: TypeAlias = (
    Reading
    | Unmet
    | Unreadable
    | Rewrite
    | Forbidden
    | Allowed
    | IcdPoint
    | IcdShape
    | Npi
    | Sentinel
    | NotBefore
    | NotAfterExtract
    | AtLeast
    | Required
    | Order
    | Equation
    | AnyFilled
    | Together
    | Unexpected
    | Misplaced
    | Duplicate
    | KeyOfTwoMembers
    | Repeated
    | Orphan
    | Childless
    | Disagrees
    | OfAnother
    | Outside
    | SumOfLines
    | NoAmount
    | LacksLine
    | NamesNoLine
    | NotInDirectory
    | CardOfAnother
    | UnknownClaim
    | HangsOnRejected
    | LineRejected
)

KINDS: Final[Mapping[str, type[Kind]]] = MappingProxyType(
    {
        "reading": Reading,
        "unmet": Unmet,
        "unreadable": Unreadable,
        "rewrite": Rewrite,
        "forbidden": Forbidden,
        "allowed": Allowed,
        "icd-point": IcdPoint,
        "icd-shape": IcdShape,
        "npi": Npi,
        "sentinel": Sentinel,
        "not-before": NotBefore,
        "not-after-extract": NotAfterExtract,
        "at-least": AtLeast,
        "required": Required,
        "order": Order,
        "equation": Equation,
        "one-of": AnyFilled,
        "together": Together,
        "unexpected": Unexpected,
        "misplaced": Misplaced,
        "duplicate": Duplicate,
        "key-of-two-members": KeyOfTwoMembers,
        "repeated": Repeated,
        "orphan": Orphan,
        "childless": Childless,
        "disagrees": Disagrees,
        "of-another": OfAnother,
        "outside": Outside,
        "sum-of-lines": SumOfLines,
        "no-amount": NoAmount,
        "lacks-line": LacksLine,
        "names-no-line": NamesNoLine,
        "not-in-directory": NotInDirectory,
        "card-of-another": CardOfAnother,
        "unknown-claim": UnknownClaim,
        "hangs-on-rejected": HangsOnRejected,
        "line-rejected": LineRejected,
    }
)
"""Every kind by the name that rules call it."""

SINGLE: Final = frozenset({HangsOnRejected, LineRejected})
"""Kinds of which a rule book holds exactly one rule: the cascade needs to know its id."""

CELL_KINDS: Final = (
    Rewrite,
    Forbidden,
    Allowed,
    IcdPoint,
    IcdShape,
    Npi,
    Sentinel,
    NotBefore,
    NotAfterExtract,
    AtLeast,
)
"""Kinds that look at one cell; the first to run."""
ROW_KINDS: Final = (
    Required,
    Order,
    Equation,
    AnyFilled,
    Together,
    Unexpected,
    Misplaced,
)
"""Kinds that look at one row; they see what is left of its cells."""
RELATION_KINDS: Final = (
    Orphan,
    Childless,
    Disagrees,
    OfAnother,
    Outside,
    SumOfLines,
    NoAmount,
    LacksLine,
    NamesNoLine,
    NotInDirectory,
    CardOfAnother,
    UnknownClaim,
    Repeated,
)
"""Kinds that look at rows together; they see what is left of the rows."""
