"""Canonical tables as values: columns, what their text is, keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class FieldType(Enum):
    """Kind of text in a cell. Every cell stays text; the kind says which text is valid."""

    TEXT = "text"
    CODE = "code"
    DATE = "date"
    """`YYYY-MM-DD` or `YYYYMMDD` (the guide's TS8); canonical form `YYYY-MM-DD`."""
    TIMESTAMP = "timestamp"
    """A date or an RFC 3339 instant; canonical form is whichever was sent, in that shape."""
    MONEY = "money"
    """A decimal of at most two fraction digits; canonical form has exactly two. Never a float."""
    DECIMAL = "decimal"
    """A decimal; canonical form without sign `+`, exponent or leading zeros."""
    INTEGER = "integer"
    FLAG = "flag"
    """`Y` or `N`."""
    LIST = "list"
    """Values joined by `;`; canonical form has no blanks around them and no empty ones."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a canonical table.

    Attributes:
        name: header, in snake case; files may spell it in any case with blanks or hyphens.
        type: how its text is read.
        map_ids: the MapIDs of the CPCDS Data Dictionary that it carries; empty where CPCDS has no
            element for it.
        required: a row without it cannot be published.
        meaning: what a payer's own column holds; empty for those of the product.
    """

    name: str
    type: FieldType = FieldType.TEXT
    map_ids: tuple[int, ...] = ()
    required: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One canonical table.

    Attributes:
        name: unique over all data models; also that of its file, without the ending.
        grain: what one row is.
        key: the columns that name a row; together they are unique.
        compulsory: an extract without this table is refused.
        columns: in the order of the documentation, the two of `EVERY_TABLE` last; behind them a
            payer's own.
        file: name of its file without the ending, where that is another.
        made_of: for a table that the engine makes, the one that it is made of.
        optional: most extracts do without it, and reports name it only where it has rows.
        owner: the table whose row a row belongs to, named by the columns of that table's key.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    compulsory: bool
    columns: tuple[Column, ...]
    file: str = ""
    made_of: str = ""
    owner: str = ""
    optional: bool = False

    @property
    def file_name(self) -> str:
        """The name of its file in the canonical layout, without the ending."""
        return self.file or self.name

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def own_columns(self) -> tuple[Column, ...]:
        """The columns that a payer declared."""
        return tuple(column for column in self.columns if column.meaning)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that must be filled in every row."""
        return tuple(column.name for column in self.columns if column.required)


FILE_COLUMN: Final = "_file"
"""int32: which file of the extract a row came from (index into the extract's list of files)."""
ROW_COLUMN: Final = "_row"
"""int64: the row's number in that file as a spreadsheet shows it: the header is row 1."""

EVERY_TABLE: Final = (
    Column("record_action", FieldType.CODE),
    Column("last_updated", FieldType.TIMESTAMP, (163,)),
)
"""Columns that every table may carry: A add, U update, D delete (A when absent); MapID 163."""
