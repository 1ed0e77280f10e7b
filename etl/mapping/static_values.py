"""Static values of a plan's nodes: what is known without reading any row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from etl.mapping import expressions as ex
from etl.mapping.plan import Entry, Fixed, Guarded, Leaf, ListNode, Loop, ObjectNode, Spliced
from etl.model import logic
from etl.model.crosswalks import Crosswalk
from etl.model.relations import Many


class _Unknown:
    """A value that depends on the row."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts known at a node: expressions with a value, and conditions that are true."""

    present: frozenset[ex.Expr] = frozenset()
    holding: frozenset[ex.Condition] = frozenset()

    def assume(self, condition: ex.Condition) -> Facts:
        """Add what follows from one more condition."""
        return Facts(
            self.present | frozenset(_present_expressions(condition)),
            self.holding | frozenset(_conjuncts(condition)),
        )

    def is_certain(self, expr: ex.Expr) -> bool:
        """Return whether an expression always has a value here."""
        if not expr.nullable or expr in self.present:
            return True
        match expr:
            case ex.FirstOf(parts=parts):
                return any(self.is_certain(part) for part in parts)
            case ex.Joined(parts=parts):
                return all(self.is_certain(part) for part in parts)
            case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
                if condition in self.holding:
                    return self.assume(condition).is_certain(then)
                return self.assume(condition).is_certain(then) and self.assume(
                    logic.Not(condition)
                ).is_certain(otherwise)
            case ex.Translated() | ex.Shaped() | ex.Left():
                return False  # these can drop a value
            case _:
                return hasattr(expr, "of") and self.is_certain(expr.of)


def _conjuncts(condition: ex.Condition) -> Iterator[ex.Condition]:
    if isinstance(condition, logic.AllOf):
        for part in condition.parts:
            yield from _conjuncts(part)
    else:
        yield condition


def _present_expressions(condition: ex.Condition) -> Iterator[ex.Expr]:
    for part in _conjuncts(condition):
        match part:
            case ex.IsPresent(of=of) | ex.OneOf(of=of):
                yield from _implied_present(of)
            case ex.Same(left=left, right=right):
                yield from (*_implied_present(left), *_implied_present(right))
            case _:
                continue


def _implied_present(expr: ex.Expr) -> Iterator[ex.Expr]:
    """Yield a present expression and the inner ones that must then be present, too."""
    yield expr
    match expr:
        case ex.FirstOf() | ex.Chosen() | ex.Constant() | ex.Absent() | ex.ColumnOf():
            return
        case ex.Joined(parts=parts):
            for part in parts:
                yield from _implied_present(part)
        case ex.LoopIndex():
            return
        case _:
            yield from _implied_present(expr.of)


def is_strong(node: Entry) -> bool:
    """Return whether a node decides if the element around it is present."""
    match node:
        case Fixed():
            return False
        case Leaf():
            return not node.weak
        case Guarded() | Loop():
            return True
        case ObjectNode():
            return any(is_strong(member) for _, member in node.members)
        case ListNode() | Spliced():
            return any(is_strong(entry) for entry in node.entries)


def keeps_alive(node: Entry) -> bool:
    """Return whether a node's presence always implies that of the element around it.

    An entry that consists of constants can make a list present, but not the element around it.
    """
    match node:
        case ListNode(entries=entries) | Spliced(entries=entries):
            return all(keeps_alive(entry) for entry in entries)
        case _:
            return is_strong(node)


def is_sure(node: Entry, facts: Facts) -> bool:
    """Return whether a node is present in every row."""
    match node:
        case Fixed():
            return True
        case Leaf():
            return facts.is_certain(node.expr)
        case Guarded(condition=condition, node=inner):
            return condition in facts.holding and is_sure(inner, facts)
        case ObjectNode():
            strong = tuple(member for _, member in node.members if is_strong(member))
            return covers(strong or tuple(member for _, member in node.members), facts)
        case ListNode() | Spliced():
            return covers(node.entries, facts)
        case Loop(relation=relation, condition=condition, node=inner):
            is_claim_line = isinstance(relation, Many) and relation.table == "claim_line"
            return is_claim_line and condition is True and is_sure(inner, facts)


def _complementary(nodes: tuple[Entry, ...], facts: Facts) -> bool:
    """Return whether one node is present under a condition, and another under its opposite."""
    conditions = {condition for node in nodes for condition in _sufficient_conditions(node, facts)}
    return any(
        (condition.of if isinstance(condition, logic.Not) else logic.Not(condition)) in conditions
        for condition in conditions
    )


def _sufficient_conditions(node: Entry, facts: Facts) -> Iterator[ex.Condition]:
    """Yield conditions that are sufficient for a node's presence."""
    match node:
        case Guarded(condition=condition, node=inner):
            if is_sure(inner, facts.assume(condition)):
                yield condition
        case Leaf(expr=ex.Chosen(condition=condition, then=then, otherwise=ex.Absent())):
            if facts.assume(condition).is_certain(then):
                yield condition
            yield ex.IsPresent(node.expr)
        case Leaf():
            yield ex.IsPresent(node.expr)
        case _:
            return


def covers(nodes: tuple[Entry, ...], facts: Facts) -> bool:
    """Return whether every row has at least one of the nodes."""
    return any(is_sure(node, facts) for node in nodes) or _complementary(nodes, facts)


def static_value(node: Entry) -> Any:
    """Return a node's JSON value, with `UNKNOWN` for values that depend on the row."""
    match node:
        case Fixed(json=text):
            return json.loads(text)
        case Leaf() | Loop():
            return UNKNOWN
        case Guarded(node=inner):
            return static_value(inner)
        case ObjectNode(members=members):
            return {key: static_value(member) for key, member in members}
        case ListNode(entries=entries):
            return [static_value(entry) for entry in entries]
        case Spliced():
            return UNKNOWN


def matches_pattern(value: Any, pattern: Any) -> bool | None:
    """Test whether a value contains a FHIR pattern[x]; None if that depends on the row."""
    if value is UNKNOWN:
        return None
    if isinstance(pattern, Mapping):
        if not isinstance(value, Mapping):
            return False
        return _all_of(matches_pattern(value.get(key), part) for key, part in pattern.items())
    if isinstance(pattern, list):
        if not isinstance(value, list):
            return False
        return _all_of(_any_of(matches_pattern(entry, part) for entry in value) for part in pattern)
    return bool(value == pattern)


def _all_of(results: Iterator[bool | None]) -> bool | None:
    all_results = list(results)
    if False in all_results:
        return False
    return None if None in all_results else True


def _any_of(results: Iterator[bool | None]) -> bool | None:
    all_results = list(results)
    if True in all_results:
        return True
    return None if None in all_results else False


def answers(expr: ex.Expr, crosswalks: Mapping[str, Crosswalk]) -> frozenset[str] | None:
    """Return all texts that an expression can yield; None if that depends on the rows."""
    match expr:
        case ex.Constant(value=value):
            return frozenset({value})
        case ex.Absent():
            return frozenset()
        case ex.Translated(crosswalk=name, column=column):
            return crosswalks[name].answers(column)
        case ex.FirstOf(parts=parts):
            return _union_of_answers(parts, crosswalks)
        case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
            if isinstance(condition, ex.OneOf) and condition.of == then and not condition.negated:
                other_texts = answers(otherwise, crosswalks)
                return None if other_texts is None else other_texts | frozenset(condition.values)
            return _union_of_answers((then, otherwise), crosswalks)
        case _:
            return None


def _union_of_answers(
    parts: tuple[ex.Expr, ...], crosswalks: Mapping[str, Crosswalk]
) -> frozenset[str] | None:
    known_answers = [words for part in parts if (words := answers(part, crosswalks)) is not None]
    return frozenset().union(*known_answers) if len(known_answers) == len(parts) else None
