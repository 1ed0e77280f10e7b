"""Publish an extract as the release that readers see; a plan is that without the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from etl.certificate.certificate import state_to_bytes
from etl.errors import EtlError
from etl.mapping.plan import MappingSet
from etl.pipeline import progress
from etl.pipeline import publish as publishing
from etl.pipeline.certificate import STATE
from etl.pipeline.context import PartitionedExtract, RunContext, RunPolicy
from etl.pipeline.definitions import Definitions
from etl.pipeline.process import ProcessedExtract, keep_results, process
from etl.pipeline.publish import StagedRelease
from etl.pipeline.read import default_stamp, read_release
from etl.pipeline.release_limits import (
    input_verdicts,
    lost_columns_verdict,
    retraction_verdicts,
)
from etl.pipeline.reporting import report_files
from etl.pipeline.reporting import suites as suite_stage
from etl.pipeline.reporting.report_files import LimitBroken, RunResult, WrittenReport
from etl.pipeline.sidecar import pieces as sidecars
from etl.pipeline.sidecar.pieces import entries_of
from etl.pipeline.totals import published_money
from etl.publish.bulk import ParallelReading
from etl.publish.canonical_json import as_instant
from etl.publish.damaged_objects import damage_note
from etl.publish.kept_definitions import DEFINITIONS, definitions_note
from etl.publish.kept_objects import DICTIONARY, to_bytes
from etl.publish.manifest import Changes, Manifest, ReleaseFacts, id_facts
from etl.publish.reader import PreviousRelease, Release
from etl.publish.release import is_published
from etl.publish.run_reports import report_of
from etl.publish.target import RunStore
from etl.publish.writer import ReleaseWriter
from etl.quality.totals.by_member import NO_OWNERS
from etl.reports.changes import money_changes, news_since
from etl.reports.document import completeness, money_document
from etl.reports.must_support import must_support_json
from etl.reports.report_values import DefaultStamp, ReleaseBefore
from etl.reports.small_cells import shown_money
from etl.reports.summary import Rejected, rows_by_fate, rules_of
from etl.sources.extract.opening import Extract

if TYPE_CHECKING:
    from etl.pipeline.deltas.layers import Layer
    from etl.publish.network_changes import NetworkChanges
    from etl.reports.changes_page import ChangedSample, MovedElement

_OTHER_COMMIT_OBJECTS: Final = 5
"""About how many other objects a commit writes: lists, manifest, pointer."""


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The result of a plan: the release that a run would publish.

    Attributes:
        parent: ID of the release that it would follow; None before the first.
        processed: the extract, checked and mapped, with all limits; None if the same files are
            already published, so that the run would do nothing.
        manifest: the planned manifest, without bulk files and reports.
        changes: patients and resources that would be added, changed and retracted.
        money: see `RunResult`.
        rejected: what would be rejected, by first cause.
        refusal: why the run would stop; None if it would not.
        news: rules that newly find something, and newly unmapped words by crosswalk; None if the
            previous release's report is missing.
        must_support: must-support elements whose share of resources would change; None if the
            previous release's report is missing.
        samples: some changed resources, values masked.
        networks: networks and plans of a directory that would change; None for claims and before
            the first release.
        definitions: a sentence on the definitions that changed; empty if none did.
    """

    parent: str | None
    processed: ProcessedExtract | None
    manifest: Manifest | None
    changes: Changes
    money: Sequence[Mapping[str, Any]] | None
    rejected: Rejected
    refusal: EtlError | None = None
    news: tuple[Sequence[str], Sequence[Mapping[str, Any]]] | None = None
    must_support: Sequence[MovedElement] | None = None
    samples: Sequence[ChangedSample] = ()
    networks: NetworkChanges | None = None
    definitions: str = ""


def run(
    context: RunContext,
    previous: PreviousRelease,
    policy: RunPolicy,
    writer: ReleaseWriter,
    clock: Callable[[], datetime],
) -> RunResult:
    """Publish an extract; emits `Committed` when readers see the release.

    Args:
        context: of the run.
        previous: the release that the run builds on.
        policy: what the run may change, and what it keeps.
        writer: of the release, on top of the previous one.
        clock: returns the time, with its zone.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        LimitBroken: a limit does not hold; the report gives the reasons, readers see what they saw.
        CommitUnknown: the answer was lost; readers may see the release.
        StoreError: storage failed; readers see what they saw, unless `Committed` was emitted.
    """
    # Partition the rows; a run that goes on from an earlier attempt keeps its time.
    rows = read_release(context, previous, policy, writer)
    attempt = replace(context, when=rows.when)
    stamp = default_stamp(context.executor, rows.read, rows.when)
    # Process them, write the release, and decide whether it may be published: all limits are
    # checked at once, so that one look at the report is enough.
    release_before = _describe_previous(previous)
    processed = _process(attempt, previous, policy, rows.read, stamp, release_before)
    checked_release = _write(attempt, previous, policy, writer, processed, stamp)
    if not _is_within_limits(checked_release.processed):
        raise _report_broken_limit(
            attempt, policy, writer, checked_release.processed, stamp, release_before
        )
    results = suite_stage.known_results(writer.tree, processed.reusable.results)
    suite_stage.begin_due_suites(attempt, checked_release.processed, results)
    staged = _with_bulk(attempt, policy, writer, checked_release)
    attempt.executor.dismiss()
    # The report follows the directory and bulk files, because it counts their contents.
    if release_before is not None:
        release_before = replace(release_before, changes=staged.changes)
    facts = _report_facts(
        attempt, staged.processed, stamp, release_before, staged.manifest.release, staged
    )
    notes = (*_notes(attempt, previous, policy, staged), *rows.notes)
    facts = replace(facts, notes=tuple(filter(None, notes)))
    # Everything that the manifest names is stored before the commit makes it visible. A claim is
    # visible on the day of the commit: if that day begins only now, the report is written again.
    while facts.visible_day != (today := clock().astimezone(UTC).date()):
        facts = replace(facts, visible_day=today)
        reported = report_files.write_reports(attempt, staged.processed, facts, results)
        writer.forget_kept()
        _keep_objects(attempt, previous, writer, staged, reported, rows.layers, today)
    manifest = writer.commit(staged.manifest)
    context.emit(progress.Committed(manifest.release))
    previous_report = {} if release_before is None else release_before.document
    money = _money_changes(attempt, staged, previous_report)
    return RunResult(manifest.release, manifest, reported, staged.changes, money)


def _notes(
    context: RunContext, previous: PreviousRelease, policy: RunPolicy, staged: StagedRelease
) -> tuple[str, ...]:
    """Return the notes of a report about the release as a whole; some may be empty."""
    bulk, hashed_lines = policy.bulk, context.definitions.hashed_lines
    return (
        bulk.plan_finder.note(staged.manifest.bulk) if bulk is not None else "",
        publishing.clock_note(previous.release, context.when),
        publishing.backdated_note(staged.changes),
        definitions_note(previous.release, hashed_lines),
        damage_note(previous),
    )


def _keep_objects(
    context: RunContext,
    previous: PreviousRelease,
    writer: ReleaseWriter,
    staged: StagedRelease,
    reported: WrittenReport,
    layers: Sequence[Layer],
    visible_day: date,
) -> None:
    """Store the reports of a run, and what later runs reuse."""
    processed, definitions = staged.processed, context.definitions
    files = list(_report_entries(reported.folder, staged.manifest.release))
    steps = len(files) + len(processed.results.ledgers) + _OTHER_COMMIT_OBJECTS
    context.emit(progress.StageBegan("commit", steps))
    for key, path in files:
        writer.write_report(key, path.read_bytes())
    suites = suite_stage.write_results(writer.tree, reported.suites)
    keep_results(processed, writer, suites)
    if processed.certificate is not None:
        writer.keep(STATE, state_to_bytes(processed.certificate, visible_day))
    if layers:
        from etl.pipeline.deltas.layers import keep_layers

        keep_layers(writer, layers)
    _keep_sidecar(context, previous, writer, staged)
    writer.keep(DICTIONARY, definitions.dictionary)
    writer.keep(DEFINITIONS, to_bytes(definitions.hashed_lines))


def plan(
    context: RunContext, previous: PreviousRelease, policy: RunPolicy, writer: ReleaseWriter
) -> PlanResult:
    """Process an extract as a run would, writing nothing to the target.

    Args:
        context: of the run; its folder is the plan's own: what is in it never was written, so no
            run may go on from it.
        previous: the release that a run would build on.
        policy: as for a run, with an overlay over the target.
        writer: writes to the overlay.

    Raises:
        StoreError: the target cannot be read.
    """
    # A run does without these: it compares counts, a plan resources.
    from etl.publish.network_changes import network_changes
    from etl.reports.changes_page import changed_samples

    _require_trial(policy)
    if is_already_published(context, previous):
        return PlanResult(previous.id, None, None, Changes(), None, Rejected(0, 0, ()))
    rows = read_release(context, previous, policy, writer)
    stamp = default_stamp(context.executor, rows.read, context.when)
    staged = _write_trial(context, previous, policy, writer, rows.read, stamp)
    previous_report = None if previous.release is None else report_of(previous.release)
    networks: NetworkChanges | None = None
    samples: Sequence[ChangedSample] = ()
    if previous.release is not None:
        networks = network_changes(previous.release, staged.release)
        samples = changed_samples(previous.release, staged.release) if networks is None else ()
    return PlanResult(
        previous.id,
        staged.processed,
        staged.manifest,
        staged.changes,
        _money_changes(context, staged, {} if previous.release is None else previous_report),
        staged.processed.rejected,
        news=None if previous_report is None else _new_problems(previous_report, staged.processed),
        must_support=None if previous_report is None else _moved_elements(previous_report, staged),
        samples=samples,
        networks=networks,
        definitions=definitions_note(previous.release, context.definitions.hashed_lines),
    )


def _money_changes(
    context: RunContext, staged: StagedRelease, previous_report: Mapping[str, Any] | None
) -> list[dict[str, Any]] | None:
    """Return net sums before and now; None without a previous report."""
    if previous_report is None:
        return None
    tally, small_cells = staged.processed.totals.tally, context.options.small_cells
    shown_sums = shown_money(tally.money, small_cells)
    rules = _rule_results(staged.processed)
    current_report = {**money_document(tally.money, shown_sums, small_cells), "rules": rules}
    return money_changes(previous_report, current_report, staged.changes)


def _moved_elements(
    previous: Mapping[str, Any], staged: StagedRelease
) -> list[MovedElement] | None:
    """Return must-support elements whose share of resources would change."""
    from etl.reports.changes_page import moved_elements

    counts = {**staged.processed.totals.elements, **staged.elements}
    coverage = staged.processed.must_support(counts)
    return moved_elements(previous, {"must_support": must_support_json(coverage)})


def remake(
    context: RunContext, previous: PreviousRelease, policy: RunPolicy, writer: ReleaseWriter
) -> Release:
    """Rebuild a release from all its rows; return it without reports.

    Args:
        context: of the run that published it; its folder is this function's own.
        previous: the release that it followed.
        policy: as for a run, with an overlay over the target.
        writer: writes to the overlay.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        StoreError: the target cannot be read.
    """
    _require_trial(policy)
    rows = read_release(context, previous, policy, writer)
    stamp = default_stamp(context.executor, rows.read, rows.when)
    attempt = replace(context, when=rows.when)
    staged = _write_trial(attempt, previous, policy, writer, rows.read, stamp)
    return _with_bulk(context, policy, writer, staged).release


def _with_bulk(
    context: RunContext, policy: RunPolicy, writer: ReleaseWriter, staged: StagedRelease
) -> StagedRelease:
    """Write the bulk files of a release, if the run makes any."""
    if policy.bulk is None:
        return staged
    context.emit(progress.StageBegan("bulk"))
    reading = ParallelReading(
        context.executor,
        RunStore(policy.target.in_any_folder()),
        lambda count: context.emit(progress.StageExtended(count)),
        lambda count: context.emit(progress.StageAdvanced(count)),
        policy.reuses,
    )
    bulk = replace(policy.bulk, work=staged.processed.read.work)
    return replace(staged, release=writer.write_bulk(staged.release, bulk, reading))


def _new_problems(
    previous_report: Mapping[str, Any], processed: ProcessedExtract
) -> tuple[Sequence[str], Sequence[Mapping[str, Any]]]:
    """Return the findings that the previous release's report lacks."""
    unmapped = processed.totals.unmapped()
    return news_since(
        previous_report,
        {
            "rules": _rule_results(processed),
            "unmapped": [
                {"crosswalk": finding.crosswalk, "word": finding.word or None}
                for finding in unmapped
            ],
        },
    )


def _rule_results(processed: ProcessedExtract) -> list[dict[str, Any]]:
    return rules_of(processed.totals.tally.rules(processed.definitions.book))


def _require_trial(policy: RunPolicy) -> None:
    if not policy.target.is_trial:
        raise ValueError("what is written here must go to an overlay")


def _is_within_limits(processed: ProcessedExtract) -> bool:
    return all(verdict.holds for verdict in processed.verdicts)


def _report_broken_limit(
    context: RunContext,
    policy: RunPolicy,
    writer: ReleaseWriter,
    processed: ProcessedExtract,
    stamp: DefaultStamp,
    previous: ReleaseBefore | None,
) -> LimitBroken:
    """Write the report of a run that broke a limit; return its error."""
    parent = None if previous is None else previous.release
    run_id = report_files.run_id(context.when, processed.read, parent)
    report_facts = _report_facts(context, processed, stamp, previous, run_id)
    written_report = report_files.write_reports(context, processed, report_facts)
    for key, path in _report_entries(written_report.folder, run_id):
        writer.write_report(key, path.read_bytes())
    page = report_files.page_of(policy.target.name, run_id)
    return LimitBroken(processed, written_report.report, page)


def is_already_published(context: RunContext, previous: PreviousRelease) -> bool:
    """Return whether the current release is whole and has this extract, mapped the same way."""
    return not previous.lost_objects and is_published(
        previous, facts_of(context.extract, context.definitions)
    )


def _describe_previous(previous: PreviousRelease) -> ReleaseBefore | None:
    """Return the release that a run builds on, with its report if there is one."""
    if previous.release is None:
        return None
    return ReleaseBefore(str(previous.release.manifest.link[0]), None, report_of(previous.release))


def _process(
    context: RunContext,
    previous: PreviousRelease,
    policy: RunPolicy,
    rows: PartitionedExtract,
    stamp: DefaultStamp,
    release_before: ReleaseBefore | None,
) -> ProcessedExtract:
    """Check and map an extract and write its blocks; return it with the limits on its input."""
    output = publishing.BlockOutput(
        previous.id,
        as_instant(context.when),
        stamp.instant,
        tuple(sorted(previous.lost_objects.patients)),
    )
    is_reported = not policy.target.is_trial
    sample = suite_stage.sample_of(rows, context.options) if is_reported else None
    processed = process(context, rows, output, policy, previous, sample, is_reported=is_reported)
    facts = facts_of(context.extract, context.definitions, processed)
    verdicts = input_verdicts(policy.limits, previous.manifest, facts)
    if release_before is not None and release_before.document is not None:
        tally = processed.totals.tally
        earlier_columns = release_before.document["completeness"]
        columns = completeness(tally.filled, tally.counts, earlier_columns)
        files = _files_by_table(context.extract)
        verdicts.append(lost_columns_verdict(policy.limits.lost_columns, columns, files))
    return processed.with_verdicts(verdicts)


def _files_by_table(extract: Extract) -> dict[str, list[str]]:
    """Return the names of the files from which the rows of each canonical table come."""
    return {
        table.table: [file.title for file in extract.files if file.table == table.source]
        for table in extract.layout.tables
    }


def _write(
    context: RunContext,
    previous: PreviousRelease,
    policy: RunPolicy,
    writer: ReleaseWriter,
    processed: ProcessedExtract,
    stamp: DefaultStamp,
) -> StagedRelease:
    """Write a release's directory and catalog; check its retractions and certificate."""
    context.emit(progress.StageBegan("publish"))
    facts, run_time = facts_of(context.extract, context.definitions, processed), context.when
    staged = publishing.stage(
        processed, writer, facts, as_instant(run_time), stamp.instant, context.emit
    )
    verdicts = retraction_verdicts(policy.limits, previous.manifest, staged.manifest.counts)
    staged = replace(staged, processed=processed.with_verdicts(verdicts))
    if policy.target.is_trial:
        return staged
    return publishing.certified(staged, previous, policy.limits.certificate)


def _write_trial(
    context: RunContext,
    previous: PreviousRelease,
    policy: RunPolicy,
    writer: ReleaseWriter,
    rows: PartitionedExtract,
    stamp: DefaultStamp,
) -> StagedRelease:
    """Process an extract and write its release to an overlay, ignoring limits."""
    processed = _process(context, previous, policy, rows, stamp, _describe_previous(previous))
    return _write(context, previous, policy, writer, processed, stamp)


def _report_facts(
    context: RunContext,
    processed: ProcessedExtract,
    stamp: DefaultStamp,
    previous_release: ReleaseBefore | None,
    run_id: str,
    staged: StagedRelease | None = None,
) -> report_files.About:
    """Return the facts of a report; `staged` is None if nothing is published."""
    totals = processed.totals
    resources, elements = dict(totals.resources), totals.elements
    if staged is not None:
        resources |= staged.resources
        elements = {**elements, **staged.elements}
    return report_files.About(
        run=run_id,
        when=context.when,
        release=None if staged is None else run_id,
        parent=previous_release.release if previous_release is not None else None,
        resources=resources,
        elements=elements,
        quarantine=f"../../{report_files.QUARANTINE}/{run_id}",
        default_stamp=stamp,
        previous=previous_release,
        all_reports="../index.html",
    )


def _report_entries(folder: Path, run_id: str) -> Iterator[tuple[str, Path]]:
    for subfolder, prefix in (
        (report_files.REPORT, "reports"),
        (report_files.QUARANTINE, report_files.QUARANTINE),
    ):
        source = folder / subfolder
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield f"{prefix}/{run_id}/{path.relative_to(source).as_posix()}", path


def _keep_sidecar(
    context: RunContext, previous: PreviousRelease, writer: ReleaseWriter, staged: StagedRelease
) -> None:
    """Keep the sidecar, if the run made one."""
    processed = staged.processed
    if processed.sidecar is None or processed.directory_rows is None:
        return
    extract_id = sidecars.extract_mark(context.extract)
    entries = entries_of(
        processed.directory_rows,
        processed.directory,
        staged.directory,
        NO_OWNERS,
        extract_id,
        processed.directory_sources,
    )
    extract = sidecars.SidecarExtract.from_extract(context.extract, context.when)
    previous_sidecar = previous.read(sidecars.SIDECAR)
    sidecars.keep_sidecar(
        writer, processed.sidecar, entries, (extract_id, extract), previous_sidecar
    )


def _search_columns(mappings: MappingSet) -> dict[str, list[str]]:
    """Return the search columns of each resource type, for readers."""
    columns_by_type: dict[str, set[str]] = {}
    for plan in mappings.plans:
        columns_by_type.setdefault(plan.resource, set()).update(plan.search)
    return {name: sorted(columns) for name, columns in sorted(columns_by_type.items())}


def facts_of(
    extract: Extract, definitions: Definitions, processed: ProcessedExtract | None = None
) -> ReleaseFacts:
    """Return the manifest's facts about a run; rows and money once it is processed."""
    inputs: list[Mapping[str, Any]] = [
        {
            "name": file.stored,
            "sha256": file.sha256,
            "bytes": file.bytes,
            **({"table": asdict(file.origin)} if file.origin is not None else {}),
        }
        for file in (*extract.stored, *extract.queried)
    ]
    counts = processed.totals.tally.counts if processed is not None else {}
    # A tree without amounts states no sums of them either.
    totals, claims = published_money(
        processed.totals.tally.money
        if processed is not None and definitions.mappings.view.states_money
        else {}
    )
    return ReleaseFacts(
        kind=extract.kind,
        inputs=inputs,
        mapping={
            "set": definitions.mappings.name,
            "version": definitions.mappings.version,
            "view": definitions.mappings.view.name,
            "fingerprint": definitions.fingerprint,
            "layout": extract.layout.name,
            "search": _search_columns(definitions.mappings),
            **definitions.model.stated,
        },
        run=rows_by_fate(counts),
        totals=totals,
        ids=id_facts(definitions.payer, definitions.id_key),
        claims=claims,
    )
