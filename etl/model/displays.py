"""Displays: what the codes of a code system are called, so that apps need not look them up.

They are crosswalks that no mapping names: the compiler of mappings gives each coding a `display`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from etl.documents.csv_text import read_csv
from etl.documents.models import Mistake
from etl.errors import MappingError, Mistakes
from etl.model.crosswalks import DISPLAY, DISPLAYS, Crosswalk

Displays: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]
"""System and code -> display, and where that is said."""


def read_displays(text: str, file: str) -> Displays:
    """Return the displays that a CSV text with the columns `system,code,display` holds.

    Raises:
        MappingError: `display-header`, `display-row`; every mistake, in the order of lines.
    """
    mistakes = Mistakes()
    displays: dict[tuple[str, str], tuple[str, str]] = {}
    for row in read_csv(text, file, "display-row", mistakes, _header).rows:
        system, code, display = row["system"], row["code"], row["display"]
        what = f"code {code!r} of {system} stands twice" if (system, code) in displays else ""
        if not (system and code and display):
            what = "a cell is empty; a code without a display has no line"
        if what:
            mistakes.add(MappingError(str(row.mark), "display-row", what))
        displays[system, code] = (display, str(row.mark))
    mistakes.report()
    return displays


def _header(cells: tuple[str, ...]) -> tuple[str, ...]:
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
