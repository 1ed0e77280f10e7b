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

_SHOWN: Final = 100
"""Providers of a network that are shown of each change."""

Masked: TypeAlias = tuple[str, str, str]
"""The outline of a value: what is before the part that differs, that part, what is behind it."""
ChangedSample: TypeAlias = tuple[str, Mapping[str, tuple[Masked | None, Masked | None]]]
"""A changed resource, which one is not stated: its FHIR type; path of an element that differs ->
its masked values before and after, None where it is not there."""


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
        causes: what a planned run would reject, by first cause.
        news: rules that newly find something, and newly unmapped words by crosswalk; None where
            that is not known.
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
    limits: Sequence[Verdict] = ()
    stops: str = ""
    causes: Sequence[Cause] = ()
    news: tuple[Sequence[str], Sequence[Mapping[str, Any]]] | None = None
    must_support: Sequence[MovedElement] | None = None
    samples: Sequence[ChangedSample] = ()
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


_AROUND: Final = 12
"""Characters that are shown before and behind what differs."""
_MOST: Final = 5
"""Most resources that are shown."""


def changed_samples(before: Release, after: Release) -> list[ChangedSample]:
    """Return what differs in some changed resources of patients, at most one of a patient.

    Raises:
        StoreError: something of the releases is missing or damaged.
    """
    samples: list[ChangedSample] = []
    for change in diff_patients(before, after):
        if change.before is None or change.after is None or not change.changed:
            continue
        # Claims show more of a night's changes than a patient's new time stamp.
        name = min(change.changed, key=lambda name: name[0] != "ExplanationOfBenefit")
        old, new = _texts(before, change.before.id, name), _texts(after, change.after.id, name)
        values = {path: (old.get(path), new.get(path)) for path in {**new, **old}}
        differing = {path: _masked(*pair) for path, pair in values.items() if pair[0] != pair[1]}
        samples.append((name[0], differing))
        if len(samples) == _MOST:
            break
    return samples


def _texts(release: Release, patient: str, name: Name) -> dict[str, str]:
    """Return the values of a resource by their paths."""
    return dict(_leaves(json.loads(release.patient_resource(patient, *name), parse_float=str)))


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


def _masked(before: str | None, after: str | None) -> tuple[Masked | None, Masked | None]:
    """Return the outlines of two values, each in the parts of `Masked`."""
    if before is None or after is None:
        return _alone(before), _alone(after)
    begin = _shared(before, after)
    end = _shared(before[begin:][::-1], after[begin:][::-1])
    return _parts(before, begin, end), _parts(after, begin, end)


def _alone(value: str | None) -> Masked | None:
    return None if value is None else ("", outline(value), "")


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


def _parts(value: str, begin: int, end: int) -> Masked:
    head, changed, tail = value[:begin], value[begin : len(value) - end], value[len(value) - end :]
    return (
        "…" * (len(head) > _AROUND) + outline(head[-_AROUND:]),
        outline(changed),
        outline(tail[:_AROUND]) + "…" * (len(tail) > _AROUND),
    )
