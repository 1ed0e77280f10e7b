"""Some of an extract's rows, read and cut by member: what one process does at a time.

A job reads files of one raw table, or spans of them, and yields pieces: rows with the partition of
each, and the ids in them. The receiver (`work_folder`) decides where pieces are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.columns.digests import Hashes, filled, hash_ids, row_digests, seed_of
from etl.errors import ExtractError
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.sources.convert.fills import fill_ids
from etl.sources.convert.raw_rows import RawRows
from etl.sources.events import Emit, FileProgress
from etl.sources.files import splits
from etl.sources.files.source_files import SPILLED_SOURCES, SourceFile, spill_names
from etl.sources.files.stored_files import ExtractFiles
from etl.sources.layout.column_specs import Condition, holds
from etl.sources.layout.model import Fills, Layout, LineForm, RawCells, RawTable
from etl.sources.parsing import delimited, line_records, parquet
from etl.sources.parsing.line_records import RecordFile, RecordType
from etl.sources.parsing.spans import Batch, Span
from etl.sources.partition.ids import OwnedIds
from etl.sources.partition.spill import gathered_bytes, with_places

OWNER_COLUMN: Final = "_owner"
"""Hash of the member, or of what stands for one: all rows of a member have the same."""
LOW_COLUMN: Final = "_low"
HIGH_COLUMN: Final = "_high"
"""The halves of a row's digest."""
RAGGED: Final = "_ragged"
"""Spill name of rows with too few or too many cells."""
_JOBS: Final = 64
"""About how many jobs the largest raw table makes."""


@dataclass(frozen=True, slots=True)
class OwnerColumns:
    """Columns of a raw table that name the owner of its rows.

    Attributes:
        table: name of the raw table.
        ids: `member`, `claim`, `coverage` -> the header of its id, where there is one.
        feeds: canonical tables among `member`, `claim`, `coverage` that its rows feed -> when a
            row is made a row of that table: one of these must hold.
        fills: how several fills are written as one claim; None where they are not.
        cells: which words are no cells, and which columns are made.
        lines: raw table -> how its lines are known, for those whose rows are lines.
    """

    table: str
    ids: Mapping[str, str]
    feeds: Mapping[str, tuple[tuple[Condition, ...], ...]]
    fills: Fills | None
    cells: RawCells
    lines: Mapping[str, LineForm] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: RawTable, layout: Layout) -> OwnerColumns:
        """Return the owner columns of a raw table of a layout."""
        feeds = {
            role: layout.made_where(role, raw.name)
            for role in raw.ids
            if raw.name in layout.feeding(role)
        }
        lines = {
            other.name: other.lines
            for other in layout.raw.values()
            if raw.lines is not None and other.lines is not None
        }
        return cls(raw.name, raw.ids, feeds, raw.fills, raw.cells, lines)

    def follow_claims(self, file: SourceFile) -> bool:
        """Return whether the rows of a file have the owners of the claims that they name."""
        there = {*spill_names(file), *self.cells.made}
        roles = {role for role, header in self.ids.items() if header in there}
        return "claim" in roles - self.feeds.keys() and "member" not in roles


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
        """Return a whole file, with as many rows as were counted in its bytes."""
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
        place: where the extract's files lie.
        partitions: how many there are.
        digests: whether every row is to have a digest.
        owners: columns that name the owner of the rows.
        parts: what to read, in the order of rows.
    """

    number: int
    place: ExtractFiles
    partitions: int
    digests: bool
    owners: OwnerColumns
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
    least = max(splits.CUT_BYTES, 2 * gathered_bytes(partitions), size // _JOBS)
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
class Piece:
    """Rows of one raw table, cut by member.

    Attributes:
        table: the raw table; `RAGGED` for rows with too few or too many cells.
        part: number of the part of the job that they are of.
        rows: the columns of the file, `_file`, `_row`; where they belong to members `_owner`, and
            where digests are kept `_low`, `_high`. Of ragged rows `text`, `_file`, `_row`.
        cut: the partition of each row, shape (n,); the number of partitions for the directory's.
        ids: `member`, `claim`, `coverage` -> hashes of the ids in the rows, and the owner of each;
            both of shape (m,).
    """

    table: str
    part: int
    rows: pa.RecordBatch
    cut: npt.NDArray[np.int32]
    ids: Mapping[str, tuple[Hashes, Hashes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """Failure of a job.

    Attributes:
        error: what is wrong with a file; None if only a span did not fit the row boundaries.
    """

    error: ExtractError | None


def cut(job: CutJob, claims: Callable[[], OwnedIds], emit: Emit) -> Iterator[Piece]:
    """Yield the rows of a job, cut by member.

    Args:
        job: what to read.
        claims: returns the members of all claims; called where rows name a claim alone.
        emit: takes progress, after each block of a file.

    Raises:
        ExtractError: a file cannot be read. Whether the file or the span is at fault shows once
            the file was read as a whole.
        SpanAstray: a part is no span of rows.
    """
    cutter = _Cutter(job, claims, emit)
    for number, part in enumerate(job.parts):
        yield from cutter.read_part(number, part)


class _Cutter:
    """Reads the parts of a job, and cuts their rows."""

    def __init__(self, job: CutJob, claims: Callable[[], OwnedIds], emit: Emit) -> None:
        self._job, self._owners, self._emit = job, job.owners, emit
        self._claims = claims
        self._directory: OwnedIds | None = None

    def read_part(self, number: int, part: FilePart) -> Iterator[Piece]:
        file, table = part.file, self._owners.table
        names = spill_names(file)
        # What results are made of: where a row was found moves with every row before it.
        read = [at for at, name in enumerate(names) if name not in SPILLED_SOURCES]
        seed = seed_of(table, [names[at] for at in read])
        rows = 0
        for batch in self._batches(part, names):
            if batch.ragged:
                yield _ragged(number, file, batch)
            rows += batch.rows.num_rows + len(batch.ragged)
            if batch.rows.num_rows:
                where, owner, ids = self._cut(batch.rows)
                more: dict[str, Hashes] = {}
                if owner is not None:
                    more[OWNER_COLUMN] = owner
                    if self._job.digests:
                        digests = row_digests([batch.rows.column(at) for at in read], seed)
                        more |= {LOW_COLUMN: digests.low, HIGH_COLUMN: digests.high}
                yield Piece(
                    table, number, with_places(batch.rows, file.index, names, more), where, ids
                )
            self._emit(FileProgress(file.name, batch.done, file.bytes, rows))

    def _batches(self, part: FilePart, names: tuple[str, ...]) -> Iterator[Batch]:
        file = part.file
        listed = file.listed(self._job.place)
        if listed.is_parquet:
            return parquet.read_batches(listed, names, file.bytes)
        if file.types:
            return line_records.read_records(
                listed, self._record_file(file), span=part.span, sha256=file.sha256
            )
        return delimited.read_batches(listed, names, file.form, span=part.span, sha256=file.sha256)

    def _record_file(self, file: SourceFile) -> RecordFile:
        lines, tables = self._owners.lines, [table for table, _ in file.types]
        types = tuple(RecordType(table, names, lines[table]) for table, names in file.types)
        return RecordFile(types, tables.index(file.table), file.form)

    def _cut(
        self, batch: pa.RecordBatch
    ) -> tuple[npt.NDArray[np.int32], Hashes | None, dict[str, tuple[Hashes, Hashes]]]:
        """Return each row's partition and owner (None: no owner), and the ids in the rows."""
        count = self._job.partitions
        rows = RawRows(pa.Table.from_batches([batch]), cells=self._owners.cells)
        there = {*batch.schema.names, *self._owners.cells.made}
        ids = {
            role: rows.column(header)
            if self._owners.cells.changes(header)
            else batch.column(header)
            for role, header in self._owners.ids.items()
            if header in there
        }
        if not ids:
            return np.full(batch.num_rows, count, dtype=np.int32), None, {}
        hashes = {role: hash_ids(column) for role, column in ids.items()}
        are_filled = {role: filled(column) for role, column in ids.items()}
        owner = self._owner(hashes, are_filled)
        found: dict[str, tuple[Hashes, Hashes]] = {}
        for role, made in self._owners.feeds.items():
            if role not in ids:
                continue
            known = are_filled[role]
            if all(made):
                known = known & np.any(
                    [holds(condition, rows.column, rows.count) for condition in made], axis=0
                )
            found[role] = hashes[role][known], owner[known]
            if role == "claim" and self._owners.fills is not None:
                # Fills get ids of their own, which no claim of another member can have too.
                of_fills = fill_ids(rows, self._owners.ids["claim"], self._owners.fills)
                known = filled(of_fills)
                claims, owners = found[role]
                found[role] = (
                    np.concatenate([claims, hash_ids(of_fills)[known]]),
                    np.concatenate([owners, owner[known]]),
                )
        return partition_of(owner, count), owner, found

    def _owner(
        self, hashes: Mapping[str, Hashes], there: Mapping[str, npt.NDArray[np.bool_]]
    ) -> Hashes:
        """Return the owner of each row: its member; without one, what stands for one.

        Rows that name a claim of another table, and no member, have the owner of that claim.
        """
        if "member" in hashes:
            other = hashes.get("claim", hashes.get("coverage"))
            if other is None:
                return hashes["member"]
            owners: Hashes = np.where(there["member"], hashes["member"], other)
            return owners
        if "claim" not in hashes or "claim" in self._owners.feeds:
            return next(iter(hashes.values()))
        if self._directory is None:
            self._directory = self._claims()
        return self._directory.owner_of(hashes["claim"])


def _ragged(part: int, file: SourceFile, batch: Batch) -> Piece:
    numbers = [ragged.row for ragged in batch.ragged]
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array([ragged.text for ragged in batch.ragged], pa.string()),
            pa.array(np.full(len(numbers), file.index, dtype=np.int32)),
            pa.array(numbers, pa.int64()),
        ],
        ["text", FILE_COLUMN, ROW_COLUMN],
    )
    return Piece(RAGGED, part, rows, np.zeros(len(numbers), dtype=np.int32))


def partition_of(owners: Hashes, count: int) -> npt.NDArray[np.int32]:
    """Return the partition of each owner, of `count`; shape (n,).

    Ranges of hashes, not remainders: partitions one after the other are in the order of the
    members' hashes, however many there are.
    """
    where = (owners >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    return where.astype(np.int32)
