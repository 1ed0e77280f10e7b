"""Formulas about the rows of a plan, over the expressions of its leaves.

A formula is about one row of one level: that an expression is there, that a condition of the
mapping holds, that a code belongs to a value set, that some related row makes an entry. Formulas
are plain values: `etl.mapping.proof` decides some of them for all rows at once, and the engine
evaluates the others a whole column at a time.

An object is there where one of its expressions is (docs/mapping.md); `presence` says the same of a
node, and has to stay true to `etl.engine.render` and `etl.mapping.row_interpreter`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from etl.mapping.expressions import Condition, Constant, Expr, IsPresent, OneOf
from etl.mapping.plan import Entry, Fixed, Guarded, Leaf, ListNode, Loop, ObjectNode, Spliced
from etl.mapping.static_values import answers, fits, is_strong, static_value
from etl.model.crosswalks import Crosswalk
from etl.model.logic import AllOf, AnyOf, all_of, any_of
from etl.profiles.guides import Guide
from etl.profiles.shapes import Discriminator, discriminators
from etl.profiles.structures import Element, Profile
from etl.profiles.value_sets import ValueSet, value_set


@dataclass(frozen=True, slots=True)
class Coded:
    """System and code are there, and are one of some pairs.

    Attributes:
        system: of the coding.
        code: of the coding.
        pairs: the codes that are meant.
        open_systems: systems of which any code is meant.
    """

    system: Expr
    code: Expr
    pairs: frozenset[tuple[str, str]]
    open_systems: frozenset[str]


@dataclass(frozen=True, slots=True)
class Misshapen:
    """A value is there and is no value of a FHIR primitive type, or has not a named shape.

    Attributes:
        of: the value.
        type: `code`, `string`, `positiveInt`, …; or a name of `etl.model.code_shapes.SHAPES`.
    """

    of: Expr
    type: str


@dataclass(frozen=True, slots=True)
class Begins:
    """A value is there and begins with a text."""

    of: Expr
    text: str


@dataclass(frozen=True, slots=True)
class Some:
    """A related row that the loop lets through fulfils a formula, which is about that row."""

    loop: Loop
    inner: Formula


@dataclass(frozen=True, slots=True)
class MinCount:
    """At least `least` of several entries are there.

    Attributes:
        entries: loops that lead to the rows that each make one, and where it is there.
        least: how many.
    """

    entries: tuple[tuple[tuple[Loop, ...], Formula], ...]
    least: int


Formula: TypeAlias = Condition | Coded | Misshapen | Begins | Some | MinCount


def is_present(expr: Expr) -> Formula:
    """Return that an expression is there."""
    return True if isinstance(expr, Constant) else IsPresent(expr)


def is_one_of(expr: Expr, *texts: str) -> Formula:
    """Return that an expression is there and is one of some texts."""
    if isinstance(expr, Constant):
        return expr.value in texts
    return OneOf(expr, texts)


def in_some_row(loop: Loop, inner: Formula) -> Formula:
    """Return that a related row makes something true."""
    inner = all_of(loop.condition, inner)
    return False if inner is False else Some(loop, inner)


def at_least(least: int, entries: Iterable[tuple[tuple[Loop, ...], Formula]]) -> Formula:
    """Return that so many entries are there, as far as they can be counted without rows."""
    kept = tuple(entry for entry in entries if entry[1] is not False)
    sure = sum(not loops and there_is is True for loops, there_is in kept)
    if sure >= least:
        return True
    few = len(kept) < least and not any(loops for loops, _ in kept)
    return False if few else MinCount(kept, least)


def presence(node: Entry) -> Formula:
    """Return that a node is there, as far as the node itself decides that.

    A list is there where one of its entries is, even one of constants alone. An object is there
    where one of its expressions is; without any, it is there because of its constants.
    """
    match node:
        case Fixed():
            return True
        case Leaf(expr=expr):
            return is_present(expr)
        case Guarded(condition=condition, node=inner):
            return all_of(condition, presence(inner))
        case ObjectNode(members=members):
            alive = _alive(node)
            return any_of(*(presence(member) for _, member in members)) if alive is None else alive
        case ListNode(entries=entries) | Spliced(entries=entries):
            return any_of(*(presence(entry) for entry in entries))
        case Loop(node=inner):
            return in_some_row(node, presence(inner))


def _alive(node: Entry) -> Formula | None:
    """Return that a node keeps what is around it alive; None where it never does (`is_strong`)."""
    match node:
        case ObjectNode(members=members):
            return _any_alive(member for _, member in members)
        case ListNode(entries=entries) | Spliced(entries=entries):
            return _any_alive(entries)
        case _:
            return presence(node) if is_strong(node) else None


def _any_alive(nodes: Iterable[Entry]) -> Formula | None:
    parts = [part for part in map(_alive, nodes) if part is not None]
    return any_of(*parts) if parts else None


def opened(entry: Entry) -> Iterator[tuple[tuple[Loop, ...], Formula, Entry]]:
    """Yield what an entry of a list can write: loops entered, what holds there, and the node."""
    match entry:
        case Loop(condition=condition, node=inner):
            for loops, given, node in opened(inner):
                yield (entry, *loops), all_of(condition, given), node
        case Guarded(condition=condition, node=inner):
            for loops, given, node in opened(inner):
                yield loops, all_of(condition, given), node
        case Spliced(entries=entries):
            for one in entries:
                yield from opened(one)
        case _:
            yield (), True, entry


def through(loops: tuple[Loop, ...], formula: Formula) -> Formula:
    """Return that a formula is true of some row at the end of nested loops."""
    for loop in reversed(loops):
        formula = in_some_row(loop, formula)
    return formula


def members_of(node: Entry, *names: str) -> Iterator[tuple[Formula, Entry]]:
    """Yield the members of an object under some names: what holds there, and the node."""
    if isinstance(node, Guarded):
        given = node.condition
        yield from ((all_of(given, more), inner) for more, inner in members_of(node.node, *names))
    elif isinstance(node, ObjectNode):
        for key, member in node.members:
            if key in names:
                if isinstance(member, Guarded):
                    yield member.condition, member.node
                else:
                    yield True, member


def has(node: Entry, *names: str) -> Formula:
    """Return that an object has one of some members, even if only the extension of a primitive."""
    spelt = (*names, *(f"_{name}" for name in names))
    return any_of(*(all_of(given, presence(member)) for given, member in members_of(node, *spelt)))


def exists(node: Entry, path: tuple[str, ...], test: Callable[[Entry], Formula]) -> Formula:
    """Return that something at a path below a node, which is there itself, passes a test.

    Args:
        node: where the path begins.
        path: names of members; entries of lists on the way are all included.
        test: of the node at the end.
    """
    if isinstance(node, ListNode):
        return any_of(
            *(
                through(loops, all_of(given, presence(inner), exists(inner, path, test)))
                for entry in node.entries
                for loops, given, inner in opened(entry)
            )
        )
    if not path:
        return test(node)
    return any_of(
        *(
            all_of(given, presence(member), exists(member, path[1:], test))
            for given, member in members_of(node, path[0])
        )
    )


def matches(node: Entry, pattern: Any) -> Formula:
    """Return that a node, where it is there, contains a pattern (FHIR's pattern[x])."""
    is_fit = fits(static_value(node), pattern)
    if is_fit is False or isinstance(node, Fixed):
        return bool(is_fit)  # that it fits says nothing yet of whether all of it is there
    if isinstance(pattern, Mapping):
        return all_of(
            *(
                any_of(
                    *(
                        all_of(given, presence(member), matches(member, part))
                        for given, member in members_of(node, key)
                    )
                )
                for key, part in pattern.items()
            )
        )
    if isinstance(pattern, list):
        return all_of(*(exists(node, (), _matching(part)) for part in pattern))
    if isinstance(node, Leaf):
        return is_one_of(node.expr, pattern if isinstance(pattern, str) else json.dumps(pattern))
    return False


def _matching(part: Any) -> Callable[[Entry], Formula]:
    return lambda entry: matches(entry, part)


@dataclass(frozen=True, slots=True)
class Codes:
    """Formulas which say that a concept belongs to a value set.

    Attributes:
        crosswalks: those that the plan translates with.
    """

    crosswalks: Mapping[str, Crosswalk]

    def slices_of(
        self, name: str, entry: Entry, whole: Element, profile: Profile
    ) -> Iterator[tuple[Element, Formula]]:
        """Yield the slices of an element that an entry may belong to, and when it does.

        Args:
            name: JSON name of the element; decides which slice of a choice it is.
            entry: what the mapping writes.
            whole: the element.
            profile: defines the slices.
        """
        for part in profile.slices(whole.id):
            if whole.name.endswith("[x]"):
                belongs: Formula = part.slice_name == name
            elif whole.slicing is None:
                continue
            else:
                telling = discriminators(profile, whole.slicing, part)
                belongs = self.in_slice(entry, telling, profile.terminology)
            if self.may_hold(belongs):
                yield part, belongs

    def may_hold(self, formula: Formula) -> bool:
        """Return whether a formula can be true, as far as the answers of crosswalks decide that."""
        match formula:
            case bool():
                return formula
            case AllOf(parts=parts):
                return all(map(self.may_hold, parts))
            case AnyOf(parts=parts):
                return any(map(self.may_hold, parts))
            case Some(inner=inner):
                return self.may_hold(inner)
            case OneOf(of=of, values=texts, negated=False):
                known = answers(of, self.crosswalks)
                return known is None or not known.isdisjoint(texts)
            case _:
                return True

    def in_slice(self, entry: Entry, telling: Iterable[Discriminator], guide: Guide) -> Formula:
        """Return that an entry of a list, where it is there, belongs to a slice.

        Args:
            entry: what the mapping writes.
            telling: the discriminators of the slice.
            guide: the guide whose value sets they name.
        """
        return all_of(*(self._identified(entry, by, guide) for by in telling))

    def _identified(self, entry: Entry, by: Discriminator, guide: Guide) -> Formula:
        if by.value_set is None:
            return exists(entry, by.path, lambda inner: matches(inner, by.pattern))
        allowed = value_set(by.value_set, guide)
        return exists(entry, by.path, lambda inner: self.concept_in(inner, allowed, surely=True))

    def concept_in(self, node: Entry, allowed: ValueSet, *, surely: bool) -> Formula:
        """Return that a CodeableConcept or Coding has a code of a value set.

        Args:
            node: the concept.
            allowed: the value set.
            surely: whether a code of a system with unknown codes is not enough.
        """
        path = ("coding",) if any(True for _ in members_of(node, "coding")) else ()
        return exists(node, path, lambda coding: self.coding_in(coding, allowed, surely=surely))

    def coding_in(self, node: Entry, allowed: ValueSet, *, surely: bool) -> Formula:
        """Return that one Coding is of a value set."""
        return any_of(
            *(
                all_of(of_system, of_code, self._pair(system, code, allowed, surely=surely))
                for of_system, system in members_of(node, "system")
                for of_code, code in members_of(node, "code")
            )
        )

    def _pair(self, system: Entry, code: Entry, allowed: ValueSet, *, surely: bool) -> Formula:
        left, right = expr_of(system), expr_of(code)
        if left is None or right is None:
            return False
        opened_up = frozenset() if surely else allowed.open_systems
        pairs = frozenset((code.system, code.code) for code in allowed.codes)
        systems, codes = answers(left, self.crosswalks), answers(right, self.crosswalks)
        if systems is not None:
            if systems <= opened_up:
                return all_of(is_present(left), is_present(right))
            if not systems & allowed.systems:
                return False
            if codes is not None:
                said = {(system, other) for system in systems for other in codes}
                if all(pair in pairs or pair[0] in opened_up for pair in said):
                    return all_of(is_present(left), is_present(right))
                if not any(pair in pairs or pair[0] in opened_up for pair in said):
                    return False
        return Coded(left, right, pairs, opened_up)


def expr_of(node: Entry) -> Expr | None:
    """Return the expression of a leaf; constants too. None for what is no single text."""
    match node:
        case Leaf(expr=expr):
            return expr
        case Fixed():
            value = static_value(node)
            return Constant(value) if isinstance(value, str) else None
        case _:
            return None
