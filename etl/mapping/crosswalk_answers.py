"""Find the elements that lack a value if a crosswalk has a word without a code.

A crosswalk may list a word without a code for it. That matters if the answer is written to an
element that the profile requires or marks as must-support, or if something else is written in its
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
_Conditions: TypeAlias = tuple[ex.Condition, ...]


def find_answer_uses(
    plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]
) -> tuple[pl.AnswerUse, ...]:
    """Return the uses of answers that a crosswalk lacks for some of its words."""
    profile = find_canonical(plan.profile)
    incomplete_answers = {
        part
        for part in _all_parts(plan.body)
        if isinstance(part, ex.Translation) and crosswalks[part.crosswalk].lacks_codes(part.column)
    }
    if profile is None or not incomplete_answers:
        return ()
    walker = _Walker(
        *(profile, Codes(crosswalks)),
        *(frozenset(incomplete_answers), _answers_with_fallback(plan.body)),
    )
    walker.visit_object(plan.body, (profile.root,), required=False, conditions=())
    with_codes = _crosswalks_with_codes(plan.body)
    return tuple(
        dict.fromkeys(
            use
            for name, use in walker.uses
            if name not in _CODING_PARTS or use.answer.crosswalk not in with_codes
        )
    )


def _all_parts(node: pl.Entry) -> Iterator[ex.Expr | ex.Condition]:
    for _, expr in pl.expressions_of(node):
        yield from ex.walk(expr)


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
        presence.operand
        for part in _all_parts(body)
        if isinstance(part, logic.Not)
        for presence in ex.walk(part)
        if isinstance(presence, ex.IsPresent)
    )


def _conjuncts(condition: ex.Condition) -> tuple[ex.Condition, ...]:
    if condition is True:
        return ()
    return condition.parts if isinstance(condition, logic.AllOf) else (condition,)


def _required_answers(condition: ex.Condition) -> Iterator[ex.Translation]:
    """Yield the answers that a condition needs to be true."""
    match condition:
        case logic.Not():
            return
        case ex.IsPresent(operand=operand) | ex.OneOf(operand=operand, negated=False):
            yield from (part for part in ex.walk(operand) if isinstance(part, ex.Translation))
        case _:
            for part in getattr(condition, "parts", ()):
                yield from _required_answers(part)


def _answers_in(expr: ex.Expr, *, optional: bool = False) -> Iterator[tuple[ex.Translation, bool]]:
    """Yield the answers of an expression, each with whether an alternative exists."""
    match expr:
        case ex.Translation():
            yield expr, optional
        case ex.FirstOf(parts=parts):
            for part in parts:
                yield from _answers_in(part, optional=True)
        case ex.Concat(parts=parts):
            for part in parts:
                yield from _answers_in(part, optional=optional)
        case ex.Choice(then=then, otherwise=otherwise):
            yield from _answers_in(then, optional=optional)
            yield from _answers_in(otherwise, optional=optional)
        case ex.Constant() | ex.Absent() | ex.ColumnOf() | ex.LoopIndex():
            return
        case _:
            yield from _answers_in(expr.operand, optional=optional)


@dataclass(frozen=True, slots=True)
class _Walker:
    """Walks a plan and its profile, and collects the uses of incomplete answers.

    In its methods, `required` says whether a required element is missing without the node.

    Attributes:
        profile: the profile of the plan.
        codes: decides to which slices an entry belongs.
        incomplete_answers: the answers to look for.
        fallback_answers: the answers that are replaced by something else if absent.
        uses: what was found: name of the element, and the use.
    """

    profile: Profile
    codes: Codes
    incomplete_answers: frozenset[ex.Expr | ex.Condition]
    fallback_answers: frozenset[ex.Expr]
    uses: list[tuple[str, pl.AnswerUse]] = field(default_factory=list)

    def visit_object(
        self, node: pl.ObjectNode, elements: _Elements, required: bool, conditions: _Conditions
    ) -> None:
        strong_count = sum(is_strong(member) for _, member in node.members)
        for name, member in node.members:
            is_decisive = strong_count == 1 and is_strong(member)
            children = self.child_elements(elements, name)
            self.visit(name, member, children, required and is_decisive, conditions)

    def child_elements(self, elements: _Elements, name: str) -> _Elements:
        return tuple(
            child
            for element in elements
            for child in self.profile.children(element.id)
            if name == child.name or name in choice_names(child)
        )

    def with_slices(self, name: str, node: pl.Entry, elements: _Elements) -> _Elements:
        """Add the slices that a value may belong to."""
        slices = (
            slice_element
            for element in elements
            for _, _, entry in expand_loops(node)
            for slice_element, _ in self.codes.slices_of(name, entry, element, self.profile)
        )
        return (*elements, *slices)

    def visit(
        self,
        name: str,
        node: pl.Entry,
        elements: _Elements,
        required: bool,
        conditions: _Conditions,
    ) -> None:
        if self.incomplete_answers.isdisjoint(_all_parts(node)):
            return
        match node:
            case pl.ListNode(entries=entries) | pl.Splice(entries=entries):
                is_decisive = sum(is_strong(entry) for entry in entries) == 1
                for entry in entries:
                    self.visit(name, entry, elements, required and is_decisive, conditions)
            case pl.Guard(condition=condition) | pl.Loop(condition=condition):
                required = required and isinstance(node, pl.Guard)
                all_elements = self.with_slices(name, node, elements)
                tested = _conjuncts(condition)
                self.add_tested(name, tested, required or _is_needed(all_elements), conditions)
                self.visit(name, node.node, elements, required, (*conditions, *tested))
            case pl.ObjectNode():
                all_elements = self.with_slices(name, node, elements)
                required = required or _is_needed(all_elements)
                self.visit_object(node, all_elements, required, conditions)
            case pl.Leaf(expr=expr):
                required = required or _is_needed(self.with_slices(name, node, elements))
                self.add_written(name, expr, required, conditions)
            case _:
                return

    def add_written(
        self, name: str, expr: ex.Expr, required: bool, conditions: _Conditions
    ) -> None:
        """Add the answers that an expression writes."""
        for answer, has_alternative in _answers_in(expr):
            is_required = required or answer in self.fallback_answers
            if answer in self.incomplete_answers and (is_required or has_alternative):
                self.add(name, answer, expr, conditions, is_required)

    def add_tested(
        self, name: str, tested: _Conditions, required: bool, conditions: _Conditions
    ) -> None:
        """Add the answers without which one of several joined conditions is false."""
        for condition in tested:
            for answer in _required_answers(condition):
                is_required = required or answer in self.fallback_answers
                if answer in self.incomplete_answers and is_required:
                    other_conditions = (other for other in tested if other is not condition)
                    self.add(name, answer, condition, (*conditions, *other_conditions), True)

    def add(
        self,
        name: str,
        answer: ex.Translation,
        user: ex.Expr | ex.Condition,
        conditions: _Conditions,
        is_required: bool,
    ) -> None:
        other_conditions = tuple(other for other in conditions if answer not in ex.walk(other))
        self.uses.append((name, pl.AnswerUse(answer, user, other_conditions, is_required)))


def _is_needed(elements: _Elements) -> bool:
    return any(element.must_support or element.min > 0 for element in elements)
