"""Invariants of the profiles as tests of rows.

A constraint (`etl.profiles.invariants`) about a node of a plan becomes a formula over the node's
leaves, or a test of the numbers that its entries carry. `etl.conform.invariants` makes tests of
JSON of the same constraints; property tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from etl.mapping import formulas as fm
from etl.mapping import row_tests as rt
from etl.mapping.expressions import Before
from etl.mapping.plan import Entry, ListNode, Loop, ObjectNode
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
        root: the whole resource.
        loops: lead to the row that makes the object.
        given: when it is there.
        codes: makes the formulas of value sets.
        guide: source of the value sets.
    """

    node: Entry
    root: Entry
    loops: tuple[Loop, ...]
    given: fm.Formula
    codes: fm.Codes
    guide: Guide

    def rows(self, broken: fm.Formula) -> rt.BrokenRows:
        """Return the test that finds rows in which the object is there and something is true."""
        return rt.BrokenRows(self.loops, logic.all_of(broken, self.given))


_NONE_CONTAINED: Final = "a mapping contains no resources"
_PROVED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("dom-2", "dom-3", "dom-4", "dom-5"), _NONE_CONTAINED),
    "uncontained-requires-lastUpdated": "meta.lastUpdated is written into every resource",
}
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


def tests_of(constraint: Constraint, subject: Subject) -> Iterator[rt.Test]:
    """Yield the tests that find the rows which break a constraint.

    Raises:
        UncheckableError: no test can.
    """
    match constraint:
        case constraints.NumbersListed(numbers=named, among=known):
            yield rt.UnlistedNumber(_numbers(named, subject), _numbers(known, subject))
        case constraints.NumbersApart(numbers=left, others=right):
            yield rt.SharedNumber(_numbers(left, subject), _numbers(right, subject))
        case EntriesNamed():
            yield from _entries_named(constraint, subject)
        case constraints.Distinct(path=path):
            yield rt.RepeatedNumber(
                replace(rt.numbers(subject.node, path), are_texts=True), subject.loops
            )
        case _:
            yield subject.rows(broken(constraint, subject.node, subject))


def _numbers(path: NumberPath, subject: Subject) -> rt.EntryNumbers:
    if path.where is None:
        return rt.numbers(subject.root, path.path)
    where = path.where
    return rt.numbers(subject.root, path.path, lambda entry: fulfilled(where, entry, subject))


def _entries_named(constraint: EntriesNamed, subject: Subject) -> Iterator[rt.UnnamedEntry]:
    listed = _numbers(constraint.known, subject)
    for loops, given, entry in rt.entries_of(subject.root, constraint.name):
        lacking = logic.all_of(given, fulfilled(constraint.where, entry, subject))
        if lacking is not False:
            named = rt.numbers(entry, (constraint.member,), loops=loops)
            yield rt.UnnamedEntry(loops, lacking, named, listed)


def broken(constraint: Constraint, node: Entry, subject: Subject) -> fm.Formula:
    """Return the formula that a node, which is there, breaks a constraint."""
    match constraint:
        case logic.AllOf(parts=parts):
            return logic.any_of(*(broken(part, node, subject) for part in parts))
        case logic.AnyOf(parts=parts):
            return logic.all_of(*(broken(part, node, subject) for part in parts))
        case logic.Not(of=of):
            return fulfilled(of, node, subject)
        case constraints.FewerThan(count=count, name=name, pattern=pattern):
            return fm.at_least(count, _entries_like(node, name, pattern))
        case constraints.PeriodOrder():
            return _out_of_order(node)
        case constraints.ValueShape(shape=shape):
            return logic.any_of(
                *(
                    logic.all_of(given, fm.Misshapen(expr, shape))
                    for given, value in fm.members_of(node, "value")
                    if (expr := fm.expr_of(value)) is not None
                )
            )
        case constraints.ContainedTarget():  # a mapping contains no resources
            return _refers_to(node, "#")
        case _:
            return logic.negate(fulfilled(constraint, node, subject))


def fulfilled(constraint: Constraint, node: Entry, subject: Subject) -> fm.Formula:
    """Return the formula that a node, which is there, fulfils a constraint.

    Raises:
        UncheckableError: no formula can say so.
    """
    match constraint:
        case constraints.Present(names=names):
            return fm.has(node, *names)
        case constraints.ValuePresent():
            return fm.has(node, *_value_names(node))
        case constraints.Contains(pattern=pattern):
            return fm.matches(node, pattern)
        case constraints.InValueSet(url=url):
            return subject.codes.concept_in(node, value_set(url, subject.guide), surely=False)
        case constraints.Exists(path=path, constraint=inner):
            return fm.exists(node, path, lambda inner_node: fulfilled(inner, inner_node, subject))
        case logic.AllOf(parts=parts):
            return logic.all_of(*(fulfilled(part, node, subject) for part in parts))
        case logic.AnyOf(parts=parts):
            return logic.any_of(*(fulfilled(part, node, subject) for part in parts))
        case constraints.ReferenceTarget(name=name, type=wanted):
            return fm.exists(node, (name,), lambda reference: _refers_to(reference, f"{wanted}/"))
        case constraints.Uncontained():
            return True
        case _ if isinstance(constraint, _TOLD_BROKEN):
            return logic.negate(broken(constraint, node, subject))
        case _:
            raise UncheckableError


_TOLD_BROKEN: Final = (
    *(logic.Not, constraints.FewerThan, constraints.PeriodOrder, constraints.ValueShape),
)
"""Constraints with a formula that says where they are broken."""


def _value_names(node: Entry) -> tuple[str, ...]:
    names = [key for key, _ in getattr(node, "members", ())]
    return tuple({name.removeprefix("_") for name in names if name.lstrip("_").startswith("value")})


def _entries_like(
    node: Entry, name: str, pattern: object
) -> Iterator[tuple[tuple[Loop, ...], fm.Formula]]:
    """Yield the entries of a list that may contain a pattern: loops, and when each is there."""
    for _, member in fm.members_of(node, name):
        if isinstance(member, ListNode):
            for entry in member.entries:
                for loops, given, inner in fm.opened(entry):
                    if fm.matches(inner, pattern) is not False:
                        yield loops, logic.all_of(given, fm.presence(inner))


def _out_of_order(node: Entry) -> fm.Formula:
    return logic.any_of(
        *(
            logic.all_of(first, then, Before(end, start))
            for first, opening in fm.members_of(node, "start")
            for then, closing in fm.members_of(node, "end")
            if (start := fm.expr_of(opening)) is not None
            and (end := fm.expr_of(closing)) is not None
        )
    )


def _refers_to(reference: Entry, beginning: str) -> fm.Formula:
    return logic.any_of(
        *(
            logic.all_of(given, rt.begins(expr, beginning))
            for given, value in fm.members_of(reference, "reference")
            if (expr := fm.expr_of(value)) is not None
        )
    )


def guide_rule_tests(
    rule: constraints.GuideRule, subject: Subject
) -> Iterator[tuple[str, rt.Test]]:
    """Yield the path that a rule is about, and the test that finds the rows which break it.

    Args:
        rule: about whole resources.
        subject: the root of a plan.
    """
    root = subject.root
    match rule:
        case constraints.MarkedEntry(name=name, mark=mark):
            marked = tuple(_marked(subject, name, mark))
            yield f"{name}.{mark}", rt.BrokenRows((), logic.negate(fm.at_least(1, marked)))
            yield f"{name}.{mark}", rt.BrokenRows((), fm.at_least(2, marked))
        case constraints.UniqueNumbers(lists=lists, inner=inner, number=number):
            for name in lists:
                yield f"{name}.{number}", rt.RepeatedNumber(rt.numbers(root, (name, number)))
            for outer, name in inner:
                for loops, given, entry in rt.entries_of(root, outer):
                    found = rt.numbers(entry, (name, number), loops=loops, given=given)
                    if found.sources:
                        yield f"{outer}.{name}.{number}", rt.RepeatedNumber(found, loops)
        case constraints.ListedNumbers():
            yield from _listed(rule, subject)
        case constraints.ForbiddenEntry(given=given, name=name, forbidden=forbidden):
            entered = fm.exists(root, (name,), lambda inner: fulfilled(forbidden, inner, subject))
            together = logic.all_of(fulfilled(given, root, subject), entered)
            yield f"{name}:{rule.slice_name}.{rule.at}", rt.BrokenRows((), together)


def _marked(
    subject: Subject, name: str, mark: str
) -> Iterator[tuple[tuple[Loop, ...], fm.Formula]]:
    for loops, given, entry in rt.entries_of(subject.root, name):
        yield (
            loops,
            logic.all_of(given, fm.exists(entry, (mark,), lambda inner: fm.matches(inner, True))),
        )


def _listed(rule: constraints.ListedNumbers, subject: Subject) -> Iterator[tuple[str, rt.Test]]:
    """Yield the tests of numbers that a plan names; what it names nowhere needs none."""
    for name in rule.lists:
        for depth in range(len(rule.inner) + 1):
            for member, listed in rule.members:
                path = (name, *rule.inner[:depth], member)
                named = rt.numbers(subject.root, path)
                if named.sources:
                    yield ".".join(path), rt.UnlistedNumber(named, rt.numbers(subject.root, listed))
