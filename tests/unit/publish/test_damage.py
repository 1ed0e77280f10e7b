"""Objects that were damaged are noticed by whoever reads them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl.errors import StoreError
from etl.publish.catalog import id_hash
from etl.publish.damaged_objects import find_lost
from etl.publish.manifest import SHARES
from etl.publish.partition_writer import write_partition
from etl.publish.prune import read_expiry
from etl.publish.reader import open_current, open_index, read_all, read_rows
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import flip, logical_id, lose, objects, patient, publish


def read_everything(store, release):
    again = open_current(store).release
    for unit in [*again.all_units(), *(one for one in again.manifest.directory if one)]:
        index = open_index(store, unit)
        assert len(read_all(store, index)) == index.count
    assert again.id == release.id


@pytest.mark.parametrize("what", ["catalog/", "patients/", "releases/", "directory/"])
def test_damage_of_any_object_is_noticed_and_named(store, what):
    release = publish(store, [patient("anna", 1)])
    for key, data in objects(store).items():
        if not key.startswith(what):
            continue
        for at in range(0, len(data), max(1, len(data) // 40)):
            store.put(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises(StoreError):
                read_everything(store, release)
        store.put(key, data)
    read_everything(store, release)


def test_damage_inside_a_range_of_a_block_is_noticed(store):
    release = publish(store, [patient("anna", 1)])
    unit = release.unit(logical_id("anna"))
    index = release.index(unit)
    data = store.get(index.block)
    part = index.parts[1]
    for at in range(part.offset + 10, part.offset + part.length):
        store.put(index.block, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StoreError):
            read_rows(store, index, [0])
    store.put(index.block, data[:-10])
    with pytest.raises(StoreError):
        read_rows(store, index, [2])


@pytest.mark.parametrize(
    "trace",
    [
        {},
        {"$bulk-publish": b"{}\n"},
        {
            "runs/20260101T000000Z-0a.json": b'{"release":"20260101T000000Z-0123456789ab"}\n',
            "runs/20260101T010000Z-0b.json": b'{"release":null}\n',
            "runs/20260101T020000Z-0c.json": b"{",
        },
    ],
    ids=["a release before it", "pages", "records of runs"],
)
def test_a_pointer_that_is_gone_is_no_empty_target(store, trace):
    for night in range(1 if trace else 2):
        publish(store, [patient("anna", night + 1)], now=f"2026-01-0{night + 1}T00:00:00Z")
    for key, data in trace.items():  # what comes after the commit
        store.put(key, data)
    pointer = store.get("current.json")
    store.delete(["current.json"])
    with pytest.raises(StoreError, match=r"current\.json is missing, though .* were published"):
        open_current(store)
    store.put("current.json", pointer)
    assert open_current(store).release is not None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"release":"20260101T000000Z-0123456789ab"}'])
def test_a_damaged_pointer_says_what_to_do(store, data):
    publish(store, [patient("anna", 1)])
    store.put("current.json", data)
    with pytest.raises(
        StoreError, match=r"current\.json is not a pointer .*: .*; restore it from a"
    ):
        open_current(store)


def test_what_a_first_run_leaves_that_died_before_its_commit_is_no_release(store):
    publish(store, [patient("anna", 1)])
    store.delete(["current.json"])  # its manifest has no release before it
    store.put("runs/20260101T000000Z-0a.json", b'{"release":null}\n')
    assert open_current(store).release is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"before":7}', b'{"before":{"reports":"x"}}'])
def test_a_damaged_record_of_what_was_deleted_is_named(store, data):
    store.put("reports/expired.json", data)
    with pytest.raises(StoreError, match=r"reports/expired\.json is damaged: restore it"):
        read_expiry(store)


def nights_to_find(store, names, key):
    """Publish the same members night after night; return with which one a damaged key is found."""
    flip(store, key)
    for night in range(1, SHARES + 1):
        base = open_current(store)
        lost = find_lost(base.release, repair=False)
        if lost:
            assert (lost.objects, lost.first) == (1, key)
            return night
        publish(store, [patient(name, 1) for name in names], now=f"2027-01-{night:02}T00:00:00Z")
    raise AssertionError(f"{key} was not read in {SHARES} nights")


@pytest.mark.parametrize("kind", ["block", "index"])
def test_a_damaged_object_of_the_same_size_is_found_within_thirty_nights(kind):
    names = ["anna", "bert", "carl", "dora"]
    nights = set()
    for name in names:
        store = MemoryStore()
        unit = publish(store, [patient(each, 1) for each in names]).unit(logical_id(name))
        nights.add(nights_to_find(store, names, getattr(unit, kind)))
    assert len(nights) > 1, "each night reads a share, not everything"


def test_every_member_is_in_one_share_whatever_the_number_of_shards(store, monkeypatch):
    monkeypatch.setattr("etl.publish.release.CATALOG_TARGET", 2)
    people = [patient(f"p{number}", 1) for number in range(40)]
    for night in range(1, SHARES + 1):
        release = publish(store, people[night % 2 :], now=f"2027-01-{night:02}T00:00:00Z")
    assert len(release.manifest.catalog) > SHARES
    reads = []
    get = store.get

    def counted(key):
        reads.append(key)
        return get(key)

    monkeypatch.setattr(store, "get", counted)
    monkeypatch.setattr(store, "get_range", lambda key, start, size: get(key)[start : start + size])
    for night in range(SHARES):
        release.manifest = replace(release.manifest, share_read=night)
        assert not find_lost(release, repair=False)
    units = [*release.all_units(), *(unit for unit in release.manifest.directory if unit)]
    named = [key for unit in units for key in (unit.block, unit.index) if key is not None]
    assert sorted(key for key in reads if not key.startswith("catalog/")) == sorted(named)


def test_nights_that_publish_nothing_read_the_shares_that_follow(store):
    names = [f"p{number}" for number in range(8)]
    release = publish(store, [patient(name, 1) for name in names], now="2027-01-01T02:00:00Z")
    units = {int(id_hash(unit.id)[:8], 16) * SHARES >> 32: unit for unit in release.all_units()}
    share, unit = max(units.items())
    flip(store, unit.index)
    created = datetime(2027, 1, 1, 2, tzinfo=UTC)
    assert not find_lost(release, repair=False, run_time=created + timedelta(days=share))
    assert (
        find_lost(release, repair=False, run_time=created + timedelta(days=share + 1)).objects == 1
    )


def test_a_damaged_catalog_is_rebuilt_from_indexes_alone(store):
    """Indexes of other releases and of runs that never committed do not mislead it."""
    publish(store, [patient("anna", 1), patient("bert", 1)], now="2026-01-01T00:00:00Z")
    publish(store, [patient("anna", 2), patient("bert", 1)], now="2026-01-02T00:00:00Z")
    release = publish(store, [patient("anna", 1)], now="2026-01-03T00:00:00Z")
    tried = [patient("anna", 3), patient("carl", 1)]
    write_partition(store, {}, tried, "2026-01-04T00:00:00Z")
    (shard,) = filter(None, release.manifest.catalog)
    for damage in (flip, lose):
        data = store.get(shard.key)
        damage(store, shard.key)
        assert not find_lost(release, repair=False)
        assert store.get(shard.key) == data


def test_a_damaged_catalog_that_no_indexes_match_is_told_before_the_work(store):
    release = publish(store, [patient("anna", 1)])
    (shard,) = filter(None, release.manifest.catalog)
    flip(store, shard.key)
    for unit in [key for key in objects(store) if key.endswith(".index.json")]:
        flip(store, unit)
    with pytest.raises(StoreError, match=r"objects of the catalog .* or damaged, the first is"):
        find_lost(release, repair=False)
