"""Publish an extract as the release that readers see; a plan is that without the commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from etl.errors import EtlError, if_interrupted
from etl.mapping.library import MappingSet
from etl.pipeline import progress
from etl.pipeline import publish as publishing
from etl.pipeline import report as report_files
from etl.pipeline import suites as suite_stage
from etl.pipeline.certificate import write_state
from etl.pipeline.context import Publication, RunContext
from etl.pipeline.definitions import Definitions
from etl.pipeline.deltas.layers import keep_layers
from etl.pipeline.executor import PartitionedExtract, RunStore
from etl.pipeline.process import ProcessedExtract, process, write_results
from etl.pipeline.read import default_stamp, read_release
from etl.pipeline.release_limits import input_verdicts, retraction_verdicts
from etl.pipeline.sidecar import pieces as sidecars
from etl.pipeline.sidecar.pieces import entries_of
from etl.pipeline.totals import counted_coverage, published_money
from etl.publish.bulk import ParallelReading, with_bulk
from etl.publish.bulk_pages import write_pages
from etl.publish.canonical_json import as_instant
from etl.publish.damaged_objects import damage_note
from etl.publish.kept_objects import ObjectRef
from etl.publish.manifest import Changes, Manifest, ReleaseFacts, id_facts
from etl.publish.network_changes import NetworkChanges, network_changes
from etl.publish.reader import Current, Release
from etl.publish.release import is_published, put_named
from etl.quality.totals.by_member import NOBODY
from etl.reports.changes import money_changes, news_since
from etl.reports.changes_page import ChangedSample, MovedElement, changed_samples, moved_elements
from etl.reports.document import money_document
from etl.reports.earlier_reports import release_before, report_of, write_nights_page
from etl.reports.must_support import must_support_json
from etl.reports.report_values import DefaultStamp, ReleaseBefore
from etl.reports.small_cells import shown_money
from etl.reports.summary import Rejected, rows_by_fate, rules_of
from etl.sources import Extract
from etl.storage.port import Store
from etl.storage.wrappers import ObservedStore

_OTHER_OBJECTS: Final = 6
"""About how many objects a commit writes beside reports and ledgers: lists, manifest, pages."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        release: id of the release that readers see.
        published: the release; None where the same was published before.
        reported: the report; None where the same was published before.
        changes: members and resources that it added, changed and retracted.
        money: net sums before and now, as `etl.reports.changes.money_changes` has them; None if the
            report of the release before is missing.
    """

    release: str
    published: publishing.PublishedRelease | None
    reported: report_files.WrittenReport | None
    changes: Changes = field(default_factory=Changes)
    money: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The result of a plan: the release that a run would publish.

    Attributes:
        parent: id of the release that it would follow; None before the first.
        processed: the extract, checked and mapped, with all limits; None where the same was
            published already, and the run would do nothing.
        manifest: what would be published; its bulk files and reports are not in it.
        changes: patients and resources that would be added, changed and retracted.
        money: as of `RunResult`.
        rejected: what would be rejected, by first cause.
        refusal: why the run would stop all the same; None where it would not.
        news: rules that newly find something, and newly unmapped words by crosswalk; None where
            the report of the release before is not there.
        must_support: must-support elements of which another share of resources has them; None
            likewise.
        samples: some changed resources, values masked.
        networks: networks and plans of a directory that would change; None of claims, and before
            the first release.
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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A release that is written but for its reports, and that readers do not see yet.

    Attributes:
        processed: the extract, checked and mapped, with all limits.
        staged: the release.
        facts: what its manifest states of the run.
    """

    processed: ProcessedExtract
    staged: publishing.StagedRelease
    facts: ReleaseFacts

    @property
    def changes(self) -> Changes:
        return Changes.from_json(self.staged.manifest.counts["changes"])

    def money(
        self, context: RunContext, before: Mapping[str, Any] | None
    ) -> list[dict[str, Any]] | None:
        """Return net sums before and now; None if there is no report of the release before."""
        if before is None:
            return None
        tally, small_cells = self.processed.totals.tally, context.options.small_cells
        shown = shown_money(tally.money, small_cells)
        rules = _rules(self.processed)
        now = {**money_document(tally.money, shown, small_cells), "rules": rules}
        return money_changes(before, now, self.changes)


def run(context: RunContext, publication: Publication) -> RunResult:
    """Publish an extract.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        LimitBroken: a limit does not hold; the report gives the reasons, readers see what they saw.
        StoreError: storage failed; readers see what they saw.
    """
    publication = _observed(publication, context.emit)
    store, base, bulk = publication.store, publication.base, publication.bulk
    facts = facts_of(context.extract, context.definitions)
    # The same files again: an earlier attempt's last steps are made up for, and no more.
    if base.release is not None and not base.lost and is_published(base, facts):
        if bulk is not None:
            write_pages(store, bulk)  # an attempt that died after its commit did not get there
        store.sync()  # nor may it have got its pointer to the disk
        write_nights_page(store, unless_named=base.release.id)
        return RunResult(base.release.id, None, None)
    # Read, process and write blocks; a limit that does not hold ends the run with its report.
    rows = read_release(context, publication)
    context = replace(context, when=rows.when)
    if rows.layers:  # they name the rows' places themselves
        publication = replace(publication, keep_places=False)
    unstated = default_stamp(context.executor, rows.read, rows.when)
    # Limits on what came in are checked before the release is written, the others right after.
    processed, facts = _process(context, publication, rows.read, unstated.instant)
    if not _holds(processed):
        raise _stop(context, publication, rows.read, processed, unstated)
    prepared = _write(context, publication, processed, facts, unstated.instant)
    if not _holds(prepared.processed):
        raise _stop(context, publication, rows.read, prepared.processed, unstated)
    staged, processed = prepared.staged, prepared.processed
    known = suite_stage.known_results(store, processed.previous.results)
    suite_stage.begin_due_suites(context, processed, known)
    if bulk is not None:
        context.emit(progress.StageBegan("bulk"))
        manifest = _with_bulk(context, publication, staged.manifest, rows.read.work)
        staged = replace(staged, manifest=manifest)
    context.executor.dismiss()
    # The report follows the directory and bulk files: it counts what they hold.
    release = staged.manifest.release
    before = release_before(base, prepared.changes)
    about = _about(context, processed, unstated, before, release, staged)
    notes = (
        bulk.plan_finder.note(staged.manifest.bulk) if bulk is not None else "",
        publishing.clock_note(base.release, context.when),
        damage_note(publication.base),
        *rows.notes,
    )
    about = replace(about, notes=tuple(filter(None, notes)))
    reported = report_files.write_reports(context, processed, about, known)
    # All that the manifest names is in the store before the commit makes it the present release.
    files = sum(1 for _ in _files(reported.folder, release))
    context.emit(
        progress.StageBegan("commit", files + len(processed.results.ledgers) + _OTHER_OBJECTS)
    )
    named, base = _store_reports(store, reported, release, base)
    named += staged.manifest.facts.reports
    named += write_results(processed, publication, suite_stage.keep_results(store, reported.suites))
    if processed.certificate is not None:
        named.append(write_state(store, processed.certificate))
    if rows.layers:
        named += keep_layers(store, rows.layers)
    named += _kept_places(context, publication, prepared)
    uncertain = (
        f"release {release} was being published: `cpcds releases {store.name}` shows whether "
        "readers see it, and running the same again finishes it"
    )
    with if_interrupted(uncertain):
        published = publishing.publish(staged, named, replace(publication, base=base))
        if bulk is not None:
            write_pages(store, bulk)
    write_nights_page(store)
    earlier = {} if before is None else before.document
    money = prepared.money(context, earlier)
    return RunResult(release, published, reported, prepared.changes, money)


def _observed(publication: Publication, emit: progress.Emit) -> Publication:
    """Return the publication with a store that reports what this process writes."""
    store = ObservedStore(publication.store, lambda: emit(progress.ObjectWritten()))
    return replace(publication, store=store)


def plan(context: RunContext, publication: Publication) -> PlanResult:
    """Process an extract as a run would, writing nothing to the target.

    Args:
        context: of the run; its folder is the plan's own: what is in it never was written, so no
            run may go on from it.
        publication: as for a run, with an overlay over the target.

    Raises:
        StoreError: the target cannot be read.
    """
    _require_trial(publication)
    base = publication.base
    parent = base.release.id if base.release is not None else None
    if is_published(base, facts_of(context.extract, context.definitions)):
        return PlanResult(parent, None, None, Changes(), None, Rejected(0, 0, ()))
    rows = read_release(context, publication)
    stamp = default_stamp(context.executor, rows.read, context.when).instant
    prepared = _write_trial(context, publication, rows.read, stamp)
    before = None if base.release is None else report_of(base.release)
    planned = Release(publication.store, prepared.staged.manifest)
    networks, samples = None, list[ChangedSample]()
    if base.release is not None and context.definitions.model.has_members:
        samples = changed_samples(base.release, planned)
    elif base.release is not None:
        networks = network_changes(base.release, planned)
    return PlanResult(
        parent,
        prepared.processed,
        prepared.staged.manifest,
        prepared.changes,
        prepared.money(context, {} if base.release is None else before),
        prepared.processed.rejected,
        news=None if before is None else _news(before, prepared.processed),
        must_support=None if before is None else _moved(before, prepared),
        samples=samples,
        networks=networks,
    )


def _moved(before: Mapping[str, Any], prepared: _Prepared) -> list[MovedElement] | None:
    """Return the must-support elements that another share of resources would have."""
    counts = {**prepared.processed.totals.elements, **prepared.staged.elements}
    covered = counted_coverage(prepared.processed.definitions, counts)
    return moved_elements(before, {"must_support": must_support_json(covered)})


def remake(context: RunContext, publication: Publication) -> Manifest:
    """Make a release again, of all its rows, and return its manifest, without reports.

    Args:
        context: of the run that published it; its folder is this function's own.
        publication: the release that it followed, and a target that is written elsewhere.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        StoreError: the target cannot be read.
    """
    _require_trial(publication)
    rows = read_release(context, publication)
    stamp = default_stamp(context.executor, rows.read, rows.when).instant
    trial = replace(context, when=rows.when)
    staged = _write_trial(trial, publication, rows.read, stamp).staged
    return _with_bulk(context, publication, staged.manifest, rows.read.work)


def _with_bulk(
    context: RunContext, publication: Publication, manifest: Manifest, work: Path
) -> Manifest:
    if publication.bulk is None:
        return manifest
    reading = ParallelReading(
        context.executor,
        RunStore(publication.target),
        lambda count: context.emit(progress.StageExtended(count)),
        lambda count: context.emit(progress.StageAdvanced(count)),
        publication.reuses,
    )
    bulk = replace(publication.bulk, work=work)
    return with_bulk(publication.store, publication.base, manifest, bulk, reading)


def _news(
    before: Mapping[str, Any], processed: ProcessedExtract
) -> tuple[Sequence[str], Sequence[Mapping[str, Any]]]:
    """Return what a plan finds that the release before did not have, by its report."""
    unmapped = processed.totals.unmapped()
    return news_since(
        before,
        {
            "rules": _rules(processed),
            "unmapped": [
                {"crosswalk": each.crosswalk, "word": each.word or None} for each in unmapped
            ],
        },
    )


def _rules(processed: ProcessedExtract) -> list[dict[str, Any]]:
    return rules_of(processed.totals.tally.rules(processed.definitions.book))


def _require_trial(publication: Publication) -> None:
    if not publication.target.is_trial:
        raise ValueError("what is written here must go to an overlay")


def _holds(processed: ProcessedExtract) -> bool:
    return all(verdict.holds for verdict in processed.verdicts)


def _stop(
    context: RunContext,
    publication: Publication,
    read: PartitionedExtract,
    processed: ProcessedExtract,
    unstated: DefaultStamp,
) -> report_files.LimitBroken:
    """Write the report of a run that a limit stops, and return the error that ends it."""
    own = report_files.run_id(context.when, read)
    base = publication.base
    about = _about(context, processed, unstated, release_before(base, None), own)
    reported = report_files.write_reports(context, processed, about)
    _store_reports(publication.store, reported, own, base)
    write_nights_page(publication.store)
    return report_files.LimitBroken(
        processed, reported.report, report_files.page_of(publication.target.name, own)
    )


def _process(
    context: RunContext, publication: Publication, read: PartitionedExtract, stamp: str
) -> tuple[ProcessedExtract, ReleaseFacts]:
    """Check and map an extract and write its blocks; return it with the limits on its input."""
    base = publication.base
    output = publishing.BlockOutput(
        None if base.release is None else base.release.id,
        as_instant(context.when),
        stamp,
        tuple(sorted(base.lost.patients)),
    )
    reported = not publication.target.is_trial
    sample = suite_stage.sample_of(read, context.options) if reported else None
    processed = process(context, read, output, publication, sample, is_reported=reported)
    facts = facts_of(context.extract, context.definitions, processed)
    parent = None if base.release is None else base.release.manifest
    return processed.with_verdicts(input_verdicts(publication.limits, parent, facts)), facts


def _write(
    context: RunContext,
    publication: Publication,
    processed: ProcessedExtract,
    facts: ReleaseFacts,
    stamp: str,
) -> _Prepared:
    """Write directory and catalog of a release; check what it retracts, and its certificate."""
    base, now = publication.base, as_instant(context.when)
    parent = None if base.release is None else base.release.manifest
    context.emit(progress.StageBegan("publish"))
    staged = publishing.stage(processed, publication, facts, now, stamp, context.emit)
    counts = staged.manifest.counts
    processed = processed.with_verdicts(retraction_verdicts(publication.limits, parent, counts))
    if not publication.target.is_trial:
        processed = publishing.certified(processed, publication, staged)
    return _Prepared(processed, staged, facts)


def _write_trial(
    context: RunContext, publication: Publication, read: PartitionedExtract, stamp: str
) -> _Prepared:
    """Process an extract and write its release to an overlay, whatever the limits say."""
    processed, facts = _process(context, publication, read, stamp)
    return _write(context, publication, processed, facts, stamp)


def _about(
    context: RunContext,
    processed: ProcessedExtract,
    unstated: DefaultStamp,
    before: ReleaseBefore | None,
    run: str,
    staged: publishing.StagedRelease | None = None,
) -> report_files.About:
    """Return what a report states of a run; `staged` is None where nothing is published."""
    totals = processed.totals
    resources, elements = dict(totals.resources), totals.elements
    if staged is not None:
        resources |= staged.resources
        elements = {**elements, **staged.elements}
    return report_files.About(
        run=run,
        when=context.when,
        release=None if staged is None else run,
        parent=before.release if before is not None else None,
        resources=resources,
        elements=elements,
        quarantine=f"../../{report_files.QUARANTINE}/{run}",
        default_stamp=unstated,
        before=before,
        all_reports="../index.html",
    )


def _store_reports(
    store: Store, reported: report_files.WrittenReport, name: str, base: Current
) -> tuple[list[ObjectRef], Current]:
    """Put the files of a report into the store, and return their entries for the manifest.

    An attempt that died before its commit may have left others under the same keys, if it ran
    other suites, and S3 leaves what is there. Where that attempt is alive, it cannot commit any
    more what it named: its base is not the one that is returned.
    """
    named = []
    for key, path in _files(reported.folder, name):
        data = path.read_bytes()
        base = put_named(store, key, data, base)
        named.append(ObjectRef(key, hashlib.sha256(data).hexdigest(), len(data)))
    return named, base


def _files(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for kind, prefix in (
        (report_files.REPORT, "reports"),
        (report_files.QUARANTINE, report_files.QUARANTINE),
    ):
        root = folder / kind
        for path in sorted(root.rglob("*")):
            if path.is_file():
                yield f"{prefix}/{name}/{path.relative_to(root).as_posix()}", path


def _kept_places(
    context: RunContext, publication: Publication, prepared: _Prepared
) -> list[ObjectRef]:
    """Write the sidecar, and return all of it that the manifest is to name."""
    processed, staged = prepared.processed, prepared.staged
    if processed.sidecar is None or processed.directory_rows is None:
        return []
    mark = sidecars.extract_mark(context.extract)
    entries = entries_of(
        processed.directory_rows,
        processed.directory,
        staged.directory,
        NOBODY,
        mark,
        processed.directory_sources,
    )
    return sidecars.write_sidecar(
        publication.store,
        processed.sidecar,
        entries,
        (mark, sidecars.SidecarExtract.of(context.extract, context.when)),
        sidecars.sidecar_before(publication.base),
    )


def _searched(mappings: MappingSet) -> dict[str, list[str]]:
    """Return the columns of the indexes, for readers: resource type → names."""
    found: dict[str, set[str]] = {}
    for plan in mappings.plans:
        found.setdefault(plan.resource, set()).update(plan.search)
    return {name: sorted(columns) for name, columns in sorted(found.items())}


def facts_of(
    extract: Extract, definitions: Definitions, processed: ProcessedExtract | None = None
) -> ReleaseFacts:
    """Return what the manifest states of a run; of its rows and money once it is processed."""
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
            "search": _searched(definitions.mappings),
            **definitions.model.stated,
        },
        run=rows_by_fate(counts),
        totals=totals,
        ids=id_facts(definitions.payer, definitions.id_key),
        claims=claims,
    )
