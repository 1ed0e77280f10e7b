"""Rows on disk, cut by partition: files of a raw table, of Arrow IPC pieces one after another.

Each reader of a part of the table writes a file of its own, so that several processes can.

Each piece is a whole IPC stream with the rows of one partition. It has only the columns in which
something is filled: wide layouts are mostly empty, and moving nothing is quickest. It is not
compressed, so that it can be mapped, and an incremental run reads only the rows of changed members.
An index of the pieces is kept beside them, so that no file has to be open for each partition.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from etl.errors import StoreError
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.rows import PLACE_FIELDS, arrow_stream
from etl.sources.files.stored_files import disk_error

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


def gathered_bytes(partitions: int) -> int:
    """Return how many bytes are gathered for a raw table before they are cut up."""
    return max(BUFFER_BYTES, min(partitions * BYTES_PER_PARTITION, MOST_GATHERED))


class SpillWriter:
    """Writes a part of the rows of one raw table into the work folder.

    Rows are gathered until they are worth being cut by partition.

    Args:
        work: the folder.
        name: the raw table.
        part: number of the part; no other of the table has it.
        partitions: how many there are.
    """

    def __init__(self, work: Path, name: str, part: int, partitions: int) -> None:
        self._path = rows_path(work, name, part)
        self._part = part
        self._limit = gathered_bytes(partitions)
        self._batches: list[pa.Table] = []
        self._cuts: list[npt.NDArray[np.int32]] = []
        self._bytes = 0
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
        if batch.num_rows == 0:
            return
        lean = _drop_empty_columns(batch)
        self._batches.append(pa.Table.from_batches([lean]))
        self._cuts.append(cut)
        self._bytes += lean.nbytes
        if self._bytes >= self._limit:
            self._write_gathered()

    def close(self) -> tuple[Index, dict[str, Checksum]]:
        """Write what is left; return where everything is, and the file with its checksum.

        The checksum is that of the bytes that were handed to the disk, not of those on it.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        self._write_gathered()
        try:
            self._file.close()
        except OSError as error:
            raise disk_error(error) from None
        index = np.frombuffer(self._index, dtype=_INDEX)
        return index, {self._path.name: self._summing.checksum()}

    def abandon(self) -> None:
        """Close the file after a failure, and delete it."""
        self._batches, self._cuts = [], []
        try:
            self._file.close()
            self._path.unlink(missing_ok=True)
        except OSError:
            # The failure that led here is the one to report.
            return

    def _write_gathered(self) -> None:
        if not self._batches:
            return
        table = pa.concat_tables(self._batches, promote_options="default").combine_chunks()
        cut = np.concatenate(self._cuts)
        self._batches, self._cuts, self._bytes = [], [], 0
        for partition, piece in _partition_streams(table, cut):
            self._append(partition, piece)
        del table
        # Arrow's allocator keeps what threads of its parser let go, several times what is in use.
        pa.default_memory_pool().release_unused()

    def _append(self, partition: int, piece: pa.Buffer) -> None:
        try:
            self._file.write(memoryview(piece))
        except OSError as error:
            raise disk_error(error) from None
        self._summing.add(memoryview(piece))
        self._index += _ENTRY.pack(self._part, partition, self._offset, piece.size)
        self._offset += piece.size


def _partition_streams(
    table: pa.Table, cut: npt.NDArray[np.int32]
) -> Iterator[tuple[int, pa.Buffer]]:
    """Yield the rows of each partition as an Arrow IPC stream."""
    first = int(cut[0])
    if (cut == first).all():
        yield first, arrow_stream(table, compressed=False)
        return
    # 16 bits hold the partitions of one machine's extracts, and are ordered in one go.
    numbers = cut.astype(np.uint16) if cut.max() < 1 << 16 else cut
    order = np.argsort(numbers, kind="stable")
    table, cut = table.take(pa.array(order)), cut[order]
    starts = np.flatnonzero(np.concatenate([[True], cut[1:] != cut[:-1]]))
    for start, end in zip(starts, [*starts[1:], len(cut)], strict=True):
        yield int(cut[start]), arrow_stream(table.slice(start, end - start), compressed=False)


def _drop_empty_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch without columns in which every cell is empty."""
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


LIST: Final = "steps.list"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """Size and checksum of a file, against accidental change.

    Attributes:
        bytes: its size.
        xxh3: XXH3 of 128 bits over its bytes, in hex.
    """

    bytes: int
    xxh3: str


class Summing:
    """A checksum of bytes that are still coming."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self._bytes = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take the bytes that follow."""
        self._digest.update(data)
        self._bytes += len(data)

    def checksum(self) -> Checksum:
        """Return the checksum of what was taken so far."""
        return Checksum(self._bytes, self._digest.hexdigest())


def checksum_of(path: Path) -> Checksum:
    """Return the checksum of a file.

    Raises:
        OSError: it cannot be read.
    """
    summing = Summing()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            summing.add(chunk)
    return summing.checksum()


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the list.

    Attributes:
        files: path of a file in the folder -> its checksum.
        facts: what else there is to say, as plain JSON.
    """

    files: Mapping[str, Checksum]
    facts: Mapping[str, Any]


class Inventory:
    """The list of one folder, as at its first use; added entries show at once.

    Several processes may add to one list at the same time: each line is appended by one write.

    Args:
        folder: the work folder of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: dict[str, Step] | None = None

    def clear(self) -> None:
        """Begin a new list: nothing that is in the folder counts.

        Raises:
            OSError: the old one cannot be deleted.
        """
        (self._folder / LIST).unlink(missing_ok=True)
        self._steps = {}

    def add(
        self,
        step: str,
        files: Mapping[str, Checksum] = MappingProxyType({}),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Note that a step is finished; it takes the place of an earlier one of that name.

        Raises:
            OSError: the list cannot be written.
        """
        steps = self._read_steps()
        body = {
            "step": step,
            "files": {name: [file.bytes, file.xxh3] for name, file in files.items()},
            "facts": dict(facts),
        }
        text = json.dumps(body, separators=(",", ":")).encode()
        # It begins with a line end: the line before it may have been cut off.
        line = b"\n" + xxhash.xxh3_128_hexdigest(text).encode() + b" " + text + b"\n"
        descriptor = os.open(self._folder / LIST, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)  # what is cut off does not count
        finally:
            os.close(descriptor)
        steps[step] = Step(dict(files), dict(facts))

    def add_files(self, step: str, paths: Iterable[Path]) -> None:
        """Note that a step is finished which wrote some files of the folder.

        Raises:
            OSError: one of them cannot be read, or the list cannot be written.
        """
        folder = self._folder
        self.add(step, {path.relative_to(folder).as_posix(): checksum_of(path) for path in paths})

    def step(self, name: str) -> Step | None:
        """Return a finished step if all its files are there as they were written; else None."""
        files = self._read_steps().get(name)
        if files is None or not all(map(self._is_whole, files.files, files.files.values())):
            return None
        return files

    def _is_whole(self, name: str, wanted: Checksum) -> bool:
        path = self._folder / name
        try:
            return path.stat().st_size == wanted.bytes and checksum_of(path) == wanted
        except OSError:
            return False

    def _read_steps(self) -> dict[str, Step]:
        if self._steps is None:
            try:
                lines = (self._folder / LIST).read_bytes().split(b"\n")
            except FileNotFoundError:
                lines = []
            except OSError as error:
                raise StoreError(
                    f"the work folder cannot be read: {error.strerror}; delete {self._folder}"
                ) from None
            self._steps = dict(step for line in lines if (step := _parse_step(line)) is not None)
        return self._steps


def _parse_step(line: bytes) -> tuple[str, Step] | None:
    digest, _, text = line.partition(b" ")
    if not text or xxhash.xxh3_128_hexdigest(text).encode() != digest:
        return None
    body = json.loads(text)
    files = {name: Checksum(size, xxh3) for name, (size, xxh3) in body["files"].items()}
    return body["step"], Step(files, body["facts"])
