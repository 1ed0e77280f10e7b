"""Some of an extract's rows, read and cut by member: what one process does at a time.

A job reads files of one raw table, or spans of them, and yields pieces: rows with the partition of
each, and the ids in them. The receiver (`reading`) decides where pieces are kept.

Nobody can say which cells of a row with too few or too many belong to which column, so no cell of
such a row is published. What it belongs to must not be published without it. Only ids at the head
of a row are trusted: nothing stands before them that could have moved them.

* A row that is a header (claim, prior authorization) or member itself belongs to the id at its
  head.
* Any other row, a coverage too, belongs to the header (else: the member) at its head, if the
  extract has that id in a row that can be read.
* Any other row is an orphan. `limits.unowned_rows` says how many a run allows for.

The ids go into the partition of their owner, under the headers of the ids and with a mark.
`etl.sources.convert.canonical_rows` makes canonical rows of them that have a key and nothing else.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.columns.digests import Hashes, among, filled, hash_ids, row_digests, seed_of
from etl.errors import ExtractError
from etl.model.canonical_tables import FILE_COLUMN, HEADERS, MEMBERLESS, ROW_COLUMN
from etl.rows import findings_at
from etl.sources.convert.raw_rows import MALFORMED, RawRows, fill_ids
from etl.sources.files.listed_files import (
    SPILLED_SOURCES,
    Emit,
    FileProgress,
    SourceFile,
    spill_names,
)
from etl.sources.files.stored_files import ExtractFiles
from etl.sources.layout.model import Condition, Fills, Layout, LineForm, RawCells, RawTable, holds
from etl.sources.layout.names import RAGGED_ROW
from etl.sources.parsing import delimited, parquet
from etl.sources.parsing.delimited import RecordFile, RecordType
from etl.sources.parsing.spans import Batch, Span, csv_of_rows
from etl.sources.partition.ids import OwnedIds
from etl.sources.partition.spill import with_places

OWNER_COLUMN: Final = "_owner"
"""Hash of the member, or of what stands for one: all rows of a member have the same."""
LOW_COLUMN: Final = "_low"
HIGH_COLUMN: Final = "_high"
"""The halves of a row's digest."""
RAGGED: Final = "_ragged"
"""Spill name of rows with too few or too many cells."""


@dataclass(frozen=True, slots=True)
class OwnerColumns:
    """Columns of a raw table that name the owner of its rows.

    Attributes:
        table: name of the raw table.
        ids: role -> the header of its id, where there is one.
        feeds: canonical tables among the roles that its rows feed -> when a row is made a row of
            that table: one of these must hold.
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

    def followed(self, file: SourceFile) -> str:
        """Return the table of headers whose owners the rows of a file have; "" if none."""
        there = {*spill_names(file), *self.cells.made}
        return self.followed_among({role for role, header in self.ids.items() if header in there})

    def followed_among(self, roles: Container[str]) -> str:
        """Return what rows with ids of some roles follow; "" if nothing."""
        named = (role for role in HEADERS if role in roles and role not in self.feeds)
        return "" if "member" in roles else next(named, "")


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
        return cls(file, Span(next_row=_header_end(file)))

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


def split_files(files: Sequence[SourceFile], job_bytes: int) -> Iterator[tuple[FilePart, ...]]:
    """Yield the parts of each job in which several processes read the files of a raw table.

    Args:
        files: of the raw table.
        job_bytes: least size of a job, except for the last one.
    """
    parts, held = list[FilePart](), 0
    for part in chain.from_iterable(_split_file(file, job_bytes) for file in files):
        parts.append(part)
        held += part.bytes
        if held >= job_bytes:
            yield tuple(parts)
            parts, held = [], 0
    if parts:
        yield tuple(parts)


def _split_file(file: SourceFile, least_bytes: int) -> Iterator[FilePart]:
    """Yield a file in spans of at least some bytes, or whole if it cannot be split."""
    begin = (0, 1)
    # Jobs don't need the other places where the file can be split, which grow with its size.
    uncut_file = replace(file, cuts=())
    for end in file.cuts:
        if end[0] - begin[0] >= least_bytes:
            yield FilePart(uncut_file, Span(*begin, *end))
            begin = end
    yield FilePart(uncut_file, Span(*begin, next_row=_header_end(file)))


def _header_end(file: SourceFile) -> int | None:
    return None if file.lines is None else file.lines + 1


@dataclass(frozen=True, slots=True)
class PartitionedRows:
    """Rows of one raw table, cut by member.

    Attributes:
        table: the raw table; `RAGGED` for rows with too few or too many cells.
        part: number of the part of the job that they are of.
        rows: the columns of the file, `_file`, `_row`; where they belong to members `_owner`, and
            where digests are kept `_low`, `_high`. Of ragged rows `text`, `_file`, `_row`.
        cut: the partition of each row, shape (n,); the number of partitions for the directory's.
        ids: role -> hashes of the ids in the rows, and the owner of each; both of shape (m,).
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


def cut(job: CutJob, owned: Callable[[str], OwnedIds], emit: Emit) -> Iterator[PartitionedRows]:
    """Yield the rows of a job, cut by member.

    Args:
        job: what to read.
        owned: returns the members of all rows of a table of `HEADERS`; called where rows name a
            header alone.
        emit: takes progress, after each block of a file.

    Raises:
        ExtractError: a file cannot be read. Whether the file or the span is at fault shows once
            the file was read as a whole.
        SpanAstray: a part is no span of rows.
    """
    cutter = _Cutter(job, owned, emit)
    for number, part in enumerate(job.parts):
        yield from cutter.read_part(number, part)


class _Cutter:
    """Reads the parts of a job, and cuts their rows."""

    def __init__(self, job: CutJob, owned: Callable[[str], OwnedIds], emit: Emit) -> None:
        self._job, self._owners, self._emit = job, job.owners, emit
        self._owned = cache(owned)

    def read_part(self, number: int, part: FilePart) -> Iterator[PartitionedRows]:
        file, table = part.file, self._owners.table
        names = spill_names(file)
        # What results are made of: where a row was found moves with every row before it.
        read = [at for at, name in enumerate(names) if name not in SPILLED_SOURCES]
        seed = seed_of(table, [names[at] for at in read])
        rows = 0
        for batch in self._batches(part, names):
            if batch.ragged:
                yield _malformed_rows(number, file, batch)
            rows += batch.rows.num_rows + len(batch.ragged)
            if batch.rows.num_rows:
                where, owner, ids = self._assign_partitions(batch.rows)
                more: dict[str, Hashes] = {}
                if owner is not None:
                    more[OWNER_COLUMN] = owner
                    if self._job.digests:
                        digests = row_digests([batch.rows.column(at) for at in read], seed)
                        more |= {LOW_COLUMN: digests.low, HIGH_COLUMN: digests.high}
                yield PartitionedRows(
                    table, number, with_places(batch.rows, file.index, names, more), where, ids
                )
            self._emit(FileProgress(file.name, batch.done, file.bytes, rows))

    def _batches(self, part: FilePart, names: tuple[str, ...]) -> Iterator[Batch]:
        file = part.file
        listed = file.listed(self._job.place)
        if listed.is_parquet:
            return parquet.read_batches(listed, names, file.bytes, span=part.span)
        if file.types:
            return delimited.read_records(
                listed, self._record_file(file), span=part.span, sha256=file.sha256
            )
        return delimited.read_batches(listed, names, file.form, span=part.span, sha256=file.sha256)

    def _record_file(self, file: SourceFile) -> RecordFile:
        lines, tables = self._owners.lines, [table for table, _ in file.types]
        types = tuple(RecordType(table, names, lines[table]) for table, names in file.types)
        return RecordFile(types, tables.index(file.table), file.form)

    def _assign_partitions(
        self, batch: pa.RecordBatch
    ) -> tuple[npt.NDArray[np.int32], Hashes | None, dict[str, tuple[Hashes, Hashes]]]:
        """Return each row's partition and owner (None: no owner), and the IDs in the rows."""
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
        owner = self._row_owners(hashes, are_filled)
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

    def _row_owners(
        self, hashes: Mapping[str, Hashes], there: Mapping[str, npt.NDArray[np.bool_]]
    ) -> Hashes:
        """Return the owner of each row: its member; without one, its claim or coverage.

        Rows that name a header of another table, and no member, have the owner of that header.
        """
        if "member" in hashes:
            other = next((hashes[role] for role in hashes if role != "member"), None)
            if other is None:
                return hashes["member"]
            owners: Hashes = np.where(there["member"], hashes["member"], other)
            return owners
        followed = self._owners.followed_among(hashes)
        if not followed:
            return next(iter(hashes.values()))
        return self._owned(followed).owner_of(hashes[followed])


def _malformed_rows(part: int, file: SourceFile, batch: Batch) -> PartitionedRows:
    numbers = [ragged.row for ragged in batch.ragged]
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array([ragged.text for ragged in batch.ragged], pa.string()),
            pa.array(np.full(len(numbers), file.index, dtype=np.int32)),
            pa.array(numbers, pa.int64()),
        ],
        ["text", FILE_COLUMN, ROW_COLUMN],
    )
    return PartitionedRows(RAGGED, part, rows, np.zeros(len(numbers), dtype=np.int32))


def partition_of(owners: Hashes, count: int) -> npt.NDArray[np.int32]:
    """Return the partition of each owner, of `count`; shape (n,).

    Ranges of hashes, not remainders: partitions one after the other are in the order of the
    members' hashes, however many there are.
    """
    where = (owners >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    return where.astype(np.int32)


IdHashes = Mapping[str, Hashes]
"""Hashes of ids by `member` and the tables of headers, ascending."""


@dataclass(frozen=True, slots=True)
class PlacedRows:
    """Partitions of the malformed rows of a raw table.

    Attributes:
        pieces: the rows.
        findings: one a row; schema `etl.rows.FINDINGS_SCHEMA`.
        unowned: file name -> numbers of its rows that name nothing that they could belong to.
    """

    pieces: tuple[PartitionedRows, ...]
    findings: pa.Table
    unowned: Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class _Row:
    """One malformed row.

    Attributes:
        file: where it is from.
        number: of the row.
        text: the row as it was.
        ids: role -> id at the head of the row; empty for an orphan.
        owner: hash of the member, or of what stands for one.
        is_owned: whether its owner is known.
    """

    file: SourceFile
    number: int
    text: str
    ids: dict[str, str]
    owner: int
    is_owned: bool = False


def place_malformed(
    malformed: pa.Table,
    files: Sequence[SourceFile],
    layout: Layout,
    known: Mapping[str, OwnedIds],
    *,
    partitions: int,
    digests: bool,
) -> dict[str, PlacedRows]:
    """Return the partitions of malformed rows, by raw table.

    Args:
        malformed: the rows: `text` as it was, `_file`, `_row`; in any order.
        files: the extract's files.
        layout: what the rows would have meant.
        known: `member` or a table of headers -> ids of the readable rows.
        partitions: how many there are.
        digests: whether every row is to have a digest.
    """
    placed = {}
    for name, rows in _rows_by_table(malformed, files, layout):
        raw = layout.raw[name]
        _assign_owners(rows, raw, layout, known)
        # Rows of members go into the partition of their owner, all others beside the directory.
        pieces = list[PartitionedRows]()
        of_members = [row for row in rows if _names_owners(row.file, raw)]
        of_nobody = [row for row in rows if not _names_owners(row.file, raw)]
        if of_members:
            owners = np.array([row.owner for row in of_members], dtype=np.uint64)
            batch = _malformed_batch(of_members, raw, owners, digests=digests)
            pieces.append(PartitionedRows(name, 0, batch, partition_of(owners, partitions)))
        if of_nobody:
            cut = np.full(len(of_nobody), partitions, dtype=np.int32)
            batch = _malformed_batch(of_nobody, raw, None, digests=False)
            pieces.append(PartitionedRows(name, 0, batch, cut))
        # Rows without a known owner are counted: a limit stops the run.
        unowned: dict[str, list[int]] = {}
        for row in rows:
            if not row.is_owned and _can_belong(raw, layout):
                unowned.setdefault(row.file.name, []).append(row.number)
        noted = findings_at(
            RAGGED_ROW,
            raw.main,
            pa.array([row.file.index for row in rows], pa.int32()),
            pa.array([row.number for row in rows], pa.int64()),
            None,
        )
        numbers = {file: tuple(at) for file, at in unowned.items()}
        placed[name] = PlacedRows(tuple(pieces), noted, numbers)
    return placed


def leading_ids(malformed: pa.Table, files: Sequence[SourceFile], layout: Layout) -> IdHashes:
    """Return the ids at the head of malformed rows: `place_malformed` needs to know no others."""
    found: dict[str, list[str]] = {role: [] for role in ("member", *HEADERS)}
    for _, rows in _rows_by_table(malformed, files, layout):
        for role, ids in found.items():
            ids += [row.ids[role] for row in rows if role in row.ids]
    return {role: np.unique(_hashes(ids)) for role, ids in found.items()}


def _rows_by_table(
    malformed: pa.Table, files: Sequence[SourceFile], layout: Layout
) -> Iterator[tuple[str, list[_Row]]]:
    """Yield the malformed rows of each raw table, in the order of files and rows."""
    tables: dict[str, list[_Row]] = {}
    nobody = int(hash_ids(pa.nulls(1, pa.string()))[0])
    ordered = malformed.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])
    for raw_row in ordered.to_pylist():
        file = files[raw_row[FILE_COLUMN]]
        ids = _ids_at_head(raw_row["text"], file, layout.raw[file.table])
        row = _Row(file, raw_row[ROW_COLUMN], raw_row["text"], ids, nobody)
        tables.setdefault(file.table, []).append(row)
    yield from sorted(tables.items())


def _ids_at_head(text: str, file: SourceFile, raw: RawTable) -> dict[str, str]:
    """Return role -> id of the cells at the head of a row, up to the first that is no id."""
    roles = {header: role for role, header in raw.ids.items()}
    # The type of a record is known to be right, or the line would be no record of it.
    record = raw.lines.record if raw.lines else ()
    types = {header for condition in record for header in condition.columns}
    ids = {}
    for header, cell in zip(spill_names(file), _row_cells(text, file), strict=False):
        if header in roles and cell.strip():
            ids[roles[header]] = cell
        elif header not in types:
            break
    return ids


def _can_belong(raw: RawTable, layout: Layout) -> bool:
    """Return whether a lost row of this file could leave a gap in a member's data.

    A provider or payer without a row is published from what claims say about it.
    """
    has_member_rows = raw.name in layout.sources(directory=False)
    return has_member_rows and raw.main not in MEMBERLESS


def _names_owners(file: SourceFile, raw: RawTable) -> bool:
    """Return whether a file has a column, possibly a derived one, with the owner's ID."""
    headers = {*raw.cells.made, *spill_names(file)}
    return not headers.isdisjoint(raw.ids.values())


def _assign_owners(
    rows: Sequence[_Row], raw: RawTable, layout: Layout, owned_ids: Mapping[str, OwnedIds]
) -> None:
    """Set the owners of rows of one raw table, and remove the IDs of orphan rows."""
    # Merged rows (`grain`) are not the header or member itself, only parts of it.
    unmerged_tables = {
        spec.table for spec in layout.tables if spec.source == raw.name and not spec.grain
    }
    parent = next((role for role in HEADERS if role in raw.ids), "member")
    rows_by_role: dict[str, list[_Row]] = {role: [] for role in ("member", *HEADERS)}
    for row in rows:
        first_role = next(iter(row.ids), None)
        row_role = first_role if first_role in unmerged_tables else None
        owner_role = parent if row_role in (None, "coverage") else row_role
        row.is_owned = row_role == owner_role
        row.ids = {role: row.ids[role] for role in (row_role, owner_role) if role in row.ids}
        if owner_role in row.ids:
            rows_by_role[owner_role].append(row)
    for role, role_rows in rows_by_role.items():
        hashes = _hashes([row.ids[role] for row in role_rows])
        is_known, owners = among(hashes, owned_ids[role].ids), owned_ids[role].owner_of(hashes)
        for row, owner, is_known_id in zip(
            role_rows, owners.tolist(), is_known.tolist(), strict=True
        ):
            row.is_owned |= is_known_id
            row.owner = owner if row.is_owned else row.owner
    for row in rows:
        if not row.is_owned:
            row.ids = {}


def _row_cells(text: str, file: SourceFile) -> list[str]:
    """Return the cells of a row, read as its file is."""
    if file.widths:
        starts = itertools.accumulate(file.widths, initial=0)
        pairs = zip(starts, file.widths, strict=False)
        return [text[at : at + width] for at, width in pairs if at < len(text)]
    delimiter = file.form.delimiter
    if not file.form.quoting:
        return text.split(delimiter)
    with csv_of_rows():
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _hashes(ids: Sequence[str]) -> Hashes:
    return hash_ids(pa.array(ids, pa.string()))


def _malformed_batch(
    rows: Sequence[_Row], raw: RawTable, owners: Hashes | None, *, digests: bool
) -> pa.RecordBatch:
    """Return malformed rows as a batch: IDs, mark, row positions, owners, and digests."""
    columns: dict[str, Any] = {
        header: pa.array([row.ids.get(role) for row in rows], pa.string())
        for role, header in raw.ids.items()
    }
    columns[MALFORMED] = pa.array(["1"] * len(rows), pa.string())
    columns[FILE_COLUMN] = pa.array([row.file.index for row in rows], pa.int32())
    columns[ROW_COLUMN] = pa.array([row.number for row in rows], pa.int64())
    if owners is not None:
        columns[OWNER_COLUMN] = pa.array(owners)
        if digests:
            # The ids depend on other rows too, so they are part of what is compared.
            ids = [columns[header] for header in raw.ids.values()]
            text = pa.array([row.text for row in rows], pa.string())
            made = row_digests([text, *ids], seed_of(raw.name, [MALFORMED, *raw.ids.values()]))
            columns |= {LOW_COLUMN: pa.array(made.low), HIGH_COLUMN: pa.array(made.high)}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
