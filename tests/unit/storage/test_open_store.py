"""From what a user calls a target to a store, and the helpers that any store goes with."""

import threading

import pytest

from etl.errors import StoreError, UsageError
from etl.storage.local import LocalStore
from etl.storage.open_store import open_store
from etl.storage.parallel import Writer, map_concurrently
from etl.storage.port import StoreOptions
from tests.memory_store import MemoryStore


def test_a_path_is_a_folder():
    for target in ("output", "./output", "/data/tree", "s3/bucket"):
        store = open_store(target)
        assert isinstance(store, LocalStore)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/prefix/", "s3://bucket/a/prefix"),
    ],
)
def test_an_s3_url_is_a_bucket_and_a_prefix(target, name):
    store = open_store(target, StoreOptions(concurrency=3))
    assert (store.name, store.concurrency) == (name, 3)


@pytest.mark.parametrize("target", ["", "s3://", "s3:///prefix", "gs://bucket/x", "http://x/y"])
def test_anything_else_is_a_mistake_of_the_caller(target):
    with pytest.raises(UsageError):
        open_store(target)


class Waiting(MemoryStore):
    """A store that answers when a second one waits, and counts how many are waited for."""

    def __init__(self, concurrency):
        super().__init__()
        self._concurrency = concurrency
        self._now = 0
        self._counting = threading.Lock()
        self._second = threading.Event()
        self.most = 0

    @property
    def concurrency(self):
        return self._concurrency

    def put(self, key, data):
        with self._counting:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now > 1 or self._concurrency == 1:
                self._second.set()
        # The first goes on once there are two; a writer that puts one at a time fails here.
        assert key == "bad" or self._second.wait(20), "puts do not overlap"
        with self._counting:
            self._now -= 1
        if key == "bad":
            raise StoreError("refused")
        return super().put(key, data)


def test_a_writer_puts_as_many_at_once_as_the_store_is_worth():
    store = Waiting(4)
    with Writer(store) as writer:
        for number in range(60):
            writer.put(f"k{number}", b"xy")
    assert len([*store.list()]) == 60
    assert 1 < store.most <= 4


def test_no_more_bytes_wait_than_a_writer_may_hold(monkeypatch):
    monkeypatch.setattr("etl.storage.parallel._BYTES_IN_FLIGHT", 100)
    store = Waiting(4)
    handed, most = 0, 0
    with Writer(store) as writer:
        for number in range(60):
            size = 150 if number % 20 == 19 else 30  # more than may wait goes alone
            writer.put(f"k{number}", bytes(size))
            handed += size
            most = max(most, handed - sum(entry.size for entry in store.list()))
    assert sum(entry.size for entry in store.list()) == handed
    assert 30 < most <= 150
    assert 1 < store.most <= 3


def test_a_put_that_fails_fails_the_writer():
    def write(concurrency):
        with Writer(Waiting(concurrency)) as writer:
            for number in range(60):
                writer.put("bad" if number == 5 else f"k{number}", b"x")

    for concurrency in (1, 4):
        with pytest.raises(StoreError, match="refused"):
            write(concurrency)


def test_what_fails_in_the_block_is_what_is_raised():
    def write():
        with Writer(Waiting(4)) as writer:
            writer.put("bad", b"x")
            raise KeyError

    with pytest.raises(KeyError):
        write()


@pytest.mark.parametrize("concurrency", [1, 4])
def test_mapped_results_come_in_order(concurrency):
    overtaken = threading.Event()

    def called(number):
        if number == 1:
            overtaken.set()
        elif number == 0 and concurrency > 1:
            assert overtaken.wait(20), "the second does not wait for the first"
        return number * number

    store = Waiting(concurrency)
    assert list(map_concurrently(store, called, range(40))) == [
        number * number for number in range(40)
    ]


def test_mapped_reads_no_further_ahead_than_it_may():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_concurrently(Waiting(2), lambda number: number, items())
    next(results)
    assert len(taken) <= 5
    results.close()


def test_an_error_of_a_mapped_call_is_raised():
    def refuse(number):
        raise StoreError(f"no {number}")

    with pytest.raises(StoreError, match="no 0"):
        list(map_concurrently(Waiting(4), refuse, range(9)))
