"""Find adjustment chains: which claim of a chain is current, and the roles of the others.

CPCDS links claims by number, from either end (MapIDs 111, 112). Claims that are linked, directly or
through others, form a chain; exactly one claim of a chain is the last. Decision 0007 has the
reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final


class Role(Enum):
    """Role of a claim within its chain; a claim without a chain is current."""

    CURRENT = "current"
    """No claim replaces it: its money counts."""
    SUPERSEDED = "superseded"
    """Another claim replaces it."""
    VOID = "void"
    """The last of its chain; it cancels the previous one, so no claim is current."""


@dataclass(frozen=True, slots=True)
class Linked:
    """The fields of a claim that matter for chains.

    Attributes:
        owner: the member; links never lead to another member's claim.
        claim_id: its number, unique within the owner; rejected claims may share one or have none.
        prior: number of the claim that it replaces.
        successor: number of the claim that replaced it.
        adjudicated: `YYYY-MM-DD`; None only for rejected claims.
        updated: `last_updated`, a date or an instant.
        voids: its bill frequency is 8, void or cancel of a prior claim (NUBC).
        reverses: its amounts total less than zero.
        rejected: it isn't published, but its links count.
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
        """Whether it refers to a prior claim, known or not."""
        return self.prior not in (None, self.claim_id)


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """Position of a claim in its chain.

    Attributes:
        role: its role.
        last: whether it is the last published claim of its chain; if not, a published claim
            supersedes it. True without a chain.
        priors: indexes of the claims directly before it, linked from either end, sorted by number.
        successors: indexes of the claims directly after it.
        rival: whether it lost to another claim without a successor.
        bereft: whether it is `last` only because the claim that replaces it was rejected.
        circular: whether its links lead back to it.
        cancels: whether it voids or reverses the claim before it.
        orphaned: whether a claim directly before it was rejected.
        early: whether a claim directly before it was adjudicated later.
        updated: its `last_updated` or, if later, that of the claim that determines its role; None
            if it states none.
    """

    role: Role = Role.CURRENT
    last: bool = True
    priors: tuple[int, ...] = ()
    successors: tuple[int, ...] = ()
    rival: bool = False
    bereft: bool = False
    circular: bool = False
    cancels: bool = False
    orphaned: bool = False
    early: bool = False
    updated: str | None = None


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_UNKNOWN_DAY: Final = "9999-12-31"
"""Day of a rejected claim without a readable date: it may be later than all others."""


def moment(text: str | None) -> datetime:
    """Parse a date or an instant into a comparable time; None sorts first."""
    if text is None:
        return _LONG_AGO
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def chain_positions(claims: Sequence[Linked]) -> list[ChainPosition]:
    """Return the position of each claim in its chain, whatever the order of the claims.

    Candidates for the last claim of a chain are those without a successor or, if links run in a
    circle, all claims. Of these, claims that aren't voids come first, then those that name no
    unknown successor, then the latest adjudication date, the latest update, and the greatest
    number.

    Links of rejected claims count. If the last claim of a chain is rejected, no claim is current:
    all others are superseded, and the last published one is bereft.
    """
    priors, successors = _find_links(claims)
    positions: list[ChainPosition] = [ChainPosition()] * len(claims)
    for chain in _find_chains(priors, successors):
        voids = {index: _is_void(claims[index], priors[index]) for index in chain}
        candidates = _candidates(set(chain), successors, voids)
        last = newest = max(candidates, key=lambda index: _sort_key(claims[index]))
        remaining = set(chain)
        while claims[newest].rejected and len(remaining) > 1:
            remaining.remove(newest)
            candidates_left = _candidates(remaining, successors, voids)
            newest = max(candidates_left, key=lambda index: _sort_key(claims[index]))
        circular = _find_circular(chain, priors, successors)
        for index in chain:
            positions[index] = ChainPosition(
                role=_find_role(claims[index], last=index == last == newest, is_void=voids[index]),
                last=index == newest,
                priors=_sort_by_number(claims, priors[index]),
                successors=_sort_by_number(claims, successors[index]),
                rival=index in candidates and index != last and not voids[index],
                bereft=index == newest != last and not claims[newest].rejected,
                circular=index in circular,
                cancels=voids[index],
                orphaned=not claims[index].rejected
                and any(claims[prior].rejected for prior in priors[index]),
                early=any(
                    (claims[prior].adjudicated or "") > (claims[index].adjudicated or _UNKNOWN_DAY)
                    for prior in priors[index]
                ),
                updated=_latest_update(claims, index, last),
            )
    return positions


def _candidates(
    chain: set[int], successors: Sequence[set[int]], voids: Mapping[int, bool]
) -> Collection[int]:
    """Return the claims that may be the last of a chain."""
    ends = [index for index in chain if not successors[index] & chain] or chain
    return [index for index in ends if not voids[index]] or ends


def _sort_by_number(claims: Sequence[Linked], indices: set[int]) -> tuple[int, ...]:
    return tuple(sorted(indices, key=lambda index: claims[index].claim_id or ""))


def _find_links(claims: Sequence[Linked]) -> tuple[list[set[int]], list[set[int]]]:
    by_number: dict[tuple[str, str | None], list[int]] = {}
    for index, claim in enumerate(claims):
        by_number.setdefault((claim.owner, claim.claim_id), []).append(index)
    priors: list[set[int]] = [set() for _ in claims]
    successors: list[set[int]] = [set() for _ in claims]
    for index, claim in enumerate(claims):
        for linked_id, is_later in ((claim.prior, False), (claim.successor, True)):
            if linked_id is None or linked_id == claim.claim_id:
                continue
            for linked in by_number.get((claim.owner, linked_id), ()):
                first, second = (index, linked) if is_later else (linked, index)
                priors[second].add(first)
                successors[first].add(second)
    return priors, successors


def _find_chains(priors: Sequence[set[int]], successors: Sequence[set[int]]) -> Iterator[list[int]]:
    visited: set[int] = set()
    for start in range(len(priors)):
        if start in visited:
            continue
        chain, queue = [], [start]
        visited.add(start)
        while queue:
            index = queue.pop()
            chain.append(index)
            unseen = (priors[index] | successors[index]) - visited
            visited |= unseen
            queue += unseen
        yield chain


def _find_circular(
    chain: Sequence[int], priors: Sequence[set[int]], successors: Sequence[set[int]]
) -> set[int]:
    """Return the claims of a chain that are on a circle of links, or between two."""
    if sum(len(successors[index]) for index in chain) < len(chain):
        return set()  # a tree has no circle
    remaining = set(chain)
    for links in (priors, successors):
        queue = [index for index in remaining if not links[index] & remaining]
        while queue:
            index = queue.pop()
            remaining.discard(index)
            neighbours = successors[index] if links is priors else priors[index]
            queue += [other for other in neighbours & remaining if not links[other] & remaining]
    return remaining


def _is_void(claim: Linked, priors: set[int]) -> bool:
    return claim.voids or (claim.reverses and (bool(priors) or claim.names_prior))


def _names_successor(claim: Linked) -> bool:
    return claim.successor not in (None, claim.claim_id)


def _sort_key(claim: Linked) -> tuple[bool, str, datetime, str]:
    has_successor = _names_successor(claim)
    day = claim.adjudicated or _UNKNOWN_DAY
    return not has_successor, day, moment(claim.updated), claim.claim_id or ""


def _find_role(claim: Linked, *, last: bool, is_void: bool) -> Role:
    if not last:
        return Role.SUPERSEDED
    if is_void:
        return Role.VOID
    return Role.SUPERSEDED if _names_successor(claim) else Role.CURRENT


def _latest_update(claims: Sequence[Linked], index: int, last: int) -> str | None:
    update, last_update = claims[index].updated, claims[last].updated
    if update is None or last_update is None:
        return update
    return max(update, last_update, key=moment)
