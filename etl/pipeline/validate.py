"""Checking an extract without publishing: the auditor's report and the quarantine, nothing else."""

from __future__ import annotations

import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from etl.errors import UsageError
from etl.pipeline.context import RunContext
from etl.pipeline.process import Processed, process
from etl.pipeline.read import read
from etl.pipeline.report import (
    QUARANTINE,
    REPORT,
    About,
    LimitBroken,
    Reported,
    run_id,
    write_reports,
)
from etl.pipeline.suites import sample_of

_KINDS: Final = (QUARANTINE, REPORT)


@dataclass(frozen=True, slots=True)
class Validated:
    """The result of a validation.

    Attributes:
        processed: the extract, checked and mapped.
        reported: the report.
    """

    processed: Processed
    reported: Reported

    def enforce(self) -> None:
        """Stop where a limit does not hold; the report is there.

        Raises:
            LimitBroken: one does not.
        """
        if self.reported.report.stopped:
            raise LimitBroken(self.processed, self.reported.report, str(self.reported.page))


def validate(context: RunContext, folder: Path) -> Validated:
    """Check every row of an extract, map what is accepted to see that it can be, and report.

    Args:
        context: of the run.
        folder: where the report goes, below `report/` and `quarantine/`, when it is whole.
    """
    rows = read(context)
    sample = sample_of(rows, context.options)
    processed = process(context, rows, row_output=sample, is_reported=True)
    context.executor.dismiss()
    about = About(
        run=run_id(context.when, rows),
        when=context.when,
        release=None,
        parent=None,
        resources=processed.totals.resources,
        elements=processed.totals.elements,
        quarantine=f"../{QUARANTINE}",
    )
    reported = write_reports(context, processed, about)
    _put_in_place(rows.work, folder)
    return Validated(processed, replace(reported, folder=folder))


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

    The first file that cannot be written ends it with an OSError that states why.
    """
    for path in sorted(source.rglob("*")):
        into = target / path.relative_to(source)
        if path.is_dir():
            into.mkdir(stat.S_IMODE(path.stat().st_mode))
        else:
            shutil.copy(path, into)
