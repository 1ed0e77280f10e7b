"""Types of rules' parameters: each is checked before any row is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.dates import day_number
from etl.documents.models import LISTED, NOT_EMPTY, Check, Location, Mistake, RawText, Text
from etl.errors import nearest
from etl.model.canonical_tables import DIRECTORY_TABLES, KEYS, LINES, TABLES, FieldType
from etl.model.crosswalks import Crosswalk

PARENT_KEYS: Final = MappingProxyType({name: TABLES[name].key for name in (*KEYS, *LINES.values())})
"""Parent table -> the columns by which rows of other tables refer to it."""
DATES: Final = frozenset({FieldType.DATE})
_MONEY: Final = frozenset({FieldType.MONEY})
_NUMBERS: Final = frozenset({FieldType.MONEY, FieldType.DECIMAL, FieldType.INTEGER})
_OBLIGATION: Final = re.compile(r"[a-z0-9*][A-Za-z0-9*.:\[\]_-]*")


@dataclass
class RuleNames:
    """Names that are known while a rule is read.

    Attributes:
        crosswalks: all by name.
        every: the tables that `*` stands for.
        tables: the rule's, as far as they are read.
        kind: its `RuleKind`, as far as it is read.
    """

    crosswalks: Mapping[str, Crosswalk]
    every: tuple[str, ...] = tuple(TABLES)
    tables: tuple[str, ...] = ()
    kind: type[Any] | None = None


def hyphened(name: str) -> str:
    """Return the key that stands for a parameter."""
    return name.replace("_", "-")


def unknown_columns(
    name: str,
    tables: Iterable[str],
    types: frozenset[FieldType] | None = None,
    below: Location = (),
) -> Iterator[Mistake]:
    """Yield the tables that lack a column, or have it with another type."""
    for table in tables:
        column = TABLES[table].column(name)
        if column is None:
            what = f"table {table!r} has no column {name!r}"
            yield Mistake("rule-column", what, nearest(name, TABLES[table].names), at=below)
        elif types is not None and column.type not in types:
            wanted = " or ".join(sorted(field_type.value for field_type in types))
            what = f"column {name!r} of {table!r} is {column.type.value}"
            yield Mistake("rule-column", f"{what}, and '{{key}}' takes {wanted}", at=below)


def steps(tables: Iterable[str], parent: str, key: str) -> Iterator[Mistake]:
    """Yield the tables with rows that do not belong to rows of a parent."""
    for table in tables:
        keys = PARENT_KEYS[parent]
        if table == parent or any(TABLES[table].column(column) is None for column in keys):
            yield Mistake("rule-column", f"no row of {table!r} belongs to {parent!r}", at=(key,))


def replacement_fault(pattern: str, replacement: str) -> str:
    """Return why a replacement does not go with a pattern of RE2; "" where it does."""
    try:
        pc.replace_substring_regex(pa.array([""]), pattern=pattern, replacement=replacement)
    except pa.ArrowInvalid as error:
        return _reason(error)
    return ""


def _reason(error: pa.ArrowInvalid) -> str:
    return str(error).partition(": ")[2]


def _column(types: frozenset[FieldType] | None = None, table: str = "") -> Check:
    """Check that a text is a column of the rule's tables, or of one table."""

    def holds(name: str, names: RuleNames) -> str:
        for mistake in unknown_columns(name, [table] if table else names.tables, types):
            raise mistake
        return name

    return Check(holds)


def _word(what: str, words: Iterable[str]) -> Check:
    """Check that a text is one of some words."""
    allowed = list(words)

    def holds(word: str, _names: RuleNames) -> str:
        if word not in allowed:
            raise Mistake("rule-value", f"{{key}}: no {what} {word!r}", nearest(word, allowed))
        return word

    return Check(holds)


def known_crosswalk(name: str, names: RuleNames) -> str:
    """Return the name of an existing crosswalk.

    Raises:
        Mistake: there is none.
    """
    if name not in names.crosswalks:
        hint = nearest(name, names.crosswalks)
        raise Mistake("rule-crosswalk", f"no crosswalk {name!r}", hint)
    return name


def _day(text: str, _names: RuleNames) -> str:
    try:
        day_number(text)
    except ValueError:
        raise Mistake("rule-value", f"{text!r} is not a date written as YYYY-MM-DD") from None
    return text


def _pattern(text: str, _names: RuleNames) -> str:
    """Patterns are RE2's, which supports less than Python: no look-around, no back-references."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern=text)
    except pa.ArrowInvalid as error:
        raise Mistake("rule-value", f"no pattern: {_reason(error)}") from None
    return text


def _pair(what: str, types: frozenset[FieldType]) -> Check:
    """Check that a text is two columns of some types, written `first <= second`."""

    def holds(text: str, names: RuleNames) -> str:
        parts = text.split(" <= ")
        if len(parts) != 2:
            raise Mistake("rule-value", f"a pair is written: {what}, not {text!r}")
        for part in parts:
            for mistake in unknown_columns(part, names.tables, types):
                raise mistake
        return text

    return Check(holds)


def parted(pairs: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the columns of pairs."""
    both = (pair.split(" <= ") for pair in pairs)
    return tuple((first, second) for first, second in both)


def _obligation(text: str, _names: RuleNames) -> str:
    if not _OBLIGATION.fullmatch(text):
        raise Mistake("rule-value", f"{text!r} is no id of an obligation")
    return text


RawTexts: TypeAlias = Annotated[tuple[RawText, ...], LISTED, NOT_EMPTY]
ColumnName: TypeAlias = Annotated[RawText, _column()]
Columns: TypeAlias = Annotated[tuple[ColumnName, ...], LISTED, NOT_EMPTY]
DateName: TypeAlias = Annotated[RawText, _column(DATES)]
Dates: TypeAlias = Annotated[tuple[DateName, ...], LISTED, NOT_EMPTY]
DatesOrTimestamps: TypeAlias = Annotated[
    tuple[Annotated[RawText, _column(DATES | {FieldType.TIMESTAMP})], ...], LISTED, NOT_EMPTY
]
Amount: TypeAlias = Annotated[RawText, _column(_MONEY)]
Amounts: TypeAlias = Annotated[tuple[Amount, ...], LISTED, NOT_EMPTY]
Numbers: TypeAlias = Annotated[tuple[Annotated[RawText, _column(_NUMBERS)], ...], LISTED, NOT_EMPTY]
MemberColumns: TypeAlias = Annotated[
    tuple[Annotated[RawText, _column(table="member")], ...], LISTED, NOT_EMPTY
]
Parent: TypeAlias = Annotated[RawText, _word("table that rows belong to", PARENT_KEYS)]
Parents: TypeAlias = Annotated[tuple[Parent, ...], LISTED, NOT_EMPTY]
Child: TypeAlias = Annotated[RawText, _word("table", TABLES)]
DirectoryTables: TypeAlias = Annotated[
    tuple[Annotated[RawText, _word("table of the directory", DIRECTORY_TABLES)], ...],
    LISTED,
    NOT_EMPTY,
]
ColumnType: TypeAlias = Annotated[
    RawText, _word("type", [field_type.value for field_type in FieldType])
]
CrosswalkName: TypeAlias = Annotated[RawText, Check(known_crosswalk)]
Day: TypeAlias = Annotated[Text, Check(_day)]
Days: TypeAlias = Annotated[tuple[Day, ...], LISTED, NOT_EMPTY]
Pattern: TypeAlias = Annotated[RawText, Check(_pattern)]
DatePairs: TypeAlias = Annotated[
    tuple[
        Annotated[RawText, _pair("earlier <= later", DATES | {FieldType.TIMESTAMP})],
        ...,
    ],
    LISTED,
    NOT_EMPTY,
]
NumberPairs: TypeAlias = Annotated[
    tuple[Annotated[RawText, _pair("smaller <= greater", _NUMBERS)], ...], LISTED, NOT_EMPTY
]
Obligations: TypeAlias = Annotated[
    tuple[Annotated[RawText, Check(_obligation)], ...], LISTED, NOT_EMPTY
]
