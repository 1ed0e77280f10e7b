"""Constraints: the invariants of profiles as values.

Profiles state invariants in FHIRPath. `etl.conform.invariants` compiles a constraint to a test of
JSON, `etl.mapping.invariants` to a test of rows. A constraint is about one element, its subject.
Paths are names of members; lists on the way stand for each of their entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from etl.model.logic import AllOf, AnyOf, Not


@dataclass(frozen=True, slots=True)
class Present:
    """At least one of the members is present, if only as a primitive's extension."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValuePresent:
    """A member of the choice `value[x]` is present."""


@dataclass(frozen=True, slots=True)
class Contains:
    """The subject contains a pattern (FHIR's pattern[x])."""

    pattern: Any


@dataclass(frozen=True, slots=True)
class InValueSet:
    """The subject, a concept, is in a value set, or that is unknown."""

    url: str


@dataclass(frozen=True, slots=True)
class Exists:
    """A value at a path below the subject meets a constraint."""

    path: tuple[str, ...]
    constraint: Constraint


@dataclass(frozen=True, slots=True)
class FewerThan:
    """Fewer than `count` entries of a list contain a pattern."""

    count: int
    name: str
    pattern: Any


@dataclass(frozen=True, slots=True)
class Tautology:
    """An expression that is never false, whatever its author meant."""

    reason: str


@dataclass(frozen=True, slots=True)
class Distinct:
    """The texts at a path below the subject are distinct."""

    path: tuple[str, ...]


# Of single types -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeriodOrder:
    """The start of a period is not after its end, as far as both are precise."""


@dataclass(frozen=True, slots=True)
class ContainedTarget:
    """A reference that begins with `#` names a contained resource, or the resource itself."""


@dataclass(frozen=True, slots=True)
class ContainedUsed:
    """Something refers to each contained resource, or it refers to the resource around it."""


@dataclass(frozen=True, slots=True)
class ReferenceTarget:
    """Every reference at a member points to a type; an unknown type fails."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NarrativeText:
    """The subject is XHTML of the kind that FHIR allows, with visible content."""


@dataclass(frozen=True, slots=True)
class ValueShape:
    """The text of an identifier, if present, has a shape.

    Attributes:
        shape: name in `etl.model.code_shapes.SHAPES`, for the check of columns.
        fits: tests one text for the invariant, which may require less than the shape.
    """

    shape: str
    fits: Callable[[str], bool]


# Of whole resources --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uncontained:
    """The subject is the resource itself, not a contained one."""


@dataclass(frozen=True, slots=True)
class ProfileClaim:
    """`meta.profile` has a canonical that begins with a text."""

    prefix: str


@dataclass(frozen=True, slots=True)
class NumberPath:
    """Numbers at a path below the subject.

    Attributes:
        path: from the name of a list to the name of the number.
        where: selects entries of that list; None for all.
    """

    path: tuple[str, ...]
    where: Constraint | None = None


@dataclass(frozen=True, slots=True)
class NumbersListed:
    """Every number is among other numbers of the resource."""

    numbers: NumberPath
    among: NumberPath


@dataclass(frozen=True, slots=True)
class NumbersApart:
    """No number is among other numbers of the resource."""

    numbers: NumberPath
    other_numbers: NumberPath


@dataclass(frozen=True, slots=True)
class EntriesNamed:
    """Some entries of a list must refer to at least one of the known numbers.

    Attributes:
        name: the list.
        where: selects the entries that must.
        member: the entries' member with numbers.
        listed: the numbers.
    """

    name: str
    where: Constraint
    member: str
    listed: NumberPath


Constraint: TypeAlias = (
    Present
    | ValuePresent
    | Contains
    | InValueSet
    | Exists
    | FewerThan
    | AllOf
    | AnyOf
    | Not
    | Tautology
    | Distinct
    | PeriodOrder
    | ContainedTarget
    | ContainedUsed
    | ReferenceTarget
    | NarrativeText
    | ValueShape
    | Uncontained
    | ProfileClaim
    | NumbersListed
    | NumbersApart
    | EntriesNamed
)


def implies(condition: Constraint, consequence: Constraint) -> Constraint:
    """Build the implication of one constraint by another."""
    return AnyOf((Not(condition), consequence))


def exactly_one(left: Constraint, right: Constraint) -> Constraint:
    """Build the exclusive or of two constraints."""
    return AllOf((AnyOf((left, right)), Not(AllOf((left, right)))))


def present(*names: str) -> Constraint:
    """Build the constraint that at least one of the members is present."""
    return Present(names)


def coded(name: str, code: str, system: str | None = None) -> Constraint:
    """Build the constraint that a concept has a coding with a code and, if given, a system."""
    coding = {"code": code} if system is None else {"code": code, "system": system}
    return Exists((name,), Contains({"coding": [coding]}))


def of_system(name: str, system: str) -> Constraint:
    """Build the constraint that a concept has a coding of a code system."""
    return Exists((name,), Contains({"coding": [{"system": system}]}))


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule that a guide states in words.

    Attributes:
        rule: id in findings.
        says: message in findings.
    """

    rule: str
    says: str


@dataclass(frozen=True, slots=True)
class MarkedEntry(_Rule):
    """At most one entry of a list is marked; our mappings mark exactly one.

    Attributes:
        name: the list.
        mark: member that is true in the marked entry.
    """

    name: str
    mark: str


@dataclass(frozen=True, slots=True)
class UniqueNumbers(_Rule):
    """The entries of a list have distinct numbers.

    Attributes:
        lists: names of lists of the resource.
        inner: (list of the resource, list in each of its entries).
        number: the member with the number.
    """

    lists: tuple[str, ...]
    inner: tuple[tuple[str, str], ...]
    number: str


@dataclass(frozen=True, slots=True)
class ListedNumbers(_Rule):
    """Numbers in an entry refer to the numbers of another list's entries.

    Attributes:
        lists: lists of the resource whose entries refer to numbers.
        members: member with such numbers -> (list, number) that it refers to.
        inner: lists nested in those entries, whose entries also refer to numbers.
        lenient: an official example breaks it, so for JSON it is an error only in strict mode.
    """

    lists: tuple[str, ...]
    members: tuple[tuple[str, tuple[str, str]], ...]
    inner: tuple[str, ...] = ()
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class ForbiddenEntry(_Rule):
    """If the resource meets a constraint, no entry of a list may meet another.

    Attributes:
        when: the constraint on the resource.
        name: the list.
        forbidden: the constraint on entries.
        at: member of the entry, for the path in findings.
        slice_name: slice of the entries that can break it.
    """

    when: Constraint
    name: str
    forbidden: Constraint
    at: str
    slice_name: str


GuideRule: TypeAlias = MarkedEntry | UniqueNumbers | ListedNumbers | ForbiddenEntry
