"""Types of rule parameters, which are checked before any row is read."""

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
from etl.model.code_shapes import SHAPES
from etl.model.crosswalks import Crosswalk

PARENT_KEYS: Final = MappingProxyType({name: TABLES[name].key for name in (*KEYS, *LINES.values())})
"""Parent table -> the columns by which rows of other tables refer to it."""
DATES: Final = frozenset({FieldType.DATE})
_MONEY: Final = frozenset({FieldType.MONEY})
_NUMBERS: Final = frozenset({FieldType.MONEY, FieldType.DECIMAL, FieldType.INTEGER})
_OBLIGATION: Final = re.compile(r"[a-z0-9*][A-Za-z0-9*.:\[\]_-]*")


@dataclass
class RuleNames:
    """Names that a rule is checked against while it is read.

    Attributes:
        crosswalks: all crosswalks by name.
        all_tables: the tables that `*` stands for.
        tables: tables of the rule; empty until they are read.
        kind: `RuleKind` of the rule; None until it is read.
    """

    crosswalks: Mapping[str, Crosswalk]
    all_tables: tuple[str, ...] = tuple(TABLES)
    tables: tuple[str, ...] = ()
    kind: type[Any] | None = None


def hyphenate(name: str) -> str:
    """Return a parameter's key in rule files."""
    return name.replace("_", "-")


def column_mistakes(
    name: str,
    tables: Iterable[str],
    types: frozenset[FieldType] | None = None,
    location: Location = (),
) -> Iterator[Mistake]:
    """Report tables that lack a column or have it with another type."""
    for table in tables:
        column = TABLES[table].column(name)
        if column is None:
            message = f"table {table!r} has no column {name!r}"
            yield Mistake("rule-column", message, nearest(name, TABLES[table].names), at=location)
        elif types is not None and column.type not in types:
            allowed_types = " or ".join(sorted(field_type.value for field_type in types))
            message = f"column {name!r} of {table!r} is {column.type.value}"
            yield Mistake(
                "rule-column", f"{message}, and '{{key}}' takes {allowed_types}", at=location
            )


def relation_mistakes(
    tables: Iterable[str], parent: str, location: Location = ()
) -> Iterator[Mistake]:
    """Report tables that are not children of the parent table."""
    for table in tables:
        keys = PARENT_KEYS[parent]
        if table == parent or any(TABLES[table].column(column) is None for column in keys):
            message = f"no row of {table!r} belongs to {parent!r}"
            yield Mistake("rule-column", message, at=location)


def replacement_mistake(pattern: str, replacement: str) -> str:
    """Return why a replacement is invalid for an RE2 pattern; "" if it is valid."""
    try:
        pc.replace_substring_regex(pa.array([""]), pattern=pattern, replacement=replacement)
    except pa.ArrowInvalid as error:
        return _arrow_reason(error)
    return ""


def _arrow_reason(error: pa.ArrowInvalid) -> str:
    return str(error).partition(": ")[2]


def _column(types: frozenset[FieldType] | None = None, table: str = "") -> Check:
    """Check that a text is a column of the rule's tables, or of one table."""

    def check_column(name: str, names: RuleNames) -> str:
        for mistake in column_mistakes(name, [table] if table else names.tables, types):
            raise mistake
        return name

    return Check(check_column)


def _check_parent(parent: str, names: RuleNames) -> str:
    """Check that a table is the parent of the rule's tables."""
    for mistake in relation_mistakes(names.tables, parent):
        raise mistake
    return parent


def _check_line_child(child: str, _names: RuleNames) -> str:
    """Check that a table is a child of claim lines."""
    for mistake in relation_mistakes([child], "claim_line"):
        raise mistake
    return child


def _check_table_column(name: str, _names: RuleNames) -> str:
    """Check that a text is an existing `table.column`."""
    table, _, column = name.partition(".")
    if table not in TABLES or TABLES[table].column(column) is None:
        raise Mistake("rule-column", f"no column {name!r}")
    return name


def _word(noun: str, words: Iterable[str]) -> Check:
    """Check that a text is one of some words."""
    allowed = list(words)

    def check_word(word: str, _names: RuleNames) -> str:
        if word not in allowed:
            raise Mistake("rule-value", f"{{key}}: no {noun} {word!r}", nearest(word, allowed))
        return word

    return Check(check_word)


def check_crosswalk(name: str, names: RuleNames) -> str:
    """Check that a crosswalk exists; return its name.

    Raises:
        Mistake: no crosswalk has that name.
    """
    if name not in names.crosswalks:
        hint = nearest(name, names.crosswalks)
        raise Mistake("rule-crosswalk", f"no crosswalk {name!r}", hint)
    return name


def _check_day(text: str, _names: RuleNames) -> str:
    try:
        day_number(text)
    except ValueError:
        raise Mistake("rule-value", f"{text!r} is not a date written as YYYY-MM-DD") from None
    return text


def _check_pattern(text: str, _names: RuleNames) -> str:
    """Check an RE2 pattern; RE2 has no look-around and no back-references."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern=text)
    except pa.ArrowInvalid as error:
        raise Mistake("rule-value", f"no pattern: {_arrow_reason(error)}") from None
    return text


def _pair(example: str, types: frozenset[FieldType]) -> Check:
    """Check that a text is two columns of some types, written `first <= second`."""

    def check_pair(text: str, names: RuleNames) -> str:
        column_names = text.split(" <= ")
        if len(column_names) != 2:
            raise Mistake("rule-value", f"a pair is written: {example}, not {text!r}")
        for part in column_names:
            for mistake in column_mistakes(part, names.tables, types):
                raise mistake
        return text

    return Check(check_pair)


def split_pairs(pairs: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Split pairs into their columns."""
    column_pairs = (pair.split(" <= ") for pair in pairs)
    return tuple((first, second) for first, second in column_pairs)


def _check_obligation(text: str, _names: RuleNames) -> str:
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
TableParent: TypeAlias = Annotated[Parent, Check(_check_parent)]
Child: TypeAlias = Annotated[RawText, _word("table", TABLES)]
LineChild: TypeAlias = Annotated[Child, Check(_check_line_child)]
TableColumn: TypeAlias = Annotated[RawText, Check(_check_table_column)]
TableColumns: TypeAlias = Annotated[tuple[TableColumn, ...], LISTED, NOT_EMPTY]
DirectoryTables: TypeAlias = Annotated[
    tuple[Annotated[RawText, _word("table of the directory", (*DIRECTORY_TABLES, "payer"))], ...],
    LISTED,
    NOT_EMPTY,
]
ColumnType: TypeAlias = Annotated[
    RawText, _word("type", [field_type.value for field_type in FieldType])
]
CrosswalkName: TypeAlias = Annotated[RawText, Check(check_crosswalk)]
ShapeName: TypeAlias = Annotated[RawText, _word("shape", SHAPES)]
Day: TypeAlias = Annotated[Text, Check(_check_day)]
Days: TypeAlias = Annotated[tuple[Day, ...], LISTED, NOT_EMPTY]
Pattern: TypeAlias = Annotated[RawText, Check(_check_pattern)]
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
    tuple[Annotated[RawText, Check(_check_obligation)], ...], LISTED, NOT_EMPTY
]
