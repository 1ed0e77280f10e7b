"""Chains of adjustments: which claim of a chain stands, and what the others are.

CPCDS links claims by number, from either end (MapIDs 111, 112). Claims that are linked, directly or
through others, are one chain; of each chain exactly one claim is the last. Decision 0007 says why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final


class Role(Enum):
    """Standing of a claim within its chain; a claim without a chain is current."""

    CURRENT = "current"
    """Nothing replaces it: its money counts."""
    SUPERSEDED = "superseded"
    """Another claim stands in its place."""
    VOID = "void"
    """The last of its chain, and it takes the one before back: nothing stands."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A claim as chains see it.

    Attributes:
        owner: the member; links never lead to another's claim.
        claim_id: its number, unique within the owner; rejected claims may share one or have none.
        prior: the claim that it says it replaces.
        successor: the claim that it says replaced it.
        adjudicated: `YYYY-MM-DD`; None only for rejected claims.
        updated: `last_updated`, a date or an instant.
        voids: its bill frequency is 8, void or cancel of a prior claim (NUBC).
        reverses: it states amounts, and they add up to zero or less.
        rejected: it is not published, but its links count.
    """

    owner: str
    claim_id: str | None
    prior: str | None
    successor: str | None
    adjudicated: str | None
    updated: str | None = None
    voids: bool = False
    reverses: bool = False
    rejected: bool = False

    @property
    def names_prior(self) -> bool:
        """Whether it says that it replaces another claim, wherever that is."""
        return self.prior not in (None, self.claim_id)


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """Place of a claim in its chain.

    Attributes:
        role: what it is.
        last: whether it is the last published claim of its chain, as a claim without a chain is.
            What is not is superseded by a claim that is published.
        priors: places of the claims directly before it, linked from either end, by their numbers.
        successors: places of those directly after it.
        rival: whether it lost to another claim that nothing replaces either.
        bereft: whether it is `last` only because the claim that stands in its place was rejected.
        circular: whether following the links leads back to where one was.
        updated: the latest `last_updated` of itself and, where another claim made it what it is,
            of that; None where it states none.
    """

    role: Role = Role.CURRENT
    last: bool = True
    priors: tuple[int, ...] = ()
    successors: tuple[int, ...] = ()
    rival: bool = False
    bereft: bool = False
    circular: bool = False
    updated: str | None = None


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_UNKNOWN_DAY: Final = "9999-12-31"
"""Day of a rejected claim without a readable one: it may have come after all others."""


def moment(text: str | None) -> datetime:
    """Return a date or an instant as a time that can be compared; absent sorts first."""
    if text is None:
        return _LONG_AGO
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def places(claims: Sequence[Linked]) -> list[ChainPosition]:
    """Return the place of each claim in its chain; the order of the claims decides nothing.

    The last claim of a chain is, of those that no other replaces, one that takes nothing back
    before one that does, then one that does not name a successor elsewhere, then the one that was
    adjudicated last, then the one that was updated last, then the greatest number. Where links run
    in a circle and no claim is without a successor, all are candidates.

    A rejected claim is followed as any other. If the last claim of a chain is rejected, nothing
    stands: all others are superseded, and the last of those that are published is bereft.
    """
    before, after = _neighbours(claims)
    positions: list[ChainPosition] = [ChainPosition()] * len(claims)
    for chain in _chains(before, after):
        back = {index: _takes_back(claims[index], before[index]) for index in chain}
        pool = _candidates(set(chain), after, back)
        last = shown = max(pool, key=lambda index: _weight(claims[index]))
        left = set(chain)
        while claims[shown].rejected and len(left) > 1:
            left.remove(shown)
            rest = _candidates(left, after, back)
            shown = max(rest, key=lambda index: _weight(claims[index]))
        circles = _circular(chain, before, after)
        for index in chain:
            positions[index] = ChainPosition(
                role=_role(claims[index], last=index == last == shown, back=back[index]),
                last=index == shown,
                priors=_by_number(claims, before[index]),
                successors=_by_number(claims, after[index]),
                rival=index in pool and index != last and not back[index],
                bereft=index == shown != last and not claims[shown].rejected,
                circular=index in circles,
                updated=_updated(claims, index, last),
            )
    return positions


def _candidates(
    chain: set[int], after: Sequence[set[int]], back: Mapping[int, bool]
) -> Collection[int]:
    """Return the claims that may be the last of a chain."""
    ends = [index for index in chain if not after[index] & chain] or chain
    return [index for index in ends if not back[index]] or ends


def _by_number(claims: Sequence[Linked], indices: set[int]) -> tuple[int, ...]:
    return tuple(sorted(indices, key=lambda index: claims[index].claim_id or ""))


def _neighbours(claims: Sequence[Linked]) -> tuple[list[set[int]], list[set[int]]]:
    of_number: dict[tuple[str, str | None], list[int]] = {}
    for index, claim in enumerate(claims):
        of_number.setdefault((claim.owner, claim.claim_id), []).append(index)
    before: list[set[int]] = [set() for _ in claims]
    after: list[set[int]] = [set() for _ in claims]
    for index, claim in enumerate(claims):
        for named, later in ((claim.prior, False), (claim.successor, True)):
            if named is None or named == claim.claim_id:
                continue
            for other in of_number.get((claim.owner, named), ()):
                first, second = (index, other) if later else (other, index)
                before[second].add(first)
                after[first].add(second)
    return before, after


def _chains(before: Sequence[set[int]], after: Sequence[set[int]]) -> Iterator[list[int]]:
    seen: set[int] = set()
    for start in range(len(before)):
        if start in seen:
            continue
        chain, todo = [], [start]
        seen.add(start)
        while todo:
            index = todo.pop()
            chain.append(index)
            new = (before[index] | after[index]) - seen
            seen |= new
            todo += new
        yield chain


def _circular(
    chain: Sequence[int], before: Sequence[set[int]], after: Sequence[set[int]]
) -> set[int]:
    """Return the claims of a chain that lie on a circle of links, or between two."""
    if sum(len(after[index]) for index in chain) < len(chain):
        return set()  # as many links as connect the claims, so that none leads back
    left = set(chain)
    for ways in (before, after):
        todo = [index for index in left if not ways[index] & left]
        while todo:
            index = todo.pop()
            left.discard(index)
            others = after[index] if ways is before else before[index]
            todo += [neighbour for neighbour in others & left if not ways[neighbour] & left]
    return left


def _takes_back(claim: Linked, before: set[int]) -> bool:
    return claim.voids or (claim.reverses and (bool(before) or claim.names_prior))


def _names_successor(claim: Linked) -> bool:
    return claim.successor not in (None, claim.claim_id)


def _weight(claim: Linked) -> tuple[bool, str, datetime, str]:
    gone = _names_successor(claim)
    day = claim.adjudicated or _UNKNOWN_DAY
    return not gone, day, moment(claim.updated), claim.claim_id or ""


def _role(claim: Linked, *, last: bool, back: bool) -> Role:
    if not last:
        return Role.SUPERSEDED
    if back:
        return Role.VOID
    return Role.SUPERSEDED if _names_successor(claim) else Role.CURRENT


def _updated(claims: Sequence[Linked], index: int, last: int) -> str | None:
    own = claims[index].updated
    if own is None or index == last:
        return own
    cause = claims[last].updated
    return cause if cause is not None and moment(cause) > moment(own) else own
