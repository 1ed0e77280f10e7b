"""What a second release does with what is there: full extracts, deltas, retractions."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from etl.publish.changes import Tally
from etl.publish.directory import write_directory, write_directory_changes
from etl.publish.index import Gone
from etl.publish.manifest import Facts
from etl.publish.moves import holders, strangers
from etl.publish.partition import write_changes
from etl.publish.reader import Release, open_current, read_all
from etl.publish.release import assemble, commit
from etl.publish.resources import PatientChanges, PatientResources, Resource
from etl.storage.memory import MemoryStore
from etl.storage.port import Store
from tests.unit.publish.samples import (
    LATER,
    NOW,
    claim,
    logical_id,
    objects,
    patient,
    payer,
    publish,
    resource,
)

ANNA = logical_id("anna")
BERT = logical_id("bert")
EOB = "ExplanationOfBenefit"


def delta(
    store: Store,
    changes: Iterable[PatientChanges],
    *,
    upserts: Iterable[Resource] = (),
    deletes: Iterable[tuple[str, str]] = (),
    now: str = LATER,
) -> Release:
    """Publish a delta extract."""
    base = open_current(store)
    held = list(changes)
    previous = base.release.units(one.patient_id for one in held) if base.release else {}
    result = write_changes(store, previous, held, now)
    shared = write_directory_changes(store, base.release, upserts, deletes, now)
    manifest = assemble(store, base, [result], shared, Facts("delta"), now)
    commit(store, manifest, base)
    return Release(store, manifest)


def texts(release: Release, patient_id: str) -> list[bytes]:
    unit = release.unit(patient_id)
    assert unit is not None
    return read_all(release.store, release.index(unit))


def stamps(release: Release, patient_id: str) -> dict[str, str]:
    found = [json.loads(text) for text in texts(release, patient_id)]
    return {one["id"]: one["meta"]["lastUpdated"] for one in found}


def new_keys(store: Store, before: dict[str, bytes]) -> list[str]:
    return sorted(key.partition("/")[0] for key in objects(store).keys() - before.keys())


def test_publishing_the_same_again_writes_a_manifest_and_nothing_else() -> None:
    store = MemoryStore()
    people = [patient("anna", 12), patient("bert", 3)]
    first = publish(store, people)
    before = objects(store)
    second = publish(store, people, now=LATER)
    assert new_keys(store, before) == ["releases"]
    assert second.manifest.counts["changes"] == {
        "patients": {"added": 0, "changed": 0, "retracted": 0},
        "resources": {},
    }
    assert second.manifest.catalog == first.manifest.catalog
    assert second.manifest.parent == first.id


def test_a_changed_claim_costs_its_patients_block_index_and_shard() -> None:
    store = MemoryStore()
    names = [f"p{number}" for number in range(1500)]
    people = [PatientResources(logical_id(n), [resource("Patient", n)]) for n in names]
    publish(store, [*people, patient("anna", 3)])
    before = objects(store)
    anna = patient("anna", 2)
    changed = PatientResources(ANNA, [*anna.resources, claim("anna", 2, "2020-01-03", amount="1")])
    release = publish(store, [*people, changed], now=LATER)
    assert new_keys(store, before) == ["catalog", "patients", "patients", "releases"]
    assert release.manifest.counts["changes"]["resources"] == {
        EOB: {"added": 0, "changed": 1, "retracted": 0}
    }


def test_unchanged_content_keeps_its_time_and_changed_content_gets_the_new_one() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 3)])
    anna = patient("anna", 2)
    changed = PatientResources(ANNA, [*anna.resources, claim("anna", 2, "2020-01-03", amount="1")])
    after = stamps(publish(store, [changed], now=LATER), ANNA)
    assert after.pop(logical_id("anna-claim-2")) == LATER
    assert set(after.values()) == {NOW}


def test_a_stated_time_that_changes_alone_is_a_change() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 1, last_updated="2024-01-01T00:00:00Z")])
    again = patient("anna", 1, last_updated="2024-01-02T00:00:00Z")
    release = publish(store, [again], now=LATER)
    assert stamps(release, ANNA)[logical_id("anna-claim-0")] == "2024-01-02T00:00:00Z"
    assert release.manifest.counts["changes"]["resources"][EOB]["changed"] == 1


def test_a_change_of_search_values_alone_leaves_the_block_as_it_is() -> None:
    store = MemoryStore()
    anna = patient("anna", 1).resources
    first = publish(store, [PatientResources(ANNA, anna)]).unit(ANNA)
    one = Resource(EOB, anna[-1].id, anna[-1].body, None, b'{"type":["other"]}')
    second = publish(store, [PatientResources(ANNA, [*anna[:-1], one])], now=LATER).unit(ANNA)
    assert first is not None
    assert second is not None
    assert first.block == second.block
    assert first.index != second.index


def test_a_full_extract_retracts_what_is_gone_and_remembers_it() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 3), patient("bert", 1)])
    release = publish(store, [patient("anna", 2)], now=LATER)
    anna, bert = release.unit(ANNA), release.unit(BERT)
    assert anna is not None
    assert bert is not None
    assert release.index(anna).gone == [Gone(EOB, logical_id("anna-claim-2"), LATER)]
    assert (bert.block, bert.retracted) == (None, LATER)
    assert [one.type for one in release.index(bert).gone] == ["Patient", "Coverage", EOB]
    assert release.manifest.counts["patients"] == 1
    assert release.manifest.counts["retractedPatients"] == 1
    assert release.manifest.counts["resources"][EOB] == 2
    assert release.manifest.counts["changes"] == {
        "patients": {"added": 0, "changed": 1, "retracted": 1},
        "resources": {
            "Patient": {"added": 0, "changed": 0, "retracted": 1},
            "Coverage": {"added": 0, "changed": 0, "retracted": 1},
            EOB: {"added": 0, "changed": 0, "retracted": 2},
        },
    }


def test_a_retraction_stays_on_record_and_ends_when_the_resource_is_back() -> None:
    store = MemoryStore()
    everyone = [patient("anna", 3), patient("bert", 1)]
    publish(store, everyone)
    publish(store, [patient("anna", 2)], now=LATER)
    publish(store, [patient("anna", 1)], now="2026-11-26T00:00:00Z")
    third = publish(store, [patient("anna", 1)], now="2026-11-27T00:00:00Z")
    anna, bert = third.unit(ANNA), third.unit(BERT)
    assert anna is not None
    assert bert is not None
    assert {one.when for one in third.index(anna).gone} == {LATER, "2026-11-26T00:00:00Z"}
    assert bert.retracted == LATER
    back = publish(store, everyone, now="2026-11-28T00:00:00Z")
    for one in (ANNA, BERT):
        unit = back.unit(one)
        assert unit is not None
        assert back.index(unit).gone == []
    assert back.manifest.counts["retractedPatients"] == 0
    assert back.manifest.counts["changes"]["patients"] == {"added": 1, "changed": 1, "retracted": 0}


def test_a_claim_that_moves_to_another_member_leaves_the_first_one() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 2), patient("bert", 0)])
    moved = claim("anna", 1, "2020-01-02", owner="bert")
    bert = PatientResources(BERT, [*patient("bert", 0).resources, moved])
    release = publish(store, [patient("anna", 1), bert], now=LATER)
    assert moved.id not in stamps(release, ANNA)
    assert moved.id in stamps(release, BERT)


def test_a_delta_merges_by_id_and_touches_no_one_else() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 3), patient("bert", 2)])
    before = objects(store)
    changes = PatientChanges(
        ANNA,
        upserts=[claim("anna", 1, "2020-01-02", amount="1"), claim("anna", 9, "2020-02-01")],
        deletes=[(EOB, logical_id("anna-claim-0")), (EOB, logical_id("unheard-of"))],
    )
    release = delta(store, [changes])
    assert new_keys(store, before) == ["catalog", "patients", "patients", "releases"]
    after = stamps(release, ANNA)
    assert after == {
        ANNA: NOW,
        logical_id("anna-coverage"): NOW,
        logical_id("anna-claim-9"): LATER,
        logical_id("anna-claim-2"): NOW,
        logical_id("anna-claim-1"): LATER,
    }
    assert len(stamps(release, BERT)) == 4
    unit = release.unit(ANNA)
    assert unit is not None
    assert release.index(unit).gone == [Gone(EOB, logical_id("anna-claim-0"), LATER)]
    assert release.manifest.counts["changes"] == {
        "patients": {"added": 0, "changed": 1, "retracted": 0},
        "resources": {EOB: {"added": 1, "changed": 1, "retracted": 1}},
    }
    assert release.manifest.counts["resources"][EOB] == 5


def test_a_delta_makes_the_block_that_a_full_extract_would_make() -> None:
    one, other = MemoryStore(), MemoryStore()
    stamp = "2024-01-01T00:00:00Z"
    publish(one, [patient("anna", 12, last_updated=stamp)])
    later = delta(one, [PatientChanges(ANNA, [claim("anna", 99, "2030-01-01")])]).unit(ANNA)
    everything = [
        *patient("anna", 12, last_updated=stamp).resources,
        claim("anna", 99, "2030-01-01"),
    ]
    publish(other, [patient("anna", 0)])
    full = publish(other, [PatientResources(ANNA, everything)], now=LATER).unit(ANNA)
    assert later is not None
    assert full is not None
    assert (later.block, later.content, later.index) == (full.block, full.content, full.index)


def test_replaying_a_delta_changes_nothing() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 3), patient("bert", 2), patient("cleo", 1)])
    cleo = logical_id("cleo")
    changes = [
        PatientChanges(ANNA, [claim("anna", 7, "2021-01-01")], [(EOB, logical_id("anna-claim-0"))]),
        PatientChanges(BERT, [resource("Patient", "bert", name=[{"family": "new"}])]),
        PatientChanges(cleo, deletes=[("Patient", cleo)]),
        PatientChanges(logical_id("dora"), patient("dora", 1).resources),
    ]
    first = delta(store, changes)
    before = objects(store)
    second = delta(store, changes, now="2026-11-26T00:00:00Z")
    assert new_keys(store, before) == ["releases"]
    assert second.manifest.catalog == first.manifest.catalog
    assert second.manifest.counts["changes"]["patients"] == Tally().to_json()
    assert second.manifest.counts["patients"] == 3


def test_a_deleted_member_takes_the_whole_block_along() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 3), patient("bert", 2)])
    release = delta(store, [PatientChanges(ANNA, deletes=[("Patient", ANNA)])])
    unit = release.unit(ANNA)
    assert unit is not None
    assert unit.block is None
    assert len(release.index(unit).gone) == 5
    assert release.manifest.counts["patients"] == 1


def test_a_delta_for_a_member_that_was_never_published_needs_the_patient() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 1)])
    lost = claim("nobody", 1, "2020-01-01")
    base = open_current(store)
    changes = [
        PatientChanges(logical_id("nobody"), [lost]),
        PatientChanges(logical_id("no one"), deletes=[(EOB, "x")]),
    ]
    result = write_changes(store, {}, changes, LATER)
    assert list(result.written.orphans) == [(EOB, lost.id)]
    assert list(result.units()) == []
    assert base.release is not None


def test_a_retracted_member_can_come_back_with_a_delta() -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 2)])
    delta(store, [PatientChanges(ANNA, deletes=[("Patient", ANNA)])])
    back = delta(
        store, [PatientChanges(ANNA, patient("anna", 1).resources)], now="2026-11-26T00:00:00Z"
    )
    unit = back.unit(ANNA)
    assert unit is not None
    assert unit.counts == {"Patient": 1, "Coverage": 1, EOB: 1}
    assert back.index(unit).gone == [Gone(EOB, logical_id("anna-claim-1"), LATER)]
    assert back.manifest.counts["retractedPatients"] == 0


def test_growth_of_the_catalog_moves_rows_and_loses_none() -> None:
    store = MemoryStore()
    names = [f"p{number}" for number in range(5000)]
    people = [PatientResources(logical_id(n), [resource("Patient", n)]) for n in names]
    small = publish(store, people[:900])
    assert small.manifest.catalog_bits == 0
    grown = delta(store, [PatientChanges(one.patient_id, one.resources) for one in people[900:]])
    assert grown.manifest.catalog_bits == 3
    assert {unit.id for unit in grown.all_units()} == {logical_id(name) for name in names}
    assert all(
        unit.last_updated == NOW for unit in grown.units(map(logical_id, names[:900])).values()
    )
    shrunk = publish(store, people[:3], now="2026-11-26T00:00:00Z")
    assert shrunk.manifest.counts["patients"] == 3
    assert shrunk.manifest.counts["retractedPatients"] == 4997
    assert sum(1 for unit in shrunk.all_units() if unit.block) == 3


@pytest.mark.parametrize("count", [1, 600, 2000])
def test_the_directory_keeps_times_and_retractions_when_it_grows(count: int) -> None:
    store = MemoryStore()
    publish(store, [patient("anna", 1)], directory=[payer(), resource("Practitioner", "old")])
    publish(store, [patient("anna", 1)], directory=[payer()], now=LATER)
    more = [resource("Practitioner", f"d{number}") for number in range(count)]
    now = "2026-11-26T00:00:00Z"
    release = publish(store, [patient("anna", 1)], directory=[payer(), *more], now=now)
    text = json.loads(release.directory_resource("Organization", logical_id("payer")))
    assert text["meta"]["lastUpdated"] == NOW
    unit = release.directory_unit("Practitioner", logical_id("old"))
    assert unit is not None
    assert Gone("Practitioner", logical_id("old"), LATER) in release.index(unit).gone
    changes = release.manifest.counts["changes"]["resources"]
    assert changes == {"Practitioner": {"added": count, "changed": 0, "retracted": 0}}


def test_the_directory_follows_a_delta() -> None:
    store = MemoryStore()
    doctors = [resource("Practitioner", f"d{number}") for number in range(3)]
    publish(store, [patient("anna", 1)], directory=[payer(), *doctors])
    before = objects(store)
    gone = ("Practitioner", logical_id("d0"))
    changed = resource("Practitioner", "d1", active=True)
    release = delta(store, [], upserts=[changed], deletes=[gone])
    assert new_keys(store, before) == ["directory", "directory", "releases"]
    counts = release.manifest.counts
    assert counts["changes"]["resources"] == {
        "Practitioner": {"added": 0, "changed": 1, "retracted": 1}
    }
    assert counts["resources"]["Practitioner"] == 2
    again = delta(store, [], upserts=[changed], deletes=[gone], now="2026-11-26T00:00:00Z")
    assert again.manifest.directory == release.manifest.directory
    nothing = write_directory_changes(store, again, [], [], NOW)
    assert nothing.shards == again.manifest.directory
    empty = write_directory(store, again, [], "2026-11-27T00:00:00Z")
    assert empty.changes.resources["Organization"] == Tally(retracted=1)


def test_a_delta_that_moves_a_claim_is_seen_and_the_first_member_loses_it() -> None:
    store = MemoryStore()
    release = publish(store, [patient("anna", 2), patient("bert", 1)])
    moved = claim("anna", 1, "2020-01-02", owner="bert")
    kept = claim("bert", 0, "2020-01-01", amount="1")
    new = claim("bert", 5, "2020-01-05")
    changes = PatientChanges(BERT, [moved, kept, new])
    updates = {(EOB, moved.id), (EOB, kept.id)}
    lost = strangers(release, [changes], updates)
    assert lost == {(EOB, moved.id)}
    assert holders(release, {*lost, (EOB, "unheard-of")}) == {(EOB, moved.id): ANNA}
    assert holders(release, ()) == {}
    assert strangers(release, [PatientChanges(logical_id("new"), [moved])], updates) == lost
    after = delta(store, [changes, PatientChanges(ANNA, deletes=list(lost))])
    assert moved.id not in stamps(after, ANNA)
    assert moved.id in stamps(after, BERT)
