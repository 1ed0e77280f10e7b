"""Checking an extract without publishing: the auditor's report and the quarantine, nothing else."""

from __future__ import annotations

import shutil
import stat
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from etl.errors import UsageError
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import Emit
from etl.pipeline.process import Settled, settle
from etl.pipeline.read import Read
from etl.pipeline.report import (
    QUARANTINE,
    REPORT,
    About,
    LimitBroken,
    Reported,
    write_reports,
)
from etl.pipeline.suites import share_of
from etl.pipeline.workers import Workers
from etl.quality.suites.rows import SuiteRows
from etl.reports import summary

_KINDS: Final = (QUARANTINE, REPORT)


@dataclass(frozen=True, slots=True)
class Validated:
    """What a check came to.

    Attributes:
        settled: the extract, worked through.
        reported: the report.
    """

    settled: Settled
    reported: Reported

    def enforce(self) -> None:
        """Stop where a limit does not hold; the report is there.

        Raises:
            LimitBroken: one does not.
        """
        if self.reported.report.stopped:
            rejected = summary(self.reported.report).rejected
            raise LimitBroken(self.settled, rejected, self.reported.report, str(self.reported.page))


def validate(
    read: Read,
    folder: Path,
    definitions: Definitions,
    workers: Workers,
    *,
    when: datetime,
    gx_rows: int,
    small_cells: int,
    emit: Emit,
) -> Validated:
    """Check every row of an extract, map what is accepted to see that it can be, and report.

    Args:
        read: the extract, cut by member.
        folder: where the report goes, below `report/` and `quarantine/`, when it is whole.
        definitions: rules and mappings.
        workers: where the work is done.
        when: when the run began.
        gx_rows: about how many rows of the largest file the suites look at; 0 to run none.
        small_cells: most claims whose sum of money is withheld; 0 to withhold none.
        emit: takes events.
    """
    share = share_of(read.partitions, gx_rows)
    with SuiteRows(read.work / "suites", definitions.book, share) as suite_rows:
        taken = suite_rows if gx_rows else None
        settled = settle(
            read, definitions, workers, None, suite_rows=taken, emit=emit, is_reported=True
        )
        about = About(
            run=run_id(when, read),
            when=when,
            release=None,
            parent=None,
            resources=settled.totals.resources,
            quarantine=f"../{QUARANTINE}",
            small_cells=small_cells,
        )
        reported = write_reports(settled, definitions, taken, about, read.work, emit)
    _put_in_place(read.work, folder)
    return Validated(settled, replace(reported, folder=folder))


def check_report_folder(folder: Path) -> None:
    """Check that what a report would replace in a folder is an older report.

    Raises:
        UsageError: there are folders of the same names that are something else.
    """
    if (folder / REPORT / "report.json").is_file():
        return
    for kind in _KINDS:
        if (folder / kind).exists():
            raise UsageError(f"{folder / kind} is there and is no report: name another folder")


def _put_in_place(staged: Path, folder: Path) -> None:
    """Replace an older report and its quarantine, once the new one is whole on the same disk."""
    parts = [(kind, folder / f".{kind}.part") for kind in _KINDS if (staged / kind).is_dir()]
    try:
        for kind, part in parts:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(stat.S_IMODE((staged / kind).stat().st_mode))
            _copied(staged / kind, part)
    except BaseException:
        for _, part in parts:
            shutil.rmtree(part, ignore_errors=True)
        raise
    for kind in _KINDS:
        shutil.rmtree(folder / kind, ignore_errors=True)
    for kind, part in parts:
        part.replace(folder / kind)


def _copied(source: Path, target: Path) -> None:
    """Copy what is in a folder, with modes.

    The first file that cannot be written ends it, and says why (OSError).
    """
    for path in sorted(source.rglob("*")):
        into = target / path.relative_to(source)
        if path.is_dir():
            into.mkdir(stat.S_IMODE(path.stat().st_mode))
        else:
            shutil.copy(path, into)


def run_id(when: datetime, read: Read) -> str:
    """Return the id of a run: its time, and a hash of what it worked on."""
    return f"{when:%Y%m%dT%H%M%SZ}-{read.work.name[:8]}"
