"""The page of a difference: what a run would change, or what one release changed of another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from etl.publish.diff import UnitChange, changed_patients
from etl.publish.manifest import Changes
from etl.publish.network_changes import NetworkChanges
from etl.publish.reader import Release
from etl.reports.must_support import short_name
from etl.reports.page import environment

_SHOWN: Final = 100
"""Providers of a network that are shown of each change."""


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit, and whether it holds.

    Attributes:
        sentence: the limit in words.
        holds: whether it does.
    """

    sentence: str
    holds: bool


@dataclass(frozen=True, slots=True)
class MovedElement:
    """A must-support element that another share of a profile's resources has.

    Attributes:
        profile: short name of the profile.
        element: the element, by its id in the profile.
        before: how many resources had it, of how many.
        after: how many have it, of how many.
    """

    profile: str
    element: str
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Contents of the page.

    Attributes:
        title: what is compared.
        before: id of the release before; None before the first.
        after: id of the release after; None where it is planned.
        changes: members and resources.
        money: net sums before and now (`changes.money_changes`); None if a report is missing.
        limits: limits of a planned run.
        stops: why the run would stop; empty where it would not.
        causes: (rule, claims, rows) that a planned run would reject, by first cause.
        new_rules: rules that find something and found nothing before; None where that is not known.
        new_unmapped: crosswalk and number of words that are newly unmapped; None likewise.
        must_support: must-support elements of which another share of resources has them; None
            likewise.
        samples: changed resources, values masked.
        is_directory: whether they are of a directory of providers: without members and money.
        networks: networks and plans of a directory that changed; None of claims, and before the
            first release.
    """

    title: str
    before: str | None
    after: str | None
    changes: Changes
    money: Sequence[Mapping[str, Any]] | None
    limits: Sequence[LimitLine] = ()
    stops: str = ""
    causes: Sequence[tuple[str, int, int]] = ()
    new_rules: Sequence[str] | None = None
    new_unmapped: Sequence[Mapping[str, Any]] | None = None
    must_support: Sequence[MovedElement] | None = None
    samples: Sequence[Any] = ()
    is_directory: bool = False
    networks: NetworkChanges | None = None


def changes_page(page: ChangesPage) -> str:
    """Return the page, which needs no script and loads nothing."""
    return environment().get_template("changes.html.j2").render(page=page, shown=_SHOWN)


def moved_elements(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[MovedElement] | None:
    """Return the must-support elements that another share of a profile's resources has.

    That is a share that moved by a percentage point or more, or to or from none. Profiles that
    have resources in one of the two alone are left out.

    Args:
        before: a report's document.
        after: another one; `must_support` of it is enough.

    Returns:
        None where the report before was made by a program that did not count them.
    """
    if "must_support" not in before:
        return None
    were = {profile["profile"]: profile for profile in before["must_support"]}
    moved = []
    for profile in after["must_support"]:
        old, name = were.get(profile["profile"]), profile["profile"]
        if old is None or not old["resources"] or not profile["resources"]:
            continue
        for element, filled in profile["filled"].items():
            was = (old["filled"].get(element, 0), old["resources"])
            now = (filled, profile["resources"])
            if abs(was[0] / was[1] - now[0] / now[1]) >= 0.01 or bool(was[0]) != bool(now[0]):
                moved.append(MovedElement(short_name(name), element, was, now))
    return moved


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
