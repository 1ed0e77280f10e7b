"""Read an extract once and partition its rows by member, into a work folder.

A row belongs to the partition of its member's hash; a row of a child table to that of its claim's
member, or to that of its prior authorization's. Where a row names no member, or an unknown header,
the hash of the header decides, so that orphans that belong together are in one partition, whatever
their order.

A job writes files of its own, in any process. Its result states where everything is, so that the
results of many jobs can be combined.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from etl.errors import ExtractError, StoreError, UsageError
from etl.jobs import ALONE, JobRunner
from etl.model.canonical_tables import HEADERS
from etl.sources.extract.delta_tables import LakeFiles
from etl.sources.extract.opening import (
    UNKNOWN_TABLE,
    Extract,
    check_rows,
    layout_state,
    restore_layout,
)
from etl.sources.files import listed_files
from etl.sources.files.listed_files import Emit, FileProgress, Partitioned, SourceFile, ignore
from etl.sources.files.stored_files import disk_error
from etl.sources.layout.model import ROLES
from etl.sources.parsing.spans import SpanMismatch
from etl.sources.partition.finished_steps import Checksum, FinishedSteps, file_checksum
from etl.sources.partition.ids import GlobalKeys, OwnedIds, OwnedIdSorter, Run, delete_id_files
from etl.sources.partition.partition_rows import (
    MALFORMED_TABLE,
    OWNER_COLUMN,
    FilePart,
    IdHashes,
    JobFailure,
    OwnerColumns,
    PartitionedRows,
    ReadJob,
    assign_malformed,
    leading_ids,
    read_job,
    split_files,
)
from etl.sources.partition.partitions import PartitionFacts, Partitions
from etl.sources.partition.row_files import (
    Index,
    RowFileWriter,
    buffer_bytes,
    delete_row_files,
    partition_sizes,
    read_row_files,
    row_file_path,
    save_index,
    stored_tables,
)

STATE: Final = "partitions.json"
STEP: Final = "read"
"""Name of the step that reads the extract into the work folder."""
_FINDINGS: Final = "findings.arrow"
TABLE_JOBS: Final = 64
"""About how many jobs read the largest raw table on one machine."""
_FIRST_ASSIGNED: Final = 1 << 30
"""Number of the first file of assigned malformed rows; jobs have lower numbers."""


@dataclass(frozen=True, slots=True)
class WorkFolderTables:
    """Rows in a work folder, read from mapped files; implements `RawTables`.

    Attributes:
        work: the folder.
    """

    work: Path

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of a raw table in one partition."""
        return read_row_files(self.work, name, partition, columns)


def open_partitions(work: Path) -> Partitions:
    """Return the partitions in a work folder. Every worker can afford it.

    Raises:
        StoreError: the folder has no extract that was read completely.
    """
    try:
        state = json.loads((work / STATE).read_text(encoding="utf-8"))
        # Another version of the program may have stored them in another form.
        files, queried = (
            msgspec.convert(state[kind], tuple[SourceFile, ...]) for kind in ("files", "queried")
        )
        keys = GlobalKeys.open(work)
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{work} holds no partitions; read the extract again") from None
    with pa.ipc.open_file(work / _FINDINGS) as reader:
        findings = reader.read_all()
    facts = PartitionFacts(
        count=state["count"],
        layout=restore_layout(state["layout"]),
        files=files,
        rows_read=MappingProxyType(state["rows_read"]),
        findings=findings,
        unowned=MappingProxyType({file: tuple(at) for file, at in state["unowned"].items()}),
        has_digests=state["digests"],
        queried=queried,
        is_delta=state["is_delta"],
    )
    return Partitions(facts, WorkFolderTables(work), keys)


def largest_member(work: Path, partitions: int) -> int:
    """Return the largest number of rows of a member, in the largest partition."""
    sizes = partition_sizes(work, partitions)
    if not sizes.any():
        return 0
    largest, owners = int(sizes.argmax()), [np.empty(0, np.uint64)]
    for name in stored_tables(work):
        rows = read_row_files(work, name, largest, (OWNER_COLUMN,))
        if OWNER_COLUMN in rows.column_names:
            owners.append(rows.column(OWNER_COLUMN).to_numpy())
    _, counts = np.unique(np.concatenate(owners), return_counts=True)
    return int(counts.max(initial=0))


def resume_partitions(work: Path) -> Partitions:
    """Return the partitions of an earlier attempt, after checking every file.

    Raises:
        StoreError: the extract was not read completely, or a file has changed.
    """
    if FinishedSteps(work).find(STEP) is None:
        raise StoreError(f"{work} holds no partitions that are whole; read the extract again")
    return open_partitions(work)


def save_facts(work: Path, facts: PartitionFacts) -> tuple[Path, ...]:
    """Write the facts of an extract; return the files."""
    state = {
        "count": facts.count,
        "layout": layout_state(facts.layout),
        "files": [asdict(file) for file in facts.files],
        "queried": [asdict(file) for file in facts.queried],
        "rows_read": dict(facts.rows_read),
        "unowned": dict(facts.unowned),
        "digests": facts.has_digests,
        "is_delta": facts.is_delta,
    }
    with pa.ipc.new_file(work / _FINDINGS, facts.findings.schema) as writer:
        writer.write_table(facts.findings)
    (work / STATE).write_text(json.dumps(state), encoding="utf-8")
    return work / _FINDINGS, work / STATE


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files that a job wrote into the work folder.

    Attributes:
        rows: number of rows of each part, with malformed ones but without blank ones.
        written: raw table or `MALFORMED_TABLE` -> index, and the file with its checksum.
        ids: role -> sorted runs of the ids in the rows.
    """

    rows: tuple[int, ...]
    written: Mapping[str, tuple[Index, Mapping[str, Checksum]]]
    ids: Mapping[str, tuple[Run, ...]]


def write_job(work: Path, job: ReadJob, emit: Emit) -> JobFiles | JobFailure:
    """Write the rows of a job into the work folder.

    Returns:
        `JobFailure` if a part cannot be read; then the job leaves no file in the folder.

    Raises:
        StoreError: the folder cannot be written, or its disk is full.
        OSError: as for StoreError.
    """
    rows, writers = [0] * len(job.parts), dict[str, RowFileWriter]()
    ids = {role: OwnedIdSorter(work, f"{role}-{job.number:05d}") for role in ROLES}
    try:
        with ExitStack() as on_failure:

            def get_writer(name: str) -> RowFileWriter:
                if name not in writers:
                    writers[name] = RowFileWriter(work, name, job.number, job.partitions)
                    on_failure.callback(writers[name].abandon)
                return writers[name]

            for owners in ids.values():
                on_failure.callback(owners.remove)
            get_writer(job.owners.table)  # a table without rows has an index too
            for batch in read_job(job, partial(OwnedIds.open, work), emit):
                rows[batch.part] += batch.rows.num_rows
                get_writer(batch.table).write(batch.rows, batch.partitions)
                for role, pairs in batch.ids.items():
                    ids[role].add(*pairs)
            written = {name: writer.close() for name, writer in writers.items()}
            runs = {role: ids[role].runs() for role in sorted(job.owners.feeds)}
            on_failure.pop_all()
    except SpanMismatch:
        return JobFailure(None)
    except ExtractError as error:
        return JobFailure(error)
    return JobFiles(tuple(rows), written, runs)


class FolderReceiver:
    """The receiver that writes into a work folder.

    Args:
        work: a folder of this run alone; created if missing. Its content is overwritten.
        partitions: number of partitions.
        runner: runs the jobs.

    Raises:
        StoreError: the folder cannot be written.
    """

    def __init__(self, work: Path, partitions: int, runner: JobRunner = ALONE) -> None:
        try:
            work.mkdir(parents=True, exist_ok=True)
            FinishedSteps(work).clear()
            (work / STATE).unlink(missing_ok=True)
            delete_row_files(work)
            delete_id_files(work)
        except OSError as error:
            raise disk_error(error) from None
        self._work, self._count, self._runner = work, partitions, runner
        self._ids = {role: OwnedIdSorter(work, role) for role in ROLES}
        self._job_files: dict[int, JobFiles] = {}
        self._joined: set[int] = set()
        self._assigned = itertools.count(_FIRST_ASSIGNED)

    @property
    def is_shared(self) -> bool:
        """Whether several processes read."""
        return self._runner.processes > 1

    def job_bytes(self, table_bytes: int) -> int:
        """Return how many bytes a job reads: enough to fill its files, and at most 64 jobs."""
        return max(2 * buffer_bytes(self._count), table_bytes // TABLE_JOBS)

    def read(self, jobs: Sequence[ReadJob], emit: Emit) -> Iterator[Sequence[int] | JobFailure]:
        """Run jobs; yield the number of rows of each part, in order."""
        results = self._runner.run_each(partial(write_job, self._work), jobs, emit)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, JobFiles):
                self._job_files[job.number] = result
                yield result.rows
            else:
                yield result

    def discard(self, job: ReadJob) -> None:
        """Delete the files that a job wrote into the work folder."""
        job_files = self._job_files.pop(job.number)
        for name in job_files.written:
            row_file_path(self._work, name, job.number).unlink()
        for run in chain.from_iterable(job_files.ids.values()):
            run.path.unlink(missing_ok=True)

    def finish_headers(self) -> None:
        """Write the owner of each header, for the jobs whose rows follow headers."""
        self._join()
        for header in HEADERS:
            self._ids[header].directory()

    def malformed_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells."""
        written = [job_files.written for job_files in self._job_files.values()]
        indexes = [tables[MALFORMED_TABLE][0] for tables in written if MALFORMED_TABLE in tables]
        if indexes:
            save_index(self._work, MALFORMED_TABLE, indexes)
        return read_row_files(self._work, MALFORMED_TABLE, None)

    def find_owners(self, ids: IdHashes) -> Mapping[str, OwnedIds]:
        """Return all ids with their owners."""
        self._join()
        return {role: self._ids[role].directory() for role in ids}

    def store(self, table: str, batches: Sequence[PartitionedRows]) -> None:
        """Write malformed rows with their partitions."""
        number = next(self._assigned)
        writer = RowFileWriter(self._work, table, number, self._count)
        for batch in batches:
            writer.write(batch.rows, batch.partitions)
        self._job_files[number] = JobFiles((), {table: writer.close()}, {})

    def close(self, facts: PartitionFacts) -> Partitions:
        """Finish the folder; an unfinished one is never opened."""
        self._join()
        indexes: dict[str, list[Index]] = {}
        files: dict[str, Checksum] = {}
        for job_files in self._job_files.values():
            for name, (index, checksums) in job_files.written.items():
                indexes.setdefault(name, []).append(index)
                files |= checksums
        written = [save_index(self._work, name, parts) for name, parts in indexes.items()]
        written += GlobalKeys.save(self._work, self._ids)
        written += save_facts(self._work, facts)
        files |= {path.name: file_checksum(path) for path in written}
        FinishedSteps(self._work).add(STEP, files)
        return open_partitions(self._work)

    def _join(self) -> None:
        """Add the ids of the jobs that were read since the last call."""
        for number in self._job_files.keys() - self._joined:
            for role, runs in self._job_files[number].ids.items():
                self._ids[role].join(runs)
            self._joined.add(number)


class Receiver(Protocol):
    """Runs the jobs that read an extract, and stores their rows and the ids in them."""

    @property
    def is_shared(self) -> bool:
        """Whether several processes read: then files are split, and jobs emit no events."""

    def job_bytes(self, table_bytes: int) -> int:
        """Return how many bytes of a raw table of some size a job reads."""

    def read(self, jobs: Sequence[ReadJob], emit: Emit) -> Iterator[Sequence[int] | JobFailure]:
        """Run jobs and store their rows; yield the result of each, in order.

        The result is the number of rows of each part, with malformed ones but without blank ones.
        """

    def discard(self, job: ReadJob) -> None:
        """Delete the rows of a job."""

    def finish_headers(self) -> None:
        """Prepare for jobs whose rows follow headers: all headers were read."""

    def malformed_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells: `text`, `_file`, `_row`."""

    def find_owners(self, ids: IdHashes) -> Mapping[str, OwnedIds]:
        """Return ids in readable rows with their owners, by role: at least those asked for."""

    def store(self, table: str, batches: Sequence[PartitionedRows]) -> None:
        """Store malformed rows with their partitions."""

    def close(self, facts: PartitionFacts) -> Partitions:
        """Return the partitioned extract."""


def partition_extract(
    extract: Extract,
    work: Path,
    *,
    partitions: int,
    digests: bool = False,
    runner: JobRunner = ALONE,
    emit: Emit = ignore,
) -> Partitions:
    """Read every row of an extract once and partition the rows by member, into a folder.

    The result does not depend on the runner.

    Args:
        extract: what to read.
        work: a folder of this run alone; created if missing. Its content is overwritten.
        partitions: number of partitions; a loaded partition is in memory as a whole.
        digests: whether to store a digest of every row.
        runner: runs the jobs; several processes read spans of large files.
        emit: called after every block of a file, or after each span that other processes read.

    Raises:
        UsageError: the number of partitions is less than 1.
        ExtractError: a file cannot be read completely, or the manifest states another number of
            rows; then `work` cannot be opened.
        StoreError: `work` cannot be written, or its disk is full.
    """
    if partitions < 1:
        raise UsageError("partitions must be 1 or more")
    receiver = FolderReceiver(work, partitions, runner)
    return read_rows(extract, receiver, partitions=partitions, digests=digests, emit=emit)


def read_rows(
    extract: Extract, receiver: Receiver, *, partitions: int, digests: bool, emit: Emit
) -> Partitions:
    """Read every row of an extract once and partition the rows by member.

    Args:
        extract: what to read.
        receiver: runs the jobs and stores their rows; does not change the result.
        partitions: number of partitions.
        digests: whether to store a digest of every row.
        emit: called after every block of a file, or after each span that other processes read.

    Raises:
        ExtractError: a file cannot be read completely, or the manifest states another number of
            rows.
        StoreError: the rows cannot be stored.
    """
    reading = _Reading(extract, receiver, partitions, emit, digests=digests)
    try:
        partitioned = reading.read()
    except OSError as error:
        raise disk_error(error) from None
    emit(Partitioned(sum(reading.rows_read.values()), partitions))
    return partitioned


class _Reading:
    """Reads one extract."""

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
            file.table: OwnerColumns.build(raw[file.table], self._extract.layout) for file in files
        }
        # Rows that name only a header belong to its member, so headers are read before them.
        leading, following = list[SourceFile](), list[SourceFile]()
        for file in files:
            (following if owners[file.table].followed(file) else leading).append(file)
        self._read_tables(leading, owners)
        if following:
            self._receiver.finish_headers()
            self._read_tables(following, owners)
        for stored in self._extract.stored:
            parts = [file for file in files if file.stored == stored.stored]
            check_rows(stored, sum(self.rows_read[part.name] for part in parts))
        # Malformed rows come last: all ids are known by then.
        self._assign_malformed()
        return self._receiver.close(self._facts())

    def _read_tables(self, files: Sequence[SourceFile], owners: Mapping[str, OwnerColumns]) -> None:
        """Read files, those of one raw table together."""
        tables: dict[str, list[SourceFile]] = {}
        for file in files:
            tables.setdefault(file.table, []).append(file)
        jobs = {
            name: [self._make_job(owners[name], parts) for parts in self._split(table_files)]
            for name, table_files in tables.items()
        }
        results = self._receiver.read(list(chain.from_iterable(jobs.values())), self._emit)
        for name, table_files in tables.items():
            self._finish_table(table_files, jobs[name], results)

    def _split(self, files: Sequence[SourceFile]) -> list[tuple[FilePart, ...]]:
        if not self._receiver.is_shared:
            return [tuple(map(FilePart.whole_file, files))]
        job_bytes = self._receiver.job_bytes(sum(file.bytes for file in files))
        return list(split_files(files, max(listed_files.SPLIT_BYTES, job_bytes)))

    def _make_job(self, owners: OwnerColumns, parts: tuple[FilePart, ...]) -> ReadJob:
        number = next(self._numbers)
        extract_files = self._extract.location
        if isinstance(extract_files, LakeFiles):
            extract_files = extract_files.only({part.file.stored for part in parts})
        return ReadJob(number, extract_files, self._count, self._digests, owners, parts)

    def _finish_table(
        self,
        files: Sequence[SourceFile],
        jobs: Sequence[ReadJob],
        results: Iterator[Sequence[int] | JobFailure],
    ) -> None:
        """Store the row counts of a raw table's jobs; read it again as a whole if a span failed.

        Raises:
            ExtractError: one of its files cannot be read.
        """
        completed, is_refused = list[tuple[ReadJob, Sequence[int]]](), False
        for job, result in zip(jobs, results, strict=False):  # other tables' results come after
            if not isinstance(result, JobFailure):
                self._report_progress(job, result)
                completed.append((job, result))
            elif not job.has_spans and result.error is not None:
                raise result.error
            else:
                is_refused = True
        if is_refused:  # of one of its spans: read the files as a whole
            for job, _ in completed:
                self._receiver.discard(job)
            completed = [self._read_whole(jobs[0].owners, files)]
        for job, rows in completed:
            for part, count in zip(job.parts, rows, strict=True):
                self.rows_read[part.file.name] += count

    def _read_whole(
        self, owners: OwnerColumns, files: Sequence[SourceFile]
    ) -> tuple[ReadJob, Sequence[int]]:
        """Read the files of a raw table as a whole, because a span did not fit the rows.

        Raises:
            ExtractError: one of them cannot be read.
        """
        job = self._make_job(owners, tuple(map(FilePart.whole_file, files)))
        (result,) = self._receiver.read([job], self._emit)
        if isinstance(result, JobFailure):
            raise result.error or AssertionError("what was read was no span")
        for file in files:
            del self._bytes_done[file.name], self._rows_done[file.name]
        self._report_progress(job, result)
        return job, result

    def _report_progress(self, job: ReadJob, counts: Sequence[int]) -> None:
        """Emit the progress of each file; events of other processes do not arrive here."""
        if not self._receiver.is_shared:
            return
        for part, rows in zip(job.parts, counts, strict=True):
            file = part.file
            self._bytes_done[file.name] += part.bytes
            self._rows_done[file.name] += rows
            bytes_done, rows_done = self._bytes_done[file.name], self._rows_done[file.name]
            self._emit(FileProgress(file.name, bytes_done, file.bytes, rows_done))

    def _assign_malformed(self) -> None:
        """Put the readable ids of malformed rows into the partitions of their owners."""
        extract, malformed = self._extract, self._receiver.malformed_rows()
        if not malformed.num_rows:
            return
        assigned = assign_malformed(
            malformed,
            extract.files,
            extract.layout,
            self._receiver.find_owners(leading_ids(malformed, extract.files, extract.layout)),
            partitions=self._count,
            digests=self._digests,
        )
        for name, rows in assigned.items():
            self._receiver.store(name, rows.batches)
            self._unowned |= rows.unowned
            if extract.layout.raw[name].main_table == UNKNOWN_TABLE:
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
            self._extract.kind == "delta",
        )
