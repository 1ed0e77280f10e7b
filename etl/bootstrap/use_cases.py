"""The use cases, called with settings: what the command line and a scheduler call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from etl.bootstrap import opened_extract
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.extracts import extract_files, layout_of_rows
from etl.bootstrap.release_approvals import (
    NO_APPROVALS,
    Approvals,
    check_base,
    check_model,
    check_view,
    limits_against,
    refusal_of,
)
from etl.bootstrap.served_rooms import DIRECTORY
from etl.bootstrap.settings import Settings, store_options, target_store
from etl.errors import DamagedObject, EtlError, NotFound, StoreError, UsageError
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.model.data_models import CLAIMS
from etl.pipeline.context import Publication, RunContext, Target
from etl.pipeline.definitions import Definitions
from etl.pipeline.deltas.layers import kept_layers, layer_of
from etl.pipeline.deltas.merge import LayerRows, merged_origins
from etl.pipeline.lineage.explain import Explainer, require_same
from etl.pipeline.lineage.row_places import ExtractRows
from etl.pipeline.one_off import Conversion, Validation, check_report_folder, convert, validate
from etl.pipeline.progress import Emit, ObjectWritten
from etl.pipeline.read import open_with, read
from etl.pipeline.reporting.report_files import RunResult
from etl.pipeline.run import PlanResult, plan, remake, run
from etl.pipeline.sidecar.answers import SidecarExplainer
from etl.pipeline.sidecar.pieces import sidecar_of
from etl.publish.bulk_files import BulkOptions, PlanFinderOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.canonical_json import as_instant, instant
from etl.publish.damaged_objects import with_lost
from etl.publish.directory_files import full_url_base
from etl.publish.history import find_release, resume, rollback
from etl.publish.lease import run_lease
from etl.publish.manifest import Manifest, changed_ids, id_facts
from etl.publish.prune import Expiry, PruneResult, prune
from etl.publish.reader import Current, Release, open_current, open_release
from etl.publish.signatures import SigningKey
from etl.publish.verify import RebuildResult, rebuilt, require_whole
from etl.reports.earlier_reports import write_nights_page
from etl.reports.lineage import Lineage, Subject
from etl.sources.files.listed_files import files_of
from etl.sources.files.stored_files import ExtractFiles
from etl.storage.wrappers import ObservedStore

log = logging.getLogger(__name__)


def now() -> datetime:
    """Return the time: the one place where the clock is read."""
    return datetime.now(UTC)


def convert_extract(settings: Settings, extract: Path, out: Path, emit: Emit) -> Conversion:
    """Write an extract as plain bulk NDJSON into a folder."""
    with opened_extract.opened(settings, extract, emit, out) as job:
        moment = now()
        with opened_extract.work_folder(settings, out) as work:
            return convert(job.context(work, moment), out)


def validate_extract(settings: Settings, extract: Path, report: Path, emit: Emit) -> Validation:
    """Check an extract and write the report into a folder."""
    with opened_extract.opened(settings, extract, emit, report, suites_due=lambda: True) as job:
        moment = now()
        check_report_folder(report)
        report.mkdir(parents=True, exist_ok=True)
        with opened_extract.work_folder(settings, report) as work:
            return validate(job.context(work, moment), report)


def run_extract(
    settings: Settings,
    extract: Path,
    emit: Emit,
    approvals: Approvals = NO_APPROVALS,
    *,
    repair: bool = False,
) -> RunResult:
    """Publish an extract to the target.

    Two runs on one machine never use one folder at the same time. Published objects that are
    missing or damaged are rebuilt: those that a check finds before the work, and all of them where
    the work comes upon one.

    Args:
        settings: name the target and the options.
        extract: folder of the extract.
        emit: takes events.
        approvals: what the caller approves of.
        repair: whether to read the whole current release, and rebuild damaged objects as well.

    Raises:
        UsageError: the target holds another view of claims.
        MappingError: the target's ids were made with another key or payer id.
        DataRejected: a limit does not hold; the published release is unchanged.
        StoreError: another run is at work on the target, or storage failed.
        DamagedObject: what is damaged cannot be rebuilt.
    """
    try:
        return _publish_extract(settings, extract, emit, approvals, repair=repair)
    except DamagedObject as error:
        if repair:
            raise
        what = str(error).removesuffix("; run verify")
        log.warning("%s; the run begins again, and reads all objects of the release", what)
    return _publish_extract(settings, extract, emit, approvals, repair=True)


def _publish_extract(
    settings: Settings, extract: Path, emit: Emit, approvals: Approvals, *, repair: bool
) -> RunResult:
    settings = settings.of_a_run()
    opened_extract.check_executor(settings)  # what is not installed is reported before the work
    first = partial(_holds_nothing, settings)  # after a release it is known later what is due
    with (
        opened_extract.opened(
            settings, extract, emit, _beside(settings), suites_due=first
        ) as opened_job,
        opened_extract.with_executor(opened_job) as job,
    ):
        store = target_store(settings)
        moment = now()
        definitions = job.definitions
        key = signing_key(settings)  # before the work, so that an unreadable key is reported first
        check_base(settings, store, open_current(store), definitions, approvals)
        with (
            _alone(settings),
            run_lease(store, now) as lease,
            opened_extract.work_folder(settings, _beside(settings)) as work,
            lease.renewed_in_background(),
        ):
            base = open_current(store)  # another run may have been first
            check_base(settings, store, base, definitions, approvals)
            publication = Publication(
                Target(settings.target, store_options(settings)),
                ObservedStore(store, lambda: emit(ObjectWritten())),
                with_lost(base, repair=repair, now=moment),
                limits_against(settings, base, definitions),
                lease,
                _bulk_options(settings),
                keep_rows=settings.publish.deltas,
                key=key,
                keep_places=settings.publish.sidecar,
            )
            return run(job.context(work, moment), publication)


def _holds_nothing(settings: Settings) -> bool:
    """Return whether a target has no release yet; False where that is not known."""
    try:
        return open_current(target_store(settings)).release is None
    except EtlError:
        return False  # the run itself reports it


def signing_key(settings: Settings) -> SigningKey | None:
    """Return the key that signs releases; None where there is none.

    Raises:
        UsageError: the file holds no such key, or the library is not installed.
    """
    path = settings.publish.signing_key
    return None if path is None else SigningKey.read(path)


def explain_subject(
    settings: Settings, extracts: Sequence[Path], subject: Subject, emit: Emit
) -> Lineage:
    """Return the lineage of a resource of the present release, or of a claim or row.

    Args: as for `explainer_of`; the subject is the resource, claim or row.

    Raises:
        UsageError: as `explainer_of`; or the subject is not in the extract.
        StoreError: the target cannot be read.
    """
    with explainer_of(settings, extracts, emit) as explainer:
        return explainer.explain(subject)


@contextmanager
def explainer_of(
    settings: Settings, extracts: Sequence[Path], emit: Emit
) -> Iterator[Explainer | SidecarExplainer]:
    """Give what answers questions about the lineage of the present release.

    Args:
        settings: name the target; the mappings must be those of the release.
        extracts: folders that the release was made from. Where the target keeps its rows, none are
            needed; those of a full extract and of its deltas then add cells as they are written.
            Nor are any where it keeps the rows' places; those alone are named then.
        emit: takes events.

    Raises:
        UsageError: nothing was published, an extract is another one, or rows were not kept.
        StoreError: the target cannot be read.
    """
    definitions = load_definitions(settings)
    store = target_store(settings)
    base = open_current(store)
    if base.release is None:
        raise UsageError(f"{settings.target}: nothing was published yet")
    if base.release.manifest.subject.model is not CLAIMS:
        raise UsageError(f"{settings.target} holds a provider directory; only claims are explained")
    check_view(settings, base, definitions.mappings)
    layers = kept_layers(base.release)
    if not layers and not extracts:
        sidecar = sidecar_of(base.release)
        if sidecar is None:
            raise UsageError(
                f"{settings.target}: neither rows nor places of {base.release.id} were kept; "
                "--extract names the extract that it was made of"
            )
        yield SidecarExplainer(base.release, sidecar, definitions.mappings.plans)
        return
    executor = LocalExecutor(Workers(1, partial(load_definitions, settings)))
    with ExitStack() as until_the_end:
        work = Path(
            until_the_end.enter_context(
                TemporaryDirectory(prefix="cpcds-explain-", dir=settings.run.work)
            )
        )

        def context(place: ExtractFiles, layout: str | None) -> RunContext:
            files = open_with(place, definitions, layout, emit)
            return opened_extract.OpenedExtract(
                settings, files, definitions, executor, emit
            ).context(work, now())

        given = [
            context(
                until_the_end.enter_context(extract_files(settings, extract, None)),
                layout_of_rows(settings),
            )
            for extract in extracts
        ]
        if len(layers) > 1 or not extracts:
            rows = LayerRows(layers, merged_origins(store, layers, work / "merged"))
            whole = context(files_of(work / "merged"), "cpcds")
            own = {layer_of(layers, each.extract): ExtractRows(read(each)) for each in given}
            yield Explainer(whole, base.release, rows, own)
            return
        if len(extracts) > 1:
            raise UsageError(f"{base.release.id} was made of one extract: name it alone")
        require_same(given[0].extract, base.release, str(extracts[0]))
        yield Explainer(given[0], base.release)


def plan_extract(
    settings: Settings, extract: Path, emit: Emit, approvals: Approvals = NO_APPROVALS
) -> PlanResult:
    """Return what publishing an extract to the target would do. Nothing is written to the target.

    Args: as for `run_extract`.

    Raises:
        UsageError: the target holds another view of claims.
        StoreError: the target cannot be read.
    """
    settings = settings.of_a_run()
    with opened_extract.opened(settings, extract, emit, None) as job:
        store = target_store(settings)
        base, definitions = open_current(store), job.definitions
        check_model(settings, base, definitions.model)
        check_view(settings, base, definitions.mappings)
        refusal = refusal_of(settings, store, base, definitions, approvals)
        with _trial(settings, base, definitions, "plan") as (work, publication):
            planned = plan(job.context(work, now()), publication)
            return replace(planned, refusal=refusal)


@contextmanager
def _trial(
    settings: Settings, base: Current, definitions: Definitions, name: str, **options: Any
) -> Iterator[tuple[Path, Publication]]:
    """Give a work folder, and a publication that writes beside the target; both are temporary."""
    _make_work_folder(settings)
    with TemporaryDirectory(prefix=f"cpcds-{name}-", dir=settings.run.work) as folder:
        target = Target(settings.target, store_options(settings), str(Path(folder, "tree")))
        limits = limits_against(settings, base, definitions)
        yield Path(folder), Publication(target, target.store(), base, limits, **options)


def _make_work_folder(settings: Settings) -> None:
    if settings.run.work is not None:
        settings.run.work.mkdir(parents=True, exist_ok=True, mode=0o700)


def rebuild_release(
    settings: Settings, release: Release, extract: Path, emit: Emit
) -> RebuildResult:
    """Make a release again, in a temporary folder and at its own time, and compare every object.

    Nothing is taken over from the release before but what states when resources changed.

    Args:
        settings: name the target; mappings, rules and ids should be those of the release.
        release: what is made again.
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
            f"release {release.id} is a rollback to {manifest.facts.run['rollbackTo']}, which no "
            "extract made: rebuild that one"
        )
    with opened_extract.opened(settings, extract, emit) as job:
        check_model(settings, Current(release, None), job.definitions.model)
        check_view(settings, Current(release, None), job.definitions.mappings)
        require_same(job.extract, release, str(extract))
        definitions, when = job.definitions, instant(manifest.created)
        if changed_ids(manifest.facts.ids, id_facts(definitions.payer, definitions.id_key)):
            raise UsageError(
                f"release {release.id} was made with another id key or payer id, so that every id "
                "would differ: set CPCDS_ID_KEY and payer.id to what it was published with"
            )
        base = Current(_parent(release), None)
        options = {
            "bulk": _bulk_options_of(release, settings),
            "keep_rows": settings.publish.deltas,
            "reuses": False,
        }
        with _trial(settings, base, definitions, "rebuild", **options) as (work, publication):
            made = remake(job.context(work, when), publication)
            return rebuilt(release, Release(publication.store, made))


def _bulk_options_of(release: Release, settings: Settings) -> BulkOptions | None:
    """Return the options that a release's bulk files are made with again; None where it has none.

    The server may have moved since: `fullUrl` is made as it was.
    """
    options = _bulk_options(settings) if release.manifest.bulk else None
    base = full_url_base(release) if options is not None else None
    if options is None or base is None:
        return options
    return replace(options, plan_finder=replace(options.plan_finder, fhir_base=base))


def _parent(release: Release) -> Release | None:
    """Return the release before one; None for the first.

    Raises:
        UsageError: it was pruned.
    """
    parent = release.manifest.parent
    try:
        return None if parent is None else open_release(release.store, parent)
    except NotFound:
        raise UsageError(
            f"release {release.id} cannot be made again: release {parent}, which it followed and "
            "which states when its resources changed, was pruned"
        ) from None


def roll_back(settings: Settings, release: str, reason: str = "") -> tuple[Manifest, str]:
    """Make an earlier release of the target the present one again; return it, and its model's id.

    Args:
        settings: name the target.
        release: id of the release to go back to, or a unique beginning of it.
        reason: why; kept in the new release.

    Raises:
        UsageError: there is no such release, or it is the present one.
        StoreError: a prune is under way, another run published first, storage failed, or the
            release is incomplete. The published release is unchanged then.
    """
    store = target_store(settings)
    bulk, key = _bulk_options(settings), signing_key(settings)
    _make_work_folder(settings)
    with run_lease(store, now) as lease:
        to = find_release(store, release)
        require_whole(to)
        manifest = rollback(store, to, as_instant(now()), bulk, reason, lease, key)
        if manifest.bulk:
            write_pages(store, bulk)
    write_nights_page(store)
    return manifest, to.id


def plan_finder_note(settings: Settings, manifest: Manifest) -> str:
    """Return what to do about a release's Plan Finder files; empty where there is nothing."""
    bulk = _bulk_options(settings)
    return bulk.plan_finder.note(manifest.bulk) if bulk is not None else ""


def resume_target(settings: Settings) -> str | None:
    """Let runs publish over a rollback of the target; return its id, None without a rollback.

    Raises:
        UsageError: nothing was published there yet.
        StoreError: a prune is under way, or storage failed.
    """
    store = target_store(settings)
    if open_current(store).release is None:  # before a lease is written to an empty target
        raise UsageError(f"{settings.target}: nothing was published yet")
    with run_lease(store, now):
        return resume(store, as_instant(now()))


def prune_target(
    settings: Settings,
    keep: int,
    older_than: timedelta,
    *,
    dry_run: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> PruneResult:
    """Drop old releases of the target, and every object that only they named.

    Args:
        settings: name the target.
        keep: how many releases stay at least.
        older_than: younger ones stay as well.
        dry_run: count, and delete nothing.
        progress: called with the number of folders looked through so far, of `prune.FOLDERS`.

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
        {name: now() - timedelta(days=age) for name, age in days.items() if age is not None}
    )
    done = prune(
        store,
        now,
        keep=keep,
        older_than=older_than,
        dry_run=dry_run,
        expiry=expiry,
        key=signing_key(settings),
        progress=progress,
    )
    if not dry_run:
        write_nights_page(store)
    return done


def _beside(settings: Settings) -> Path:
    """Return the parent of the work folder: the target, or this folder for object storage."""
    return Path() if "://" in settings.target else Path(settings.target)


def _holder(lock: Path) -> str:
    """Return a lock's text about the run that holds it; empty where none is written yet."""
    try:
        text = lock.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return f" ({text})" if text.isprintable() and text else ""


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the lock of the target's work folder."""
    folder = _beside(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{opened_extract.WORK}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreError(
            f"{settings.target}: another run is at work on it{_holder(path)}; "
            "wait for it, or stop it first"
        ) from None
    try:
        path.write_text(f"process {os.getpid()} on {gethostname()} since {as_instant(now())}\n")
        yield
    finally:
        lock.release()


def _bulk_options(settings: Settings) -> BulkOptions | None:
    """Return the options of bulk files; None where none are written."""
    wanted = settings.publish
    if not wanted.bulk:
        return None
    return BulkOptions(
        base_url=wanted.base_url,
        cadence=wanted.cadence,
        requires_access_token=wanted.requires_access_token,
        snapshot_every=wanted.snapshot_every,
        work=settings.run.work,
        plan_finder=PlanFinderOptions(
            f"{settings.serve.reached_at}{DIRECTORY}",
            settings.plan_finder.entries,
            settings.plan_finder.bytes,
            is_stated=bool(settings.serve.base_url.rstrip("/")),
        ),
    )
