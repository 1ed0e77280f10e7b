"""The audit trail: every access and every change of a grant, written before it is answered.

Each process writes files of its own, a new one each day, so that no two ever wait for each other.
One thread writes what has come together since the last write, in one go; who asked for it goes on
when it stands in the file. The database keeps how far each file has got, so that a missing file or
a missing end is noticed, and what members are shown of it: counts by day.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Final

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError

from etl.auth import events
from etl.auth.configuration import Clock, Randomness
from etl.auth.database import Database
from etl.auth.tables import AccessRow, TrailRow
from etl.auth.values import Happening
from etl.smart.grants import Access

_LOG = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 1.0
"""How often files are forced to the disk and the database is told how far they have got."""

_MOST_AT_ONCE: Final = 500
_WAIT_SECONDS: Final = 30.0

_Waiting = tuple[Access | Happening, "Future[None]"]


@dataclass(slots=True)
class _Open:
    name: str
    descriptor: int
    day: str
    opened: int
    size: int
    events: int
    head: str


@dataclass(frozen=True, slots=True)
class _Read:
    consent: str
    day: str
    what: str
    client: str
    patient: str


class AuditTrail:
    """Writes the audit trail; `etl.smart.grants.Recorder`, and `Note` for what is no access."""

    def __init__(
        self, folder: Path, database: Database, *, clock: Clock, randomness: Randomness
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._database = database
        self._clock = clock
        self._randomness = randomness
        self._waiting: queue.SimpleQueue[_Waiting | Future[None] | None] = queue.SimpleQueue()
        self._file: _Open | None = None
        self._unsettled: dict[_Read, tuple[int, int]] = {}
        self._is_settled = True
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def record(self, access: Access) -> None:
        """Keep one access.

        Raises:
            OSError: it could not be written.
        """
        await asyncio.wrap_future(self._put(access))

    def note(self, happening: Happening) -> None:
        """Keep one happening.

        Raises:
            OSError: it could not be written.
        """
        self._put(happening).result(_WAIT_SECONDS)

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
            self._thread.join()
            self._thread = None

    def _put(self, what: Access | Happening) -> Future[None]:
        done: Future[None] = Future()
        self._start()
        self._waiting.put((what, done))
        return done

    def _start(self) -> None:
        # Not before it is needed: worker processes are forked after the server is set up.
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        goes_on = True
        while goes_on:
            batch: list[_Waiting] = []
            settled: list[Future[None]] = []
            for one in self._next():
                if one is None:
                    goes_on = False
                elif isinstance(one, Future):
                    settled.append(one)
                elif one[1].set_running_or_notify_cancel():
                    batch.append(one)  # who still waits for it cannot be cancelled any more
            if batch:
                self._write(batch)
            if settled or not goes_on or time.monotonic() - last >= SETTLE_SECONDS:
                self._settle()
                last = time.monotonic()
            for done in settled:
                if done.set_running_or_notify_cancel():
                    done.set_result(None)
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None

    def _next(self) -> Sequence[_Waiting | Future[None] | None]:
        found: list[_Waiting | Future[None] | None] = []
        try:
            found.append(self._waiting.get(timeout=SETTLE_SECONDS))
            while len(found) < _MOST_AT_ONCE:
                found.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return found

    def _write(self, batch: list[_Waiting]) -> None:
        written: list[_Waiting] = []
        try:
            file = self._opened()
            head, lines = file.head, []
            for what, done in batch:
                try:
                    event = (
                        events.of_access(what)
                        if isinstance(what, Access)
                        else events.of_happening(what)
                    )
                    head, line = events.chained(head, event)
                except Exception as error:  # this one alone is refused; the thread must go on
                    done.set_exception(error)
                    continue
                lines.append(line)
                written.append((what, done))
            if not written:
                return
            self._append(file, b"".join(lines))
        except OSError as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return
        file.head = head
        file.events += len(written)
        self._is_settled = False
        for what, done in written:
            if isinstance(what, Access) and what.grant and what.outcome < 300:
                self._count(what)
            done.set_result(None)

    def _count(self, access: Access) -> None:
        at = access.when.astimezone(UTC)
        read = _Read(
            access.grant,
            at.date().isoformat(),
            access.what.partition("/")[0],
            access.client,
            access.patient,
        )
        count, last = self._unsettled.get(read, (0, 0))
        self._unsettled[read] = count + 1, max(last, int(at.timestamp()))

    def _opened(self) -> _Open:
        now = self._clock().astimezone(UTC)
        day = now.date().isoformat()
        if self._file is not None and self._file.day == day:
            return self._file
        if self._file is not None:
            self._settle()
            # Forgotten first: the number of a closed file may soon be another file's.
            old, self._file = self._file, None
            os.close(old.descriptor)
        name = f"audit-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}-{self._randomness(6).hex()}.ndjson"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        descriptor = os.open(self._folder / name, flags, 0o600)
        opened = int(now.timestamp())
        self._file = _Open(name, descriptor, day, opened, 0, 0, events.start_of(name))
        try:
            _tell(self._database, self._file, {})
        except SQLAlchemyError as error:
            _LOG.warning("audit trail: a new file is not told of yet: %s", type(error).__name__)
        return self._file

    def _append(self, file: _Open, data: bytes) -> None:
        try:
            _append(file, data)
        except OSError:
            try:
                os.ftruncate(file.descriptor, file.size)  # no half line stays
            except OSError:
                self._file = None  # nothing is written behind half a line: a new file is begun
                os.close(file.descriptor)
            raise

    def _settle(self) -> None:
        file = self._file
        if file is None or (self._is_settled and not self._unsettled):
            return
        counts, self._unsettled = self._unsettled, {}
        try:
            os.fsync(file.descriptor)
            _tell(self._database, file, counts)
            self._is_settled = True
        except (OSError, SQLAlchemyError) as error:
            # What was counted is kept for the next time; the files have it all.
            for read, (count, last) in counts.items():
                more, later = self._unsettled.get(read, (0, 0))
                self._unsettled[read] = count + more, max(last, later)
            _LOG.warning("audit trail: could not be settled: %s", type(error).__name__)


def _append(file: _Open, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(file.descriptor, data[written:])
    file.size += len(data)


def _tell(database: Database, file: _Open, counts: dict[_Read, tuple[int, int]]) -> None:
    insert = sqlite_insert if database.is_sqlite else postgresql_insert
    greatest = func.max if database.is_sqlite else func.greatest
    with database.write() as session:
        trail = insert(TrailRow).values(
            file=file.name, opened=file.opened, events=file.events, head=file.head
        )
        session.execute(
            trail.on_conflict_do_update(
                index_elements=["file"],
                set_={"events": trail.excluded.events, "head": trail.excluded.head},
            )
        )
        # In one order always: two processes that add to the same rows must not lock crosswise.
        for read in sorted(counts, key=lambda one: (one.consent, one.day, one.what)):
            count, last = counts[read]
            access = insert(AccessRow).values(
                consent_id=read.consent,
                day=read.day,
                what=read.what,
                client_id=read.client,
                patient=read.patient,
                count=count,
                last=last,
            )
            session.execute(
                access.on_conflict_do_update(
                    index_elements=["consent_id", "day", "what"],
                    set_={
                        "count": AccessRow.count + access.excluded.count,
                        "last": greatest(AccessRow.last, access.excluded.last),
                    },
                )
            )


@dataclass(frozen=True, slots=True)
class TrailCheck:
    """What a check of the audit trail found.

    Attributes:
        files: how many were read.
        events: how many they hold.
        problems: one sentence each; none where all is as it was written.
    """

    files: int
    events: int
    problems: tuple[str, ...]


def verify_trail(folders: Sequence[Path], database: Database | None) -> TrailCheck:
    """Check that nothing in the audit trail was changed, taken out or put in.

    Args:
        folders: where the files are, those in an archive included.
        database: where it stands how far each file had got; None to check the chains alone.
    """
    files = {
        path.name: path for folder in folders for path in sorted(folder.glob("audit-*.ndjson"))
    }
    heads: dict[str, list[str]] = {}
    problems: list[str] = []
    for name, path in sorted(files.items()):
        heads[name], problem = _chain(name, path)
        if problem:
            problems.append(problem)
    if database is not None:
        with database.read() as session:
            rows = session.query(TrailRow).order_by(TrailRow.file).all()
        for row in rows:
            found = heads.get(row.file)
            if found is None:
                problems.append(f"{row.file}: the file is missing; it held {row.events} events")
            elif len(found) < row.events:
                problems.append(
                    f"{row.file}: {row.events - len(found)} events are missing at its end"
                )
            elif row.events and found[row.events - 1] != row.head:
                problems.append(f"{row.file}: event {row.events} is not the one that was written")
        known = {row.file for row in rows}
        problems.extend(
            f"{name}: the server never told of this file" for name in heads if name not in known
        )
    return TrailCheck(len(files), sum(map(len, heads.values())), tuple(problems))


def _chain(name: str, path: Path) -> tuple[list[str], str]:
    heads: list[str] = []
    previous = events.start_of(name)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = events.parse(line)
                given = event.pop("id")
            except (ValueError, KeyError, AttributeError):
                return heads, f"{name}: line {number} is no event"
            previous, _ = events.chained(previous, event)
            if previous != given:
                return heads, f"{name}: line {number} was changed, or one before it is missing"
            heads.append(previous)
    return heads, ""
