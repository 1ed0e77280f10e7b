"""Publish an extract, keep a record of the run, and notify monitors.

No monitor can fail a run: an error is logged. Libraries of a single monitor are imported there.
"""

from __future__ import annotations

import getpass
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from etl.bootstrap.run_records import write_record
from etl.bootstrap.settings import Settings, target_store
from etl.bootstrap.use_cases import Approvals, now, run_extract
from etl.errors import CommitUnknown, EtlError
from etl.pipeline.progress import Committed, Emit, Event, Phase, Phases, StageBegan, to_all
from etl.pipeline.reporting import run_record
from etl.pipeline.reporting.report_files import RunResult
from etl.pipeline.reporting.run_record import GOOD, RunRecord
from etl.publish import object_keys
from etl.publish.reader import open_current

log = logging.getLogger(__name__)

HOOK_SECONDS: Final = 10.0
"""Time limit of each hook."""

_NOT_PUBLISHED: Final = "nothing was published; run the same command again to continue from here"


def run_ended(settings: Settings, record: RunRecord) -> None:
    """Notify monitors of the result of a run."""
    wanted, is_good = settings.monitoring, record.verdict in GOOD
    if wanted.textfile is not None:
        path = wanted.textfile
        _run_hook("textfile", lambda: _write_textfile(path, record))
    if settings.publish.timestamp_url and is_good:
        url = settings.publish.timestamp_url.get_secret_value()
        _run_hook("timestamp_url", lambda: _timestamp_release(settings, url))
    if wanted.notify_on == "always" or not is_good:
        _notify(settings, record)


def _write_textfile(path: Path, record: RunRecord) -> None:
    from etl.monitoring.textfile import write_textfile  # prometheus_client, for this alone

    write_textfile(path, record)


def _timestamp_release(settings: Settings, url: str) -> None:
    """Have the current release timestamped, unless it already is."""
    from etl.monitoring.notification import post
    from etl.publish.signatures import MEDIA_TYPE, StampRequest

    store = target_store(settings)
    release = open_current(store).release
    if release is None or any(store.list(object_keys.time_stamp(release.id))):
        return
    request = StampRequest.from_data(store.get(release.manifest.key))
    answer = post(url, HOOK_SECONDS, request.body, MEDIA_TYPE)
    request.check(answer)
    store.put(object_keys.time_stamp(release.id), answer)
    store.sync()


def _notify(settings: Settings, record: RunRecord) -> None:
    wanted = settings.monitoring
    if not (wanted.notify_command or wanted.notify_services):
        return
    from etl.monitoring.notification import notify_services, run_command

    if wanted.notify_command:
        _run_hook(
            "notify_command", lambda: run_command(wanted.notify_command, record, HOOK_SECONDS)
        )
    if wanted.notify_services:
        services = [each.get_secret_value() for each in wanted.notify_services]
        _run_hook("notify_services", lambda: notify_services(services, record))


def _run_hook(name: str, hook: Callable[[], None]) -> None:
    try:
        hook()
    except EtlError as error:
        log.warning("%s: %s; the run is not affected", name, error)
    except ModuleNotFoundError as error:
        missing = f"the package {error.name} is not installed"
        log.warning("%s: %s; the run is not affected", name, missing)
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        log.warning("%s: %s; the run is not affected", name, reason.lower() or type(error).__name__)


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


@dataclass(slots=True)
class Outcome:
    """What a command has changed for readers so far.

    Attributes:
        target: the target, as the command named it.
        sentence: the state, and what to do if the command ends here.
        release: id of the release that readers see because of it; None before its commit.
    """

    target: str
    sentence: str
    release: str | None = None

    def watch(self, event: Event) -> None:
        """Update the state by an event."""
        match event:
            case StageBegan(stage="commit"):
                self.sentence = (
                    f"a release was being published: `cpcds releases {self.target}` shows whether "
                    "readers see it; run the same command again to finish"
                )
            case Committed(release=release):
                self.release = release
                self.sentence = (
                    f"release {release} is published, and readers see it; run the same command "
                    "again to finish what follows, such as Bulk Publish pages and lists of reports"
                )
            case _:
                pass

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Add the sentence as a note to an exception, unless its message suffices."""
        try:
            yield
        except BaseException as error:
            if self.release or isinstance(error, KeyboardInterrupt | CommitUnknown):
                error.add_note(self.sentence)
            raise


def start_of(settings: Settings, extract: Path | str, note: str = "") -> run_record.RunStart:
    """Return a run that begins now."""
    began = now()
    run = f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        user = str(os.getuid())
    start = run_record.RunStart(run, began, str(extract), settings.target)
    return replace(start, user=user, host=socket.gethostname(), note=" ".join(note.split()))


def run_and_record(
    settings: Settings,
    start: run_record.RunStart,
    observer: RunObserver,
    approvals: Approvals,
    *,
    repair: bool = False,
) -> RunResult:
    """Publish an extract to the target, and store a record of the run there.

    Args:
        settings: name the target and the options.
        observer: receives events, phases, and the record.
        repair: as for `run_extract`.

    Raises: as `run_extract`; the record is stored anyway.
    """
    outcome = Outcome(settings.target, _NOT_PUBLISHED)
    phases = Phases(time.monotonic, observer.phase_ended)
    emit = to_all(outcome.watch, phases, observer.emit)
    with outcome.noted():
        try:
            ran = run_extract(settings, Path(start.extract), emit, approvals, repair=repair)
            phases.end()
            record = run_record.record_of(start, now(), phases.finished, ran)
        except BaseException as error:
            phases.end()
            facts = (start, now(), phases.finished, error, outcome.release)
            _finish(settings, observer, run_record.record_of_error(*facts))
            raise
        _finish(settings, observer, record)
    return ran


def _finish(settings: Settings, observer: RunObserver, record: run_record.RunRecord) -> None:
    keep_record(settings, record)
    run_ended(settings, record)
    observer.run_ended(record)


def keep_record(settings: Settings, record: run_record.RunRecord) -> None:
    """Store the record of a run in its target, if that can be opened."""
    try:
        store = target_store(settings)
    except EtlError:  # the cause of the failed run
        return
    write_record(store, record)
