"""Mappings as no author should write them: shipped ones with something taken out or changed."""

import json
from dataclasses import replace

from etl.mapping import plan as pl
from etl.mapping.expressions import Absent, Constant, FirstOf


def spoilt(plan, chance):
    """Return a plan with one change somewhere in what it writes."""
    count = sum(1 for _ in _nodes(plan.body))
    at = chance.randrange(1, count)
    body = _changed(plan.body, iter(range(count)), at, chance.choice(_CHANGES), chance)
    if not isinstance(body, pl.ObjectNode):
        raise AssertionError(body)
    return replace(plan, body=body)


def _nodes(node):
    yield node
    match node:
        case pl.ObjectNode(members=members):
            for _, member in members:
                yield from _nodes(member)
        case pl.ListNode(entries=entries) | pl.Splice(entries=entries):
            for entry in entries:
                yield from _nodes(entry)
        case pl.Guard(node=inner) | pl.Loop(node=inner):
            yield from _nodes(inner)
        case _:
            return


def _changed(node, numbers, at, change, chance):
    """Return a node in which the one of that number, counted as `_nodes` does, is changed."""
    if next(numbers) == at:
        for _ in range(sum(1 for _ in _nodes(node)) - 1):
            next(numbers)
        return change(node, chance)
    match node:
        case pl.ObjectNode(members=members):
            inside = [(key, _changed(one, numbers, at, change, chance)) for key, one in members]
            kept = [(key, one) for key, one in inside if one is not None]
            return replace(node, members=tuple(kept)) if kept else None
        case pl.ListNode(entries=entries) | pl.Splice(entries=entries):
            made = [_changed(one, numbers, at, change, chance) for one in entries]
            left = tuple(one for one in made if one is not None)
            return replace(node, entries=left) if left else None
        case pl.Guard(node=inner) | pl.Loop(node=inner):
            below = _changed(inner, numbers, at, change, chance)
            return None if below is None else replace(node, node=below)
        case _:
            return node


def _gone(node, chance):
    del node, chance
    return


def _twice(node, chance):
    del chance
    if isinstance(node, pl.ListNode):
        return replace(node, entries=(*node.entries, node.entries[0]))
    return node


def _other_constant(node, chance):
    if isinstance(node, pl.JsonConstant):
        value = json.loads(node.json)
        if isinstance(value, str):
            other = chance.choice(("other", "unknown", "A  B", "http://example.org/x", value + "x"))
            return replace(node, json=json.dumps(other))
        if isinstance(value, bool):
            return replace(node, json=json.dumps(not value))
        return replace(node, json=json.dumps(chance.choice((0, -1, 1, 2, 101))))
    return node


def _unguarded(node, chance):
    del chance
    if isinstance(node, pl.Guard):
        return node.node
    if isinstance(node, pl.Loop):
        return replace(node, condition=True)
    return node


def _weak(node, chance):
    del chance
    return replace(node, weak=not node.weak) if isinstance(node, pl.Leaf) else node


def _without_default(node, chance):
    del chance
    if isinstance(node, pl.Leaf) and isinstance(node.expr, FirstOf):
        parts = tuple(Absent() if isinstance(one, Constant) else one for one in node.expr.parts)
        return replace(node, expr=replace(node.expr, parts=parts))
    return node


_CHANGES = (
    _gone,
    _gone,
    _other_constant,
    _unguarded,
    _twice,
    _weak,
    _without_default,
)
