"""Static values of a plan's nodes: what is known without reading any row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from etl.mapping import expressions as ex
from etl.mapping.plan import Entry, Guard, JsonConstant, Leaf, ListNode, Loop, ObjectNode, Splice
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
    """What is known of a row: expressions that have a value, and conditions that are true."""

    present: frozenset[ex.Expr] = frozenset()
    true_conditions: frozenset[ex.Condition] = frozenset()

    def assume(self, condition: ex.Condition) -> Facts:
        """Add what follows from one more condition."""
        return Facts(
            self.present | frozenset(_present_expressions(condition)),
            self.true_conditions | frozenset(_conjuncts(condition)),
        )

    def always_has_value(self, expr: ex.Expr) -> bool:
        """Return whether these facts imply that an expression has a value."""
        if not expr.nullable or expr in self.present:
            return True
        match expr:
            case ex.FirstOf(parts=parts):
                return any(self.always_has_value(part) for part in parts)
            case ex.Concat(parts=parts):
                return all(self.always_has_value(part) for part in parts)
            case ex.Choice(condition=condition, then=then, otherwise=otherwise):
                if condition in self.true_conditions:
                    return self.assume(condition).always_has_value(then)
                return self.assume(condition).always_has_value(then) and self.assume(
                    logic.Not(condition)
                ).always_has_value(otherwise)
            case ex.Translation() | ex.ShapedText() | ex.Prefix():
                return False  # these can drop a value
            case _:
                return hasattr(expr, "operand") and self.always_has_value(expr.operand)


def _conjuncts(condition: ex.Condition) -> Iterator[ex.Condition]:
    """Yield the conditions that a condition joins with "and", or itself."""
    if isinstance(condition, logic.AllOf):
        for part in condition.parts:
            yield from _conjuncts(part)
    else:
        yield condition


def _present_expressions(condition: ex.Condition) -> Iterator[ex.Expr]:
    """Yield the expressions that have a value if a condition is true."""
    for part in _conjuncts(condition):
        match part:
            case ex.IsPresent(operand=operand) | ex.OneOf(operand=operand):
                yield from _implied_present(operand)
            case ex.Equality(left=left, right=right):
                yield from (*_implied_present(left), *_implied_present(right))
            case _:
                continue


def _implied_present(expr: ex.Expr) -> Iterator[ex.Expr]:
    """Yield an expression and the inner ones that have a value whenever it has one."""
    yield expr
    match expr:
        case ex.FirstOf() | ex.Choice() | ex.Constant() | ex.Absent() | ex.ColumnOf():
            return
        case ex.Concat(parts=parts):
            for part in parts:
                yield from _implied_present(part)
        case ex.LoopIndex():
            return
        case _:
            yield from _implied_present(expr.operand)


def is_strong(node: Entry) -> bool:
    """Return whether the element around a node is present because of it.

    An object of constants and weak values only is dropped.
    """
    match node:
        case JsonConstant():
            return False
        case Leaf():
            return not node.weak
        case Guard() | Loop():
            return True
        case ObjectNode():
            return any(is_strong(member) for _, member in node.members)
        case ListNode() | Splice():
            return any(is_strong(entry) for entry in node.entries)


def keeps_alive(node: Entry) -> bool:
    """Return whether a node's presence always implies that of the element around it.

    An entry that consists of constants can make a list present, but not the element around it.
    """
    match node:
        case ListNode(entries=entries) | Splice(entries=entries):
            return all(keeps_alive(entry) for entry in entries)
        case _:
            return is_strong(node)


def is_always_present(node: Entry, facts: Facts) -> bool:
    """Return whether a node is present in every row."""
    match node:
        case JsonConstant():
            return True
        case Leaf():
            return facts.always_has_value(node.expr)
        case Guard(condition=condition, node=inner):
            return condition in facts.true_conditions and is_always_present(inner, facts)
        case ObjectNode():
            members = tuple(member for _, member in node.members)
            # Without a present strong member the object is dropped.
            return is_one_present(tuple(filter(is_strong, members)) or members, facts)
        case ListNode() | Splice():
            return is_one_present(node.entries, facts)
        case Loop(relation=relation, condition=condition, node=inner):
            # Every claim has a line; other relations can be empty.
            is_claim_line = isinstance(relation, Many) and relation.table == "claim_line"
            return is_claim_line and condition is True and is_always_present(inner, facts)


def _has_opposites(nodes: tuple[Entry, ...], facts: Facts) -> bool:
    """Return whether the nodes are present under a condition and under its opposite."""
    conditions = {condition for node in nodes for condition in _sufficient_conditions(node, facts)}
    opposites = {
        part.operand if isinstance(part, logic.Not) else logic.Not(part) for part in conditions
    }
    return not conditions.isdisjoint(opposites)


def _sufficient_conditions(node: Entry, facts: Facts) -> Iterator[ex.Condition]:
    """Yield conditions that each make a node present."""
    match node:
        case Guard(condition=condition, node=inner):
            if is_always_present(inner, facts.assume(condition)):
                yield condition
        case Leaf(expr=ex.Choice(condition=condition, then=then, otherwise=ex.Absent())):
            if facts.assume(condition).always_has_value(then):
                yield condition
            yield ex.IsPresent(node.expr)
        case Leaf():
            yield ex.IsPresent(node.expr)
        case _:
            return


def is_one_present(nodes: tuple[Entry, ...], facts: Facts) -> bool:
    """Return whether at least one of the nodes is present in every row."""
    return any(is_always_present(node, facts) for node in nodes) or _has_opposites(nodes, facts)


def static_value(node: Entry) -> Any:
    """Return a node's JSON value, with `UNKNOWN` for values that depend on the row."""
    match node:
        case JsonConstant(json=text):
            return json.loads(text)
        case Leaf() | Loop():
            return UNKNOWN
        case Guard(node=inner):
            return static_value(inner)
        case ObjectNode(members=members):
            return {key: static_value(member) for key, member in members}
        case ListNode(entries=entries):
            return [static_value(entry) for entry in entries]
        case Splice():
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
    """Return whether all results are true; None if that is unknown."""
    all_results = list(results)
    if False in all_results:
        return False
    return None if None in all_results else True


def _any_of(results: Iterator[bool | None]) -> bool | None:
    """Return whether a result is true; None if that is unknown."""
    all_results = list(results)
    if True in all_results:
        return True
    return None if None in all_results else False


def possible_values(expr: ex.Expr, crosswalks: Mapping[str, Crosswalk]) -> frozenset[str] | None:
    """Return all texts that an expression can yield; None if they depend on the rows."""
    match expr:
        case ex.Constant(value=value):
            return frozenset({value})
        case ex.Absent():
            return frozenset()
        case ex.Translation(crosswalk=name, column=column):
            return crosswalks[name].answers(column)
        case ex.FirstOf(parts=parts):
            return _union_of_values(parts, crosswalks)
        case ex.Choice(condition=test, then=then, otherwise=otherwise):
            if isinstance(test, ex.OneOf) and test.operand == then and not test.negated:
                other_texts = possible_values(otherwise, crosswalks)
                return None if other_texts is None else other_texts | frozenset(test.values)
            return _union_of_values((then, otherwise), crosswalks)
        case _:
            return None


def _union_of_values(
    parts: tuple[ex.Expr, ...], crosswalks: Mapping[str, Crosswalk]
) -> frozenset[str] | None:
    sets = [texts for part in parts if (texts := possible_values(part, crosswalks)) is not None]
    return frozenset().union(*sets) if len(sets) == len(parts) else None
