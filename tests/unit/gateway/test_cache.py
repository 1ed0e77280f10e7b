"""What is kept in memory, and for how long."""

import asyncio
import gc

import pytest

from etl.errors import StoreError
from etl.gateway.release.cache import Cache


def test_sixty_four_who_miss_at_once_make_one_read():
    cache = Cache(1_000_000)
    loads = 0

    async def load():
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        return "value"

    async def everyone():
        return await asyncio.gather(*(cache.get("key", load, len) for _ in range(64)))

    assert asyncio.run(everyone()) == ["value"] * 64
    assert loads == 1


def test_what_was_not_asked_for_longest_goes_first_and_bytes_are_bounded():
    cache = Cache(3_000)
    for name in "abc":
        cache.put(name, name.upper(), 600)
        assert cache.bytes <= 3_000
    assert cache.peek("a") == "A"
    cache.put("d", "D", 600)
    assert [cache.peek(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert cache.bytes <= 3_000


def test_what_is_larger_than_the_cache_is_given_and_not_kept():
    cache = Cache(1_000)

    async def load():
        return b"x" * 2_000

    assert asyncio.run(cache.get("key", load, len)) == b"x" * 2_000
    assert cache.peek("key") is None
    assert cache.bytes == 0


def test_a_value_put_twice_counts_once():
    cache = Cache(10_000)
    cache.put("a", "1", 100)
    cache.put("a", "2", 300)
    once = Cache(10_000)
    once.put("a", "2", 300)
    assert cache.bytes == once.bytes
    assert cache.peek("a") == "2"


def test_an_error_goes_to_all_who_wait_and_the_next_who_asks_tries_again():
    cache = Cache(1_000)
    loads = 0

    async def load():
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        if loads == 1:
            raise StoreError("no answer")
        return "value"

    async def work():
        waiting = [cache.get("key", load, len) for _ in range(2)]
        first = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(one) for one in first] == ["no answer", "no answer"]
        return await cache.get("key", load, len)

    assert asyncio.run(work()) == "value"
    assert loads == 2


def test_one_who_gives_up_does_not_take_the_others_along():
    cache = Cache(1_000)
    answered = asyncio.Event()

    async def load():
        await answered.wait()
        return "value"

    async def work():
        impatient = asyncio.ensure_future(cache.get("key", load, len))
        patient = asyncio.ensure_future(cache.get("key", load, len))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        answered.set()
        return await patient

    assert asyncio.run(work()) == "value"
    assert cache.peek("key") == "value"


@pytest.mark.slow
def test_nothing_is_said_of_an_error_that_nobody_waits_for_any_more():
    cache = Cache(1_000)
    told: list[object] = []
    answered = asyncio.Event()
    loads = 0

    async def load():
        nonlocal loads
        await answered.wait()
        loads += 1
        raise StoreError("no answer")

    async def work():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        gone = asyncio.ensure_future(cache.get("key", load, len))
        await asyncio.sleep(0)
        gone.cancel()
        answered.set()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        gc.collect()  # what an error was never asked for says when it goes

    asyncio.run(work())
    assert loads == 1
    assert told == []
