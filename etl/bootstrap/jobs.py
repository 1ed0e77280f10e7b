"""The use cases, called with settings: what the command line and a scheduler call."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from etl.bootstrap.settings import Settings
from etl.bootstrap.wiring import make_tools
from etl.errors import StoreError
from etl.pipeline.checking import Validated, validate
from etl.pipeline.convert import Converted, convert
from etl.pipeline.events import Emit
from etl.pipeline.job import own_folder, stamp
from etl.pipeline.nightly import Ran, run
from etl.pipeline.publishing import Target, as_instant
from etl.pipeline.reading import open_with, read
from etl.publish.lease import run_lease
from etl.publish.reader import open_current
from etl.storage.opening import StoreOptions, open_store

WORK = ".cpcds-work"


def now() -> datetime:
    """Return the time: the one place where the clock is read."""
    return datetime.now(UTC)


@contextmanager
def work_folder(settings: Settings, beside: Path) -> Iterator[Path]:
    """Give the folder for what is in progress; what is in it goes when all went well.

    After a failure it stays, so that the next run of the same goes on from there. Deleting it is
    always safe.
    """
    folder = settings.run.work if settings.run.work is not None else beside / WORK
    own_folder(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def convert_extract(settings: Settings, extract: Path, out: Path, emit: Emit) -> Converted:
    """Write an extract as plain bulk NDJSON into a folder."""
    tools = make_tools(settings)
    opened = open_with(extract, tools, settings.layout, emit)
    when = opened.as_of.isoformat() if opened.as_of is not None else as_instant(now())
    with work_folder(settings, out) as work:
        rows = read(opened, work, tools, partition_rows=settings.run.partition_rows, emit=emit)
        return convert(
            rows,
            out,
            tools,
            partial(make_tools, settings),
            now=stamp(when),
            workers=settings.run.workers,
            emit=emit,
        )


def validate_extract(settings: Settings, extract: Path, report: Path, emit: Emit) -> Validated:
    """Check an extract and write the report into a folder."""
    tools = make_tools(settings)
    moment = now()
    opened = open_with(extract, tools, settings.layout, emit)
    report.mkdir(parents=True, exist_ok=True)
    with work_folder(settings, report) as work:
        rows = read(opened, work, tools, partition_rows=settings.run.partition_rows, emit=emit)
        return validate(
            rows,
            report,
            tools,
            partial(make_tools, settings),
            when=moment,
            workers=settings.run.workers,
            gx_rows=settings.report.gx_rows,
            emit=emit,
        )


def run_extract(settings: Settings, extract: Path, emit: Emit) -> Ran:
    """Publish an extract to the target.

    Two runs on one machine never work on one folder at the same time.

    Raises:
        StoreError: another run is at work on the target.
    """
    tools = make_tools(settings)
    opened = open_with(extract, tools, settings.layout, emit)
    store = open_store(settings.target)
    moment = now()
    with _alone(settings), run_lease(store, now), work_folder(settings, _beside(settings)) as work:
        base = open_current(store)
        target = Target(
            settings.target,
            StoreOptions(),
            base.release.id if base.release is not None else None,
            as_instant(moment),
        )
        return run(
            opened,
            work,
            target,
            store,
            base,
            tools,
            partial(make_tools, settings),
            when=moment,
            partition_rows=settings.run.partition_rows,
            workers=settings.run.workers,
            gx_rows=settings.report.gx_rows,
            emit=emit,
        )


def _beside(settings: Settings) -> Path:
    """Return the folder in which work goes on: the target, or this one for object storage."""
    return Path() if "://" in settings.target else Path(settings.target)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the lock of the target's work folder."""
    folder = _beside(settings)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{WORK}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreError(
            f"{settings.target}: another run is at work on it; wait for it, or stop it first"
        ) from None
    try:
        yield
    finally:
        lock.release()
