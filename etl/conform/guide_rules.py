"""Check rules that a guide states only in words, on whole resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from etl.conform.findings import Check, ConformanceRule, Issue, IssueSeverity, Visit
from etl.conform.invariants import compile_constraint
from etl.conform.json_elements import Json
from etl.profiles import constraints as c
from etl.profiles.guides import Guide

_Breaches: TypeAlias = Callable[[Json], Iterator[str]]
"""Yields the paths at which a resource breaks a rule."""


def guide_check(rule: c.GuideRule, guide: Guide, *, strict: bool) -> Check:
    """Build the check of a rule.

    Args:
        rule: a rule about whole resources.
        guide: source of the value sets.
        strict: rules that official examples break are errors, not warnings.
    """
    is_lenient = isinstance(rule, c.ListedNumbers) and rule.lenient and not strict
    severity = IssueSeverity.WARNING if is_lenient else IssueSeverity.ERROR
    broken_rule = ConformanceRule(rule.rule, severity, rule.says)
    find_breaches = _find_breaches(rule, guide)

    def check(value: Any, visit: Visit) -> None:
        visit.issues.extend(Issue(broken_rule, path) for path in find_breaches(value))

    return check


def _find_breaches(rule: c.GuideRule, guide: Guide) -> _Breaches:
    match rule:
        case c.MarkedEntry():
            return partial(_find_extra_marks, rule)
        case c.UniqueNumbers():
            return partial(_find_repeated, rule)
        case c.ListedNumbers():
            return partial(_find_unlisted, rule)
        case c.ForbiddenEntry():
            return _find_forbidden(rule, guide)


def _entries(value: Any, name: str) -> Iterator[tuple[int, Json]]:
    """Yield the entries of a list with their indexes."""
    entries = value.get(name) if type(value) is dict else None
    if type(entries) is list:
        yield from ((index, entry) for index, entry in enumerate(entries) if type(entry) is dict)


def _find_extra_marks(rule: c.MarkedEntry, value: Json) -> Iterator[str]:
    marked = [index for index, entry in _entries(value, rule.name) if entry.get(rule.mark) is True]
    yield from (f"{rule.name}[{index}].{rule.mark}" for index in marked[1:])


def _find_repeated(rule: c.UniqueNumbers, value: Json) -> Iterator[str]:
    for name in rule.lists:
        yield from _find_repeated_in(value, name, rule.number)
    for outer, name in rule.inner:
        for index, entry in _entries(value, outer):
            yield from (
                f"{outer}[{index}].{path}" for path in _find_repeated_in(entry, name, rule.number)
            )


def _find_repeated_in(value: Json, name: str, number: str) -> Iterator[str]:
    seen_numbers = set()
    for index, entry in _entries(value, name):
        number_of_entry = entry.get(number)
        if type(number_of_entry) is int:
            if number_of_entry in seen_numbers:
                yield f"{name}[{index}].{number}"
            seen_numbers.add(number_of_entry)


def _find_unlisted(rule: c.ListedNumbers, value: Json) -> Iterator[str]:
    listed = {
        member: {n for _, entry in _entries(value, name) if type(n := entry.get(number)) is int}
        for member, (name, number) in rule.members
    }
    for name in rule.lists:
        yield from _unlisted_in(value, (name, *rule.inner), listed)


def _unlisted_in(value: Json, lists: Sequence[str], listed: dict[str, set[int]]) -> Iterator[str]:
    name, *inner = lists
    for i, entry in _entries(value, name):
        for member, numbers in listed.items():
            references = entry.get(member)
            for index, number in enumerate(references if type(references) is list else ()):
                if type(number) is int and number not in numbers:
                    yield f"{name}[{i}].{member}[{index}]"
        if inner:
            yield from (f"{name}[{i}].{path}" for path in _unlisted_in(entry, inner, listed))


def _find_forbidden(rule: c.ForbiddenEntry, guide: Guide) -> _Breaches:
    applies, forbidden = (
        compile_constraint(rule.when, guide),
        compile_constraint(rule.forbidden, guide),
    )

    def breaches(value: Json) -> Iterator[str]:
        if applies(value, value):
            for index, entry in _entries(value, rule.name):
                if forbidden(entry, value):
                    yield f"{rule.name}[{index}].{rule.at}"

    return breaches
