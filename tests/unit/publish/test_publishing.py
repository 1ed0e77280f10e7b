"""What a release is made of, and what a reader finds in it."""

import gc
import gzip
import json
import pickle
import resource as resource_limits
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from random import Random

import pytest

from etl.errors import NotFound, StoreError
from etl.publish.block import PART_ROWS, PART_SIZE, PatientResources, Resource
from etl.publish.canonical_json import sha256
from etl.publish.catalog import id_hash
from etl.publish.directory import write_directory
from etl.publish.manifest import Manifest, ReleaseFacts
from etl.publish.partition_writer import _READ_BYTES, write_partition
from etl.publish.reader import (
    FIRST_RELEASE,
    open_current,
    open_release,
    read_rows,
)
from etl.publish.release import assemble, commit, is_published
from etl.publish.search_index import Index
from tests.memory_store import MemoryStore
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
    saved,
)

ANNA = logical_id("anna")


def index_of(release, name):
    unit = release.unit(logical_id(name))
    return release.index(unit)


def test_a_block_decompresses_to_one_resource_block_of_plain_ndjson():
    release = publish(MemoryStore(), [patient("anna", 25)])
    unit = release.unit(ANNA)
    lines = [
        json.loads(line) for line in gzip.decompress(release.store.get(unit.block)).splitlines()
    ]
    assert lines[0] == {
        "resourceType": "Parameters",
        "parameter": [{"name": "header", "valueReference": {"reference": f"Patient/{ANNA}"}}],
    }
    types = [line["resourceType"] for line in lines[1:]]
    assert types == ["Patient", "Coverage"] + ["ExplanationOfBenefit"] * 25
    assert lines[1]["id"] == ANNA
    assert lines[1]["meta"] == {
        "versionId": lines[1]["meta"]["versionId"],
        "lastUpdated": NOW,
        "profile": ["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Patient|2.2.0"],
    }


def test_what_states_no_time_has_the_stamp_given_and_keeps_it_and_never_goes_back(store):
    early, day, late = (f"2026-0{month}-01T00:00:00Z" for month in (2, 3, 4))
    units = {}
    seen = []
    for content, stamp in (("same", day), ("same", late), ("other", early), ("third", late)):
        anna = PatientResources(ANNA, [resource("Patient", "anna", note=content)])
        (unit,) = write_partition(store, units, [anna], NOW, default_time=stamp).rows
        units = {unit.id: unit}
        seen.append(unit.last_updated)
    assert seen == [day, day, day, late]
    (gone,) = write_partition(
        store, units, [PatientResources(ANNA, [])], NOW, default_time=late
    ).rows
    assert gone.retracted == NOW


def test_claims_stand_in_the_default_search_order_newest_first_then_by_id():
    days = ["2020-05-01", "2021-05-01", "2020-05-01", "2019-01-01", ""]
    claims = [claim("anna", number, day) for number, day in enumerate(days)]
    claims[4] = claims[4]._replace(search=b"{}")
    anna = PatientResources(ANNA, [*claims, *patient("anna", 0).resources])
    index = index_of(publish(MemoryStore(), [anna]), "anna")
    rows = index.types["ExplanationOfBenefit"]
    same_day = sorted([claims[0].id, claims[2].id])
    assert index.ids[rows.start :] == [claims[1].id, *same_day, claims[3].id, claims[4].id]


def test_a_part_holds_a_page_and_never_more_than_its_size():
    huge = claim("anna", 99, "2019-06-01", amount="9" * (PART_SIZE + 1))
    large = [claim("anna", 100 + n, "2018-06-01", amount="9" * 40_000) for n in range(7)]
    resources = [*patient("anna", 25).resources, huge, *large]
    release = publish(MemoryStore(), [PatientResources(ANNA, resources)])
    index = index_of(release, "anna")
    shape = [(part.rows, part.size > PART_SIZE) for part in index.parts]
    assert shape[:3] == [(0, False), (1, False), (1, False)]  # header, Patient, Coverage
    assert shape[3:6] == [(PART_ROWS, False), (PART_ROWS, False), (5, False)]
    assert shape[6:] == [(1, True), (3, False), (3, False), (1, False)]
    assert sum(part.length for part in index.parts) == index.head["bytes"]


@pytest.mark.parametrize("stamp", ["2024-02-29", "2024-02-29T12:00:00", "2024-02-30T12:00:00Z", ""])
def test_a_time_that_is_no_instant_is_a_bug_of_the_caller(stamp):
    with pytest.raises(ValueError, match=r"instant|day|month"):
        publish(MemoryStore(), [patient("anna", 1, last_updated=stamp)])


def test_the_index_gives_what_a_search_asks_for():
    index = index_of(publish(MemoryStore(), [patient("anna", 3)]), "anna")
    assert index.parameters("ExplanationOfBenefit") == [
        "billable-period-start",
        "identifier",
        "service-date",
        "type",
    ]
    column = index.search("ExplanationOfBenefit", "type")
    assert column.values == ["http://terminology.hl7.org/CodeSystem/claim-type|pharmacy"]
    assert column.rows == [(0,), (0,), (0,)]
    dates = index.search("ExplanationOfBenefit", "service-date")
    assert [dates.values_of(row) for row in range(3)] == [
        [f"2020-01-0{day}/2020-01-0{day}"] for day in (3, 2, 1)
    ]
    assert index.search("Patient", "name").rows == [()]
    assert index.search("Location", "name").rows == []


def test_rows_with_several_values_and_with_none_are_kept_apart():
    several = claim("anna", 1, "2020-01-02")._replace(search=b'{"a":["x","y"]}')
    none = claim("anna", 2, "2020-01-01")._replace(search=b"{}")
    one = claim("anna", 3, "2020-01-03")._replace(search=b'{"a":["y"]}')
    anna = PatientResources(ANNA, [resource("Patient", "anna"), several, none, one])
    index = index_of(publish(MemoryStore(), [anna]), "anna")
    ids = index.ids[1:]
    column = index.search("ExplanationOfBenefit", "a")
    found = {ids[row]: column.values_of(row) for row in range(3)}
    assert found == {several.id: ["x", "y"], none.id: [], one.id: ["y"]}
    assert index.parameters("ExplanationOfBenefit") == ["a"]


def test_a_resource_of_a_patient_with_5000_claims_costs_a_few_short_reads(store):
    release = publish(store, [patient("anna", 5000)])
    unit = release.unit(ANNA)
    store.reads.clear()
    index = release.index(unit)
    row = index.row_of("ExplanationOfBenefit", logical_id("anna-claim-2500"))
    (text,) = read_rows(store, index, [row]).values()
    assert json.loads(text)["id"] == logical_id("anna-claim-2500")
    of_block = [size for key, size in store.reads if key == unit.block]
    of_index = [size for key, size in store.reads if key == unit.index]
    assert len(of_block) == 1
    assert of_block[0] < 256 * 1024
    assert len(of_index) <= 3
    assert sum(of_index) < 256 * 1024 < unit.index_bytes


def test_a_page_of_ten_is_one_contiguous_range(store):
    release = publish(store, [patient("anna", 500)])
    index = index_of(release, "anna")
    claims = index.types["ExplanationOfBenefit"]
    for first in (0, 10, 17, 490):
        store.reads.clear()
        page = range(claims.start + first, min(claims.start + first + 10, claims.stop))
        texts = read_rows(store, index, page)
        assert [json.loads(text)["id"] for text in texts.values()] == [index.ids[n] for n in page]
        assert len(store.reads) == 1


def test_rows_far_apart_are_read_apart(store):
    claims = [
        claim("anna", number, f"20{number:02}-01-01", amount=Random(number).randbytes(30_000).hex())
        for number in range(20)
    ]
    anna = PatientResources(ANNA, [resource("Patient", "anna"), *claims])
    index = index_of(publish(store, [anna]), "anna")
    store.reads.clear()
    assert list(read_rows(store, index, [1, 20])) == [1, 20]
    assert len(store.reads) == 2


def test_a_large_index_reads_the_same_in_pieces_as_whole():
    release = publish(MemoryStore(), [patient("anna", 2000)])
    unit = release.unit(ANNA)
    assert unit.index_bytes > 128 * 1024
    pieces = release.index(unit)
    whole = Index.from_bytes(release.store.get(unit.index), "whole")
    assert (pieces.ids, pieces.versions) == (whole.ids, whole.versions)
    assert pieces.parts == whole.parts
    assert pieces.search("ExplanationOfBenefit", "service-date") == whole.search(
        "ExplanationOfBenefit", "service-date"
    )
    assert json.loads(release.store.get(unit.index))["ids"] == whole.ids


def test_sections_next_to_each_other_come_with_one_read(store):
    release = publish(store, [patient("anna", 2000)])
    unit = release.unit(ANNA)
    index = release.index(unit)
    store.reads.clear()
    index.load("ids", "versions")
    assert len(index.ids) == len(index.versions) == 2002
    assert len(store.reads) == 1
    between = len(b',\n"versions":')
    assert index.span(["ids", "versions"])[1] == index.size("ids") + between + index.size(
        "versions"
    )


def test_many_patients_are_spread_over_shards_that_find_each_of_them(store):
    names = [f"p{number}" for number in range(2100)]
    people = [PatientResources(logical_id(n), [resource("Patient", n)]) for n in names]
    release = publish(store, people)
    assert release.manifest.catalog_bits == 2
    assert len(release.manifest.catalog) == 4
    assert sum(one.patients for one in release.manifest.catalog if one) == 2100
    units = release.units(logical_id(name) for name in names)
    assert len(units) == 2100
    assert [unit.id for unit in release.all_units()] == sorted(
        units, key=lambda one: sha256(one.encode())
    )
    assert release.unit(logical_id("nobody")) is None
    assert release.unit('x":{') is None
    assert release.units([logical_id("nobody")]) == {}


def test_the_manifest_says_what_was_published_and_what_it_was_told(store):
    facts = ReleaseFacts(
        "full",
        inputs=[{"name": "claim.csv", "sha256": "0" * 64, "bytes": 12, "rows": 3}],
        mapping={"set": "c4bb", "version": "2.2.0"},
        run={"claim": {"in": 3, "published": 3}},
        totals={"pharmacy": {"paid": "37.50"}},
    )
    release = publish(store, [patient("anna", 2), patient("bert", 1)], facts=facts)
    data = store.get(f"releases/{release.id}/manifest.json")
    manifest = json.loads(data)
    assert manifest["parent"] is None
    assert manifest["inputs"] == facts.inputs
    assert manifest["mapping"] == facts.mapping
    assert manifest["totals"] == facts.totals
    assert manifest["counts"]["patients"] == 2
    assert manifest["counts"]["resources"] == {
        "Patient": 2,
        "Coverage": 2,
        "ExplanationOfBenefit": 3,
        "Organization": 1,
    }
    assert Manifest.from_bytes(data, "manifest").to_bytes() == data
    assert is_published(open_current(store), facts)
    assert not is_published(open_current(store), replace(facts, kind="delta"))


def test_release_ids_sort_by_time_and_are_made_of_the_content():
    one, two, three = MemoryStore(), MemoryStore(), MemoryStore()
    ids = [
        publish(one, [patient("anna", 2)]).id,
        publish(two, [patient("anna", 2)]).id,
        publish(three, [patient("anna", 3)]).id,
    ]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("20261124T162519Z-")
    later = publish(one, [patient("anna", 2)], now=LATER).id
    clock_went_back = publish(one, [patient("anna", 2)], now=NOW).id
    assert ids[0] < later < clock_went_back


def test_a_resource_that_is_not_there_is_not_found():
    release = publish(MemoryStore(), [patient("anna", 1), patient("bert", 1)])
    with pytest.raises(NotFound):
        release.patient_resource(ANNA, "ExplanationOfBenefit", logical_id("bert-claim-0"))
    with pytest.raises(NotFound):
        release.patient_resource(logical_id("nobody"), "Patient", logical_id("nobody"))
    with pytest.raises(NotFound):
        release.patient_resource(ANNA, "RelatedPerson", ANNA)
    with pytest.raises(NotFound):
        release.directory_resource("Organization", logical_id("nobody"))


def test_a_patient_or_resource_handed_in_twice_is_a_bug_of_the_caller(store):
    with pytest.raises(ValueError, match="twice"):
        write_partition(store, {}, [patient("anna", 1), patient("anna", 1)], NOW)
    doubled = PatientResources(ANNA, [*patient("anna", 1).resources] * 2)
    with pytest.raises(ValueError, match="twice"):
        write_partition(store, {}, [doubled], NOW)
    part = write_partition(store, {}, [patient("anna", 1)], NOW)
    shared = write_directory(store, None, [payer()], NOW)
    with pytest.raises(ValueError, match="two partitions"):
        assemble(store, FIRST_RELEASE, [part, part], shared, ReleaseFacts("full"), NOW)


@pytest.mark.parametrize(
    ("resource_type", "resource_id"),
    [("Patient", ""), ("Patient", 'a"'), ("Patient", "a" * 65), ("patient", "a"), ("A\n", "a")],
)
def test_what_is_no_type_or_id_is_refused(resource_type, resource_id):
    bad = Resource(resource_type, resource_id, b'"profile":[]}}')
    with pytest.raises(ValueError, match="no FHIR type and id"):
        write_partition(MemoryStore(), {}, [PatientResources(ANNA, [bad])], NOW)


def test_a_saved_partition_is_the_partition(store, tmp_path):
    lost = PatientResources(logical_id("nobody"), [claim("nobody", 1, "2020-01-01")])
    result = write_partition(store, {}, [patient("anna", 2), patient("bert", 1), lost], NOW)
    there = saved(result, tmp_path / "partition-0")
    assert there.written == result.written
    assert list(there.units()) == list(result.units())
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


@pytest.fixture
def few_files():
    """Let this process open no more than 64 files beside those that it has open already."""
    gc.collect()  # closes what earlier tests left open
    before = resource_limits.getrlimit(resource_limits.RLIMIT_NOFILE)
    taken = {int(number.name) for number in Path("/dev/fd").iterdir()}
    free = (number for number in count() if number not in taken)
    last = next(islice(free, 63, None))  # a new file takes the lowest free number
    resource_limits.setrlimit(resource_limits.RLIMIT_NOFILE, (last + 1, before[1]))
    yield
    resource_limits.setrlimit(resource_limits.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.usefixtures("few_files")
def test_more_partitions_than_a_process_may_open_files_make_the_release_of_one(tmp_path):
    """A patient who stays and one who is new are in each."""
    stay, new = ([patient(f"{name}{n}", n % 2) for n in range(150)] for name in ("stays", "new"))
    whole, cut = MemoryStore(), MemoryStore()
    for store in (whole, cut):
        publish(store, stay)
    publish(whole, [*stay, *new], now=LATER)
    parts = [
        saved(
            write_partition(cut, {}, [other], LATER).keeping([one.patient_id]),
            tmp_path / f"{number:05d}.ndjson",
        )
        for number, (one, other) in enumerate(zip(stay, new, strict=True))
    ]
    base = open_current(cut)
    shared = write_directory(cut, base.release, [payer()], LATER)
    commit(cut, assemble(cut, base, parts, shared, ReleaseFacts("full"), LATER), base)
    assert objects(cut) == objects(whole)


def test_a_partition_that_is_longer_than_a_piece_is_saved_whole(tmp_path):
    stay = sorted((logical_id(f"n{number}") for number in range(1000)), key=id_hash)
    result = write_partition(MemoryStore(), {}, [patient("anna", 2)], NOW)
    there = saved(result.keeping(stay), tmp_path / "partition-0")
    assert there.path.stat().st_size > 2 * _READ_BYTES
    assert [unit.id for unit in there.units()] == [ANNA]
    assert list(there.unchanged_ids()) == stay


def test_a_tree_without_a_release_reads_as_none():
    assert open_current(MemoryStore()) == FIRST_RELEASE
    with pytest.raises(NotFound, match="no release"):
        open_release(MemoryStore(), "20200101T000000Z-abc")


def test_a_manifest_of_a_later_format_is_refused_with_what_to_do(store):
    release = publish(store, [patient("anna", 1)])
    data = store.get(release.manifest.key).replace(b'"format":1', b'"format":2')
    with pytest.raises(StoreError, match="use the version that wrote it"):
        Manifest.from_bytes(data, "manifest")
