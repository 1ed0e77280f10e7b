"""Bulk Publish: whoever replays the chain has exactly what is published."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from etl.errors import StoreError
from etl.publish.block import PatientResources
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import ROOT, close_pages, page_key, write_pages
from etl.publish.canonical_json import dumps
from etl.publish.history import rollback
from etl.publish.prune import prune
from etl.publish.reader import Release, open_current, read_all
from etl.publish.release import commit
from etl.publish.verify import verify
from tests.fault.faulty import FaultyStore, Killed
from tests.memory_store import MemoryStore
from tests.unit.publish.bulk_consumer import Consumer
from tests.unit.publish.samples import (
    claim,
    logical_id,
    objects,
    patient,
    payer,
    publish_with_bulk,
    resource,
    stage,
)

DAYS = [f"2026-12-{day:02}T02:00:00Z" for day in range(1, 29)]
OPEN = BulkOptions(snapshot_every=100, snapshot_share=100.0)


def publish(store, people, day, options=OPEN, *, directory=None):
    return publish_with_bulk(store, people, DAYS[day], options, directory=directory)


def everything(release):
    found = {}
    units = [*release.all_units(), *(unit for unit in release.manifest.directory if unit)]
    for unit in units:
        for text in read_all(release.store, release.index(unit)):
            one = json.loads(text)
            found[f"{one['resourceType']}/{one['id']}"] = text
    return found


def consumer_of(store):
    return Consumer(f"memory:///{ROOT}", lambda url: store.get(url.removeprefix("memory:///")))


@pytest.fixture
def follower(store):
    return consumer_of(store)


def nights():
    """Yield what is said night by night: additions, changes, retractions, a claim that moves."""
    doctors = [resource("Practitioner", f"d{number}") for number in range(3)]
    yield [patient("anna", 25), patient("bert", 2)], [payer(), *doctors]
    yield [patient("anna", 25), patient("bert", 3)], [payer(), *doctors]
    yield [patient("anna", 12), patient("bert", 3), patient("cleo", 4)], [payer(), *doctors[1:]]
    moved = claim("anna", 11, "2020-01-12", owner="bert")
    bert = PatientResources(logical_id("bert"), [*patient("bert", 3).resources, moved])
    yield [patient("anna", 11), bert], [payer(), *doctors[1:], resource("Location", "l")]
    yield [patient("anna", 11), bert], [payer(), *doctors[1:], resource("Location", "l")]
    changed = PatientResources(logical_id("anna"), [*patient("anna", 10).resources])
    yield [changed, bert, patient("cleo", 4)], [payer()]


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_it_does_not_matter_when_a_consumer_begins_or_where_the_snapshots_are(
    follower, store, start, every
):
    options = BulkOptions(snapshot_every=every, snapshot_share=100.0)
    for day, (people, directory) in enumerate(nights()):
        release = publish(store, people, day, options, directory=directory)
        if day >= start and (day - start) % 2 == 0:
            follower.update()
            assert follower.resources == everything(release)
    follower.update()
    newcomer = consumer_of(store)
    newcomer.update()
    assert newcomer.resources == follower.resources == everything(release)
    assert follower.restarts == 1


def test_the_manifest_page_is_what_the_ballot_asks_for(store):
    options = BulkOptions("https://payer.example/bulk/", "P1D")
    release = publish(store, [patient("anna", 2)], 0, options)
    root = json.loads(store.get(ROOT))
    assert root["transactionTime"] == DAYS[0]
    assert root["updateCadence"] == "P1D"
    assert root["requiresAccessToken"] is True
    assert [file["type"] for file in root["output"]] == [
        "Patient",
        "Coverage",
        "ExplanationOfBenefit",
        "Organization",
    ]
    assert all(
        file["url"].startswith("https://payer.example/bulk/bulk/") for file in root["output"]
    )
    assert root["link"] == [
        {"relation": "next", "url": "https://payer.example/bulk/publish/updates-first.json"}
    ]
    assert json.loads(store.get("publish/updates-first.json")) == {
        "manifestType": root["manifestType"],
        "transactionTime": DAYS[0],
        "updateCadence": "P1D",
        "requiresAccessToken": True,
        "link": [{"relation": "next", "url": "#pending"}],
    }
    assert release.manifest.bulk["increment"] is None


def test_an_increment_holds_what_changed_and_nothing_else(store):
    publish(store, [patient("anna", 25), patient("bert", 1)], 0)
    before = objects(store)
    release = publish(store, [patient("anna", 26), patient("bert", 1)], 1)
    (file,) = release.manifest.bulk["increment"]["output"]
    assert (file["type"], file["count"]) == ("ExplanationOfBenefit", 1)
    (text,) = gzip.decompress(store.get(file["key"])).splitlines()
    assert json.loads(text)["id"] == logical_id("anna-claim-25")
    assert release.manifest.bulk["increment"]["deleted"] == []
    new = objects(store).keys() - before.keys()
    assert sum(key.startswith("bulk/") for key in new) == 1


def test_files_end_where_they_are_large_enough(follower, store):
    options = BulkOptions(file_bytes=2000)
    release = publish(store, [patient(f"p{number}", 12) for number in range(20)], 0, options)
    files = release.manifest.bulk["snapshot"]["output"]
    claims = [file for file in files if file["type"] == "ExplanationOfBenefit"]
    assert len(claims) > 5
    assert sum(file["count"] for file in claims) == 240
    assert all(file["bytes"] < 4000 for file in claims)
    follower.update()
    assert follower.resources == everything(release)


def test_a_snapshot_is_due_when_increments_grow_large_beside_it(store):
    options = BulkOptions(snapshot_every=100, snapshot_share=0.5)
    small = publish(store, [patient("anna", 200)], 0, options)
    publish(store, [patient("anna", 201)], 1, options)
    people = [patient("anna", 201), patient("bert", 200)]
    large = publish(store, people, 2, options)
    assert large.manifest.bulk["increments"] == []
    assert large.manifest.bulk["increment"]["output"]
    assert large.manifest.bulk["snapshot"] != small.manifest.bulk["snapshot"]


def test_a_snapshot_copies_nothing_of_a_damaged_block(store):
    base = open_current(store)
    manifest = stage(store, [patient("anna", 12)], base, now=DAYS[0])
    unit = Release(store, manifest).unit(logical_id("anna"))
    data = store.get(unit.block)
    for at in (0, len(data) // 2, len(data) - 1):
        store.put(unit.block, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StoreError, match="its bytes do not have its hash"):
            with_bulk(store, base, manifest, OPEN)
        assert list(store.list("bulk/")) == []
    store.put(unit.block, data)
    assert with_bulk(store, base, manifest, OPEN).bulk["snapshot"]["output"]


def test_a_rollback_reaches_those_who_follow(follower, store):
    first = publish(store, [patient("anna", 12), patient("bert", 1)], 0)
    publish(store, [patient("anna", 3), patient("cleo", 1)], 1)
    follower.update()
    rollback(store, first, DAYS[2], OPEN)
    write_pages(store, OPEN)
    follower.update()
    assert follower.resources == everything(first)
    assert follower.restarts == 1


def test_a_prune_closes_the_pages_whose_files_it_takes(store):
    options = BulkOptions(snapshot_every=3, snapshot_share=100.0)
    everyone = list(nights())
    follower, late = consumer_of(store), consumer_of(store)
    for day, (people, directory) in enumerate(everyone):
        release = publish(store, people, day, options, directory=directory)
        if day == 0:
            late.update()
        follower.update()
    prune(store, lambda: datetime(2027, 1, 1, tzinfo=UTC), keep=1)
    assert verify(release).ok
    follower.update()
    late.update()
    newcomer = consumer_of(store)
    newcomer.update()
    assert follower.resources == late.resources == newcomer.resources == everything(release)
    assert (follower.restarts, late.restarts) == (1, 2)
    closed = [key for key, data in objects(store).items() if b"#closed" in data]
    assert closed
    prune(store, lambda: datetime(2027, 1, 1, tzinfo=UTC), keep=1)
    assert not [key for key in closed if key in objects(store)]
    late.update()
    assert late.resources == everything(release)


def test_a_run_without_bulk_files_closes_the_chain_for_the_next_that_has_some(follower, store):
    publish(store, [patient("anna", 1)], 0)
    follower.update()
    base = open_current(store)
    commit(store, stage(store, [patient("anna", 2)], base, now=DAYS[1]), base)
    release = publish(store, [patient("anna", 3)], 2)
    follower.update()
    assert follower.resources == everything(release)
    assert follower.restarts == 2


def test_pages_that_were_not_written_are_written_by_the_next_call():
    def two():
        store = MemoryStore()
        publish(store, [patient("anna", 1)], 0)
        base = open_current(store)
        manifest = stage(store, [patient("anna", 2)], base, now=DAYS[1])
        commit(store, with_bulk(store, base, manifest, OPEN), base)
        return store

    undisturbed = two()
    counting = FaultyStore(undisturbed)
    assert len(write_pages(counting, OPEN)) == counting.writes == 2
    assert write_pages(undisturbed, OPEN) == []
    for at in range(1, counting.writes + 1):
        for after in (False, True):
            store = two()
            release = open_current(store).release
            with pytest.raises(Killed):
                write_pages(FaultyStore(store, at=at, after=after), OPEN)
            follower = consumer_of(store)
            follower.update()
            assert len(follower.resources) in (4, 5)
            write_pages(store, OPEN)
            follower.update()
            assert follower.resources == everything(release)
            assert objects(store) == objects(undisturbed)


@pytest.mark.parametrize("every", [1, 100])
def test_a_pointer_that_was_put_back_from_a_copy_leaves_no_consumer_waiting(follower, store, every):
    options = replace(OPEN, snapshot_every=every)
    publish(store, [patient("anna", 1)], 0, options)
    publish(store, [patient("anna", 2)], 1, options)
    copy = store.get("current.json")
    for night in (2, 3):
        publish(store, [patient("anna", night + 1)], night, options)
        follower.update()
    store.put("current.json", copy)
    release = publish(store, [patient("anna", 1), patient("bert", 1)], 4, options)
    follower.update()
    assert follower.resources == everything(release)
    assert follower.restarts == 2
    assert verify(release).ok


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"link":[]}', b'{"link":"next"}'])
def test_a_damaged_page_that_nobody_needs_stops_neither_a_run_nor_a_prune(store, damage):
    for night in range(3):
        release = publish(store, [patient("anna", night + 1)], night)
    store.put("publish/20200101T000000Z-000000000000.json", damage)
    write_pages(store, OPEN)
    assert close_pages(store, [release], datetime.max.replace(tzinfo=UTC)) > 0
    assert "publish/20200101T000000Z-000000000000.json" not in objects(store)


@pytest.mark.parametrize("base_url", ["", "https://api.example/bulk"])
def test_verify_names_a_page_that_is_missing_or_says_what_no_manifest_says(store, base_url):
    options = replace(OPEN, base_url=base_url)
    publish(store, [patient("anna", 1)], 0, options)
    release = publish(store, [patient("anna", 2)], 1, options)
    pages = {key for key in objects(store) if key == ROOT or key.startswith("publish/")}
    assert len(pages) == 3
    assert verify(release).ok
    for key in pages:
        there = store.read(key)
        page = json.loads(there.data)
        spoilt = [
            b"",
            b"[]",
            dumps(page | {"transactionTime": "2020-01-01T00:00:00Z"}) + b"\n",
            dumps(page | {"link": [{"relation": "next", "url": "#closed"}]}) + b"\n",
            dumps(page | {"link": [{"relation": "next", "url": "https://other.example/x"}]})
            + b"\n",
        ]
        if "output" in page:
            spoilt.append(dumps(page | {"output": page["output"][1:]}) + b"\n")
            last = page["output"][-1]
            moved = {**last, "url": f"https://other.example/{last['url']}"}
            spoilt.append(dumps(page | {"output": [*page["output"][:-1], moved]}) + b"\n")
        for data in spoilt:
            store.swap(key, data, store.read(key).tag)
            assert [(one.kind, one.key) for one in verify(release).problems] == [("damaged", key)]
        store.delete([key])
        assert [(one.kind, one.key) for one in verify(release).problems] == [("missing", key)]
        assert write_pages(store, options) == [key]
        assert verify(release).ok
        assert store.get(key) == there.data


def test_verify_holds_links_to_the_url_that_is_set(store):
    release = publish(store, [patient("anna", 1)], 0, replace(OPEN, base_url="https://one.example"))
    assert verify(release).ok
    assert verify(release, base_url="https://one.example/").ok
    # The page of the updates has no file and no link yet, so that it names no server.
    problems = verify(release, base_url="https://other.example").problems
    assert [(one.kind, one.key) for one in problems] == [("damaged", ROOT)]


def test_pages_of_releases_that_were_pruned_are_held_to_what_a_later_manifest_says(store):
    for night in range(4):
        release = publish(store, [patient("anna", night + 1)], night)
    prune(store, lambda: datetime(2027, 1, 1, tzinfo=UTC), keep=1)
    assert verify(release).ok
    updates = "publish/updates-first.json"
    page = json.loads(store.get(updates))
    link = [{"relation": "next", "url": page_key(release.id).removeprefix("publish/")}]
    store.put(updates, dumps(page | {"link": link}) + b"\n")
    assert [(one.kind, one.key) for one in verify(release).problems] == [("damaged", updates)]


def test_pages_that_could_not_be_written_are_written_later(store):
    release = publish(store, [patient("anna", 2)], 1)
    store.delete([ROOT])
    full = FaultyStore(store, at=1, fault=lambda: StoreError("no space is left on the device"))
    says = "the Bulk Publish pages could not be written: no space is left"
    with pytest.raises(StoreError, match=says):
        write_pages(full, OPEN)
    write_pages(store, OPEN)
    assert verify(release).ok


def test_a_page_that_a_run_that_died_left_behind_is_not_damaged(store):
    publish(store, [patient("anna", 1)], 0, BulkOptions(snapshot_every=1))
    base = open_current(store)
    manifest = stage(store, [patient("anna", 2)], base, now=DAYS[1])
    manifest = with_bulk(store, base, manifest, BulkOptions(snapshot_every=1))
    commit(store, manifest, base)
    left = verify(Release(store, manifest)).problems
    assert {one.kind for one in left} == {"missing"}
    assert all("a run writes it again" in one.what for one in left)


def test_a_tree_without_a_release_has_no_pages():
    assert write_pages(MemoryStore()) == []
