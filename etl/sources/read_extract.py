"""Read an extract once and partition its rows by member.

A row belongs to the partition of its member's hash; a row of a child table to that of its claim's
member. Where a row names no member, or an unknown claim, the hash of the claim decides, so that
orphans that belong together are in one partition, whatever their order.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.errors import UsageError
from etl.jobs import ALONE, JobRunner
from etl.sources.control_totals import check_totals
from etl.sources.events import Emit, FileProgress, Partitioned, ignore
from etl.sources.extract import UNKNOWN_TABLE, Extract, SourceFile, check_rows
from etl.sources.finished_steps import Checksum, Inventory, checksum_of
from etl.sources.keys import GlobalKeys, HashSet, Owners, clear_gathered
from etl.sources.malformed_rows import Known, place_unread
from etl.sources.partition_rows import RAGGED, CutJob, FilePart, OwnerColumns, cut_up
from etl.sources.partitions import PartitionFacts, Partitions
from etl.sources.spilled_rows import (
    Index,
    SpillWriter,
    clear_spilled,
    disk_error,
    read_spilled,
    rows_path,
    save_index,
)
from etl.sources.work_folder import (
    CLAIMS,
    STATE,
    STEP,
    Refused,
    Spilled,
    drop,
    open_partitions,
    save_facts,
    spill,
)

MAX_PARTITIONS: Final = 1 << 14


def partition(
    extract: Extract,
    work: Path,
    *,
    partitions: int,
    digests: bool = False,
    runner: JobRunner = ALONE,
    emit: Emit = ignore,
) -> Partitions:
    """Read every row of an extract once and cut the rows by member.

    The result does not depend on the runner.

    Args:
        extract: what to read.
        work: a folder of this run alone; made where it is missing. What it held is overwritten.
        partitions: how many pieces; a partition's rows are held in memory when it is loaded.
        digests: whether to keep a digest of every row as well.
        runner: where files are read, and spans of large ones where there are several processes.
        emit: called after every block of a file, or after each span that other processes read.

    Raises:
        UsageError: the number of partitions is out of range.
        ExtractError: a file cannot be read to its end, or has another number of rows than the
            manifest states; `work` holds nothing that can be opened.
        StoreError: `work` cannot be written, or its disk is full.
    """
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise UsageError(f"partitions must be a number from 1 to {MAX_PARTITIONS}")
    try:
        work.mkdir(parents=True, exist_ok=True)
        Inventory(work).clear()
        (work / STATE).unlink(missing_ok=True)
        clear_spilled(work)
        clear_gathered(work)
    except OSError as error:
        raise disk_error(error) from None
    reading = _Reading(extract, work, partitions, runner, emit, digests=digests)
    try:
        reading.read()
    except OSError as error:
        raise disk_error(error) from None
    emit(Partitioned(sum(reading.rows_read.values()), partitions))
    return open_partitions(work)


class _Reading:
    """One reading of an extract."""

    def __init__(
        self,
        extract: Extract,
        work: Path,
        count: int,
        runner: JobRunner,
        emit: Emit,
        *,
        digests: bool,
    ) -> None:
        self._extract, self._work, self._count = extract, work, count
        self._runner, self._emit, self._digests = runner, emit, digests
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
        files = [file for file in self._extract.files if file.table]
        owners = {
            file.table: OwnerColumns.of(raw[file.table], self._extract.layout) for file in files
        }
        # Rows that name only a claim belong to its member, so claims are read before them.
        leading, following = list[SourceFile](), list[SourceFile]()
        for file in files:
            (following if owners[file.table].follow_claims(file) else leading).append(file)
        self._read_tables(leading, owners)
        if following:
            self._claims.directory()
            self._read_tables(following, owners)
        for stored in self._extract.stored:
            parts = [file for file in files if file.stored == stored.stored]
            check_rows(stored, sum(self.rows_read[part.name] for part in parts))
        # Malformed rows come last: all ids are known by then.
        self._place_malformed()
        self._check_totals(files)
        self._save()

    def _check_totals(self, files: Sequence[SourceFile]) -> None:
        """Compare the totals that files state with their rows.

        Raises:
            ExtractError: one differs, or is not there.
        """
        raw = self._extract.layout.raw
        if not any(raw[file.table].totals for file in files):
            return
        for name, parts in self._index.items():
            save_index(self._work, name, parts)
        check_totals(files, raw, self.rows_read, partial(read_spilled, self._work))

    def _read_tables(self, files: Sequence[SourceFile], owners: Mapping[str, OwnerColumns]) -> None:
        """Read files, those of one raw table together."""
        tables: dict[str, list[SourceFile]] = {}
        for file in files:
            tables.setdefault(file.table, []).append(file)
        jobs = {
            name: [self._job(owners[name], parts) for parts in self._parts(of_table)]
            for name, of_table in tables.items()
        }
        all_jobs = itertools.chain.from_iterable(jobs.values())
        results = self._runner.each(partial(spill, self._work), list(all_jobs), self._emit)
        for name, of_table in tables.items():
            self._take_table(of_table, jobs[name], results)

    def _parts(self, files: Sequence[SourceFile]) -> list[tuple[FilePart, ...]]:
        if self._runner.processes == 1:
            return [tuple(map(FilePart.whole, files))]
        return list(cut_up(files, self._count))

    def _job(self, owners: OwnerColumns, parts: tuple[FilePart, ...]) -> CutJob:
        number = next(self._numbers)
        place = self._extract.place
        return CutJob(number, place, self._count, self._digests, owners, parts)

    def _take_table(
        self,
        files: Sequence[SourceFile],
        jobs: Sequence[CutJob],
        results: Iterator[Spilled | Refused],
    ) -> None:
        """Take the results of the jobs of a raw table.

        Raises:
            ExtractError: one of its files cannot be read.
        """
        done, refused = list[tuple[CutJob, Spilled]](), False
        for job, result in zip(jobs, results, strict=False):  # other tables' results come after
            if isinstance(result, Spilled):
                self._report_progress(job, result)
                done.append((job, result))
            elif not job.has_spans and result.error is not None:
                raise result.error
            else:
                refused = True
        if refused:
            for job, result in done:
                drop(self._work, job, result)
            done = [self._read_whole(jobs[0].owners, files)]
        for job, result in done:
            self._take(job, result)

    def _read_whole(
        self, owners: OwnerColumns, files: Sequence[SourceFile]
    ) -> tuple[CutJob, Spilled]:
        """Read the files of a raw table as a whole, because a span of them was not one of rows.

        Raises:
            ExtractError: one of them cannot be read.
        """
        job = self._job(owners, tuple(map(FilePart.whole, files)))
        result = spill(self._work, job, self._emit)
        if isinstance(result, Refused):
            raise result.error or AssertionError("what was read was no span")
        return job, result

    def _report_progress(self, job: CutJob, result: Spilled) -> None:
        """Emit the progress of each file; events of other processes do not arrive here."""
        if self._runner.processes == 1:
            return
        for part, rows in zip(job.parts, result.rows, strict=True):
            file = part.file
            self._bytes_done[file.name] += part.bytes
            self._rows_done[file.name] += rows
            done, so_far = self._bytes_done[file.name], self._rows_done[file.name]
            self._emit(FileProgress(file.name, done, file.bytes, so_far))

    def _take(self, job: CutJob, result: Spilled) -> None:
        for part, rows in zip(job.parts, result.rows, strict=True):
            self.rows_read[part.file.name] += rows
        for name, index in result.index.items():
            self._index.setdefault(name, []).append(index)
        self._files |= result.files
        for role, runs in result.ids.items():
            self._told[role].join(runs)

    def _place_malformed(self) -> None:
        """Put the readable ids of malformed rows into the partitions that they belong to."""
        if RAGGED not in self._index:
            return
        extract = self._extract
        save_index(self._work, RAGGED, self._index[RAGGED])
        placed = place_unread(
            read_spilled(self._work, RAGGED, None),
            extract.files,
            extract.layout,
            Known(self._members.sorted(), self._claims.directory()),
            partitions=self._count,
            digests=self._digests,
        )
        for name, rows in placed.items():
            part = next(self._numbers)
            writer = SpillWriter(self._work, name, part, self._count)
            for piece in rows.pieces:
                writer.write(piece.rows, piece.cut)
            self._index[name].append(writer.close())
            self._files[rows_path(self._work, name, part).name] = writer.checksum()
            self._unowned |= rows.unowned
            if extract.layout.raw[name].main == UNKNOWN_TABLE:
                self._findings.append(rows.findings)

    def _save(self) -> None:
        facts = PartitionFacts(
            self._count,
            self._extract.layout,
            tuple(self._extract.files),
            self.rows_read,
            pa.concat_tables(self._findings),
            self._unowned,
            self._digests,
        )
        written = [save_index(self._work, name, parts) for name, parts in self._index.items()]
        written += GlobalKeys.save(self._work, self._members, self._claims, self._coverages)
        written += save_facts(self._work, facts)
        # Last, so that an unfinished folder is never opened.
        files = self._files | {path.name: checksum_of(path) for path in written}
        Inventory(self._work).add(STEP, files)
