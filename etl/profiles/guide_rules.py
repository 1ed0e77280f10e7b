"""Rules that a guide states in words, and that no expression of its profiles checks.

Paths are names of members; lists on the way stand for each of their entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from etl.profiles.constraints import Constraint


@dataclass(frozen=True, slots=True)
class MarkedEntry:
    """One entry of a list is marked, and no more; of JSON from elsewhere none need be.

    Attributes:
        rule: id under which it is reported.
        says: the sentence of a breach.
        name: of the list.
        mark: member that is true in the marked entry.
    """

    rule: str
    says: str
    name: str
    mark: str


@dataclass(frozen=True, slots=True)
class UniqueNumbers:
    """No two entries of a list have the same number.

    Attributes:
        rule: id under which it is reported.
        says: the sentence of a breach.
        lists: names of lists of the resource.
        inner: (list of the resource, list in each of its entries).
        number: member that is the number.
    """

    rule: str
    says: str
    lists: tuple[str, ...]
    inner: tuple[tuple[str, str], ...]
    number: str


@dataclass(frozen=True, slots=True)
class ListedNumbers:
    """A number that an entry names is the number of an entry of another list.

    Attributes:
        rule: id under which it is reported.
        says: the sentence of a breach.
        lists: lists of the resource with entries that name numbers.
        members: member that names numbers -> (list, number) that it means.
        inner: lists below those entries, each within the one before, that name numbers as well.
        lenient: an official example breaks it, so that it is an error of others only where asked.
    """

    rule: str
    says: str
    lists: tuple[str, ...]
    members: tuple[tuple[str, tuple[str, str]], ...]
    inner: tuple[str, ...] = ()
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class ForbiddenEntry:
    """An exclusion: where a constraint holds of the resource, no entry of a list fulfils another.

    Attributes:
        rule: id under which it is reported.
        says: the sentence of a breach.
        given: about the resource.
        name: of the list.
        forbidden: about an entry.
        at: member of the entry that the breach is about.
        slice_name: of the entries that can break it.
    """

    rule: str
    says: str
    given: Constraint
    name: str
    forbidden: Constraint
    at: str
    slice_name: str


GuideRule: TypeAlias = MarkedEntry | UniqueNumbers | ListedNumbers | ForbiddenEntry
