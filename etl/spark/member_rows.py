"""Rows of members in Spark: each row of the extract is one row of Spark.

Its cells are one text, separated by a character that is escaped in cells. Arrow tables of few rows
would be mostly metadata: with many partitions, they would take eight times as much space.
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

MEMBER_ROW: Final = "row"
"""Kind of a row of a member."""
MALFORMED_ROWS: Final = "placed"
"""Kind of a row with the malformed rows of one partition, as an Arrow stream."""
_ORIGIN: Final = np.dtype(
    [
        (FILE_COLUMN, "<i4"),
        (ROW_COLUMN, "<i8"),
        (OWNER_COLUMN, "<u8"),
        (LOW_COLUMN, "<u8"),
        (HIGH_COLUMN, "<u8"),
    ]
)
"""Origin and owner of a row: the content of its body."""
_SEPARATOR: Final = "\x1f"
_ESCAPE: Final = "\x1b"
_ESCAPED: Final = ((_ESCAPE, f"{_ESCAPE}e"), (_SEPARATOR, f"{_ESCAPE}p"))
Origins = npt.NDArray[np.void]
"""Of dtype `_ORIGIN`, shape (n,)."""


def read_origins(bodies: Any) -> Origins:
    """Return the origins in the bodies of members' rows."""
    if not len(bodies):
        return np.empty(0, _ORIGIN)
    fixed = bodies.cast(pa.binary(_ORIGIN.itemsize))
    first = fixed.offset * _ORIGIN.itemsize
    return np.frombuffer(fixed.buffers()[1], _ORIGIN, len(fixed), offset=first)


def member_batch(
    kind: str, shards: Any, origins: Origins, cells: pa.Array, *, number: int = 0
) -> pa.RecordBatch:
    """Return members' rows as a batch of `SCHEMA`.

    Args:
        kind: kind of all rows.
        shards: shard of each row; numpy `int32`, shape (n,).
        origins: origin of each row.
        cells: cells of each row as one text.
        number: number of the job that read them.
    """
    fixed = pa.py_buffer(np.ascontiguousarray(origins))
    bodies = pa.Array.from_buffers(pa.binary(_ORIGIN.itemsize), len(origins), [None, fixed])
    return batch_of_kind(kind, shards, bodies.cast(pa.binary()), cells, number=number)


def encode_rows(rows: pa.RecordBatch, width: int) -> tuple[Origins, pa.Array]:
    """Return the origins of rows, and the cells of each row as one text.

    Args:
        rows: cells of a file, then the columns of an origin.
        width: number of cells of a row.
    """
    origins = np.zeros(rows.num_rows, _ORIGIN)
    for name in _ORIGIN.names or ():
        if name in rows.schema.names:
            origins[name] = rows.column(name).to_numpy()
    columns = [column.cast(pa.string()) for column in rows.columns[:width]]
    cells = _join_cells(columns)
    is_unambiguous = pc.equal(pc.count_substring(cells, _SEPARATOR), width - 1)
    if not pc.all(is_unambiguous).as_py() or pc.any(pc.match_substring(cells, _ESCAPE)).as_py():
        for plain, escaped in _ESCAPED:
            columns = [pc.replace_substring(column, plain, escaped) for column in columns]
        cells = _join_cells(columns)
    return origins, cells


def _join_cells(columns: Sequence[pa.Array]) -> pa.Array:
    if len(columns) == 1:
        return pc.fill_null(columns[0], "")
    return pc.binary_join_element_wise(
        *columns, _SEPARATOR, null_handling="replace", null_replacement=""
    )


def decode_rows(
    origins: Origins, cells: pa.Array, headers: Sequence[str], *, digests: bool
) -> pa.Table:
    """Return the rows of one file that `encode_rows` encoded, without empty columns.

    Args:
        origins: origin of each row; at least one.
        cells: cells of each row as one text.
        headers: names of the cells.
        digests: whether origins have digests.
    """
    texts, width = pc.split_pattern(cells, _SEPARATOR).flatten(), len(headers)
    if len(texts) != width * len(origins):
        raise AssertionError("a row came back with another number of cells (a bug)")
    if pc.any(pc.match_substring(texts, _ESCAPE)).as_py():
        for plain, escaped in reversed(_ESCAPED):
            texts = pc.replace_substring(texts, escaped, plain)
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False).reshape(-1, width)
    columns = {
        headers[at]: texts.take(pa.array(np.arange(at, len(texts), width)))
        for at in np.flatnonzero(lengths.any(axis=0)).tolist()
    }
    fields = _ORIGIN.names or ()
    for name in fields if digests else fields[:3]:
        columns[name] = pa.array(np.ascontiguousarray(origins[name]))
    return pa.table(columns)


def decode_tables(rows: pa.Table, files: Sequence[SourceFile], *, digests: bool) -> Tables:
    """Return the rows of each raw table in each partition.

    Args:
        rows: rows of any kind; schema `SCHEMA`.
        files: files of the extract, by number.
        digests: whether rows have digests.
    """
    parts: dict[tuple[str, int | None], list[pa.Table]] = {}
    malformed = rows.filter(pc.equal(rows.column("kind"), MALFORMED_ROWS))
    for row in malformed.select(["shard", "name", "body"]).to_pylist():
        with pa.ipc.open_stream(row["body"]) as reader:
            parts.setdefault((row["name"], row["shard"]), []).append(reader.read_all())
    members = rows.filter(pc.equal(rows.column("kind"), MEMBER_ROW)).combine_chunks()
    origins = read_origins(members.column("body").combine_chunks())
    cells = members.column("cells").combine_chunks()
    pairs = np.stack([members.column("shard").to_numpy(), origins[FILE_COLUMN]], axis=1)
    groups, numbers, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    group_rows = np.split(np.argsort(numbers.ravel(), kind="stable"), np.cumsum(counts))
    for (partition, file), at in zip(groups.tolist(), group_rows, strict=False):  # last is empty
        headers = unique_headers(files[file])
        table = decode_rows(origins[at], cells.take(pa.array(at)), headers, digests=digests)
        parts.setdefault((files[file].table, partition), []).append(table)
    return {
        key: pa.concat_tables(tables, promote_options="default") for key, tables in parts.items()
    }
