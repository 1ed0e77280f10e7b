"""Small resources that conform, written by hand: one member, one coverage, a claim of each kind."""

import copy
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

CANONICAL = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"
C4BB = "http://hl7.org/fhir/us/carin-bb/CodeSystem/"
THO = "http://terminology.hl7.org/CodeSystem/"
WHEN = "2024-03-01T00:00:00Z"


def concept(system: str, code: str, version: str | None = None) -> Json:
    coding = {"system": system, "code": code}
    if version:
        coding["version"] = version
    return {"coding": [coding]}


def meta(profile: str) -> Json:
    return {"lastUpdated": WHEN, "profile": [f"{CANONICAL}{profile}|2.2.0"]}


def reference(kind: str, logical_id: str) -> Json:
    return {"reference": f"{kind}/{logical_id}"}


_POPULATION = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def population() -> list[Json]:
    """All of them; every reference among them resolves."""
    return copy.deepcopy(_POPULATION)


def sample(logical_id: str) -> Json:
    """The one with an id."""
    return next(resource for resource in population() if resource["id"] == logical_id)


def changed(resource: Json, *path: str | int, to: Any) -> Json:
    """A copy with one place changed."""
    made = copy.deepcopy(resource)
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return made


def without(resource: Json, *path: str | int) -> Json:
    """A copy with one place taken out."""
    made = copy.deepcopy(resource)
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return made
