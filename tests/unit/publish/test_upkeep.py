"""Looking after a tree: releases, differences, rollback, verify, prune, leases."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl.errors import CommitConflict, CommitUnknown, StoreError, UsageError
from etl.publish.block import PatientResources
from etl.publish.bulk_pages import page_key, write_pages
from etl.publish.canonical_json import dumps, sha256
from etl.publish.diff import compare
from etl.publish.history import find_release, holds, lineage, resume, rollback
from etl.publish.kept_objects import ObjectRef
from etl.publish.lease import LEASE_TIME, prune_lease, run_lease
from etl.publish.manifest import (
    ChangeCounts,
    Changes,
    Manifest,
    ReleaseFacts,
    changed_ids,
    id_facts,
)
from etl.publish.prune import prune
from etl.publish.reader import open_current, read_all
from etl.publish.release import commit
from etl.publish.verify import verify
from etl.storage.local import LocalStore
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import (
    BULK,
    LATER,
    NOW,
    claim,
    flip,
    logical_id,
    lose,
    objects,
    patient,
    payer,
    publish,
    publish_with_bulk,
    resource,
    stage,
    without_pointer,
)

ANNA = logical_id("anna")
EOB = "ExplanationOfBenefit"
DAYS = [f"2026-12-{day:02}T02:00:00Z" for day in range(1, 29)]


def clock_at(text):
    return lambda: datetime.fromisoformat(text)


def test_releases_are_listed_newest_first_and_uncommitted_ones_are_not(store):
    first = publish(
        store, [patient("anna", 1)], facts=ReleaseFacts("full", inputs=[{"name": "claim.csv"}])
    )
    second = publish(store, [patient("anna", 2)], now=LATER)
    never = stage(store, [patient("anna", 3)], open_current(store), now=DAYS[0])
    store.put(never.key, never.to_bytes())
    listed = list(lineage(store))
    assert [one.id for one in listed] == [second.id, first.id]
    assert [one.manifest.parent for one in listed] == [first.id, None]
    assert listed[0].manifest.counts["resources"][EOB] == 2
    assert list(lineage(MemoryStore())) == []


def test_a_release_is_named_by_its_id_or_a_unique_beginning(store):
    first = publish(store, [patient("anna", 1)])
    second = publish(store, [patient("anna", 2)], now=LATER)
    assert find_release(store, first.id).id == first.id
    assert find_release(store, "20261125").id == second.id
    assert find_release(store, "current").id == second.id
    with pytest.raises(UsageError, match="several releases begin with 2026"):
        find_release(store, "2026")
    with pytest.raises(UsageError, match="there is no release 1999"):
        find_release(store, "1999")


def test_a_difference_counts_patients_and_resources(store):
    first = publish(store, [patient("anna", 3), patient("bert", 1)])
    anna = [*patient("anna", 1).resources, claim("anna", 1, "2020-01-02", amount="7")]
    second = publish(
        store,
        [PatientResources(ANNA, anna), patient("cleo", 2)],
        now=LATER,
        directory=[payer(), resource("Practitioner", "d")],
    )
    difference = compare(first, second)
    assert difference == Changes(
        ChangeCounts(added=1, changed=1, retracted=1),
        {
            "Patient": ChangeCounts(added=1, retracted=1),
            "Coverage": ChangeCounts(added=1, retracted=1),
            EOB: ChangeCounts(added=2, changed=1, retracted=2),
            "Practitioner": ChangeCounts(added=1),
        },
    )
    assert difference.to_json() == second.manifest.counts["changes"]
    back = compare(second, first)
    assert back.resources[EOB] == ChangeCounts(added=2, changed=1, retracted=2)
    assert compare(first, first) == Changes()


def test_a_difference_across_a_resharded_catalog_and_directory_is_the_same(store):
    names = [f"p{number}" for number in range(3000)]
    people = [PatientResources(logical_id(n), [resource("Patient", n)]) for n in names]
    doctors = [resource("Practitioner", f"d{number}") for number in range(1500)]
    first = publish(store, people[:10], directory=doctors[:10])
    second = publish(store, people[5:], directory=doctors[5:], now=LATER)
    assert second.manifest.catalog_bits > first.manifest.catalog_bits
    assert second.manifest.directory_bits > first.manifest.directory_bits
    for one, other, added, retracted in ((first, second, 2990, 5), (second, first, 5, 2990)):
        changes = compare(one, other)
        assert changes.patients == ChangeCounts(added=added, retracted=retracted)
        assert changes.resources["Practitioner"] == ChangeCounts(
            added=5 if one is second else 1490, retracted=1490 if one is second else 5
        )


def test_a_rollback_is_a_new_release_of_the_old_content(store):
    first = publish(store, [patient("anna", 3)])
    second = publish(store, [patient("anna", 1), patient("bert", 1)], now=LATER)
    before = objects(store)
    manifest = rollback(store, first, DAYS[0])
    assert objects(store).keys() - before.keys() == {manifest.key}
    now = open_current(store).release
    assert now.id == manifest.release > second.id
    assert manifest.parent == second.id
    assert manifest.facts.kind == "rollback"
    assert manifest.facts.run == {**first.manifest.facts.run, "rollbackTo": first.id}
    assert manifest.catalog == first.manifest.catalog
    assert manifest.counts["resources"] == first.manifest.counts["resources"]
    assert manifest.counts["changes"]["resources"][EOB] == {
        "added": 2,
        "changed": 0,
        "retracted": 1,
    }
    assert verify(now).ok
    again = publish(store, [patient("anna", 3)], now=DAYS[1])
    assert again.manifest.catalog == first.manifest.catalog


@pytest.mark.parametrize("damage", [b"", None])
@pytest.mark.parametrize("what", ["catalog", "patient", "directory"])
def test_a_rollback_leaves_a_damaged_release_and_consumers_begin_again(store, what, damage):
    first = publish_with_bulk(store, [patient("anna", 3)], NOW)
    more = {"directory": [payer(), resource("Organization", "other", name="Other")]}
    second = publish_with_bulk(store, [patient("anna", 1)], LATER, **more)
    kept = {ref.key for _, ref in first.objects()}
    (key, *_) = [
        ref.key
        for role, ref in second.objects()
        if role == what and ref.key not in kept and not ref.key.endswith(".gz")
    ]
    store.delete([key]) if damage is None else store.put(key, damage)
    with pytest.raises(StoreError):
        compare(second, first)
    manifest = rollback(store, first, DAYS[0], BULK)
    write_pages(store, BULK)
    now = open_current(store).release
    assert (now.id, manifest.parent) == (manifest.release, second.id)
    assert manifest.catalog == first.manifest.catalog
    # Nobody knows what consumers have, so they get all of it: a snapshot, and no updates to it.
    assert manifest.counts["changes"] == first.manifest.counts["changes"]
    assert manifest.counts["changes"]["resources"][EOB]["added"] == 3
    assert manifest.bulk["increment"] is None
    assert manifest.bulk["snapshot"]["time"] == DAYS[0]
    assert b"#closed" in store.get(page_key(second.id))
    assert verify(now).problems == []
    # The next releases are compared with that.
    third = publish_with_bulk(store, [patient("anna", 4)], DAYS[1])
    assert third.manifest.counts["changes"]["resources"][EOB]["added"] == 1
    prune(store, clock_at(DAYS[20]), keep=2)
    assert verify(third).problems == []


def test_a_rollback_to_a_rollback_does_not_take_over_its_reason(store):
    first = publish(store, [patient("anna", 3)])
    publish(store, [patient("anna", 1)], now=LATER)
    rollback(store, first, DAYS[0], reason="wrong amounts")
    back = open_current(store).release
    resume(store, DAYS[1])
    publish(store, [patient("anna", 2)], now=DAYS[1])
    assert rollback(store, back, DAYS[2]).facts.run == {"rollbackTo": back.id}


def test_a_rollback_holds_until_it_is_resumed_from_and_holds_again_when_done_again(store):
    first = publish(store, [patient("anna", 3)])
    assert not holds(store, first)
    publish(store, [patient("anna", 1)], now=LATER)
    manifest = rollback(store, first, DAYS[0], reason="wrong amounts")
    assert manifest.facts.run == {"rollbackTo": first.id, "reason": "wrong amounts"}
    assert holds(store, open_current(store).release)
    assert resume(store, DAYS[1]) == manifest.release
    assert resume(store, DAYS[1]) is None
    prune(store, clock_at(DAYS[20]), keep=1)
    assert not holds(store, open_current(store).release)
    rollback(store, first, DAYS[2])
    (newest,) = lineage(store)
    assert newest.manifest.rolled_back_to == first.id
    assert newest.manifest.facts.run["reason"] == "wrong amounts"
    assert holds(store, newest)


def test_a_manifest_states_payer_and_a_fingerprint_of_the_key_from_which_there_is_no_way_back():
    key = b"correct horse battery staple"
    facts = id_facts("acme", key)
    assert facts == id_facts("acme", bytes(key))
    assert facts["key"] != id_facts("acme", key + b"!")["key"]
    plain = {sha256(key)[:32], hashlib.blake2b(key, digest_size=16).hexdigest()}
    assert facts["key"] not in plain
    assert changed_ids(facts, facts) == ()
    assert changed_ids(facts, id_facts("other", b"key")) == ("payer", "key")


def test_a_release_of_before_there_were_fingerprints_is_read_and_written_as_it_was(store):
    release = publish(store, [patient("anna", 1)])
    data = store.get(release.manifest.key)
    assert b'"ids"' not in data
    assert Manifest.from_bytes(data, "manifest").to_bytes() == data
    assert changed_ids(release.manifest.facts.ids, id_facts("acme", b"key")) == ()
    named = publish(
        store, [patient("anna", 2)], facts=ReleaseFacts("full", ids={"payer": "a", "key": "b"})
    )
    again = Manifest.from_bytes(store.get(named.manifest.key), "manifest")
    assert again.facts.ids == {"payer": "a", "key": "b"}


def test_a_pointer_that_is_lost_or_damaged_is_named(store):
    publish(store, [patient("anna", 1)])
    data = store.get("current.json")
    for at in range(len(data) - 1):
        store.put("current.json", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StoreError, match=r"current\.json|releases/.*manifest\.json"):
            find_release(store, "current")
    store.delete(["current.json"])
    with pytest.raises(UsageError, match=r"current\.json is lost"):
        find_release(store, "current")


def test_rolling_back_to_the_present_release_is_refused(store):
    first = publish(store, [patient("anna", 3)])
    with pytest.raises(UsageError, match="is already the current release"):
        rollback(store, first, LATER)


def test_a_sound_release_verifies_and_is_counted_whole(store):
    publish(store, [patient("anna", 25), patient("bert", 1)])
    release = publish(store, [patient("anna", 24)], now=LATER)
    seen = []
    result = verify(release, seen.append)
    assert result.problems == []
    assert result.ok
    assert (result.patients, result.resources) == (1, 27)
    assert seen == [1]


def test_verify_names_every_object_that_is_missing_or_damaged(store):
    publish(store, [patient("bert", 1)])
    release = publish(store, [patient("anna", 12)], now=LATER)
    named = {shard.key for shard in release.manifest.catalog if shard}
    for unit in [*release.all_units(), *(one for one in release.manifest.directory if one)]:
        named |= {key for key in (unit.block, unit.index) if key}
    assert len(named) == 1 + 2 + 1 + 2
    for key in named:
        data = store.get(key)
        for kind, damage in (("missing", lose), ("damaged", flip)):
            store.put(key, data)
            damage(store, key)
            verified = verify(release)
            found = verified.problems
            assert (kind, key) in {(one.kind, one.key) for one in found}
            assert not any("run verify" in one.what for one in found)
        store.put(key, data)
    assert verify(release).ok


def test_verify_finds_a_reference_that_leads_nowhere(store):
    lost = resource(
        EOB,
        "e1",
        patient={"reference": f"Patient/{ANNA}"},
        provider={"reference": "Practitioner/unheard-of"},
        careTeam=[{"provider": {"reference": "#contained"}}, {"reference": "https://x/Patient/1"}],
    )
    role = resource("PractitionerRole", "r", organization={"reference": "Organization/gone"})
    anna = PatientResources(ANNA, [resource("Patient", "anna"), lost])
    release = publish(store, [anna], directory=[role])
    found = verify(release).problems
    assert [(one.kind, one.what) for one in found] == [
        ("reference", "nothing is at Organization/gone"),
        ("reference", "nothing is at Practitioner/unheard-of"),
    ]


def test_verify_finds_counts_and_rows_that_do_not_agree(store):
    release = publish(store, [patient("anna", 3)])
    manifest = release.manifest
    release.manifest = replace(manifest, counts={**manifest.counts, "patients": 2})
    assert [one.kind for one in verify(release).problems] == ["count"]
    anna, bert = publish(MemoryStore(), [patient("anna", 3)]), patient("bert", 2)
    other = publish(anna.store, [patient("anna", 3), bert], now=LATER)
    (shard,) = other.manifest.catalog
    rows = json.loads(anna.store.get(shard.key))["patients"]
    first, second = rows
    text = anna.store.get(shard.key)
    exchanged = (
        text.replace(first.encode(), b"?" * 32)
        .replace(second.encode(), first.encode())
        .replace(b"?" * 32, second.encode())
    )
    key = f"catalog/{sha256(exchanged)}.json"
    anna.store.put(key, exchanged)
    other.manifest = replace(
        other.manifest, catalog=[replace(shard, key=key, sha256=sha256(exchanged))]
    )
    found = {one.what for one in verify(other).problems}
    assert "the index belongs to another patient" in found


def test_prune_keeps_what_kept_releases_name_and_deletes_the_rest(store):
    published = [publish(store, [patient("anna", n + 1)], now=DAYS[n]) for n in range(6)]
    never = stage(store, [patient("anna", 99)], open_current(store), now=DAYS[9])
    store.put(never.key, never.to_bytes())
    done = prune(store, clock_at(DAYS[20]), keep=2)
    assert list(done.kept) == [published[5].id, published[4].id]
    assert list(done.dropped) == [one.id for one in published[3::-1]]
    for release in published[4:]:
        assert verify(release).ok
    left = without_pointer(store)
    assert sum(key.startswith("patients/") for key in left) == 4
    assert sum(key.startswith("catalog/") for key in left) == 2
    assert sum(key.startswith("directory/") for key in left) == 2
    assert sum(key.startswith("releases/") for key in left) == 2
    assert [one.id for one in lineage(store)] == [published[5].id, published[4].id]
    nothing = prune(store, clock_at(DAYS[20]), keep=2)
    assert (nothing.objects, nothing.bytes) == (0, 0)
    assert without_pointer(store) == left


def test_prune_says_of_each_release_what_is_listed_afterwards_and_what_it_keeps_is_whole():
    """A manifest too young to be deleted stays a release, so that nothing that it names may go."""
    day = 0
    store = MemoryStore(lambda: datetime(2026, 12, 1 + day, 2, tzinfo=UTC))
    published = []
    for number in range(6):
        day = number // 3  # three releases a day
        now = f"2026-12-0{1 + day}T02:0{number}:00Z"
        published.append(publish(store, [patient("anna", number + 1)], now=now))
    noon = clock_at("2026-12-02T12:00:00Z")
    whole, before = objects(store), without_pointer(store)
    rehearsed = prune(store, noon, keep=1, dry_run=True)
    assert objects(store) == whole
    done = prune(store, noon, keep=1)
    assert done == rehearsed
    left = without_pointer(store)
    assert done.objects == len(before) - len(left) > 0
    assert done.bytes == sum(map(len, before.values())) - sum(map(len, left.values()))
    assert list(done.kept) == [one.id for one in published[:2:-1]]
    assert list(done.young) == [one.id for one in published[4:2:-1]]
    assert list(done.dropped) == [one.id for one in published[2::-1]]
    assert [one.id for one in lineage(store)] == list(done.kept)
    for name in done.kept:
        assert verify(find_release(store, name)).ok


def test_reports_and_quarantine_of_a_dropped_release_leave_no_folder_behind(tmp_path):
    store = LocalStore(tmp_path)
    for number in range(2):
        named = [
            ObjectRef(f"{place}/r{number}/{file}", sha256(b"x"), 1)
            for place in ("quarantine", "reports")
            for file in ("a.csv", "in/it/b.csv", "z.csv")
        ]
        for one in named:
            store.put(one.key, b"x")
        facts = ReleaseFacts("full", reports=named)
        publish(store, [patient("anna", number + 1)], now=DAYS[number], facts=facts)
    prune(store, lambda: datetime(2100, 1, 1, tzinfo=UTC), keep=1)
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == ["r1"]
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["r1"]
    assert len(list((tmp_path / "quarantine").rglob("*.csv"))) == 3


def test_prune_keeps_releases_that_are_younger_than_asked_for(store):
    published = [publish(store, [patient("anna", n + 1)], now=DAYS[n]) for n in range(6)]
    done = prune(store, clock_at(DAYS[6]), keep=1, older_than=timedelta(days=3, hours=1))
    assert list(done.kept) == [one.id for one in published[:2:-1]]


def test_the_present_release_cannot_be_pruned():
    with pytest.raises(UsageError, match="keep at least 1"):
        prune(MemoryStore(), clock_at(NOW), keep=0)


def test_prune_deletes_nothing_where_a_kept_release_cannot_be_read(store):
    publish(store, [patient("anna", 1)], now=DAYS[0])
    release = publish(store, [patient("anna", 2)], now=DAYS[1])
    (shard,) = release.manifest.catalog
    store.delete([shard.key])
    before = without_pointer(store)
    with pytest.raises(
        StoreError, match=rf"{shard.key}: it is unknown .* so nothing was deleted; "
    ):
        prune(store, clock_at(DAYS[20]), keep=1)
    assert without_pointer(store) == before


def test_prune_and_run_never_work_at_the_same_time(store):
    clock = clock_at(NOW)
    publish(store, [patient("anna", 1)])
    with (
        run_lease(store, clock),
        pytest.raises(StoreError, match="a run or a prune is in progress"),
    ):
        prune(store, clock, keep=1)
    with prune_lease(store, clock):
        with pytest.raises(StoreError, match="a prune is in progress"), run_lease(store, clock):
            pass
        with pytest.raises(StoreError, match="a run or a prune is in progress"):
            prune(store, clock, keep=1)
    with run_lease(store, clock), run_lease(store, clock):
        pass
    assert not list(store.list("leases/"))
    prune(store, clock, keep=1)


def test_a_run_whose_lease_was_broken_does_not_commit():
    time = [datetime.fromisoformat(NOW)]
    store = MemoryStore(lambda: time[0])
    publish(store, [patient("anna", 1)])
    base = open_current(store)
    with run_lease(store, lambda: time[0]) as lease:
        mine = stage(store, [patient("anna", 2)], base, now=LATER)
        time[0] += LEASE_TIME + timedelta(seconds=1)
        prune(store, lambda: time[0], keep=1)
        before = store.get("current.json")
        with pytest.raises(StoreError, match="treated it as dead; nothing was published"):
            commit(store, mine, base, lease)
        with pytest.raises(CommitConflict):  # one that was at rest after it had renewed its lease
            commit(store, mine, base)
    assert store.get("current.json") == before
    assert not list(store.list("leases/"))


def test_one_clock_that_is_wrong_breaks_no_lease(store):
    publish(store, [patient("anna", 1)])
    ahead = clock_at("2099-01-01T00:00:00Z")
    with run_lease(store, clock_at(NOW)), pytest.raises(StoreError, match="a run or a prune is in"):
        prune(store, ahead, keep=1)
    with (
        prune_lease(store, clock_at(NOW)),
        pytest.raises(StoreError, match="a prune is in progress"),
        run_lease(store, ahead),
    ):
        pass


def test_a_run_breaks_the_lease_of_a_prune_that_came_to_rest():
    time = [datetime.fromisoformat(NOW)]
    store = MemoryStore(lambda: time[0])
    with prune_lease(store, lambda: time[0]) as rested:
        time[0] += LEASE_TIME + timedelta(seconds=1)
        with run_lease(store, lambda: time[0]):
            assert len(list(store.list("leases/"))) == 1
        with pytest.raises(StoreError, match="treated it as dead; run it again"):
            rested.keep()


KILLED_HOLDER = """
import os, sys
from datetime import UTC, datetime
from etl.publish import lease
from etl.storage.local import LocalStore
held = lease.Lease(LocalStore(sys.argv[1]), sys.argv[2], lambda: datetime.now(UTC))
held.renew_to_delete()
os._exit(9)
"""


def with_killed_holder(folder, kind):
    """Return a store with the lease of a process that was killed, and the lease."""
    subprocess.run([sys.executable, "-c", KILLED_HOLDER, str(folder), kind], check=False)
    store = LocalStore(folder)
    (entry,) = store.list("leases/")
    lease = json.loads(store.get(entry.key))
    return store, lease


def now_utc():
    return datetime.now(UTC)


@pytest.mark.parametrize(
    ("kind", "held"), [("prune", run_lease), ("prune", prune_lease), ("run", prune_lease)]
)
def test_the_lease_of_a_killed_process_of_this_machine_is_broken_at_once(tmp_path, kind, held):
    store, _ = with_killed_holder(tmp_path, kind)
    with held(store, now_utc):
        assert len(list(store.list("leases/"))) == 1
    assert not list(store.list("leases/"))


@pytest.mark.parametrize(
    ("changed", "is_broken", "says"),
    [
        ({"process": os.getpid()}, True, ""),  # the id was given to another process since
        ({"processes": "another boot pid:[1]"}, False, "on another machine, or was killed there"),
        ({"process": os.getpid(), "processStarted": None}, False, "is in progress"),
        ({"process": "x"}, False, "leases/prune-1.json is not a lease"),
        ({"processes": "", "started": None}, False, r"progress \(leases/prune-1.json\); run again"),
    ],
)
def test_who_holds_a_lease_is_asked_by_process_id_and_start(
    store, tmp_path, changed, is_broken, says
):
    _, lease = with_killed_holder(tmp_path, "prune")
    store.put("leases/prune-1.json", dumps({**lease, **changed}))
    if is_broken:
        with run_lease(store, now_utc):
            pass
        return
    with pytest.raises(StoreError, match=says), run_lease(store, now_utc):
        pass


def test_a_deletion_that_object_storage_may_still_carry_out_keeps_runs_out(tmp_path):
    _, lease = with_killed_holder(tmp_path, "prune")

    class Bucket(MemoryStore):
        @property
        def name(self):
            return "s3://bucket/prefix"

    store = Bucket()
    store.put("leases/prune-1.json", dumps({**lease, "deletes": False}))
    with run_lease(store, now_utc):
        pass
    store.put("leases/prune-1.json", dumps(lease))
    says = r"was killed while it deleted objects .* run again when its lease has expired, at "
    with pytest.raises(StoreError, match=says), run_lease(store, now_utc):
        pass


def test_a_prune_of_a_target_where_nothing_is_published_deletes_nothing(store):
    stage(store, [patient("anna", 1)], open_current(store))
    before = objects(store)
    assert prune(store, clock_at(DAYS[20]), keep=1).objects == 0
    assert objects(store) == before


def test_a_prune_that_has_no_answer_to_a_deletion_keeps_runs_out_until_its_lease_ran_out():
    class Silent(MemoryStore):
        def delete(self, keys):
            if next(iter(keys)).startswith("leases/"):
                return super().delete(keys)
            raise CommitUnknown("no answer")

    store = Silent(lambda: datetime(2020, 1, 1, tzinfo=UTC))
    for number in range(2):
        publish(store, [patient("anna", number + 1)], now=DAYS[number])
    with pytest.raises(CommitUnknown, match="no run can start until"):
        prune(store, clock_at(DAYS[20]), keep=1)
    with pytest.raises(StoreError, match="in progress"), run_lease(store, clock_at(DAYS[20])):
        pass


def test_a_run_that_began_before_a_rollback_was_done_again_does_not_commit(store):
    first = publish(store, [patient("anna", 1)])
    publish(store, [patient("anna", 2)], now=LATER)
    rollback(store, first, DAYS[0])
    resume(store, DAYS[0])
    base = open_current(store)
    mine = stage(store, [patient("anna", 3)], base, now=DAYS[1])
    rollback(store, first, DAYS[1])
    with pytest.raises(CommitConflict):
        commit(store, mine, base)
    assert holds(store, open_current(store).release)


def test_a_lease_that_is_renewed_lasts(store):
    time = [datetime.fromisoformat(NOW)]
    publish(store, [patient("anna", 1)])
    base = open_current(store)
    with run_lease(store, lambda: time[0]) as lease:
        mine = stage(store, [patient("anna", 2)], base, now=LATER)
        for _ in range(3):
            time[0] += LEASE_TIME - timedelta(minutes=1)
            lease.renew()
        with pytest.raises(StoreError, match="a run or a prune is in progress"):
            prune(store, lambda: time[0], keep=1)
        commit(store, mine, base, lease)
    release = open_current(store).release
    unit = release.unit(ANNA)
    assert len(read_all(store, release.index(unit))) == 4


def flipped(data):
    at = data.index(b"retractedPatients") + 3
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def three_releases(store, damage):
    """Publish three releases, damage the second, and return their ids, newest first."""
    found = [
        publish(store, [patient("anna", number + 1)], now=day)
        for number, day in enumerate(DAYS[:3])
    ]
    key = found[1].manifest.key
    store.put(key, damage(store.get(key)))
    return [one.id for one in reversed(found)]


@pytest.mark.parametrize("damage", [flipped, lambda _: b"", lambda data: data[: len(data) // 2]])
def test_old_history_that_cannot_be_read_is_a_warning_with_the_way_out(store, damage, caplog):
    newest, damaged, _ = three_releases(store, damage)
    assert [one.id for one in lineage(store)] == [newest]
    assert f"releases/{damaged}/manifest.json" in caplog.text
    assert "`cpcds prune --keep 1`" in caplog.text
    later = publish(store, [patient("anna", 9)], now=LATER.replace("2026", "2027"))
    assert [one.id for one in lineage(store)] == [later.id, newest]


def test_a_prune_that_would_keep_what_cannot_be_read_deletes_nothing(store):
    newest, damaged, _ = three_releases(store, flipped)
    before = without_pointer(store)
    with pytest.raises(StoreError, match=rf"{damaged}.*`cpcds prune --keep 1`; nothing was del"):
        prune(store, clock_at("2030-01-01T00:00:00Z"), keep=2)
    assert without_pointer(store) == before
    done = prune(store, clock_at("2030-01-01T00:00:00Z"), keep=1)
    assert (list(done.kept), list(done.dropped)) == ([newest], [damaged])
    left = open_current(store).release
    assert verify(left).ok
    assert len(list(store.list("releases/"))) == 1


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]", b'{"expires":5}', b'{"expires":"soon"}'])
def test_a_lease_that_is_none_is_named(store, garbage):
    publish(store, [patient("anna", 1)])
    store.put("leases/prune-1.json", garbage)
    clock = clock_at("2030-01-01T00:00:00Z")
    for held in (run_lease, prune_lease):
        with (
            pytest.raises(StoreError, match=r"leases/prune-1\.json is not a lease.*delete it"),
            held(store, clock),
        ):
            pass


def test_a_lease_that_cannot_be_given_back_does_not_make_a_run_fail():
    class Stubborn(MemoryStore):
        def delete(self, keys):
            raise StoreError("no space is left on the device")

    store = Stubborn()
    with run_lease(store, clock_at("2030-01-01T00:00:00Z")):
        pass
    assert [entry.key.partition("/")[0] for entry in store.list()] == ["leases"]
