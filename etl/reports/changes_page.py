"""The page of a difference: what a run would change, or what one release changed of another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, TypeAlias

from etl.model.code_shapes import outline
from etl.publish.diff import Name, diff_patients
from etl.publish.manifest import Changes
from etl.publish.network_changes import NetworkChanges
from etl.publish.reader import Release
from etl.quality.totals.limits import Verdict
from etl.reports.must_support import short_name
from etl.reports.page import environment
from etl.reports.summary import Cause

_MAX_PROVIDERS: Final = 100
"""Most providers of a network to show for each kind of change."""

Masked: TypeAlias = tuple[str, str, str]
"""The outline of a value: before the part that differs, that part, and after it."""
ChangedSample: TypeAlias = tuple[str, Mapping[str, tuple[Masked | None, Masked | None]]]
"""A changed resource without its ID: its FHIR type; path of an element that differs -> its masked
values before and after, None if it is absent."""


@dataclass(frozen=True, slots=True)
class MovedElement:
    """A must-support element whose share of a profile's resources changed.

    Attributes:
        profile: short name of the profile.
        element: the element, by its id in the profile.
        before: resources that had it, and all resources then.
        after: resources that have it, and all resources now.
    """

    profile: str
    element: str
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Contents of the page.

    Attributes:
        title: names the comparison.
        before: ID of the earlier release; None before the first.
        after: ID of the later release; None if it is planned.
        changes: changed members and resources.
        money: net sums before and now (`changes.money_changes`); None if a report is missing.
        limits: limits of a planned run.
        stops: why the run would stop; empty if it would not.
        causes: what a planned run would reject, by first cause.
        news: rules that newly find something, and newly unmapped words by crosswalk; None if
            unknown.
        must_support: must-support elements whose share of resources changed; None if unknown.
        samples: changed resources, values masked.
        has_claims: whether the releases are of members, claims and money.
        networks: networks and plans of a directory that changed; None for claims and before the
            first release.
        definitions: a sentence on the definitions that changed; empty if none did.
    """

    title: str
    before: str | None
    after: str | None
    changes: Changes
    money: Sequence[Mapping[str, Any]] | None
    limits: Sequence[Verdict] = ()
    stops: str = ""
    causes: Sequence[Cause] = ()
    news: tuple[Sequence[str], Sequence[Mapping[str, Any]]] | None = None
    must_support: Sequence[MovedElement] | None = None
    samples: Sequence[ChangedSample] = ()
    has_claims: bool = True
    networks: NetworkChanges | None = None
    definitions: str = ""


def changes_page(page: ChangesPage) -> str:
    """Return the page as HTML without scripts or external files."""
    return environment().get_template("changes.html.j2").render(page=page, shown=_MAX_PROVIDERS)


def moved_elements(
    earlier: Mapping[str, Any], later: Mapping[str, Any]
) -> list[MovedElement] | None:
    """Return the must-support elements whose share of a profile's resources changed.

    The share moved by a percentage point or more, or to or from zero. Profiles with resources in
    only one of the two reports are left out.

    Args:
        earlier: the document of the earlier report.
        later: the document of the later one; only `must_support` is read.

    Returns:
        None if the earlier report was made by a program that did not count them.
    """
    if "must_support" not in earlier:
        return None
    previous_profiles = {profile["profile"]: profile for profile in earlier["must_support"]}
    moved = []
    for profile in later["must_support"]:
        previous, profile_name = previous_profiles.get(profile["profile"]), profile["profile"]
        if previous is None or not previous["resources"] or not profile["resources"]:
            continue
        for element, filled in profile["filled"].items():
            old = (previous["filled"].get(element, 0), previous["resources"])
            new = (filled, profile["resources"])
            if abs(old[0] / old[1] - new[0] / new[1]) >= 0.01 or bool(old[0]) != bool(new[0]):
                moved.append(MovedElement(short_name(profile_name), element, old, new))
    return moved


_CONTEXT: Final = 12
"""Characters to show before and after the part that differs."""
_MAX_SAMPLES: Final = 5
"""Most changed resources to show."""


def changed_samples(earlier: Release, later: Release) -> list[ChangedSample]:
    """Return the differences in some changed resources, at most one per patient.

    Raises:
        StoreError: an object of a release is missing or damaged.
    """
    samples: list[ChangedSample] = []
    for change in diff_patients(earlier, later):
        if change.old_entry is None or change.new_entry is None or not change.changed:
            continue
        # A claim shows more about a night's changes than a patient's new time stamp.
        name = min(change.changed, key=lambda name: name[0] != "ExplanationOfBenefit")
        old_values = _values(earlier, change.old_entry.id, name)
        new_values = _values(later, change.new_entry.id, name)
        paths = {**new_values, **old_values}
        values = {path: (old_values.get(path), new_values.get(path)) for path in paths}
        outlines = {path: _mask_pair(*pair) for path, pair in values.items() if pair[0] != pair[1]}
        samples.append((name[0], outlines))
        if len(samples) == _MAX_SAMPLES:
            break
    return samples


def _values(release: Release, patient: str, name: Name) -> dict[str, str]:
    """Return the values of a resource by path."""
    return dict(_leaf_values(json.loads(release.patient_resource(patient, *name), parse_float=str)))


def _leaf_values(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for name, child in value.items():
                yield from _leaf_values(child, f"{path}.{name}" if path else name)
        case list():
            for index, child in enumerate(value):
                yield from _leaf_values(child, f"{path}[{index}]")
        case _:
            yield path, value if isinstance(value, str) else json.dumps(value)


def _mask_pair(old_text: str | None, new_text: str | None) -> tuple[Masked | None, Masked | None]:
    """Return the outlines of two values, split where they differ."""
    if old_text is None or new_text is None:
        return _mask_whole(old_text), _mask_whole(new_text)
    prefix = _prefix_length(old_text, new_text)
    suffix = _prefix_length(old_text[prefix:][::-1], new_text[prefix:][::-1])
    return _mask_parts(old_text, prefix, suffix), _mask_parts(new_text, prefix, suffix)


def _mask_whole(value: str | None) -> Masked | None:
    return None if value is None else ("", outline(value), "")


def _prefix_length(first: str, second: str) -> int:
    """Return the length of the common prefix of two texts."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))))


def _mask_parts(value: str, prefix: int, suffix: int) -> Masked:
    end = len(value) - suffix
    head, changed, tail = value[:prefix], value[prefix:end], value[end:]
    return (
        "…" * (len(head) > _CONTEXT) + outline(head[-_CONTEXT:]),
        outline(changed),
        outline(tail[:_CONTEXT]) + "…" * (len(tail) > _CONTEXT),
    )
