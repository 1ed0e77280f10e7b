"""Classify the entries of an array into slices.

A discriminator identifies the slice of an entry: by a pattern or fixed value, by a required binding
(amounts are adjudications with a category in C4BBAdjudication), or by the URL of an extension.
Slices of a choice (`value[x]:valueString`) go by type and are not handled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from etl.conform.codes import codings_of, member_of
from etl.conform.json_elements import Test, build_matcher
from etl.profiles.guides import Guide
from etl.profiles.shapes import Discriminator, discriminators
from etl.profiles.structures import Element, Profile, Slicing
from etl.profiles.value_sets import value_set

NO_SLICE: Final = -1

Classify = Callable[[Any], int]
"""Returns the index of the slice that an entry belongs to, or `NO_SLICE`."""


def build_classifier(
    profile: Profile, slicing: Slicing, slices: Sequence[Element], guide: Guide
) -> Classify:
    """Build the function that classifies entries; the first matching slice gets the entry.

    Raises:
        ValueError: the profile has nothing at a discriminator's path, so it can't be compiled.
    """
    return _classify_by_coding(profile, slicing, slices, guide) or _classify_by_tests(
        [slice_test(profile, slicing, one_slice, guide) for one_slice in slices]
    )


def slice_test(profile: Profile, slicing: Slicing, slice_element: Element, guide: Guide) -> Test:
    """Build the test of whether an entry belongs to a slice."""
    tests = [
        _discriminator_test(discriminator, guide)
        for discriminator in discriminators(profile, slicing, slice_element)
    ]
    if len(tests) == 1:
        return tests[0]
    return lambda entry: all(test(entry) for test in tests)


def _classify_by_tests(tests: Sequence[Test]) -> Classify:
    numbered = tuple(enumerate(tests))

    def classify(entry: Any) -> int:
        for index, test in numbered:
            if test(entry):
                return index
        return NO_SLICE

    return classify


def _discriminator_test(discriminator: Discriminator, guide: Guide) -> Test:
    if discriminator.value_set is None:
        test = build_matcher(discriminator.pattern)
    else:
        values = value_set(discriminator.value_set, guide)
        is_open = values.status == "open"  # no code is listed, so the system alone decides

        def test(value: Any) -> bool:
            is_member = member_of(values, value)
            return is_member is True or (is_open and is_member is None)

    if not discriminator.path:
        return test
    names = discriminator.path

    def find(entry: Any) -> bool:
        for name in names:
            if type(entry) is not dict:
                return False
            entry = entry.get(name)
        return test(entry)

    return find


def _classify_by_coding(
    profile: Profile, slicing: Slicing, slices: Sequence[Element], guide: Guide
) -> Classify | None:
    """Build a lookup by system and code; None if codings don't identify every slice."""
    table: dict[tuple[str, str], tuple[int, str | None]] = {}
    path = ""
    for index, one_slice in enumerate(slices):
        criteria = discriminators(profile, slicing, one_slice)
        codes = _list_codings(criteria[0], guide) if len(criteria) == 1 else None
        if codes is None:
            return None
        (path,) = criteria[0].path
        for system, code, version in codes:
            table.setdefault((system, code), (index, version))

    def classify(entry: Any) -> int:
        best = NO_SLICE
        for coding in codings_of(entry.get(path) if type(entry) is dict else None):
            system, code = coding.get("system"), coding.get("code")
            if type(system) is str and type(code) is str:
                index, version = table.get((system, code), (NO_SLICE, None))
                is_match = version is None or coding.get("version") == version
                if index >= 0 and is_match and (best < 0 or index < best):
                    best = index
        return best

    return classify


def _list_codings(
    discriminator: Discriminator, guide: Guide
) -> list[tuple[str, str, str | None]] | None:
    """List (system, code, version) of all matching codings; None if they can't be listed."""
    if len(discriminator.path) != 1:
        return None
    if discriminator.value_set is not None:
        values = value_set(discriminator.value_set, guide)
        if values.status == "complete":
            return [(code.system, code.code, None) for code in values.codes]
    elif type(discriminator.pattern) is dict and set(discriminator.pattern) == {"coding"}:
        (coding, *other_codings) = discriminator.pattern["coding"]
        if not other_codings and {"system", "code"} <= set(coding) <= {"system", "code", "version"}:
            return [(coding["system"], coding["code"], coding.get("version"))]
    return None
