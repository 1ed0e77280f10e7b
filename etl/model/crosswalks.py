"""Crosswalks: words of a source into codes of a standard, as CSV that a payer can overlay.

A crosswalk file has a header `source,<column>,…`; the first answer column is the one that is meant
when none is named. Sources match without regard to case and surrounding blanks. An empty cell says
that the source word has no such code, on purpose: it is known, and absent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from etl.errors import MappingError


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """One crosswalk.

    Attributes:
        name: file name without its ending.
        columns: names of the answer columns, the default first.
        rows: source word in lower case -> answers in the order of `columns`; "" for absent.
    """

    name: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]

    def answer(self, source: str, column: str | None = None) -> str | None:
        """Return the answer for one source word, or None where it is unknown or has no code."""
        row = self.rows.get(source.strip().lower())
        if row is None:
            return None
        return row[self.columns.index(column) if column else 0] or None

    def knows(self, source: str) -> bool:
        """Tell whether a source word is in the crosswalk, with or without a code."""
        return source.strip().lower() in self.rows

    def lacks_codes(self, column: str | None = None) -> bool:
        """Tell whether one of its words has no answer in a column."""
        at = self.columns.index(column) if column else 0
        return not all(row[at] for row in self.rows.values())

    def answers(self, column: str | None = None) -> frozenset[str]:
        """Return every answer that the crosswalk can give in one column."""
        at = self.columns.index(column) if column else 0
        return frozenset(row[at] for row in self.rows.values() if row[at])

    def overlaid(self, other: Crosswalk) -> Crosswalk:
        """Return this crosswalk with the rows of a payer's own file on top."""
        return Crosswalk(self.name, self.columns, MappingProxyType({**self.rows, **other.rows}))


def read_crosswalk(text: str, name: str, *, file: str) -> Crosswalk:
    """Return the crosswalk that a CSV text holds.

    Lines that start with `#` are comments.

    Raises:
        MappingError: `crosswalk-header`, `crosswalk-row`, `crosswalk-duplicate`.
    """
    header: list[str] | None = None
    rows: dict[str, tuple[str, ...]] = {}
    reader = csv.reader(io.StringIO(text))
    for cells in reader:
        where = f"{file}:{reader.line_num}"
        if not cells or cells[0].startswith("#"):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if header[0] != "source" or len(header) < 2:
                raise MappingError(where, "crosswalk-header", "the header must be source,<code>,…")
            continue
        if len(cells) != len(header):
            raise MappingError(
                where, "crosswalk-row", f"{len(cells)} cells under {len(header)} headers"
            )
        source, *answers = (cell.strip() for cell in cells)
        if source.lower() in rows:
            raise MappingError(where, "crosswalk-duplicate", f"source {source!r} stands twice")
        rows[source.lower()] = tuple(answers)
    if header is None:
        raise MappingError(file, "crosswalk-header", "the file is empty")
    return Crosswalk(name, tuple(header[1:]), MappingProxyType(rows))
