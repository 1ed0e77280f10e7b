"""A run with its record: what the command line and a scheduler call to publish."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etl.bootstrap.monitors import run_began, run_ended
from etl.bootstrap.release_approvals import Approvals
from etl.bootstrap.settings import Settings, target_store
from etl.bootstrap.use_cases import now, run_extract
from etl.errors import EtlError
from etl.pipeline.progress import Emit, Phase, Phases, to_all
from etl.pipeline.reporting import run_record
from etl.pipeline.reporting.report_files import RunResult


@dataclass(frozen=True, slots=True)
class RunObserver:
    """Receives events and results of a run.

    Attributes:
        emit: receives events.
        phase_ended: receives each completed phase.
        run_ended: receives the record of the run, whatever its result; before an error is raised.
    """

    emit: Emit
    phase_ended: Callable[[Phase], None] = lambda _: None
    run_ended: Callable[[run_record.RunRecord], None] = lambda _: None


def start_of(settings: Settings, extract: Path | str) -> run_record.RunStart:
    """Return a run that begins now."""
    began = now()
    run = f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    return run_record.RunStart(run, began, str(extract), settings.target)


def run_and_record(
    settings: Settings,
    start: run_record.RunStart,
    observer: RunObserver,
    approvals: Approvals,
    *,
    repair: bool = False,
) -> RunResult:
    """Publish an extract to the target, and keep a record of the run there.

    Args:
        settings: name the target and the options.
        start: the run.
        observer: receives events, phases, and the record.
        approvals: the caller's.
        repair: as for `run_extract`.

    Raises: as `run_extract`; the record is kept all the same.
    """
    run_began(settings, start)
    phases = Phases(time.monotonic, observer.phase_ended)
    emit = to_all(phases, observer.emit)
    try:
        ran = run_extract(settings, Path(start.extract), emit, approvals, repair=repair)
        phases.end()
        record = run_record.record_of(start, now(), phases.done, ran)
    except BaseException as error:
        phases.end()
        _finish(settings, observer, run_record.record_of_error(start, now(), phases.done, error))
        raise
    _finish(settings, observer, record)
    return ran


def _finish(settings: Settings, observer: RunObserver, record: run_record.RunRecord) -> None:
    keep_record(settings, record)
    run_ended(settings, record)
    observer.run_ended(record)


def keep_record(settings: Settings, record: run_record.RunRecord) -> None:
    """Keep the record of a run in its target, if that can be opened."""
    try:
        store = target_store(settings)
    except EtlError:  # the cause of the failed run
        return
    run_record.write_record(store, record)
