"""Rows of members on their way through Spark: one row of it for each row of the extract.

Its cells are one text, parted by a character that is escaped inside them. As Arrow tables, pieces
of few rows would be mostly heads: with many partitions eight times as much as this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources.files.listed_files import SourceFile, unique_headers
from etl.sources.partition.partition_rows import HIGH_COLUMN, LOW_COLUMN, OWNER_COLUMN
from etl.sources.partition.partitions import Tables
from etl.spark.task_rows import batch_of_kind

OF_MEMBER: Final = "row"
"""Kind of a row of a member."""
MALFORMED_KIND: Final = "placed"
"""Malformed rows of one partition, as an Arrow stream: there are few."""
_HEAD: Final = np.dtype(
    [
        (FILE_COLUMN, "<i4"),
        (ROW_COLUMN, "<i8"),
        (OWNER_COLUMN, "<u8"),
        (LOW_COLUMN, "<u8"),
        (HIGH_COLUMN, "<u8"),
    ]
)
"""What the body of such a row says."""
_PART: Final = "\x1f"
_ESCAPE: Final = "\x1b"
_ESCAPED: Final = ((_ESCAPE, f"{_ESCAPE}e"), (_PART, f"{_ESCAPE}p"))
Heads = npt.NDArray[np.void]
"""Of dtype `_HEAD`, shape (n,)."""


def heads_of(bodies: Any) -> Heads:
    """Return what bodies of members' rows say."""
    if not len(bodies):
        return np.empty(0, _HEAD)
    fixed = bodies.cast(pa.binary(_HEAD.itemsize))
    first = fixed.offset * _HEAD.itemsize
    return np.frombuffer(fixed.buffers()[1], _HEAD, len(fixed), offset=first)


def member_batch(
    kind: str, places: Any, heads: Heads, cells: pa.Array, *, number: int = 0
) -> pa.RecordBatch:
    """Return members' rows as a batch of `SCHEMA`.

    Args:
        kind: of all of them.
        places: numpy `int32`, shape (n,): the place of each.
        heads: where they come from.
        cells: of each as one text.
        number: of the job that read them.
    """
    fixed = pa.py_buffer(np.ascontiguousarray(heads))
    bodies = pa.Array.from_buffers(pa.binary(_HEAD.itemsize), len(heads), [None, fixed])
    return batch_of_kind(kind, places, bodies.cast(pa.binary()), cells, number=number)


def joined(rows: pa.RecordBatch, width: int) -> tuple[Heads, pa.Array]:
    """Return heads and cells of rows as they were read.

    Args:
        rows: cells of a file, then what stands in a head.
        width: how many cells a row has.
    """
    heads = np.zeros(rows.num_rows, _HEAD)
    for name in _HEAD.names or ():
        if name in rows.schema.names:
            heads[name] = rows.column(name).to_numpy()
    columns = [column.cast(pa.string()) for column in rows.columns[:width]]
    cells = _one_text(columns)
    are_apart = pc.equal(pc.count_substring(cells, _PART), width - 1)
    if not pc.all(are_apart).as_py() or pc.any(pc.match_substring(cells, _ESCAPE)).as_py():
        for plain, escaped in _ESCAPED:
            columns = [pc.replace_substring(column, plain, escaped) for column in columns]
        cells = _one_text(columns)
    return heads, cells


def _one_text(columns: Sequence[pa.Array]) -> pa.Array:
    if len(columns) == 1:
        return pc.fill_null(columns[0], "")
    return pc.binary_join_element_wise(
        *columns, _PART, null_handling="replace", null_replacement=""
    )


def parted(heads: Heads, cells: pa.Array, names: Sequence[str], *, digests: bool) -> pa.Table:
    """Return the rows of one file that `joined` made texts of, without columns that are empty.

    Args:
        heads: of each row; there is one.
        cells: of each.
        names: of the cells.
        digests: whether heads have digests.
    """
    texts, width = pc.split_pattern(cells, _PART).flatten(), len(names)
    if len(texts) != width * len(heads):
        raise AssertionError("a row came back with another number of cells (a bug)")
    if pc.any(pc.match_substring(texts, _ESCAPE)).as_py():
        for plain, escaped in reversed(_ESCAPED):
            texts = pc.replace_substring(texts, escaped, plain)
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False).reshape(-1, width)
    there = np.flatnonzero(lengths.any(axis=0))
    columns = {
        names[at]: texts.take(pa.array(np.arange(at, len(texts), width))) for at in there.tolist()
    }
    marks = _HEAD.names or ()
    for name in marks if digests else marks[:3]:
        columns[name] = pa.array(np.ascontiguousarray(heads[name]))
    return pa.table(columns)


def tables_of(rows: pa.Table, files: Sequence[SourceFile], *, digests: bool) -> Tables:
    """Return the rows of each raw table in each partition.

    Args:
        rows: of `SCHEMA`; other kinds may be among them.
        files: of the extract, by number.
        digests: whether rows have digests.
    """
    parts: dict[tuple[str, int | None], list[pa.Table]] = {}
    placed = rows.filter(pc.equal(rows.column("kind"), MALFORMED_KIND))
    for row in placed.select(["place", "name", "body"]).to_pylist():
        with pa.ipc.open_stream(row["body"]) as reader:
            parts.setdefault((row["name"], row["place"]), []).append(reader.read_all())
    own = rows.filter(pc.equal(rows.column("kind"), OF_MEMBER)).combine_chunks()
    heads, cells = (
        heads_of(own.column("body").combine_chunks()),
        own.column("cells").combine_chunks(),
    )
    origins = np.stack([own.column("place").to_numpy(), heads[FILE_COLUMN]], axis=1)
    groups, of_row, counts = np.unique(origins, axis=0, return_inverse=True, return_counts=True)
    of_groups = np.split(np.argsort(of_row.ravel(), kind="stable"), np.cumsum(counts))
    for (place, file), at in zip(groups.tolist(), of_groups, strict=False):  # one more is empty
        names = unique_headers(files[file])
        table = parted(heads[at], cells.take(pa.array(at)), names, digests=digests)
        parts.setdefault((files[file].table, place), []).append(table)
    return {
        at: pa.concat_tables(tables_at, promote_options="default")
        for at, tables_at in parts.items()
    }
