"""Formulas about the rows of a plan, over the expressions of its leaves.

A formula is about one row of one level. It says that an expression has a value, a condition of the
mapping is true, a code belongs to a value set, or a related row makes an entry. Formulas
are plain values: `etl.mapping.proof` decides some of them for all rows at once, and the engine
evaluates the others a whole column at a time.

An object is present if one of its expressions has a value (docs/mapping.md). `presence_condition`
expresses this rule as a formula; it must agree with `etl.engine.render` and
`etl.mapping.row_interpreter`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from etl.mapping.expressions import Condition, Constant, Expr, IsPresent, OneOf
from etl.mapping.plan import Entry, Guard, JsonConstant, Leaf, ListNode, Loop, ObjectNode, Splice
from etl.mapping.static_values import is_strong, matches_pattern, possible_values, static_value
from etl.model.crosswalks import Crosswalk
from etl.model.logic import AllOf, AnyOf, all_of, any_of
from etl.profiles.guides import Guide
from etl.profiles.shapes import Discriminator, discriminators
from etl.profiles.structures import Element, Profile
from etl.profiles.value_sets import ValueSet, value_set

Loops: TypeAlias = tuple[Loop, ...]
"""The loops that lead to a row, outermost first."""


@dataclass(frozen=True, slots=True)
class AllowedCoding:
    """System and code are present and allowed.

    Attributes:
        system: the system of the coding.
        code: the code of the coding.
        pairs: the allowed pairs of system and code.
        open_systems: systems whose codes are all allowed.
    """

    system: Expr
    code: Expr
    pairs: frozenset[tuple[str, str]]
    open_systems: frozenset[str]


@dataclass(frozen=True, slots=True)
class WrongFormat:
    """A value is present but has the wrong format for its type or shape.

    Attributes:
        operand: the value.
        type: `code`, `string`, `positiveInt`, …; or a name of `etl.model.code_shapes.SHAPES`.
    """

    operand: Expr
    type: str


@dataclass(frozen=True, slots=True)
class StartsWith:
    """A value is present and begins with a text."""

    operand: Expr
    text: str


@dataclass(frozen=True, slots=True)
class SomeRow:
    """At least one row of a loop fulfills a formula about that row."""

    loop: Loop
    inner: Formula


@dataclass(frozen=True, slots=True)
class MinCount:
    """At least `least` of several entries are present.

    Attributes:
        entries: the loops that lead to each entry's rows, and its presence condition.
        least: the required number.
    """

    entries: tuple[tuple[Loops, Formula], ...]
    least: int


Formula: TypeAlias = Condition | AllowedCoding | WrongFormat | StartsWith | SomeRow | MinCount


def is_present(expr: Expr) -> Formula:
    """Build the condition that an expression has a value."""
    return True if isinstance(expr, Constant) else IsPresent(expr)


def is_one_of(expr: Expr, *texts: str) -> Formula:
    """Build the condition that an expression has one of several values."""
    if isinstance(expr, Constant):
        return expr.value in texts
    return OneOf(expr, texts)


def in_some_row(loop: Loop, inner: Formula) -> Formula:
    """Build the condition that a formula is true for some row of a loop."""
    inner = all_of(loop.condition, inner)
    return False if inner is False else SomeRow(loop, inner)


def at_least(least: int, entries: Iterable[tuple[Loops, Formula]]) -> Formula:
    """Build the condition that enough entries are present; a bool if rows don't matter."""
    possible = tuple((loops, presence) for loops, presence in entries if presence is not False)
    certain_count = sum(not loops and presence is True for loops, presence in possible)
    if certain_count >= least:
        return True
    is_impossible = len(possible) < least and not any(loops for loops, _ in possible)
    return False if is_impossible else MinCount(possible, least)


def presence_condition(node: Entry) -> Formula:
    """Build the condition under which a node is present, ignoring its surroundings.

    A list is present if one of its entries is, even if that consists of constants. An object is
    present if one of its expressions has a value, or if it has constants only.
    """
    match node:
        case JsonConstant():
            return True
        case Leaf(expr=expr):
            return is_present(expr)
        case Guard(condition=condition, node=inner_node):
            return all_of(condition, presence_condition(inner_node))
        case ObjectNode(members=members):
            alive = _alive_condition(node)
            return (
                any_of(*(presence_condition(member) for _, member in members))
                if alive is None
                else alive
            )
        case ListNode(entries=entries) | Splice(entries=entries):
            return any_of(*(presence_condition(entry) for entry in entries))
        case Loop(node=inner_node):
            return in_some_row(node, presence_condition(inner_node))


def _alive_condition(node: Entry) -> Formula | None:
    """Build the condition under which a node keeps its parent alive; None for never."""
    match node:
        case ObjectNode(members=members):
            return _any_alive(member for _, member in members)
        case ListNode(entries=entries) | Splice(entries=entries):
            return _any_alive(entries)
        case _:
            return presence_condition(node) if is_strong(node) else None


def _any_alive(nodes: Iterable[Entry]) -> Formula | None:
    parts = [part for part in map(_alive_condition, nodes) if part is not None]
    return any_of(*parts) if parts else None


class ListEntry(NamedTuple):
    """A node that an entry of a list can write.

    Attributes:
        loops: the loops that lead to its row.
        condition: the condition of these loops and of the guards around the node.
        node: the node; no loop, guard or splice.
    """

    loops: Loops
    condition: Formula
    node: Entry

    @property
    def presence(self) -> Formula:
        """The condition under which a row writes the node."""
        return all_of(self.condition, presence_condition(self.node))


def list_entries(node: Entry) -> Iterator[ListEntry]:
    """Yield each node that a list can write; nothing for other nodes."""
    if isinstance(node, ListNode):
        for entry in node.entries:
            yield from expand_loops(entry)


def expand_loops(entry: Entry) -> Iterator[ListEntry]:
    """Yield each node that a list entry can write, with its loops and condition."""
    match entry:
        case Loop(condition=outer, node=body) | Guard(condition=outer, node=body):
            own_loop = (entry,) if isinstance(entry, Loop) else ()
            for loops, condition, node in expand_loops(body):
                yield ListEntry((*own_loop, *loops), all_of(outer, condition), node)
        case Splice(entries=entries):
            for spliced_entry in entries:
                yield from expand_loops(spliced_entry)
        case _:
            yield ListEntry((), True, entry)


def in_nested_rows(loops: Loops, formula: Formula) -> Formula:
    """Build the condition that a formula is true for some row of nested loops."""
    for loop in reversed(loops):
        formula = in_some_row(loop, formula)
    return formula


def members_of(node: Entry, *names: str) -> Iterator[tuple[Formula, Entry]]:
    """Yield the members with the given names, each with its condition."""
    if isinstance(node, Guard):
        guard = node.condition
        yield from (
            (all_of(guard, condition), inner) for condition, inner in members_of(node.node, *names)
        )
    elif isinstance(node, ObjectNode):
        for key, member in node.members:
            if key in names:
                if isinstance(member, Guard):
                    yield member.condition, member.node
                else:
                    yield True, member


def has_member(node: Entry, *names: str) -> Formula:
    """Build the condition that an object has one of several members or their extensions."""
    spellings = (*names, *(f"_{name}" for name in names))
    return any_of(
        *(
            all_of(condition, presence_condition(member))
            for condition, member in members_of(node, *spellings)
        )
    )


def exists_at(node: Entry, path: tuple[str, ...], test: Callable[[Entry], Formula]) -> Formula:
    """Build the condition that a node at a path passes a test.

    Args:
        node: a present node, where the path begins.
        path: names of members; includes all entries of lists on the way.
        test: builds the condition for the node at the end.
    """
    if isinstance(node, ListNode):
        return any_of(
            *(
                in_nested_rows(
                    entry.loops, all_of(entry.presence, exists_at(entry.node, path, test))
                )
                for entry in list_entries(node)
            )
        )
    if not path:
        return test(node)
    return any_of(
        *(
            all_of(condition, presence_condition(member), exists_at(member, path[1:], test))
            for condition, member in members_of(node, path[0])
        )
    )


def match_condition(node: Entry, pattern: Any) -> Formula:
    """Build the condition under which a present node matches a FHIR pattern[x]."""
    static_match = matches_pattern(static_value(node), pattern)
    if static_match is False or isinstance(node, JsonConstant):
        return bool(static_match)  # a static match doesn't imply that all members are present
    if isinstance(pattern, Mapping):
        return all_of(
            *(
                any_of(
                    *(
                        all_of(
                            condition,
                            presence_condition(member),
                            match_condition(member, subpattern),
                        )
                        for condition, member in members_of(node, key)
                    )
                )
                for key, subpattern in pattern.items()
            )
        )
    if isinstance(pattern, list):
        return all_of(
            *(exists_at(node, (), partial(match_condition, pattern=part)) for part in pattern)
        )
    if isinstance(node, Leaf):
        return is_one_of(node.expr, pattern if isinstance(pattern, str) else json.dumps(pattern))
    return False


@dataclass(frozen=True, slots=True)
class Codes:
    """Builds the conditions that a concept belongs to a value set or slice.

    Attributes:
        crosswalks: the crosswalks that the plan uses.
    """

    crosswalks: Mapping[str, Crosswalk]

    def slices_of(
        self, name: str, entry: Entry, element: Element, profile: Profile
    ) -> Iterator[tuple[Element, Formula]]:
        """Yield the slices that an entry may belong to, each with its condition.

        Args:
            name: JSON name of the element; decides which slice of a choice it is.
            entry: what the mapping writes.
            element: the element.
            profile: defines the slices.
        """
        for element_slice in profile.slices(element.id):
            if element.name.endswith("[x]"):
                belongs: Formula = element_slice.slice_name == name
            elif element.slicing is None:
                continue
            else:
                slice_discriminators = discriminators(profile, element.slicing, element_slice)
                belongs = self.in_slice(entry, slice_discriminators, profile.terminology)
            if self.is_possible(belongs):
                yield element_slice, belongs

    def is_possible(self, formula: Formula) -> bool:
        """Return whether a formula can be true, given the answers of crosswalks."""
        match formula:
            case bool():
                return formula
            case AllOf(parts=parts):
                return all(map(self.is_possible, parts))
            case AnyOf(parts=parts):
                return any(map(self.is_possible, parts))
            case SomeRow(inner=inner):
                return self.is_possible(inner)
            case OneOf(operand=operand, values=texts, negated=False):
                possible_answers = possible_values(operand, self.crosswalks)
                return possible_answers is None or not possible_answers.isdisjoint(texts)
            case _:
                return True

    def in_slice(self, entry: Entry, by: Iterable[Discriminator], guide: Guide) -> Formula:
        """Build the condition that a present list entry belongs to a slice.

        Args:
            entry: what the mapping writes.
            by: the discriminators of the slice.
            guide: the guide that defines their value sets.
        """
        return all_of(*(self._matches(entry, discriminator, guide) for discriminator in by))

    def _matches(self, entry: Entry, discriminator: Discriminator, guide: Guide) -> Formula:
        if discriminator.value_set is None:
            test = partial(match_condition, pattern=discriminator.pattern)
        else:
            allowed = value_set(discriminator.value_set, guide)
            # If a value set lists no code, the system alone decides.
            test = partial(self.concept_in, allowed=allowed, certain=allowed.status != "open")
        return exists_at(entry, discriminator.path, test)

    def concept_in(self, node: Entry, allowed: ValueSet, *, certain: bool) -> Formula:
        """Build the condition that a CodeableConcept or Coding is in a value set.

        Args:
            node: the concept.
            allowed: the value set.
            certain: whether to reject codes of systems whose codes are unknown.
        """
        path = ("coding",) if any(True for _ in members_of(node, "coding")) else ()
        return exists_at(node, path, partial(self.coding_in, allowed=allowed, certain=certain))

    def coding_in(self, node: Entry, allowed: ValueSet, *, certain: bool) -> Formula:
        """Build the condition that a Coding is in a value set."""
        return any_of(
            *(
                all_of(
                    has_system, has_code, self._code_allowed(system, code, allowed, certain=certain)
                )
                for has_system, system in members_of(node, "system")
                for has_code, code in members_of(node, "code")
            )
        )

    def _code_allowed(
        self, system: Entry, code: Entry, allowed: ValueSet, *, certain: bool
    ) -> Formula:
        system_expr, code_expr = expr_of(system), expr_of(code)
        if system_expr is None or code_expr is None:
            return False
        open_systems = frozenset() if certain else allowed.open_systems
        pairs = frozenset((code.system, code.code) for code in allowed.codes)
        systems = possible_values(system_expr, self.crosswalks)
        codes = possible_values(code_expr, self.crosswalks)
        if systems is not None:
            if systems <= open_systems:
                return all_of(is_present(system_expr), is_present(code_expr))
            if not systems & allowed.systems:
                return False
            if codes is not None:
                is_allowed = {
                    (system, code) in pairs or system in open_systems
                    for system in systems
                    for code in codes
                }
                if False not in is_allowed:
                    return all_of(is_present(system_expr), is_present(code_expr))
                if True not in is_allowed:
                    return False
        return AllowedCoding(system_expr, code_expr, pairs, open_systems)


def expr_of(node: Entry) -> Expr | None:
    """Return the expression of a leaf or constant; None for other nodes."""
    match node:
        case Leaf(expr=expr):
            return expr
        case JsonConstant():
            value = static_value(node)
            return Constant(value) if isinstance(value, str) else None
        case _:
            return None
