"""Pairs sorted on disk are those that were put in, each once."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.sources.partition import ids
from etl.sources.partition.ids import OwnedIdSorter, open_numbers, save_numbers

numbers = st.integers(0, 2**64 - 1) | st.sampled_from(
    [0, 1, (1 << 56) - 1, 1 << 56, (255 << 56) - 1, 255 << 56, 2**64 - 1]
)


@given(
    st.lists(st.lists(st.tuples(numbers, numbers), max_size=8), min_size=1, max_size=12),
    st.integers(0, 20),
)
def test_pairs_come_back_ascending_and_once(batches, gathered):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(ids, "_MAX_PENDING", gathered)
        owners = OwnedIdSorter(Path(folder), "some")
        for batch in batches:
            owners.add(*np.array(batch, dtype=np.uint64).reshape(-1, 2).T)
        found = list(owners.ranges())
        again = [pair for one in owners.ranges() for pair in map(tuple, one.tolist())]
        owners.remove()
        assert not list(Path(folder).iterdir())
    assert again == sorted({pair for batch in batches for pair in batch})
    firsts = [set(one[:, 0].tolist()) for one in found]
    assert sum(map(len, firsts)) == len(set().union(*firsts))


@given(st.lists(st.lists(numbers, max_size=5), max_size=5))
def test_numbers_in_a_file_are_those_that_were_written(pieces):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "numbers"
        save_numbers(path, (np.array(piece, dtype=np.uint64) for piece in pieces))
        assert open_numbers(path).tolist() == [number for piece in pieces for number in piece]
