"""Reading an extract once, cutting its rows by member, and loading one partition at a time.

What is spilled is the source's rows as they were. They become canonical rows when a partition is
loaded, which many processes can do at once, and which leaves the originals for the quarantine.

A row belongs to the partition of its member's hash; a row of a child table to that of its claim's
member. Where a row names no member, or a claim that is nowhere, the hash of the claim decides, so
that orphans that belong together meet in one partition, whatever their order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.errors import StoreError, UsageError
from etl.model.tables import DIRECTORY_TABLES, FILE_COLUMN, ROW_COLUMN
from etl.rows import FINDINGS_SCHEMA, PLACE_FIELDS
from etl.sources import columnar, delimited
from etl.sources.convert import convert
from etl.sources.delimited import Batch
from etl.sources.digests import row_digests, seed_of
from etl.sources.events import Emit, Partitioned, Reading, ignore
from etl.sources.extract import Extract, SourceFile, check_rows, spill_names
from etl.sources.keys import (
    NO_HASHES,
    Directory,
    GlobalKeys,
    Hashes,
    HashSet,
    Owners,
    among,
    filled,
    hash_ids,
)
from etl.sources.layout import Layout, RawTable
from etl.sources.spill import SpillWriter, clear_spilled, disk_error, read_spilled, with_places
from etl.sources.state import file_from, layout_from, layout_state

OWNER_COLUMN: Final = "_owner"
"""Hash of the member, or of what stands for one: all rows of a member have the same."""
LOW_COLUMN: Final = "_low"
HIGH_COLUMN: Final = "_high"
"""The halves of a row's digest."""
MARKS: Final = (FILE_COLUMN, ROW_COLUMN, OWNER_COLUMN, LOW_COLUMN, HIGH_COLUMN)
_STATE: Final = "partitions.json"
_RAGGED: Final = "_ragged"
_FINDINGS: Final = "findings.arrow"
MAX_PARTITIONS: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Loaded:
    """The canonical rows of one partition, or of the directory.

    Attributes:
        tables: every canonical table by name, empty ones included; schema
            `etl.rows.table_schema`, ordered by key (numbers as numbers), then by place.
        findings: what the layout noticed while it made them; `etl.rows.FINDINGS_SCHEMA`.
        files: names of the extract's files; `_file` is an index into them.
    """

    tables: dict[str, pa.Table]
    findings: pa.Table
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Partitions:
    """An extract that was read and cut.

    Attributes:
        work: the folder where its rows are.
        count: how many partitions there are, numbered from 0.
        layout: what the rows mean.
        files: the extract's files.
        keys: ids of all partitions.
        rows_read: file name -> rows read from it: ragged ones counted, blank ones not.
        findings: those of no partition: unknown files and columns, ragged rows.
        has_digests: whether rows were spilled with their digests.
    """

    work: Path
    count: int
    layout: Layout
    files: tuple[SourceFile, ...]
    keys: GlobalKeys
    rows_read: Mapping[str, int]
    findings: pa.Table
    has_digests: bool = False

    @classmethod
    def open(cls, work: Path) -> Partitions:
        """Return what `partition` left in a work folder; cheap, so that every worker can do it.

        Raises:
            StoreError: the folder holds no extract that was read to its end.
        """
        try:
            state = json.loads((work / _STATE).read_text(encoding="utf-8"))
            keys = GlobalKeys.open(work)  # other versions of the program kept them otherwise
        except (OSError, ValueError):
            raise StoreError(f"{work} holds no partitions; read the extract again") from None
        with pa.ipc.open_file(work / _FINDINGS) as reader:
            findings = reader.read_all()
        return cls(
            work=work,
            count=state["count"],
            layout=layout_from(state["layout"]),
            files=tuple(file_from(file) for file in state["files"]),
            keys=keys,
            rows_read=MappingProxyType(state["rows_read"]),
            findings=findings,
            has_digests=state["digests"],
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the extract's files."""
        return tuple(file.name for file in self.files)

    def load(self, index: int) -> Loaded:
        """Return the canonical rows of one partition.

        Raises:
            UsageError: there is no such partition.
        """
        if not 0 <= index < self.count:
            raise UsageError(f"there is no partition {index}; there are {self.count}")
        return self._load(index, directory=False)

    def load_members(self, indexes: Sequence[int], owners: Hashes) -> Loaded:
        """Return the canonical rows of some members of some partitions, as if there were no others.

        Args:
            indexes: the partitions.
            owners: hashes of the members, as `marks` gives them, ascending.

        Raises:
            UsageError: the extract was read without digests.
        """
        if not self.has_digests:
            raise UsageError("the extract was read without digests")
        return self._load(*indexes, directory=False, owners=owners)

    def marks(self, indexes: Sequence[int]) -> dict[str, pa.Table]:
        """Return whose each row of some partitions is and its digest, by raw table.

        Columns are `MARKS`, in the order of files and rows. Raw tables that belong to no member
        are left out; of an extract read without digests, all are.
        """
        found = {}
        for name in sorted({spec.source for spec in self.layout.tables}):
            parts = [read_spilled(self.work, name, index, MARKS) for index in indexes]
            marks = [part.select(MARKS) for part in parts if LOW_COLUMN in part.column_names]
            if marks:
                found[name] = pa.concat_tables(marks).combine_chunks()
        return found

    def owners(self, index: int) -> tuple[Any, Any, Hashes]:
        """Return file, row and owner of each row of a partition; rows that are nobody's left out.

        All three are numpy arrays of shape (n,), in the order of raw tables.
        """
        whose = (FILE_COLUMN, ROW_COLUMN, OWNER_COLUMN)
        parts = [
            read_spilled(self.work, name, index, whose)
            for name in sorted({spec.source for spec in self.layout.tables})
        ]
        owned = [part.select(whose) for part in parts if OWNER_COLUMN in part.column_names]
        if not owned:
            return NO_HASHES, NO_HASHES, NO_HASHES
        file, row, owner = pa.concat_tables(owned).columns
        return file.to_numpy(), row.to_numpy(), owner.to_numpy()

    def directory(self) -> Loaded:
        """Return the tables that belong to no member: organization, practitioner."""
        return self._load(self.count, directory=True)

    def _load(self, *indexes: int, directory: bool, owners: Hashes | None = None) -> Loaded:
        wanted = {
            spec.source
            for spec in self.layout.tables
            if (spec.table in DIRECTORY_TABLES) == directory
        }
        raw = {}
        for name in sorted(wanted):
            parts = [_of(read_spilled(self.work, name, index), owners) for index in indexes]
            rows = pa.concat_tables(parts, promote_options="default")
            if len(indexes) > 1:
                rows = rows.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])
            raw[name] = rows
        tables, findings = convert(self.layout, raw, directory=directory)
        return Loaded(tables, findings, self.names)

    def raw_rows(self, index: int) -> dict[str, pa.Table]:
        """Return the source rows of a partition as they were, by file name.

        A table has every header of its file as it is written, as text that is not trimmed, then
        `_file` and `_row`, in the order of the rows. `index` may be `count`: the directory. Files
        without rows in the partition are left out.
        """
        found = {}
        spilled: dict[str, pa.Table] = {}
        for file in self.files:
            if not file.table:
                continue
            if file.table not in spilled:
                spilled[file.table] = read_spilled(self.work, file.table, index)
            table = spilled[file.table]
            at = np.flatnonzero(table.column(FILE_COLUMN).to_numpy() == file.index)
            if len(at):
                found[file.name] = _as_written(table.take(pa.array(at)), file)
        return found

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells: `text` as it was, `_file`, `_row`."""
        return read_spilled(self.work, _RAGGED, None)


def _of(rows: pa.Table, owners: Hashes | None) -> pa.Table:
    if owners is None or OWNER_COLUMN not in rows.column_names:
        return rows
    found = among(rows.column(OWNER_COLUMN).to_numpy(), owners)
    return rows if found.all() else rows.take(pa.array(np.flatnonzero(found)))


def _as_written(rows: pa.Table, file: SourceFile) -> pa.Table:
    rows = rows.sort_by(ROW_COLUMN)
    absent = pa.nulls(rows.num_rows, pa.string())
    arrays = [
        rows.column(name) if name in rows.column_names else absent for name in spill_names(file)
    ]
    places = [rows.column(field.name) for field in PLACE_FIELDS]
    names = [*file.columns, *(field.name for field in PLACE_FIELDS)]
    return pa.Table.from_arrays([*arrays, *places], names)


def partition(
    extract: Extract,
    work: Path,
    *,
    partitions: int,
    digests: bool = False,
    emit: Emit = ignore,
) -> Partitions:
    """Read every row of an extract once and cut the rows by member.

    Args:
        extract: what to read.
        work: a folder of this run alone; made where it is missing. What it held is overwritten.
        partitions: how many pieces; a partition's rows are held in memory when it is loaded.
        digests: whether to keep a digest of every row as well.
        emit: called after every block of a file.

    Raises:
        UsageError: the number of partitions makes no sense.
        ExtractError: a file cannot be read to its end, or has not the rows that the manifest says
            it has; `work` holds nothing that can be opened.
        StoreError: `work` cannot be written, or its disk is full.
    """
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise UsageError(f"partitions must be a number from 1 to {MAX_PARTITIONS}")
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / _STATE).unlink(missing_ok=True)
        clear_spilled(work)
    except OSError as error:
        raise disk_error(error) from None
    cutter = _Cutter(extract, work, partitions, emit, digests=digests)
    try:
        cutter.read()
    except OSError as error:
        raise disk_error(error) from None
    finally:
        cutter.abandon()
    emit(Partitioned(sum(cutter.rows_read.values()), partitions))
    return Partitions.open(work)


class _Cutter:
    """One reading of an extract."""

    def __init__(
        self, extract: Extract, work: Path, count: int, emit: Emit, *, digests: bool
    ) -> None:
        self._extract, self._work, self._count, self._emit = extract, work, count, emit
        self._digests = digests
        self._layout = extract.layout
        # Names of sets of `GlobalKeys`.
        self._members = HashSet(work, "members")
        self._claims, self._coverages = Owners(work, "claims"), Owners(work, "coverages")
        self._directory: Directory | None = None
        self._ragged: Counter[tuple[int, int]] = Counter()
        self._findings: list[pa.Table] = [extract.findings]
        self._writers: dict[str, SpillWriter] = {}
        self.rows_read: dict[str, int] = {}

    def read(self) -> None:
        ordered = sorted(self._extract.files, key=lambda file: (self._turn(file), file.index))
        last = {file.table: file for file in ordered if file.table}
        for file in ordered:
            if file.table:
                self._read_file(file)
            if last.get(file.table) is file:  # nothing of it waits while others are read
                self._writers[file.table].close()
                del self._writers[file.table]
        for writer in self._writers.values():
            writer.close()
        self._save()

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()

    def _turn(self, file: SourceFile) -> int:
        """Files that name members come first: the children follow their claims."""
        raw = self._layout.raw.get(file.table)
        return 1 if raw is not None and raw.member is None and raw.claim is not None else 0

    def _read_file(self, file: SourceFile) -> None:
        raw = self._layout.raw[file.table]
        names = spill_names(file)
        seed = seed_of(file.table, names)
        writer = self._writer(file.table)
        rows = 0
        for batch in self._batches(file, names):
            self._keep_ragged(file, raw, batch)
            rows += batch.rows.num_rows + len(batch.ragged)
            if batch.rows.num_rows:
                cut, owner = self._cut(raw, batch.rows)
                more: dict[str, Hashes] = {}
                if owner is not None:
                    more[OWNER_COLUMN] = owner
                    if self._digests:
                        digests = row_digests(batch.rows.columns[:-1], seed)
                        more |= {LOW_COLUMN: digests.low, HIGH_COLUMN: digests.high}
                writer.write(with_places(batch.rows, file.index, names, more), cut)
            self._emit(Reading(file.name, batch.done, file.bytes, rows))
        check_rows(file, rows)
        self.rows_read[file.name] = rows

    def _batches(self, file: SourceFile, names: tuple[str, ...]) -> Iterator[Batch]:
        listed = file.listed(self._extract.folder)
        if listed.is_parquet:
            return columnar.read_batches(listed, names, file.bytes)
        return delimited.read_batches(listed, names, file.delimiter, quoting=file.quoting)

    def _writer(self, name: str) -> SpillWriter:
        if name not in self._writers:
            self._writers[name] = SpillWriter(self._work, name, self._count)
        return self._writers[name]

    def _cut(
        self, raw: RawTable, batch: pa.RecordBatch
    ) -> tuple[npt.NDArray[np.int32], Hashes | None]:
        """Return each row's partition and owner (None: nobody's); note the ids that rows name."""
        ids = {
            role: batch.column(header)
            for role, header in (
                ("member", raw.member),
                ("claim", raw.claim),
                ("coverage", raw.coverage),
            )
            if header is not None and header in batch.schema.names
        }
        if not ids:
            return np.full(batch.num_rows, self._count, dtype=np.int32), None
        hashes = {role: hash_ids(column) for role, column in ids.items()}
        there = {role: filled(column) for role, column in ids.items()}
        owner = self._owner(raw, hashes, there)
        if raw.name in self._layout.feeding("member"):
            self._members.add(hashes["member"][there["member"]])
        if raw.name in self._layout.feeding("claim"):
            self._claims.add(hashes["claim"][there["claim"]], owner[there["claim"]])
        if raw.name in self._layout.feeding("coverage"):
            self._coverages.add(hashes["coverage"][there["coverage"]], owner[there["coverage"]])
        # Ranges of hashes, not remainders: partitions one after the other are in the order of the
        # members' hashes, however many there are.
        cut = (owner >> np.uint64(32)) * np.uint64(self._count) >> np.uint64(32)
        return cut.astype(np.int32), owner

    def _owner(
        self,
        raw: RawTable,
        hashes: dict[str, Hashes],
        there: dict[str, npt.NDArray[np.bool_]],
    ) -> Hashes:
        if "member" in hashes:
            other = hashes.get("claim", hashes.get("coverage"))
            if other is None:
                return hashes["member"]
            found: Hashes = np.where(there["member"], hashes["member"], other)
            return found
        if raw.claim is None or raw.name in self._layout.feeding("claim"):
            return next(iter(hashes.values()))
        if self._directory is None:
            self._directory = self._claims.directory()
        return self._directory.owner_of(hashes["claim"])

    def _keep_ragged(self, file: SourceFile, raw: RawTable, batch: Batch) -> None:
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
        self._writer(_RAGGED).write(rows, np.zeros(len(numbers), dtype=np.int32))
        self._findings.append(
            pa.Table.from_arrays(
                [
                    pa.array(["ragged-row"] * len(numbers), pa.string()),
                    pa.array([raw.main] * len(numbers), pa.string()),
                    rows.column(FILE_COLUMN),
                    rows.column(ROW_COLUMN),
                    pa.nulls(len(numbers), pa.string()),
                ],
                schema=FINDINGS_SCHEMA,
            )
        )

    def _save(self) -> None:
        findings = pa.concat_tables(self._findings)
        state = {
            "count": self._count,
            "layout": layout_state(self._layout),
            "files": [asdict(file) for file in self._extract.files],
            "rows_read": self.rows_read,
            "digests": self._digests,
        }
        GlobalKeys.save(self._work, self._members, self._claims, self._coverages)
        with pa.ipc.new_file(self._work / _FINDINGS, findings.schema) as writer:
            writer.write_table(findings)
        # Last, so that a folder that was left half-way cannot be opened.
        (self._work / _STATE).write_text(json.dumps(state), encoding="utf-8")
