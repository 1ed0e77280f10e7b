"""Read an extract once and partition its rows by member.

A row belongs to the partition of its member's hash; a row of a child table to that of its claim's
member. Where a row names no member, or an unknown claim, the hash of the claim decides, so that
orphans that belong together are in one partition, whatever their order.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from etl.errors import UsageError
from etl.jobs import ALONE, JobRunner
from etl.sources.events import Emit, FileProgress, Partitioned, ignore
from etl.sources.extract.opening import UNKNOWN_TABLE, Extract, check_rows
from etl.sources.files.source_files import SourceFile
from etl.sources.files.stored_files import disk_error
from etl.sources.partition.malformed_rows import IdHashes, KnownIds, leading_ids, place_malformed
from etl.sources.partition.partition_rows import (
    CutJob,
    FilePart,
    OwnerColumns,
    Piece,
    Refused,
    cut_up,
)
from etl.sources.partition.partitions import PartitionFacts, Partitions
from etl.sources.partition.work_folder import FolderReceiver


class Receiver(Protocol):
    """Has the jobs of a reading done, and keeps what they read: rows, and the ids in them."""

    @property
    def is_shared(self) -> bool:
        """Whether several processes read: files are cut up for them, and events are lost."""

    def read(self, jobs: Sequence[CutJob], emit: Emit) -> Iterator[Sequence[int] | Refused]:
        """Have jobs done, and keep what they read; yield the result of each, in order.

        The result is the number of rows of each of its parts: ragged ones counted, blank ones not.
        """

    def drop(self, job: CutJob) -> None:
        """Forget what a job read."""

    def finish_claims(self) -> None:
        """Take note that all jobs were read whose rows do not follow claims."""

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells: `text`, `_file`, `_row`."""

    def known(self, ids: IdHashes) -> KnownIds:
        """Return what is known of some ids; more may be in it."""

    def place(self, name: str, pieces: Sequence[Piece]) -> None:
        """Keep rows that no job has cut."""

    def close(self, facts: PartitionFacts) -> Partitions:
        """Return what was read."""


def partition_extract(
    extract: Extract,
    work: Path,
    *,
    partitions: int,
    digests: bool = False,
    runner: JobRunner = ALONE,
    emit: Emit = ignore,
) -> Partitions:
    """Read every row of an extract once and cut the rows by member, into a folder.

    The result does not depend on the runner.

    Args:
        extract: what to read.
        work: a folder of this run alone; made where it is missing. What it held is overwritten.
        partitions: how many pieces; a partition's rows are held in memory when it is loaded.
        digests: whether to keep a digest of every row as well.
        runner: where files are read, and spans of large ones where there are several processes.
        emit: called after every block of a file, or after each span that other processes read.

    Raises:
        UsageError: the number of partitions is less than 1.
        ExtractError: a file cannot be read to its end, or has another number of rows than the
            manifest states; `work` holds nothing that can be opened.
        StoreError: `work` cannot be written, or its disk is full.
    """
    if partitions < 1:
        raise UsageError("partitions must be 1 or more")
    receiver = FolderReceiver(work, partitions, runner)
    return read_rows(extract, receiver, partitions=partitions, digests=digests, emit=emit)


def read_rows(
    extract: Extract, receiver: Receiver, *, partitions: int, digests: bool, emit: Emit
) -> Partitions:
    """Read every row of an extract once and cut the rows by member.

    Args:
        extract: what to read.
        receiver: has jobs done, and keeps what they read; it has no influence on what that is.
        partitions: how many pieces.
        digests: whether to keep a digest of every row as well.
        emit: called after every block of a file, or after each span that other processes read.

    Raises:
        ExtractError: a file cannot be read to its end, or has another number of rows than the
            manifest states.
        StoreError: what was read cannot be kept.
    """
    reading = _Reading(extract, receiver, partitions, emit, digests=digests)
    try:
        there = reading.read()
    except OSError as error:
        raise disk_error(error) from None
    emit(Partitioned(sum(reading.rows_read.values()), partitions))
    return there


class _Reading:
    """One reading of an extract."""

    def __init__(
        self, extract: Extract, receiver: Receiver, count: int, emit: Emit, *, digests: bool
    ) -> None:
        self._extract, self._receiver, self._count = extract, receiver, count
        self._emit, self._digests = emit, digests
        self._numbers = itertools.count()
        self._findings: list[pa.Table] = [extract.findings]
        self._unowned: dict[str, tuple[int, ...]] = {}
        self._bytes_done: Counter[str] = Counter()
        self._rows_done: Counter[str] = Counter()
        self.rows_read: Counter[str] = Counter()

    def read(self) -> Partitions:
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
            self._receiver.finish_claims()
            self._read_tables(following, owners)
        for stored in self._extract.stored:
            parts = [file for file in files if file.stored == stored.stored]
            check_rows(stored, sum(self.rows_read[part.name] for part in parts))
        # Malformed rows come last: all ids are known by then.
        self._place_malformed()
        return self._receiver.close(self._facts())

    def _read_tables(self, files: Sequence[SourceFile], owners: Mapping[str, OwnerColumns]) -> None:
        """Read files, those of one raw table together."""
        tables: dict[str, list[SourceFile]] = {}
        for file in files:
            tables.setdefault(file.table, []).append(file)
        jobs = {
            name: [self._job(owners[name], parts) for parts in self._parts(of_table)]
            for name, of_table in tables.items()
        }
        results = self._receiver.read(
            list(itertools.chain.from_iterable(jobs.values())), self._emit
        )
        for name, of_table in tables.items():
            self._take_table(of_table, jobs[name], results)

    def _parts(self, files: Sequence[SourceFile]) -> list[tuple[FilePart, ...]]:
        if not self._receiver.is_shared:
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
        results: Iterator[Sequence[int] | Refused],
    ) -> None:
        """Take the results of the jobs of a raw table.

        Raises:
            ExtractError: one of its files cannot be read.
        """
        done, refused = list[tuple[CutJob, Sequence[int]]](), False
        for job, result in zip(jobs, results, strict=False):  # other tables' results come after
            if not isinstance(result, Refused):
                self._report_progress(job, result)
                done.append((job, result))
            elif not job.has_spans and result.error is not None:
                raise result.error
            else:
                refused = True
        if refused:
            for job, _ in done:
                self._receiver.drop(job)
            done = [self._read_whole(jobs[0].owners, files)]
        for job, rows in done:
            for part, count in zip(job.parts, rows, strict=True):
                self.rows_read[part.file.name] += count

    def _read_whole(
        self, owners: OwnerColumns, files: Sequence[SourceFile]
    ) -> tuple[CutJob, Sequence[int]]:
        """Read the files of a raw table as a whole, because a span of them was not one of rows.

        Raises:
            ExtractError: one of them cannot be read.
        """
        job = self._job(owners, tuple(map(FilePart.whole, files)))
        (result,) = self._receiver.read([job], self._emit)
        if isinstance(result, Refused):
            raise result.error or AssertionError("what was read was no span")
        for file in files:
            del self._bytes_done[file.name], self._rows_done[file.name]
        self._report_progress(job, result)
        return job, result

    def _report_progress(self, job: CutJob, counts: Sequence[int]) -> None:
        """Emit the progress of each file; events of other processes do not arrive here."""
        if not self._receiver.is_shared:
            return
        for part, rows in zip(job.parts, counts, strict=True):
            file = part.file
            self._bytes_done[file.name] += part.bytes
            self._rows_done[file.name] += rows
            done, so_far = self._bytes_done[file.name], self._rows_done[file.name]
            self._emit(FileProgress(file.name, done, file.bytes, so_far))

    def _place_malformed(self) -> None:
        """Put the readable ids of malformed rows into the partitions that they belong to."""
        extract, ragged = self._extract, self._receiver.ragged_rows()
        if not ragged.num_rows:
            return
        placed = place_malformed(
            ragged,
            extract.files,
            extract.layout,
            self._receiver.known(leading_ids(ragged, extract.files, extract.layout)),
            partitions=self._count,
            digests=self._digests,
        )
        for name, rows in placed.items():
            self._receiver.place(name, rows.pieces)
            self._unowned |= rows.unowned
            if extract.layout.raw[name].main == UNKNOWN_TABLE:
                self._findings.append(rows.findings)

    def _facts(self) -> PartitionFacts:
        return PartitionFacts(
            self._count,
            self._extract.layout,
            tuple(self._extract.files),
            self.rows_read,
            pa.concat_tables(self._findings),
            self._unowned,
            self._digests,
            self._extract.queried,
        )
