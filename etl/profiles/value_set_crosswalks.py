"""Value sets of a guide as crosswalks: every code answers itself, with its system.

A payer's words go on top of them, as of any other crosswalk.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.model.crosswalks import Crosswalk
from etl.profiles.guides import Guide
from etl.profiles.structures import load_profile, profile_names
from etl.profiles.value_sets import value_set, value_set_urls

_COLUMNS: Final = ("code", "system")
_ANY: Final = frozenset({"*"})


def value_set_crosswalks(guide: Guide, folder: str) -> Mapping[str, Crosswalk]:
    """Return a crosswalk for each value set of a guide's facts, by name.

    Codes of other systems answer themselves as `system|code`: of any system, but where a profile
    requires a code of the value set; of its own open systems alone there.

    Args:
        guide: one with value sets among its facts.
        folder: beginning of the crosswalks' names; the last part of the value set's url follows.
    """
    closed = _closed_sets(guide)
    crosswalks: dict[str, Crosswalk] = {}
    for url in value_set_urls(guide):
        values = value_set(url, guide)
        name = f"{folder}/{url.rpartition('/')[2]}"
        rows = {code.code.lower(): (code.code, code.system) for code in values.codes}
        systems = values.open_systems if url in closed else _ANY
        crosswalks[name] = Crosswalk(name, _COLUMNS, MappingProxyType(rows), systems=systems)
    return MappingProxyType(crosswalks)


def open_set(name: str) -> Crosswalk:
    """Return the crosswalk of a value set without known codes."""
    return Crosswalk(name, _COLUMNS, MappingProxyType({}), systems=_ANY)


def _closed_sets(guide: Guide) -> frozenset[str]:
    """Return the value sets that profiles require codes of."""
    return frozenset(
        element.binding.value_set
        for name in profile_names(guide)
        for element in load_profile(name, guide).elements
        if element.binding is not None and element.binding.strength == "required"
    )
