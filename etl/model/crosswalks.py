"""Crosswalks translate a source's words into standard codes; a payer can overlay the CSV files.

A crosswalk file has a header `source,<column>,…`; the first answer column is the default. Sources
match without regard to case and surrounding blanks. An empty cell means that the source word is
known to have no such code.

Displays are the names of codes, so that apps needn't look them up. They are crosswalks that no
mapping names: the compiler of mappings gives each coding a `display`.
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
"""Crosswalk of the displays of all code systems, by `system|code`; `displays/SYSTEM` is for one."""
DISPLAY: Final = "display"


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """One crosswalk.

    Attributes:
        name: file name without its ending.
        columns: names of the answer columns, the default first.
        rows: source word in lower case -> answers in the order of `columns`; "" for no code.
        marks: source word in lower case -> file and line of its row; empty for a crosswalk without
            a file.
        systems: code systems whose codes a source may state as `system|code`, which is then also
            the answer; `*` for any.
    """

    name: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    marks: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )
    systems: frozenset[str] = frozenset()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with plain mappings, because MappingProxyType can't be pickled."""
        values = (self.name, self.columns, dict(self.rows), dict(self.marks), self.systems)
        return Crosswalk, values

    def answer(self, source: str, column: str | None = None) -> str | None:
        """Return the answer for a source word; None if it is unknown or has no code."""
        row = self.rows.get(source.strip().lower())
        if row is None and self.systems:
            row = self._answer_coded(source)
        if row is None:
            return None
        return row[self.columns.index(column) if column else 0] or None

    def _answer_coded(self, source: str) -> tuple[str, ...] | None:
        """Return the answers for a word that is `system|code` itself."""
        system, _, code = source.strip().partition("|")
        if not code or not {system, "*"} & self.systems:
            return None
        answers = {"system": system, "code": code}
        return tuple(answers.get(column, "") for column in self.columns)

    def knows(self, source: str) -> bool:
        """Return whether a source word is in the crosswalk, with or without a code."""
        is_listed = source.strip().lower() in self.rows
        return is_listed or (bool(self.systems) and self._answer_coded(source) is not None)

    def lacks_codes(self, column: str | None = None) -> bool:
        """Return whether any word has no answer in a column."""
        index = self.columns.index(column) if column else 0
        return not all(row[index] for row in self.rows.values())

    def answers(self, column: str | None = None) -> frozenset[str]:
        """Return all answers of one column."""
        index = self.columns.index(column) if column else 0
        return frozenset(row[index] for row in self.rows.values() if row[index])

    def overlaid(self, overlay: Crosswalk) -> Crosswalk:
        """Return this crosswalk with the rows of a payer's file added or replaced."""
        return Crosswalk(
            self.name,
            self.columns,
            MappingProxyType({**self.rows, **overlay.rows}),
            MappingProxyType({**self.marks, **overlay.marks}),
            self.systems,
        )


def is_of_displays(name: str) -> bool:
    """Return whether a crosswalk contains displays, and so may be incomplete."""
    return name.partition("/")[0] == DISPLAYS


def read_crosswalk(text: str, name: str, *, file: str) -> Crosswalk:
    """Parse a crosswalk from CSV.

    Args:
        text: the CSV, as `etl.documents.csv_text` reads it.
        name: the crosswalk's name.
        file: the file's name in messages.

    Raises:
        MappingError: the file has mistakes (`crosswalk-header`, `crosswalk-row`,
            `crosswalk-duplicate`); the error lists all of them.
    """
    mistakes = Mistakes()
    table = read_csv(text, file, "crosswalk-row", mistakes, _check_header)
    rows: dict[str, tuple[str, ...]] = {}
    marks: dict[str, str] = {}
    for row in table.rows:
        source, *answers = row.values()
        if source.lower() in rows:
            problem = f"source {source!r} appears twice"
            mistakes.add(MappingError(str(row.mark), "crosswalk-duplicate", problem))
        rows[source.lower()] = tuple(answers)
        marks[source.lower()] = str(row.mark)
    mistakes.report()
    return Crosswalk(name, table.columns[1:], MappingProxyType(rows), MappingProxyType(marks))


def _check_header(cells: tuple[str, ...]) -> tuple[str, ...]:
    problem = ""
    if not cells:
        problem = "the file is empty; it must begin with the header source,<code>,…"
    elif cells[0] != "source" or len(cells) < 2:
        problem = "the header must be source,<code>,…"
    elif len(set(cells)) < len(cells):
        problem = "a column appears twice in the header"
    if problem:
        raise Mistake("crosswalk-header", problem)
    return cells


Displays: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]
"""System and code -> display, and its file and line."""


def read_displays(text: str, file: str) -> Displays:
    """Parse displays from CSV with the columns `system,code,display`.

    Raises:
        MappingError: the file has mistakes (`display-header`, `display-row`); the error lists all
            of them.
    """
    mistakes = Mistakes()
    displays: dict[tuple[str, str], tuple[str, str]] = {}
    for row in read_csv(text, file, "display-row", mistakes, _check_display_header).rows:
        system, code, display = row["system"], row["code"], row["display"]
        problem = f"code {code!r} of {system} appears twice" if (system, code) in displays else ""
        if not (system and code and display):
            problem = "a cell is empty; a code without a display has no line"
        if problem:
            mistakes.add(MappingError(str(row.mark), "display-row", problem))
        displays[system, code] = (display, str(row.mark))
    mistakes.report()
    return displays


def _check_display_header(cells: tuple[str, ...]) -> tuple[str, ...]:
    if cells != ("system", "code", DISPLAY):
        raise Mistake("display-header", f"the header must be system,code,{DISPLAY}")
    return cells


def display_crosswalks(displays: Displays) -> dict[str, Crosswalk]:
    """Build the crosswalks of displays by name: one per code system, and one of all."""
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    for (system, code), entry in displays.items():
        rows.setdefault(f"{DISPLAYS}/{system}", {})[code.lower()] = entry
        rows.setdefault(DISPLAYS, {})[f"{system}|{code}".lower()] = entry
    return {
        name: Crosswalk(
            name,
            (DISPLAY,),
            MappingProxyType({word: (display,) for word, (display, _) in entry.items()}),
            MappingProxyType({word: place for word, (_, place) in entry.items()}),
        )
        for name, entry in rows.items()
    }
