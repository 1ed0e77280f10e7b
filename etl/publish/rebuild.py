"""A published release beside the same made again: every object that differs, and why it may.

A manifest names the hash of every object of its release, directly or through the catalog's shards:
where both manifests are the same, so is every byte. Reports and the quarantine are not compared:
they state when and how long a run was at work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from etl.publish.canonical_json import loads
from etl.publish.diff import UnitChange, changed_directory, changed_patients
from etl.publish.manifest import Manifest
from etl.publish.reader import Release
from etl.publish.verify import Problem

_UNCOMPARED: Final = ("release", "reports")
_BY_UNIT: Final = ("catalog", "directory")
"""Facts of a manifest that are compared unit by unit."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """A release that was made again.

    Attributes:
        release: id of the published one.
        remade: id of the other.
        patients: how many patients were made again.
        resources: how many resources.
        reasons: what it was made with that is not what the published one was made with.
        problems: each object that differs.
    """

    release: str
    remade: str
    patients: int
    resources: int
    reasons: tuple[str, ...]
    problems: tuple[Problem, ...]


def rebuilt(published: Release, remade: Release) -> RebuildResult:
    """Return what differs between a published release and the same made again.

    Args:
        published: the release.
        remade: the other, with a store that holds the objects of both.
    """
    counts = remade.manifest.counts
    return RebuildResult(
        published.id,
        remade.id,
        counts["patients"],
        sum(counts["resources"].values()),
        tuple(_reasons(published.manifest, remade.manifest)),
        tuple(_problems(published, remade)),
    )


def _reasons(published: Manifest, remade: Manifest) -> Iterator[str]:
    """Yield what was another when the release was made, as far as the manifest states it."""
    then, now = published.facts.mapping, remade.facts.mapping
    for name, words in (
        ("set", "the mapping set"),
        ("version", "the version of the mappings"),
        ("layout", "the layout"),
        ("view", "the view"),
    ):
        if then.get(name) != now.get(name):
            yield f"{words} is {now.get(name)}, and was {then.get(name)}"
    if then.get("fingerprint") != now.get("fingerprint"):
        yield (
            "the program, mappings, rules, crosswalks, layouts or configuration are not those of "
            f"the run (fingerprint {str(now.get('fingerprint'))[:12]}, and was "
            f"{str(then.get('fingerprint'))[:12]})"
        )
    if published.bulk and not remade.bulk:
        yield "bulk files were not made again: the setting publish.bulk is off"


def _problems(published: Release, remade: Release) -> Iterator[Problem]:
    theirs, ours = (_facts(each.manifest) for each in (published, remade))
    key = published.manifest.key
    for name in sorted(theirs.keys() | ours.keys()):
        is_compared = name not in (*_UNCOMPARED, *_BY_UNIT)
        if name == "claims" and name not in theirs:  # of a program that did not state them
            continue
        if is_compared and theirs.get(name) != ours.get(name):
            yield Problem(
                "count", key, f"{name} is not what the extract gives{_parts(theirs, ours, name)}"
            )
    if others := [name for name in _BY_UNIT if theirs[name] != ours[name]]:
        found = False
        for change in (*changed_patients(published, remade), *changed_directory(published, remade)):
            found = True
            yield from _of_unit(change, key)
        if not found:
            for name in others:
                yield Problem("catalog", key, f"the {name} is another one, with the same rows")


def _facts(manifest: Manifest) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = loads(manifest.to_bytes(), manifest.key)
    return facts


def _parts(theirs: Mapping[str, Any], ours: Mapping[str, Any], name: str) -> str:
    """Return which parts of a fact differ."""
    one, other = theirs.get(name), ours.get(name)
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return ""
    parts = sorted(part for part in one.keys() | other.keys() if one.get(part) != other.get(part))
    return f": {', '.join(parts)}"


def _of_unit(change: UnitChange, key: str) -> Iterator[Problem]:
    """Yield the resources of a patient, or of a shard of the directory, that differ."""
    unit = change.before or change.after
    place = key if unit is None else unit.block or f"{key}: {unit.id}"
    for names, words in (
        (change.changed, "is not what the extract gives"),
        (change.added, "is missing: the extract gives it"),
        (change.retracted, "is not in the extract"),
    ):
        for kind, logical_id in names:
            yield Problem("block", place, f"{kind}/{logical_id} {words}")
    if not (change.changed or change.added or change.retracted):
        yield Problem(
            "block", place, "its resources are the same, but not its bytes or its catalog row"
        )
