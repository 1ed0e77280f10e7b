"""What every store promises (etl/storage/port.py), run over each of them."""

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from etl.errors import CommitConflict, NotFound, StoreError
from etl.storage.parallel import Writer


@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 7, b"x" * 300_000], ids=["none", "odd", "big"])
def test_any_bytes_are_kept_as_they_are(store, data):
    assert store.put("patients/0f/0f3a.ndjson.gz", data)
    assert store.get("patients/0f/0f3a.ndjson.gz") == data
    assert store.read("patients/0f/0f3a.ndjson.gz").data == data


def test_putting_an_object_again_says_that_it_was_there(store):
    assert store.put("bulk/a.ndjson.gz", b"same")
    assert not store.put("bulk/a.ndjson.gz", b"same")
    assert store.get("bulk/a.ndjson.gz") == b"same"


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 2, b"89"),
        (8, 100, b"89"),
        (10, 5, b""),
        (50, 5, b""),
        (4, 0, b""),
    ],
)
def test_a_range_is_what_there_is_of_it(store, start, length, expected):
    store.put("digits", b"0123456789")
    assert store.get_range("digits", start, length) == expected


def test_a_missing_object_is_not_found(store):
    store.put("there/is/one", b"x")
    for key in ("there", "there/is", "there/is/none", "nothing"):
        with pytest.raises(NotFound, match=key):
            store.get(key)
        with pytest.raises(NotFound, match=key):
            store.get_range(key, 0, 1)
        with pytest.raises(NotFound, match=key):
            store.read(key)


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", ".lock", "a/.hidden", "a b", "ä", "a\n"]
)
def test_a_key_that_not_every_store_can_hold_is_refused(store, key):
    with pytest.raises(StoreError):
        store.put(key, b"x")
    with pytest.raises(StoreError):
        store.get(key)


def test_the_key_of_the_publish_operation_is_allowed(store):
    store.swap("$bulk-publish", b"{}", None)
    assert store.get("$bulk-publish") == b"{}"


def test_a_swap_creates_only_what_is_not_there(store):
    store.swap("current.json", b"first", None)
    with pytest.raises(CommitConflict):
        store.swap("current.json", b"second", None)
    assert store.get("current.json") == b"first"


def test_a_swap_replaces_only_the_state_it_expects(store):
    first = store.swap("current.json", b"first", None)
    second = store.swap("current.json", b"second", first)
    with pytest.raises(CommitConflict):
        store.swap("current.json", b"third", first)
    assert store.read("current.json").data == b"second"
    assert store.read("current.json").tag == second


def test_a_swap_of_what_is_gone_is_a_conflict(store):
    tag = store.swap("current.json", b"first", None)
    store.delete(["current.json"])
    with pytest.raises(CommitConflict):
        store.swap("current.json", b"second", tag)
    with pytest.raises(NotFound):
        store.get("current.json")


def test_of_many_racing_swaps_exactly_one_wins(store):
    onto = store.swap("current.json", b"start", None)

    def race(number):
        try:
            store.swap("current.json", b"%d" % number, onto)
        except CommitConflict:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        won = [winner for winner in pool.map(race, range(16)) if winner is not None]
    assert len(won) == 1
    assert store.get("current.json") == b"%d" % won[0]


def test_no_increment_is_lost_when_writers_retry_on_conflict(store):
    store.swap("counter", b"0", None)

    def add(_):
        while True:
            there = store.read("counter")
            try:
                store.swap("counter", b"%d" % (int(there.data) + 1), there.tag)
            except CommitConflict:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))
    assert store.get("counter") == b"20"


def test_a_listing_has_every_object_under_its_prefix_and_no_other(store):
    keys = ["a/1", "a/2/x", "a-b", "ab/1", "b"]
    for key in keys:
        store.put(key, key.encode())
    assert sorted(entry.key for entry in store.list()) == sorted(keys)
    assert sorted(entry.key for entry in store.list("a/")) == ["a/1", "a/2/x"]
    assert sorted(entry.key for entry in store.list("a")) == ["a-b", "a/1", "a/2/x", "ab/1"]
    assert not list(store.list("nothing/"))


def test_a_listing_says_size_and_time_of_writing(store):
    store.put("a/key", b"12345")
    (entry,) = store.list("a/")
    assert entry.size == 5
    assert abs(entry.modified - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.slow
def test_a_listing_goes_past_one_page(store):
    keys = {f"many/{number:04}" for number in range(1_050)}
    with Writer(store) as writer:
        for key in keys:
            writer.put(key, b"x")
    assert {entry.key for entry in store.list("many/")} == keys
    assert store.delete(keys) == 1_050
    assert not list(store.list("many/"))


def test_deleting_skips_what_is_not_there(store):
    store.put("a/1", b"x")
    store.put("a/2", b"x")
    store.delete(["a/1", "a/3", "nothing"])
    assert [entry.key for entry in store.list()] == ["a/2"]


def test_an_object_can_be_put_again_after_its_folder_emptied(store):
    store.put("a/b/1", b"x")
    store.delete(["a/b/1"])
    store.put("a/b/2", b"y")
    assert store.get("a/b/2") == b"y"


def test_a_store_goes_into_another_process(store):
    if store.name == "memory" or getattr(store, "_given_session", None) is not None:
        pytest.skip("this store lives in one process")
    store.put("a", b"x")
    assert pickle.loads(pickle.dumps(store)).get("a") == b"x"  # noqa: S301


def test_sync_may_be_called_at_any_time(store):
    store.sync()
    store.put("a", b"x")
    store.sync()
    store.sync()
    assert store.get("a") == b"x"


def test_a_content_key_survives_many_writers_of_the_same_bytes(store):
    data = b"the same block" * 1000
    key = f"patients/{hashlib.sha256(data).hexdigest()}"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put(key, data), range(16)))
    assert store.get(key) == data


def test_cleaning_takes_nothing_that_has_a_key(store):
    store.put("a/key", b"x" * 100)
    assert store.clean(datetime.now(UTC) + timedelta(hours=1)) == 0
    assert store.get("a/key") == b"x" * 100
