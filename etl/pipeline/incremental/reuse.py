"""Working on a partition with the release before at hand: who did not change is not worked on.

The outcome is, to the byte, that of working on everything. What a member's outcome hangs on is
compared first: his rows, the answers to what rules ask of other members, the directory's rows that
he names, the day of the extract, and (`memory.made_by`) rules, mappings, settings and program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.engine.partition_columns import Partition
from etl.engine.render import Rendered
from etl.mapping.plan import Plan
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.attribution import ledger_of, owners_of
from etl.pipeline.incremental.dependencies import Questions, answers
from etl.pipeline.incremental.ledger import (
    Ledger,
    Places,
    checked_of,
    joined,
    missing_of,
    no_ledger,
    only,
    resources_of,
    unmapped_of,
)
from etl.pipeline.partition.check_and_map import Outcome, work_through
from etl.pipeline.partition.providers import Providers
from etl.pipeline.suites import of_members
from etl.quality.suites.sample import Share
from etl.sources import GlobalKeys, Partitions

Made: TypeAlias = tuple[Plan, list[Rendered], Partition]
"""A plan, its runs, and the rows that they were made of."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for every partition of a run.

    Attributes:
        partitions: the extract, read with digests.
        providers: the directory.
        definitions: rules and mappings.
        questions: what outcomes hang on beside rows.
        as_of: day of the extract, in days since 1970; None where nobody said.
        share: of which members rows are kept for the suites; None where no suites are run.
    """

    partitions: Partitions
    providers: Providers
    definitions: Definitions
    questions: Questions
    as_of: int | None
    share: Share | None

    @property
    def keys(self) -> GlobalKeys:
        """Ids of all partitions."""
        return self.partitions.keys


@dataclass(frozen=True, slots=True)
class PreviousResults:
    """What is remembered of a partition's members.

    Attributes:
        ledger: their entries, and perhaps those of others.
        as_of: the day of the extract then.
        changed: names under which the directory held something else then.
        lost: patients whose block or index is not in the store any more.
    """

    ledger: Ledger
    as_of: int | None
    changed: Hashes
    lost: frozenset[str] = frozenset()


class HandOn(Protocol):
    """Takes what was made of some members, whole or not at all."""

    def __call__(self, made: Sequence[Made], kept: Sequence[str], /) -> None:
        """Take it.

        Args:
            made: their resources: plan, its runs and the rows that they were made of.
            kept: ids of patients whose blocks stay as they are.
        """


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of some partitions.

    Attributes:
        outcome: of everybody in them.
        ledger: what to remember of it.
    """

    outcome: Outcome
    ledger: Ledger


def work_remembering(
    setting: Setting, indexes: range, before: PreviousResults | None, hand_on: HandOn
) -> Worked | None:
    """Check and map some partitions, but for members of whom the outcome is known.

    Args:
        setting: what is the same for all.
        indexes: the partitions.
        before: what is remembered; None for nothing.
        hand_on: takes the resources.

    Returns:
        None where there are several partitions, and more rows to work on than one of them has: then
        nothing was done, and each is to be worked on by itself.
    """
    places = Places.of(setting.partitions, indexes)
    kept = NO_HASHES if before is None else unchanged(setting, places, before)
    if setting.share is not None:
        kept = kept[~setting.share.holds(kept)]  # suites want rows, which nobody remembers
    stays = np.count_nonzero(among(places.owner, kept))
    if len(indexes) > 1 and (len(places.owner) - stays) * len(indexes) > len(places.owner):
        return None
    worked = _work(setting, indexes, places, before, kept, hand_on)
    if worked is None:  # somebody who stayed shares a patient with somebody who did not
        if len(indexes) > 1:
            return None
        worked = _work(setting, indexes, places, before, NO_HASHES, hand_on)
    if worked is None:
        raise AssertionError("nobody is kept, and yet with somebody else")
    return worked


def unchanged(setting: Setting, places: Places, before: PreviousResults) -> Hashes:
    """Return the members of a partition whose outcome is the one that is remembered."""
    ledger, marks = before.ledger, places.marks
    owners = ledger["owners"]
    ids, now = owners.column("owner").to_numpy(), marks.column("owner").to_numpy()
    at = np.searchsorted(now, ids)
    there = (at < len(now)) & (now[np.minimum(at, len(now) - 1)] == ids) if len(now) else ids < ids
    at = np.where(there, at, 0)

    def same(column: str) -> Any:
        if not len(now):
            return there
        return owners.column(column).to_numpy() == marks.column(column).to_numpy()[at]

    stays = there & same("low") & same("high")
    # The order of a member's rows shows in places alone, and only where a row is a canonical one.
    placed = [ledger[name].column("owner").to_numpy() for name in ("findings", "rejected")]
    moved = ~same("order")
    if setting.partitions.layout.canonical:
        moved &= np.isin(ids, np.concatenate(placed))
    stays &= ~moved
    if before.as_of != setting.as_of:
        days = [day for day in (before.as_of, setting.as_of) if day is not None]
        stays &= owners.column("latest").to_numpy() <= min(days)
    if before.lost:
        patients, lost = ledger["patients"], pa.array(sorted(before.lost), pa.string())
        theirs = patients.filter(pc.is_in(patients.column("patient"), value_set=lost))
        stays &= ~np.isin(ids, theirs.column("owner").to_numpy())
    kept: Hashes = ids[stays & ~np.isin(ids, _answered_otherwise(setting, before))]
    return kept


def _answered_otherwise(setting: Setting, before: PreviousResults) -> Hashes:
    """Return the members who would be told something else than before."""
    found = [np.asarray(setting.keys.sharers)]
    asked = before.ledger["asked"]
    kinds = asked.column("kind").cast(pa.string())
    for kind in setting.questions.ids:
        mine = asked.filter(pc.equal(kinds, kind))
        there = answers(kind, mine.column("id").to_numpy(), setting.keys)
        found.append(mine.column("owner").to_numpy()[there != np.asarray(mine.column("there"))])
    names = before.ledger["names"]
    told = np.isin(names.column("name").to_numpy(), before.changed)
    found.append(names.column("owner").to_numpy()[told])
    told_otherwise: Hashes = np.unique(np.concatenate(found))
    return told_otherwise


def _work(
    setting: Setting,
    indexes: range,
    places: Places,
    before: PreviousResults | None,
    kept: Hashes,
    hand_on: HandOn,
) -> Worked | None:
    """Return what became of partitions; None where who is kept shares a patient with others."""
    old = no_ledger() if before is None else _as_now(only(before.ledger, kept), places, kept)
    patients = old["patients"].column("patient").combine_chunks()
    stay = tuple(
        old["patients"].filter(old["patients"].column("own")).column("patient").to_pylist()
    )
    outcome = Outcome(
        checked=checked_of(old, places),
        unmapped=unmapped_of(old, places),
        resources=resources_of(old),
        missing=missing_of(old),
        remembered=len(kept),
        rows={name: len(owners) for name, (owners, _) in places.owned.items()},
    )
    ledgers, made = [old], list[Made]()
    fresh = np.setdiff1d(places.marks.column("owner").to_numpy(), kept)
    if len(fresh):
        found, ledger, made = _fresh(setting, indexes, places, fresh)
        for _, runs, _ in made:
            for run in runs:
                if pc.any(pc.is_in(run.compartments, value_set=patients)).as_py():
                    return None
        ledgers += [] if ledger is None else [ledger]
        outcome += found
    hand_on(made, stay)
    return Worked(outcome, joined(ledgers))


def _as_now(ledger: Ledger, places: Places, kept: Hashes) -> Ledger:
    """Return the ledger of members who are kept, with their rows in today's order."""
    here = among(places.marks.column("owner").to_numpy(), kept)
    marks = places.marks.filter(pa.array(here))
    latest = ledger["owners"].column("latest")  # both are ordered by member
    return {**ledger, "owners": marks.append_column("latest", latest)}


def _fresh(
    setting: Setting, indexes: range, places: Places, owners: Hashes
) -> tuple[Outcome, Ledger | None, list[Made]]:
    """Check and map some members' rows."""
    loaded = setting.partitions.load_members(indexes, owners)
    made: list[Made] = []

    def take(plan: Plan, runs: list[Rendered], partition: Partition) -> None:
        made.append((plan, runs, partition))

    checked, found, by = work_through(
        loaded,
        setting.keys,
        setting.providers,
        setting.definitions,
        take,
        as_of=setting.as_of,
        sampled=of_members(setting.share, places.keys, places.owner),
        owners=owners_of(places, owners),
    )
    missing = by.missing()
    ledger = ledger_of(
        loaded, checked, found.unmapped, missing, by, setting.questions, setting.keys, places
    )
    outcome = Outcome(
        checked=replace(checked, tables={}, shares=None),
        unmapped=found.unmapped,
        resources=found.resources,
        missing=missing_of({"missing": missing}),
    )
    if not all(setting.questions.covers(partition) for _, _, partition in made):
        ledger = None  # what else was read of the directory might change unseen
    return outcome, ledger, made
