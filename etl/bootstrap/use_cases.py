"""The use cases, which the command line and schedulers call with settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from etl.bootstrap import opened_extract
from etl.bootstrap.run_records import read_records
from etl.bootstrap.settings import Settings, store_options, target_store
from etl.bootstrap.tree_pages import refresh_nights_page, refresh_tree_pages
from etl.errors import DamagedObject, DamagedRelease, EtlError, MappingError, StoreError, UsageError
from etl.mapping.plan import FINANCIAL, MappingSet
from etl.model.data_models import DIRECTORY, DataModel
from etl.pipeline.context import RunPolicy
from etl.pipeline.definitions import Definitions
from etl.pipeline.progress import Committed, Emit, ObjectWritten
from etl.pipeline.release_limits import ReleaseLimits
from etl.pipeline.reporting.report_files import LimitBroken, RunResult
from etl.pipeline.run import PlanResult, is_already_published, plan, run
from etl.profiles.guides import guide_named
from etl.publish.bulk_files import BulkOptions, PlanFinderOptions
from etl.publish.canonical_json import as_instant
from etl.publish.damaged_objects import open_checked
from etl.publish.history import holds
from etl.publish.lease import run_lease
from etl.publish.manifest import ReleaseFacts, changed_ids, id_facts
from etl.publish.reader import PreviousRelease, open_current
from etl.publish.target import Target
from etl.publish.writer import ReleaseWriter
from etl.storage.port import Store
from etl.storage.wrappers import ObservedStore

if TYPE_CHECKING:
    from etl.publish.signatures import SigningKey


@dataclass(frozen=True, slots=True)
class Approvals:
    """The caller's approvals of a run.

    Attributes:
        rekey: approves ids made with another key or payer id than those of the target.
        after_rollback: approves publishing over a rollback that is in effect.
        repair: approves building on a stand-in if the release's manifest or catalog is damaged.
    """

    rekey: bool = False
    after_rollback: bool = False
    repair: bool = False


NO_APPROVALS: Final = Approvals()


def check_base(
    settings: Settings,
    store: Store,
    previous: PreviousRelease,
    definitions: Definitions,
    approvals: Approvals,
) -> None:
    """Refuse to publish over the current release if that needs an approval.

    Raises:
        UsageError: the target holds another view, or another kind of extract.
        MappingError: its ids were made with another key or payer id.
        StoreError: a rollback is in effect.
    """
    check_model(settings, previous, definitions.model)
    check_view(settings, previous, definitions.mappings)
    refusal = refusal_of(settings, store, previous, definitions, approvals)
    if refusal is not None:
        raise refusal


def refusal_of(
    settings: Settings,
    store: Store,
    previous: PreviousRelease,
    definitions: Definitions,
    approvals: Approvals,
) -> EtlError | None:
    """Return why a run may not publish over the current release, or None."""
    if previous.release is None:
        return None
    facts = previous.release.manifest.facts
    changed = changed_ids(facts.ids, id_facts(definitions.payer, definitions.id_key))
    if changed and not approvals.rekey:
        where = {"key": "CPCDS_ID_KEY", "payer": "payer.id"}
        what = {"key": "another id key", "payer": f"payer id {facts.ids.get('payer')!r}"}
        return MappingError(
            ", ".join(where[name] for name in changed),
            "config-rekey",
            f"{settings.target} was published with {' and '.join(what[name] for name in changed)}, "
            "so every resource would be deleted and added again with a new ID",
            hint="set the value that it was published with, or pass --rekey if this is intended",
        )
    if holds(store, previous.release) and not approvals.after_rollback:
        reason = facts.run.get("reason")
        return StoreError(
            f"{settings.target} was rolled back to {facts.run['rollbackTo']}"
            f"{f' ({reason})' if reason else ''}, and the rollback is in force: `cpcds resume "
            f"{settings.target}` allows all runs to publish again, --after-rollback only this run"
        )
    return None


def limits_against(
    settings: Settings, previous: PreviousRelease, definitions: Definitions
) -> ReleaseLimits:
    """Return the limits against the current release; changed IDs may retract all of it."""
    limits = _release_limits(settings)
    previous_ids = previous.release.manifest.facts.ids if previous.release is not None else {}
    return (
        limits.of_other_ids()
        if changed_ids(previous_ids, id_facts(definitions.payer, definitions.id_key))
        else limits
    )


def check_model(settings: Settings, previous: PreviousRelease, model: DataModel) -> None:
    """Refuse to publish claims over a directory, or a directory over claims.

    Raises:
        UsageError: the target was made of another kind of extract.
    """
    if previous.release is None:
        return
    published = previous.release.manifest.subject.model
    if published is not model:
        raise UsageError(
            f"{settings.target} contains {published.contents}, but this would be {model.contents}: "
            "publish each to its own target"
        )


def check_view(settings: Settings, previous: PreviousRelease, mappings: MappingSet) -> None:
    """Refuse to publish one view over another, because their readers differ.

    Raises:
        UsageError: the target holds another view of claims, or version of the guide.
    """
    if previous.release is None:
        return
    facts = previous.release.manifest.facts.mapping
    published, wanted = str(facts.get("view", FINANCIAL)), mappings.view.name
    if published == wanted:
        return
    model = previous.release.manifest.subject.model
    if not model.has_members:
        raise UsageError(
            f"{settings.target} contains {guide_named(model.guide).title} {facts['version']}, but "
            f"this would be {mappings.version}: use another target, or set publish.{model.version}"
        )
    raise UsageError(
        f"{settings.target} contains the {published} view of claims, but the {wanted} view is for "
        f"other readers: use another target, or --view {published}"
    )


def _release_limits(settings: Settings) -> ReleaseLimits:
    """Return the limits of change of one run against the previous release."""
    names = set(ReleaseLimits.__annotations__)
    named = settings.limits.model_dump(include=names)
    return ReleaseLimits(**{name: Decimal(str(most)) for name, most in named.items()})


log = logging.getLogger(__name__)


def now() -> datetime:
    """Return the current time; nothing else reads the clock."""
    return datetime.now(UTC)


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
    missing or damaged are rebuilt: those that a check finds before the run, and all of them if the
    run comes upon one.

    Args:
        settings: name the target and the options.
        extract: folder of the extract.
        emit: takes events.
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
        failure = str(error).removesuffix("; run verify")
        log.warning("%s; the run begins again, and reads all objects of the release", failure)
    return _publish_extract(settings, extract, emit, approvals, repair=True)


def _publish_extract(
    settings: Settings, extract: Path, emit: Emit, approvals: Approvals, *, repair: bool
) -> RunResult:
    settings = settings.of_a_run()
    opened_extract.check_executor(settings)  # what is not installed is reported before the work
    if _lock_of(settings).exists():
        with _lock_work_folder(settings):
            pass  # another run at work is reported before the extract is read
    first = partial(_holds_nothing, settings)  # after a release it is known later what is due
    with (
        opened_extract.opened(
            settings, extract, emit, _work_parent(settings), suites_due=first
        ) as opened_job,
        opened_extract.with_executor(opened_job) as job,
    ):
        store = target_store(settings)
        moment = now()
        definitions = job.definitions
        key = signing_key(settings)  # before the work, so that an unreadable key is reported first
        _check_current(settings, store, definitions, approvals)
        with (
            _lock_work_folder(settings),
            run_lease(store, now) as lease,
            opened_extract.work_folder(settings, _work_parent(settings)) as work,
            lease.renewed_in_background(),
        ):
            _check_current(settings, store, definitions, approvals)
            lost_facts = {"view": definitions.mappings.view.name, **definitions.model.stated}
            previous = open_checked(
                store,
                repair=repair,
                run_time=moment,
                lost_facts=ReleaseFacts("full", mapping=lost_facts) if approvals.repair else None,
            )
            check_base(
                settings, store, previous, definitions, approvals
            )  # another run may be first
            policy = RunPolicy(
                Target(settings.target, store_options(settings)),
                limits_against(settings, previous, definitions),
                bulk_options(settings),
                keep_rows=settings.publish.deltas,
                keep_places=settings.publish.sidecar,
            )
            observed_store = ObservedStore(store, lambda: emit(ObjectWritten()))
            writer = ReleaseWriter(observed_store, previous, lease, key)
            context = job.context(work, moment)
            if previous.release is not None and is_already_published(context, previous):
                # Only the last steps of an attempt that died after its commit may be missing.
                emit(Committed(previous.release.id))
                store.sync()
                refresh_tree_pages(store, policy.bulk)
                return RunResult(previous.release.id, None, None)
            try:
                result = run(context, previous, policy, writer, now)
            except LimitBroken:
                refresh_nights_page(store)
                raise
            refresh_tree_pages(store, policy.bulk)
            return result


def _check_current(
    settings: Settings, store: Store, definitions: Definitions, approvals: Approvals
) -> None:
    """Refuse to publish over the current release if that needs an approval, as `check_base` does.

    If the release's manifest is damaged, the records of runs say whether it is a rollback.
    """
    try:
        check_base(settings, store, open_current(store), definitions, approvals)
    except DamagedRelease:
        if not approvals.repair:
            raise
        records = (record for record in read_records(store) if record.release is not None)
        latest = next(records, None)
        if latest is not None and latest.verdict == "rolled-back" and not approvals.after_rollback:
            raise StoreError(
                f"{settings.target} was rolled back to {latest.rollback_to}, and the manifest of "
                "the rollback is damaged: restore it from a copy, or pass --after-rollback too"
            ) from None


def _holds_nothing(settings: Settings) -> bool:
    """Return whether a target has no release yet; False if unknown."""
    try:
        return open_current(target_store(settings)).release is None
    except EtlError:
        return False  # the run itself reports it


def signing_key(settings: Settings) -> SigningKey | None:
    """Return the key that signs releases; None if there is none.

    Raises:
        UsageError: the file holds no such key, or the library is not installed.
    """
    path = settings.publish.signing_key
    if path is None:
        return None
    from etl.publish.signatures import SigningKey  # most targets sign nothing

    return SigningKey.read(path)


def plan_extract(
    settings: Settings, extract: Path, emit: Emit, approvals: Approvals = NO_APPROVALS
) -> PlanResult:
    """Return what publishing an extract to the target would do.

    Args: as for `run_extract`.

    Raises:
        UsageError: the target holds another view of claims.
        StoreError: the target cannot be read.
    """
    settings = settings.of_a_run()
    with opened_extract.opened(settings, extract, emit, None) as job:
        store = target_store(settings)
        previous, definitions = open_current(store), job.definitions
        check_model(settings, previous, definitions.model)
        check_view(settings, previous, definitions.mappings)
        refusal = refusal_of(settings, store, previous, definitions, approvals)
        with trial_run(settings, previous, definitions, "plan") as (work, policy, writer):
            planned = plan(job.context(work, now()), previous, policy, writer)
            return replace(planned, refusal=refusal)


@contextmanager
def trial_run(
    settings: Settings,
    previous: PreviousRelease,
    definitions: Definitions,
    name: str,
    **options: Any,
) -> Iterator[tuple[Path, RunPolicy, ReleaseWriter]]:
    """Yield a temporary work folder, and policy and writer that leave the target unchanged."""
    make_work_folder(settings)
    with TemporaryDirectory(prefix=f"cpcds-{name}-", dir=settings.run.work) as folder:
        target = Target(settings.target, store_options(settings), str(Path(folder, "tree")))
        limits = limits_against(settings, previous, definitions)
        writer = ReleaseWriter(target.store(), previous)
        yield Path(folder), RunPolicy(target, limits, **options), writer


def make_work_folder(settings: Settings) -> None:
    if settings.run.work is not None:
        settings.run.work.mkdir(parents=True, exist_ok=True, mode=0o700)


def _work_parent(settings: Settings) -> Path:
    """Return the work folder's parent: the target, or this folder for object storage."""
    return Path() if "://" in settings.target else Path(settings.target)


def _lock_of(settings: Settings) -> Path:
    return _work_parent(settings) / f"{opened_extract.WORK}.lock"


def _lock_holder(lock: Path) -> str:
    """Return the text of a lock's holder; empty if none is written yet."""
    try:
        text = lock.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return f" ({text})" if text.isprintable() and text else ""


@contextmanager
def _lock_work_folder(settings: Settings) -> Iterator[None]:
    """Hold the lock of the target's work folder."""
    path = _lock_of(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreError(
            f"{settings.target}: another run is using it{_lock_holder(path)}; "
            "wait for that run, or stop it first"
        ) from None
    try:
        path.write_text(f"process {os.getpid()} on {gethostname()} since {as_instant(now())}\n")
        yield
    finally:
        lock.release()


def bulk_options(settings: Settings) -> BulkOptions | None:
    """Return the options of bulk files; None if none are written."""
    wanted = settings.publish
    if not wanted.bulk:
        return None
    return BulkOptions(
        base_url=wanted.base_url,
        cadence=wanted.cadence,
        work=settings.run.work,
        plan_finder=PlanFinderOptions(
            f"{settings.serve.reached_at}{DIRECTORY.path}",
            is_stated=bool(settings.serve.base_url.rstrip("/")),
        ),
    )
