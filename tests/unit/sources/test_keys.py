"""Ids as hashes."""

import numpy as np
import pyarrow as pa
import pytest

from etl.columns.digests import among, hash_ids, is_among
from etl.sources.partition.ids import OwnedIdSorter


def test_the_hash_of_an_id_never_changes():
    # Work folders of one run are read by other processes, and plans compare runs: these stay.
    got = hash_ids(pa.array(["", "M1", "12345678", "123456789", "Łódź-🙂", None, " M1\t"])).tolist()
    assert got == KNOWN


KNOWN = [
    16294208416658607535,
    9589412847150894583,
    17608736340504220676,
    5222994320443514605,
    784909686415332666,
    16294208416658607535,
    9589412847150894583,
]


def test_similar_ids_do_not_share_hashes_and_spread_evenly():
    for form in ("{:09d}", "{}", "CLM-2024-{:012d}-A", "{0:08x}{0:08x}"):
        hashes = hash_ids(pa.array([form.format(number) for number in range(200_000)]))
        assert len(np.unique(hashes)) == 200_000
        for count in (2, 7, 64):
            sizes = np.bincount((hashes % np.uint64(count)).astype(int), minlength=count)
            # Five standard deviations of a fair throw.
            fair = 200_000 / count
            assert np.abs(sizes - fair).max() < 5 * np.sqrt(fair)


def test_where_a_slice_begins_does_not_show():
    ids = pa.array(["a", "bb", None, "ccc", "a" * 40, "bb"])
    for start in range(6):
        assert hash_ids(ids.slice(start)).tolist() == hash_ids(ids).tolist()[start:]
    assert (
        hash_ids(pa.chunked_array([ids.slice(0, 2), ids.slice(2)])).tolist()
        == hash_ids(ids).tolist()
    )
    assert hash_ids(pa.array([], pa.string())).tolist() == []


@pytest.mark.parametrize("gathered", [1, 1 << 20])
def test_an_owner_is_the_least_of_those_that_were_seen(gathered, tmp_path, monkeypatch):
    monkeypatch.setattr("etl.sources.partition.ids._MAX_PENDING", gathered)
    owners = OwnedIdSorter(tmp_path, "some")
    for ids, whose in (([1, 2, 2], [7, 9, 9]), ([3, 2], [4, 5]), ([1], [7])):
        owners.add(np.array(ids, dtype=np.uint64), np.array(whose, dtype=np.uint64))
    directory = owners.directory()
    asked = np.array([1, 1, 2, 3, 8], dtype=np.uint64)
    assert directory.owner_of(asked).tolist() == [7, 7, 5, 4, 8]
    shared, sharers = owners.shared_ids()
    assert (shared.tolist(), sharers.tolist()) == ([2], [5, 9])


def test_a_directory_stays_as_it_is_when_more_is_put_in(tmp_path):
    owners = OwnedIdSorter(tmp_path, "some")
    ids = np.arange(1, 5000, dtype=np.uint64)
    owners.add(ids, ids + np.uint64(1))
    before = owners.directory()
    owners.add(np.array([7], dtype=np.uint64), np.array([2], dtype=np.uint64))
    assert owners.directory().owner_of(ids[6:7]).tolist() == [2]
    assert before.owner_of(ids[6:7]).tolist() == [8]
    owners.remove()
    assert before.owner_of(ids).tolist() == (ids + np.uint64(1)).tolist()


def test_nobody_owns_anything_in_an_empty_directory(tmp_path):
    asked = np.array([4, 2], dtype=np.uint64)
    assert OwnedIdSorter(tmp_path, "none").directory().owner_of(asked).tolist() == [4, 2]


def test_an_absent_id_is_in_no_set_even_if_the_empty_one_is():
    hashes = np.sort(hash_ids(pa.array(["", "a"])))
    assert is_among(pa.array(["a", "", None, " "]), hashes).to_pylist() == [
        True,
        False,
        False,
        False,
    ]


def test_hashes_are_told_from_those_of_a_set_in_any_order():
    some = np.array([2, 5, 1 << 63], dtype=np.uint64)
    hashes = np.array([5, 5, 1, 2, 1 << 63, 5, 6], dtype=np.uint64)
    assert among(hashes, some).tolist() == np.isin(hashes, some).tolist()
    assert not among(hashes, some[:0]).any()
    assert among(hashes[:0], some).tolist() == []
