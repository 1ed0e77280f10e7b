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

SETTLE_SECONDS: Final = 1.0
"""Interval of syncs to disk and of the database's record of them."""

STALL_SECONDS: Final = 5.0
"""Time limit of writing an event, before the request behind it is refused."""

_WAIT_SECONDS: Final = 30.0
_DAY: Final = 86_400

_Outcomes = list[Exception | None]


@dataclass(slots=True)
class _Open:
    name: str
    descriptor: int
    day: str
    opened: int
    size: int
    events: int
    head: str


class _Read(NamedTuple):
    consent_id: str
    day: str
    what: str
    client_id: str
    patient: str


class AuditStalled(OSError):
    """The trail has not been written for some seconds: a disk or a network file system hangs."""

    def __init__(self) -> None:
        super().__init__("the audit trail cannot be written: its file system does not answer")


@dataclass(slots=True, eq=False)
class _Gathered:
    """Accesses of one turn of an event loop, and the waiter of each."""

    loop: asyncio.AbstractEventLoop
    accesses: list[Access] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    is_given_up: bool = False

    def answer(self, outcomes: _Outcomes) -> None:
        """Notify all waiters, from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so are they
            self.loop.call_soon_threadsafe(self.tell, outcomes)

    def tell(self, outcomes: _Outcomes) -> None:
        """Notify all waiters."""
        if self.timer is not None:
            self.timer.cancel()
        for done, error in zip(self.waiting, outcomes, strict=True):
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
        database: keeps how far each file has got.
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
        self._waiting: queue.SimpleQueue[
            _Gathered | tuple[AuditEvent, Future[None]] | Future[None] | None
        ] = queue.SimpleQueue()
        self._gathered: _Gathered | None = None
        self._writing_since: float | None = None
        self._file: _Open | None = None
        self._unsettled: dict[_Read, tuple[int, int]] = {}
        self._is_settled = True
        self._settling: Future[dict[_Read, tuple[int, int]] | None] | None = None
        self._settler: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def record(self, access: Access) -> None:
        """Keep one access.

        All accesses of one turn of the event loop are handed to the thread together: waking it and
        being woken by it costs some forty microseconds, however many they are.

        Raises:
            OSError: it could not be written; `AuditStalled` where that took too long. It may stand
                in the file all the same, once the disk answers again.
        """
        self._refuse_while_stalled()
        loop = asyncio.get_running_loop()
        gathered = self._gathered
        if gathered is None or gathered.loop is not loop:
            self._start()
            gathered = self._gathered = _Gathered(loop)
            loop.call_soon(self._hand_over, gathered)
        done = loop.create_future()
        gathered.accesses.append(access)
        gathered.waiting.append(done)
        await done

    def note(self, event: AuditEvent) -> None:
        """Keep one event.

        Raises:
            OSError: it could not be written.
        """
        self._refuse_while_stalled()
        done: Future[None] = Future()
        self._start()
        self._waiting.put((event, done))
        try:
            done.result(self._patience)
        except TimeoutError:
            done.cancel()
            raise AuditStalled from None

    def settle(self) -> None:
        """Wait until all that was written is on the disk and counted in the database."""
        done: Future[None] = Future()
        self._start()
        self._waiting.put(done)
        done.result(_WAIT_SECONDS)

    def close(self) -> None:
        """Write what is left and stop."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(_WAIT_SECONDS)
            self._thread = None
        if self._settler is not None:
            self._settler.shutdown(wait=False)  # a disk that hangs would hold it up for ever
            self._settler = None

    def _hand_over(self, gathered: _Gathered) -> None:
        if self._gathered is gathered:
            self._gathered = None
        gathered.timer = gathered.loop.call_later(self._patience, self._give_up, gathered)
        self._waiting.put(gathered)

    def _refuse_while_stalled(self) -> None:
        since = self._writing_since
        if since is not None and time.monotonic() - since > self._patience:
            raise AuditStalled

    def _give_up(self, gathered: _Gathered) -> None:
        gathered.is_given_up = True
        gathered.tell([AuditStalled() for _ in gathered.waiting])

    def _start(self) -> None:
        # Not before it is needed: worker processes are forked after the server is set up.
        with self._starting:
            if self._thread is None:
                self._settler = ThreadPoolExecutor(1, "audit-settling")
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        is_over = False
        while not is_over:
            self._writing_since = None
            try:
                item = self._waiting.get(timeout=SETTLE_SECONDS)
                is_over = item is None
            except queue.Empty:
                item = None
            self._writing_since = time.monotonic()
            if item is not None:
                self._do(item)
            if is_over:
                self._settle(wait=True)
            elif time.monotonic() - last >= SETTLE_SECONDS:
                self._settle(wait=False)
                last = time.monotonic()
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None

    def _do(self, item: _Gathered | tuple[AuditEvent, Future[None]] | Future[None]) -> None:
        match item:
            case Future():
                self._settle(wait=True)
                item.set_result(None)
            case _Gathered():
                if item.is_given_up:
                    return
                outcomes = self._write(item.accesses)
                item.answer(outcomes)
                for access, error in zip(item.accesses, outcomes, strict=True):
                    if error is None and access.grant and access.outcome < 300:
                        self._count(access)
            case (event, done):
                if not done.set_running_or_notify_cancel():
                    return
                (error,) = self._write((event,))
                done.set_result(None) if error is None else done.set_exception(error)

    def _write(self, batch: Sequence[Access | AuditEvent]) -> _Outcomes:
        """Write some events; return the error of each, None for one that was written."""
        outcomes: _Outcomes = []
        try:
            file = self._opened()
            head, lines = file.head, []
            for what in batch:
                try:
                    body = (
                        audit_events.of_access(what)
                        if isinstance(what, Access)
                        else audit_events.canonical(audit_events.of_event(what))
                    )
                    head, line = audit_events.chained(head, body)
                except Exception as error:  # only this event is refused; the thread continues
                    outcomes.append(error)
                else:
                    lines.append(line)
                    outcomes.append(None)
            if not lines:
                return outcomes
            self._append(file, b"".join(lines))
        except Exception as error:  # the whole batch is refused; the thread continues
            return [error] * len(batch)
        file.head = head
        file.events += len(lines)
        self._is_settled = False
        return outcomes

    def _count(self, access: Access) -> None:
        second = int(access.when.timestamp())
        parts = access.what.split("/")
        requested = parts[-1] if access.interaction == "search" else parts[0]
        for what in access.delivered or (requested,):
            read = _Read(access.grant, _day(second // _DAY), what, access.client, access.patient)
            count, last = self._unsettled.get(read, (0, 0))
            self._unsettled[read] = count + 1, max(last, second)

    def _opened(self) -> _Open:
        now = self._clock().astimezone(UTC)
        day = now.date().isoformat()
        if self._file is not None and self._file.day == day:
            return self._file
        if self._file is not None:
            self._settle(wait=True)
            # Dropped first: the number of a closed descriptor may soon be reused.
            old, self._file = self._file, None
            os.close(old.descriptor)
        name = f"audit-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}-{self._randomness(6).hex()}.ndjson"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        descriptor = os.open(self._folder / name, flags, 0o600)
        opened = int(now.timestamp())
        self._file = _Open(name, descriptor, day, opened, 0, 0, audit_events.start_of(name))
        try:
            _tell(self._database, self._file, {})
        except SQLAlchemyError as error:
            _LOG.warning("audit trail: a new file is not reported yet: %s", type(error).__name__)
        return self._file

    def _append(self, file: _Open, data: bytes) -> None:
        try:
            _append(file, data)
        except OSError:
            try:
                os.ftruncate(file.descriptor, file.size)  # removes a partial line
            except OSError:
                self._settled()
                self._file = None  # nothing is appended to a partial line: start a new file
                os.close(file.descriptor)
            raise

    def _settle(self, *, wait: bool) -> None:
        """Sync and count what was written, in a background thread.

        Args:
            wait: whether to wait for it all the same.
        """
        if self._settling is not None and not (wait or self._settling.done()):
            return
        self._settled()
        file = self._file
        if file is None or self._is_settled:
            return
        counts, self._unsettled = self._unsettled, {}
        self._is_settled = True
        assert self._settler is not None  # noqa: S101 - started with the thread that calls this
        self._settling = self._settler.submit(_settled, self._database, replace(file), counts)
        if wait:
            self._settled()

    def _settled(self) -> None:
        """Wait for the sync in progress; restore the counts that it could not save."""
        if self._settling is None:
            return
        failed, self._settling = self._settling.result(), None
        if failed is None:
            return
        self._is_settled = False
        for read, (count, last) in failed.items():
            more, later = self._unsettled.get(read, (0, 0))
            self._unsettled[read] = count + more, max(last, later)


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    """Return a day in UTC, by its number since 1970."""
    return datetime.fromtimestamp(number * _DAY, UTC).date().isoformat()


def _settled(
    database: Database, file: _Open, counts: dict[_Read, tuple[int, int]]
) -> dict[_Read, tuple[int, int]] | None:
    """Sync a file to disk and update the database; return the counts where that failed."""
    try:
        os.fsync(file.descriptor)
        _tell(database, file, counts)
    except Exception as error:  # of any kind: the thread that writes must continue
        # The counts are kept for the next sync; the files hold every event.
        _LOG.warning("audit trail: could not be settled: %s", type(error).__name__)
        return counts
    return None


def _append(file: _Open, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(file.descriptor, data[written:])
    file.size += len(data)


def _tell(database: Database, file: _Open, counts: dict[_Read, tuple[int, int]]) -> None:
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
            read._asdict() | {"count": count, "last": last}
            for read, (count, last) in sorted(counts.items())
        ]
        table = cast("Table", AccessRow.__table__)
        access, present = database.insert(table), table.c
        session.connection().execute(
            access.on_conflict_do_update(
                index_elements=["consent_id", "day", "what"],
                set_={
                    "count": present["count"] + access.excluded["count"],
                    "last": greatest(present["last"], access.excluded["last"]),
                },
            ),
            rows,
        )
