"""Invariants of profiles as tests of JSON.

A constraint (`etl.profiles.invariants`) becomes a closure, which is called on any JSON, even of an
invalid structure. Property tests compare the closures with the answers of a FHIRPath library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from etl.conform.codes import member_of
from etl.conform.findings import ConformanceRule, Holds, IssueSeverity
from etl.conform.json_elements import entries, has_element, is_local, resolved_type
from etl.conform.narrative import is_narrative
from etl.model import logic
from etl.profiles import constraints
from etl.profiles.constraints import Constraint, EntriesNamed, NumberPath
from etl.profiles.guides import Guide
from etl.profiles.structures import Element, Invariant, Profile
from etl.profiles.value_sets import value_set

_MAX_EXPRESSION: Final = 160


def rule_of(invariant: Invariant, profile: Profile, element: Element) -> ConformanceRule:
    """Return the rule under which a broken invariant is reported."""
    expression = " ".join(invariant.expression.split())
    if len(expression) > _MAX_EXPRESSION:
        expression = f"{expression[:_MAX_EXPRESSION]}…"
    return ConformanceRule(
        invariant.key,
        IssueSeverity(invariant.severity),
        f"{element.id} breaks the invariant {invariant.key} of {profile.name}: {expression}",
    )


def compile_constraint(constraint: Constraint, guide: Guide) -> Holds:
    """Compile a constraint to a test of JSON.

    Args:
        constraint: a requirement of an element.
        guide: defines the value sets.
    """

    def compiled_part(part: Constraint) -> Holds:
        return compile_constraint(part, guide)

    match constraint:
        case constraints.Exists(path=path, constraint=inner):
            test = compiled_part(inner)
            for name in reversed(path):
                test = _any_entry(name, test)
            return test
        case logic.AllOf(parts=parts):
            tests = tuple(map(compiled_part, parts))
            return lambda value, root: all(test(value, root) for test in tests)
        case logic.AnyOf(parts=parts):
            tests = tuple(map(compiled_part, parts))
            return lambda value, root: any(test(value, root) for test in tests)
        case logic.Not(operand=inner):
            broken = compiled_part(inner)
            return lambda value, root: not broken(value, root)
        case constraints.NumbersListed(numbers=numbers, among=others):
            listed, allowed = _numbers_at(numbers, guide), _numbers_at(others, guide)
            return lambda value, root: set(allowed(root, root)).issuperset(listed(value, root))
        case constraints.NumbersApart(numbers=numbers, other_numbers=others):
            listed, allowed = _numbers_at(numbers, guide), _numbers_at(others, guide)
            return lambda value, root: set(allowed(root, root)).isdisjoint(listed(value, root))
        case EntriesNamed():
            return _entry_reference_test(constraint, guide)
        case _:
            return _compile_simple(constraint, guide)


def _compile_simple(constraint: Constraint, guide: Guide) -> Holds:
    """Compile a constraint that consists of no others."""
    match constraint:
        case constraints.Present(names=names):
            return _has_member(names)
        case constraints.ValuePresent():
            return _has_value
        case constraints.Contains(pattern=pattern):
            return _pattern_test(pattern)
        case constraints.InValueSet(url=url):
            values = value_set(url, guide)
            return lambda value, _root: member_of(values, value) is not False
        case constraints.FewerThan(count=count, name=name, pattern=pattern):
            matches_pattern = _pattern_test(pattern)
            return lambda value, root: (
                sum(matches_pattern(entry, root) for entry in entries(value, name)) < count
            )
        case constraints.Tautology():
            return lambda _value, _root: True
        case constraints.PeriodOrder():
            return _is_in_order
        case constraints.ContainedTarget():
            return _is_contained
        case constraints.ContainedUsed():
            return _are_contained_used
        case constraints.ReferenceTarget(name=name, type=target_type):
            return lambda value, root: all(
                resolved_type(reference, root) == target_type for reference in entries(value, name)
            )
        case constraints.Distinct(path=path):
            return _are_distinct(path)
        case constraints.NarrativeText():
            return lambda value, _root: is_narrative(value)
        case constraints.ValueShape(fits=fits):
            return _shape_test(fits)
        case constraints.Uncontained():
            return lambda value, root: bool(value == root)
        case constraints.ProfileClaim(prefix=prefix):
            return lambda value, _root: any(
                type(canonical) is str and canonical.startswith(prefix)
                for meta in entries(value, "meta")
                for canonical in entries(meta, "profile")
            )
        case _:
            raise AssertionError(constraint)


def _has_member(names: Sequence[str]) -> Holds:
    if len(names) == 1:
        (name,) = names
        return lambda value, _root: has_element(value, name)
    return lambda value, _root: any(has_element(value, name) for name in names)


def _has_value(value: Any, _root: Any) -> bool:
    return type(value) is dict and any(name.startswith(("value", "_value")) for name in value)


def _are_distinct(path: Sequence[str]) -> Holds:
    def test(value: Any, root: dict[str, Any]) -> bool:
        del root
        texts = [value]
        for name in path:
            texts = [entry for text in texts for entry in entries(text, name)]
        plain = [repr(text) for text in texts]
        return len(set(plain)) == len(plain)

    return test


def _any_entry(name: str, test: Holds) -> Holds:
    return lambda value, root: any(test(entry, root) for entry in entries(value, name))


def _pattern_test(pattern: Any) -> Holds:
    """Build the test of a pattern; unexpected lists are searched, too."""
    if isinstance(pattern, dict):
        parts = [
            (name, _pattern_test(part))
            for name, inner in pattern.items()
            for part in (inner if isinstance(inner, list) else (inner,))
        ]
        return lambda value, root: (
            type(value) is dict
            and all(any(test(e, root) for e in entries(value, name)) for name, test in parts)
        )
    json_type = type(pattern)
    return lambda value, _root: type(value) is json_type and bool(value == pattern)


def _is_contained(value: Any, root: dict[str, Any]) -> bool:
    reference = value.get("reference") if type(value) is dict else None
    if type(reference) is not str or not is_local(reference) or len(reference) == 1:
        return True
    return any(
        type(inner) is dict and inner.get("id") == reference[1:]
        for inner in entries(root, "contained")
    )


def _are_contained_used(value: Any, root: dict[str, Any]) -> bool:
    contained = [inner for inner in entries(value, "contained") if type(inner) is dict]
    all_texts = _collect_texts(root) if contained else frozenset()
    return all(
        "id" not in inner or f"#{inner['id']}" in all_texts or "#" in _collect_texts(inner)
        for inner in contained
    )


def _collect_texts(value: Any) -> frozenset[str]:
    """Return all texts inside a value."""
    texts: set[str] = set()
    pending = [value]
    while pending:
        inner = pending.pop()
        if isinstance(inner, str):
            texts.add(inner)
        elif isinstance(inner, dict):
            pending.extend(inner.values())
        elif isinstance(inner, list):
            pending.extend(inner)
    return frozenset(texts)


def _shape_test(fits: Callable[[str], bool]) -> Holds:
    def test(value: Any, root: dict[str, Any]) -> bool:
        del root
        text = value.get("value") if type(value) is dict else None
        return type(text) is not str or fits(text)

    return test


# Numbers -----------------------------------------------------------------------------------------

_Numbers = Callable[[Any, dict[str, Any]], Iterator[int]]


def _numbers_at(numbers: NumberPath, guide: Guide) -> _Numbers:
    first, *inner_path = numbers.path
    entry_test = None if numbers.where is None else compile_constraint(numbers.where, guide)

    def numbers_in(value: Any, root: dict[str, Any]) -> Iterator[int]:
        for entry in entries(value, first):
            if entry_test is None or entry_test(entry, root):
                yield from _integers(entry, inner_path)

    return numbers_in


def _integers(value: Any, path: Sequence[str]) -> Iterator[int]:
    if path:
        for entry in entries(value, path[0]):
            yield from _integers(entry, path[1:])
    elif type(value) is int:
        yield value


def _entry_reference_test(constraint: EntriesNamed, guide: Guide) -> Holds:
    is_required = compile_constraint(constraint.where, guide)
    known_numbers = _numbers_at(constraint.listed, guide)
    member = (constraint.member,)

    def test(value: Any, root: dict[str, Any]) -> bool:
        numbers = list(known_numbers(root, root))

        def violates(entry: Any) -> bool:
            if not is_required(entry, root):
                return False
            all_numbers = [*_integers(entry, member), *numbers]  # as the expression combines them
            return len(set(all_numbers)) == len(all_numbers)

        return not any(map(violates, entries(value, constraint.name)))

    return test


# Periods -----------------------------------------------------------------------------------------

_DATE_TIME: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?"
)


def _is_in_order(value: Any, root: dict[str, Any]) -> bool:
    del root
    start, end = (value.get("start"), value.get("end")) if type(value) is dict else (None, None)
    if type(start) is not str or type(end) is not str:
        return True
    if len(start) == len(end) == 10:
        return start <= end
    return not _is_after(start, end)


def _is_after(start: str, end: str) -> bool:
    """Whether a time is certainly after another one; times of day are compared in UTC."""
    first, second = _DATE_TIME.fullmatch(start), _DATE_TIME.fullmatch(end)
    if first is None or second is None:
        return False
    if first[4] and second[4]:
        return _instant(first) > _instant(second)
    count = min(sum(part is not None for part in moment.groups()[:3]) for moment in (first, second))
    return first.groups()[:count] > second.groups()[:count]


def _instant(moment: re.Match[str]) -> tuple[float, float]:
    """Return seconds since year 0 in UTC, and their fraction."""
    year, month, day, hour, minute, second = (int(moment[group]) for group in range(1, 7))
    zone = 0
    if moment[8] != "Z":
        zone = (int(moment[8][1:3]) * 60 + int(moment[8][4:6])) * (-1 if moment[8][0] == "-" else 1)
    years_from_march = year - (month < 3)
    days = (
        365 * years_from_march
        + years_from_march // 4
        - years_from_march // 100
        + years_from_march // 400
    )
    days += (153 * ((month - 3) % 12) + 2) // 5 + day
    return ((days * 24 + hour) * 60 + minute - zone) * 60 + second, float(moment[7] or 0)
