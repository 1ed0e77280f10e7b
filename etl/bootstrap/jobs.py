"""The use cases, called with settings: what the command line and a scheduler call."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from etl.bootstrap.settings import Settings
from etl.bootstrap.wiring import make_tools
from etl.pipeline.convert import Converted, convert
from etl.pipeline.events import Emit
from etl.pipeline.job import own_folder, stamp
from etl.pipeline.publishing import as_instant
from etl.pipeline.reading import open_with, read

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
