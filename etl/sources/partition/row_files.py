"""Files of partitioned rows: rows of a raw table, as one Arrow IPC stream per chunk of a partition.

Every job writes a file of its own for each raw table, so several processes can write at once.

A chunk has the rows of one partition, and only those columns in which a cell is filled, because
wide layouts are mostly empty. It is not compressed: it is mapped into memory, so an incremental run
reads only the rows of changed members. An index lists the chunks of all files of a table, so no
file has to be open for each partition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.rows import PLACE_FIELDS, arrow_stream
from etl.sources.files.stored_files import disk_error
from etl.sources.partition.finished_steps import Checksum, ChecksumBuilder

BUFFER_BYTES: Final = 8 << 20
"""Least bytes of a raw table that are buffered before they are split by partition."""
BYTES_PER_PARTITION: Final = 128 << 10
"""Bytes that are buffered for each partition, if that is more: large chunks are read faster."""
MAX_BUFFER_BYTES: Final = 32 << 20
"""Most bytes that are buffered, however many partitions there are."""
_ROWS_ENDING: Final = ".rows"
_INDEX_ENDING: Final = ".index.npy"
_INDEX: Final = np.dtype(
    [("file", "<i4"), ("partition", "<i4"), ("offset", "<i8"), ("length", "<i8")]
)
_ENTRY: Final = struct.Struct("<iiqq")
"""An entry of the index as bytes."""
Index = npt.NDArray[np.void]
"""The chunks of a raw table; dtype `_INDEX`, shape (n,)."""


def buffer_bytes(partitions: int) -> int:
    """Return how many bytes of a raw table are buffered before they are split by partition."""
    return max(BUFFER_BYTES, min(partitions * BYTES_PER_PARTITION, MAX_BUFFER_BYTES))


class RowFileWriter:
    """Writes one file of a raw table's rows, in chunks by partition.

    Args:
        number: number of the file, unique in the table.
        partitions: number of partitions.
    """

    def __init__(self, work: Path, table: str, number: int, partitions: int) -> None:
        self._path = row_file_path(work, table, number)
        self._number = number
        self._buffer_limit = buffer_bytes(partitions)
        self._batches: list[pa.Table] = []
        self._partitions: list[npt.NDArray[np.int32]] = []
        self._buffered_bytes = 0
        self._offset = 0
        self._index = bytearray()
        self._checksum = ChecksumBuilder()
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise disk_error(error) from None

    def write(self, batch: pa.RecordBatch, partitions: npt.NDArray[np.int32]) -> None:
        """Add rows.

        Args:
            batch: rows.
            partitions: the partition of each row, shape (n,).

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        if batch.num_rows == 0:
            return
        filled_columns = _drop_empty_columns(batch)
        self._batches.append(pa.Table.from_batches([filled_columns]))
        self._partitions.append(partitions)
        self._buffered_bytes += filled_columns.nbytes
        if self._buffered_bytes >= self._buffer_limit:
            self._flush()

    def close(self) -> tuple[Index, dict[str, Checksum]]:
        """Write the buffered rows; return the index, and the file's name with its checksum.

        The checksum is that of the bytes that were handed to the disk, not of those on it.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        self._flush()
        try:
            self._file.close()
        except OSError as error:
            raise disk_error(error) from None
        index = np.frombuffer(self._index, dtype=_INDEX)
        return index, {self._path.name: self._checksum.value()}

    def abandon(self) -> None:
        """Close and delete the file after a failure."""
        self._batches, self._partitions = [], []
        try:
            self._file.close()
            self._path.unlink(missing_ok=True)
        except OSError:
            # The failure that led here is the one to report.
            return

    def _flush(self) -> None:
        if not self._batches:
            return
        table = pa.concat_tables(self._batches, promote_options="default").combine_chunks()
        partitions = np.concatenate(self._partitions)
        self._batches, self._partitions, self._buffered_bytes = [], [], 0
        for partition, chunk in _split_by_partition(table, partitions):
            self._append(partition, chunk)
        del table
        # Arrow's allocator keeps memory that its parser's threads have freed, several times what is
        # in use.
        pa.default_memory_pool().release_unused()

    def _append(self, partition: int, chunk: pa.Buffer) -> None:
        try:
            self._file.write(memoryview(chunk))
        except OSError as error:
            raise disk_error(error) from None
        self._checksum.add(memoryview(chunk))
        self._index += _ENTRY.pack(self._number, partition, self._offset, chunk.size)
        self._offset += chunk.size


def _split_by_partition(
    table: pa.Table, partitions: npt.NDArray[np.int32]
) -> Iterator[tuple[int, pa.Buffer]]:
    """Yield the rows of each partition as an Arrow IPC stream."""
    first = int(partitions[0])
    if (partitions == first).all():
        yield first, arrow_stream(table, compressed=False)
        return
    # 16 bits are enough for the partitions of one machine, and are sorted in one pass.
    numbers = partitions.astype(np.uint16) if partitions.max() < 1 << 16 else partitions
    order = np.argsort(numbers, kind="stable")
    table, partitions = table.take(pa.array(order)), partitions[order]
    starts = np.flatnonzero(np.concatenate([[True], partitions[1:] != partitions[:-1]]))
    for start, end in zip(starts, [*starts[1:], len(partitions)], strict=True):
        chunk = table.slice(start, end - start)
        yield int(partitions[start]), arrow_stream(chunk, compressed=False)


def _drop_empty_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch without columns in which every cell is empty."""
    filled_columns = [
        name
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if not pa.types.is_string(column.type) or _has_text(column)
    ]
    return batch.select(filled_columns)


def _has_text(column: Any) -> bool:
    # The cells of a column are adjacent, so its first and last offset tell the size of all of them.
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)
    return bool(offsets[column.offset] != offsets[column.offset + len(column)])


def delete_row_files(work: Path) -> None:
    """Delete the row files of an earlier run."""
    for ending in (_ROWS_ENDING, _INDEX_ENDING):
        for path in work.glob(f"*{ending}"):
            path.unlink()


def save_index(work: Path, table: str, indexes: Sequence[Index]) -> Path:
    """Write the index of a raw table, without which the table has no rows; return its file.

    Args:
        indexes: index of each file, in the order in which the files are to be read.

    Raises:
        OSError: it cannot be written.
    """
    path = _index_path(work, table)
    np.save(path, np.concatenate(indexes))
    return path


def read_row_files(
    work: Path, table: str, partition: int | None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of a raw table in one partition, or in all partitions if it is None.

    They have `_file` and `_row`, and every column with a filled cell; an empty cell is null or "".
    Files are mapped into memory, so only the columns that are used are read.

    Args:
        partition: the partition.
        columns: columns to read, as far as they exist; None for all.
    """
    index_path = _index_path(work, table)
    if not index_path.exists():
        return pa.schema(PLACE_FIELDS).empty_table()
    index = np.load(index_path)
    if partition is not None:
        index = index[index["partition"] == partition]
    if not len(index):
        return pa.schema(PLACE_FIELDS).empty_table()
    chunks = []
    for number in dict.fromkeys(index["file"].tolist()):
        with pa.memory_map(str(row_file_path(work, table, number))) as file:
            for _, _, offset, length in index[index["file"] == number].tolist():
                file.seek(offset)
                with pa.ipc.open_stream(file.read_buffer(length)) as reader:
                    rows = reader.read_all()
                if columns is not None:
                    rows = rows.select([name for name in rows.column_names if name in columns])
                chunks.append(rows)
    return pa.concat_tables(chunks, promote_options="default")


def largest_partition(work: Path, partitions: int) -> int:
    """Return the size of the largest partition's rows in a work folder, in bytes."""
    return int(partition_sizes(work, partitions).max(initial=0))


def stored_tables(work: Path) -> list[str]:
    """Return the names of the raw tables in a work folder."""
    return sorted(path.name.removesuffix(_INDEX_ENDING) for path in work.glob(f"*{_INDEX_ENDING}"))


def partition_sizes(work: Path, partitions: int) -> npt.NDArray[np.int64]:
    """Return the size of each partition's rows in bytes, without rows of no member."""
    sizes = np.zeros(partitions + 1, np.int64)
    for path in work.glob(f"*{_INDEX_ENDING}"):
        index = np.load(path)
        np.add.at(sizes, index["partition"], index["length"])
    return sizes[:partitions]


def row_file_path(work: Path, table: str, number: int) -> Path:
    """Return the path of one file of a raw table's rows."""
    return work / f"{table}.{number:05d}{_ROWS_ENDING}"


def _index_path(work: Path, table: str) -> Path:
    return work / f"{table}{_INDEX_ENDING}"


def add_positions(
    batch: pa.RecordBatch,
    file: int,
    headers: Sequence[str],
    hashes: Mapping[str, npt.NDArray[np.uint64]] = MappingProxyType({}),
) -> pa.RecordBatch:
    """Return a batch as it is stored: its columns by header, `_file`, `_row`, and some hashes."""
    files = pa.array(np.full(batch.num_rows, file, dtype=np.int32))
    columns = [*batch.columns[:-1], files, batch.column(ROW_COLUMN)]
    return pa.RecordBatch.from_arrays(
        [*columns, *map(pa.array, hashes.values())],
        [*headers, FILE_COLUMN, ROW_COLUMN, *hashes],
    )
