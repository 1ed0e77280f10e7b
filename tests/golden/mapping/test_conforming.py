"""Whatever accepted rows hold, what they become conforms; what profiles want is there."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest

from etl.conform.checker import Checker
from etl.conform.findings import Severity
from etl.conform.slices import slice_test
from etl.model.profiles import VERSIONS, Element, Profile, choice_names, find_canonical
from tests.golden.mapping.everything import (
    AllRows,
    everything,
    thinned,
    unfilled,
    without_line_amounts,
)
from tests.golden.mapping.rendering import rendered, resources

CANNOT: Final[dict[str, set[str]]] = {
    # The layout says nothing of where a subscriber lives and can be reached.
    "C4BB-RelatedPerson": {"RelatedPerson.telecom", "RelatedPerson.address"},
    # It has no kind of place, no function of a role, and no electronic address.
    "us-core-location": {"Location.type"},
    "us-core-practitionerrole": {"PractitionerRole.code", "PractitionerRole.endpoint"},
}
"""Must-support elements that no column of the canonical layout can feed."""


def errors(rows: AllRows, view: str = "financial") -> list[str]:
    """Return what is wrong with the resources that some rows become."""
    checker = Checker()
    told: list[str] = []
    for text, _ in rendered(rows, view=view):
        resource = json.loads(text)
        resource["meta"].setdefault("lastUpdated", "2024-06-01T00:00:00Z")  # publishing sets it
        told += [
            f"{resource['resourceType']}.{issue.path}: {issue.rule.text}"
            for _, issue in checker.check(resource).issues
            if issue.rule.severity is Severity.ERROR
        ]
    return told


def filled(value: Any, profile: Profile, element: Element) -> Iterator[str]:
    """Yield the ids of the elements, slices among them, that a value fills below one element."""
    for one in profile.children(element.id):
        spelt = tuple(choice_names(one)) or (one.name,)
        for name in spelt:
            if name not in value:
                continue
            yield one.id
            entries = value[name] if isinstance(value[name], list) else [value[name]]
            slices = profile.slices(one.id)
            for entry in entries:
                for at in (
                    one,
                    *(part for part in slices if _is_of(entry, name, profile, one, part)),
                ):
                    yield at.id
                    if isinstance(entry, dict):
                        yield from filled(entry, profile, at)


def _is_of(entry: Any, name: str, profile: Profile, whole: Element, part: Element) -> bool:
    if whole.name.endswith("[x]"):
        return part.slice_name == name
    return whole.slicing is not None and bool(
        slice_test(profile, whole.slicing, part, VERSIONS[0])(entry)
    )


def test_the_rows_of_everything_fill_every_column() -> None:
    assert unfilled(everything()) == []


def test_full_rows_become_conforming_resources() -> None:
    assert errors(everything()) == []


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_left_of_the_rows_they_become_conforming_resources(seed: int) -> None:
    _assert_conforming(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 200))
def test_however_much_is_left_of_the_rows_they_become_conforming_resources(seed: int) -> None:
    _assert_conforming(seed)


def _assert_conforming(seed: int) -> None:
    chance = random.Random(seed)
    assert errors(thinned(everything(), chance)) == []


def test_every_must_support_element_is_produced() -> None:
    """Institutional amounts stand on lines or in the header: both ways are looked at."""
    missing: dict[str, set[str]] = {}
    rows = everything()
    for resource in [*resources(rows), *resources(without_line_amounts(rows))]:
        profile = find_canonical(resource["meta"]["profile"][0])
        assert profile is not None
        wanted = {element.id for element in profile.must_support()}
        missing.setdefault(profile.name, wanted)
        missing[profile.name] -= set(filled(resource, profile, profile.root))
    assert {name: ids for name, ids in missing.items() if ids} == CANNOT
