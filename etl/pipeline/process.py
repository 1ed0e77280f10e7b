"""What every use case does: read, check the directory, work on all partitions, sum up, judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes
from etl.columns.places import place_keys
from etl.engine.unmapped import Mention
from etl.pipeline.advice import advice
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import Emit, PartitionDone, StageBegan
from etl.pipeline.executor import OpenSink, Remember, Task, outcomes, save_providers
from etl.pipeline.incremental.cache import Memory, Remembered, keep_memory, made_by, recall
from etl.pipeline.incremental.dependencies import Questions, changed_names, directory_digests
from etl.pipeline.partition.check_and_map import Outcome
from etl.pipeline.partition.directory import settled_directory
from etl.pipeline.partition.providers import Providers, providers_of
from etl.pipeline.read import Read
from etl.pipeline.suites import of_directory
from etl.pipeline.totals import Totals
from etl.pipeline.workers import Workers
from etl.publish.manifest import Named
from etl.publish.reader import Current
from etl.quality import Checked, Verdict, reconcile, verdicts
from etl.quality.suites.expectations import SuiteResult
from etl.quality.suites.rows import SuiteRows
from etl.reports import FindingPlaces, Rejected, rejected
from etl.sources import Partitions
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class Settled:
    """An extract, worked through.

    Attributes:
        read: what was read.
        totals: sums over the directory and all partitions.
        providers: the directory's accepted rows.
        directory: what became of the directory's rows.
        verdicts: limits, and whether they hold.
        unowned: file -> rows that cannot be read and belong to nothing that could be told.
        parts: numbers under which sinks of members were opened.
        ledgers: what is to be remembered of each partition; empty where nothing is.
        names: what the directory holds (`directory_digests`).
        memory: what the release before remembers; None where that is of no use.
    """

    read: Read
    totals: Totals
    providers: Providers
    directory: Checked
    verdicts: tuple[Verdict, ...]
    unowned: Mapping[str, int]
    parts: tuple[int, ...]
    ledgers: tuple[Remembered, ...] = ()
    names: tuple[Hashes, Hashes] = (NO_HASHES, NO_HASHES)
    memory: Memory | None = None

    @property
    def missing(self) -> frozenset[Mention]:
        """Directory resources that are referred to and have no row."""
        return frozenset(self.totals.missing)

    def rejected(self, definitions: Definitions) -> Rejected:
        """Return what was rejected, by first cause, and what to do about it."""
        tally, extract = self.totals.tally, self.read.extract
        return rejected(
            tally.rules(definitions.book), tally.counts, advice(tally, definitions.book, extract)
        )

    def judged(self, more: Sequence[Verdict]) -> Settled:
        """Return this with the verdicts of further limits."""
        return replace(self, verdicts=(*self.verdicts, *more))


def settle(
    read: Read,
    definitions: Definitions,
    workers: Workers,
    open_sink: OpenSink | None,
    *,
    suite_rows: SuiteRows | None,
    emit: Emit,
    tree: Tree | None = None,
    is_reported: bool = False,
) -> Settled:
    """Check and map every row of an extract.

    Args:
        read: the extract, cut by member.
        definitions: rules and mappings.
        workers: where the work is done; nothing is after it.
        open_sink: opens what takes a partition's resources; None to make none.
        suite_rows: takes rows for the suites; None to keep none.
        emit: takes events.
        tree: where what is remembered is kept; None where nothing is published.
        is_reported: whether a report is written, which wants every place of a finding.

    Raises:
        CountsDoNotAddUp: a row got lost (a bug).
        StoreError: the work folder has not the rows that were read.
    """
    totals = Totals(suite_rows, FindingPlaces(read.work / "findings") if is_reported else None)
    totals.add_findings(read.partitions.findings)
    emit(StageBegan("directory"))
    count = read.partitions.count
    share = None if suite_rows is None else suite_rows.share
    directory = read.partitions.directory()
    checked = settled_directory(
        directory, definitions, as_of=read.as_of, sampled=of_directory(share, directory)
    )
    providers = providers_of(checked.tables, definitions)
    save_providers(read.work, providers)
    totals.add([count], Outcome(checked=checked, unmapped={}, resources={}))
    emit(StageBegan("partitions", count))
    names = directory_digests(providers, Questions.of(definitions))
    remember = None if tree is None else _remember(tree, read, definitions, names)
    task = Task(read.work, open_sink, read.as_of, share, remember)
    ledgers: list[Remembered] = []
    parts: list[int] = []
    rows = Counter(directory.rows)
    for unit, outcome in outcomes(task, definitions, count, workers):
        totals.add(unit, outcome)
        rows.update(outcome.rows)
        parts.append(unit.start)
        if outcome.memory is not None:
            ledgers.append(Remembered(unit.start, unit.stop, outcome.memory))
        members = outcome.checked.counts["member"].published
        resources = sum(outcome.resources.values())
        emit(PartitionDone(unit.start, len(unit), members, resources, outcome.remembered))
    workers.dismiss()
    read.partitions.check_all_there(rows)
    tally = totals.tally
    reconcile(tally.counts, tally.causes.values())
    unowned = _unowned(read.partitions, totals)
    judged = verdicts(definitions.book.limits, tally.counts, tally.findings_of, unowned)
    return Settled(
        read,
        totals,
        providers,
        checked,
        judged,
        unowned,
        tuple(parts),
        tuple(ledgers),
        names,
        None if remember is None else remember.memory,
    )


def _unowned(partitions: Partitions, totals: Totals) -> dict[str, int]:
    """Return how many rows of each file belong to nothing that is known.

    Rows that cannot be read, and rows of claims and members that name none.
    """
    left = {}
    for file in partitions.files:
        rows = np.array(partitions.unowned.get(file.name, ()), dtype=np.int64)
        places = place_keys(np.full(len(rows), file.index), rows).tolist()
        unread = sum(place not in totals.owned for place in places)
        left[file.name] = unread + totals.tally.unowned[file.index]
    return {file: count for file, count in left.items() if count}


@dataclass(frozen=True, slots=True)
class Tree:
    """Where a run publishes.

    Attributes:
        open_store: opens the target; can be sent to another process.
        base: what readers see now.
    """

    open_store: Callable[[], Store]
    base: Current


def _remember(
    tree: Tree, read: Read, definitions: Definitions, names: tuple[Hashes, Hashes]
) -> Remember:
    memory = recall(tree.open_store(), tree.base, made_by(read, definitions))
    if read.partitions.unowned:
        memory = None  # what everybody's outcome hangs on, and in no member's rows
    changed = NO_HASHES if memory is None else changed_names(memory.names, names)
    return Remember(tree.open_store, memory, changed, tree.base.lost.patients)


def keep_remembered(
    store: Store, settled: Settled, definitions: Definitions, suites: Sequence[SuiteResult]
) -> list[Named]:
    """Write what the next run is to remember of this one; return what the manifest is to name."""
    made = made_by(settled.read, definitions)
    count = settled.read.partitions.count
    return keep_memory(
        store, settled.ledgers, count, made, settled.read.as_of, settled.names, suites
    )


def stamp(when: str) -> str:
    """Return a FHIR instant for a day or an instant."""
    return when if "T" in when else f"{when}T00:00:00Z"


def instants(column: pa.StringArray, otherwise: str) -> pa.StringArray:
    """Return the stamps of resources, `otherwise` where the source states none."""
    return column.fill_null(otherwise)
