"""The audit trail: every access and every change of a grant, written before it is answered.

Each process writes files of its own, a new one each day, so that no two ever wait for each other.
One thread writes all pending events in one batch; a request continues when its event is in the
file. No other thread writes to the files, so that a disk that hangs blocks that thread alone:
waiting requests are refused after some seconds, later ones at once, until the disk answers again.
The database keeps the extent of each file, so that a missing file or a truncated one is detected,
and the daily counts that members are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, cast

from sqlalchemy import Table, func
from sqlalchemy.exc import SQLAlchemyError

from etl.auth import audit_events
from etl.auth.configuration import Clock, Randomness
from etl.auth.database import Database
from etl.auth.database_tables import AccessRow, TrailRow
from etl.auth.records import AuditEvent
from etl.smart.grants import Access

_LOG = logging.getLogger(__name__)

SYNC_SECONDS: Final = 1.0
"""Interval of syncs to disk and of the database's record of them."""

STALL_SECONDS: Final = 5.0
"""Time limit of writing an event, before the request behind it is refused."""

_WAIT_SECONDS: Final = 30.0
_DAY: Final = 86_400

_Outcomes = list[Exception | None]


@dataclass(slots=True)
class _OpenFile:
    name: str
    descriptor: int
    day: str
    opened: int
    size: int
    events: int
    head: str


class _ReadKey(NamedTuple):
    consent_id: str
    day: str
    what: str
    client_id: str
    patient: str


_Counts = dict[_ReadKey, tuple[int, int]]
"""Reads by key: their number, and the second of the last one."""


class AuditStalled(OSError):
    """The trail has not been written for some seconds: a disk or a network file system hangs."""

    def __init__(self) -> None:
        super().__init__("the audit trail cannot be written: its file system does not answer")


@dataclass(slots=True, eq=False)
class _AccessBatch:
    """Accesses of one turn of an event loop, each with the request that waits for it."""

    loop: asyncio.AbstractEventLoop
    accesses: list[Access] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    is_abandoned: bool = False

    def notify_from_thread(self, outcomes: _Outcomes) -> None:
        """Notify all waiters, from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so are they
            self.loop.call_soon_threadsafe(self.notify, outcomes)

    def notify(self, outcomes: _Outcomes) -> None:
        """Notify all waiters."""
        if self.timer is not None:
            self.timer.cancel()
        for done, error in zip(self.waiters, outcomes, strict=True):
            if done.done():  # given up meanwhile
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)


class AuditTrail:
    """Writes the audit trail; `etl.smart.grants.Recorder`.

    Args:
        folder: where the files are; made where it is missing.
        database: stores the extent of each file.
        clock: gives the present time.
        randomness: distinguishes files of one second.
        patience: time limit of writing an event, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        clock: Clock,
        randomness: Randomness,
        patience: float = STALL_SECONDS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._database = database
        self._clock = clock
        self._randomness = randomness
        self._patience = patience
        self._queue: queue.SimpleQueue[
            _AccessBatch | tuple[AuditEvent, Future[None]] | Future[None] | None
        ] = queue.SimpleQueue()
        self._batch: _AccessBatch | None = None
        self._writing_since: float | None = None
        self._file: _OpenFile | None = None
        self._unsaved: _Counts = {}
        self._is_synced = True
        self._syncing: Future[_Counts | None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    async def record(self, access: Access) -> None:
        """Write one access to the trail.

        All accesses of one turn of the event loop are handed to the thread together: waking it and
        being woken by it costs some forty microseconds, however many they are.

        Raises:
            OSError: the access could not be written; `AuditStalled` if that took too long. It may
                still appear in the file once the disk answers again.
        """
        self._refuse_while_stalled()
        loop = asyncio.get_running_loop()
        batch = self._batch
        if batch is None or batch.loop is not loop:
            self._start()
            batch = self._batch = _AccessBatch(loop)
            loop.call_soon(self._hand_over, batch)
        done = loop.create_future()
        batch.accesses.append(access)
        batch.waiters.append(done)
        await done

    def note(self, event: AuditEvent) -> None:
        """Write one event to the trail.

        Raises:
            OSError: the event could not be written.
        """
        self._refuse_while_stalled()
        done: Future[None] = Future()
        self._start()
        self._queue.put((event, done))
        try:
            done.result(self._patience)
        except TimeoutError:
            done.cancel()
            raise AuditStalled from None

    def flush(self) -> None:
        """Wait until all that was written is on the disk and counted in the database."""
        done: Future[None] = Future()
        self._start()
        self._queue.put(done)
        done.result(_WAIT_SECONDS)

    def close(self) -> None:
        """Write the pending events, and stop the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_WAIT_SECONDS)
            self._thread = None
        if self._executor is not None:
            self._executor.shutdown(wait=False)  # a disk that hangs would hold it up for ever
            self._executor = None

    def _hand_over(self, batch: _AccessBatch) -> None:
        if self._batch is batch:
            self._batch = None
        batch.timer = batch.loop.call_later(self._patience, self._abandon, batch)
        self._queue.put(batch)

    def _refuse_while_stalled(self) -> None:
        since = self._writing_since
        if since is not None and time.monotonic() - since > self._patience:
            raise AuditStalled

    def _abandon(self, batch: _AccessBatch) -> None:
        batch.is_abandoned = True
        batch.notify([AuditStalled() for _ in batch.waiters])

    def _start(self) -> None:
        # Not before it is needed: worker processes are forked after the server is set up.
        with self._start_lock:
            if self._thread is None:
                self._executor = ThreadPoolExecutor(1, "audit-sync")
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        last_sync = time.monotonic()
        is_closing = False
        while not is_closing:
            self._writing_since = None
            try:
                item = self._queue.get(timeout=SYNC_SECONDS)
                is_closing = item is None
            except queue.Empty:
                item = None
            self._writing_since = time.monotonic()
            if item is not None:
                self._process(item)
            if is_closing:
                self._sync(wait=True)
            elif time.monotonic() - last_sync >= SYNC_SECONDS:
                self._sync(wait=False)
                last_sync = time.monotonic()
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None

    def _process(self, item: _AccessBatch | tuple[AuditEvent, Future[None]] | Future[None]) -> None:
        match item:
            case Future():
                self._sync(wait=True)
                item.set_result(None)
            case _AccessBatch():
                if item.is_abandoned:
                    return
                outcomes = self._write(item.accesses)
                item.notify_from_thread(outcomes)
                for access, error in zip(item.accesses, outcomes, strict=True):
                    if error is None and access.grant and access.outcome < 300:
                        self._count(access)
            case (event, done):
                if not done.set_running_or_notify_cancel():
                    return
                (error,) = self._write((event,))
                done.set_result(None) if error is None else done.set_exception(error)

    def _write(self, entries: Sequence[Access | AuditEvent]) -> _Outcomes:
        """Write some events; return the error of each, None for one that was written."""
        outcomes: _Outcomes = []
        try:
            file = self._current_file()
            head, lines = file.head, []
            for entry in entries:
                try:
                    body = (
                        audit_events.access_event(entry)
                        if isinstance(entry, Access)
                        else audit_events.canonical_json(audit_events.trail_event(entry))
                    )
                    head, line = audit_events.chain_event(head, body)
                except Exception as error:  # only this event is refused; the thread continues
                    outcomes.append(error)
                else:
                    lines.append(line)
                    outcomes.append(None)
            if not lines:
                return outcomes
            self._append(file, b"".join(lines))
        except Exception as error:  # the whole batch is refused; the thread continues
            return [error] * len(entries)
        file.head = head
        file.events += len(lines)
        self._is_synced = False
        return outcomes

    def _count(self, access: Access) -> None:
        """Add an access to the daily counts by resource type that members are shown."""
        second = int(access.when.timestamp())
        parts = access.what.split("/")
        requested = parts[-1] if access.interaction == "search" else parts[0]
        for what in access.delivered or (requested,):
            key = _ReadKey(access.grant, _day(second // _DAY), what, access.client, access.patient)
            count, last = self._unsaved.get(key, (0, 0))
            self._unsaved[key] = count + 1, max(last, second)

    def _current_file(self) -> _OpenFile:
        """Return today's file of this process; a new day closes the old one and opens one."""
        now = self._clock().astimezone(UTC)
        day = now.date().isoformat()
        if self._file is not None and self._file.day == day:
            return self._file
        if self._file is not None:
            self._sync(wait=True)
            # Dropped first: the number of a closed descriptor may soon be reused.
            closed, self._file = self._file, None
            os.close(closed.descriptor)
        name = f"audit-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}-{self._randomness(6).hex()}.ndjson"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        descriptor = os.open(self._folder / name, flags, 0o600)
        opened = int(now.timestamp())
        self._file = _OpenFile(name, descriptor, day, opened, 0, 0, audit_events.chain_start(name))
        try:
            _save_state(self._database, self._file, {})
        except SQLAlchemyError as error:
            _LOG.warning("audit trail: a new file is not reported yet: %s", type(error).__name__)
        return self._file

    def _append(self, file: _OpenFile, data: bytes) -> None:
        try:
            _append(file, data)
        except OSError:
            try:
                os.ftruncate(file.descriptor, file.size)  # removes a partial line
            except OSError:
                self._finish_sync()
                self._file = None  # nothing is appended to a partial line: start a new file
                os.close(file.descriptor)
            raise

    def _sync(self, *, wait: bool) -> None:
        """Sync and count what was written, in a background thread.

        Args:
            wait: whether to return only when that is done.
        """
        if self._syncing is not None and not (wait or self._syncing.done()):
            return
        self._finish_sync()
        file = self._file
        if file is None or self._is_synced:
            return
        counts, self._unsaved = self._unsaved, {}
        self._is_synced = True
        assert self._executor is not None  # noqa: S101 - started with the thread that calls this
        self._syncing = self._executor.submit(_sync_file, self._database, replace(file), counts)
        if wait:
            self._finish_sync()

    def _finish_sync(self) -> None:
        """Wait for the sync in progress; restore the counts that it could not save."""
        if self._syncing is None:
            return
        unsaved, self._syncing = self._syncing.result(), None
        if unsaved is None:
            return
        self._is_synced = False
        for key, (count, last) in unsaved.items():
            new_count, new_last = self._unsaved.get(key, (0, 0))
            self._unsaved[key] = count + new_count, max(last, new_last)


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    """Return a day in UTC, by its number since 1970."""
    return datetime.fromtimestamp(number * _DAY, UTC).date().isoformat()


def _sync_file(database: Database, file: _OpenFile, counts: _Counts) -> _Counts | None:
    """Sync a file to disk and update the database; return the counts if that failed."""
    try:
        os.fsync(file.descriptor)
        _save_state(database, file, counts)
    except Exception as error:  # of any kind: the thread that writes must continue
        # The counts are kept for the next sync; the files hold every event.
        _LOG.warning("audit trail: could not be settled: %s", type(error).__name__)
        return counts
    return None


def _append(file: _OpenFile, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(file.descriptor, data[written:])
    file.size += len(data)


def _save_state(database: Database, file: _OpenFile, counts: _Counts) -> None:
    """Save a file's extent, and add to the daily counts of reads."""
    greatest = func.max if database.is_sqlite else func.greatest
    with database.write() as session:
        trail = database.insert(TrailRow).values(
            file=file.name, opened=file.opened, events=file.events, head=file.head
        )
        session.execute(
            trail.on_conflict_do_update(
                index_elements=["file"],
                set_={"events": trail.excluded.events, "head": trail.excluded.head},
            )
        )
        if not counts:
            return
        # Always in the same order: two processes that update the same rows must not deadlock.
        rows = [
            key._asdict() | {"count": count, "last": last}
            for key, (count, last) in sorted(counts.items())
        ]
        table = cast("Table", AccessRow.__table__)
        access, columns = database.insert(table), table.c
        session.connection().execute(
            access.on_conflict_do_update(
                index_elements=["consent_id", "day", "what"],
                set_={
                    "count": columns["count"] + access.excluded["count"],
                    "last": greatest(columns["last"], access.excluded["last"]),
                },
            ),
            rows,
        )
