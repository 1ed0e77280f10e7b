"""Process an extract: the directory, then all partitions; totals and limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.certificate.certificate import Certificate
from etl.columns.digests import NO_HASHES
from etl.columns.places import RowSources
from etl.engine.element_counts import ElementCounts
from etl.engine.unmapped import Mention
from etl.mapping.coverage import PresentElements, ProfileCoverage, must_support_coverage
from etl.pipeline.certificate import Certifying
from etl.pipeline.context import (
    Output,
    PartitionedExtract,
    RowOutput,
    RunContext,
    RunPolicy,
    Task,
)
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental import cache
from etl.pipeline.incremental.dependencies import Dependencies, changed_names, directory_digests
from etl.pipeline.incremental.reuse import ReusableResults
from etl.pipeline.partition.directory import (
    check_directory,
    map_directory,
    row_owners,
)
from etl.pipeline.partition.mapping import Mapped
from etl.pipeline.partition.providers import Providers, providers_of
from etl.pipeline.progress import PartitionDone, StageAdvanced, StageBegan
from etl.pipeline.rejection_advice import advice, empty_crosswalks, missing_cells
from etl.pipeline.sidecar import pieces as sidecars
from etl.pipeline.totals import Outcome, Totals
from etl.publish.kept_objects import ObjectRef, RangeRef
from etl.publish.reader import FIRST_RELEASE, PreviousRelease
from etl.publish.writer import ReleaseWriter
from etl.quality.check import Checked, check_totals
from etl.quality.checks.members import differing_members
from etl.quality.totals.counts import reconcile
from etl.quality.totals.limits import Verdict, verdicts
from etl.reports.finding_places import FindingPlaces
from etl.reports.report_values import EmptyCrosswalk, MissingCells
from etl.reports.summary import Rejected, summarize_rejected
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
        files: of each unit, name -> file of the work folder (`context.TaskOutput`).
        own_directory: resources of a directory extract; None if claims name more of them.
        results: what a next release may reuse.
        reusable: what of the previous release was reused.
        certificate: the bytes compared with their rows; None before there are any.
        directory_rows: the directory's rows as they were read.
        sidecar: the pieces that name the members' rows; None if none are kept.
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
    own_directory: Mapped | None
    results: cache.CachedResults
    reusable: ReusableResults
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
        """Return the directory's resources; those of claims are rendered now."""
        if self.own_directory is not None:
            return self.own_directory
        return map_directory(self.providers, self.missing, self.definitions)

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
        return summarize_rejected(
            tally.rules(book),
            tally.counts,
            advice(tally, book, self.read.extract),
            self.missing_cells,
            self.empty_crosswalks,
        )

    def must_support(self, counts: ElementCounts) -> tuple[ProfileCoverage, ...]:
        """Return by profile how many resources have each must-support element.

        Args:
            counts: of all resources, those of the directory included.
        """
        definitions = self.definitions
        present: dict[str, PresentElements] = {}
        for plan in definitions.mappings.plans:
            if plan.profile in counts:
                resources, *elements = counts[plan.profile]
                ids = (element for element, _ in definitions.elements[plan.name])
                present[plan.profile] = PresentElements(
                    resources, dict(zip(ids, elements, strict=False))
                )
        return must_support_coverage(definitions.mappings.plans, definitions.columns, present)

    def with_verdicts(self, verdicts: Sequence[Verdict]) -> ProcessedExtract:
        """Return a copy with the verdicts of further limits."""
        return replace(self, verdicts=(*self.verdicts, *verdicts))


def process(
    context: RunContext,
    partitioned: PartitionedExtract,
    output: Output | None = None,
    policy: RunPolicy | None = None,
    previous_release: PreviousRelease = FIRST_RELEASE,
    row_output: RowOutput | None = None,
    *,
    is_reported: bool = False,
) -> ProcessedExtract:
    """Check and map every row of an extract.

    Args:
        context: of the run.
        partitioned: the extract, cut by member; nothing of it is processed afterwards.
        output: writes the resources; None to make none.
        policy: of a run that publishes; None if nothing is published.
        previous_release: the release that the run builds on.
        row_output: writes checked rows; None to write none.
        is_reported: whether a report is written, which needs every place of a finding and every
            rejected row.

    Raises:
        CountsDoNotAddUp: a row is missing from the totals (a bug).
        StoreError: the work folder lacks rows that were read.
    """
    definitions, rows = context.definitions, partitioned.partitions
    totals = Totals(FindingPlaces(partitioned.work / "findings") if is_reported else None)
    totals.add_findings(rows.facts.findings)
    if previous_release.lost_objects:
        no_position = pa.nulls(1)  # it is about no file of the extract
        totals.add_findings(findings_at(DAMAGED_OBJECT, "", no_position, no_position, None))
    # The directory comes first: rules and mappings of members' rows look up its accepted rows.
    context.emit(StageBegan("directory"))
    directory = rows.directory()
    decided_rows, mapped = check_directory(directory, definitions, as_of=partitioned.as_of)
    checked = check_totals(decided_rows)
    if definitions.model.has_members:  # mapped again at the end, with all that claims name
        outcome = Outcome(checked, mapped.unmapped, resources={})
    else:
        outcome = Outcome(checked, mapped.unmapped, mapped.resources, mapped.elements)
    totals.add(outcome.with_sources(rows.row_sources(rows.facts.count)))
    provider_directory = providers_of(checked.tables, definitions)
    directory_files = {}
    if row_output is not None:
        for name, chunks in row_output(decided_rows, *row_owners(directory)).items():
            directory_files[name] = partitioned.work / f"directory.{name}"
            with directory_files[name].open("wb") as file:
                file.writelines(chunks)
    context.emit(StageAdvanced(sum(directory.rows.values())))
    # Then the members, a unit at a time, in order, so that totals add up to the same bytes.
    has_members = definitions.model.has_members
    directory_hashes = (NO_HASHES, NO_HASHES)
    if has_members:
        row_count = sum(rows.facts.row_counts.values()) - sum(directory.rows.values())
        context.emit(StageBegan("partitions", row_count))
        directory_hashes = directory_digests(provider_directory, Dependencies.find(definitions))
    new_results = cache.CachedResults(
        [], rows.facts.count, partitioned.as_of, directory_hashes, None
    )
    reusable = _load_reusable_results(context, policy, previous_release, partitioned, new_results)
    task = Task(
        output,
        provider_directory.tables,
        partitioned.as_of,
        row_output,
        None if policy is None else policy.target,
        reusable,
        keeps_rejected=is_reported,
        certifying=_certificate_parameters(context, policy, previous_release, reusable),
        sidecar=sidecars.extract_mark(partitioned.extract)
        if _keeps_places(context, policy)
        else None,
    )
    sidecar_pieces: list[sidecars.SidecarPiece] = []
    members: list[pa.Table] = []
    ledgers: list[RangeRef] = []
    files: list[Mapping[str, Path]] = []
    row_counts = Counter(directory.rows)
    # Closed also when a listener interrupts the run: no task is left to write after it.
    with closing(context.executor.process(partitioned, task, definitions, context.emit)) as units:
        for task_output in units if has_members else ():
            unit, outcome = task_output.unit, task_output.outcome
            totals.add(outcome)
            members.append(outcome.members)
            row_counts.update(outcome.rows)
            files.append(task_output.files)
            if outcome.ledger is not None:
                ledgers.append(RangeRef.from_ref(outcome.ledger, unit))
            sidecar_pieces += outcome.sidecar
            member_count = outcome.checked.counts["member"].published
            resources = sum(outcome.resources.values())
            context.emit(
                PartitionDone(unit.start, len(unit), member_count, resources, outcome.reused)
            )
    if has_members:
        totals.add_findings(differing_members(members, definitions.book))
    # No total is used before it is checked that every row went into it, once.
    rows.facts.check_all_there(row_counts, partitioned.work)
    tally = totals.tally
    reconcile(tally.counts, tally.causes.values())
    unowned_rows = _count_unowned_rows(rows, totals)
    return ProcessedExtract(
        partitioned,
        definitions,
        totals,
        provider_directory,
        checked,
        verdicts(definitions.book.limits, tally.counts, tally.findings_of, unowned_rows),
        unowned_rows,
        directory_files,
        tuple(files),
        None if has_members else mapped,
        replace(new_results, ledgers=ledgers),
        reusable,
        directory_rows=directory,
        sidecar=None
        if task.sidecar is None
        else sidecars.Sidecar(rows.facts.count, sidecar_pieces),
    )


def _load_reusable_results(
    context: RunContext,
    policy: RunPolicy | None,
    previous: PreviousRelease,
    partitioned: PartitionedExtract,
    new_results: cache.CachedResults,
) -> ReusableResults:
    """Return the previous results that this run may reuse; none for a first run."""
    if policy is None or not policy.reuses:
        return ReusableResults()
    results, sidecar = None, None
    # An orphan row may belong to any member, so no member counts as unchanged.
    if not partitioned.partitions.facts.unowned:
        inputs = cache.results_key(partitioned.partitions, context.definitions)
        results = cache.open_cache(previous, inputs)
    if results is not None and _keeps_places(context, policy):
        sidecar = previous.read(sidecars.SIDECAR)
        if sidecar is None:  # the places of no member's rows are known
            results = None
    changed = NO_HASHES if results is None else changed_names(results.names, new_results.names)
    return ReusableResults(results, changed, previous.lost_objects.patients, sidecar)


def _keeps_places(context: RunContext, policy: RunPolicy | None) -> bool:
    """Return whether the release stores row positions in a sidecar."""
    return (
        policy is not None
        and policy.keep_places
        and not policy.keeps_layers(context.extract)
        and not policy.target.is_trial
        and context.definitions.model.has_members
    )


def _certificate_parameters(
    context: RunContext,
    policy: RunPolicy | None,
    previous: PreviousRelease,
    reusable: ReusableResults,
) -> Certifying | None:
    """Return how blocks are compared with their rows; None if nothing is published."""
    if policy is None or policy.target.is_trial:
        return None
    return Certifying(
        context.definitions.mappings.view.states_money,
        context.definitions.leave_out_superseded,
        None if reusable.results is None else previous.id,
        previous.id,
    )


def keep_results(
    processed: ProcessedExtract, writer: ReleaseWriter, suites: ObjectRef | None
) -> None:
    """Keep the results that the next run may reuse.

    Args:
        processed: the extract, checked and mapped.
        writer: of the release.
        suites: the object with results of the suites; None without.
    """
    inputs = cache.results_key(processed.read.partitions, processed.definitions)
    cache.keep_cache(writer, replace(processed.results, suites=suites), inputs)


def _count_unowned_rows(partitions: Partitions, totals: Totals) -> dict[str, int]:
    """Count the rows of each file that have no known owner.

    These are malformed rows, and rows of claims or members that name no owner.
    """
    facts = partitions.facts
    files = (*facts.files, *facts.queried)
    counts = {
        file.title: len(facts.unowned.get(file.name, ())) + totals.tally.unowned[file.index]
        for file in files
    }
    return {file: count for file, count in counts.items() if count}
