"""Which slice an entry of an array belongs to.

Slices are told apart by what a discriminator finds in the entry: a pattern or fixed value there, a
required binding (the guide's amounts are those whose category is in C4BBAdjudication), or the url
of an extension. Slices of a choice (`value[x]:valueString`) go by the type and are not found here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from etl.conform.codes import codings_of, member_of
from etl.conform.patterns import Test, matcher
from etl.profiles.guides import Guide
from etl.profiles.structures import Element, Profile, Slicing
from etl.profiles.value_sets import value_set

NO_SLICE: Final = -1

Classify = Callable[[Any], int]
"""Returns the index of the slice that an entry belongs to, or `NO_SLICE`."""


def classifier(
    profile: Profile, slicing: Slicing, slices: Sequence[Element], guide: Guide
) -> Classify:
    """Return the function that tells entries apart; the first slice that fits has the entry.

    Raises:
        ValueError: the profile says nothing at a discriminator's path; it cannot be compiled.
    """
    return _by_coding(profile, slicing, slices, guide) or _by_tests(
        [slice_test(profile, slicing, one, guide) for one in slices]
    )


def slice_test(profile: Profile, slicing: Slicing, one: Element, guide: Guide) -> Test:
    """Return the test of whether an entry belongs to one slice."""
    tests = [_discriminator_test(profile, one, path, guide) for _, path in slicing.by]
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


def _at(path: str) -> Callable[[Any], Any]:
    """Return what finds the value at a discriminator's path; None where there is none."""
    if path == "$this":
        return lambda entry: entry
    names = path.split(".")

    def find(entry: Any) -> Any:
        for name in names:
            if type(entry) is not dict:
                return None
            entry = entry.get(name)
        return entry

    return find


def _target(profile: Profile, one: Element, path: str) -> Element | None:
    return one if path == "$this" else profile.by_id.get(f"{one.id}.{path}")


def _discriminator_test(profile: Profile, one: Element, path: str, guide: Guide) -> Test:
    find = _at(path)
    target = _target(profile, one, path)
    if target is not None and target.fixed is not None:
        fixed = target.fixed
        return lambda entry: bool(find(entry) == fixed)
    if target is not None and target.pattern is not None:
        matches = matcher(target.pattern)
        return lambda entry: matches(find(entry))
    if target is not None and target.binding and target.binding.strength == "required":
        values = value_set(target.binding.value_set, guide)
        return lambda entry: member_of(values, find(entry)) is True
    if path == "url" and one.types and one.types[0].profiles:
        url = one.types[0].profiles[0].partition("|")[0]
        return lambda entry: bool(find(entry) == url)
    raise ValueError(f"{profile.name}: nothing tells {one.id} by {path}")


def _by_coding(
    profile: Profile, slicing: Slicing, slices: Sequence[Element], guide: Guide
) -> Classify | None:
    """Return a look-up by system and code, where every slice is told by one concept's codings."""
    ((_, path), *more) = slicing.by
    if more or path == "$this" or "." in path:
        return None
    table: dict[tuple[str, str], tuple[int, str | None]] = {}
    for index, one in enumerate(slices):
        codes = _codes_of(_target(profile, one, path), guide)
        if codes is None:
            return None
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


def _codes_of(target: Element | None, guide: Guide) -> list[tuple[str, str, str | None]] | None:
    """Return (system, code, version) of all codings that fit; None where that is no such list."""
    if target is None:
        return None
    if type(target.pattern) is dict and set(target.pattern) == {"coding"}:
        if len(target.pattern["coding"]) != 1:
            return None
        (coding,) = target.pattern["coding"]
        if not {"system", "code"} <= set(coding) <= {"system", "code", "version"}:
            return None
        return [(coding["system"], coding["code"], coding.get("version"))]
    if target.pattern is None and target.binding and target.binding.strength == "required":
        values = value_set(target.binding.value_set, guide)
        if values.status == "complete":
            return [(code.system, code.code, None) for code in values.codes]
    return None
