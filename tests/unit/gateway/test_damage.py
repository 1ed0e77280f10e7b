"""Storage that fails or lies: an error, never a wrong answer."""

import random

import pytest

from etl.errors import NotFound, StoreError
from etl.publish.reader import open_current
from etl.storage.port import Transient
from tests.memory_store import MemoryStore
from tests.unit.gateway.faulty import Watched
from tests.unit.gateway.trees import BASE, grant, opened, run
from tests.unit.publish.samples import LATER, logical_id, patient, publish

EOB = "ExplanationOfBenefit"
ANN, BOB = logical_id("ann"), logical_id("bob")


@pytest.fixture(scope="module")
def store():
    store = MemoryStore()
    publish(store, [patient("ann", 25), patient("bob", 3), patient("big", 1500)])
    return store


def watched(store, *, near=False):
    objects = Watched(store, near=near)
    return opened(objects, read_attempts=2, deadline_seconds=1.0), objects


def answered(made, who=ANN):
    pairs = [("_include", "*"), ("service-date", "ge1900")]
    return run(made.service.search(grant(who), EOB, pairs, base=BASE, strict=True)).body


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("who", [ANN, logical_id("big")])
@pytest.mark.parametrize("kind", ["catalog/", ".index.json", ".ndjson.gz"])
def test_bytes_that_changed_are_noticed_wherever_they_are(store, kind, who, near):
    right = answered(opened(store), who)
    chance = random.Random(7)
    noticed = 0
    for _ in range(25):
        made, objects = watched(store, near=near)

        def flip(key, data):
            if kind not in key:
                return data
            at = chance.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]

        objects.fault = flip
        try:
            assert answered(made, who) == right  # bytes that no answer needs may have changed
        except StoreError:
            noticed += 1
        objects.fault = None
        assert answered(made, who) == right
    assert noticed > 0


@pytest.mark.parametrize("kind", ["catalog/", ".index.json", ".ndjson.gz"])
def test_what_was_damaged_on_the_way_is_read_once_more(store, kind):
    made, objects = watched(store)
    lies = [b"", b"{}", b"\x00" * 100]

    def lie(key, data):
        if kind in key and lies:
            return lies.pop()
        return data

    lies = lies[:1]
    objects.fault = lie
    assert answered(made) == answered(opened(store))


def test_a_catalog_that_leads_to_another_members_block_shows_nothing(store):
    """Even where every hash is right: the index says whose it is."""
    release = open_current(store).release
    bob = release.unit(BOB)
    assert bob is not None
    made, _ = watched(store)
    tree = made.releases.current()
    shard = tree.manifest.catalog[0]
    made.targets[0].cache.put((shard.key, ANN), bob, 1)
    with pytest.raises(StoreError, match="another patient's"):
        answered(made)


@pytest.mark.parametrize("near", [True, False])
def test_the_large_index_of_an_earlier_release_is_not_taken_for_the_present_one(near):
    """Only the head of a large index is read first, so that its hash is not known."""
    big = logical_id("big")
    store = MemoryStore()
    before = publish(store, [patient("big", 1500)]).unit(big)
    release = publish(store, [patient("big", 1500, amount="13.50")], now=LATER)
    now = release.unit(big)
    store.put(now.index, store.get(before.index))
    made, _ = watched(store, near=near)
    with pytest.raises(StoreError, match="does not match the catalog"):
        answered(made, big)
    with pytest.raises(StoreError, match="does not match the catalog"):
        release.index(now)


@pytest.mark.parametrize("kind", ["catalog/", ".index.json", ".ndjson.gz"])
def test_an_object_that_is_missing_is_an_error_and_no_empty_answer(store, kind):
    made, objects = watched(store)
    objects.fail(NotFound("there is no such object"), kind)
    with pytest.raises(StoreError):
        answered(made)


def test_storage_that_is_down_is_an_error_and_comes_back(store):
    made, objects = watched(store)
    objects.fail(Transient("cannot read: no answer"))
    with pytest.raises(Transient):
        answered(made)
    assert made.counts()["failures"] > 0
    objects.fault = None
    assert answered(made) == answered(opened(store))


def test_no_byte_of_a_large_indexs_head_can_change_an_answer(store):
    big = logical_id("big")
    right = answered(opened(store), big)
    release = open_current(store).release
    unit = release.unit(big)
    end = store.get(unit.index).index(b"\n")
    made, objects = watched(store)
    noticed = 0
    for at in range(0, end, 3):
        made.targets[0].cache.__init__(1_000_000)

        def flip(key, data, at=at):
            if key == unit.index and len(data) == 16_384:
                return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            return data

        objects.fault = flip
        try:
            assert answered(made, big) == right
        except StoreError:
            noticed += 1
    assert noticed > end / 3 - 10
