"""The log of a nightly run: a line for each step, the last one with the result."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from etl.cli.console import LOG_TIME, exit_code, message_of, what_now
from etl.cli.result_tables import totals_text
from etl.errors import EtlError, StoreError, UsageError, counted
from etl.pipeline.progress import Event, Phase, StageBegan
from etl.pipeline.reporting.run_record import RunRecord
from etl.sources.files.listed_files import Partitioned

LogFormat: TypeAlias = Literal["text", "json"]

_run_log: Final = logging.getLogger("etl.run")
_NO_RUN: Final = "-"


@dataclass(slots=True)
class RunLog:
    """The lines of a run: time with zone, level, id of the run, message.

    Lines hold places and counts, never a row's data.

    Attributes:
        run: id of the run; `-` until it has one.
        phase: the present phase, a member of JSON lines; `-` between phases.
    """

    run: str = _NO_RUN
    phase: str = _NO_RUN

    def info(self, message: str, **fields: object) -> None:
        """Add a line; fields are members of the JSON line."""
        _run_log.info(message, extra=fields)

    def warning(self, message: str) -> None:
        """Add a line that warns."""
        _run_log.warning(message)

    def emit(self, event: Event) -> None:
        """Log an event of the run."""
        match event:
            case StageBegan(stage=stage):
                self.phase = stage
                self.info(f"{stage}: began")
            case Partitioned(rows=rows, partitions=count):
                self.info(
                    f"read {counted(rows, 'row')} into {counted(count, 'partition')}",
                    rows=rows,
                    partitions=count,
                )
            case _:
                pass

    def phase_ended(self, phase: Phase) -> None:
        """Log a completed phase."""
        self.info(
            f"{phase.stage}: {phase.steps}, {phase.seconds:.1f} s",
            seconds=round(phase.seconds, 3),
            count=phase.count,
            unit=phase.unit,
        )
        self.phase = _NO_RUN

    def run_ended(self, record: RunRecord) -> None:
        """Log the record of the run."""
        totals = record.totals
        if totals is None:
            self.info(f"verdict: {record.verdict}, {record.seconds:.1f} s", **_facts(record))
            return
        self.info(
            f"verdict: {record.verdict}, {record.seconds:.1f} s; {totals_text(totals)}",
            **_facts(record),
            claims=totals.claims,
            rejected_claims=totals.rejected_claims,
            rejected_rows=totals.rejected_rows,
            money_adds_up=totals.money.adds_up,
        )


def _facts(record: RunRecord) -> dict[str, object]:
    return {
        "verdict": record.verdict,
        "seconds": round(record.seconds, 3),
        "release": record.release,
        "report": record.report,
    }


@contextmanager
def run_log(path: Path | None, form: LogFormat = "text") -> Iterator[RunLog]:
    """Give the log of a run; without a file its lines are discarded.

    Errors are logged before they are raised further, and so are warnings of other modules.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.NullHandler()
    except OSError as error:
        raise UsageError(f"{path}: the log cannot be written: {error.strerror}") from None
    log = RunLog()
    handler.addFilter(_Named(log))
    handler.setFormatter(_json_lines() if form == "json" else _text_lines())
    previous_settings = _run_log.level, _run_log.propagate
    everything = logging.getLogger("etl")
    # The command prints its own output; these lines are shown there only with -v.
    _run_log.propagate = logging.getLogger().isEnabledFor(logging.INFO)
    _run_log.setLevel(logging.INFO)
    loggers = (everything,) if _run_log.propagate else (everything, _run_log)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with _ending():
            yield log
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        _run_log.level, _run_log.propagate = previous_settings
        handler.close()


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except EtlError as error:
        _run_log.error("stopped, exit %d: %s", error.exit_code, message_of(error))
        raise
    except OSError as error:
        _run_log.error("stopped, exit %d: %s", StoreError.exit_code, message_of(error) or "a bug")
        raise
    except KeyboardInterrupt as error:
        _run_log.error("stopped, exit %d: interrupted: %s", exit_code(error), what_now(error))
        raise
    except BaseException as error:
        _run_log.error("stopped: %s", type(error).__name__)
        raise


class _Named(logging.Filter):
    """Adds its run and phase to each line; drops no lines."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def filter(self, record: logging.LogRecord) -> bool:
        record.run, record.phase = self._log.run, self._log.phase
        return True


def _text_lines() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)s %(run)s %(message)s", LOG_TIME)


def _json_lines() -> logging.Formatter:
    """Return the formatter of JSON lines; a record's fields become members."""
    import structlog  # needed for JSON lines only

    def named(_: object, __: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
        head = {"time": line.pop("timestamp"), "level": line.pop("level")}
        head |= {name: line.pop(name) for name in ("run", "phase")}
        return {**head, "message": line.pop("event"), **line}

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ExtraAdder(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            named,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
