"""Must-support elements for the report's page: a heat map, and its figures by resource type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etl.mapping.coverage import ProfileCoverage
from etl.reports.plots import HeatMap

_ALL, _MOST, _SOME, _NONE, _NEVER = range(5)
GRADES: Final = (
    "in every resource",
    "in half or more",
    "in fewer",
    "in none, but possible",
    "not possible",
)
"""Grades of an element by how many resources of its profile have it. Last: no row can fill it."""


@dataclass(frozen=True, slots=True)
class UnfilledElement:
    """An element that no resource of some profiles has.

    Attributes:
        element: its path, without the resource type.
        profiles: short names of the profiles.
        reason: why it is empty.
        can_be: whether some row could fill it.
    """

    element: str
    profiles: tuple[str, ...]
    reason: str
    can_be: bool


@dataclass(frozen=True, slots=True)
class ElementTable:
    """The must-support elements of the profiles of one resource type.

    Attributes:
        type: FHIR type.
        profiles: short name of each profile, and how many resources it has.
        rows: path of an element, and for each profile how many resources have it; None if the
            profile has no such element.
        unfilled: elements that no resource has.
    """

    type: str
    profiles: Sequence[tuple[str, int]]
    rows: Sequence[tuple[str, Sequence[int | None]]]
    unfilled: Sequence[UnfilledElement]


@dataclass(frozen=True, slots=True)
class MustSupportPage:
    """Must-support elements as the page shows them.

    Attributes:
        elements: how many there are in all profiles that have resources.
        grades: how many elements have each grade of `GRADES`.
        heat_map: one row of cells for each profile.
        tables: by resource type.
    """

    elements: int
    grades: tuple[int, ...]
    heat_map: HeatMap
    tables: Sequence[ElementTable]

    @property
    def filled(self) -> int:
        """Elements that some resource has."""
        return self.elements - self.open - self.grades[_NEVER]

    @property
    def open(self) -> int:
        """Elements that no resource has, but some could."""
        return self.grades[_NONE]


def must_support_json(profiles: Iterable[ProfileCoverage]) -> list[dict[str, Any]]:
    """Return the counts of must-support elements for the report's document.

    Profiles without resources are left out.
    """
    return [
        {
            "profile": profile.profile,
            "resources": profile.resources,
            "filled": {element.element: element.resources for element in profile.elements},
            "unfilled": {
                element.element: {"can_be": element.status == "could be", "reason": element.reason}
                for element in profile.elements
                if not element.resources
            },
        }
        for profile in profiles
        if profile.resources
    ]


def must_support_page(profiles: Sequence[Mapping[str, Any]]) -> MustSupportPage | None:
    """Return must-support elements for the page; None if no resources were made.

    Args:
        profiles: `must_support` of the report's document.
    """
    if not profiles:
        return None
    rows = {
        f"{short_name(profile['profile'])} ({profile['resources']:,})": [
            _grade(profile, element) for element in profile["filled"]
        ]
        for profile in profiles
    }
    all_grades = [grade for grades in rows.values() for grade in grades]
    counts = tuple(all_grades.count(grade) for grade in range(len(GRADES)))
    description = "; ".join(f"{name}: {_describe_grades(grades)}" for name, grades in rows.items())
    heat_map = HeatMap(
        "must-support",
        "Must-support elements by profile: how many resources have each element",
        "One row per profile with its number of resources, and one cell per element, in the order "
        "of the profile. At the end, the number of filled elements. "
        f"{description}.",
        rows,
        GRADES,
        [f"{sum(grade < _NONE for grade in grades)} of {len(grades)}" for grades in rows.values()],
    )
    return MustSupportPage(len(all_grades), counts, heat_map, list(_tables(profiles)))


def _describe_grades(grades: Sequence[int]) -> str:
    return ", ".join(f"{grades.count(grade)} {GRADES[grade]}" for grade in sorted({*grades}))


def _grade(profile: Mapping[str, Any], element: str) -> int:
    filled, total = profile["filled"][element], profile["resources"]
    if not filled:
        return _NONE if profile["unfilled"][element]["can_be"] else _NEVER
    if filled == total:
        return _ALL
    return _MOST if 2 * filled >= total else _SOME


def _tables(profiles: Sequence[Mapping[str, Any]]) -> Iterable[ElementTable]:
    by_type: dict[str, list[Mapping[str, Any]]] = {}
    for profile in profiles:
        by_type.setdefault(next(iter(profile["filled"])).partition(".")[0], []).append(profile)
    for resource_type, group in by_type.items():
        elements = _merge_orders(list(profile["filled"]) for profile in group)
        yield ElementTable(
            resource_type,
            [(short_name(profile["profile"]), profile["resources"]) for profile in group],
            [
                (_short_path(element), [profile["filled"].get(element) for profile in group])
                for element in elements
            ],
            list(_unfilled_elements(group, elements)),
        )


def _merge_orders(orders: Iterable[Sequence[str]]) -> list[str]:
    """Merge several orders of elements; a new one goes after its predecessor."""
    merged: list[str] = []
    for order in orders:
        position = 0
        for name in order:
            if name in merged:
                position = merged.index(name) + 1
            else:
                merged.insert(position, name)
                position += 1
    return merged


def _unfilled_elements(
    profiles: Sequence[Mapping[str, Any]], elements: Iterable[str]
) -> Iterable[UnfilledElement]:
    for element in elements:
        reasons: dict[tuple[str, bool], list[str]] = {}
        for profile in profiles:
            if element in profile["unfilled"]:
                gap = profile["unfilled"][element]
                key = (gap["reason"], gap["can_be"])
                reasons.setdefault(key, []).append(short_name(profile["profile"]))
        for (reason, can_be), names in reasons.items():
            yield UnfilledElement(_short_path(element), tuple(names), reason, can_be)


def short_name(profile: str) -> str:
    """Return a profile's name without the prefixes of the CARIN guide."""
    return profile.removeprefix("C4BB-").removeprefix("ExplanationOfBenefit-")


def _short_path(element: str) -> str:
    return element.partition(".")[2]
