"""One unit of work: some partitions, checked, mapped and written to the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import NO_HASHES, Hashes, among, filled, hash_ids
from etl.columns.places import place_keys
from etl.model.canonical_tables import KEYS
from etl.pipeline.certificate import CERTIFICATE_FILE, CertifiedRows, certified_rows, compare_unit
from etl.pipeline.context import REJECTED, Chunks, Task
from etl.pipeline.incremental.attribution import Attribution, owners_of
from etl.pipeline.incremental.cache import write_ledger
from etl.pipeline.incremental.dependencies import Dependencies, id_values
from etl.pipeline.incremental.ledger import Ledger, Places, joined, missing_of, no_ledger
from etl.pipeline.incremental.reuse import ComparedFacts, PreviousMembers, reused, unchanged
from etl.pipeline.partition.mapping import PartitionContext, PlanResources, check_and_map
from etl.pipeline.progress import Emit, UnitProgress, ignore
from etl.pipeline.sidecar.pieces import (
    SidecarUpdate,
    UnitSidecar,
    entries_of,
    owners_alone,
    with_owners,
)
from etl.pipeline.totals import Outcome
from etl.publish.partition_writer import CATALOG_ROWS
from etl.quality.check import Checked
from etl.rows import arrow_stream
from etl.sources.partition.ids import NO_KEYS, GlobalKeys, UnitIds
from etl.sources.partition.partitions import Loaded, Partitions
from etl.storage.port import Store

_MAPPED: Final = 0.5
_WRITTEN: Final = 0.8
"""Shares of the time of a unit after which its rows are mapped, and its files written."""


@dataclass(frozen=True, slots=True)
class UnitContext:
    """The context of a unit: the same for all units of a run.

    Attributes:
        partition: rules, mappings and the directory.
        dependencies: which columns refer to something outside a member's rows.
        task: the task of the run.
    """

    partition: PartitionContext
    dependencies: Dependencies
    task: Task


@dataclass(frozen=True, slots=True)
class UnitResult:
    """The result of one unit.

    Attributes:
        outcome: what it adds to the totals.
        files: name -> what the run keeps of it until its end.
    """

    outcome: Outcome
    files: Mapping[str, Chunks]


@dataclass(frozen=True, slots=True)
class _MemberResults:
    """A unit, checked and mapped.

    Attributes:
        outcome: of all members.
        made: resources of the members that were processed.
        kept: patients whose blocks stay as they are.
        ledger: the outcome by member.
        rows: name -> checked rows.
        certified: what the certificate compares with the blocks; None where it has no use.
        sidecar: what is kept of the places of rows; None where nothing is.
    """

    outcome: Outcome
    made: Sequence[PlanResources]
    kept: Sequence[str] = ()
    ledger: Ledger | None = None
    rows: Mapping[str, Chunks] = field(default_factory=dict)
    certified: CertifiedRows | None = None
    sidecar: SidecarUpdate | None = None


def process_unit(
    context: UnitContext,
    unit: range,
    rows: Partitions,
    keys: GlobalKeys,
    store: Store | None,
    emit: Emit = ignore,
) -> UnitResult | None:
    """Check and map the rows of a unit; pure but for what it reads and writes in the target.

    Args:
        context: rules, mappings, the directory, and the task.
        unit: the partitions.
        rows: their rows.
        keys: the ids of all partitions that rules may look up.
        store: the target; None where nothing is published.
        emit: takes `StageAdvanced`: the rows that are done so far, by estimate, and all in the end.

    Returns:
        None where there are several partitions, and more rows to process than one of them has:
        then nothing was done, and each is to be a unit of its own.
    """
    if store is None:
        processed = _all_members(context, unit, rows, keys)
    else:
        incremental = _incremental(context, unit, rows, keys, store)
        if incremental is None:
            return None
        processed = incremental
    progress, row_count = UnitProgress(emit), processed.outcome.row_count
    progress.reach(_MAPPED, row_count)
    sources, task = rows.row_sources(*unit), context.task
    outcome = processed.outcome.with_sources(sources)
    files: dict[str, Chunks] = {**processed.rows}
    if task.output is not None:
        files |= task.output(processed.made, processed.kept, store)
    progress.reach(_WRITTEN, row_count)
    if store is not None and task.certifying is not None and processed.certified is not None:
        catalog = [bytes(line) for line in files[CATALOG_ROWS]]
        compared = compare_unit(task.certifying, processed.certified, catalog, store, sources)
        files |= {CATALOG_ROWS: catalog, CERTIFICATE_FILE: [compared]}
    if task.keeps_rejected:
        files |= _rejected_rows(rows, unit, outcome.checked.rejected)
    # The ledger comes after the blocks: it must not name what is not there.
    if store is not None and processed.ledger is not None:
        outcome = replace(outcome, ledger=write_ledger(store, processed.ledger))
        if processed.sidecar is not None:
            outcome = replace(outcome, sidecar=processed.sidecar.write(store, unit))
        store.sync()
    progress.reach(1, row_count)
    return UnitResult(outcome, files)


def _all_members(
    context: UnitContext, unit: range, rows: Partitions, keys: GlobalKeys
) -> _MemberResults:
    """Process a unit of which nothing is kept for a next release."""
    (index,) = unit
    loaded = rows.load(index)
    decided, checked, made = check_and_map(context.partition, loaded, keys)
    providers = context.partition.providers
    missing = frozenset(mention for mention in made.mentioned if not providers.holds(mention))
    outcome = Outcome(
        checked=_without_tables(checked),
        unmapped=made.unmapped,
        resources=made.resources,
        elements=made.elements,
        missing=made.referred(missing, providers.environment),
        rows=loaded.rows,
    )
    row_output, written = context.task.row_output, dict[str, Chunks]()
    if row_output is not None:
        files, numbers, owners = rows.owners(index)
        written |= row_output(decided, place_keys(files, numbers), owners)
    return _MemberResults(outcome, made.made, rows=written)


def _incremental(
    context: UnitContext, unit: range, rows: Partitions, keys: GlobalKeys, store: Store
) -> _MemberResults | None:
    """Process a unit but for members with reusable results; a first run has none.

    Returns:
        None where several partitions have more rows to process than one of them.
    """
    task = context.task
    places = Places.of(rows, unit)
    before = task.previous.members(store, unit, rows.facts.count)
    canonical = rows.facts.layout.canonical
    now = ComparedFacts(places, keys, context.dependencies, context.partition.as_of, canonical)
    kept = unchanged(now, before)
    if before.sidecar is None:
        kept = NO_HASHES  # places that are lost are found again by processing the rows
    if task.row_output is not None:
        kept = kept[~task.row_output.selects(kept)]
    to_process = len(places.owner) - np.count_nonzero(among(places.owner, kept))
    if len(unit) > 1 and to_process * len(unit) > len(places.owner):
        return None
    processed = _members(context, unit, rows, now, before, kept)
    if processed is None:  # a member that is kept shares a patient with one that is not
        if len(unit) > 1:
            return None
        processed = _members(context, unit, rows, now, before, NO_HASHES)
    if processed is None:
        raise AssertionError("no member is kept, and yet one shares a patient with another")
    return processed


def _members(
    context: UnitContext,
    unit: range,
    rows: Partitions,
    now: ComparedFacts,
    before: PreviousMembers,
    kept: Hashes,
) -> _MemberResults | None:
    """Process a unit but for `kept`; None where those share a patient with others."""
    places, row_output = now.places, context.task.row_output
    old, old_ledger = reused(before, places, kept)
    total = {name: len(owners) for name, (owners, _) in places.owned.items()}
    patients = old_ledger["patients"]
    own = patients.filter(patients.column("own")).column("patient").to_pylist()
    fresh = np.setdiff1d(places.marks.column("owner").to_numpy(), kept)
    if not len(fresh):
        sidecar = _sidecar(context, before, places, owners_alone(fresh))
        whole = replace(old, rows=total)
        return _MemberResults(whole, (), own, joined([old_ledger]), sidecar=sidecar)
    loaded = rows.load_members(unit, fresh)
    attribution = Attribution(owners_of(places, fresh), places, context.partition.providers)
    decided, checked, made = check_and_map(
        context.partition, loaded, now.keys, attribution.owners, attribution
    )
    names = patients.column("patient").combine_chunks()
    for _, runs, _ in made.made:
        if any(pc.any(pc.is_in(run.compartments, value_set=names)).as_py() for run in runs):
            return None
    ledger = attribution.ledger(loaded, checked, made, now.dependencies, now.keys)
    outcome = Outcome(
        checked=_without_tables(checked),
        unmapped=made.unmapped,
        resources=made.resources,
        elements=made.elements,
        missing=missing_of(attribution.missing),
    )
    ledgers = [old_ledger] if ledger is None else [old_ledger, ledger]
    written = {} if row_output is None else row_output(decided, places.keys, places.owner)
    certified = None if context.task.certifying is None else certified_rows(loaded, checked)
    whole = replace(old + outcome, rows=total)
    sidecar = None
    if context.task.sidecar is not None:
        owners, extract = attribution.owners, context.task.sidecar
        entries = entries_of(loaded, checked, made.made, owners, extract, rows.row_sources(*unit))
        sidecar = _sidecar(context, before, places, with_owners(entries, fresh))
    return _MemberResults(whole, made.made, own, joined(ledgers), written, certified, sidecar)


def _sidecar(
    context: UnitContext, before: PreviousMembers, places: Places, fresh: pa.Table
) -> SidecarUpdate | None:
    if context.task.sidecar is None:
        return None
    present = places.marks.column("owner").to_numpy()
    return SidecarUpdate(before.sidecar or UnitSidecar(), fresh, present)


def _without_tables(checked: Checked) -> Checked:
    return replace(checked, tables={}, shares=None)


def _rejected_rows(
    rows: Partitions, unit: Iterable[int], rejected: pa.Table
) -> Iterator[tuple[str, Chunks]]:
    """Yield the rejected rows of a unit as they were, a file for each source file."""
    if not rejected.num_rows:
        return
    places = np.unique(place_keys(rejected.column("file"), rejected.column("row")))
    numbers = {file.name: file.index for file in rows.facts.files}
    parts: dict[str, list[pa.Table]] = {}
    for index in unit:
        for name, table in rows.raw_rows(index, places).items():
            parts.setdefault(f"{REJECTED}{numbers[name]:05d}", []).append(table)
    for name, tables in parts.items():
        yield name, [arrow_stream(*tables, compressed=True)]


def unit_ids(context: UnitContext, unit: range, rows: Partitions, store: Store | None) -> UnitIds:
    """Return the ids that `process_unit` may look up for a unit.

    Args:
        context: rules, mappings, and the task.
        unit: the partitions.
        rows: their rows; the keys are not looked at.
        store: the target; None where nothing is published.
    """
    if store is None:
        (index,) = unit
        return _ids(context, rows.load(index), no_ledger())
    # Of members whose rows are as they were, the ledger has the ids that they name.
    places, task = Places.of(rows, unit), context.task
    before = task.previous.members(store, unit, rows.facts.count)
    canonical = rows.facts.layout.canonical
    now = ComparedFacts(places, NO_KEYS, context.dependencies, context.partition.as_of, canonical)
    owners = np.setdiff1d(places.marks.column("owner").to_numpy(), unchanged(now, before))
    return _ids(context, rows.load_members(unit, owners), before.ledger)


def _ids(context: UnitContext, loaded: Loaded, ledger: Ledger) -> UnitIds:
    kinds = ledger["asked"].column("kind").cast(pa.string()).to_numpy(zero_copy_only=False)
    remembered = ledger["asked"].column("id").to_numpy()
    own, foreign = {}, {}
    for table, columns in context.dependencies.ids.items():
        own[table] = np.unique(_hashes(loaded.tables[table], table, KEYS[table]))
        # Rows of which only the ids are known are looked up like others, and are nobody's own.
        named = [
            _hashes(tables[name], name, column)
            for name, column in (*columns, (table, KEYS[table]))
            for tables in (loaded.tables, loaded.unread)
            if name in tables
        ]
        foreign[table] = np.setdiff1d(
            np.concatenate([remembered[kinds == table], *named]), own[table]
        )
    return UnitIds(own, foreign)


def _hashes(table: pa.Table, name: str, column: str) -> Hashes:
    values, _ = id_values(table, name, column)
    return hash_ids(values)[filled(values)]
