"""One file of an extract, as opening it found it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from etl.sources.files.listed_files import PARQUET_FORM, Listed, RowForm
from etl.sources.files.splits import Cut
from etl.sources.files.stored_files import ExtractFiles, TableVersion

SOURCE_PLACES: Final = ("source_file", "source_row")
"""Columns of a computed file that name the payer's file and row behind each of its rows."""
SPILLED_SOURCES: Final = tuple(f"?{header}" for header in SOURCE_PLACES)
"""The names that `spill_names` gives them."""
LAYERS: Final = "layers"
"""Kind of `TableVersion` of rows that were merged from several extracts (deltas)."""
RESULT_OF: Final = "result of "
"""Beginning of what people call the rows of a query; the query's file follows."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an extract, or the records of one type in it.

    Attributes:
        index: what `_file` says in its rows.
        name: its name inside the extract; of records of one type among several `<file>#<table>`.
        table: its raw table in the layout; "" where the layout does not use it.
        bytes: its size.
        sha256: its hash, in lower-case hex.
        columns: its headers as they are written, trimmed.
        known: the layout's name for each of them; None where it has none.
        form: how its rows are written.
        compression: `gzip` or `zstd`; "" where it is not compressed.
        rows: number of rows that the manifest states; None where it states none, and for Parquet,
            where the file's own count was compared. Of a file that queries read, its rows.
        cuts: where it may be cut into spans of rows.
        lines: how many rows were counted in its bytes, the header and blank ones too; None where
            they were not, because it is compressed or Parquet.
        stored: its name inside the extract.
        widths: number of characters of each column; empty where cells are delimited.
        types: raw table and columns of every type of record in it; empty where rows are not lines.
        origin: the table that its rows were taken from; None where it is a file itself.
    """

    index: int
    name: str
    table: str
    bytes: int
    sha256: str
    columns: tuple[str, ...] = ()
    known: tuple[str | None, ...] = ()
    form: RowForm = PARQUET_FORM
    compression: str = ""
    rows: int | None = None
    cuts: tuple[Cut, ...] = ()
    lines: int | None = None
    stored: str = ""
    widths: tuple[int, ...] = ()
    types: tuple[tuple[str, tuple[str, ...]], ...] = ()
    origin: TableVersion | None = None

    @property
    def query(self) -> str:
        """The file of the query that computed its rows; "" where none did."""
        return self.origin.table if self.origin and self.origin.kind == "query" else ""

    @property
    def is_computed(self) -> bool:
        """Whether queries or a merge of extracts made its rows, and may name those behind them."""
        return self.origin is not None and self.origin.kind in ("query", LAYERS)

    @property
    def title(self) -> str:
        """Its name for people, who have not seen the result of a query as a file."""
        return f"{RESULT_OF}{self.query}" if self.query else self.name

    def listed(self, files: ExtractFiles) -> Listed:
        """Return the file as one of those of its extract."""
        stored = self.stored or self.name
        return Listed(stored, files, stored, self.form.delimiter, self.compression)


def spill_names(source: SourceFile) -> tuple[str, ...]:
    """Return distinct names for the columns of a file: the layout's, else the header marked.

    A header that is not in the layout gets a `?` before it, so that it can never be taken for one
    that is. An empty header gets its number.
    """
    pairs = zip(source.columns, source.known, strict=True)
    return tuple(
        name or f"?{header or number}" for number, (header, name) in enumerate(pairs, start=1)
    )
