"""The expressions of a mapping, typed and immutable.

Each states its kind (which decides its JSON form) and whether it can be absent, nothing else. They
are evaluated row by row in `etl.mapping.row_interpreter`, and a column at a time in `etl.engine`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from etl.model.logic import AllOf, AnyOf, Not


class Kind(Enum):
    """The type of an expression's values."""

    TEXT = "text"
    CODE = "code"
    DATE = "date"
    TIMESTAMP = "timestamp"
    DATETIME = "datetime"
    INSTANT = "instant"
    MONEY = "money"
    DECIMAL = "decimal"
    INTEGER = "integer"
    FLAG = "flag"
    LIST = "list"
    BOOLEAN = "boolean"
    CONDITION = "condition"

    @property
    def json(self) -> Literal["string", "number", "boolean"]:
        """The JSON type in which a leaf of this kind is written."""
        if self in _NUMBERS:
            return "number"
        return "boolean" if self is Kind.BOOLEAN else "string"

    @property
    def plain(self) -> bool:
        """Whether the text can hold nothing that JSON would have to escape."""
        return self in _PLAIN


_NUMBERS: Final = frozenset({Kind.MONEY, Kind.DECIMAL, Kind.INTEGER})
_PLAIN: Final = _NUMBERS | {
    Kind.DATE,
    Kind.TIMESTAMP,
    Kind.DATETIME,
    Kind.INSTANT,
    Kind.FLAG,
    Kind.BOOLEAN,
}


@dataclass(frozen=True, slots=True)
class Constant:
    """A text that is the same in every row."""

    value: str
    kind: Kind = Kind.TEXT
    nullable: Literal[False] = False


@dataclass(frozen=True, slots=True)
class Absent:
    """An expression without a value, in every row."""

    kind: Kind = Kind.TEXT
    nullable: Literal[True] = True


@dataclass(frozen=True, slots=True)
class ColumnOf:
    """A column of a row.

    Attributes:
        level: which row of those in scope: 0 is the mapping's own, each `for` adds one.
        via: relations to single rows that are followed first.
        column: name of the column.
    """

    level: int
    via: tuple[str, ...]
    column: str
    kind: Kind
    nullable: bool


@dataclass(frozen=True, slots=True)
class LoopIndex:
    """1, 2, … over the rows of one `for` that its `when` accepts; restarts for each outer row."""

    level: int
    kind: Kind = Kind.INTEGER
    nullable: Literal[False] = False


@dataclass(frozen=True, slots=True)
class Concat:
    """A concatenation of texts; absent if one of them is."""

    parts: tuple[Expr, ...]
    kind: Kind = Kind.TEXT

    @property
    def nullable(self) -> bool:
        """Whether one of the parts can be absent."""
        return any(part.nullable for part in self.parts)


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first of several expressions that has a value."""

    parts: tuple[Expr, ...]
    kind: Kind

    @property
    def nullable(self) -> bool:
        """Whether all of them can be absent."""
        return all(part.nullable for part in self.parts)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of two expressions, chosen by a condition."""

    condition: Condition
    then: Expr
    otherwise: Expr
    kind: Kind

    @property
    def nullable(self) -> bool:
        """Whether either can be absent."""
        return self.then.nullable or self.otherwise.nullable


@dataclass(frozen=True, slots=True)
class Conversion:
    """A value that is made of another one, and absent only if that one is."""

    operand: Expr

    @property
    def nullable(self) -> bool:
        """Whether the other value can be absent."""
        return self.operand.nullable


@dataclass(frozen=True, slots=True)
class Cast(Conversion):
    """The same value, declared to be of another kind.

    `to` is one of: TEXT (any text of it), CODE, DATETIME, INSTANT (a date becomes midnight UTC),
    BOOLEAN (from a flag), DECIMAL.
    """

    kind: Kind


@dataclass(frozen=True, slots=True)
class CaseChange(Conversion):
    """A text in lower or upper case."""

    case: Literal["lower", "upper"]
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class Plus(Conversion):
    """An integer and a constant."""

    amount: int
    kind: Kind = Kind.INTEGER


@dataclass(frozen=True, slots=True)
class Translation:
    """The answer of a crosswalk; absent if it has none."""

    operand: Expr
    crosswalk: str
    column: str
    kind: Kind = Kind.CODE
    nullable: Literal[True] = True


@dataclass(frozen=True, slots=True)
class ListTranslation(Conversion):
    """The joined answers of a crosswalk for the values of a list.

    A value without an answer keeps its own text.
    """

    crosswalk: str
    column: str
    separator: str
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class ShapedText:
    """A text with a shape from `etl.model.code_shapes.SHAPES`; absent if it doesn't match."""

    operand: Expr
    shape: str
    kind: Kind = Kind.CODE
    nullable: Literal[True] = True


@dataclass(frozen=True, slots=True)
class Prefix(Conversion):
    """The first characters of a text."""

    length: int
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class LogicalId(Conversion):
    """The keyed hash that is the id of the resource of that type and business key."""

    resource: str
    kind: Kind = Kind.CODE


@dataclass(frozen=True, slots=True)
class ProviderReference(Conversion):
    """`Type/id` of the provider directory's resource for an ID or NPI.

    Attributes:
        resource: the type to use if the provider directory doesn't have the ID.
        only: use the type even if the provider directory has another one.
    """

    resource: Literal["Organization", "Practitioner"]
    only: bool
    kind: Kind = Kind.CODE


Expr: TypeAlias = (
    Constant
    | Absent
    | ColumnOf
    | LoopIndex
    | Concat
    | FirstOf
    | Choice
    | Cast
    | CaseChange
    | Plus
    | Translation
    | ListTranslation
    | ShapedText
    | Prefix
    | LogicalId
    | ProviderReference
)


@dataclass(frozen=True, slots=True)
class IsPresent:
    """Whether a value is there."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether a value is there and is (or, `negated`, is not) one of some constants."""

    operand: Expr
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Equality:
    """Whether two values are there and are equal (or, `negated`, are not)."""

    left: Expr
    right: Expr
    negated: bool = False


@dataclass(frozen=True, slots=True)
class DateOrder:
    """Whether two dates are there and the left is before the right (or, `or_same`, the same)."""

    left: Expr
    right: Expr
    or_same: bool = False


Condition: TypeAlias = bool | IsPresent | OneOf | Equality | DateOrder | AllOf | AnyOf | Not


def parts_of(node: Expr | Condition) -> tuple[Expr | Condition, ...]:
    """Return the expressions and conditions directly inside one."""
    match node:
        case Concat() | FirstOf() | AllOf() | AnyOf():
            return node.parts
        case Choice():
            return (node.condition, node.then, node.otherwise)
        case Equality() | DateOrder():
            return (node.left, node.right)
        case Constant() | Absent() | ColumnOf() | LoopIndex() | bool():
            return ()
        case _:
            return (node.operand,)


def walk(node: Expr | Condition) -> Iterator[Expr | Condition]:
    """Yield a node and all nodes inside it."""
    yield node
    for part in parts_of(node):
        yield from walk(part)


def written_parts(node: Expr) -> Iterator[Expr]:
    """Yield an expression and its inner expressions that supply values.

    Conditions are left out: they only decide which value is written, or whether one is.
    """
    yield node
    for part in parts_of(node):
        if not isinstance(part, Condition):
            yield from written_parts(part)


def concatenate(parts: Iterable[Expr]) -> Expr:
    """Concatenate texts, and merge adjacent constants."""
    merged: list[Expr] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Concat) else (part,):
            if isinstance(piece, Absent):
                return Absent()
            if merged and isinstance(piece, Constant) and isinstance(merged[-1], Constant):
                merged[-1] = Constant(merged[-1].value + piece.value)
            else:
                merged.append(piece)
    merged = [part for part in merged if part != Constant("")] or [Constant("")]
    if len(merged) == 1 and isinstance(merged[0], Constant):
        return merged[0]
    return Concat(tuple(merged))


def first_of(parts: Iterable[Expr]) -> Expr:
    """Return the first of several expressions that has a value."""
    candidates: list[Expr] = []
    for part in parts:
        if isinstance(part, Absent):
            continue
        candidates.extend(part.parts if isinstance(part, FirstOf) else (part,))
        if not part.nullable:
            break
    if not candidates:
        return Absent()
    return (
        candidates[0]
        if len(candidates) == 1
        else FirstOf(tuple(candidates), common_kind(candidates))
    )


def common_kind(parts: Iterable[Expr]) -> Kind:
    """Return the kind of a value that is one of several; text where they differ."""
    kinds = {part.kind for part in parts if not isinstance(part, Absent)}
    if len(kinds) == 1:
        return kinds.pop()
    return Kind.CODE if kinds <= {Kind.CODE, Kind.TEXT, Kind.FLAG} else Kind.TEXT
