"""A run that dies at any write leaves readers on a whole release, and running again finishes it."""

import errno
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl.errors import CommitConflict, CommitUnknown, StoreError
from etl.publish.block import PatientResources
from etl.publish.canonical_json import sha256
from etl.publish.directory import write_directory
from etl.publish.history import rollback
from etl.publish.kept_objects import ObjectRef
from etl.publish.lease import run_lease
from etl.publish.manifest import ReleaseFacts
from etl.publish.partition_writer import write_partition
from etl.publish.prune import prune
from etl.publish.reader import FIRST_RELEASE, open_current
from etl.publish.release import assemble, commit, is_published
from etl.publish.verify import verify
from etl.storage import local
from etl.storage.local import LocalStore
from tests.fault.faulty import FaultyStore, Killed, LostAnswer
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import (
    LATER,
    claim,
    logical_id,
    objects,
    patient,
    payer,
    publish,
    resource,
    stage,
    without_pointer,
)

EXTRACT = ReleaseFacts("full", inputs=[{"name": "claim.csv", "sha256": "1" * 64}])
DELTA = ReleaseFacts("delta", inputs=[{"name": "claim.csv", "sha256": "2" * 64}])
OLD = datetime(2020, 1, 1, tzinfo=UTC)


def full_run(store):
    base = open_current(store)
    if is_published(base, EXTRACT):
        return
    anna = [*patient("anna", 11).resources, claim("anna", 11, "2022-01-01")]
    people = [PatientResources(logical_id("anna"), anna), patient("bert", 1), patient("dora", 2)]
    shared = [payer(), resource("Practitioner", "d1")]
    manifest = stage(store, people, base, directory=shared, now=LATER, partitions=2, facts=EXTRACT)
    commit(store, manifest, base)


def night_run(store):
    """Anna has a claim more, Bert is gone, Cleo stays as she is."""
    base = open_current(store)
    if is_published(base, DELTA) or base.release is None:
        return
    anna = [*patient("anna", 12).resources, claim("anna", 20, "2023-01-01")]
    people = [PatientResources(logical_id("anna"), anna)]
    previous = base.release.units(one.patient_id for one in people)
    result = write_partition(store, previous, people, LATER).keeping([logical_id("cleo")])
    shared = write_directory(store, base.release, [payer(), resource("Location", "l")], LATER)
    commit(store, assemble(store, base, [result], shared, DELTA, LATER), base)


def whole_release(store):
    """Return the release that readers see, which has to be whole."""
    release = open_current(store).release
    assert verify(release).ok
    return release


@pytest.fixture
def store():
    return started()


def stage_anna(store):
    """Return the present release, and a staged one in which Anna has one claim."""
    base = open_current(store)
    return base, stage(store, [patient("anna", 1)], base, now=LATER)


def started():
    store = MemoryStore(lambda: OLD)
    publish(store, [patient("anna", 12), patient("bert", 1), patient("cleo", 3)])
    return store


@pytest.mark.parametrize("run", [full_run, night_run])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whenever_a_run_dies_readers_see_one_whole_release(run, after):
    undisturbed = started()
    counting = FaultyStore(undisturbed)
    run(counting)
    expected = objects(undisturbed)
    assert counting.writes >= 10
    released = open_current(undisturbed)
    for at in range(1, counting.writes + 1):
        store = started()
        old = open_current(store)
        with pytest.raises(Killed):
            run(FaultyStore(store, at=at, after=after))
        whole_release(store)
        assert open_current(store).tag in (old.tag, released.tag)
        run(store)
        assert objects(store) == expected


def test_the_first_release_is_there_whole_or_not_at_all():
    undisturbed = MemoryStore()
    counting = FaultyStore(undisturbed)
    full_run(counting)
    for at in range(1, counting.writes + 1):
        store = MemoryStore()
        with pytest.raises(Killed):
            full_run(FaultyStore(store, at=at))
        assert open_current(store) == FIRST_RELEASE
        full_run(store)
        assert objects(store) == objects(undisturbed)


def test_storage_that_fails_leaves_readers_where_they_were():
    writes = FaultyStore(started())
    full_run(writes)
    for at in range(1, writes.writes + 1):
        store = started()
        before = store.get("current.json")
        with pytest.raises(StoreError, match="no space"):
            full_run(FaultyStore(store, at=at, fault=lambda: StoreError("no space")))
        assert store.get("current.json") == before


def test_a_prune_that_dies_leaves_every_listed_release_whole():
    def two_releases():
        store = started()
        full_run(store)
        return store

    def tidy(store):
        prune(store, lambda: datetime(2026, 12, 24, tzinfo=UTC), keep=1)

    undisturbed = two_releases()
    counting = FaultyStore(undisturbed)
    tidy(counting)
    for at in range(1, counting.writes + 1):
        store = two_releases()
        with pytest.raises(Killed):
            tidy(FaultyStore(store, at=at))
        for entry in list(store.list("leases/")):  # as time would do
            store.delete([entry.key])
        whole_release(store)
        tidy(store)
        assert without_pointer(store) == without_pointer(undisturbed)
        assert open_current(store).release is not None


def test_of_two_racing_runs_one_says_so_and_changes_nothing_that_readers_see(store):
    base, mine = stage_anna(store)
    theirs = stage(store, [patient("anna", 2)], base, now=LATER)
    commit(store, theirs, base)
    before = objects(store)
    with pytest.raises(CommitConflict, match="another run published") as raised:
        commit(store, mine, base)
    assert raised.value.exit_code == 5
    assert objects(store).items() - before.items() == {(mine.key, mine.to_bytes())}
    assert open_current(store).release is not None


def test_a_lost_answer_is_settled_by_reading_the_pointer_back(store):
    base, manifest = stage_anna(store)
    commit(LostAnswer(store, landed=True), manifest, base)
    assert whole_release(store).id == manifest.release


def test_a_lost_answer_is_settled_even_when_someone_published_on_top(store):
    base, manifest = stage_anna(store)

    class Overtaken(LostAnswer):
        def swap(self, key, data, expected):
            try:
                return super().swap(key, data, expected)
            finally:
                if key == "current.json":
                    publish(store, [patient("bert", 2)], now="2026-11-26T00:00:00Z")

    commit(Overtaken(store, landed=True), manifest, base)
    assert whole_release(store).manifest.parent == manifest.release


def test_a_commit_that_took_place_and_is_refused_all_the_same_is_told_as_published(store):
    """As by S3, where the first attempt's answer was lost and somebody published on top of it."""
    base, manifest = stage_anna(store)

    class Met(FaultyStore):
        def swap(self, key, data, expected):
            tag = self._store.swap(key, data, expected)
            if key != "current.json":
                return tag
            publish(store, [patient("bert", 2)], now="2026-11-26T00:00:00Z")
            raise CommitConflict("it was changed by someone else")

    commit(Met(store), manifest, base)
    assert whole_release(store).manifest.parent == manifest.release


def test_a_rollback_whose_lease_was_broken_does_not_commit():
    time = [datetime(2026, 11, 24, tzinfo=UTC)]
    store = MemoryStore(lambda: time[0])
    first = publish(store, [patient("anna", 1)])
    second = publish(store, [patient("anna", 2)], now=LATER)
    with run_lease(store, lambda: time[0]) as lease:
        time[0] += timedelta(days=3)
        prune(store, lambda: time[0], keep=1)
        with pytest.raises(StoreError):
            rollback(store, first, LATER, lease=lease)
    assert whole_release(store).id == second.id


def test_an_attempt_whose_manifest_was_replaced_by_another_does_not_commit(store):
    base, mine = stage_anna(store)
    report = store.put("reports/r", b"r") and ObjectRef("reports/r", sha256(b"r"), 1)
    assert report
    commit(store, mine.with_reports([report]), base)
    with pytest.raises(CommitConflict):
        commit(FaultyStore(store), mine, base)
    whole_release(store)


def test_an_answer_that_stays_unknown_is_said_to_be(store):
    base, manifest = stage_anna(store)
    with pytest.raises(CommitUnknown):
        commit(LostAnswer(store, landed=False), manifest, base)
    assert open_current(store).tag == base.tag


@pytest.mark.parametrize("failures", [1, 100])
def test_a_pointer_that_did_not_reach_the_disk_is_synced_again_or_said_to_be_at_risk(
    tmp_path, monkeypatch, failures
):
    store = LocalStore(tmp_path / "tree")
    publish(store, [patient("anna", 1)])
    base = open_current(store)
    manifest = stage(store, [patient("anna", 2)], base, now=LATER)
    before = store.get("current.json")
    synced = []

    def fail_after_the_swap(path):
        if store.get("current.json") != before:
            synced.append(path)
            if len(synced) <= failures:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(local, "_fsync", fail_after_the_swap)
    if failures == 1:
        commit(store, manifest, base)
        assert {store.path("current.json"), tmp_path / "tree"} <= set(synced[1:])
    else:
        with pytest.raises(CommitUnknown, match=r"readers see release .* power cut"):
            commit(store, manifest, base)
    assert open_current(store).release.id == manifest.release


class KeepsWhatIsThere(MemoryStore):
    """Leaves an object that is there as it is, as S3 does."""

    def put(self, key, data):
        return key not in objects(self) and super().put(key, data)


def test_a_manifest_that_a_dead_run_left_with_other_reports_is_replaced():
    store = KeepsWhatIsThere(lambda: OLD)
    base, manifest = stage_anna(store)
    store.put(manifest.key, manifest.to_bytes() + b" ")
    commit(store, manifest, base)
    whole_release(store)


def test_a_manifest_that_readers_are_on_is_never_replaced():
    store = KeepsWhatIsThere(lambda: OLD)
    base, manifest = stage_anna(store)
    commit(store, manifest, base)
    there = objects(store)
    other = replace(
        manifest, facts=replace(manifest.facts, reports=[ObjectRef("reports/r", "", 0)])
    )
    with pytest.raises(CommitConflict):
        commit(store, other, base)
    assert objects(store) == there
