"""The audit trail when things go wrong around it: it goes on, and every line of it is true."""

import asyncio
import contextlib
import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from etl.auth import audit
from etl.auth.audit import AuditStalled, AuditTrail
from etl.auth.audit_events import verify_trail
from etl.auth.database import migrate, open_database
from etl.auth.database_tables import AccessRow
from etl.auth.records import AuditEvent
from etl.smart.grants import Access
from tests.integration.auth.standing import Clock
from tests.unit.gateway import calls

READ = Access(
    when=datetime(2026, 2, 1, tzinfo=UTC),
    request="r1",
    client="app",
    grant="consent",
    patient="ana",
    interaction="search",
    what="Coverage",
    query="",
    outcome=200,
    address="192.0.2.1",
)

PATIENCE = 1.0

SIGNED_IN = AuditEvent(READ.when, "member-sign-in", patient="ana", by="member")


@pytest.fixture
def database(tmp_path):
    found = open_database(f"sqlite:///{tmp_path / 'auth.db'}")
    migrate(found)
    yield found
    found.close()


@pytest.fixture
def clock():
    return Clock(READ.when)


@pytest.fixture
def trail(tmp_path, database, clock):
    found = AuditTrail(tmp_path / "audit", database, clock=clock, randomness=os.urandom)
    yield found
    found.close()


def recorded(trail, access=READ):
    async def record():
        async with asyncio.timeout(5):
            await trail.record(access)

    asyncio.run(record())


def events(tmp_path, database):
    found = verify_trail([tmp_path / "audit"], database)
    assert found.problems == ()
    return found.events


def accesses_by_day(database):
    with database.read() as session:
        return {row.day: row.count for row in session.query(AccessRow)}


def test_a_request_that_was_given_up_while_it_waited_does_not_stop_the_trail(
    trail, database, tmp_path, monkeypatch
):
    recorded(trail)
    writing, go_on = threading.Event(), threading.Event()
    append = audit._append

    def slow(file, data):
        writing.set()
        assert go_on.wait(5)
        append(file, data)

    monkeypatch.setattr(audit, "_append", slow)

    async def given_up():
        waiting = asyncio.create_task(trail.record(READ))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    at_work = threading.Thread(target=trail.note, args=(SIGNED_IN,))
    at_work.start()
    assert writing.wait(5)
    asyncio.run(given_up())  # while it stands in the queue
    go_on.set()
    at_work.join(5)
    recorded(trail)
    trail.flush()
    assert 3 <= events(tmp_path, database) <= 4


def test_an_event_that_cannot_be_written_is_refused_alone(trail, database, tmp_path):
    with pytest.raises((TypeError, ValueError), match="surrogates"):
        recorded(trail, READ._replace(client="\ud800"))
    recorded(trail)
    trail.flush()
    assert events(tmp_path, database) == 1


def test_a_day_that_cannot_begin_is_tried_again_and_closes_no_file_twice(
    trail, database, clock, tmp_path, monkeypatch
):
    recorded(trail)
    clock.now += timedelta(days=1)
    opening, closing = os.open, os.close
    closed = []

    def full(path, *args):
        if "audit-" in str(path):
            raise OSError(28, "No space left on device")
        return opening(path, *args)

    def close(descriptor):
        closed.append(descriptor)
        closing(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        patch.setattr(os, "close", close)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                recorded(trail)
    assert len(closed) == len(set(closed)) == 1
    recorded(trail)
    trail.flush()
    assert events(tmp_path, database) == 2


def test_half_a_line_that_cannot_be_taken_back_spoils_no_line_after_it(
    trail, database, tmp_path, monkeypatch
):
    recorded(trail)
    writing = os.write

    def broken(descriptor, data):
        if data.startswith(b'{"id":"'):
            writing(descriptor, data[:40])
            raise OSError(5, "Input/output error")
        return writing(descriptor, data)

    def refused(_descriptor, _size):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", broken)
        patch.setattr(os, "ftruncate", refused)
        with pytest.raises(OSError, match="Input/output"):
            recorded(trail)
    recorded(trail)
    trail.flush()
    found = verify_trail([tmp_path / "audit"], database)
    assert found.events == 2
    assert [one.partition(": ")[2] for one in found.problems] == ["line 2 is not an event"]


def test_a_fault_while_settling_is_made_good_the_next_time(trail, database, tmp_path, monkeypatch):
    recorded(trail)

    def broken(*_):
        raise RuntimeError("a bug of a driver")

    with monkeypatch.context() as patch:
        patch.setattr(audit, "_save_state", broken)
        trail.flush()
    recorded(trail)
    trail.flush()
    assert events(tmp_path, database) == 2
    assert [*accesses_by_day(database).values()] == [2]


def test_accesses_and_happenings_of_many_threads_make_one_chain(trail, database, clock, tmp_path):
    async def accesses():
        for turn in range(40):
            clock.now += timedelta(days=turn == 20)
            await asyncio.gather(*(trail.record(READ) for _ in range(10)))

    def happenings():
        for _ in range(40):
            trail.note(SIGNED_IN)

    threads = [threading.Thread(target=happenings) for _ in range(3)]
    for one in threads:
        one.start()
    asyncio.run(accesses())
    for one in threads:
        one.join(20)
    trail.flush()
    assert events(tmp_path, database) == 400 + 120
    assert len(list((tmp_path / "audit").glob("audit-*.ndjson"))) == 2
    assert sum(accesses_by_day(database).values()) == 400


def test_an_access_is_counted_on_its_day_in_utc_whatever_zone_it_is_told_in(trail, database):
    east, west = (timezone(timedelta(hours=hours)) for hours in (9, -9))
    for when in (
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 2, 1, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 2, 2, 0, 30, tzinfo=east),
        datetime(2026, 2, 2, 8, 59, 59, tzinfo=east),
        datetime(2026, 2, 1, 15, 0, tzinfo=west),
    ):
        recorded(trail, READ._replace(when=when))
    trail.flush()
    assert accesses_by_day(database) == {"2026-02-01": 4, "2026-02-02": 1}


@contextlib.contextmanager
def hanging(monkeypatch):
    """Have each write of the trail hang in the kernel, as a dead network file system has it.

    Gives an event for when one hangs, and how many lines it has. A pipe that is full and that
    nobody reads holds it; leaving the block, the pipe is read, and the write goes on to the file.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    found = SimpleNamespace(hangs=threading.Event(), lines=0)
    append = audit._append

    def hung(file, data):
        found.lines += data.count(b"\n")
        found.hangs.set()
        os.write(writing, b"x")
        append(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(audit, "_append", hung)
        try:
            yield found
        finally:
            while os.read(reading, 4096) == bytes(4096):
                pass
    os.close(reading)
    os.close(writing)


def is_stalled(trail):
    try:
        trail._refuse_while_stalled()
    except AuditStalled:
        return True
    return False


def test_a_disk_that_hangs_refuses_accesses_in_bounded_time_and_health_checks_go_on(
    database, clock, tmp_path, monkeypatch
):
    trail = AuditTrail(
        tmp_path / "audit", database, clock=clock, randomness=os.urandom, patience=PATIENCE
    )
    server = calls.served(recorder=trail)
    search = b"/fhir/ExplanationOfBenefit"

    async def asked(path):
        headers = [calls.bearer()] if path == search else []
        return await calls.called(server.app, "GET", path, headers, b"", "192.0.2.1")

    async def hung():
        waiting = [asyncio.create_task(asked(search)) for _ in range(8)]
        async with asyncio.timeout(20):
            while not hung_write.hangs.is_set():
                await asyncio.sleep(0)
        for _ in range(5):
            assert (await asked(b"/healthz")).status == 200
            assert not any(one.done() for one in waiting)
        async with asyncio.timeout(5):
            refused = await asyncio.gather(*waiting)
        assert {(one.status, one.code) for one in refused} == {(503, "audit-unavailable")}
        assert all("retry-after" in one.headers for one in refused)
        async with asyncio.timeout(20):
            while not is_stalled(trail):
                await asyncio.sleep(0)
        queued = trail._queue.qsize()
        late = await asked(search)
        assert (late.status, late.code) == (503, "audit-unavailable")
        assert trail._queue.qsize() == queued, "it is known to hang: nothing waits any more"
        with pytest.raises(AuditStalled):
            trail.note(SIGNED_IN)

    recorded(trail)
    with hanging(monkeypatch) as hung_write:
        asyncio.run(hung())
    trail.flush()
    assert server.call(search).status == 200
    trail.close()
    # The first, those of the write that hung, and the one of when that was over.
    assert events(tmp_path, database) == 1 + hung_write.lines + 1
    assert 1 <= hung_write.lines <= 8


def test_what_was_given_up_while_it_stood_in_the_queue_is_not_written_later(
    database, clock, tmp_path, monkeypatch
):
    trail = AuditTrail(
        tmp_path / "audit", database, clock=clock, randomness=os.urandom, patience=PATIENCE
    )

    async def hung():
        first = asyncio.create_task(trail.record(READ))
        async with asyncio.timeout(20):
            while not hung_write.hangs.is_set():
                await asyncio.sleep(0)
        second = asyncio.create_task(trail.record(READ))
        noted = asyncio.create_task(asyncio.to_thread(trail.note, SIGNED_IN))
        async with asyncio.timeout(5):
            found = await asyncio.gather(first, second, noted, return_exceptions=True)
        assert [type(one) for one in found] == [AuditStalled] * 3

    recorded(trail)
    with hanging(monkeypatch) as hung_write:
        asyncio.run(hung())
    trail.flush()
    trail.close()
    assert events(tmp_path, database) == 1 + 1


def test_accesses_of_one_turn_of_the_loop_are_one_write(trail, database, tmp_path, monkeypatch):
    recorded(trail)
    written = []
    append = audit._append

    def noticed(file, data):
        written.append(data.count(b"\n"))
        append(file, data)

    async def together():
        await asyncio.gather(*(trail.record(READ) for _ in range(64)))

    monkeypatch.setattr(audit, "_append", noticed)
    asyncio.run(together())
    assert written == [64]
    trail.flush()
    assert events(tmp_path, database) == 65
