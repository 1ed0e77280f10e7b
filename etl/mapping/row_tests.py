"""Tests of rows: each finds the rows of a plan that break an obligation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

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
from etl.mapping.plan import Entry, Fixed, ListNode, Loop
from etl.mapping.static_values import keeps_alive, static_value


@dataclass(frozen=True, slots=True)
class At:
    """The place of a node in its plan.

    Attributes:
        loops: lead to the row that makes it.
        guards: conditions that were passed on the way down.
        given: when it is there.
    """

    loops: tuple[Loop, ...] = ()
    guards: Formula = True
    given: Formula = True

    def inside(self, node: Entry, guard: Formula, loops: tuple[Loop, ...] = ()) -> At:
        """Return where something stands that is made under one more guard, and is there.

        What keeps all around it alive can be taken away by guards only; anything else is there
        where all around it is.
        """
        guards = all_of(self.guards, guard)
        around = guards if keeps_alive(node) else all_of(self.given, guards)
        return At((*self.loops, *loops), guards, all_of(around, presence(node)))

    def when(self, more: Formula) -> At:
        """Return this place under one more condition."""
        return replace(self, guards=all_of(self.guards, more), given=all_of(self.given, more))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one level for which a formula is true.

    Attributes:
        loops: the loops that lead there, outermost first; none for the plan's own rows.
        broken: what must not be true of them.
    """

    loops: tuple[Loop, ...]
    broken: Formula


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that entries carry, each identified by the row of its loop.

    Attributes:
        sources: loops, where an entry is there, and its number.
        are_texts: it is a text that is compared as it stands.
    """

    sources: tuple[tuple[tuple[Loop, ...], Formula, Expr | int], ...]
    are_texts: bool = False


@dataclass(frozen=True, slots=True)
class Twice:
    """A number that two entries of one row have.

    Attributes:
        numbers: of the entries.
        loops: lead to the rows that the lists belong to.
    """

    numbers: Numbers
    loops: tuple[Loop, ...] = ()


@dataclass(frozen=True, slots=True)
class Nowhere:
    """A number that names an entry of the same resource, and no entry has it."""

    named: Numbers
    known: Numbers


@dataclass(frozen=True, slots=True)
class Shared:
    """A number that two kinds of entries of the same resource must not have in common."""

    left: Numbers
    right: Numbers


@dataclass(frozen=True, slots=True)
class Alone:
    """Rows that have to name one of some entries of the same resource, and do not.

    Attributes:
        loops: lead to the rows.
        given: which rows have to.
        named: what they name; the loops of each source begin with `loops`.
        known: the entries.
    """

    loops: tuple[Loop, ...]
    given: Formula
    named: Numbers
    known: Numbers


@dataclass(frozen=True, slots=True)
class Points:
    """Rows with a reference that leads to no resource of the run.

    Attributes:
        loops: lead to the rows.
        given: where the reference is there.
        reference: its text.
    """

    loops: tuple[Loop, ...]
    given: Formula
    reference: Expr


Test: TypeAlias = Rows | Twice | Nowhere | Shared | Alone | Points


# -- of a plan's nodes -----------------------------------------------------------------------


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
        path: names of members; entries of lists on the way are all included.
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
