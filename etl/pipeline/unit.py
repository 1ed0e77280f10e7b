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
from etl.pipeline.incremental.ledger import Ledger, Places, merge_ledgers, missing_of, no_ledger
from etl.pipeline.incremental.reuse import (
    ComparedFacts,
    PreviousMembers,
    find_unchanged,
    reuse_results,
)
from etl.pipeline.partition.mapping import PartitionContext, PlanResources, check_and_map
from etl.pipeline.progress import Emit, UnitProgress, ignore
from etl.pipeline.sidecar.pieces import (
    SidecarUpdate,
    UnitSidecar,
    add_owners,
    empty_entries,
    entries_of,
)
from etl.pipeline.totals import Outcome
from etl.publish.partition_writer import CATALOG_ROWS
from etl.publish.reader import Tree
from etl.quality.check import Checked
from etl.quality.checks.members import member_hashes
from etl.rows import arrow_stream
from etl.sources.partition.ids import NO_KEYS, GlobalKeys, UnitIds
from etl.sources.partition.partitions import Loaded, Partitions

_MAPPED_SHARE: Final = 0.5
_WRITTEN_SHARE: Final = 0.8
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
    """The result of one task.

    Attributes:
        outcome: its contribution to the totals.
        files: name -> a file that the run keeps until its end.
    """

    outcome: Outcome
    files: Mapping[str, Chunks]


@dataclass(frozen=True, slots=True)
class _MemberResults:
    """The results of a task's members, checked and mapped.

    Attributes:
        outcome: the outcome of all members.
        resources: resources of the processed members.
        kept_patients: patients whose blocks are carried over.
        ledger: the outcome by member.
        rows: name -> checked rows.
        certified: rows for the certificate to compare with the blocks; None without a certificate.
        sidecar: the changes to the sidecar; None if no sidecar is kept.
    """

    outcome: Outcome
    resources: Sequence[PlanResources]
    kept_patients: Sequence[str] = ()
    ledger: Ledger | None = None
    rows: Mapping[str, Chunks] = field(default_factory=dict)
    certified: CertifiedRows | None = None
    sidecar: SidecarUpdate | None = None


def process_unit(
    context: UnitContext,
    unit: range,
    rows: Partitions,
    keys: GlobalKeys,
    tree: Tree | None,
    emit: Emit = ignore,
) -> UnitResult | None:
    """Check and map the rows of a task; write its resources to the target.

    Args:
        context: rules, mappings, the directory, and the task.
        unit: the partitions.
        rows: their rows.
        keys: the ids of all partitions that rules may look up.
        store: the target; None if nothing is published.
        emit: gets `StageAdvanced`: estimated rows that are done, and all rows at the end.

    Returns:
        None if the task has several partitions and too many rows to process together. Then nothing
        was done, and the caller runs each partition as its own task.
    """
    if tree is None:
        processed = _process_all_members(context, unit, rows, keys)
    else:
        incremental = _process_incrementally(context, unit, rows, keys, tree)
        if incremental is None:
            return None
        processed = incremental
    progress, row_count = UnitProgress(emit), processed.outcome.row_count
    progress.reach(_MAPPED_SHARE, row_count)
    sources, task = rows.row_sources(*unit), context.task
    hashes = member_hashes(rows.member_rows(unit), sources, context.partition.definitions.book)
    outcome = replace(processed.outcome.with_sources(sources), members=hashes)
    files: dict[str, Chunks] = {**processed.rows}
    if task.output is not None:
        files |= task.output(processed.resources, processed.kept_patients, tree)
    progress.reach(_WRITTEN_SHARE, row_count)
    if tree is not None and task.certifying is not None and processed.certified is not None:
        catalog = [bytes(line) for line in files[CATALOG_ROWS]]
        comparison = compare_unit(task.certifying, processed.certified, catalog, tree, sources)
        files |= {CATALOG_ROWS: catalog, CERTIFICATE_FILE: [comparison]}
    if task.keeps_rejected:
        files |= _write_rejected_rows(rows, unit, outcome.checked.rejected)
    # The ledger comes after the blocks: it must not name what is not there.
    if tree is not None and processed.ledger is not None:
        outcome = replace(outcome, ledger=write_ledger(tree, processed.ledger))
        if processed.sidecar is not None:
            outcome = replace(outcome, sidecar=processed.sidecar.write(tree, unit))
        tree.sync()
    progress.reach(1, row_count)
    return UnitResult(outcome, files)


def _process_all_members(
    context: UnitContext, unit: range, rows: Partitions, keys: GlobalKeys
) -> _MemberResults:
    """Process a task whose results no later release reuses."""
    (index,) = unit
    loaded = rows.load(index)
    decided, checked, mapped = check_and_map(context.partition, loaded, keys)
    providers = context.partition.providers
    missing = frozenset(mention for mention in mapped.mentioned if not providers.holds(mention))
    outcome = Outcome(
        checked=_drop_tables(checked),
        unmapped=mapped.unmapped,
        resources=mapped.resources,
        elements=mapped.elements,
        missing=mapped.referred(missing, providers.environment),
        rows=loaded.rows,
    )
    row_output, row_files = context.task.row_output, dict[str, Chunks]()
    if row_output is not None:
        files, numbers, owners = rows.owners(index)
        row_files |= row_output(decided, place_keys(files, numbers), owners)
    return _MemberResults(outcome, mapped.plan_resources, rows=row_files)


def _process_incrementally(
    context: UnitContext, unit: range, rows: Partitions, keys: GlobalKeys, tree: Tree
) -> _MemberResults | None:
    """Process the members of a task that have no reusable results.

    Returns:
        None if the task has several partitions and more rows to process than one of them has.
    """
    task = context.task
    positions = Places.from_partitions(rows, unit)
    previous = task.previous.members(tree, unit, rows.facts.count)
    canonical = rows.facts.layout.canonical
    current = ComparedFacts(
        positions, keys, context.dependencies, context.partition.as_of, canonical
    )
    unchanged = find_unchanged(current, previous)
    if previous.sidecar is None:
        unchanged = NO_HASHES  # places that are lost are found again by processing the rows
    if task.row_output is not None:
        unchanged = unchanged[~task.row_output.selects(unchanged)]
    to_process = len(positions.owner) - np.count_nonzero(among(positions.owner, unchanged))
    if len(unit) > 1 and to_process * len(unit) > len(positions.owner):
        return None
    processed = _process_members(context, unit, rows, current, previous, unchanged)
    if processed is None:  # a member that is kept shares a patient with one that is not
        if len(unit) > 1:
            return None
        processed = _process_members(context, unit, rows, current, previous, NO_HASHES)
    if processed is None:
        raise AssertionError("no member is kept, and yet one shares a patient with another")
    return processed


def _process_members(
    context: UnitContext,
    unit: range,
    rows: Partitions,
    current: ComparedFacts,
    previous: PreviousMembers,
    unchanged: Hashes,
) -> _MemberResults | None:
    """Process the changed members of a task, and reuse the results of the others.

    Returns None if an unchanged member shares a patient with a changed one.
    """
    positions, row_output = current.positions, context.task.row_output
    reused_outcome, reused_ledger = reuse_results(previous, positions, unchanged)
    row_counts = {name: len(owners) for name, (owners, _) in positions.owned.items()}
    patients = reused_ledger["patients"]
    kept_ids = patients.filter(patients.column("own")).column("patient").to_pylist()
    changed = np.setdiff1d(positions.marks.column("owner").to_numpy(), unchanged)
    if not len(changed):
        sidecar = _sidecar_update(context, previous, positions, empty_entries(changed))
        total = replace(reused_outcome, rows=row_counts)
        return _MemberResults(total, (), kept_ids, merge_ledgers([reused_ledger]), sidecar=sidecar)
    loaded = rows.load_members(unit, changed)
    attribution = Attribution(owners_of(positions, changed), positions, context.partition.providers)
    decided, checked, mapped = check_and_map(
        context.partition, loaded, current.keys, attribution.owners, attribution
    )
    reused_ids = patients.column("patient").combine_chunks()
    for _, runs, _ in mapped.plan_resources:
        if any(pc.any(pc.is_in(run.compartments, value_set=reused_ids)).as_py() for run in runs):
            return None
    ledger = attribution.ledger(loaded, checked, mapped, current.dependencies, current.keys)
    outcome = Outcome(
        checked=_drop_tables(checked),
        unmapped=mapped.unmapped,
        resources=mapped.resources,
        elements=mapped.elements,
        missing=missing_of(attribution.missing),
    )
    ledgers = [reused_ledger] if ledger is None else [reused_ledger, ledger]
    files = {} if row_output is None else row_output(decided, positions.keys, positions.owner)
    certified = None if context.task.certifying is None else certified_rows(loaded, checked)
    total = replace(reused_outcome + outcome, rows=row_counts)
    sidecar = None
    if context.task.sidecar is not None:
        owners, extract = attribution.owners, context.task.sidecar
        resources, sources = mapped.plan_resources, rows.row_sources(*unit)
        entries = entries_of(loaded, checked, resources, owners, extract, sources)
        sidecar = _sidecar_update(context, previous, positions, add_owners(entries, changed))
    return _MemberResults(
        total, mapped.plan_resources, kept_ids, merge_ledgers(ledgers), files, certified, sidecar
    )


def _sidecar_update(
    context: UnitContext, previous: PreviousMembers, positions: Places, new_entries: pa.Table
) -> SidecarUpdate | None:
    """Return the sidecar's changes for a task; None if no sidecar is kept."""
    if context.task.sidecar is None:
        return None
    present = positions.marks.column("owner").to_numpy()
    return SidecarUpdate(previous.sidecar or UnitSidecar(), new_entries, present)


def _drop_tables(checked: Checked) -> Checked:
    """Drop the tables: the totals need only counts and findings."""
    return replace(checked, tables={}, shares=None)


def _write_rejected_rows(
    rows: Partitions, unit: Iterable[int], rejected: pa.Table
) -> Iterator[tuple[str, Chunks]]:
    """Yield the rejected rows of a task unchanged, one file per source file."""
    if not rejected.num_rows:
        return
    rejected_positions = np.unique(place_keys(rejected.column("file"), rejected.column("row")))
    file_numbers = {file.name: file.index for file in rows.facts.files}
    tables_by_file: dict[str, list[pa.Table]] = {}
    for index in unit:
        for name, table in rows.raw_rows(index, rejected_positions).items():
            tables_by_file.setdefault(f"{REJECTED}{file_numbers[name]:05d}", []).append(table)
    for name, tables in tables_by_file.items():
        yield name, [arrow_stream(*tables, compressed=True)]


def unit_ids(context: UnitContext, unit: range, rows: Partitions, tree: Tree | None) -> UnitIds:
    """Return the ids that `process_unit` may look up for a unit.

    Args:
        context: rules, mappings, and the task.
        unit: the partitions.
        rows: their rows; the keys are not looked at.
        store: the target; None if nothing is published.
    """
    if tree is None:
        (index,) = unit
        return _collect_ids(context, rows.load(index), no_ledger())
    # The ledger already has the ids that unchanged members mention.
    positions, task = Places.from_partitions(rows, unit), context.task
    previous = task.previous.members(tree, unit, rows.facts.count)
    canonical = rows.facts.layout.canonical
    current = ComparedFacts(
        positions, NO_KEYS, context.dependencies, context.partition.as_of, canonical
    )
    changed = np.setdiff1d(
        positions.marks.column("owner").to_numpy(), find_unchanged(current, previous)
    )
    return _collect_ids(context, rows.load_members(unit, changed), previous.ledger)


def _collect_ids(context: UnitContext, loaded: Loaded, ledger: Ledger) -> UnitIds:
    """Return the ids that the rows define, and the ids that they look up."""
    tables_asked = ledger["asked"].column("kind").cast(pa.string()).to_numpy(zero_copy_only=False)
    ledger_ids = ledger["asked"].column("id").to_numpy()
    own_ids, foreign_ids = {}, {}
    for table, columns in context.dependencies.ids.items():
        own_ids[table] = np.unique(_hash_column(loaded.tables[table], table, KEYS[table]))
        # Rows known only by id are looked up like others, but define no id.
        mentioned_ids = [
            _hash_column(tables[name], name, column)
            for name, column in (*columns, (table, KEYS[table]))
            for tables in (loaded.tables, loaded.unread)
            if name in tables
        ]
        foreign_ids[table] = np.setdiff1d(
            np.concatenate([ledger_ids[tables_asked == table], *mentioned_ids]), own_ids[table]
        )
    return UnitIds(own_ids, foreign_ids)


def _hash_column(table: pa.Table, name: str, column: str) -> Hashes:
    """Return the hashes of the filled cells of an id column."""
    values, _ = id_values(table, name, column)
    return hash_ids(values)[filled(values)]
