"""Samples of changed resources, before and after: paths as they are, values masked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from etl.publish.diff import UnitChange, changed_patients
from etl.publish.reader import Release

_LONGEST: Final = 40
_MOST: Final = 5
"""Most resources that are shown."""


@dataclass(frozen=True, slots=True)
class ChangedElement:
    """An element that differs.

    Attributes:
        path: FHIRPath-like path, with indices.
        before: masked value; None where it is not there.
        after: likewise.
    """

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ChangedSample:
    """A changed resource; which one is not stated.

    Attributes:
        type: FHIR type.
        elements: what differs, in the order of the resource after.
    """

    type: str
    elements: tuple[ChangedElement, ...]


def changed_samples(before: Release, after: Release) -> list[ChangedSample]:
    """Return what differs in some changed resources of patients, at most one of a patient.

    Raises:
        StoreError: something of the releases is missing or damaged.
    """
    samples = (
        _sample(before, after, change)
        for change in changed_patients(before, after)
        if change.before is not None and change.after is not None and change.changed
    )
    return list(islice(samples, _MOST))


def _sample(before: Release, after: Release, change: UnitChange) -> ChangedSample:
    # Claims show more of a night's changes than a patient's new time stamp.
    kind, logical_id = min(change.changed, key=lambda name: name[0] != "ExplanationOfBenefit")
    if change.before is None or change.after is None:
        raise AssertionError("a changed resource was there before and is after")
    old, new = (
        dict(
            _leaves(
                json.loads(release.patient_resource(unit.id, kind, logical_id), parse_float=str)
            )
        )
        for release, unit in ((before, change.before), (after, change.after))
    )
    paths = [*new, *(path for path in old if path not in new)]
    return ChangedSample(
        kind,
        tuple(
            ChangedElement(path, _masked(old.get(path)), _masked(new.get(path)))
            for path in paths
            if old.get(path) != new.get(path)
        ),
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for name, each in value.items():
                yield from _leaves(each, f"{path}.{name}" if path else name)
        case list():
            for number, each in enumerate(value):
                yield from _leaves(each, f"{path}[{number}]")
        case _:
            yield path, value if isinstance(value, str) else json.dumps(value)


def _masked(value: str | None) -> str | None:
    """Return the outline of a value: `9` for a digit, `A` or `a` for a letter."""
    if value is None:
        return None
    outline = "".join(
        "9" if char.isdigit() else "A" if char.isupper() else "a" if char.isalpha() else char
        for char in value[:_LONGEST]
    )
    return outline + ("…" if len(value) > _LONGEST else "")
