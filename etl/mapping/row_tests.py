"""Obligations of a profile, and the tests that find the rows of a plan that break one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping import formulas as fm
from etl.mapping.plan import CitedMark, Entry, JsonConstant, ListNode
from etl.mapping.static_values import keeps_alive, static_value
from etl.model import logic


@dataclass(frozen=True, slots=True)
class NodeContext:
    """The context of a node in its plan.

    Attributes:
        loops: the loops that lead to the node's row.
        guards: the conditions around the node.
        presence: the condition under which the node is present.
        path: FHIR path of the node with slices, without the resource type.
    """

    loops: fm.Loops = ()
    guards: fm.Formula = True
    presence: fm.Formula = True
    path: str = ""

    def inside(self, node: Entry, guard: fm.Formula, loops: fm.Loops = ()) -> NodeContext:
        """Return the context of an inner node that one more guard protects.

        A node that keeps its surroundings alive depends on guards only; any other node is present
        only where its surroundings are.
        """
        guards = logic.all_of(self.guards, guard)
        outer = guards if keeps_alive(node) else logic.all_of(self.presence, guards)
        presence = logic.all_of(outer, fm.presence_condition(node))
        return NodeContext((*self.loops, *loops), guards, presence, self.path)

    def when(self, condition: fm.Formula) -> NodeContext:
        """Add a condition to the context."""
        return replace(
            self,
            guards=logic.all_of(self.guards, condition),
            presence=logic.all_of(self.presence, condition),
        )

    def member(self, name: str) -> NodeContext:
        """Return the context with the path of a member."""
        return replace(self, path=f"{self.path}.{name}" if self.path else name)


@dataclass(frozen=True, slots=True)
class BrokenRows:
    """Rows of one level for which a formula is true.

    Attributes:
        loops: the loops that lead to the rows, outermost first; none for the plan's own rows.
        broken: the formula that must not be true.
    """

    loops: fm.Loops
    broken: fm.Formula


@dataclass(frozen=True, slots=True)
class EntryNumbers:
    """Numbers of entries, each identified by the row of its loop.

    Attributes:
        sources: loops, the condition under which the entry is present, and its number.
        are_texts: the numbers are texts that are compared unchanged.
    """

    sources: tuple[tuple[fm.Loops, fm.Formula, ex.Expr | int], ...]
    are_texts: bool = False


@dataclass(frozen=True, slots=True)
class RepeatedNumber:
    """A number that two entries of one row have.

    Attributes:
        numbers: the numbers of the entries.
        loops: the loops that lead to the rows of the lists.
    """

    numbers: EntryNumbers
    loops: fm.Loops = ()


@dataclass(frozen=True, slots=True)
class UnlistedNumber:
    """A number that names an entry of the same resource, and no entry has it."""

    named: EntryNumbers
    listed: EntryNumbers


@dataclass(frozen=True, slots=True)
class SharedNumber:
    """A number that two kinds of entries of the same resource must not have in common."""

    left: EntryNumbers
    right: EntryNumbers


@dataclass(frozen=True, slots=True)
class UnnamedEntry:
    """Rows that must refer to an entry of the same resource, and don't.

    Attributes:
        loops: the loops that lead to the rows.
        condition: the condition under which a row must refer to an entry.
        named: the numbers that rows refer to; the loops of each source begin with `loops`.
        listed: the numbers of the entries.
    """

    loops: fm.Loops
    condition: fm.Formula
    named: EntryNumbers
    listed: EntryNumbers


@dataclass(frozen=True, slots=True)
class DanglingReference:
    """Rows with a reference to a resource that the run doesn't make.

    Attributes:
        loops: the loops that lead to the rows.
        condition: the condition under which the reference is present.
        reference: the text of the reference.
    """

    loops: fm.Loops
    condition: fm.Formula
    reference: ex.Expr


Test: TypeAlias = (
    BrokenRows | RepeatedNumber | UnlistedNumber | SharedNumber | UnnamedEntry | DanglingReference
)


# -- of a plan's nodes -----------------------------------------------------------------------


def starts_with(expr: ex.Expr, text: str) -> fm.Formula:
    """Build the condition that an expression's value begins with a text."""
    match expr:
        case ex.Constant(value=value):
            return value.startswith(text)
        case ex.Concat(parts=(ex.Constant(value=value), *_)) if len(value) >= len(text):
            return logic.all_of(fm.is_present(expr), value.startswith(text))
        case ex.ProviderReference(resource=resource, only=only):
            prefixes = (f"{resource}/",) if only else ("Organization/", "Practitioner/")
            if not any(name.startswith(text) for name in prefixes):
                return False
            return fm.is_present(expr) if only else fm.StartsWith(expr, text)
        case ex.FirstOf(parts=(first, *rest)):
            rest_begins = starts_with(ex.FirstOf(tuple(rest), expr.kind), text) if rest else False
            return logic.any_of(
                starts_with(first, text),
                logic.all_of(logic.negate(fm.is_present(first)), rest_begins),
            )
        case ex.Choice(condition=condition, then=then, otherwise=otherwise):
            return logic.any_of(
                logic.all_of(condition, starts_with(then, text)),
                logic.all_of(logic.negate(condition), starts_with(otherwise, text)),
            )
        case ex.Absent() | ex.LogicalId():
            return False
        case _:
            return fm.StartsWith(expr, text)


def find_numbers(
    node: Entry,
    path: tuple[str, ...],
    where: Callable[[Entry], fm.Formula] = lambda entry: True,
    loops: fm.Loops = (),
    presence: fm.Formula = True,
) -> EntryNumbers:
    """Find the numbers at a path below a node.

    Args:
        node: where the path begins.
        path: names of members; includes all entries of lists on the way.
        where: selects the entries of the first list.
        loops: the loops that lead to the node's row.
        presence: the condition under which the node is present.
    """
    return EntryNumbers(tuple(_iterate_numbers(node, path, where, loops, presence)))


def _iterate_numbers(
    node: Entry,
    path: tuple[str, ...],
    where: Callable[[Entry], fm.Formula],
    loops: fm.Loops,
    presence: fm.Formula,
) -> Iterator[tuple[fm.Loops, fm.Formula, ex.Expr | int]]:
    if isinstance(node, ListNode):
        for entry in fm.list_entries(node):
            condition = logic.all_of(presence, entry.presence)
            if path:  # `where` applies to the first list only
                condition = logic.all_of(condition, where(entry.node))
            all_loops = (*loops, *entry.loops)
            yield from _iterate_numbers(entry.node, path, lambda _: True, all_loops, condition)
        return
    if path:
        for inner_condition, member in fm.members_of(node, path[0]):
            condition = logic.all_of(presence, inner_condition, fm.presence_condition(member))
            yield from _iterate_numbers(member, path[1:], where, loops, condition)
        return
    if presence is False:
        return
    if isinstance(node, JsonConstant):
        value = static_value(node)
        if isinstance(value, int):
            yield loops, presence, value
    elif (expr := fm.expr_of(node)) is not None:
        yield loops, presence, expr


def find_entries(node: Entry, name: str) -> Iterator[tuple[fm.Loops, fm.Formula, Entry]]:
    """Yield the entries of a list: loops, presence condition, and node."""
    for presence, member in fm.members_of(node, name):
        for entry in fm.list_entries(member):
            yield entry.loops, logic.all_of(presence, entry.presence), entry.node


ObligationKind: TypeAlias = Literal[
    "required", "limit", "pattern", "binding", "form", "code", "reference", "invariant", "guide"
]


@dataclass(frozen=True, slots=True)
class Obligation:
    """One thing that a profile requires of the resources of a plan.

    Attributes:
        rule: id under which a row that breaks it is reported: `c4bb.oral.adjudication`, or the
            key of the invariant.
        kind: kind of obligation.
        path: FHIR path with slices, without the resource type.
        profile: name of the profile.
        mark: the line of the mapping that it is about.
        proved: why no row can break it; "" if one can.
        test: finds the rows that break it; None if it is proved or listed.
        listed: why it isn't checked; "" if it is.
    """

    rule: str
    kind: ObligationKind
    path: str
    profile: str
    mark: CitedMark
    proved: str = ""
    test: Test | None = None
    listed: str = ""
