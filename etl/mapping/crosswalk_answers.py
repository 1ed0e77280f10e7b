"""Find the elements that lack a value if a crosswalk has a word without a code.

A crosswalk may list a word without a code for it. That matters where the answer feeds an element
that the profile requires or marks as must-support, and where something else is written in its
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping import plan as pl
from etl.mapping.formulas import Codes, expand_loops
from etl.mapping.static_values import is_strong
from etl.model import logic
from etl.model.crosswalks import Crosswalk
from etl.profiles.structures import Element, Profile, choice_names, find_canonical

_CODING_PARTS: Final = frozenset({"system", "version", "display"})
"""Parts of a coding that mean nothing without its code."""

_Elements: TypeAlias = tuple[Element, ...]


def feeds_of(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> tuple[pl.Feed, ...]:
    """Find the answers that a crosswalk may lack for its words, with their elements."""
    profile = find_canonical(plan.profile)
    incomplete = {
        part
        for part in _expressions(plan.body)
        if isinstance(part, ex.Translated) and crosswalks[part.crosswalk].lacks_codes(part.column)
    }
    if profile is None or not incomplete:
        return ()
    walker = _Walker(
        profile, Codes(crosswalks), frozenset(incomplete), _answers_with_fallback(plan.body)
    )
    walker.object(plan.body, (profile.root,), lost=False, needs=())
    with_codes = _crosswalks_with_codes(plan.body)
    return tuple(
        dict.fromkeys(
            feed
            for name, feed in walker.found
            if name not in _CODING_PARTS or feed.answer.crosswalk not in with_codes
        )
    )


def _expressions(body: pl.Entry) -> Iterator[ex.Expr | ex.Condition]:
    for _, node in pl.nodes_of(body):
        match node:
            case pl.Leaf(expr=expr):
                yield from ex.walk(expr)
            case pl.Guarded(condition=condition) | pl.Loop(condition=condition) if (
                condition is not True
            ):
                yield from ex.walk(condition)
            case _:
                continue


def _crosswalks_with_codes(body: pl.Entry) -> frozenset[str]:
    """Return the crosswalks whose codes a plan writes, not only their systems."""
    return frozenset(
        answer.crosswalk
        for path, node in pl.nodes_of(body)
        if isinstance(node, pl.Leaf) and path.rpartition(".")[2] not in _CODING_PARTS
        for answer, _ in _answers_in(node.expr)
    )


def _answers_with_fallback(body: pl.Entry) -> frozenset[ex.Expr]:
    """Return the answers that are replaced by something else if absent."""
    return frozenset(
        presence.of
        for part in _expressions(body)
        if isinstance(part, logic.Not)
        for presence in ex.walk(part)
        if isinstance(presence, ex.IsPresent)
    )


def _conjuncts(condition: ex.Condition) -> tuple[ex.Condition, ...]:
    if condition is True:
        return ()
    return condition.parts if isinstance(condition, logic.AllOf) else (condition,)


def _required_answers(condition: ex.Condition) -> Iterator[ex.Translated]:
    """Yield the answers that a condition needs to be true."""
    match condition:
        case logic.Not():
            return
        case ex.IsPresent(of=of) | ex.OneOf(of=of, negated=False):
            yield from (part for part in ex.walk(of) if isinstance(part, ex.Translated))
        case _:
            for part in getattr(condition, "parts", ()):
                yield from _required_answers(part)


def _answers_in(expr: ex.Expr, *, optional: bool = False) -> Iterator[tuple[ex.Translated, bool]]:
    """Yield the answers of an expression, each with whether an alternative exists."""
    match expr:
        case ex.Translated():
            yield expr, optional
        case ex.FirstOf(parts=parts):
            for part in parts:
                yield from _answers_in(part, optional=True)
        case ex.Joined(parts=parts):
            for part in parts:
                yield from _answers_in(part, optional=optional)
        case ex.Chosen(then=then, otherwise=otherwise):
            yield from _answers_in(then, optional=optional)
            yield from _answers_in(otherwise, optional=optional)
        case ex.Constant() | ex.Absent() | ex.ColumnOf() | ex.LoopIndex():
            return
        case _:
            yield from _answers_in(expr.of, optional=optional)


@dataclass(frozen=True, slots=True)
class _Walker:
    """Walks a plan and its profile; `lost` means that the node's loss removes a needed element."""

    profile: Profile
    codes: Codes
    asked: frozenset[ex.Expr | ex.Condition]
    replaced: frozenset[ex.Expr]
    found: list[tuple[str, pl.Feed]] = field(default_factory=list)

    def object(
        self,
        node: pl.ObjectNode,
        elements: _Elements,
        *,
        lost: bool,
        needs: tuple[ex.Condition, ...],
    ) -> None:
        strong = sum(is_strong(member) for _, member in node.members)
        for name, member in node.members:
            alone = strong == 1 and is_strong(member)
            self.value(name, member, self.below(elements, name), lost and alone, needs)

    def below(self, elements: _Elements, name: str) -> _Elements:
        return tuple(
            child
            for element in elements
            for child in self.profile.children(element.id)
            if name == child.name or name in choice_names(child)
        )

    def fitting(self, name: str, node: pl.Entry, elements: _Elements) -> _Elements:
        """Return a value's elements, including slices that it may belong to."""
        slices = (
            part
            for whole in elements
            for _, _, entry in expand_loops(node)
            for part, _ in self.codes.slices_of(name, entry, whole, self.profile)
        )
        return (*elements, *slices)

    def value(
        self,
        name: str,
        node: pl.Entry,
        elements: _Elements,
        lost: bool,
        needs: tuple[ex.Condition, ...],
    ) -> None:
        if self.asked.isdisjoint(_expressions(node)):
            return
        match node:
            case pl.ListNode(entries=entries) | pl.Spliced(entries=entries):
                alone = sum(is_strong(entry) for entry in entries) == 1
                for entry in entries:
                    self.value(name, entry, elements, lost and alone, needs)
            case pl.Guarded(condition=condition) | pl.Loop(condition=condition):
                lost = lost and isinstance(node, pl.Guarded)
                fitting = self.fitting(name, node, elements)
                parts = _conjuncts(condition)
                self.tested(name, parts, lost or _is_needed(fitting), needs)
                self.value(name, node.node, elements, lost, (*needs, *parts))
            case pl.ObjectNode():
                at = self.fitting(name, node, elements)
                self.object(node, at, lost=lost or _is_needed(at), needs=needs)
            case pl.Leaf(expr=expr):
                vital = lost or _is_needed(self.fitting(name, node, elements))
                self.written(name, expr, vital, needs)
            case _:
                return

    def written(
        self, name: str, expr: ex.Expr, vital: bool, needs: tuple[ex.Condition, ...]
    ) -> None:
        for answer, has_alternative in _answers_in(expr):
            is_needed = vital or answer in self.replaced
            if answer in self.asked and (is_needed or has_alternative):
                others = tuple(need for need in needs if answer not in ex.walk(need))
                self.found.append((name, pl.Feed(answer, expr, others, is_needed)))

    def tested(
        self,
        name: str,
        parts: tuple[ex.Condition, ...],
        lost: bool,
        needs: tuple[ex.Condition, ...],
    ) -> None:
        for part in parts:
            for answer in _required_answers(part):
                if answer in self.asked and (lost or answer in self.replaced):
                    others = (*needs, *(one for one in parts if one is not part))
                    other_needs = tuple(other for other in others if answer not in ex.walk(other))
                    self.found.append((name, pl.Feed(answer, part, other_needs, vital=True)))


def _is_needed(elements: _Elements) -> bool:
    return any(element.must_support or element.min > 0 for element in elements)
