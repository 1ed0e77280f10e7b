"""What the guide's profiles mark must-support, and whether it is there.

A path names elements; `x:slice` looks into the entries of that slice, `x=code` asks for the value.
Source: CARIN Blue Button 2.0.0, snapshots of the profiles.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.given.tables import read_tables

PROFILE = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

TABLES = read_tables(__file__)
AMOUNTS = set(TABLES["amounts"])
SYSTEMS = {
    "NPI": "http://hl7.org/fhir/sid/us-npi",
    "tax": "urn:oid:2.16.840.1.113883.4.4",
    "naiccode": "urn:oid:2.16.840.1.113883.6.300",
}
CODES = {"uniqueclaimid": "uc", "memberid": "mb", "uniquememberid": "um"}


def _paths(profile: Mapping[str, Any]) -> str:
    shared = [TABLES["shared"][name] for name in profile.get("shared", ())]
    return " ".join([*shared, profile["paths"]])


MUST_SUPPORT = {name: _paths(profile) for name, profile in TABLES["profiles"].items()}


def profile_of(resource: Mapping[str, Any]) -> str:
    """Return the name of the profile that a resource says it has."""
    (url,) = resource["meta"]["profile"]
    assert url.startswith(PROFILE), url
    return url.removeprefix(PROFILE).partition("|")[0]


def missing(profile: str, resources: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the must-support paths that no resource of a profile has."""
    return {
        path
        for path in MUST_SUPPORT[profile].split()
        if not any(_has(resource, path) for resource in resources)
    }


def _has(resource: Mapping[str, Any], path: str) -> bool:
    path, _, wanted = path.partition("=")
    found = [one for one in _found([resource], path.split(".")) if _is_there(one)]
    if not wanted:
        return bool(found)
    return any(one == wanted or str(one).endswith(f"/{wanted}") for one in found)


def _found(elements: Iterable[Any], path: list[str]) -> Iterator[Any]:
    if not path:
        yield from elements
        return
    name, _, of_slice = path[0].partition(":")
    for element in elements:
        if isinstance(element, dict):
            for key, value in element.items():
                # A choice of types: timing is timingDate or timingPeriod.
                if key == name or (key.startswith(name) and key[len(name) :][:1].isupper()):
                    entries = value if isinstance(value, list) else [value]
                    chosen = [one for one in entries if not of_slice or _is_of(one, of_slice)]
                    yield from _found(chosen, path[1:])


def _is_of(entry: Mapping[str, Any], of_slice: str) -> bool:
    if of_slice in SYSTEMS:
        return entry.get("system") == SYSTEMS[of_slice]
    concept = entry.get("category") or entry.get("type") or {}
    codes = {one.get("code", "").lower() for one in concept.get("coding", [])}
    if of_slice == "adjudicationamounttype":
        return bool(codes & AMOUNTS)
    return CODES.get(of_slice, of_slice) in codes


def _is_there(value: Any) -> bool:
    if isinstance(value, dict):
        extensions = value.get("extension", [])
        has_reason = any(one.get("url") == ABSENT for one in extensions)
        return not has_reason and bool(set(value) - {"extension", "id"})
    return value not in (None, "", [])
