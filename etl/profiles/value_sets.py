"""Value sets and code systems of guides and their bindings, as far as they are known.

Only the code systems that a guide itself defines have displays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from etl.model.crosswalks import Crosswalk
from etl.profiles.guides import DEFAULT, Guide, read_facts, versions_of
from etl.profiles.structures import load_profile, profile_names

Status = Literal["complete", "partial", "open", "unavailable"]


@dataclass(frozen=True, slots=True)
class Code:
    """One code of a value set.

    Attributes:
        system: its code system.
        code: the code itself.
        version: the system's version if the value set names one, for `coding.version`.
        display: only for code systems that the guide itself defines; else None.
    """

    system: str
    code: str
    version: str | None = None
    display: str | None = None


@dataclass(frozen=True, slots=True)
class ValueSet:
    """The codes of one value set, as far as they are known.

    Attributes:
        url: canonical without version.
        status: `complete`: `codes` has all codes. `partial`: some codes, and entire systems with
            unknown codes. `open`: only such systems. `unavailable`: nothing is known.
        codes: in the order of the value set.
        open_systems: systems whose codes may all be in it.
    """

    url: str
    status: Status
    codes: tuple[Code, ...]
    open_systems: frozenset[str]
    _pairs: frozenset[tuple[str, str]] = field(repr=False, compare=False)

    def includes(self, system: str, code: str) -> bool | None:
        """Return whether a code is in the set; None if unknown."""
        if (system, code) in self._pairs:
            return True
        if self.status == "unavailable" or system in self.open_systems:
            return None
        return False

    @property
    def systems(self) -> frozenset[str]:
        """Every system that a code of this set may have; empty if nothing is known."""
        return self.open_systems | {code.system for code in self.codes}


def value_set(url: str, guide: Guide = DEFAULT) -> ValueSet:
    """Load a value set of a guide.

    Args:
        url: canonical; a version after `|` is ignored.
        guide: a guide with value sets among its facts.

    Returns:
        The value set; one of status `unavailable`, without codes, if it is unknown.
    """
    return _load_value_set(url.partition("|")[0], guide)


@cache
def _load_value_set(url: str, guide: Guide) -> ValueSet:
    # The facts of an older version contain only differences from the default one.
    facts = _load_value_sets(guide).get(url) or _load_value_sets(versions_of(guide)[0]).get(url)
    if facts is None:
        return ValueSet(url, "unavailable", (), frozenset(), frozenset())
    codes = tuple(Code(**entry) for entry in facts["codes"])
    pairs = frozenset((code.system, code.code) for code in codes)
    return ValueSet(url, facts["status"], codes, frozenset(facts["open_systems"]), pairs)


@cache
def _load_value_sets(guide: Guide) -> Mapping[str, Any]:
    return MappingProxyType(read_facts(guide, "value-sets"))


def value_set_urls(guide: Guide = DEFAULT) -> tuple[str, ...]:
    """Return the canonicals of all value sets of a guide."""
    return tuple(sorted({*_load_value_sets(versions_of(guide)[0]), *_load_value_sets(guide)}))


@cache
def code_systems(guide: Guide = DEFAULT) -> Mapping[str, Mapping[str, str]]:
    """Return a guide's own code systems: url -> code -> display."""
    facts = read_facts(guide, "code-systems")
    return MappingProxyType({url: MappingProxyType(s["codes"]) for url, s in facts.items()})


DATA_ABSENT_REASON: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
"""The extension (FHIR R4)."""

ABSENT_REASONS: Final = frozenset(
    {
        "unknown",
        "asked-unknown",
        "temp-unknown",
        "not-asked",
        "asked-declined",
        "masked",
        "not-applicable",
        "unsupported",
        "as-text",
        "error",
        "not-a-number",
        "negative-infinity",
        "positive-infinity",
        "not-performed",
        "not-permitted",
    }
)
"""Its codes: the value set data-absent-reason of FHIR R4."""


_COLUMNS: Final = ("code", "system")
_ANY: Final = frozenset({"*"})


def value_set_crosswalks(guide: Guide, folder: str) -> Mapping[str, Crosswalk]:
    """Build a crosswalk for each value set of a guide, by name.

    A source may also state codes of other systems as `system|code`: of any system or, if a profile
    requires the value set, of its open systems.

    Args:
        guide: a guide with value sets among its facts.
        folder: prefix of the crosswalks' names; the last part of the value set's URL follows.
    """
    required_urls = _required_value_sets(guide)
    crosswalks: dict[str, Crosswalk] = {}
    for url in value_set_urls(guide):
        codes_of_set = value_set(url, guide)
        name = f"{folder}/{url.rpartition('/')[2]}"
        rows = {code.code.lower(): (code.code, code.system) for code in codes_of_set.codes}
        systems = codes_of_set.open_systems if url in required_urls else _ANY
        crosswalks[name] = Crosswalk(name, _COLUMNS, MappingProxyType(rows), systems=systems)
    return MappingProxyType(crosswalks)


def open_crosswalk(name: str) -> Crosswalk:
    """Build the crosswalk of a value set without known codes."""
    return Crosswalk(name, _COLUMNS, MappingProxyType({}), systems=_ANY)


def _required_value_sets(guide: Guide) -> frozenset[str]:
    """Return the value sets with a required binding."""
    return frozenset(
        element.binding.value_set
        for name in profile_names(guide)
        for element in load_profile(name, guide).elements
        if element.binding is not None and element.binding.strength == "required"
    )
