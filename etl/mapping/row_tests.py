"""Obligations of a profile, and the tests that find the rows of a plan that break one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping import formulas as fm
from etl.mapping.plan import CitedMark, Entry, Fixed, ListNode, Loop
from etl.mapping.static_values import keeps_alive, static_value
from etl.model import logic


@dataclass(frozen=True, slots=True)
class NodeContext:
    """The place of a node in its plan.

    Attributes:
        loops: lead to the row that makes it.
        guards: conditions that were passed on the way down.
        given: when it is there.
    """

    loops: tuple[Loop, ...] = ()
    guards: fm.Formula = True
    given: fm.Formula = True

    def inside(self, node: Entry, guard: fm.Formula, loops: tuple[Loop, ...] = ()) -> NodeContext:
        """Return where something stands that is made under one more guard, and is there.

        What keeps all around it alive can be taken away by guards only; anything else is there
        where all around it is.
        """
        guards = logic.all_of(self.guards, guard)
        around = guards if keeps_alive(node) else logic.all_of(self.given, guards)
        return NodeContext((*self.loops, *loops), guards, logic.all_of(around, fm.presence(node)))

    def when(self, more: fm.Formula) -> NodeContext:
        """Return this place under one more condition."""
        return replace(
            self, guards=logic.all_of(self.guards, more), given=logic.all_of(self.given, more)
        )


@dataclass(frozen=True, slots=True)
class BrokenRows:
    """Rows of one level for which a formula is true.

    Attributes:
        loops: the loops that lead there, outermost first; none for the plan's own rows.
        broken: what must not be true of them.
    """

    loops: tuple[Loop, ...]
    broken: fm.Formula


@dataclass(frozen=True, slots=True)
class EntryNumbers:
    """Numbers that entries carry, each identified by the row of its loop.

    Attributes:
        sources: loops, where an entry is there, and its number.
        are_texts: it is a text that is compared as it stands.
    """

    sources: tuple[tuple[tuple[Loop, ...], fm.Formula, ex.Expr | int], ...]
    are_texts: bool = False


@dataclass(frozen=True, slots=True)
class RepeatedNumber:
    """A number that two entries of one row have.

    Attributes:
        numbers: of the entries.
        loops: lead to the rows that the lists belong to.
    """

    numbers: EntryNumbers
    loops: tuple[Loop, ...] = ()


@dataclass(frozen=True, slots=True)
class UnlistedNumber:
    """A number that names an entry of the same resource, and no entry has it."""

    named: EntryNumbers
    known: EntryNumbers


@dataclass(frozen=True, slots=True)
class SharedNumber:
    """A number that two kinds of entries of the same resource must not have in common."""

    left: EntryNumbers
    right: EntryNumbers


@dataclass(frozen=True, slots=True)
class UnnamedEntry:
    """Rows that have to name one of some entries of the same resource, and do not.

    Attributes:
        loops: lead to the rows.
        given: which rows have to.
        named: what they name; the loops of each source begin with `loops`.
        known: the entries.
    """

    loops: tuple[Loop, ...]
    given: fm.Formula
    named: EntryNumbers
    known: EntryNumbers


@dataclass(frozen=True, slots=True)
class DanglingReference:
    """Rows with a reference that leads to no resource of the run.

    Attributes:
        loops: lead to the rows.
        given: where the reference is there.
        reference: its text.
    """

    loops: tuple[Loop, ...]
    given: fm.Formula
    reference: ex.Expr


Test: TypeAlias = (
    BrokenRows | RepeatedNumber | UnlistedNumber | SharedNumber | UnnamedEntry | DanglingReference
)


# -- of a plan's nodes -----------------------------------------------------------------------


def begins(expr: ex.Expr, text: str) -> fm.Formula:
    """Return that an expression is there and begins with a text."""
    match expr:
        case ex.Constant(value=value):
            return value.startswith(text)
        case ex.Joined(parts=(ex.Constant(value=value), *_)) if len(value) >= len(text):
            return logic.all_of(fm.is_present(expr), value.startswith(text))
        case ex.ProviderReference(resource=resource, only=only):
            named = (f"{resource}/",) if only else ("Organization/", "Practitioner/")
            if not any(name.startswith(text) for name in named):
                return False
            return fm.is_present(expr) if only else fm.Begins(expr, text)
        case ex.FirstOf(parts=(first, *rest)):
            later = begins(ex.FirstOf(tuple(rest), expr.kind), text) if rest else False
            return logic.any_of(
                begins(first, text), logic.all_of(logic.negate(fm.is_present(first)), later)
            )
        case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
            return logic.any_of(
                logic.all_of(condition, begins(then, text)),
                logic.all_of(logic.negate(condition), begins(otherwise, text)),
            )
        case ex.Absent() | ex.LogicalId():
            return False
        case _:
            return fm.Begins(expr, text)


def numbers(
    node: Entry,
    path: tuple[str, ...],
    where: Callable[[Entry], fm.Formula] = lambda entry: True,
    loops: tuple[Loop, ...] = (),
    given: fm.Formula = True,
) -> EntryNumbers:
    """Return the numbers at a path below a node.

    Args:
        node: where the path begins.
        path: names of members; entries of lists on the way are all included.
        where: which entries of the first list are meant.
        loops: lead to the row that makes the node.
        given: when the node is there.
    """
    return EntryNumbers(tuple(_numbers(node, path, where, loops, given)))


def _numbers(
    node: Entry,
    path: tuple[str, ...],
    where: Callable[[Entry], fm.Formula],
    loops: tuple[Loop, ...],
    given: fm.Formula,
) -> Iterator[tuple[tuple[Loop, ...], fm.Formula, ex.Expr | int]]:
    if isinstance(node, ListNode):
        for entry in node.entries:
            for more, held, inner in fm.opened(entry):
                here = logic.all_of(given, held, fm.presence(inner))
                if path:  # an entry of the first list, or of one further down
                    here = logic.all_of(here, where(inner))
                yield from _numbers(inner, path, lambda _: True, (*loops, *more), here)
        return
    if path:
        for held, member in fm.members_of(node, path[0]):
            here = logic.all_of(given, held, fm.presence(member))
            yield from _numbers(member, path[1:], where, loops, here)
        return
    if given is False:
        return
    if isinstance(node, Fixed):
        value = static_value(node)
        if isinstance(value, int):
            yield loops, given, value
    elif (expr := fm.expr_of(node)) is not None:
        yield loops, given, expr


def entries_of(node: Entry, name: str) -> Iterator[tuple[tuple[Loop, ...], fm.Formula, Entry]]:
    """Yield the entries of one list of an object: loops, when it is there, and the entry."""
    for given, member in fm.members_of(node, name):
        if isinstance(member, ListNode):
            for entry in member.entries:
                for loops, held, inner in fm.opened(entry):
                    yield loops, logic.all_of(given, held, fm.presence(inner)), inner


ObligationKind: TypeAlias = Literal[
    "required", "limit", "pattern", "binding", "form", "code", "reference", "invariant", "guide"
]


@dataclass(frozen=True, slots=True)
class Obligation:
    """One thing that a profile requires of the resources of a plan.

    Attributes:
        rule: id under which a row that breaks it is reported: `c4bb.oral.adjudication`, or the
            key of the invariant.
        what: kind of obligation.
        path: FHIR path with slices, without the resource type.
        profile: name of the profile.
        place: where the mapping makes what it is about.
        proved: why no row can break it; "" where one could.
        test: finds the rows that break it; None where it is proved or listed.
        listed: why it is not checked; "" else.
    """

    rule: str
    what: ObligationKind
    path: str
    profile: str
    place: CitedMark
    proved: str = ""
    test: Test | None = None
    listed: str = ""
