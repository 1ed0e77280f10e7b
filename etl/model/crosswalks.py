"""Crosswalks: words of a source into codes of a standard, as CSV that a payer can overlay.

A crosswalk file has a header `source,<column>,…`; the first answer column is the one that is meant
when none is named. Sources match without regard to case and surrounding blanks. An empty cell says
that the source word has no such code, on purpose: it is known, and absent.

Displays say what the codes of a code system are called, so that apps need not look them up. They
are crosswalks that no mapping names: the compiler of mappings gives each coding a `display`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from etl.documents.csv_text import read_csv
from etl.documents.models import Mistake
from etl.errors import MappingError, Mistakes

DISPLAYS: Final = "displays"
"""Crosswalk of what all code systems call their codes, by `system|code`; `displays/SYSTEM` is of
one system."""
DISPLAY: Final = "display"


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """One crosswalk.

    Attributes:
        name: file name without its ending.
        columns: names of the answer columns, the default first.
        rows: source word in lower case -> answers in the order of `columns`; "" for absent.
        places: source word in lower case -> file and line of its row; a word of a crosswalk that
            was made without a file has none.
        systems: code systems of which a source may name a code itself, as `system|code`; `*` for
            any. The crosswalk answers with the two then.
    """

    name: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    places: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )
    systems: frozenset[str] = frozenset()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with plain mappings: other processes run suites whose rules look up crosswalks."""
        values = (self.name, self.columns, dict(self.rows), dict(self.places), self.systems)
        return Crosswalk, values

    def answer(self, source: str, column: str | None = None) -> str | None:
        """Return the answer for one source word, or None where it is unknown or has no code."""
        row = self.rows.get(source.strip().lower())
        if row is None and self.systems:
            row = self._named(source)
        if row is None:
            return None
        return row[self.columns.index(column) if column else 0] or None

    def _named(self, source: str) -> tuple[str, ...] | None:
        """Return the answers for a code that a source names with its system."""
        system, _, code = source.strip().partition("|")
        if not code or not {system, "*"} & self.systems:
            return None
        answers = {"system": system, "code": code}
        return tuple(answers.get(column, "") for column in self.columns)

    def knows(self, source: str) -> bool:
        """Return whether a source word is in the crosswalk, with or without a code."""
        known = source.strip().lower() in self.rows
        return known or (bool(self.systems) and self._named(source) is not None)

    def lacks_codes(self, column: str | None = None) -> bool:
        """Return whether one of its words has no answer in a column."""
        index = self.columns.index(column) if column else 0
        return not all(row[index] for row in self.rows.values())

    def answers(self, column: str | None = None) -> frozenset[str]:
        """Return every answer that the crosswalk can give in one column."""
        index = self.columns.index(column) if column else 0
        return frozenset(row[index] for row in self.rows.values() if row[index])

    def overlaid(self, other: Crosswalk) -> Crosswalk:
        """Return this crosswalk with the rows of a payer's own file on top."""
        return Crosswalk(
            self.name,
            self.columns,
            MappingProxyType({**self.rows, **other.rows}),
            MappingProxyType({**self.places, **other.places}),
            self.systems,
        )


def is_of_displays(name: str) -> bool:
    """Return whether a crosswalk holds displays: it need not know every code."""
    return name.partition("/")[0] == DISPLAYS


def read_crosswalk(text: str, name: str, *, file: str) -> Crosswalk:
    """Return the crosswalk that a CSV text holds.

    Args:
        text: the lines, as `etl.documents.csv_text` reads them.
        name: the crosswalk's name.
        file: what messages call the file.

    Raises:
        MappingError: `crosswalk-header`, `crosswalk-row`, `crosswalk-duplicate`; every mistake, in
            the order of lines.
    """
    mistakes = Mistakes()
    table = read_csv(text, file, "crosswalk-row", mistakes, _header)
    rows: dict[str, tuple[str, ...]] = {}
    places: dict[str, str] = {}
    for row in table.rows:
        source, *answers = row.values()
        if source.lower() in rows:
            what = f"source {source!r} appears twice"
            mistakes.add(MappingError(str(row.mark), "crosswalk-duplicate", what))
        rows[source.lower()] = tuple(answers)
        places[source.lower()] = str(row.mark)
    mistakes.report()
    return Crosswalk(name, table.columns[1:], MappingProxyType(rows), MappingProxyType(places))


def _header(cells: tuple[str, ...]) -> tuple[str, ...]:
    what = ""
    if not cells:
        what = "the file is empty; it must begin with the header source,<code>,…"
    elif cells[0] != "source" or len(cells) < 2:
        what = "the header must be source,<code>,…"
    elif len(set(cells)) < len(cells):
        what = "a column appears twice in the header"
    if what:
        raise Mistake("crosswalk-header", what)
    return cells


Displays: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]
"""System and code -> display, and where that is said."""


def read_displays(text: str, file: str) -> Displays:
    """Return the displays that a CSV text with the columns `system,code,display` holds.

    Raises:
        MappingError: `display-header`, `display-row`; every mistake, in the order of lines.
    """
    mistakes = Mistakes()
    displays: dict[tuple[str, str], tuple[str, str]] = {}
    for row in read_csv(text, file, "display-row", mistakes, _display_header).rows:
        system, code, display = row["system"], row["code"], row["display"]
        what = f"code {code!r} of {system} appears twice" if (system, code) in displays else ""
        if not (system and code and display):
            what = "a cell is empty; a code without a display has no line"
        if what:
            mistakes.add(MappingError(str(row.mark), "display-row", what))
        displays[system, code] = (display, str(row.mark))
    mistakes.report()
    return displays


def _display_header(cells: tuple[str, ...]) -> tuple[str, ...]:
    if cells != ("system", "code", DISPLAY):
        raise Mistake("display-header", f"the header must be system,code,{DISPLAY}")
    return cells


def display_crosswalks(displays: Displays) -> dict[str, Crosswalk]:
    """Return the crosswalks of some displays by name, one a code system and one of all."""
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    for (system, code), said in displays.items():
        rows.setdefault(f"{DISPLAYS}/{system}", {})[code.lower()] = said
        rows.setdefault(DISPLAYS, {})[f"{system}|{code}".lower()] = said
    return {
        name: Crosswalk(
            name,
            (DISPLAY,),
            MappingProxyType({word: (display,) for word, (display, _) in said.items()}),
            MappingProxyType({word: place for word, (_, place) in said.items()}),
        )
        for name, said in rows.items()
    }
