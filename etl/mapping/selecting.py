"""What of a node the tests of rows speak of: its entries, its numbers, how a text begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from etl.mapping.expressions import (
    Absent,
    Chosen,
    Constant,
    Expr,
    FirstOf,
    Joined,
    LogicalId,
    ProviderReference,
)
from etl.mapping.formulas import (
    Begins,
    Formula,
    all_of,
    any_of,
    expr_of,
    holds,
    members_of,
    no,
    opened,
    presence,
    there,
)
from etl.mapping.plan import (
    Entry,
    Fixed,
    ListNode,
    Loop,
)
from etl.mapping.row_tests import (
    Numbers,
)
from etl.mapping.static import static_value


def begins(expr: Expr, text: str) -> Formula:
    """Return that an expression is there and begins with a text."""
    match expr:
        case Constant(value=value):
            return value.startswith(text)
        case Joined(parts=(Constant(value=value), *_)) if len(value) >= len(text):
            return all_of(there(expr), value.startswith(text))
        case ProviderReference(resource=resource, only=only):
            named = (f"{resource}/",) if only else ("Organization/", "Practitioner/")
            if not any(name.startswith(text) for name in named):
                return False
            return there(expr) if only else Begins(expr, text)
        case FirstOf(parts=(first, *rest)):
            later = begins(FirstOf(tuple(rest), expr.kind), text) if rest else False
            return any_of(begins(first, text), all_of(no(there(first)), later))
        case Chosen(condition=condition, then=then, otherwise=otherwise):
            return any_of(
                all_of(holds(condition), begins(then, text)),
                all_of(no(holds(condition)), begins(otherwise, text)),
            )
        case Absent() | LogicalId():
            return False
        case _:
            return Begins(expr, text)


def numbers(
    node: Entry,
    path: tuple[str, ...],
    where: Callable[[Entry], Formula] = lambda entry: True,
    loops: tuple[Loop, ...] = (),
    given: Formula = True,
) -> Numbers:
    """Return the numbers at a path below a node.

    Args:
        node: where the path begins.
        path: names of members; entries of lists on the way are all looked at.
        where: which entries of the first list are meant.
        loops: lead to the row that makes the node.
        given: when the node is there.
    """
    return Numbers(tuple(_numbers(node, path, where, loops, given)))


def _numbers(
    node: Entry,
    path: tuple[str, ...],
    where: Callable[[Entry], Formula],
    loops: tuple[Loop, ...],
    given: Formula,
) -> Iterator[tuple[tuple[Loop, ...], Formula, Expr | int]]:
    if isinstance(node, ListNode):
        for entry in node.entries:
            for more, held, inner in opened(entry):
                here = all_of(given, held, presence(inner))
                if path:  # an entry of the first list, or of one further down
                    here = all_of(here, where(inner))
                yield from _numbers(inner, path, lambda _: True, (*loops, *more), here)
        return
    if path:
        for held, member in members_of(node, path[0]):
            here = all_of(given, held, presence(member))
            yield from _numbers(member, path[1:], where, loops, here)
        return
    if given is False:
        return
    if isinstance(node, Fixed):
        value = static_value(node)
        if isinstance(value, int):
            yield loops, given, value
    elif (expr := expr_of(node)) is not None:
        yield loops, given, expr


def entries_of(node: Entry, name: str) -> Iterator[tuple[tuple[Loop, ...], Formula, Entry]]:
    """Yield the entries of one list of an object: loops, when it is there, and the entry."""
    for given, member in members_of(node, name):
        if isinstance(member, ListNode):
            for entry in member.entries:
                for loops, held, inner in opened(entry):
                    yield loops, all_of(given, held, presence(inner)), inner
