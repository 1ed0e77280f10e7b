"""Static values of a plan's nodes: what is known of them without any row."""

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
    """Facts known at a node: expressions that are there, conditions that hold."""

    present: frozenset[ex.Expr] = frozenset()
    holding: frozenset[ex.Condition] = frozenset()

    def given(self, condition: ex.Condition) -> Facts:
        """Return these facts and what follows from one more condition."""
        return Facts(
            self.present | frozenset(_present_in(condition)),
            self.holding | frozenset(_conjuncts(condition)),
        )

    def surely(self, expr: ex.Expr) -> bool:
        """Return whether an expression cannot be absent here."""
        if not expr.nullable or expr in self.present:
            return True
        match expr:
            case ex.FirstOf(parts=parts):
                return any(self.surely(part) for part in parts)
            case ex.Joined(parts=parts):
                return all(self.surely(part) for part in parts)
            case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
                if condition in self.holding:
                    return self.given(condition).surely(then)
                return self.given(condition).surely(then) and self.given(
                    logic.Not(condition)
                ).surely(otherwise)
            case ex.Translated() | ex.Shaped() | ex.Left():
                return False  # they can make a value absent that is there
            case _:
                return hasattr(expr, "of") and self.surely(expr.of)


def _conjuncts(condition: ex.Condition) -> Iterator[ex.Condition]:
    if isinstance(condition, logic.AllOf):
        for part in condition.parts:
            yield from _conjuncts(part)
    else:
        yield condition


def _present_in(condition: ex.Condition) -> Iterator[ex.Expr]:
    for part in _conjuncts(condition):
        match part:
            case ex.IsPresent(of=of) | ex.OneOf(of=of):
                yield from _with_inner(of)
            case ex.Same(left=left, right=right):
                yield from (*_with_inner(left), *_with_inner(right))
            case _:
                continue


def _with_inner(expr: ex.Expr) -> Iterator[ex.Expr]:
    """Yield an expression that is there, and those inside that must then be there too."""
    yield expr
    match expr:
        case ex.FirstOf() | ex.Chosen() | ex.Constant() | ex.Absent() | ex.ColumnOf():
            return
        case ex.Joined(parts=parts):
            for part in parts:
                yield from _with_inner(part)
        case ex.LoopIndex():
            return
        case _:
            yield from _with_inner(expr.of)


def is_strong(node: Entry) -> bool:
    """Return whether a node affects whether the element around it is there."""
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
    """Return whether a node, wherever it is there, keeps the element around it there as well.

    An entry of constants alone can make a list be there, but does not affect what is around it.
    """
    match node:
        case ListNode(entries=entries) | Spliced(entries=entries):
            return all(keeps_alive(entry) for entry in entries)
        case _:
            return is_strong(node)


def is_sure(node: Entry, facts: Facts) -> bool:
    """Return whether a node is there in every row."""
    match node:
        case Fixed():
            return True
        case Leaf():
            return facts.surely(node.expr)
        case Guarded(condition=condition, node=inner):
            return condition in facts.holding and is_sure(inner, facts)
        case ObjectNode():
            strong = tuple(member for _, member in node.members if is_strong(member))
            return covers(strong or tuple(member for _, member in node.members), facts)
        case ListNode() | Spliced():
            return covers(node.entries, facts)
        case Loop(relation=relation, condition=condition, node=inner):
            whole = isinstance(relation, Many) and relation.table == "claim_line"
            return whole and condition is True and is_sure(inner, facts)


def _complementary(nodes: tuple[Entry, ...], facts: Facts) -> bool:
    """Return whether one node is there where a condition holds, and another where it does not."""
    sure = {condition for node in nodes for condition in _sure_when(node, facts)}
    return any(
        (condition.of if isinstance(condition, logic.Not) else logic.Not(condition)) in sure
        for condition in sure
    )


def _sure_when(node: Entry, facts: Facts) -> Iterator[ex.Condition]:
    """Yield conditions under each of which a node is surely there."""
    match node:
        case Guarded(condition=condition, node=inner):
            if is_sure(inner, facts.given(condition)):
                yield condition
        case Leaf(expr=ex.Chosen(condition=condition, then=then, otherwise=ex.Absent())):
            if facts.given(condition).surely(then):
                yield condition
            yield ex.IsPresent(node.expr)
        case Leaf():
            yield ex.IsPresent(node.expr)
        case _:
            return


def covers(nodes: tuple[Entry, ...], facts: Facts) -> bool:
    """Return whether one of several nodes is there in every row."""
    return any(is_sure(node, facts) for node in nodes) or _complementary(nodes, facts)


def static_value(node: Entry) -> Any:
    """Return the JSON value of a node, `UNKNOWN` in place of what depends on the row."""
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


def fits(value: Any, pattern: Any) -> bool | None:
    """Return whether a value contains a pattern (FHIR's pattern[x]); None where a row decides."""
    if value is UNKNOWN:
        return None
    if isinstance(pattern, Mapping):
        if not isinstance(value, Mapping):
            return False
        return _all(fits(value.get(key), part) for key, part in pattern.items())
    if isinstance(pattern, list):
        if not isinstance(value, list):
            return False
        return _all(_any(fits(entry, part) for entry in value) for part in pattern)
    return bool(value == pattern)


def _all(answers: Iterator[bool | None]) -> bool | None:
    known = list(answers)
    if False in known:
        return False
    return None if None in known else True


def _any(answers: Iterator[bool | None]) -> bool | None:
    known = list(answers)
    if True in known:
        return True
    return None if None in known else False


def answers(expr: ex.Expr, crosswalks: Mapping[str, Crosswalk]) -> frozenset[str] | None:
    """Return every text that an expression can yield; None where that depends on the rows."""
    match expr:
        case ex.Constant(value=value):
            return frozenset({value})
        case ex.Absent():
            return frozenset()
        case ex.Translated(crosswalk=name, column=column):
            return crosswalks[name].answers(column)
        case ex.FirstOf(parts=parts):
            return _union(parts, crosswalks)
        case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
            if isinstance(condition, ex.OneOf) and condition.of == then and not condition.negated:
                rest = answers(otherwise, crosswalks)
                return None if rest is None else rest | frozenset(condition.values)
            return _union((then, otherwise), crosswalks)
        case _:
            return None


def _union(
    parts: tuple[ex.Expr, ...], crosswalks: Mapping[str, Crosswalk]
) -> frozenset[str] | None:
    known = [words for part in parts if (words := answers(part, crosswalks)) is not None]
    return frozenset().union(*known) if len(known) == len(parts) else None
