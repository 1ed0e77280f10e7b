"""Reading an extract once, cutting its rows by member, and loading one partition at a time.

What is spilled is the source's rows as they were. They become canonical rows when a partition is
loaded, which many processes can do at once, and which leaves the originals for the quarantine.

A row belongs to the partition of its member's hash; a row of a child table to that of its claim's
member. Where a row names no member, or a claim that is nowhere, the hash of the claim decides, so
that orphans that belong together meet in one partition, whatever their order.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.errors import StoreError, UsageError
from etl.model.canonical_tables import DIRECTORY_TABLES, FILE_COLUMN, ROW_COLUMN
from etl.rows import LOOSE_SCHEMA, PLACE_FIELDS, Unread
from etl.sources.convert_rows import column_values, convert
from etl.sources.events import Emit, FileProgress, Partitioned, ignore
from etl.sources.extract import UNKNOWN_TABLE, Extract, SourceFile, check_rows, spill_names
from etl.sources.extract_state import file_from, layout_from, layout_state
from etl.sources.inventory import Checksum, Inventory, checksum_of
from etl.sources.keys import GlobalKeys, HashSet, Owners, clear_gathered
from etl.sources.layout import Layout
from etl.sources.malformed_rows import Known, loose_lines, place_unread, readable
from etl.sources.partition_rows import (
    CLAIMS,
    HIGH_COLUMN,
    LOW_COLUMN,
    OWNER_COLUMN,
    RAGGED,
    Cut,
    CutJob,
    FilePart,
    Refused,
    Whose,
    cut,
    cut_up,
    drop,
)
from etl.sources.spill import (
    Index,
    clear_spilled,
    disk_error,
    read_spilled,
    save_index,
)
from etl.sources.spreading import ALONE, Spread

MARKS: Final = (FILE_COLUMN, ROW_COLUMN, OWNER_COLUMN, LOW_COLUMN, HIGH_COLUMN)
_STATE: Final = "partitions.json"
_FINDINGS: Final = "findings.arrow"
_STEP: Final = "read"
"""The step of the work folder's list that names what reading wrote."""
MAX_PARTITIONS: Final = 1 << 14
_MOST_LOOSE: Final = 1000
"""Rows that each partition's claims are compared with, at most: past that a file is broken."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The canonical rows of one partition, or of the directory.

    Attributes:
        tables: every canonical table by name, empty ones included; schema
            `etl.rows.table_schema`, ordered by key (numbers as numbers), then by place.
        findings: what was noticed while they were made; `etl.rows.FINDINGS_SCHEMA`.
        files: names of the extract's files; `_file` is an index into them.
        rows: raw table -> how many of its rows these were made of.
        unread: what is known of rows that could not be read, or not be made.
    """

    tables: dict[str, pa.Table]
    findings: pa.Table
    files: tuple[str, ...]
    rows: Mapping[str, int]
    unread: Unread


@dataclass(frozen=True)
class Partitions:
    """An extract that was read and cut.

    Attributes:
        work: the folder where its rows are.
        count: how many partitions there are, numbered from 0.
        layout: what the rows mean.
        files: the extract's files.
        keys: ids of all partitions.
        rows_read: file name -> rows read from it: ragged ones counted, blank ones not.
        findings: those of no partition: unknown files and columns.
        unowned: file name -> numbers of rows that cannot be read and name nothing that they could
            belong to; files without such rows are left out.
        has_digests: whether rows were spilled with their digests.
    """

    work: Path
    count: int
    layout: Layout
    files: tuple[SourceFile, ...]
    keys: GlobalKeys
    rows_read: Mapping[str, int]
    findings: pa.Table
    unowned: Mapping[str, tuple[int, ...]]
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
            unowned=MappingProxyType({file: tuple(at) for file, at in state["unowned"].items()}),
            has_digests=state["digests"],
        )

    @classmethod
    def resume(cls, work: Path) -> Partitions:
        """Return what an earlier attempt left in a work folder, once all of it was looked at.

        Raises:
            StoreError: the extract was not read to its end, or a file is no longer what it was.
        """
        if Inventory(work).step(_STEP) is None:
            raise StoreError(f"{work} holds no partitions that are whole; read the extract again")
        return cls.open(work)

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
        for name in self.layout.sources(directory=False):
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
            for name in self.layout.sources(directory=False)
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
        raw = {}
        for name in self.layout.sources(directory=directory):
            parts = [_of(read_spilled(self.work, name, index), owners) for index in indexes]
            rows = pa.concat_tables(parts, promote_options="default")
            if len(indexes) > 1:
                rows = rows.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])
            raw[name] = rows
        made = convert(self.layout, raw, directory=directory)
        loose = LOOSE_SCHEMA.empty_table() if directory else self._loose
        read = {name: rows.num_rows for name, rows in raw.items()}
        return Loaded(made.tables, made.findings, self.names, read, Unread(made.bare, loose))

    @cached_property
    def _loose(self) -> pa.Table:
        """Claim lines that cannot be read and name no claim; none where there are very many."""
        if not 0 < sum(len(rows) for rows in self.unowned.values()) <= _MOST_LOOSE:
            return LOOSE_SCHEMA.empty_table()
        return loose_lines(self.ragged_rows(), self.files, self.layout, self.unowned)

    def values(self, column: str) -> Iterator[Any]:
        """Yield the cells of one canonical column in every table that has it, piece by piece.

        `string` arrays, trimmed, null where absent. Of files that do not feed the column nothing
        is read.
        """
        feeds = [spec for spec in self.layout.tables if column in spec.columns]
        for index in range(self.count + 1 if feeds else 0):
            directory = index == self.count
            here = [spec for spec in feeds if (spec.table in DIRECTORY_TABLES) == directory]
            names = {spec.source for spec in (self.layout.tables if here else ())}
            raw = {name: read_spilled(self.work, name, index) for name in sorted(names)}
            yield from column_values(here, raw, column)

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
                spilled[file.table] = readable(read_spilled(self.work, file.table, index))
            table = spilled[file.table]
            at = np.flatnonzero(table.column(FILE_COLUMN).to_numpy() == file.index)
            if len(at):
                found[file.name] = _as_written(table.take(pa.array(at)), file)
        return found

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells: `text` as it was, `_file`, `_row`."""
        return read_spilled(self.work, RAGGED, None)

    def check_all_there(self, loaded: Mapping[str, int]) -> None:
        """Check that partitions and directory together had every row that was read.

        Args:
            loaded: raw table -> rows that there were in all of them.

        Raises:
            StoreError: there were others.
        """
        expected: Counter[str] = Counter()
        used = {*self.layout.sources(directory=False), *self.layout.sources(directory=True)}
        for file in self.files:
            if file.table in used:
                expected[file.table] += self.rows_read[file.name]
        for name, rows in expected.items():
            if loaded.get(name, 0) != rows:
                raise StoreError(
                    f"of {name} {rows} rows were read, and {loaded.get(name, 0)} were there to "
                    f"work on: the work folder was changed; delete {self.work} and run again"
                )


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
    spread: Spread = ALONE,
    emit: Emit = ignore,
) -> Partitions:
    """Read every row of an extract once and cut the rows by member.

    What is read is the same, wherever it is read.

    Args:
        extract: what to read.
        work: a folder of this run alone; made where it is missing. What it held is overwritten.
        partitions: how many pieces; a partition's rows are held in memory when it is loaded.
        digests: whether to keep a digest of every row as well.
        spread: where files are read, and spans of large ones where there are several processes.
        emit: called after every block of a file, or after each span that other processes read.

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
        Inventory(work).clear()
        (work / _STATE).unlink(missing_ok=True)
        clear_spilled(work)
        clear_gathered(work)
    except OSError as error:
        raise disk_error(error) from None
    reading = _Reading(extract, work, partitions, spread, emit, digests=digests)
    try:
        reading.read()
    except OSError as error:
        raise disk_error(error) from None
    emit(Partitioned(sum(reading.rows_read.values()), partitions))
    return Partitions.open(work)


class _Reading:
    """One reading of an extract."""

    def __init__(
        self,
        extract: Extract,
        work: Path,
        count: int,
        spread: Spread,
        emit: Emit,
        *,
        digests: bool,
    ) -> None:
        self._extract, self._work, self._count = extract, work, count
        self._spread, self._emit, self._digests = spread, emit, digests
        self._numbers = itertools.count()
        # Names of sets of `GlobalKeys`.
        self._members = HashSet(work, "members")
        self._claims, self._coverages = Owners(work, CLAIMS), Owners(work, "coverages")
        self._told: Mapping[str, HashSet | Owners] = {
            "member": self._members,
            "claim": self._claims,
            "coverage": self._coverages,
        }
        self._findings: list[pa.Table] = [extract.findings]
        self._unowned: dict[str, tuple[int, ...]] = {}
        self._index: dict[str, list[Index]] = {}
        self._files: dict[str, Checksum] = {}
        self._bytes_done: Counter[str] = Counter()
        self._rows_done: Counter[str] = Counter()
        self.rows_read: Counter[str] = Counter()

    def read(self) -> None:
        raw = self._extract.layout.raw
        read = [file for file in self._extract.files if file.table]
        whose = {file.table: Whose.of(raw[file.table], self._extract.layout) for file in read}
        first, then = list[SourceFile](), list[SourceFile]()
        for file in read:
            (then if whose[file.table].follow_claims(file) else first).append(file)
        self._read_tables(first, whose)
        if then:
            self._claims.directory()  # where those who follow it find it
            self._read_tables(then, whose)
        self._save()

    def _read_tables(self, files: Sequence[SourceFile], whose: Mapping[str, Whose]) -> None:
        """Read files, those of one raw table together."""
        tables: dict[str, list[SourceFile]] = {}
        for file in files:
            tables.setdefault(file.table, []).append(file)
        jobs = {
            name: [self._job(whose[name], parts) for parts in self._parts(of_table)]
            for name, of_table in tables.items()
        }
        every = [job for of_table in jobs.values() for job in of_table]
        coming = self._spread.each(cut, every, self._emit)
        for name, of_table in tables.items():
            self._take_table(of_table, jobs[name], coming)

    def _parts(self, files: Sequence[SourceFile]) -> list[tuple[FilePart, ...]]:
        if self._spread.processes == 1:
            return [tuple(map(FilePart.whole, files))]
        return list(cut_up(files, self._count))

    def _job(self, whose: Whose, parts: tuple[FilePart, ...]) -> CutJob:
        number = next(self._numbers)
        folder = self._extract.folder
        return CutJob(number, folder, self._work, self._count, self._digests, whose, parts)

    def _take_table(
        self,
        files: Sequence[SourceFile],
        jobs: Sequence[CutJob],
        coming: Iterator[Cut | Refused],
    ) -> None:
        """Take what came of the jobs of a raw table.

        Raises:
            ExtractError: one of its files cannot be read, or has not the rows that it should.
        """
        done, refused = list[tuple[CutJob, Cut]](), False
        for job, one in zip(jobs, coming, strict=False):  # those of other tables come after them
            if isinstance(one, Cut):
                self._tell(job, one)
                done.append((job, one))
            elif not job.has_spans and one.error is not None:
                raise one.error
            else:
                refused = True
        if refused:
            for job, one in done:
                drop(job, one)
            done = [self._read_whole(jobs[0].whose, files)]
        for job, one in done:
            self._take(job, one)
        for file in files:
            check_rows(file, self.rows_read[file.name])

    def _read_whole(self, whose: Whose, files: Sequence[SourceFile]) -> tuple[CutJob, Cut]:
        """Read the files of a raw table from end to end, for some span of them is none.

        Raises:
            ExtractError: one of them cannot be read.
        """
        job = self._job(whose, tuple(map(FilePart.whole, files)))
        one = cut(job, self._emit)
        if isinstance(one, Refused):
            raise one.error or AssertionError("what was read was no span")
        return job, one

    def _tell(self, job: CutJob, one: Cut) -> None:
        """Tell how far each file was read: what happens in other processes is not heard here."""
        if self._spread.processes == 1:
            return
        for part, rows in zip(job.parts, one.rows, strict=True):
            file = part.file
            self._bytes_done[file.name] += part.bytes
            self._rows_done[file.name] += rows
            done, so_far = self._bytes_done[file.name], self._rows_done[file.name]
            self._emit(FileProgress(file.name, done, file.bytes, so_far))

    def _take(self, job: CutJob, one: Cut) -> None:
        for part, rows in zip(job.parts, one.rows, strict=True):
            self.rows_read[part.file.name] += rows
        for name, index in one.index.items():
            self._index.setdefault(name, []).append(index)
        self._files |= one.files
        for role, runs in one.ids.items():
            self._told[role].join(runs)

    def _place_unread(self) -> None:
        """Put what can be told of rows that cannot be read beside the readable ones."""
        if RAGGED not in self._index:
            return
        extract = self._extract
        save_index(self._work, RAGGED, self._index[RAGGED])
        placed = place_unread(
            read_spilled(self._work, RAGGED, None),
            extract.files,
            extract.layout,
            Known(self._members.sorted(), self._claims.directory()),
            self._work,
            parts=self._numbers,
            partitions=self._count,
            digests=self._digests,
        )
        for name, one in placed.items():
            self._index[name].append(one.index)
            self._files |= one.files
            self._unowned |= one.unowned
            if extract.layout.raw[name].main == UNKNOWN_TABLE:
                self._findings.append(one.findings)

    def _save(self) -> None:
        extract = self._extract
        self._place_unread()
        findings = pa.concat_tables(self._findings)
        state = {
            "count": self._count,
            "layout": layout_state(extract.layout),
            "files": [asdict(file) for file in extract.files],
            "rows_read": self.rows_read,
            "unowned": self._unowned,
            "digests": self._digests,
        }
        written = [save_index(self._work, name, parts) for name, parts in self._index.items()]
        written += GlobalKeys.save(self._work, self._members, self._claims, self._coverages)
        written += (self._work / _FINDINGS, self._work / _STATE)
        with pa.ipc.new_file(self._work / _FINDINGS, findings.schema) as writer:
            writer.write_table(findings)
        (self._work / _STATE).write_text(json.dumps(state), encoding="utf-8")
        # Last, so that nothing of a folder that was left half-way counts.
        files = self._files | {path.name: checksum_of(path) for path in written}
        Inventory(self._work).add(_STEP, files)
