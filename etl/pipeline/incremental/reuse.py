"""Members whose results are those of the previous release.

What the results of a member depend on is compared: the member's rows, what rules look up
of other members, the directory's rows that they name, the day of the extract, and (`cache.made_by`)
rules, mappings, settings and program. What is reused is, to the byte, what processing the rows
again would give.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.incremental.dependencies import Dependencies, answers
from etl.pipeline.incremental.ledger import (
    Ledger,
    Places,
    checked_of,
    elements_of,
    missing_of,
    no_ledger,
    only,
    resources_of,
    unmapped_of,
)
from etl.pipeline.sidecar.pieces import Sidecar, UnitSidecar, unit_sidecar
from etl.pipeline.totals import Outcome
from etl.sources.partition.ids import GlobalKeys
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class PreviousRelease:
    """Results that a run may reuse.

    Attributes:
        results: what the release keeps; None where it cannot be used.
        changed: names under which the directory held something else then.
        lost: patients whose block or index is not in the store any more.
        sidecar: the pieces that name the rows of its members; None where nothing is to go on.
    """

    results: CachedResults | None = None
    changed: Hashes = field(default_factory=lambda: NO_HASHES)
    lost: frozenset[str] = frozenset()
    sidecar: Sidecar | None = None

    def for_partitions(self, unit: range, count: int) -> PreviousRelease:
        """Return as much of it as some of `count` partitions need."""
        results = None if self.results is None else self.results.for_partitions(unit, count)
        sidecar = None if self.sidecar is None else self.sidecar.for_partitions(unit, count)
        return replace(self, results=results, sidecar=sidecar)

    def members(self, store: Store, unit: range, count: int) -> PreviousMembers:
        """Return the results of the members of some of `count` partitions."""
        results = self.results
        if results is None:
            return PreviousMembers(no_ledger(), None, self.changed, self.lost)
        ledger = results.ledger(store, unit, count)
        sidecar = unit_sidecar(store, self.sidecar, unit, count)
        return PreviousMembers(ledger, results.as_of, self.changed, self.lost, sidecar)


@dataclass(frozen=True, slots=True)
class PreviousMembers:
    """Results of the members of one unit in the previous release.

    Attributes:
        ledger: their entries, and perhaps those of others.
        as_of: the day of the extract then.
        changed: names under which the directory held something else then.
        lost: patients whose block or index is not in the store any more.
        sidecar: the pieces that name their rows; None where one is lost or damaged.
    """

    ledger: Ledger
    as_of: int | None
    changed: Hashes
    lost: frozenset[str]
    sidecar: UnitSidecar | None = field(default_factory=UnitSidecar)


@dataclass(frozen=True, slots=True)
class ComparedFacts:
    """Facts that previous results of members are compared with.

    Attributes:
        places: the rows of the unit, with digests.
        keys: ids of all partitions.
        dependencies: which columns refer to something outside.
        as_of: day of the extract, in days since 1970; None where it is not stated.
        canonical: whether every row of the layout is a canonical one.
    """

    places: Places
    keys: GlobalKeys
    dependencies: Dependencies
    as_of: int | None
    canonical: bool


def unchanged(now: ComparedFacts, before: PreviousMembers) -> Hashes:
    """Return the members whose results are those of the previous release."""
    ledger, marks = before.ledger, now.places.marks
    owners = ledger["owners"]
    ids, here = owners.column("owner").to_numpy(), marks.column("owner").to_numpy()
    position = np.searchsorted(here, ids)
    last = len(here) - 1
    there = (
        (position <= last) & (here[np.minimum(position, last)] == ids) if len(here) else ids < ids
    )
    position = np.where(there, position, 0)

    def same(column: str) -> Any:
        if not len(here):
            return there
        return owners.column(column).to_numpy() == marks.column(column).to_numpy()[position]

    stays = there & same("low") & same("high")
    # The order of a member's rows shows in places alone, and only where a row is a canonical one.
    placed = [ledger[name].column("owner").to_numpy() for name in ("findings", "rejected")]
    moved = ~same("order")
    if now.canonical:
        moved &= np.isin(ids, np.concatenate(placed))
    stays &= ~moved
    if before.as_of != now.as_of:
        days = [day for day in (before.as_of, now.as_of) if day is not None]
        stays &= owners.column("latest").to_numpy() <= min(days)
    if before.lost:
        patients, lost = ledger["patients"], pa.array(sorted(before.lost), pa.string())
        theirs = patients.filter(pc.is_in(patients.column("patient"), value_set=lost))
        stays &= ~np.isin(ids, theirs.column("owner").to_numpy())
    kept: Hashes = ids[stays & ~np.isin(ids, _answered_otherwise(now, before))]
    return kept


def _answered_otherwise(now: ComparedFacts, before: PreviousMembers) -> Hashes:
    """Return the members with an external lookup that has another answer than before."""
    differs = [np.asarray(now.keys.sharers)]
    ids_asked = before.ledger["asked"]
    kinds = ids_asked.column("kind").cast(pa.string())
    for kind in now.dependencies.ids:
        mine = ids_asked.filter(pc.equal(kinds, kind))
        there = answers(kind, mine.column("id").to_numpy(), now.keys)
        differs.append(mine.column("owner").to_numpy()[there != np.asarray(mine.column("there"))])
    names = before.ledger["names"]
    is_changed = np.isin(names.column("name").to_numpy(), before.changed)
    differs.append(names.column("owner").to_numpy()[is_changed])
    owners: Hashes = np.unique(np.concatenate(differs))
    return owners


def reused(before: PreviousMembers, places: Places, members: Hashes) -> tuple[Outcome, Ledger]:
    """Return outcome and entries of members that are reused, with their rows in today's order."""
    ledger = only(before.ledger, members)
    here = among(places.marks.column("owner").to_numpy(), members)
    marks = places.marks.filter(pa.array(here))
    latest = ledger["owners"].column("latest")  # both are ordered by member
    ledger = {**ledger, "owners": marks.append_column("latest", latest)}
    outcome = Outcome(
        checked=checked_of(ledger, places),
        unmapped=unmapped_of(ledger, places),
        resources=resources_of(ledger),
        elements=elements_of(ledger),
        missing=missing_of(ledger["missing"]),
        reused=len(members),
    )
    return outcome, ledger
