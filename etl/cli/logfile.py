"""The log of a nightly run: a line a step, the last one saying how it ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from etl.cli.signals import exit_code, what_now
from etl.cli.system_errors import sentence_of
from etl.errors import EtlError, StoreError, UsageError
from etl.pipeline.events import Emit, Event, StageBegan
from etl.sources import Partitioned

_log: Final = logging.getLogger("etl.run")


@contextmanager
def log_file(path: Path | None) -> Iterator[logging.Logger]:
    """Give what takes lines for the log; they go nowhere where there is no file.

    Errors are written to it on their way out. Lines hold places and counts, never a row's data.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.NullHandler()
    except OSError as error:
        raise UsageError(f"{path}: the log cannot be written: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = _log.level, _log.propagate
    # The command tells its caller itself; only who asks for more (-v) sees these lines there too.
    _log.propagate = logging.getLogger().isEnabledFor(logging.INFO)
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        with _ending():
            yield _log
    finally:
        _log.level, _log.propagate = before
        _log.removeHandler(handler)
        handler.close()


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except EtlError as error:
        _log.error("stopped, exit %d: %s", error.exit_code, error)
        raise
    except OSError as error:
        _log.error("stopped, exit %d: %s", StoreError.exit_code, sentence_of(error) or "a bug")
        raise
    except KeyboardInterrupt as error:
        _log.error("stopped, exit %d: interrupted: %s", exit_code(error), what_now(error))
        raise
    except BaseException as error:
        _log.error("stopped: %s", type(error).__name__)
        raise


def noting(emit: Emit) -> Emit:
    """Return what writes the steps of a run to the log, and hands them on."""

    def note(event: Event) -> None:
        match event:
            case StageBegan(stage=stage):
                _log.info("step: %s", stage)
            case Partitioned(rows=rows, partitions=count):
                _log.info("read %d rows, partitions: %d", rows, count)
            case _:
                pass
        emit(event)

    return note
