"""Rows on disk, cut by partition: files of a raw table, of Arrow IPC pieces one after another.

Each reader of a part of the table writes a file of its own, so that several processes can.

Each piece is a whole IPC stream with the rows of one partition. It has only the columns in which
something is filled: wide layouts are mostly empty, and moving nothing is quickest. It is not
compressed, so that it can be mapped, and an incremental run reads only the rows of changed members.
An index of the pieces is kept beside them, so that no file has to be open for each partition.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.errors import StoreError
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.rows import PLACE_FIELDS, arrow_stream
from etl.sources.finished_steps import Checksum, Summing

BUFFER_BYTES: Final = 8 << 20
"""Bytes gathered for a raw table before they are cut up…"""
BYTES_PER_PARTITION: Final = 128 << 10
"""…or this for each partition, if that is more: so pieces stay large enough to be read quickly…"""
MOST_GATHERED: Final = 32 << 20
"""…but never more than this, however many partitions there are."""
_ROWS_ENDING: Final = ".rows"
_INDEX_ENDING: Final = ".index.npy"
_INDEX: Final = np.dtype(
    [("part", "<i4"), ("partition", "<i4"), ("offset", "<i8"), ("length", "<i8")]
)
_ENTRY: Final = struct.Struct("<iiqq")
"""One of it."""
Index = npt.NDArray[np.void]
"""Index of the pieces of a raw table; of dtype `_INDEX`, shape (n,)."""
Stream = tuple[int, pa.Buffer]
"""A partition, and rows of it as an Arrow IPC stream."""


def gathered_bytes(partitions: int) -> int:
    """Return how many bytes are gathered for a raw table before they are cut up."""
    return max(BUFFER_BYTES, min(partitions * BYTES_PER_PARTITION, MOST_GATHERED))


class Gathering:
    """Rows of one raw table, gathered until they are worth being cut by partition.

    Args:
        partitions: how many there are.
    """

    def __init__(self, partitions: int) -> None:
        self._limit = gathered_bytes(partitions)
        self._batches: list[pa.Table] = []
        self._cuts: list[npt.NDArray[np.int32]] = []
        self._bytes = 0

    def add(self, batch: pa.RecordBatch, cut: npt.NDArray[np.int32]) -> Iterator[Stream]:
        """Take rows in, and yield what is cut off: most often nothing.

        Args:
            batch: rows.
            cut: the partition of each, shape (n,).
        """
        if batch.num_rows == 0:
            return
        lean = _lean(batch)
        self._batches.append(pa.Table.from_batches([lean]))
        self._cuts.append(cut)
        self._bytes += lean.nbytes
        if self._bytes >= self._limit:
            yield from self.cut_off()

    def cut_off(self) -> Iterator[Stream]:
        """Yield all that was gathered."""
        if not self._batches:
            return
        table = pa.concat_tables(self._batches, promote_options="default").combine_chunks()
        cut = np.concatenate(self._cuts)
        self.clear()
        yield from _cut_up(table, cut)
        del table
        # Arrow's allocator keeps what threads of its parser let go, several times what is in use.
        pa.default_memory_pool().release_unused()

    def clear(self) -> None:
        """Forget what was gathered."""
        self._batches, self._cuts, self._bytes = [], [], 0


def _cut_up(table: pa.Table, cut: npt.NDArray[np.int32]) -> Iterator[Stream]:
    first = int(cut[0])
    if (cut == first).all():
        yield first, arrow_stream(table, compressed=False)
        return
    # 16 bits hold every partition (`MAX_PARTITIONS`), and are ordered in one go.
    order = np.argsort(cut.astype(np.uint16), kind="stable")
    table, cut = table.take(pa.array(order)), cut[order]
    starts = np.flatnonzero(np.concatenate([[True], cut[1:] != cut[:-1]]))
    for start, end in zip(starts, [*starts[1:], len(cut)], strict=True):
        yield int(cut[start]), arrow_stream(table.slice(start, end - start), compressed=False)


class SpillWriter:
    """Writes a part of the rows of one raw table into the work folder.

    Args:
        work: the folder.
        name: the raw table.
        part: number of the part; no other of the table has it.
        partitions: how many there are.
    """

    def __init__(self, work: Path, name: str, part: int, partitions: int) -> None:
        self._path = rows_path(work, name, part)
        self._part = part
        self._gathering = Gathering(partitions)
        self._offset = 0
        self._index = bytearray()
        self._summing = Summing()
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise disk_error(error) from None

    def write(self, batch: pa.RecordBatch, cut: npt.NDArray[np.int32]) -> None:
        """Take rows in.

        Args:
            batch: rows.
            cut: the partition of each, shape (n,).

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        for partition, piece in self._gathering.add(batch, cut):
            self._append(partition, piece)

    def close(self) -> Index:
        """Write what is left, and return where everything is.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        for partition, piece in self._gathering.cut_off():
            self._append(partition, piece)
        try:
            self._file.close()
        except OSError as error:
            raise disk_error(error) from None
        return np.frombuffer(self._index, dtype=_INDEX)

    def checksum(self) -> Checksum:
        """Return the checksum of the bytes that were handed to the disk, not of those on it."""
        return self._summing.checksum()

    def abandon(self) -> None:
        """Close the file after a failure, and delete it."""
        self._gathering.clear()
        try:
            self._file.close()
            self._path.unlink(missing_ok=True)
        except OSError:
            # The failure that led here is the one to report.
            return

    def _append(self, partition: int, piece: pa.Buffer) -> None:
        try:
            self._file.write(memoryview(piece))
        except OSError as error:
            raise disk_error(error) from None
        self._summing.add(memoryview(piece))
        self._index += _ENTRY.pack(self._part, partition, self._offset, piece.size)
        self._offset += piece.size


def _lean(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch without the columns in which nothing is filled."""
    kept = [
        name
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if not pa.types.is_string(column.type) or _holds_text(column)
    ]
    return batch.select(kept)


def _holds_text(column: Any) -> bool:
    # The cells of a column lie one after another, so two offsets tell the bytes of all of them.
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)
    return bool(offsets[column.offset] != offsets[column.offset + len(column)])


def clear_spilled(work: Path) -> None:
    """Delete what an earlier run spilled, so that none of its rows can be read as ours."""
    for ending in (_ROWS_ENDING, _INDEX_ENDING):
        for path in work.glob(f"*{ending}"):
            path.unlink()


def save_index(work: Path, name: str, parts: Sequence[Index]) -> Path:
    """Write where the pieces of a raw table are, and return the file.

    Without it, no row of the table is there.

    Args:
        work: the folder.
        name: the raw table.
        parts: what `SpillWriter.close` returned, in the order in which they are to be read.

    Raises:
        OSError: it cannot be written.
    """
    path = _index_path(work, name)
    np.save(path, np.concatenate(parts))
    return path


def read_spilled(
    work: Path, name: str, partition: int | None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of a raw table in one partition (all partitions where None).

    It has `_file` and `_row`, and every column in which something is filled; a cell is null or ""
    where it is empty. Files are mapped, so that only the columns used are read.

    Args:
        work: the folder.
        name: the raw table.
        partition: the partition.
        columns: which columns to read, where they are there; None for all.
    """
    index_path = _index_path(work, name)
    if not index_path.exists():
        return pa.schema(PLACE_FIELDS).empty_table()
    index = np.load(index_path)
    if partition is not None:
        index = index[index["partition"] == partition]
    if not len(index):
        return pa.schema(PLACE_FIELDS).empty_table()
    parts = []
    for part in dict.fromkeys(index["part"].tolist()):
        with pa.memory_map(str(rows_path(work, name, part))) as file:
            for _, _, offset, length in index[index["part"] == part].tolist():
                file.seek(offset)
                with pa.ipc.open_stream(file.read_buffer(length)) as reader:
                    rows = reader.read_all()
                if columns is not None:
                    rows = rows.select([name for name in rows.column_names if name in columns])
                parts.append(rows)
    return pa.concat_tables(parts, promote_options="default")


def largest_partition(work: Path, partitions: int) -> int:
    """Return how many bytes the rows of the largest partition have as they are in a work folder."""
    return int(partition_sizes(work, partitions).max(initial=0))


def spilled_names(work: Path) -> list[str]:
    """Return the names of all that was spilled."""
    return sorted(path.name.removesuffix(_INDEX_ENDING) for path in work.glob(f"*{_INDEX_ENDING}"))


def partition_sizes(work: Path, partitions: int) -> npt.NDArray[np.int64]:
    """Return the bytes of each partition's rows; those of no member are left out."""
    sizes = np.zeros(partitions + 1, np.int64)
    for path in work.glob(f"*{_INDEX_ENDING}"):
        index = np.load(path)
        np.add.at(sizes, index["partition"], index["length"])
    return sizes[:partitions]


def rows_path(work: Path, name: str, part: int) -> Path:
    """Return the file of a part of a raw table's rows."""
    return work / f"{name}.{part:05d}{_ROWS_ENDING}"


def _index_path(work: Path, name: str) -> Path:
    return work / f"{name}{_INDEX_ENDING}"


def disk_error(error: OSError) -> StoreError:
    """Return the error of a work folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError("the disk of the work folder is full; free some space and run again")
    return StoreError(f"the work folder cannot be written: {error.strerror}")


def with_places(
    batch: pa.RecordBatch,
    file: int,
    names: Sequence[str],
    more: Mapping[str, npt.NDArray[np.uint64]] = MappingProxyType({}),
) -> pa.RecordBatch:
    """Return a batch as it is spilled: its named columns, `_file`, `_row`, and what `more` has."""
    arrays = [*batch.columns[:-1], pa.array(np.full(batch.num_rows, file, dtype=np.int32))]
    return pa.RecordBatch.from_arrays(
        [*arrays, batch.column(ROW_COLUMN), *(pa.array(numbers) for numbers in more.values())],
        [*names, FILE_COLUMN, ROW_COLUMN, *more],
    )
