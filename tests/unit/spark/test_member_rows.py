"""Rows of members on their way through Spark come back as they were."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources.files.listed_files import SourceFile
from etl.sources.partition.partition_rows import HIGH_COLUMN, LOW_COLUMN, OWNER_COLUMN
from etl.spark.member_rows import MEMBER_ROW, decode_tables, encode_rows, member_batch
from etl.spark.task_rows import SCHEMA

CELLS = st.none() | st.text("a\x1f\x1bep", max_size=4)
MOST = (1 << 64) - 1


def rows(columns):
    count = len(columns[0])
    marks = {
        FILE_COLUMN: pa.array([7] * count, pa.int32()),
        ROW_COLUMN: pa.array(range(2, count + 2), pa.int64()),
        OWNER_COLUMN: pa.array([MOST] * count, pa.uint64()),
        LOW_COLUMN: pa.array([1] * count, pa.uint64()),
        HIGH_COLUMN: pa.array([2] * count, pa.uint64()),
    }
    cells = {f"c{at}": pa.array(column, pa.string()) for at, column in enumerate(columns)}
    return pa.record_batch({**cells, **marks})


def filled(table):
    """Return the rows of a table with what is in them."""
    return [{name: cell for name, cell in row.items() if cell} for row in table.to_pylist()]


@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1)))
def test_rows_come_back_whatever_is_in_their_cells(cells):
    before = rows(list(zip(*cells, strict=True)))
    width = len(cells[0])
    heads, texts = encode_rows(before, width)
    places = np.arange(len(cells), dtype=np.int32) % 2
    sent = pa.Table.from_batches([member_batch(MEMBER_ROW, places, heads, texts)])
    names = tuple(f"c{at}" for at in range(width))
    files = [SourceFile(at, f"{at}.csv", "claim", 0, "", names, names) for at in range(8)]
    after = decode_tables(sent, files, digests=True)
    for place in set(places.tolist()):
        of_place = pa.Table.from_batches([before]).take(pa.array(np.flatnonzero(places == place)))
        assert filled(after["claim", place]) == filled(of_place)


def test_a_task_without_rows_has_no_tables():
    assert decode_tables(SCHEMA.empty_table(), [], digests=True) == {}
