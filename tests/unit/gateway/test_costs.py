"""What an answer costs in reads of storage."""

import pytest

from tests.given.tables import read_tables
from tests.memory_store import MemoryStore
from tests.unit.gateway.faulty import Watched
from tests.unit.gateway.trees import BASE, bundle, grant, ids, link, opened, run
from tests.unit.publish.samples import logical_id, patient, publish

EOB = "ExplanationOfBenefit"
BIG, SMALL = logical_id("big"), logical_id("small")
MANY = 5_000


@pytest.fixture(scope="module")
def store():
    store = MemoryStore()
    publish(store, [patient("big", MANY), patient("small", 40)])
    return store


def cold(store, **options):
    """Return a service that has seen its release and read nothing else."""
    objects = Watched(store)
    made = opened(objects, **options)
    objects.reads.clear()
    return made, objects


def search(made, who, *pairs):
    return bundle(run(made.service.search(grant(who), EOB, pairs, base=BASE, strict=True)))


@pytest.mark.parametrize("who", [SMALL, BIG])
@pytest.mark.parametrize("pairs", read_tables(__file__)["searches"])
def test_a_cold_search_reads_four_objects_at_most_and_a_warm_one_one(store, who, pairs):
    made, objects = cold(store)
    query = [(name, value.format(who)) for name, value in pairs]
    found = search(made, who, *query)
    assert len(ids(found)) == (10 if found["total"] else 0)
    assert 1 <= len(objects.reads) <= 4
    objects.reads.clear()
    cursor = link(found, "next")
    if cursor:
        run(made.service.page(grant(who), cursor, base=BASE))
        assert len(objects.reads) <= 1
    objects.reads.clear()
    assert search(made, who, *query) == found
    assert objects.reads == []


def test_a_default_page_is_one_part_of_the_block(store):
    made, objects = cold(store)
    search(made, BIG)
    blocks = [one for one in objects.reads if one[0].endswith(".ndjson.gz")]
    assert len(blocks) == 1
    length = blocks[0][2]
    assert length is not None
    assert length < 16_384


@pytest.mark.parametrize("number", [0, 1, 2_500, MANY - 1])
def test_reading_one_of_five_thousand_claims_touches_little_of_the_block(store, number):
    made, objects = cold(store)
    claim = logical_id(f"big-claim-{number}")
    found = run(made.service.read(grant(BIG), EOB, claim))
    assert claim.encode() in found.body
    touched = sum(
        MANY * 10**6 if length is None else length
        for key, _, length in objects.reads
        if key.endswith(".ndjson.gz")
    )
    assert 0 < touched <= 256 * 1024
    assert len(objects.reads) <= 4


def test_memory_is_bounded_whatever_is_read(store):
    made, _ = cold(store, cache_bytes=100_000)
    for who in (BIG, SMALL) * 3:
        assert search(made, who)["entry"]
        assert made.counts()["cached_bytes"] <= 100_000


def test_an_index_costs_its_bytes_and_what_was_parsed_of_it(store):
    made, objects = cold(store)
    release = made.counts()["cached_bytes"]
    search(made, SMALL)
    read = sum(len(store.get(key)) for key, _, length in objects.reads if length is None)
    parts = sum(length for _, _, length in objects.reads if length is not None)
    plain = made.counts()["cached_bytes"]
    assert read + parts <= plain - release <= read + parts + 20_000
    search(made, SMALL, ("service-date", "ge2021"))
    parsed = made.counts()["cached_bytes"]
    assert parsed > plain
    search(made, SMALL, ("service-date", "ge2022"))
    assert made.counts()["cached_bytes"] == parsed


def test_counters_tell_what_was_done(store):
    made, objects = cold(store)
    before = made.counts()
    search(made, SMALL)
    search(made, SMALL)
    after = made.counts()
    assert after["reads"] - before["reads"] == len(objects.reads)
    assert after["hits"] > before["hits"]
    assert after["cached_bytes"] > 0
    assert (after["retries"], after["failures"]) == (0, 0)


def test_claims_that_lie_apart_in_a_block_of_no_great_size_are_one_read(store):
    made, objects = cold(store)
    ends = ",".join(logical_id(f"big-claim-{number}") for number in (0, MANY // 2, MANY - 1))
    found = search(made, BIG, ("_id", ends))
    assert found["total"] == 3
    (touched,) = (length for key, _, length in objects.reads if key.endswith(".ndjson.gz"))
    assert touched is not None
    assert 128 * 1024 < touched < 1024 * 1024
