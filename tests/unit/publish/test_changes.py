"""What a second release does with what is there: changes, retractions, who stays as he is."""

import json
from dataclasses import replace

import pytest

from etl.publish import object_keys
from etl.publish.block import PatientResources, Resource
from etl.publish.canonical_json import sha256
from etl.publish.directory import write_directory
from etl.publish.manifest import ChangeCounts, Shard
from etl.publish.partition_writer import write_partition
from etl.publish.reader import open_current, read_all
from etl.publish.release import commit
from etl.publish.search_index import DeletedResource
from etl.publish.verify import verify
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


def night(store, worked_on, *, gone=(), now=LATER):
    """Publish as a night does that remembers: all others who have a block stay as they are."""
    base = open_current(store)
    held = list(worked_on)
    others = {one.patient_id for one in held} | set(gone)
    stay = [unit.id for unit in base.release.all_units() if unit.block and unit.id not in others]
    return publish(store, held, base=base, now=now, stay=stay)


def texts(release, patient_id):
    unit = release.unit(patient_id)
    return read_all(release.store, release.index(unit))


def stamps(release, patient_id):
    found = [json.loads(text) for text in texts(release, patient_id)]
    return {one["id"]: one["meta"]["lastUpdated"] for one in found}


def new_keys(store, before):
    return sorted(key.partition("/")[0] for key in objects(store).keys() - before.keys())


def test_a_stated_time_that_changes_alone_is_a_change(store):
    publish(store, [patient("anna", 1, last_updated="2024-01-01T00:00:00Z")])
    again = patient("anna", 1, last_updated="2024-01-02T00:00:00Z")
    release = publish(store, [again], now=LATER)
    assert stamps(release, ANNA)[logical_id("anna-claim-0")] == "2024-01-02T00:00:00Z"
    assert release.manifest.counts["changes"]["resources"][EOB]["changed"] == 1


def test_a_change_of_search_values_alone_leaves_the_block_as_it_is(store):
    anna = patient("anna", 1).resources
    first = publish(store, [PatientResources(ANNA, anna)]).unit(ANNA)
    one = Resource(EOB, anna[-1].id, anna[-1].body, None, b'{"type":["other"]}')
    second = publish(store, [PatientResources(ANNA, [*anna[:-1], one])], now=LATER).unit(ANNA)
    assert first.block == second.block
    assert first.index != second.index


def test_a_full_extract_retracts_what_is_gone_and_remembers_it(store):
    publish(store, [patient("anna", 3), patient("bert", 1)])
    release = publish(store, [patient("anna", 2)], now=LATER)
    anna, bert = release.unit(ANNA), release.unit(BERT)
    assert release.index(anna).deleted == [DeletedResource(EOB, logical_id("anna-claim-2"), LATER)]
    assert (bert.block, bert.retracted) == (None, LATER)
    assert [one.type for one in release.index(bert).deleted] == ["Patient", "Coverage", EOB]
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


def test_a_retraction_stays_on_record_and_ends_when_the_resource_is_back(store):
    everyone = [patient("anna", 3), patient("bert", 1)]
    publish(store, everyone)
    publish(store, [patient("anna", 2)], now=LATER)
    publish(store, [patient("anna", 1)], now="2026-11-26T00:00:00Z")
    third = publish(store, [patient("anna", 1)], now="2026-11-27T00:00:00Z")
    anna, bert = third.unit(ANNA), third.unit(BERT)
    assert {one.when for one in third.index(anna).deleted} == {LATER, "2026-11-26T00:00:00Z"}
    assert bert.retracted == LATER
    back = publish(store, everyone, now="2026-11-28T00:00:00Z")
    for one in (ANNA, BERT):
        unit = back.unit(one)
        assert back.index(unit).deleted == []
    assert back.manifest.counts["retractedPatients"] == 0
    assert back.manifest.counts["changes"]["patients"] == {"added": 1, "changed": 1, "retracted": 0}


@pytest.mark.parametrize(
    "worked_on",
    [
        [],
        [PatientResources(ANNA, [])],
        [PatientResources(ANNA, patient("anna", 3).resources[1:])],
    ],
    ids=["in no partition", "without a resource", "without a Patient"],
)
def test_a_member_who_is_gone_takes_the_whole_block_along(store, worked_on):
    publish(store, [patient("anna", 3), patient("bert", 2)])
    release = night(store, worked_on, gone=[ANNA])
    unit = release.unit(ANNA)
    assert unit.block is None
    assert len(release.index(unit).deleted) == 5
    assert release.manifest.counts["patients"] == 1
    assert release.manifest.counts["changes"]["patients"] == {
        "added": 0,
        "changed": 0,
        "retracted": 1,
    }


def test_a_member_who_was_never_published_needs_the_patient(store):
    lost = claim("nobody", 1, "2020-01-01")
    people = [
        PatientResources(logical_id("nobody"), [lost]),
        PatientResources(logical_id("no one"), []),
    ]
    result = write_partition(store, {}, people, LATER)
    assert list(result.units()) == []
    assert objects(store) == {}


def test_a_retracted_member_can_come_back_while_others_stay(store):
    publish(store, [patient("anna", 2), patient("bert", 1)])
    night(store, [], gone=[ANNA])
    back = night(store, [patient("anna", 1)], now="2026-11-26T00:00:00Z")
    unit = back.unit(ANNA)
    assert unit.counts == {"Patient": 1, "Coverage": 1, EOB: 1}
    assert back.index(unit).deleted == [DeletedResource(EOB, logical_id("anna-claim-1"), LATER)]
    assert back.manifest.counts["retractedPatients"] == 0
    assert back.manifest.counts["patients"] == 2


@pytest.mark.parametrize(
    "worked_on", [[], [patient("anna", 2), patient("bert", 1)]], ids=["stay", "worked on"]
)
def test_a_catalog_row_of_an_older_tree_that_states_a_source_is_read_as_any_other(store, worked_on):
    publish(store, [patient("anna", 2), patient("bert", 1), patient("cleo", 1)])
    units = night(store, [], gone=[logical_id("cleo")]).units([ANNA, BERT])
    older(store)
    release = open_current(store).release
    assert release.units([ANNA, BERT]) == units
    assert {unit.id: unit for unit in release.all_units() if unit.block} == units
    assert verify(release).ok
    before = objects(store)
    after = night(store, worked_on, gone=[logical_id("cleo")], now="2026-11-27T00:00:00Z")
    assert after.units([ANNA, BERT]) == units
    assert after.manifest.counts["changes"]["patients"] == {
        "added": 0,
        "changed": 0,
        "retracted": 0,
    }
    assert set(new_keys(store, before)) <= {"catalog", "releases"}


def older(store):
    """Publish what is there again with a `source` in each row, as earlier versions wrote it."""
    base = open_current(store)
    (shard,) = base.release.manifest.catalog
    rows = base.release.shard_bytes(shard).split(b"\n")
    marked = [
        row.replace(b'Z"}', b'Z","source":"0123abcd"}') if b'"block"' in row else row
        for row in rows
    ]
    data = b"\n".join(marked)
    assert data.count(b'"source"') == 2
    digest = sha256(data)
    key = object_keys.catalog_shard(digest)
    store.put(key, data)
    catalog = [Shard(key, digest, len(data), shard.patients, shard.retracted)]
    manifest = replace(base.release.manifest, parent=base.release.id, catalog=catalog)
    commit(store, manifest.named(base.release.manifest), base)


@pytest.mark.slow
def test_growth_of_the_catalog_moves_rows_and_loses_none(store):
    names = [f"p{number}" for number in range(5000)]
    people = [PatientResources(logical_id(n), [resource("Patient", n)]) for n in names]
    small = publish(store, people[:900])
    assert small.manifest.catalog_bits == 0
    grown = night(store, people[900:])
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
def test_the_directory_keeps_times_and_retractions_when_it_grows(store, count):
    publish(store, [patient("anna", 1)], directory=[payer(), resource("Practitioner", "old")])
    publish(store, [patient("anna", 1)], directory=[payer()], now=LATER)
    more = [resource("Practitioner", f"d{number}") for number in range(count)]
    now = "2026-11-26T00:00:00Z"
    release = publish(store, [patient("anna", 1)], directory=[payer(), *more], now=now)
    text = json.loads(release.directory_resource("Organization", logical_id("payer")))
    assert text["meta"]["lastUpdated"] == NOW
    unit = release.directory_unit("Practitioner", logical_id("old"))
    assert DeletedResource("Practitioner", logical_id("old"), LATER) in release.index(unit).deleted
    changes = release.manifest.counts["changes"]["resources"]
    assert changes == {"Practitioner": {"added": count, "changed": 0, "retracted": 0}}


def test_the_directory_follows_what_is_handed_in(store):
    anna = patient("anna", 1)
    doctors = [resource("Practitioner", f"d{number}") for number in range(3)]
    publish(store, [anna], directory=[payer(), *doctors])
    before = objects(store)
    changed = [payer(), resource("Practitioner", "d1", active=True), doctors[2]]
    release = publish(store, [anna], directory=changed, now=LATER)
    assert new_keys(store, before) == ["directory", "directory", "releases"]
    counts = release.manifest.counts
    assert counts["changes"]["resources"] == {
        "Practitioner": {"added": 0, "changed": 1, "retracted": 1}
    }
    assert counts["resources"]["Practitioner"] == 2
    unit = release.directory_unit("Practitioner", logical_id("d0"))
    assert release.index(unit).deleted == [DeletedResource("Practitioner", logical_id("d0"), LATER)]
    again = publish(store, [anna], directory=changed[::-1], now="2026-11-26T00:00:00Z")
    assert again.manifest.directory == release.manifest.directory
    empty = write_directory(store, again, [], "2026-11-27T00:00:00Z")
    assert empty.changes.resources["Organization"] == ChangeCounts(retracted=1)
