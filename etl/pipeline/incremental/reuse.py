"""Members whose results are those of the previous release.

Everything that a member's results depend on is compared: the member's rows, rules' lookups of other
members, the directory's rows that they mention, the day of the extract, and (`cache.results_key`)
rules, mappings, settings and program. Reused results are, to the byte, those that processing the
rows again would give.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.incremental.dependencies import Dependencies, lookup_answers
from etl.pipeline.incremental.ledger import (
    Ledger,
    Places,
    checked_of,
    elements_of,
    missing_of,
    no_ledger,
    resources_of,
    select_owners,
    unmapped_of,
)
from etl.pipeline.sidecar.pieces import Sidecar, UnitSidecar, unit_sidecar
from etl.pipeline.totals import Outcome
from etl.publish.reader import Tree
from etl.sources.partition.ids import GlobalKeys


@dataclass(frozen=True, slots=True)
class ReusableResults:
    """Results that a run may reuse.

    Attributes:
        results: the stored results; None if they cannot be used.
        changed: hashes of names whose directory rows changed since then.
        lost_patients: patients whose block or index is missing from the store.
        sidecar: the pieces that name the members' rows; None to start a new sidecar.
    """

    results: CachedResults | None = None
    changed: Hashes = field(default_factory=lambda: NO_HASHES)
    lost_patients: frozenset[str] = frozenset()
    sidecar: Sidecar | None = None

    def for_partitions(self, unit: range, count: int) -> ReusableResults:
        """Keep only the results that some of `count` partitions need."""
        results = None if self.results is None else self.results.for_partitions(unit, count)
        sidecar = None if self.sidecar is None else self.sidecar.for_partitions(unit, count)
        return replace(self, results=results, sidecar=sidecar)

    def members(self, tree: Tree, unit: range, count: int) -> PreviousMembers:
        """Return the results of members in some of `count` partitions."""
        results = self.results
        if results is None:
            return PreviousMembers(no_ledger(), None, self.changed, self.lost_patients)
        ledger = results.ledger(tree, unit, count)
        sidecar = unit_sidecar(tree, self.sidecar, unit, count)
        return PreviousMembers(ledger, results.as_of, self.changed, self.lost_patients, sidecar)


@dataclass(frozen=True, slots=True)
class PreviousMembers:
    """Results of a task's members in the previous release.

    Attributes:
        ledger: their entries, and perhaps entries of other members.
        as_of: day of the previous extract.
        changed: hashes of names whose directory rows changed since then.
        lost_patients: patients whose block or index is missing from the store.
        sidecar: the pieces that name their rows; None if one is lost or damaged.
    """

    ledger: Ledger
    as_of: int | None
    changed: Hashes
    lost_patients: frozenset[str]
    sidecar: UnitSidecar | None = field(default_factory=UnitSidecar)


@dataclass(frozen=True, slots=True)
class ComparedFacts:
    """Facts that previous results of members are compared with.

    Attributes:
        positions: the rows of the unit, with digests.
        keys: ids of all partitions.
        dependencies: which columns refer to something outside.
        as_of: day of the extract, in days since 1970; None if it is not stated.
        canonical: whether every row of the layout is a canonical one.
    """

    positions: Places
    keys: GlobalKeys
    dependencies: Dependencies
    as_of: int | None
    canonical: bool


def find_unchanged(current: ComparedFacts, previous: PreviousMembers) -> Hashes:
    """Return the members whose previous results are still valid."""
    ledger, digests = previous.ledger, current.positions.marks
    owners = ledger["owners"]
    ids, current_ids = owners.column("owner").to_numpy(), digests.column("owner").to_numpy()
    current_index = np.searchsorted(current_ids, ids)
    last_index = len(current_ids) - 1
    still_exists = (
        (current_index <= last_index) & (current_ids[np.minimum(current_index, last_index)] == ids)
        if len(current_ids)
        else ids < ids
    )
    current_index = np.where(still_exists, current_index, 0)

    def is_equal(column: str) -> Any:
        if not len(current_ids):
            return still_exists
        return owners.column(column).to_numpy() == digests.column(column).to_numpy()[current_index]

    is_unchanged = still_exists & is_equal("low") & is_equal("high")
    # Row order only shows in positions, and only if each row is a canonical row.
    owners_with_positions = [
        ledger[name].column("owner").to_numpy() for name in ("findings", "rejected")
    ]
    is_reordered = ~is_equal("order")
    if current.canonical:
        is_reordered &= np.isin(ids, np.concatenate(owners_with_positions))
    is_unchanged &= ~is_reordered
    if previous.as_of != current.as_of:
        days = [day for day in (previous.as_of, current.as_of) if day is not None]
        is_unchanged &= owners.column("latest").to_numpy() <= min(days)
    if previous.lost_patients:
        patients, absent = ledger["patients"], pa.array(sorted(previous.lost_patients), pa.string())
        affected = patients.filter(pc.is_in(patients.column("patient"), value_set=absent))
        is_unchanged &= ~np.isin(ids, affected.column("owner").to_numpy())
    unchanged: Hashes = ids[is_unchanged & ~np.isin(ids, _changed_lookups(current, previous))]
    return unchanged


def _changed_lookups(current: ComparedFacts, previous: PreviousMembers) -> Hashes:
    """Return the members with an external lookup whose answer changed."""
    parts = [np.asarray(current.keys.sharers)]
    all_ids = previous.ledger["asked"]
    kinds = all_ids.column("kind").cast(pa.string())
    for kind in current.dependencies.ids:
        ids = all_ids.filter(pc.equal(kinds, kind))
        exists = lookup_answers(kind, ids.column("id").to_numpy(), current.keys)
        parts.append(ids.column("owner").to_numpy()[exists != np.asarray(ids.column("there"))])
    names = previous.ledger["names"]
    is_changed = np.isin(names.column("name").to_numpy(), previous.changed)
    parts.append(names.column("owner").to_numpy()[is_changed])
    owners: Hashes = np.unique(np.concatenate(parts))
    return owners


def reuse_results(
    previous: PreviousMembers, positions: Places, members: Hashes
) -> tuple[Outcome, Ledger]:
    """Return the results of reused members, with their rows in today's order."""
    ledger = select_owners(previous.ledger, members)
    is_reused = among(positions.marks.column("owner").to_numpy(), members)
    owner_digests = positions.marks.filter(pa.array(is_reused))
    latest = ledger["owners"].column("latest")  # both are ordered by member
    ledger = {**ledger, "owners": owner_digests.append_column("latest", latest)}
    outcome = Outcome(
        checked=checked_of(ledger, positions),
        unmapped=unmapped_of(ledger, positions),
        resources=resources_of(ledger),
        elements=elements_of(ledger),
        missing=missing_of(ledger["missing"]),
        reused=len(members),
    )
    return outcome, ledger
