"""How long a read is worth waiting for."""

import asyncio

import pytest

from etl.errors import NotFound, StoreError
from etl.storage.async_objects import RetryingObjects, RetryPolicy
from etl.storage.port import Transient
from tests.memory_store import MemoryStore
from tests.unit.gateway.faulty import Watched


class Time:
    """A clock that a sleeper moves."""

    def __init__(self):
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    def clock(self):
        return self.now


def watched():
    store = MemoryStore()
    store.put("key", b"data")
    return Watched(store)


def retrying(objects, time, policy):
    return RetryingObjects(
        objects, policy, sleep=time.sleep, clock=time.clock, fraction=lambda: 1.0
    )


def test_pauses_double_and_tries_end():
    objects, time = watched(), Time()
    objects.fail(Transient("no answer"))
    reading = retrying(objects, time, RetryPolicy(attempts=4))
    with pytest.raises(Transient):
        asyncio.run(reading.get("key"))
    assert time.pauses == [0.05, 0.1, 0.2]
    assert len(objects.reads) == 4
    assert (reading.counts.retries, reading.counts.failures, reading.counts.reads) == (3, 1, 0)


def test_no_try_begins_after_the_deadline():
    objects, time = watched(), Time()

    def fail(key, data):
        time.now += 4
        raise Transient("no answer")

    objects.fault = fail
    with pytest.raises(Transient):
        asyncio.run(
            retrying(objects, time, RetryPolicy(attempts=9, deadline_seconds=10)).get("key")
        )
    assert len(objects.reads) == 3
    assert time.now < 13


@pytest.mark.parametrize("error", [NotFound("gone"), StoreError("access denied")])
def test_what_does_not_pass_is_not_tried_again(error):
    objects, time = watched(), Time()
    objects.fail(error)
    with pytest.raises(type(error)):
        asyncio.run(retrying(objects, time, RetryPolicy()).get("key"))
    assert len(objects.reads) == 1


def test_one_slow_read_is_given_up_and_tried_again():
    objects = watched()
    objects.wait = asyncio.Event().wait

    async def work():
        reading = RetryingObjects(objects, RetryPolicy(read_seconds=0.02), fraction=lambda: 0.0)
        first = asyncio.ensure_future(reading.get("key"))
        while not objects.reads:
            await asyncio.sleep(0)
        objects.wait = None
        return await first

    assert asyncio.run(work()) == b"data"
    assert len(objects.reads) == 2
