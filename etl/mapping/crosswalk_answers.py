"""Places in a plan that a crosswalk fills: what a word without a code leaves out or replaces.

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
from etl.mapping.formulas import Codes, opened
from etl.mapping.static_values import is_strong
from etl.model import logic
from etl.model.crosswalks import Crosswalk
from etl.profiles.structures import Element, Profile, choice_names, find_canonical

_OF_A_CODE: Final = frozenset({"system", "version", "display"})
"""Parts of a coding that say nothing without its code."""

_Elements: TypeAlias = tuple[Element, ...]


def feeds_of(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> tuple[pl.Feed, ...]:
    """Return the places of answers that a crosswalk may lack for a word that it lists."""
    profile = find_canonical(plan.profile)
    uncertain = {
        part
        for part in _expressions(plan.body)
        if isinstance(part, ex.Translated) and crosswalks[part.crosswalk].lacks_codes(part.column)
    }
    if profile is None or not uncertain:
        return ()
    walker = _Walker(profile, Codes(crosswalks), frozenset(uncertain), _replaced(plan.body))
    walker.object(plan.body, (profile.root,), lost=False, needs=())
    coded = _coded(plan.body)
    return tuple(
        dict.fromkeys(
            feed
            for name, feed in walker.found
            if name not in _OF_A_CODE or feed.answer.crosswalk not in coded
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


def _coded(body: pl.Entry) -> frozenset[str]:
    """Return the crosswalks of which a plan writes more than the system of a code."""
    return frozenset(
        answer.crosswalk
        for path, node in pl.nodes_of(body)
        if isinstance(node, pl.Leaf) and path.rpartition(".")[2] not in _OF_A_CODE
        for answer, _ in _answers_in(node.expr)
    )


def _replaced(body: pl.Entry) -> frozenset[ex.Expr]:
    """Return the answers that something else is written for where they are absent."""
    return frozenset(
        there.of
        for part in _expressions(body)
        if isinstance(part, logic.Not)
        for there in ex.walk(part)
        if isinstance(there, ex.IsPresent)
    )


def _conjuncts(condition: ex.Condition) -> tuple[ex.Condition, ...]:
    if condition is True:
        return ()
    return condition.parts if isinstance(condition, logic.AllOf) else (condition,)


def _wanted_by(condition: ex.Condition) -> Iterator[ex.Translated]:
    """Yield the answers without which a condition may not hold."""
    match condition:
        case logic.Not():
            return
        case ex.IsPresent(of=of) | ex.OneOf(of=of, negated=False):
            yield from (part for part in ex.walk(of) if isinstance(part, ex.Translated))
        case _:
            for part in getattr(condition, "parts", ()):
                yield from _wanted_by(part)


def _answers_in(expr: ex.Expr, *, in_place: bool = False) -> Iterator[tuple[ex.Translated, bool]]:
    """Yield the answers that an expression may be made of, and whether another may be instead."""
    match expr:
        case ex.Translated():
            yield expr, in_place
        case ex.FirstOf(parts=parts):
            for part in parts:
                yield from _answers_in(part, in_place=True)
        case ex.Joined(parts=parts):
            for part in parts:
                yield from _answers_in(part, in_place=in_place)
        case ex.Chosen(then=then, otherwise=otherwise):
            yield from _answers_in(then, in_place=in_place)
            yield from _answers_in(otherwise, in_place=in_place)
        case ex.Constant() | ex.Absent() | ex.ColumnOf() | ex.LoopIndex():
            return
        case _:
            yield from _answers_in(expr.of, in_place=in_place)


@dataclass(frozen=True, slots=True)
class _Walker:
    """Walks a plan beside its profile; `lost`: with the node goes an element that matters."""

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
        """Return the elements that a value is of, the slices that it may be among them."""
        slices = (
            part
            for whole in elements
            for _, _, entry in opened(node)
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
                self.tested(name, parts, lost or _matters(fitting), needs)
                self.value(name, node.node, elements, lost, (*needs, *parts))
            case pl.ObjectNode():
                at = self.fitting(name, node, elements)
                self.object(node, at, lost=lost or _matters(at), needs=needs)
            case pl.Leaf(expr=expr):
                vital = lost or _matters(self.fitting(name, node, elements))
                self.written(name, expr, vital, needs)
            case _:
                return

    def written(
        self, name: str, expr: ex.Expr, vital: bool, needs: tuple[ex.Condition, ...]
    ) -> None:
        for answer, in_place in _answers_in(expr):
            counts = vital or answer in self.replaced
            if answer in self.asked and (counts or in_place):
                others = tuple(need for need in needs if answer not in ex.walk(need))
                self.found.append((name, pl.Feed(answer, expr, others, counts)))

    def tested(
        self,
        name: str,
        parts: tuple[ex.Condition, ...],
        lost: bool,
        needs: tuple[ex.Condition, ...],
    ) -> None:
        for part in parts:
            for answer in _wanted_by(part):
                if answer in self.asked and (lost or answer in self.replaced):
                    others = (*needs, *(one for one in parts if one is not part))
                    kept = tuple(other for other in others if answer not in ex.walk(other))
                    self.found.append((name, pl.Feed(answer, part, kept, vital=True)))


def _matters(elements: _Elements) -> bool:
    return any(element.must_support or element.min > 0 for element in elements)
