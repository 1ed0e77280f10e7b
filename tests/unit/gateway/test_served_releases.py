"""Which release is served."""

import asyncio

import pytest

from etl.errors import NotFound, StoreError
from etl.gateway.release.cache import Cache
from etl.gateway.release.served_releases import Releases
from etl.publish.block import PatientResources
from etl.publish.reader import open_current
from etl.storage.port import Transient
from tests.memory_store import MemoryStore
from tests.unit.gateway.faulty import Watched
from tests.unit.gateway.memory_objects import MemoryObjects
from tests.unit.gateway.trees import BASE, grant, opened, run
from tests.unit.publish.samples import logical_id, patient, publish, resource
from tests.virtual_time import pass_time, run_virtually

EOB = "ExplanationOfBenefit"


def published(store, claims, day):
    base = open_current(store)
    return publish(store, [patient("ann", claims)], base=base, now=f"2026-11-{day}T00:00:00Z").id


def test_nothing_is_served_before_something_was_published():
    store = MemoryStore()
    releases = Releases(MemoryObjects(store), Cache(1_000_000))
    with pytest.raises(NotFound, match="nothing has been published yet"):
        run(releases.refresh())
    with pytest.raises(StoreError, match="no release was read yet"):
        releases.current()
    assert releases.served.release is None
    assert releases.served.failures == 1
    release = published(store, 1, 1 + 9)
    assert run(releases.refresh())
    assert releases.current().id == release


def test_a_new_release_is_served_within_the_time_between_two_looks():
    store = MemoryStore()
    first = published(store, 1, 10)
    releases = Releases(MemoryObjects(store), Cache(1_000_000), poll_seconds=0.01)

    async def work():
        stop = asyncio.Event()
        watching = asyncio.ensure_future(releases.watch(stop))
        async with asyncio.timeout(20):
            while (before := releases.served.release) is None:
                await asyncio.sleep(0)
            published(store, 2, 11)
            while (after := releases.served.release) == before:
                await asyncio.sleep(0)
        stop.set()
        await watching
        return before, after

    before, after = run(work())
    assert before == first
    current = open_current(store).release
    assert after == current.id != first


def test_storage_that_fails_leaves_what_is_served_and_tells_its_age():
    store = MemoryStore()
    first = published(store, 1, 10)
    objects = Watched(store)
    now = [100.0]
    releases = Releases(objects, Cache(1_000_000), clock=lambda: now[0])
    run(releases.refresh())
    objects.fail(Transient("no answer"))
    published(store, 2, 11)
    for turn in range(1, 4):
        now[0] += 5
        with pytest.raises(Transient):
            run(releases.refresh())
        assert releases.current().id == first
        assert (releases.served.seen, releases.served.failures) == (5.0 * turn, turn)
    objects.fault = None
    assert run(releases.refresh())
    assert releases.served.failures == 0


def test_a_pointer_to_a_manifest_that_cannot_be_read_changes_nothing():
    store = MemoryStore()
    first = published(store, 1, 10)
    objects = Watched(store)
    releases = Releases(objects, Cache(1_000_000))
    run(releases.refresh())
    published(store, 2, 11)
    objects.fault = lambda key, data: data[:-1] if key.startswith("releases/") else data
    with pytest.raises(StoreError, match="damaged"):
        run(releases.refresh())
    assert releases.current().id == first
    objects.fault = lambda _, data: data
    assert run(releases.refresh())


def test_a_look_that_finds_nothing_new_reads_the_pointer_alone():
    store = MemoryStore()
    published(store, 1, 10)
    objects = Watched(store)
    releases = Releases(objects, Cache(1_000_000))
    run(releases.refresh())
    objects.reads.clear()
    assert run(releases.refresh()) is False
    assert objects.reads == [("current.json", 0, None)]


def test_old_releases_are_kept_open_as_far_as_the_cache_has_room():
    store = MemoryStore()
    names = [published(store, number, 10 + number) for number in range(1, 7)]
    objects = Watched(store)
    releases = Releases(objects, Cache(100_000))
    run(releases.refresh())
    digests = {name: store.read(f"releases/{name}/manifest.json").tag for name in names}
    for name in names:
        assert run(releases.open(name, digests[name])).id == name
    objects.reads.clear()
    for name in (*names[-3:], names[0]):
        run(releases.open(name, digests[name]))
    assert [key for key, _, _ in objects.reads] == [f"releases/{names[0]}/manifest.json"]
    with pytest.raises(StoreError, match="damaged"):
        run(releases.open(names[1], "0" * 64))


def insured(claims):
    """Return a member whose claims name their insurer in the index."""
    search = {"insurer": [f"Organization/{logical_id('payer')}"]}
    made = [resource(EOB, f"claim-{number}", search=search) for number in range(claims)]
    return PatientResources(logical_id("ann"), [resource("Patient", "ann"), *made])


@pytest.mark.parametrize("at", range(5))
def test_an_answer_is_of_one_release_though_another_is_published_while_it_is_made(at):
    store = MemoryStore()
    lab = resource("Organization", "payer", name="Payer")
    publish(store, [insured(12)], directory=[lab])
    pairs = [("_include", "ExplanationOfBenefit:insurer"), ("_include", "*"), ("_count", "20")]
    who = grant(logical_id("ann"))
    old = run(opened(store).service.search(who, EOB, pairs, base=BASE, strict=True))
    objects = Watched(store)
    made = opened(objects)
    seen = len(objects.reads)

    async def work():
        def publishing(key, data):
            if len(objects.reads) - seen == at + 1:
                objects.fault = None
                renamed = resource("Organization", "payer", name="Renamed")
                base = open_current(store)
                later = "2026-11-26T00:00:00Z"
                publish(store, [insured(20)], directory=[renamed], base=base, now=later)
                renewing.append(asyncio.ensure_future(made.releases.refresh()))
            return data

        renewing: list[asyncio.Future[bool]] = []
        objects.fault = publishing
        # So that the new release is taken up between two reads.
        objects.wait = lambda: pass_time(1)
        answer = await made.service.search(who, EOB, pairs, base=BASE, strict=True)
        assert all(await asyncio.gather(*renewing))
        return answer

    answer = run_virtually(work())
    assert (answer.body, answer.release) == (old.body, old.release)
    assert b"Payer" in old.body
    new = run_virtually(made.service.search(who, EOB, pairs, base=BASE, strict=True))
    assert new.release != old.release
    assert b"Renamed" in new.body
    assert b'"total":20' in new.body
