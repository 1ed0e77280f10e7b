"""One job of reading an extract: its rows, each with its partition.

A job reads files of one raw table, or spans of them, and yields rows with their partitions and ids.
The receiver (`reading`) decides where they are stored.

In a malformed row (with too few or too many cells) any cell may be in the wrong column, so none is
published; nor is its claim or member published without it. Only the ids at the head of the row are
trusted: nothing before them could have moved them.

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
    SOURCE_POSITION_HEADERS,
    Emit,
    FileProgress,
    SourceFile,
    unique_headers,
)
from etl.sources.files.stored_files import ExtractFiles
from etl.sources.layout.model import (
    Condition,
    Fills,
    Layout,
    LineForm,
    RawCells,
    RawTable,
    match_rows,
)
from etl.sources.layout.names import RAGGED_ROW
from etl.sources.parsing import delimited, parquet
from etl.sources.parsing.delimited import RecordFile, RecordType
from etl.sources.parsing.spans import Batch, Span, allow_long_cells
from etl.sources.partition.ids import OwnedIds
from etl.sources.partition.row_files import add_positions

OWNER_COLUMN: Final = "_owner"
"""Hash of the member, or of the header or coverage if no member is known."""
LOW_COLUMN: Final = "_low"
HIGH_COLUMN: Final = "_high"
"""The halves of a row's digest."""
MALFORMED_TABLE: Final = "_ragged"
"""Stored table of the rows with too few or too many cells."""


@dataclass(frozen=True, slots=True)
class OwnerColumns:
    """Columns of a raw table that name the owner of its rows.

    Attributes:
        table: name of the raw table.
        ids: role -> the header of its id, if it has one.
        feeds: role whose canonical table its rows feed -> the conditions, of which a row must meet
            one to be made a row of that table.
        fills: how several fills are written as one claim; None if they are not.
        cells: which words are no cells, and which columns are derived.
        lines: raw table -> how its lines are recognized, for tables whose rows are lines.
    """

    table: str
    ids: Mapping[str, str]
    feeds: Mapping[str, tuple[tuple[Condition, ...], ...]]
    fills: Fills | None
    cells: RawCells
    lines: Mapping[str, LineForm] = field(default_factory=dict)

    @classmethod
    def build(cls, raw: RawTable, layout: Layout) -> OwnerColumns:
        """Return the owner columns of a raw table of a layout."""
        feeds = {
            role: layout.row_conditions(role, raw.name)
            for role in raw.id_headers
            if raw.name in layout.source_files(role)
        }
        lines = {
            other.name: other.lines
            for other in layout.raw.values()
            if raw.lines is not None and other.lines is not None
        }
        return cls(raw.name, raw.id_headers, feeds, raw.fills, raw.cells, lines)

    def followed(self, file: SourceFile) -> str:
        """Return the table of headers whose owners the rows of a file have; "" if none."""
        headers = {*unique_headers(file), *self.cells.derived}
        return self.followed_among({role for role, header in self.ids.items() if header in headers})

    def followed_among(self, roles: Container[str]) -> str:
        """Return the table of headers that rows with ids of some roles follow; "" if none."""
        followed = (role for role in HEADERS if role in roles and role not in self.feeds)
        return "" if "member" in roles else next(followed, "")


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
    def whole_file(cls, file: SourceFile) -> FilePart:
        """Return the whole file, with the number of rows that was counted."""
        return cls(file, Span(next_row=_row_after_end(file)))

    @property
    def bytes(self) -> int:
        """Return the number of stored bytes in the part."""
        end = self.file.bytes if self.span.end is None else self.span.end
        return end - self.span.start


@dataclass(frozen=True, slots=True)
class ReadJob:
    """Rows of one raw table to read.

    Attributes:
        number: number of the job, unique in one read of the extract.
        files: the extract's files.
        partitions: number of partitions.
        digests: whether every row gets a digest.
        owners: columns that name the owner of the rows.
        parts: what to read, in the order of rows.
    """

    number: int
    files: ExtractFiles
    partitions: int
    digests: bool
    owners: OwnerColumns
    parts: tuple[FilePart, ...]

    @property
    def has_spans(self) -> bool:
        """Whether a part is not a whole file."""
        return not all(part.span.is_whole for part in self.parts)


def split_files(files: Sequence[SourceFile], job_bytes: int) -> Iterator[tuple[FilePart, ...]]:
    """Yield the parts of each job in which several processes read the files of a raw table.

    Args:
        files: of the raw table.
        job_bytes: least size of a job, except for the last one.
    """
    parts, total_bytes = list[FilePart](), 0
    for part in chain.from_iterable(_split_file(file, job_bytes) for file in files):
        parts.append(part)
        total_bytes += part.bytes
        if total_bytes >= job_bytes:
            yield tuple(parts)
            parts, total_bytes = [], 0
    if parts:
        yield tuple(parts)


def _split_file(file: SourceFile, least_bytes: int) -> Iterator[FilePart]:
    """Yield a file in spans of at least some bytes, or whole if it cannot be split."""
    start = (0, 1)  # byte and row
    # Jobs don't need the split points, of which a large file has many.
    plain_file = replace(file, split_points=())
    for end in file.split_points:
        if end[0] - start[0] >= least_bytes:
            yield FilePart(plain_file, Span(*start, *end))
            start = end
    yield FilePart(plain_file, Span(*start, next_row=_row_after_end(file)))


def _row_after_end(file: SourceFile) -> int | None:
    return None if file.lines is None else file.lines + 1


@dataclass(frozen=True, slots=True)
class PartitionedRows:
    """Rows of one raw table, each with its partition.

    Attributes:
        table: the raw table; `MALFORMED_TABLE` for malformed rows.
        part: index of the job's part that they are from.
        rows: the columns of the file, `_file`, `_row`; of members also `_owner`, and with digests
            `_low`, `_high`. Of malformed rows `text`, `_file`, `_row`.
        partitions: the partition of each row, shape (n,); for rows of no member, the number of
            partitions.
        ids: role -> hashes of the ids in the rows, and the owner of each; both of shape (m,).
    """

    table: str
    part: int
    rows: pa.RecordBatch
    partitions: npt.NDArray[np.int32]
    ids: Mapping[str, tuple[Hashes, Hashes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Failure of a job.

    Attributes:
        error: what is wrong with a file; None if only a span did not fit the row boundaries.
    """

    error: ExtractError | None


def read_job(
    job: ReadJob, read_owners: Callable[[str], OwnedIds], emit: Emit
) -> Iterator[PartitionedRows]:
    """Yield the rows of a job with their partitions.

    Args:
        job: what to read.
        read_owners: returns the owners of all ids of a table of `HEADERS`; called if rows name a
            header and no member.
        emit: gets progress after each block of a file.

    Raises:
        ExtractError: a file or a span of it cannot be read; which of them is at fault shows when
            the whole file is read.
        SpanMismatch: a part doesn't end where a row does.
    """
    reader = _JobReader(job, read_owners, emit)
    for index, part in enumerate(job.parts):
        yield from reader.read_part(index, part)


class _JobReader:
    """Reads the parts of a job."""

    def __init__(self, job: ReadJob, read_owners: Callable[[str], OwnedIds], emit: Emit) -> None:
        self._job, self._owners, self._emit = job, job.owners, emit
        self._read_owners = cache(read_owners)

    def read_part(self, number: int, part: FilePart) -> Iterator[PartitionedRows]:
        file, table = part.file, self._owners.table
        names = unique_headers(file)
        # Digests leave out row positions, which change with every row before.
        digested = [at for at, name in enumerate(names) if name not in SOURCE_POSITION_HEADERS]
        seed = seed_of(table, [names[index] for index in digested])
        row_count = 0
        for batch in self._batches(part, names):
            if batch.malformed:
                yield _malformed_rows(number, file, batch)
            row_count += batch.rows.num_rows + len(batch.malformed)
            if batch.rows.num_rows:
                partitions, owners, ids = self._assign_partitions(batch.rows)
                marks: dict[str, Hashes] = {}
                if owners is not None:
                    marks[OWNER_COLUMN] = owners
                    if self._job.digests:
                        digests = row_digests([batch.rows.column(at) for at in digested], seed)
                        marks |= {LOW_COLUMN: digests.low, HIGH_COLUMN: digests.high}
                rows = add_positions(batch.rows, file.index, names, marks)
                yield PartitionedRows(table, number, rows, partitions, ids)
            self._emit(FileProgress(file.name, batch.bytes_read, file.bytes, row_count))

    def _batches(self, part: FilePart, names: tuple[str, ...]) -> Iterator[Batch]:
        file = part.file
        listed = file.listed(self._job.files)
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
        headers = {*batch.schema.names, *self._owners.cells.derived}
        ids = {
            role: rows.column(header)
            if self._owners.cells.may_change(header)
            else batch.column(header)
            for role, header in self._owners.ids.items()
            if header in headers
        }
        if not ids:
            return np.full(batch.num_rows, count, dtype=np.int32), None, {}
        hashes = {role: hash_ids(column) for role, column in ids.items()}
        are_filled = {role: filled(column) for role, column in ids.items()}
        owners = self._row_owners(hashes, are_filled)
        owned_ids: dict[str, tuple[Hashes, Hashes]] = {}
        for role, conditions in self._owners.feeds.items():
            if role not in ids:
                continue
            is_row = are_filled[role]
            if all(conditions):  # an empty condition always holds
                is_row = is_row & np.any(
                    [match_rows(condition, rows.column, rows.count) for condition in conditions],
                    axis=0,
                )
            owned_ids[role] = hashes[role][is_row], owners[is_row]
            if role == "claim" and self._owners.fills is not None:
                # Fills get ids of their own, which no claim of another member can have too.
                fills = fill_ids(rows, self._owners.ids["claim"], self._owners.fills)
                is_fill = filled(fills)
                claims, claim_owners = owned_ids[role]
                owned_ids[role] = (
                    np.concatenate([claims, hash_ids(fills)[is_fill]]),
                    np.concatenate([claim_owners, owners[is_fill]]),
                )
        return partition_of(owners, count), owners, owned_ids

    def _row_owners(
        self, hashes: Mapping[str, Hashes], are_filled: Mapping[str, npt.NDArray[np.bool_]]
    ) -> Hashes:
        """Return the owner of each row: its member; without one, its claim or coverage.

        Rows that name a header of another table, and no member, have the owner of that header.
        """
        if "member" in hashes:
            substitutes = next((hashes[role] for role in hashes if role != "member"), None)
            if substitutes is None:
                return hashes["member"]
            owners: Hashes = np.where(are_filled["member"], hashes["member"], substitutes)
            return owners
        followed = self._owners.followed_among(hashes)
        if not followed:
            return next(iter(hashes.values()))
        return self._read_owners(followed).owner_of(hashes[followed])


def _malformed_rows(part: int, file: SourceFile, batch: Batch) -> PartitionedRows:
    numbers = [row.row for row in batch.malformed]
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array([row.text for row in batch.malformed], pa.string()),
            pa.array(np.full(len(numbers), file.index, dtype=np.int32)),
            pa.array(numbers, pa.int64()),
        ],
        ["text", FILE_COLUMN, ROW_COLUMN],
    )
    return PartitionedRows(MALFORMED_TABLE, part, rows, np.zeros(len(numbers), dtype=np.int32))


def partition_of(owners: Hashes, count: int) -> npt.NDArray[np.int32]:
    """Return the partition of each owner, of `count`; shape (n,).

    A partition is a range of hashes, so partitions are in the order of the members' hashes,
    whatever their number.
    """
    partitions = (owners >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    return partitions.astype(np.int32)


IdHashes = Mapping[str, Hashes]
"""Hashes of ids by `member` and the tables of headers, ascending."""


@dataclass(frozen=True, slots=True)
class AssignedRows:
    """Partitions of the malformed rows of a raw table.

    Attributes:
        batches: the rows.
        findings: one for each row; schema `etl.rows.FINDINGS_SCHEMA`.
        unowned: file name -> numbers of its orphan rows.
    """

    batches: tuple[PartitionedRows, ...]
    findings: pa.Table
    unowned: Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class _Row:
    """One malformed row.

    Attributes:
        file: its file.
        number: its row number.
        text: the row, unchanged.
        ids: role -> id at the head of the row; empty for an orphan.
        owner: its `_owner`.
        is_owned: whether its owner is known.
    """

    file: SourceFile
    number: int
    text: str
    ids: dict[str, str]
    owner: int
    is_owned: bool = False


def assign_malformed(
    malformed: pa.Table,
    files: Sequence[SourceFile],
    layout: Layout,
    owned_ids: Mapping[str, OwnedIds],
    *,
    partitions: int,
    digests: bool,
) -> dict[str, AssignedRows]:
    """Return the partitions of malformed rows, by raw table.

    Args:
        malformed: the rows: unchanged `text`, `_file`, `_row`; in any order.
        owned_ids: `member` or a table of headers -> ids of the readable rows.
        partitions: number of partitions.
        digests: whether every row gets a digest.
    """
    assigned = {}
    for table, rows in _rows_by_table(malformed, files, layout):
        raw = layout.raw[table]
        _assign_owners(rows, raw, layout, owned_ids)
        # Rows of members go into the partition of their owner, all others with the directory's.
        batches = list[PartitionedRows]()
        member_rows = [row for row in rows if _names_owners(row.file, raw)]
        directory_rows = [row for row in rows if not _names_owners(row.file, raw)]
        if member_rows:
            owners = np.array([row.owner for row in member_rows], dtype=np.uint64)
            batch = _malformed_batch(member_rows, raw, owners, digests=digests)
            batches.append(PartitionedRows(table, 0, batch, partition_of(owners, partitions)))
        if directory_rows:
            no_partition = np.full(len(directory_rows), partitions, dtype=np.int32)
            batch = _malformed_batch(directory_rows, raw, None, digests=False)
            batches.append(PartitionedRows(table, 0, batch, no_partition))
        # Rows without a known owner are counted: a limit stops the run.
        orphan_numbers: dict[str, list[int]] = {}
        for row in rows:
            if not row.is_owned and _can_belong(raw, layout):
                orphan_numbers.setdefault(row.file.name, []).append(row.number)
        findings = findings_at(
            RAGGED_ROW,
            raw.main_table,
            pa.array([row.file.index for row in rows], pa.int32()),
            pa.array([row.number for row in rows], pa.int64()),
            None,
        )
        orphans = {file: tuple(numbers) for file, numbers in orphan_numbers.items()}
        assigned[table] = AssignedRows(tuple(batches), findings, orphans)
    return assigned


def leading_ids(malformed: pa.Table, files: Sequence[SourceFile], layout: Layout) -> IdHashes:
    """Return the ids at the head of malformed rows, all that `assign_malformed` looks up."""
    role_ids: dict[str, list[str]] = {role: [] for role in ("member", *HEADERS)}
    for _, rows in _rows_by_table(malformed, files, layout):
        for role, ids in role_ids.items():
            ids += [row.ids[role] for row in rows if role in row.ids]
    return {role: np.unique(_hashes(ids)) for role, ids in role_ids.items()}


def _rows_by_table(
    malformed: pa.Table, files: Sequence[SourceFile], layout: Layout
) -> Iterator[tuple[str, list[_Row]]]:
    """Yield the malformed rows of each raw table, in the order of files and rows."""
    tables: dict[str, list[_Row]] = {}
    no_owner = int(hash_ids(pa.nulls(1, pa.string()))[0])
    ordered = malformed.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])
    for raw_row in ordered.to_pylist():
        file = files[raw_row[FILE_COLUMN]]
        ids = _ids_at_head(raw_row["text"], file, layout.raw[file.table])
        row = _Row(file, raw_row[ROW_COLUMN], raw_row["text"], ids, no_owner)
        tables.setdefault(file.table, []).append(row)
    yield from sorted(tables.items())


def _ids_at_head(text: str, file: SourceFile, raw: RawTable) -> dict[str, str]:
    """Return role -> id of the cells at the head of a row, up to the first other cell."""
    roles = {header: role for role, header in raw.id_headers.items()}
    # Cells of the record type are right, or the line would not match the type.
    record = raw.lines.record if raw.lines else ()
    types = {header for condition in record for header in condition.columns}
    ids = {}
    for header, cell in zip(unique_headers(file), _row_cells(text, file), strict=False):
        if header in roles and cell.strip():
            ids[roles[header]] = cell
        elif header not in types:
            break
    return ids


def _can_belong(raw: RawTable, layout: Layout) -> bool:
    """Return whether a lost row of this table could leave a gap in a member's data.

    A provider or payer without a row is published from what claims say about it.
    """
    has_member_rows = raw.name in layout.raw_files(directory=False)
    return has_member_rows and raw.main_table not in MEMBERLESS


def _names_owners(file: SourceFile, raw: RawTable) -> bool:
    """Return whether a file has a column, possibly a derived one, with the owner's ID."""
    headers = {*raw.cells.derived, *unique_headers(file)}
    return not headers.isdisjoint(raw.id_headers.values())


def _assign_owners(
    rows: Sequence[_Row], raw: RawTable, layout: Layout, owned_ids: Mapping[str, OwnedIds]
) -> None:
    """Set the owners of rows of one raw table, and remove the IDs of orphan rows."""
    # Merged rows (`grain`) are not the header or member itself, only parts of it.
    unmerged_tables = {
        spec.table for spec in layout.tables if spec.source == raw.name and not spec.grain
    }
    parent = next((role for role in HEADERS if role in raw.id_headers), "member")
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
        return [text[start : start + width] for start, width in pairs if start < len(text)]
    delimiter = file.form.delimiter
    if not file.form.quoting:
        return text.split(delimiter)
    with allow_long_cells():
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _hashes(ids: Sequence[str]) -> Hashes:
    return hash_ids(pa.array(ids, pa.string()))


def _malformed_batch(
    rows: Sequence[_Row], raw: RawTable, owners: Hashes | None, *, digests: bool
) -> pa.RecordBatch:
    """Return malformed rows as a batch: IDs, mark, row positions, owners, and digests."""
    columns: dict[str, Any] = {
        header: pa.array([row.ids.get(role) for row in rows], pa.string())
        for role, header in raw.id_headers.items()
    }
    columns[MALFORMED] = pa.array(["1"] * len(rows), pa.string())
    columns[FILE_COLUMN] = pa.array([row.file.index for row in rows], pa.int32())
    columns[ROW_COLUMN] = pa.array([row.number for row in rows], pa.int64())
    if owners is not None:
        columns[OWNER_COLUMN] = pa.array(owners)
        if digests:
            # The ids depend on other rows too, so they are digested with the text.
            headers = list(raw.id_headers.values())
            text = pa.array([row.text for row in rows], pa.string())
            seed = seed_of(raw.name, [MALFORMED, *headers])
            digest = row_digests([text, *(columns[header] for header in headers)], seed)
            columns |= {LOW_COLUMN: pa.array(digest.low), HIGH_COLUMN: pa.array(digest.high)}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
