"""Vocabulary of invariants: constraints on elements, as values.

A profile words an invariant as FHIRPath. A constraint says the same once, for two readers:
`etl.conform.invariants` makes a test of JSON of it, `etl.mapping.invariants` a test of rows. A
constraint is about one element, its subject; paths are names of members, and lists on the way stand
for each of their entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from etl.model.logic import AllOf, AnyOf, Not


@dataclass(frozen=True, slots=True)
class Present:
    """One of some members is there, even if only the extension of a primitive."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValuePresent:
    """A member of the choice `value[x]` is there."""


@dataclass(frozen=True, slots=True)
class Contains:
    """The subject contains a pattern (FHIR's pattern[x])."""

    pattern: Any


@dataclass(frozen=True, slots=True)
class InValueSet:
    """The subject, a concept, may be of a value set; an unknown answer counts as yes."""

    url: str


@dataclass(frozen=True, slots=True)
class Exists:
    """Something at a path below the subject fulfils a constraint."""

    path: tuple[str, ...]
    constraint: Constraint


@dataclass(frozen=True, slots=True)
class FewerThan:
    """Of the entries of a list, fewer than so many contain a pattern."""

    count: int
    name: str
    pattern: Any


@dataclass(frozen=True, slots=True)
class Tautology:
    """An expression that is never false, whatever its author meant."""

    reason: str


@dataclass(frozen=True, slots=True)
class Distinct:
    """No two texts at a path below the subject are the same."""

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
    """Every reference at a member leads to a type of resource; one of no known type does not."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NarrativeText:
    """The subject is XHTML of the kind that FHIR allows, with visible content."""


@dataclass(frozen=True, slots=True)
class ValueShape:
    """The text of an identifier, where there is one, has a shape.

    Attributes:
        shape: name of the shape, of `etl.model.code_shapes.SHAPES`, by which a column is checked.
        fits: tests one text for what the invariant asks, which may be less than the shape.
    """

    shape: str
    fits: Callable[[str], bool]


# Of whole resources --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uncontained:
    """The subject is the whole resource, not one that it contains."""


@dataclass(frozen=True, slots=True)
class ProfileClaim:
    """`meta.profile` has a canonical that begins with a text."""

    prefix: str


@dataclass(frozen=True, slots=True)
class NumberPath:
    """Numbers at a path below the subject.

    Attributes:
        path: the last name is the number's, the first a list's.
        where: which entries of that list are meant; None for all.
    """

    path: tuple[str, ...]
    where: Constraint | None = None


@dataclass(frozen=True, slots=True)
class NumbersListed:
    """Every number is one of others of the resource."""

    numbers: NumberPath
    among: NumberPath


@dataclass(frozen=True, slots=True)
class NumbersApart:
    """No number is one of others of the resource."""

    numbers: NumberPath
    others: NumberPath


@dataclass(frozen=True, slots=True)
class EntriesNamed:
    """Each of some entries of a list names one of some numbers of the resource.

    Attributes:
        name: of the list.
        where: which of its entries have to.
        member: in which they name numbers.
        known: the numbers.
    """

    name: str
    where: Constraint
    member: str
    known: NumberPath


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


def implies(given: Constraint, then: Constraint) -> Constraint:
    """Return that one constraint holds wherever another does."""
    return AnyOf((Not(given), then))


def one_of_two(left: Constraint, right: Constraint) -> Constraint:
    """Return that one of two constraints holds, and the other does not."""
    return AllOf((AnyOf((left, right)), Not(AllOf((left, right)))))


def present(*names: str) -> Constraint:
    """Return that one of some members is there."""
    return Present(names)


def coded(name: str, code: str, system: str | None = None) -> Constraint:
    """Return that a member, a concept, has a coding of a code, and of a system if one is given."""
    coding = {"code": code} if system is None else {"code": code, "system": system}
    return Exists((name,), Contains({"coding": [coding]}))


def of_system(name: str, system: str) -> Constraint:
    """Return that a member, a concept, has a coding of a code system."""
    return Exists((name,), Contains({"coding": [{"system": system}]}))


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule that a guide states in words.

    Attributes:
        rule: id under which it is reported.
        says: the sentence of a breach.
    """

    rule: str
    says: str


@dataclass(frozen=True, slots=True)
class MarkedEntry(_Rule):
    """One entry of a list is marked, and no more; of JSON from elsewhere none need be.

    Attributes:
        name: of the list.
        mark: member that is true in the marked entry.
    """

    name: str
    mark: str


@dataclass(frozen=True, slots=True)
class UniqueNumbers(_Rule):
    """No two entries of a list have the same number.

    Attributes:
        lists: names of lists of the resource.
        inner: (list of the resource, list in each of its entries).
        number: member that is the number.
    """

    lists: tuple[str, ...]
    inner: tuple[tuple[str, str], ...]
    number: str


@dataclass(frozen=True, slots=True)
class ListedNumbers(_Rule):
    """A number that an entry names is the number of an entry of another list.

    Attributes:
        lists: lists of the resource with entries that name numbers.
        members: member that names numbers -> (list, number) that it means.
        inner: lists below those entries, each within the one before, that name numbers as well.
        lenient: an official example breaks it, so that it is an error of others only where asked.
    """

    lists: tuple[str, ...]
    members: tuple[tuple[str, tuple[str, str]], ...]
    inner: tuple[str, ...] = ()
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class ForbiddenEntry(_Rule):
    """An exclusion: where a constraint holds of the resource, no entry of a list fulfils another.

    Attributes:
        given: about the resource.
        name: of the list.
        forbidden: about an entry.
        at: member of the entry that the breach is about.
        slice_name: of the entries that can break it.
    """

    given: Constraint
    name: str
    forbidden: Constraint
    at: str
    slice_name: str


GuideRule: TypeAlias = MarkedEntry | UniqueNumbers | ListedNumbers | ForbiddenEntry
