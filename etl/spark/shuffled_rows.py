"""An extract that executors read: its rows are in a frame of Spark, its ids in staging.

The driver has counts, rows of no member, malformed rows, and the ids that several members share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes
from etl.errors import ExtractError
from etl.model.canonical_tables import HEADERS
from etl.rows import arrow_stream
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import Emit
from etl.sources.files.stored_files import FolderFiles
from etl.sources.layout.model import ROLES
from etl.sources.partition.ids import GlobalKeys, OwnedIds
from etl.sources.partition.partition_rows import (
    MALFORMED_TABLE,
    OWNER_COLUMN,
    IdHashes,
    JobFailure,
    OwnerColumns,
    PartitionedRows,
    ReadJob,
)
from etl.sources.partition.partitions import PartitionFacts, Partitions, RawTables
from etl.sources.partition.reading import TABLE_JOBS, FolderReceiver
from etl.spark.id_files import IdFiles
from etl.spark.member_rows import MALFORMED_ROWS, MEMBER_ROW
from etl.spark.pickling import pickled
from etl.spark.placing import run_tasks, single_shards
from etl.spark.reading_tasks import (
    DRIVER_ROWS,
    JOB_READ,
    JOB_REFUSED,
    SEEN_IDS,
    assign_owners,
    read_jobs,
    save_ids,
)
from etl.spark.task_rows import FAILED, ROWS, TaskRow, collect_rows, task_function

_JOB_BYTES: Final = 64 << 20
_BUCKET_BYTES: Final = 64 << 20
_LEAST_BUCKETS: Final = 8
"""Ids are split by hash into one bucket for each `_BUCKET_BYTES` of the extract, at least these."""


def is_for_executors(extract: Extract) -> bool:
    """Return whether executors can read an extract.

    They cannot if rows that follow headers make coverages or members, or if rows of members make
    providers; a directory has no rows of members.
    """
    layout, raw = extract.layout, extract.layout.raw
    files = [file for file in extract.files if file.table]
    for file in files:
        owners = OwnerColumns.build(raw[file.table], layout)
        if owners.followed(file) and owners.feeds:
            return False
        if raw[file.table].id_headers and layout.provider_headers(file.table):
            return False
    return layout.model.has_members


def buckets_for(size: int) -> int:
    """Return the number of ID buckets for an extract of `size` bytes."""
    return max(_LEAST_BUCKETS, size // _BUCKET_BYTES)


def job_bytes_for(table_bytes: int) -> int:
    """Return the bytes of a job; limited, so that a large table has enough tasks for a cluster."""
    return min(_JOB_BYTES, table_bytes // TABLE_JOBS)


@dataclass(frozen=True, slots=True)
class ShuffledTables:
    """Rows on the executors; those of no member are on the driver (`RawTables`).

    Attributes:
        driver: the driver's rows: of no member, or malformed.
        count: number of partitions.
        rows: a frame of members' rows; the shard is the partition.
        ids: the ids of all partitions.
        held: the frames that Spark caches for the rows.
    """

    driver: RawTables
    count: int
    rows: Any
    ids: IdFiles
    held: Sequence[Any]

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of a raw table that are on the driver.

        Raises:
            AssertionError: the rows of a partition are on the executors.
        """
        if partition != self.count and (name, partition) != (MALFORMED_TABLE, None):
            raise AssertionError("rows of members are on the executors alone (a bug)")
        return self.driver.read(name, partition, columns)

    def release(self) -> None:
        """Release what Spark holds."""
        for frame in self.held:
            frame.unpersist()


class ShuffleReceiver:
    """The receiver that leaves rows on the executors of Spark (`reading.Receiver`).

    Args:
        session: a `pyspark.sql.SparkSession`.
        driver: stores the rows of no partition on the driver.
        partitions: number of partitions.
        ids: files that the ids are written to.
    """

    is_shared = True

    def __init__(self, session: Any, driver: FolderReceiver, partitions: int, ids: IdFiles) -> None:
        self._session, self._driver = session, driver
        self._count, self._ids = partitions, ids
        self._held: list[Any] = []
        self._driver_rows: dict[int, list[tuple[str, bytes]]] = {}
        self._discarded: set[int] = set()
        self._assigned: list[TaskRow] = []
        self._saved: list[Any] | None = None

    def job_bytes(self, table_bytes: int) -> int:
        """Return how many bytes of a raw table of some size a task reads."""
        return job_bytes_for(table_bytes)

    def read(self, jobs: Sequence[ReadJob], emit: Emit) -> Iterator[Sequence[int] | JobFailure]:
        """Run jobs; yield the number of rows of each part, in order.

        Raises:
            NotFound: an executor does not see a file.
        """
        del emit
        if not jobs:
            return
        rows = [TaskRow(0, "job", "", job.number, pickled(_resolve_folder(job))) for job in jobs]
        tasks = self._session.createDataFrame(rows, ROWS).repartition(len(jobs))
        frame = tasks.mapInArrow(task_function(read_jobs, self._ids.buckets), ROWS).persist()
        self._held.append(frame)
        task_rows = collect_rows(_filter_kinds(frame, JOB_READ, DRIVER_ROWS, JOB_REFUSED, FAILED))
        results: dict[int, Sequence[int] | JobFailure] = {}
        for row in task_rows:
            if row.kind == JOB_READ:
                results[row.number] = tuple(json.loads(bytes(row.body)))
            elif row.kind == JOB_REFUSED:
                message = bytes(row.body).decode()
                results[row.number] = JobFailure(ExtractError(message) if message else None)
                self._discarded.add(row.number)
            else:
                self._driver_rows.setdefault(row.number, []).append((row.name, bytes(row.body)))
        for job in jobs:
            yield results[job.number]

    def discard(self, job: ReadJob) -> None:
        """Ignore the rows of a job."""
        self._discarded.add(job.number)

    def finish_headers(self) -> None:
        """Do nothing: rows that follow headers meet them in a shuffle."""

    def malformed_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells."""
        for number in sorted(self._driver_rows.keys() - self._discarded):
            for name, body in self._driver_rows[number]:
                with pa.ipc.open_stream(body) as reader:
                    batches = [self._without_partition(name, batch) for batch in reader]
                self._driver.store(name, batches)
        self._driver_rows.clear()
        return self._driver.malformed_rows()

    def find_owners(self, ids: IdHashes) -> Mapping[str, OwnedIds]:
        """Return those of some ids that readable rows have, with their owners."""
        self._save_ids()
        return {table: self._ids.find_owners(table, hashes) for table, hashes in ids.items()}

    def store(self, table: str, batches: Sequence[PartitionedRows]) -> None:
        """Store malformed rows: those of members go to the executors."""
        for batch in batches:
            if OWNER_COLUMN not in batch.rows.schema.names:
                self._driver.store(table, [batch])
                continue
            for partition in np.unique(batch.partitions).tolist():
                is_in_partition = pa.array(batch.partitions == partition)
                rows = pa.Table.from_batches([batch.rows.filter(is_in_partition)])
                stream = arrow_stream(rows, compressed=False).to_pybytes()
                self._assigned.append(TaskRow(partition, MALFORMED_ROWS, table, 0, stream))

    def close(self, facts: PartitionFacts) -> Partitions:
        """Return what was read."""
        self._save_ids()
        frame, buckets = self._job_rows(), single_shards(self._ids.buckets)
        following, known_ids = _filter_kinds(frame, *HEADERS), (self._ids, self._count)
        owned = run_tasks(self._session, following, buckets, assign_owners, known_ids)
        rows = _filter_kinds(frame, MEMBER_ROW).union(owned)
        if self._assigned:
            rows = rows.union(self._session.createDataFrame(self._assigned, ROWS))
        shared: dict[str, list[Hashes]] = {role: [] for role in ROLES}
        sharers = list[Hashes]()
        for row in self._saved or ():
            ids = np.frombuffer(row.body, np.uint64)
            shared[row.name].append(ids[: row.number])
            sharers.append(ids[row.number :])
        shared_ids = {role: _unite(hashes) for role, hashes in shared.items()}
        keys = GlobalKeys({}, shared_ids, _unite(sharers))
        driver = self._driver.close(facts).raw
        tables = ShuffledTables(driver, self._count, rows, self._ids, self._held)
        return Partitions(facts, tables, keys)

    def release(self) -> None:
        """Release what Spark holds, after a failure."""
        for frame in self._held:
            frame.unpersist()

    def _without_partition(self, name: str, batch: pa.RecordBatch) -> PartitionedRows:
        partition = 0 if name == MALFORMED_TABLE else self._count
        return PartitionedRows(name, 0, batch, np.full(batch.num_rows, partition, dtype=np.int32))

    def _job_rows(self) -> Any:
        """Return the frame of the rows of all jobs that were not discarded."""
        frame = reduce(lambda left, right: left.union(right), self._held)
        discarded = ", ".join(map(str, sorted(self._discarded)))
        return frame.where(f"number NOT IN ({discarded})") if discarded else frame

    def _save_ids(self) -> None:
        """Write the ids of all jobs to staging, by bucket."""
        if self._saved is not None:
            return
        rows, buckets = _filter_kinds(self._job_rows(), SEEN_IDS), single_shards(self._ids.buckets)
        self._saved = collect_rows(run_tasks(self._session, rows, buckets, save_ids, self._ids))
        files = frozenset((row.name, row.shard) for row in self._saved)
        self._ids = replace(self._ids, existing=files)


def _resolve_folder(job: ReadJob) -> ReadJob:
    """Return a job that works from any current folder."""
    files = job.files
    if isinstance(files, FolderFiles):
        return replace(job, files=replace(files, folder=files.folder.absolute()))
    return job


def _unite(hashes: Sequence[Hashes]) -> Hashes:
    distinct: Hashes = np.unique(np.concatenate([NO_HASHES, *hashes]))
    return distinct


def _filter_kinds(rows: Any, *kinds: str) -> Any:
    return rows.where(f"kind IN ({', '.join(map(repr, kinds))})")
