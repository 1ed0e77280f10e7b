"""Invariants of the profiles as tests of rows.

A constraint (`etl.profiles.invariants`) about a node of a plan becomes a formula over the node's
leaves, or a test of the numbers that its entries carry. `etl.conform.invariants` makes tests of
JSON of the same constraints; property tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from etl.mapping import formulas as fm
from etl.mapping import row_tests as rt
from etl.mapping.expressions import DateOrder
from etl.mapping.plan import Entry, ObjectNode
from etl.model import logic
from etl.profiles import constraints
from etl.profiles.constraints import Constraint, EntriesNamed, NumberPath
from etl.profiles.guides import Guide
from etl.profiles.value_sets import value_set


@dataclass(frozen=True, slots=True)
class Subject:
    """The node of a plan that an invariant is about.

    Attributes:
        node: the object.
        root: the resource that contains it.
        loops: the loops that lead to the object's row.
        presence: the condition under which the object is present.
        codes: builds the formulas of value sets.
        guide: defines the value sets.
    """

    node: Entry
    root: Entry
    loops: fm.Loops
    presence: fm.Formula
    codes: fm.Codes
    guide: Guide

    def rows(self, broken: fm.Formula) -> rt.BrokenRows:
        """Return the test for rows whose object is present and breaks a constraint."""
        return rt.BrokenRows(self.loops, logic.all_of(broken, self.presence))


_NONE_CONTAINED: Final = "a mapping contains no resources"
_PROVED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("dom-2", "dom-3", "dom-4", "dom-5"), _NONE_CONTAINED),
    "uncontained-requires-lastUpdated": "meta.lastUpdated is written into every resource",
}
"""Key -> why no row of a plan that contains no resources can break it."""


class UncheckableError(Exception):
    """An invariant that no test of rows can decide."""


def proved_reason(key: str, constraint: Constraint | None, node: Entry) -> str:
    """Return why no row can break an invariant; "" if one might."""
    if isinstance(constraint, constraints.ProfileClaim):
        return "meta.profile is a constant"
    if isinstance(constraint, constraints.Tautology):
        return constraint.reason
    contains = isinstance(node, ObjectNode) and any(name == "contained" for name, _ in node.members)
    return "" if contains else _PROVED.get(key, "")


def find_tests(constraint: Constraint, subject: Subject) -> Iterator[rt.Test]:
    """Yield the tests that find rows that break a constraint.

    Raises:
        UncheckableError: no test of rows can decide the constraint.
    """
    match constraint:
        case constraints.NumbersListed(numbers=named, among=known):
            yield rt.UnlistedNumber(_numbers(named, subject), _numbers(known, subject))
        case constraints.NumbersApart(numbers=left, other_numbers=right):
            yield rt.SharedNumber(_numbers(left, subject), _numbers(right, subject))
        case EntriesNamed():
            yield from _unnamed_entry_tests(constraint, subject)
        case constraints.Distinct(path=path):
            yield rt.RepeatedNumber(
                replace(rt.find_numbers(subject.node, path), are_texts=True), subject.loops
            )
        case _:
            yield subject.rows(broken(constraint, subject.node, subject))


def _numbers(path: NumberPath, subject: Subject) -> rt.EntryNumbers:
    if path.where is None:
        return rt.find_numbers(subject.root, path.path)
    where = path.where
    return rt.find_numbers(subject.root, path.path, lambda entry: fulfills(where, entry, subject))


def _unnamed_entry_tests(constraint: EntriesNamed, subject: Subject) -> Iterator[rt.UnnamedEntry]:
    listed = _numbers(constraint.listed, subject)
    for loops, presence, entry in rt.find_entries(subject.root, constraint.name):
        must_refer = logic.all_of(presence, fulfills(constraint.where, entry, subject))
        if must_refer is not False:
            entry_numbers = rt.find_numbers(entry, (constraint.member,), loops=loops)
            yield rt.UnnamedEntry(loops, must_refer, entry_numbers, listed)


def broken(constraint: Constraint, node: Entry, subject: Subject) -> fm.Formula:
    """Build the condition that a present node breaks a constraint."""
    match constraint:
        case logic.AllOf(parts=parts):
            return logic.any_of(*(broken(part, node, subject) for part in parts))
        case logic.AnyOf(parts=parts):
            return logic.all_of(*(broken(part, node, subject) for part in parts))
        case logic.Not(operand=operand):
            return fulfills(operand, node, subject)
        case constraints.FewerThan(count=count, name=name, pattern=pattern):
            return fm.at_least(count, _matching_entries(node, name, pattern))
        case constraints.PeriodOrder():
            return _is_out_of_order(node)
        case constraints.ValueShape(shape=shape):
            return logic.any_of(
                *(
                    logic.all_of(given, fm.WrongFormat(expr, shape))
                    for given, value in fm.members_of(node, "value")
                    if (expr := fm.expr_of(value)) is not None
                )
            )
        case constraints.ContainedTarget():  # a mapping contains no resources
            return _refers_to(node, "#")
        case _:
            return logic.negate(fulfills(constraint, node, subject))


def fulfills(constraint: Constraint, node: Entry, subject: Subject) -> fm.Formula:
    """Build the condition that a present node fulfills a constraint.

    Raises:
        UncheckableError: no formula can express the constraint.
    """
    match constraint:
        case constraints.Present(names=names):
            return fm.has_member(node, *names)
        case constraints.ValuePresent():
            return fm.has_member(node, *_value_names(node))
        case constraints.Contains(pattern=pattern):
            return fm.match_condition(node, pattern)
        case constraints.InValueSet(url=url):
            return subject.codes.concept_in(node, value_set(url, subject.guide), certain=False)
        case constraints.Exists(path=path, constraint=inner):
            return fm.exists_at(node, path, lambda inner_node: fulfills(inner, inner_node, subject))
        case logic.AllOf(parts=parts):
            return logic.all_of(*(fulfills(part, node, subject) for part in parts))
        case logic.AnyOf(parts=parts):
            return logic.any_of(*(fulfills(part, node, subject) for part in parts))
        case constraints.ReferenceTarget(name=name, type=resource_type):
            return fm.exists_at(
                node, (name,), lambda reference: _refers_to(reference, f"{resource_type}/")
            )
        case constraints.Uncontained():
            return True
        case _ if isinstance(constraint, _DEFINED_BY_VIOLATION):
            return logic.negate(broken(constraint, node, subject))
        case _:
            raise UncheckableError


_DEFINED_BY_VIOLATION: Final = (
    *(logic.Not, constraints.FewerThan, constraints.PeriodOrder, constraints.ValueShape),
)
"""Constraints whose formula expresses the violation."""


def _value_names(node: Entry) -> tuple[str, ...]:
    names = [key for key, _ in getattr(node, "members", ())]
    return tuple({name.removeprefix("_") for name in names if name.lstrip("_").startswith("value")})


def _matching_entries(
    node: Entry, name: str, pattern: object
) -> Iterator[tuple[fm.Loops, fm.Formula]]:
    """Yield the entries that may match a pattern: loops, and presence condition."""
    for _, member in fm.members_of(node, name):
        for entry in fm.list_entries(member):
            if fm.match_condition(entry.node, pattern) is not False:
                yield entry.loops, entry.presence


def _is_out_of_order(node: Entry) -> fm.Formula:
    return logic.any_of(
        *(
            logic.all_of(has_start, has_end, DateOrder(end, start))
            for has_start, opening in fm.members_of(node, "start")
            for has_end, closing in fm.members_of(node, "end")
            if (start := fm.expr_of(opening)) is not None
            and (end := fm.expr_of(closing)) is not None
        )
    )


def _refers_to(reference: Entry, beginning: str) -> fm.Formula:
    return logic.any_of(
        *(
            logic.all_of(given, rt.starts_with(expr, beginning))
            for given, value in fm.members_of(reference, "reference")
            if (expr := fm.expr_of(value)) is not None
        )
    )


def guide_rule_tests(
    rule: constraints.GuideRule, subject: Subject
) -> Iterator[tuple[str, rt.Test]]:
    """Yield a rule's tests, each with the path that it is about.

    Args:
        rule: a rule about entire resources.
        subject: the root of a plan.
    """
    root = subject.root
    match rule:
        case constraints.MarkedEntry(name=name, mark=mark):
            marked = tuple(_marked_entries(subject, name, mark))
            yield f"{name}.{mark}", rt.BrokenRows((), logic.negate(fm.at_least(1, marked)))
            yield f"{name}.{mark}", rt.BrokenRows((), fm.at_least(2, marked))
        case constraints.UniqueNumbers(lists=lists, inner=inner, number=number):
            for name in lists:
                yield f"{name}.{number}", rt.RepeatedNumber(rt.find_numbers(root, (name, number)))
            for outer, name in inner:
                for loops, presence, entry in rt.find_entries(root, outer):
                    path = (name, number)
                    inner_numbers = rt.find_numbers(entry, path, loops=loops, presence=presence)
                    if inner_numbers.sources:
                        yield f"{outer}.{name}.{number}", rt.RepeatedNumber(inner_numbers, loops)
        case constraints.ListedNumbers():
            yield from _listed_tests(rule, subject)
        case constraints.ForbiddenEntry(when=when, name=name, forbidden=forbidden):
            forbidden_part = fm.exists_at(
                root, (name,), lambda inner: fulfills(forbidden, inner, subject)
            )
            broken = logic.all_of(fulfills(when, root, subject), forbidden_part)
            yield f"{name}:{rule.slice_name}.{rule.at}", rt.BrokenRows((), broken)


def _marked_entries(
    subject: Subject, name: str, mark: str
) -> Iterator[tuple[fm.Loops, fm.Formula]]:
    for loops, presence, entry in rt.find_entries(subject.root, name):
        is_marked = fm.exists_at(entry, (mark,), partial(fm.match_condition, pattern=True))
        yield loops, logic.all_of(presence, is_marked)


def _listed_tests(
    rule: constraints.ListedNumbers, subject: Subject
) -> Iterator[tuple[str, rt.Test]]:
    """Yield the tests that numbers that a plan refers to exist."""
    for name in rule.lists:
        for depth in range(len(rule.inner) + 1):
            for member, listed in rule.members:
                path = (name, *rule.inner[:depth], member)
                named = rt.find_numbers(subject.root, path)
                if named.sources:
                    yield (
                        ".".join(path),
                        rt.UnlistedNumber(named, rt.find_numbers(subject.root, listed)),
                    )
