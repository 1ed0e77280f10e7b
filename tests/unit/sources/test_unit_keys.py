"""Ids as a value: what a unit may look up where there is no work folder."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.columns.digests import NO_HASHES, hash_ids
from etl.sources.partition.ids import NO_KEYS, GlobalKeys, UnitIds

IDS = st.lists(st.sampled_from([f"id{number}" for number in range(12)]), max_size=8)
TABLES = ("member", "claim", "coverage")


def hashes(ids):
    return np.unique(hash_ids(pa.array(ids, pa.string())))


@given(whole=IDS, own=IDS, named=IDS)
def test_answers_are_those_of_the_whole_extract(whole, own, named):
    """A unit's own ids are in the extract by definition."""
    everything = hashes([*whole, *own])
    keys = GlobalKeys(dict.fromkeys(TABLES, everything), {}, NO_HASHES)
    foreign = np.setdiff1d(hashes(named), hashes(own))
    of_unit = keys.of_unit(
        UnitIds(dict.fromkeys(TABLES, hashes(own)), dict.fromkeys(TABLES, foreign))
    )
    asked = pa.array([*named, *own, None, ""], pa.string())
    for table in TABLES:
        assert of_unit.exists(table, asked) == keys.exists(table, asked)
        assert (of_unit.has(table, foreign) == keys.has(table, foreign)).all()


def test_an_id_that_was_not_asked_about_is_no_answer():
    none = dict.fromkeys(TABLES, NO_HASHES)
    keys = NO_KEYS.of_unit(UnitIds(none, none))
    assert not keys.exists("claim", pa.array([None, " "], pa.string())).to_pylist()[0]
    with pytest.raises(AssertionError, match="a claim is looked up that was not asked about"):
        keys.exists("claim", pa.array(["c1"]))
    with pytest.raises(AssertionError, match="a member is looked up"):
        keys.has("member", hashes(["m1"]))
