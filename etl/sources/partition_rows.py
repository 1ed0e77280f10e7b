"""Reading some of an extract's rows and cutting them by member: what one process does at a time.

A job reads files of one raw table, or spans of them, and writes files of its own into the work
folder. What it returns tells where everything is, so that the process that asked can put the
results of many together (`partition.partition`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.columns.digests import Hashes, filled, hash_ids, row_digests, seed_of
from etl.errors import ExtractError
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources import delimited, file_splits, parquet
from etl.sources.delimited import Batch, Span, SpanAstray
from etl.sources.events import Emit, FileProgress
from etl.sources.external_sort import Run
from etl.sources.extract import SourceFile, spill_names
from etl.sources.inventory import Checksum
from etl.sources.keys import HashSet, OwnedIds, Owners
from etl.sources.layout import Fills, Layout, RawTable
from etl.sources.layout_columns import Condition
from etl.sources.pharmacy_fills import fill_ids
from etl.sources.row_merging import RawRows, holds
from etl.sources.spill import Index, SpillWriter, gathered_bytes, rows_path, with_places

OWNER_COLUMN: Final = "_owner"
"""Hash of the member, or of what stands for one: all rows of a member have the same."""
LOW_COLUMN: Final = "_low"
HIGH_COLUMN: Final = "_high"
"""The halves of a row's digest."""
RAGGED: Final = "_ragged"
"""Spill name of rows with too few or too many cells."""
RAGGED_ROW: Final = "ragged-row"
"""Rule of the findings about them."""
CLAIMS: Final = "claims"
"""Name under which `Owners` keeps the member of each claim."""
_JOBS: Final = 64
"""About how many jobs the largest raw table makes."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Columns of a raw table that name the owner of its rows.

    Attributes:
        table: name of the raw table.
        ids: `member`, `claim`, `coverage` -> the header of its id, where there is one.
        tells: canonical tables among `member`, `claim`, `coverage` whose ids its rows tell -> when
            a row is made a row of that table: one of these must hold.
        fills: how several fills are written as one claim; None where they are not.
    """

    table: str
    ids: Mapping[str, str]
    tells: Mapping[str, tuple[tuple[Condition, ...], ...]]
    fills: Fills | None

    @classmethod
    def of(cls, raw: RawTable, layout: Layout) -> Whose:
        """Return how the rows of a raw table of a layout tell it."""
        tells = {
            role: layout.made_where(role, raw.name)
            for role in raw.ids
            if raw.name in layout.feeding(role)
        }
        return cls(raw.name, raw.ids, tells, raw.fills)

    def follow_claims(self, file: SourceFile) -> bool:
        """Return whether a file's rows are whose the claims are that they name."""
        roles = {role for role, header in self.ids.items() if header in spill_names(file)}
        return "claim" in roles - self.tells.keys() and "member" not in roles


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file, or some of it.

    Attributes:
        file: the file.
        span: what to read of it.
    """

    file: SourceFile
    span: Span

    @classmethod
    def whole(cls, file: SourceFile) -> FilePart:
        """Return a whole file, which has as many rows as were counted in its bytes."""
        return cls(file, Span(next_row=_after(file)))

    @property
    def bytes(self) -> int:
        """Return how many bytes of the file it is, as stored."""
        end = self.file.bytes if self.span.end is None else self.span.end
        return end - self.span.start


@dataclass(frozen=True, slots=True)
class CutJob:
    """Rows of one raw table to read.

    Attributes:
        number: of the job; no other of the same reading has it.
        folder: the extract.
        work: the work folder.
        partitions: how many there are.
        digests: whether to keep a digest of every row as well.
        whose: how rows tell whose they are.
        parts: what to read, in the order of rows.
    """

    number: int
    folder: Path
    work: Path
    partitions: int
    digests: bool
    whose: Whose
    parts: tuple[FilePart, ...]

    @property
    def has_spans(self) -> bool:
        """Whether some file is not to be read as a whole."""
        return not all(part.span.is_whole for part in self.parts)


def cut_up(files: Sequence[SourceFile], partitions: int) -> Iterator[tuple[FilePart, ...]]:
    """Yield the parts of each job in which the files of a raw table are read by several processes.

    A job is large enough to fill the pieces that it writes, and small enough that all processes
    have something to do until the end.
    """
    size = sum(file.bytes for file in files)
    least = max(file_splits.CUT_BYTES, 2 * gathered_bytes(partitions), size // _JOBS)
    gathered, held = list[FilePart](), 0
    for part in chain.from_iterable(_spans(file, least) for file in files):
        gathered.append(part)
        held += part.bytes
        if held >= least:
            yield tuple(gathered)
            gathered, held = [], 0
    if gathered:
        yield tuple(gathered)


def _spans(file: SourceFile, least: int) -> Iterator[FilePart]:
    """Yield a file, in spans of at least some bytes where it can be cut."""
    begin = (0, 1)
    for end in file.cuts:
        if end[0] - begin[0] >= least:
            yield FilePart(file, Span(*begin, *end))
            begin = end
    yield FilePart(file, Span(*begin, next_row=_after(file)))


def _after(file: SourceFile) -> int | None:
    return None if file.lines is None else file.lines + 1


@dataclass(frozen=True, slots=True)
class Cut:
    """Result of a reading job.

    Attributes:
        rows: of each part, how many rows it has: ragged ones counted, blank ones not.
        index: name of what was spilled -> where its pieces are.
        files: name of each file of rows -> its checksum.
        ids: `member`, `claim`, `coverage` -> where the ids are that the rows told.
    """

    rows: tuple[int, ...]
    index: Mapping[str, Index]
    files: Mapping[str, Checksum]
    ids: Mapping[str, tuple[Run, ...]]


@dataclass(frozen=True, slots=True)
class Refused:
    """Failure of a reading job.

    Attributes:
        error: what is wrong with a file; None where a span only was no span of rows.
    """

    error: ExtractError | None


def cut(job: CutJob, emit: Emit) -> Cut | Refused:
    """Read the rows of a job and cut them by member.

    Returns:
        `Refused`, with nothing left in the work folder, where a part cannot be read. Whether that
        is the file's fault or the span's can be told once the file was read as a whole.

    Raises:
        StoreError: the work folder cannot be written, or its disk is full.
        OSError: likewise.
    """
    cutter = _Cutter(job, emit)
    try:
        with ExitStack() as unless_done:
            unless_done.callback(cutter.abandon)
            done = cutter.read()
            unless_done.pop_all()
    except SpanAstray:
        return Refused(None)
    except ExtractError as error:
        return Refused(error)
    return done


def drop(job: CutJob, done: Cut) -> None:
    """Take away what a job left in the work folder."""
    for name in done.index:
        rows_path(job.work, name, job.number).unlink()
    for run in chain.from_iterable(done.ids.values()):
        run.path.unlink(missing_ok=True)


class _Cutter:
    def __init__(self, job: CutJob, emit: Emit) -> None:
        self._job, self._whose, self._emit = job, job.whose, emit
        own = f"-{job.number:05d}"
        self._members = HashSet(job.work, f"member{own}")
        self._claims = Owners(job.work, f"claim{own}")
        self._coverages = Owners(job.work, f"coverage{own}")
        self._told: Mapping[str, HashSet | Owners] = {
            "member": self._members,
            "claim": self._claims,
            "coverage": self._coverages,
        }
        self._directory: OwnedIds | None = None
        self._writers: dict[str, SpillWriter] = {}

    def read(self) -> Cut:
        self._writer(self._whose.table)
        rows = tuple(self._read_part(part) for part in self._job.parts)
        return Cut(
            rows,
            {name: writer.close() for name, writer in self._writers.items()},
            {
                rows_path(self._job.work, name, self._job.number).name: writer.checksum()
                for name, writer in self._writers.items()
            },
            {role: self._told[role].runs() for role in sorted(self._whose.tells)},
        )

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()
        for told in self._told.values():
            told.remove()

    def _read_part(self, part: FilePart) -> int:
        file, table = part.file, self._whose.table
        names = spill_names(file)
        seed = seed_of(table, names)
        writer = self._writer(table)
        rows = 0
        for batch in self._batches(part, names):
            self._keep_ragged(file, batch)
            rows += batch.rows.num_rows + len(batch.ragged)
            if batch.rows.num_rows:
                where, owner = self._cut(batch.rows)
                more: dict[str, Hashes] = {}
                if owner is not None:
                    more[OWNER_COLUMN] = owner
                    if self._job.digests:
                        digests = row_digests(batch.rows.columns[:-1], seed)
                        more |= {LOW_COLUMN: digests.low, HIGH_COLUMN: digests.high}
                writer.write(with_places(batch.rows, file.index, names, more), where)
            self._emit(FileProgress(file.name, batch.done, file.bytes, rows))
        return rows

    def _batches(self, part: FilePart, names: tuple[str, ...]) -> Iterator[Batch]:
        file = part.file
        listed = file.listed(self._job.folder)
        if listed.is_parquet:
            return parquet.read_batches(listed, names, file.bytes)
        return delimited.read_batches(
            listed,
            names,
            file.delimiter,
            quoting=file.quoting,
            span=part.span,
            sha256=file.sha256,
        )

    def _writer(self, name: str) -> SpillWriter:
        if name not in self._writers:
            job = self._job
            self._writers[name] = SpillWriter(job.work, name, job.number, job.partitions)
        return self._writers[name]

    def _cut(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int32], Hashes | None]:
        """Return each row's partition and owner (None: nobody's); note the ids that rows tell."""
        count = self._job.partitions
        ids = {
            role: batch.column(header)
            for role, header in self._whose.ids.items()
            if header in batch.schema.names
        }
        if not ids:
            return np.full(batch.num_rows, count, dtype=np.int32), None
        hashes = {role: hash_ids(column) for role, column in ids.items()}
        there = {role: filled(column) for role, column in ids.items()}
        owner = self._owner(hashes, there)
        rows = RawRows(pa.Table.from_batches([batch]))
        for role, made in self._whose.tells.items():
            if role not in ids:
                continue
            told = there[role]
            if all(made):
                told = told & np.any([holds(one, rows.column, rows.count) for one in made], axis=0)
            if role == "member":
                self._members.add(hashes[role][told])
            elif role == "claim":
                self._claims.add(hashes[role][told], owner[told])
                self._tell_fills(rows, owner)
            else:
                self._coverages.add(hashes[role][told], owner[told])
        return partition_of(owner, count), owner

    def _tell_fills(self, rows: RawRows, owner: Hashes) -> None:
        """Note the ids that fills may get, so that no claim of another member can have one too."""
        if self._whose.fills is not None:
            ids = fill_ids(rows, self._whose.ids["claim"], self._whose.fills)
            there = filled(ids)
            self._claims.add(hash_ids(ids)[there], owner[there])

    def _owner(
        self, hashes: Mapping[str, Hashes], there: Mapping[str, npt.NDArray[np.bool_]]
    ) -> Hashes:
        if "member" in hashes:
            other = hashes.get("claim", hashes.get("coverage"))
            if other is None:
                return hashes["member"]
            found: Hashes = np.where(there["member"], hashes["member"], other)
            return found
        if "claim" not in hashes or "claim" in self._whose.tells:
            return next(iter(hashes.values()))
        if self._directory is None:
            self._directory = OwnedIds.open(self._job.work, CLAIMS)
        return self._directory.owner_of(hashes["claim"])

    def _keep_ragged(self, file: SourceFile, batch: Batch) -> None:
        if not batch.ragged:
            return
        numbers = [ragged.row for ragged in batch.ragged]
        rows = pa.RecordBatch.from_arrays(
            [
                pa.array([ragged.text for ragged in batch.ragged], pa.string()),
                pa.array(np.full(len(numbers), file.index, dtype=np.int32)),
                pa.array(numbers, pa.int64()),
            ],
            ["text", FILE_COLUMN, ROW_COLUMN],
        )
        self._writer(RAGGED).write(rows, np.zeros(len(numbers), dtype=np.int32))


def partition_of(owners: Hashes, count: int) -> npt.NDArray[np.int32]:
    """Return the partition of each owner, of `count`; shape (n,).

    Ranges of hashes, not remainders: partitions one after the other are in the order of the
    members' hashes, however many there are.
    """
    where = (owners >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    return where.astype(np.int32)
