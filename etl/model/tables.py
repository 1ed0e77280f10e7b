"""Classes for canonical tables: columns, their types, keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class FieldType(Enum):
    """Type of a cell. Every cell stays text; the type decides which text is valid."""

    TEXT = "text"
    CODE = "code"
    DATE = "date"
    """`YYYY-MM-DD` or `YYYYMMDD` (the guide's TS8); canonical form `YYYY-MM-DD`."""
    TIMESTAMP = "timestamp"
    """A date or an RFC 3339 instant; the canonical form keeps which of them it is."""
    MONEY = "money"
    """A decimal of at most two fraction digits; canonical form has exactly two. Never a float."""
    DECIMAL = "decimal"
    """A decimal; canonical form has no `+`, exponent or leading zeros."""
    INTEGER = "integer"
    FLAG = "flag"
    """`Y` or `N`."""
    LIST = "list"
    """Values joined by `;`; canonical form has no surrounding blanks or empty values."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a canonical table.

    Attributes:
        name: header, in snake case; files may spell it in any case with blanks or hyphens.
        type: the type of its cells.
        map_ids: its MapIDs in the CPCDS Data Dictionary; empty if CPCDS has no such element.
        required: a row without it can't be published.
        meaning: the meaning of a payer's own column; empty for those of the product.
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
        name: unique across all data models; also its file's name without extension.
        grain: what one row is.
        key: the columns that identify a row.
        compulsory: an extract without this table is refused.
        columns: in the order of the documentation, then the two of `EVERY_TABLE`, then a payer's
            own.
        file: its file's name without extension, if it isn't `name`.
        made_of: for a table that the engine derives, the source table.
        made_of_list: the source table's list whose values become rows; empty if it is no list.
        optional: most extracts don't have it, and reports omit it if it has no rows.
        owner: the parent table; rows refer to it by its key columns.
        profile: for a model without members, the profile of the resources that its rows become.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    compulsory: bool
    columns: tuple[Column, ...]
    file: str = ""
    made_of: str = ""
    made_of_list: str = ""
    owner: str = ""
    optional: bool = False
    profile: str = ""

    @property
    def file_name(self) -> str:
        """Its file's name in the canonical layout, without extension."""
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
"""int32: the file that a row came from, as index into the extract's list of files."""
ROW_COLUMN: Final = "_row"
"""int64: the row's number in that file; the header is row 1, as in a spreadsheet."""

EVERY_TABLE: Final = (
    Column("record_action", FieldType.CODE),
    Column("last_updated", FieldType.TIMESTAMP, (163,)),
)
"""Columns that every table may have: A add, U update, D delete (default A); MapID 163."""
