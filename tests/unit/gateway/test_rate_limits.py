"""Rates, and the end of what takes too long."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.gateway.http.time_limits import RequestTimeout
from etl.web.rate_limits import RateLimiter, TooMany, Windows, parse_rate
from tests.unit.gateway.calls import TOKEN, served
from tests.unit.gateway.trees import LISTED, opened, sample_tree
from tests.virtual_time import pass_time, run_virtually


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def refused(windows, *who):
    """Return the seconds to wait where a request is refused."""
    try:
        windows.check(who)
        windows.hit(who)
    except TooMany as refusal:
        return refusal.retry_after
    return None


def windows(text, clock, most=1000):
    rate = parse_rate(text)
    assert rate is not None
    return Windows(rate, clock, most)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=60))
def test_a_window_counts_as_a_list_of_all_that_came_would(came):
    clock = Clock()
    counted = windows("3/minute", clock)
    starts: dict[str, tuple[float, int]] = {}
    for who, later in came:
        clock.now += later
        start, count = starts.get(who, (-1e9, 0))
        if clock.now >= start + 60:
            start, count = clock.now, 0
        starts[who] = (start, count + 1)
        wait = refused(counted, who)
        assert (wait is not None) == (count >= 3)
        if wait is not None:
            assert 0 <= wait - (start + 60 - clock.now) <= 1


def test_memory_is_bounded_whoever_comes():
    clock = Clock()
    counted = windows("1/hour", clock, most=10)
    for number in range(1000):
        assert refused(counted, str(number)) is None
    assert len(counted) == 10
    assert refused(counted, "999") is not None
    assert refused(counted, "0") is None  # forgotten, which lets it in


def test_a_window_that_is_over_gives_room_first():
    clock = Clock()
    counted = windows("5/minute", clock, most=2)
    refused(counted, "a")
    refused(counted, "b")
    clock.now += 61
    refused(counted, "a")
    refused(counted, "c")  # pushes out "b", which is over, and not "a"
    assert [refused(counted, "a") for _ in range(5)][-1] is not None


def test_an_empty_rate_sets_no_limit_and_nonsense_is_refused():
    limits = RateLimiter({"member": ""})
    for _ in range(1000):
        limits.hit("member", "app", "patient")
    for text in ("often", "10", "10/fortnight", "-1/minute"):
        with pytest.raises(ValueError, match="is no rate"):
            parse_rate(text)


def test_addresses_of_one_ipv6_network_are_one_caller_however_they_are_counted():
    limits = RateLimiter({"member": "2/hour"}, lambda: 0.0)
    limits.hit("member", "2001:db8:1:2::1")
    limits.add("member", 1, "2001:db8:1:2::ffff")
    limits.check("member", "2001:db8:1:3::1")
    with pytest.raises(TooMany):
        limits.check("member", "2001:db8:1:2::abcd")


def test_work_that_is_quick_is_left_alone_and_slow_work_is_ended():
    ended: list[str] = []

    async def work(name, seconds):
        try:
            await pass_time(seconds)
        except asyncio.CancelledError:
            ended.append(name)
            raise
        return name

    async def all_of_it():
        deadline = RequestTimeout(10)

        async def later(name, wait, seconds):
            await pass_time(wait)
            return await deadline.keep(work(name, seconds))

        return await asyncio.gather(
            later("quick", 0, 1),
            later("slow", 0, 500),
            later("late and quick", 8, 9),
            later("late and slow", 8, 500),
            later("after all", 40, 1),
            return_exceptions=True,
        )

    quick, slow, late, late_slow, after = run_virtually(all_of_it())
    assert (quick, late, after) == ("quick", "late and quick", "after all")
    assert isinstance(slow, TimeoutError)
    assert isinstance(late_slow, TimeoutError)
    assert ended == ["slow", "late and slow"]


def test_a_cancellation_from_elsewhere_stays_one():
    async def cancelled():
        deadline = RequestTimeout(10)
        task = asyncio.ensure_future(deadline.keep(asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_answers_tell_limit_rest_and_reset_and_a_refusal_the_same():
    app = served(opened(sample_tree(), listed=sample_tree(LISTED)), rate_limit="2/minute")
    remaining = []
    for path, token in (("/fhir/Patient", TOKEN), ("/directory/Location", None)):
        for _ in range(3):
            got = app.call(path, (b"origin", b"https://app.example"), token=token)
            assert got.headers["ratelimit-policy"] == '"requests";q=2;w=60'
            name, left, reset = got.headers["ratelimit"].split(";")
            assert (name, reset[:2], 0 < int(reset[2:]) <= 60) == ('"requests"', "t=", True)
            remaining.append((got.status, left))
        assert got.headers["retry-after"] == reset[2:]
        assert "ratelimit" not in app.call(path.replace("/", "/x", 1)).headers
    assert remaining == [(200, "r=1"), (200, "r=0"), (429, "r=0")] * 2
    assert "ratelimit" not in app.call("/fhir/metadata").headers
    assert "ratelimit, ratelimit-policy" in got.headers["access-control-expose-headers"]
