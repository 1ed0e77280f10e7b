"""Process an extract: the directory, then all partitions; totals and limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.certificate.certificate import Certificate
from etl.columns.digests import NO_HASHES
from etl.columns.places import RowSources
from etl.engine.unmapped import Mention
from etl.pipeline.certificate import Certifying
from etl.pipeline.context import (
    Output,
    PartitionedExtract,
    Publication,
    RowOutput,
    RunContext,
    Task,
)
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental import cache
from etl.pipeline.incremental.dependencies import Dependencies, changed_names, directory_digests
from etl.pipeline.incremental.reuse import PreviousRelease
from etl.pipeline.partition.directory import (
    check_directory,
    mapped_directory,
    row_owners,
)
from etl.pipeline.partition.mapping import Mapped
from etl.pipeline.partition.providers import Providers, providers_of
from etl.pipeline.progress import PartitionDone, StageAdvanced, StageBegan
from etl.pipeline.rejection_advice import advice, empty_crosswalks, missing_cells
from etl.pipeline.sidecar import pieces as sidecars
from etl.pipeline.totals import Outcome, Totals
from etl.publish.kept_objects import ObjectRef, RangeRef
from etl.quality.check import Checked, check_totals
from etl.quality.totals.counts import reconcile
from etl.quality.totals.limits import Verdict, verdicts
from etl.reports.finding_places import FindingPlaces
from etl.reports.report_values import EmptyCrosswalk, MissingCells
from etl.reports.summary import Rejected, rejected
from etl.rows import findings_at
from etl.sources.partition.partitions import Loaded, Partitions

DAMAGED_OBJECT: Final = "damaged-object"
"""The rule about objects of the previous release that are missing or damaged."""


@dataclass(frozen=True, slots=True)
class ProcessedExtract:
    """An extract, checked and mapped.

    Attributes:
        read: what was read.
        definitions: rules and mappings.
        totals: sums over the directory and all partitions.
        providers: the directory's accepted rows.
        directory: the result of the rules for the directory's rows.
        verdicts: limits, and whether they hold.
        unowned: file -> rows that cannot be read and have no known owner.
        directory_files: name -> file of the work folder, of the directory's checked rows.
        files: of each unit, name -> file of the work folder (`executor.Done`).
        made: resources of an extract that is a directory; None where claims name more of them.
        results: what a next release may reuse.
        previous: what of the previous release was reused.
        certificate: the bytes compared with their rows; None before there are any.
        directory_rows: the directory's rows as they were read.
        sidecar: the pieces that name the members' rows; None where none are kept.
    """

    read: PartitionedExtract
    definitions: Definitions
    totals: Totals
    providers: Providers
    directory: Checked
    verdicts: tuple[Verdict, ...]
    unowned: Mapping[str, int]
    directory_files: Mapping[str, Path]
    files: tuple[Mapping[str, Path], ...]
    made: Mapped | None
    results: cache.CachedResults
    previous: PreviousRelease
    certificate: Certificate | None = None
    directory_rows: Loaded | None = None
    sidecar: sidecars.Sidecar | None = None

    @property
    def missing(self) -> frozenset[Mention]:
        """Directory resources that are referred to and have no row."""
        return frozenset(self.totals.missing)

    @property
    def directory_sources(self) -> RowSources:
        """The payer's rows behind those of the directory, where queries computed them."""
        partitions = self.read.partitions
        return partitions.row_sources(partitions.facts.count)

    def mapped_directory(self) -> Mapped:
        """Return the resources of the directory; those of claims are made of it now."""
        if self.made is not None:
            return self.made
        return mapped_directory(self.providers, self.missing, self.definitions)

    @property
    def missing_cells(self) -> tuple[MissingCells, ...]:
        """Cells that must be filled and are not."""
        return missing_cells(self.totals.tally, self.definitions)

    @property
    def empty_crosswalks(self) -> tuple[EmptyCrosswalk, ...]:
        """Crosswalks of the layout that are to be filled."""
        return empty_crosswalks(self.totals.tally, self.read.extract.layout)

    @property
    def rejected(self) -> Rejected:
        """Rejected rows by first cause, with advice and missing facts."""
        tally, book = self.totals.tally, self.definitions.book
        return rejected(
            tally.rules(book),
            tally.counts,
            advice(tally, book, self.read.extract),
            self.missing_cells,
            self.empty_crosswalks,
        )

    def with_verdicts(self, more: Sequence[Verdict]) -> ProcessedExtract:
        """Return this with the verdicts of further limits."""
        return replace(self, verdicts=(*self.verdicts, *more))


def process(
    context: RunContext,
    read: PartitionedExtract,
    output: Output | None = None,
    publication: Publication | None = None,
    row_output: RowOutput | None = None,
    *,
    is_reported: bool = False,
) -> ProcessedExtract:
    """Check and map every row of an extract.

    Args:
        context: of the run.
        read: the extract, cut by member; nothing of it is processed afterwards.
        output: writes the resources; None to make none.
        publication: where the run publishes; None where nothing is published.
        row_output: writes checked rows; None to write none.
        is_reported: whether a report is written, which needs every place of a finding and every
            rejected row.

    Raises:
        CountsDoNotAddUp: a row got lost (a bug).
        StoreError: the work folder has not the rows that were read.
    """
    definitions, rows = context.definitions, read.partitions
    totals = Totals(FindingPlaces(read.work / "findings") if is_reported else None)
    totals.add_findings(rows.facts.findings)
    if publication is not None and publication.base.lost:
        nowhere = pa.nulls(1)  # it is about no file of the extract
        totals.add_findings(findings_at(DAMAGED_OBJECT, "", nowhere, nowhere, None))
    # The directory comes first: rules and mappings of members' rows look up its accepted rows.
    context.emit(StageBegan("directory"))
    directory = rows.directory()
    decided, made = check_directory(directory, definitions, as_of=read.as_of)
    checked = check_totals(decided)
    if definitions.model.has_members:  # mapped again at the end, with all that claims name
        outcome = Outcome(checked, made.unmapped, resources={})
    else:
        outcome = Outcome(checked, made.unmapped, made.resources, made.elements)
    totals.add(outcome.with_sources(rows.row_sources(rows.facts.count)))
    providers = providers_of(checked.tables, definitions)
    directory_files = {}
    if row_output is not None:
        for name, pieces in row_output(decided, *row_owners(directory)).items():
            directory_files[name] = read.work / f"directory.{name}"
            with directory_files[name].open("wb") as file:
                file.writelines(pieces)
    context.emit(StageAdvanced(sum(directory.rows.values())))
    # Then the members, a unit at a time, in order, so that totals add up to the same bytes.
    has_members = definitions.model.has_members
    names = (NO_HASHES, NO_HASHES)
    if has_members:
        row_count = sum(rows.facts.row_counts.values()) - sum(directory.rows.values())
        context.emit(StageBegan("partitions", row_count))
        names = directory_digests(providers, Dependencies.of(definitions))
    now = cache.CachedResults([], rows.facts.count, read.as_of, names, None)
    previous = _previous(context, publication, read, now)
    task = Task(
        output,
        providers.tables,
        read.as_of,
        row_output,
        None if publication is None else publication.target,
        previous,
        keeps_rejected=is_reported,
        certifying=_certifying(context, publication, previous),
        sidecar=sidecars.extract_mark(read.extract)
        if _keeps_places(context, publication)
        else None,
    )
    kept_places: list[sidecars.SidecarPiece] = []
    ledgers: list[RangeRef] = []
    files: list[Mapping[str, Path]] = []
    seen = Counter(directory.rows)
    units = context.executor.process(read, task, definitions, context.emit)
    for done in units if has_members else ():
        unit, outcome = done.unit, done.outcome
        totals.add(outcome)
        seen.update(outcome.rows)
        files.append(done.files)
        if outcome.ledger is not None:
            ledgers.append(RangeRef.of(outcome.ledger, unit))
        kept_places += outcome.sidecar
        members = outcome.checked.counts["member"].published
        resources = sum(outcome.resources.values())
        context.emit(PartitionDone(unit.start, len(unit), members, resources, outcome.reused))
    # No total is used before it is checked that every row went into it, once.
    rows.facts.check_all_there(seen, read.work)
    tally = totals.tally
    reconcile(tally.counts, tally.causes.values())
    unowned = _unowned(rows, totals)
    return ProcessedExtract(
        read,
        definitions,
        totals,
        providers,
        checked,
        verdicts(definitions.book.limits, tally.counts, tally.findings_of, unowned),
        unowned,
        directory_files,
        tuple(files),
        None if has_members else made,
        replace(now, ledgers=ledgers),
        previous,
        directory_rows=directory,
        sidecar=None if task.sidecar is None else sidecars.Sidecar(rows.facts.count, kept_places),
    )


def _previous(
    context: RunContext,
    publication: Publication | None,
    read: PartitionedExtract,
    now: cache.CachedResults,
) -> PreviousRelease:
    """Return what may be reused; of a first run, nothing."""
    if publication is None or not publication.reuses:
        return PreviousRelease()
    base, results, sidecar = publication.base, None, None
    # Rows that belong to nothing may belong to any member, and are in no member's rows.
    if not read.partitions.facts.unowned:
        made = cache.made_by(read.partitions, context.definitions)
        results = cache.open_cache(publication.store, base, made)
    if results is not None and _keeps_places(context, publication):
        sidecar = sidecars.sidecar_before(base)
        if sidecar is None:  # the places of no member's rows are known
            results = None
    changed = NO_HASHES if results is None else changed_names(results.names, now.names)
    return PreviousRelease(results, changed, base.lost.patients, sidecar)


def _keeps_places(context: RunContext, publication: Publication | None) -> bool:
    return (
        publication is not None
        and publication.keep_places
        and not publication.keeps_layers(context.extract)
        and not publication.target.is_trial
        and context.definitions.model.has_members
    )


def _certifying(
    context: RunContext, publication: Publication | None, previous: PreviousRelease
) -> Certifying | None:
    """Return how blocks are compared with their rows; None where none can be read back."""
    has_members = context.definitions.model.has_members
    if publication is None or publication.target.is_trial or not has_members:
        return None
    release = publication.base.release
    parent = None if release is None else release.id
    return Certifying(
        context.definitions.mappings.view.states_money,
        context.definitions.leave_out_superseded,
        None if previous.results is None else parent,
        parent,
        context.when.astimezone(UTC).date().isoformat(),
    )


def write_results(
    processed: ProcessedExtract, publication: Publication, suites: ObjectRef | None
) -> list[ObjectRef]:
    """Write what the next run may reuse of this one; return what the manifest is to name.

    Args:
        processed: the extract, checked and mapped.
        publication: where to.
        suites: the object with results of the suites; None without.
    """
    made = cache.made_by(processed.read.partitions, processed.definitions)
    return cache.write_cache(publication.store, replace(processed.results, suites=suites), made)


def _unowned(partitions: Partitions, totals: Totals) -> dict[str, int]:
    """Return how many rows of each file have no known owner.

    Rows that cannot be read, and rows of claims and members that name none.
    """
    facts = partitions.facts
    files = (*facts.files, *facts.queried)
    left = {
        file.title: len(facts.unowned.get(file.name, ())) + totals.tally.unowned[file.index]
        for file in files
    }
    return {file: count for file, count in left.items() if count}
