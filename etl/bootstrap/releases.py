"""Verify, rebuild, roll back, resume, and prune the releases of a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import structs

from etl.bootstrap import opened_extract, use_cases
from etl.bootstrap.recorded_run import Outcome, keep_record, start_of
from etl.bootstrap.settings import Settings, store_options, target_store
from etl.bootstrap.tree_pages import refresh_nights_page, refresh_tree_pages
from etl.bootstrap.use_cases import (
    bulk_options,
    check_model,
    check_view,
    make_work_folder,
    signing_key,
    trial_run,
)
from etl.errors import NotFound, UsageError
from etl.local.workers import forked_workers
from etl.pipeline.lineage.explain import require_same
from etl.pipeline.progress import Committed, Emit, StageBegan, ignore
from etl.pipeline.reporting import run_record
from etl.pipeline.run import remake
from etl.publish.bulk_files import BulkOptions
from etl.publish.canonical_json import as_instant, instant
from etl.publish.directory_files import full_url_base
from etl.publish.history import find_release, resume, rollback
from etl.publish.lease import run_lease
from etl.publish.manifest import Manifest, changed_ids, id_facts
from etl.publish.prune import Expiry, PruneResult, prune
from etl.publish.reader import PreviousRelease, Release, open_current, open_release
from etl.publish.target import RunStore, Target
from etl.publish.verify import RebuildResult, VerifyResult, compare_rebuild, require_intact, verify

_WORTH_PROCESSES: Final = 2_000
"""Members whom one process verifies sooner than others would have begun."""


def verify_release(
    settings: Settings, release: Release, progress: Callable[[int], None], keys: Sequence[Path]
) -> VerifyResult:
    """Check every object of a release, with the executor of the settings.

    Args:
        settings: name the target and the executor.
        release: the release to check.
        progress: called with the number of members checked so far.
        keys: files with public keys; the deletion of reports must be signed by one of them.

    Raises:
        UsageError: the executor cannot be used here.
    """
    opened_extract.check_executor(settings)
    run, base_url = settings.run, settings.publish.base_url
    target = Target(settings.target, store_options(settings)).in_any_folder()
    check = partial(verify, release, progress, base_url=base_url, keys=keys)
    if run.executor == "spark":
        from etl.spark.executor import SparkJobs
        from etl.spark.session import spark_session

        with spark_session(run.master) as session:
            return check(runner=SparkJobs(session), open_store=RunStore(target))
    if release.manifest.counts["patients"] < _WORTH_PROCESSES:
        return check()
    return check(runner=forked_workers(run.workers, verify.__module__), open_store=RunStore(target))


def rebuild_release(
    settings: Settings, release: Release, extract: Path, emit: Emit
) -> RebuildResult:
    """Rebuild a release in a temporary folder, as of its time, and compare every object.

    From the previous release, only the times at which resources changed are used.

    Args:
        settings: name the target; mappings, rules and IDs should be those of the release.
        release: the release to rebuild.
        extract: folder that it was made from.
        emit: takes events.

    Raises:
        UsageError: it is a rollback, the extract is another one, ids are made with another key, the
            release before was pruned, or the target holds another view.
        StoreError: the target cannot be read.
    """
    settings, manifest = settings.of_a_run(), release.manifest
    if manifest.facts.kind == "rollback":
        raise UsageError(
            f"release {release.id} is a rollback to {manifest.facts.run['rollbackTo']}, which was "
            "not made from an extract: rebuild that release instead"
        )
    with opened_extract.opened(settings, extract, emit) as job:
        check_model(settings, PreviousRelease(release, None), job.definitions.model)
        check_view(settings, PreviousRelease(release, None), job.definitions.mappings)
        require_same(job.extract, release, str(extract))
        definitions, when = job.definitions, instant(manifest.created)
        if changed_ids(manifest.facts.ids, id_facts(definitions.payer, definitions.id_key)):
            raise UsageError(
                f"release {release.id} was made with another id key or payer id, so every ID "
                "would differ: set CPCDS_ID_KEY and payer.id to the values that it was "
                "published with"
            )
        base = PreviousRelease(_parent(release), None)
        options = {
            "bulk": _bulk_options_of(release, settings),
            "keep_rows": settings.publish.deltas,
            "reuses": False,
        }
        with trial_run(settings, base, definitions, "rebuild", **options) as (
            work,
            policy,
            writer,
        ):
            rebuilt = remake(job.context(work, when), base, policy, writer)
            return compare_rebuild(release, rebuilt)


def _bulk_options_of(release: Release, settings: Settings) -> BulkOptions | None:
    """Return the options to rebuild a release's bulk files with; None if it has none.

    They include the old base of `fullUrl`: the server may have moved since.
    """
    options = bulk_options(settings) if release.manifest.bulk else None
    base = full_url_base(release) if options is not None else None
    if options is None or base is None:
        return options
    return replace(options, plan_finder=replace(options.plan_finder, fhir_base=base))


def _parent(release: Release) -> Release | None:
    """Return the previous release; None for the first.

    Raises:
        UsageError: it was pruned.
    """
    parent = release.manifest.parent
    try:
        return None if parent is None else open_release(release.store, parent)
    except NotFound:
        raise UsageError(
            f"release {release.id} cannot be rebuilt: its previous release {parent}, which has the "
            "times when its resources changed, was pruned"
        ) from None


def roll_back(
    settings: Settings, release: str, reason: str = "", emit: Emit = ignore
) -> tuple[Manifest, str]:
    """Publish an earlier release again; return it, and its model's ID.

    Args:
        settings: name the target.
        release: id of the release to go back to, or a unique beginning of it.
        reason: why; kept in the new release.
        emit: takes events: the commit begins, and readers see the release.

    Raises:
        UsageError: there is no such release, or it is the present one.
        CommitUnknown: the answer was lost; readers may see the release.
        StoreError: a prune is under way, another run published first, storage failed, or the
            release is incomplete. Readers see what they saw, unless `Committed` was emitted.
    """
    store = target_store(settings)
    bulk, key = bulk_options(settings), signing_key(settings)
    make_work_folder(settings)
    with run_lease(store, use_cases.now) as lease:
        to = find_release(store, release)
        require_intact(to)
        emit(StageBegan("commit"))
        manifest = rollback(store, to, as_instant(use_cases.now()), bulk, reason, lease, key)
        emit(Committed(manifest.release))
        refresh_tree_pages(store, bulk or BulkOptions() if manifest.bulk else None)
    return manifest, to.id


def roll_back_and_record(settings: Settings, release: str, reason: str) -> tuple[Manifest, str]:
    """Publish an earlier release again, and store a record of that.

    Args:
        settings: name the target.
        release: id of the release to go back to, or a unique beginning of it.
        reason: why; kept in the new release.

    Raises: as `roll_back`; the record is stored anyway.
    """
    start = start_of(settings, "")
    outcome = Outcome(settings.target, "nothing was rolled back; run the same command again")
    with outcome.noted():
        try:
            manifest, to = roll_back(settings, release, reason, outcome.watch)
        except BaseException as error:
            facts = (start, use_cases.now(), (), error, outcome.release)
            record = run_record.record_of_error(*facts)
            keep_record(settings, structs.replace(record, rollback_to=release, reason=reason))
            raise
        keep_record(settings, run_record.record_of_rollback(start, use_cases.now(), to, manifest))
    return manifest, to


def plan_finder_note(settings: Settings, manifest: Manifest) -> str:
    """Return a note about a release's Plan Finder files; empty if there are none."""
    bulk = bulk_options(settings)
    return bulk.plan_finder.note(manifest.bulk) if bulk is not None else ""


def resume_target(settings: Settings) -> str | None:
    """Let runs publish over a rollback; return its ID, or None without a rollback.

    Raises:
        UsageError: nothing was published there yet.
        StoreError: a prune is under way, or storage failed.
    """
    store = target_store(settings)
    if open_current(store).release is None:  # before a lease is written to an empty target
        raise UsageError(f"{settings.target}: nothing has been published yet")
    with run_lease(store, use_cases.now):
        return resume(store, as_instant(use_cases.now()))


def prune_target(
    settings: Settings,
    keep: int,
    older_than: timedelta,
    *,
    dry_run: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> PruneResult:
    """Delete old releases of the target, and objects that only they use.

    Args:
        settings: name the target.
        keep: minimum number of releases to keep.
        older_than: younger releases are kept as well.
        dry_run: whether to count only, and delete nothing.
        progress: called with the number of folders searched so far, of `prune.FOLDERS`.

    Raises:
        UsageError: no release would be kept.
        StoreError: a run is under way, or storage failed.
    """
    store = target_store(settings)
    days = {
        "reports": settings.retention.report_days,
        "quarantine": settings.retention.quarantine_days,
    }
    expiry = Expiry(
        {
            name: use_cases.now() - timedelta(days=age)
            for name, age in days.items()
            if age is not None
        }
    )
    pruned = prune(
        store,
        use_cases.now,
        keep=keep,
        older_than=older_than,
        dry_run=dry_run,
        expiry=expiry,
        key=signing_key(settings),
        progress=progress,
    )
    if not dry_run:
        refresh_nights_page(store)
    return pruned
