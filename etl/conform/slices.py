"""Classification of the entries of an array into slices.

Slices are distinguished by what a discriminator finds in the entry: a pattern or fixed value there,
a required binding (the guide's amounts are those of a category in C4BBAdjudication), or the url of
an extension. Slices of a choice (`value[x]:valueString`) go by the type and are not found here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from etl.conform.codes import codings_of, member_of
from etl.conform.json_elements import Test, matcher
from etl.profiles.guides import Guide
from etl.profiles.shapes import Discriminator, discriminators
from etl.profiles.structures import Element, Profile, Slicing
from etl.profiles.value_sets import value_set

NO_SLICE: Final = -1

Classify = Callable[[Any], int]
"""Returns the index of the slice that an entry belongs to, or `NO_SLICE`."""


def classifier(
    profile: Profile, slicing: Slicing, slices: Sequence[Element], guide: Guide
) -> Classify:
    """Return the function that classifies entries; the first slice that fits gets the entry.

    Raises:
        ValueError: the profile says nothing at a discriminator's path; it cannot be compiled.
    """
    return _by_coding(profile, slicing, slices, guide) or _by_tests(
        [slice_test(profile, slicing, part, guide) for part in slices]
    )


def slice_test(profile: Profile, slicing: Slicing, slice_element: Element, guide: Guide) -> Test:
    """Return the test of whether an entry belongs to one slice."""
    tests = [
        _discriminator_test(discriminator, guide)
        for discriminator in discriminators(profile, slicing, slice_element)
    ]
    if len(tests) == 1:
        return tests[0]
    return lambda entry: all(test(entry) for test in tests)


def _by_tests(tests: Sequence[Test]) -> Classify:
    numbered = tuple(enumerate(tests))

    def classify(entry: Any) -> int:
        for index, test in numbered:
            if test(entry):
                return index
        return NO_SLICE

    return classify


def _discriminator_test(discriminator: Discriminator, guide: Guide) -> Test:
    if discriminator.value_set is None:
        test = matcher(discriminator.pattern)
    else:
        values = value_set(discriminator.value_set, guide)

        def test(value: Any) -> bool:
            return member_of(values, value) is True

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


def _by_coding(
    profile: Profile, slicing: Slicing, slices: Sequence[Element], guide: Guide
) -> Classify | None:
    """Return a look-up by system and code, where codings of one concept identify every slice."""
    table: dict[tuple[str, str], tuple[int, str | None]] = {}
    path = ""
    for index, part in enumerate(slices):
        telling = discriminators(profile, slicing, part)
        codes = _codes_of(telling[0], guide) if len(telling) == 1 else None
        if codes is None:
            return None
        (path,) = telling[0].path
        for system, code, wanted in codes:
            table.setdefault((system, code), (index, wanted))

    def classify(entry: Any) -> int:
        best = NO_SLICE
        for coding in codings_of(entry.get(path) if type(entry) is dict else None):
            system, code = coding.get("system"), coding.get("code")
            if type(system) is str and type(code) is str:
                index, wanted = table.get((system, code), (NO_SLICE, None))
                fits = wanted is None or coding.get("version") == wanted
                if index >= 0 and fits and (best < 0 or index < best):
                    best = index
        return best

    return classify


def _codes_of(
    discriminator: Discriminator, guide: Guide
) -> list[tuple[str, str, str | None]] | None:
    """Return (system, code, version) of all codings that fit; None where that is no such list."""
    if len(discriminator.path) != 1:
        return None
    if discriminator.value_set is not None:
        values = value_set(discriminator.value_set, guide)
        if values.status == "complete":
            return [(code.system, code.code, None) for code in values.codes]
    elif type(discriminator.pattern) is dict and set(discriminator.pattern) == {"coding"}:
        (coding, *more) = discriminator.pattern["coding"]
        if not more and {"system", "code"} <= set(coding) <= {"system", "code", "version"}:
            return [(coding["system"], coding["code"], coding.get("version"))]
    return None
