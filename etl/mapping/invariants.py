"""Invariants of the profiles as tests of rows.

A constraint (`etl.profiles.invariants`) about a node of a plan becomes a formula over the node's
leaves, or a test of the numbers that its entries carry. `etl.conform.invariants` makes tests of
JSON of the same constraints; property tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from etl.mapping.expressions import Before
from etl.mapping.formulas import (
    Codes,
    Formula,
    Misshapen,
    all_of,
    any_of,
    at_least,
    exists,
    expr_of,
    has,
    holds,
    matches,
    members_of,
    no,
    opened,
    presence,
)
from etl.mapping.plan import Entry, ListNode, Loop, ObjectNode
from etl.mapping.row_tests import (
    Alone,
    Nowhere,
    Numbers,
    Rows,
    Shared,
    Test,
    Twice,
    begins,
    entries_of,
    numbers,
)
from etl.profiles import constraints
from etl.profiles.constraints import Constraint, EntriesNamed, NumberPath
from etl.profiles.guides import Guide
from etl.profiles.value_sets import value_set


@dataclass(frozen=True, slots=True)
class Subject:
    """The node of a plan that an invariant is about.

    Attributes:
        node: the object.
        root: the whole resource.
        loops: lead to the row that makes the object.
        given: when it is there.
        codes: makes the formulas of value sets.
        guide: source of the value sets.
    """

    node: Entry
    root: Entry
    loops: tuple[Loop, ...]
    given: Formula
    codes: Codes
    guide: Guide

    def rows(self, broken: Formula) -> Rows:
        """Return the test that finds rows in which the object is there and something is true."""
        return Rows(self.loops, all_of(broken, self.given))


_NONE_CONTAINED: Final = "a mapping contains no resources"
_PROVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("dom-2", "dom-3", "dom-4", "dom-5"), _NONE_CONTAINED),
        "uncontained-requires-lastUpdated": "meta.lastUpdated is written into every resource",
    }
)
"""Key -> why no row of a plan that contains no resources can break it."""


class UncheckableError(Exception):
    """An invariant that no test of rows can decide."""


def reason_of(key: str, constraint: Constraint | None, node: Entry) -> str:
    """Return why no row can break an invariant, whatever the rest of the plan; "" if one may."""
    if isinstance(constraint, constraints.ProfileClaim):
        return "meta.profile is a constant"
    if isinstance(constraint, constraints.Tautology):
        return constraint.reason
    contains = isinstance(node, ObjectNode) and any(name == "contained" for name, _ in node.members)
    return "" if contains else _PROVED.get(key, "")


def tests_of(constraint: Constraint, subject: Subject) -> Iterator[Test]:
    """Yield the tests that find the rows which break a constraint.

    Raises:
        UncheckableError: no test can.
    """
    match constraint:
        case constraints.NumbersListed(numbers=named, among=known):
            yield Nowhere(_numbers(named, subject), _numbers(known, subject))
        case constraints.NumbersApart(numbers=left, others=right):
            yield Shared(_numbers(left, subject), _numbers(right, subject))
        case EntriesNamed():
            yield from _entries_named(constraint, subject)
        case constraints.Distinct(path=path):
            yield Twice(replace(numbers(subject.node, path), are_texts=True), subject.loops)
        case _:
            yield subject.rows(broken(constraint, subject.node, subject))


def _numbers(path: NumberPath, subject: Subject) -> Numbers:
    if path.where is None:
        return numbers(subject.root, path.path)
    where = path.where
    return numbers(subject.root, path.path, lambda entry: fulfilled(where, entry, subject))


def _entries_named(constraint: EntriesNamed, subject: Subject) -> Iterator[Alone]:
    listed = _numbers(constraint.known, subject)
    for loops, given, entry in entries_of(subject.root, constraint.name):
        lacking = all_of(given, fulfilled(constraint.where, entry, subject))
        if lacking is not False:
            named = numbers(entry, (constraint.member,), loops=loops)
            yield Alone(loops, lacking, named, listed)


def broken(constraint: Constraint, node: Entry, subject: Subject) -> Formula:
    """Return the formula that a node, which is there, breaks a constraint."""
    match constraint:
        case constraints.Implication(given=given, then=then):
            return all_of(fulfilled(given, node, subject), broken(then, node, subject))
        case constraints.Conjunction(parts=parts):
            return any_of(*(broken(part, node, subject) for part in parts))
        case constraints.Negation(of=of):
            return fulfilled(of, node, subject)
        case constraints.OneOfTwo(left=left, right=right):
            first, second = fulfilled(left, node, subject), fulfilled(right, node, subject)
            return any_of(all_of(first, second), all_of(no(first), no(second)))
        case constraints.FewerThan(count=count, name=name, pattern=pattern):
            return at_least(count, _entries_like(node, name, pattern))
        case constraints.PeriodOrder():
            return _out_of_order(node)
        case constraints.ValueShape(shape=shape):
            return any_of(
                *(
                    all_of(given, Misshapen(expr, shape))
                    for given, value in members_of(node, "value")
                    if (expr := expr_of(value)) is not None
                )
            )
        case constraints.ContainedTarget():  # a mapping contains no resources
            return _refers_to(node, "#")
        case _:
            return no(fulfilled(constraint, node, subject))


def fulfilled(constraint: Constraint, node: Entry, subject: Subject) -> Formula:
    """Return the formula that a node, which is there, fulfils a constraint.

    Raises:
        UncheckableError: no formula can say so.
    """
    match constraint:
        case constraints.Present(names=names):
            return has(node, *names)
        case constraints.ValuePresent():
            return has(node, *_value_names(node))
        case constraints.Contains(pattern=pattern):
            return matches(node, pattern)
        case constraints.InValueSet(url=url):
            return subject.codes.concept_in(node, value_set(url, subject.guide), surely=False)
        case constraints.Exists(path=path, constraint=inner):
            return exists(node, path, lambda inner_node: fulfilled(inner, inner_node, subject))
        case constraints.Conjunction(parts=parts):
            return all_of(*(fulfilled(part, node, subject) for part in parts))
        case constraints.Disjunction(parts=parts):
            return any_of(*(fulfilled(part, node, subject) for part in parts))
        case constraints.ReferenceTarget(name=name, type=wanted):
            return exists(node, (name,), lambda reference: _refers_to(reference, f"{wanted}/"))
        case constraints.Uncontained():
            return True
        case _ if isinstance(constraint, _TOLD_BROKEN):
            return no(broken(constraint, node, subject))
        case _:
            raise UncheckableError


_TOLD_BROKEN: Final = (
    *(constraints.Negation, constraints.Implication, constraints.OneOfTwo),
    *(constraints.FewerThan, constraints.PeriodOrder, constraints.ValueShape),
)
"""Constraints with a formula that says where they are broken."""


def _value_names(node: Entry) -> tuple[str, ...]:
    names = [key for key, _ in getattr(node, "members", ())]
    return tuple({name.removeprefix("_") for name in names if name.lstrip("_").startswith("value")})


def _entries_like(
    node: Entry, name: str, pattern: object
) -> Iterator[tuple[tuple[Loop, ...], Formula]]:
    """Yield the entries of a list that may contain a pattern: loops, and when each is there."""
    for _, member in members_of(node, name):
        if isinstance(member, ListNode):
            for entry in member.entries:
                for loops, given, inner in opened(entry):
                    if matches(inner, pattern) is not False:
                        yield loops, all_of(given, presence(inner))


def _out_of_order(node: Entry) -> Formula:
    return any_of(
        *(
            all_of(first, then, holds(Before(end, start)))
            for first, opening in members_of(node, "start")
            for then, closing in members_of(node, "end")
            if (start := expr_of(opening)) is not None and (end := expr_of(closing)) is not None
        )
    )


def _refers_to(reference: Entry, beginning: str) -> Formula:
    return any_of(
        *(
            all_of(given, begins(expr, beginning))
            for given, value in members_of(reference, "reference")
            if (expr := expr_of(value)) is not None
        )
    )
