"""An extract that executors read: its rows in a frame of Spark, its ids in staging.

Here are counts, rows of no member, malformed rows, and the ids that several members share.
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
    OWNER_COLUMN,
    RAGGED,
    CutJob,
    IdHashes,
    OwnerColumns,
    PartitionedRows,
    Refused,
)
from etl.sources.partition.partitions import PartitionFacts, Partitions, RawTables
from etl.sources.partition.reading import TABLE_JOBS, FolderReceiver
from etl.spark.id_files import IdFiles
from etl.spark.member_rows import OF_MEMBER, PLACED
from etl.spark.pickling import pickled
from etl.spark.placing import by_task, each_place
from etl.spark.reading_tasks import (
    HERE,
    REFUSED,
    SEEN,
    TAKEN,
    give_owners,
    read_jobs,
    save_ids,
)
from etl.spark.task_rows import FAILED, ROWS, TaskRow, collected, task_function

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
        owners = OwnerColumns.of(raw[file.table], layout)
        if owners.followed(file) and owners.feeds:
            return False
        if raw[file.table].ids and layout.provider_headers(file.table):
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
        here: the driver's rows: of no member, or malformed.
        count: number of partitions.
        rows: `ROWS` of members: the place is the partition.
        ids: of all partitions.
        held: what Spark holds for the rows.
    """

    here: RawTables
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
        if partition != self.count and (name, partition) != (RAGGED, None):
            raise AssertionError("rows of members are on the executors alone (a bug)")
        return self.here.read(name, partition, columns)

    def release(self) -> None:
        """Let Spark forget what it holds."""
        for frame in self.held:
            frame.unpersist()


class ShuffleReceiver:
    """The receiver of a reading that leaves rows with Spark (`reading.Receiver`).

    Args:
        session: a `pyspark.sql.SparkSession`.
        here: keeps the rows of no partition on the driver.
        partitions: number of partitions.
        ids: files that the ids are written to.
    """

    is_shared = True

    def __init__(self, session: Any, here: FolderReceiver, partitions: int, ids: IdFiles) -> None:
        self._session, self._here = session, here
        self._count, self._ids = partitions, ids
        self._held: list[Any] = []
        self._driver_rows: dict[int, list[tuple[str, bytes]]] = {}
        self._dropped: set[int] = set()
        self._placed: list[TaskRow] = []
        self._saved: list[Any] | None = None

    def job_bytes(self, table_bytes: int) -> int:
        """Return how many bytes a task should read of a raw table with so many."""
        return job_bytes_for(table_bytes)

    def read(self, jobs: Sequence[CutJob], emit: Emit) -> Iterator[Sequence[int] | Refused]:
        """Have jobs done; yield the number of rows of each part, in order.

        Raises:
            NotFound: an executor does not see a file.
        """
        del emit
        if not jobs:
            return
        rows = [TaskRow(0, "job", "", job.number, pickled(_resolve_folder(job))) for job in jobs]
        tasks = self._session.createDataFrame(rows, ROWS).repartition(len(jobs))
        pieces = tasks.mapInArrow(task_function(read_jobs, self._ids.buckets), ROWS).persist()
        self._held.append(pieces)
        task_rows = collected(_filter_kinds(pieces, TAKEN, HERE, REFUSED, FAILED))
        results: dict[int, Sequence[int] | Refused] = {}
        for row in task_rows:
            if row.kind == TAKEN:
                results[row.number] = tuple(json.loads(bytes(row.body)))
            elif row.kind == REFUSED:
                message = bytes(row.body).decode()
                results[row.number] = Refused(ExtractError(message) if message else None)
                self._dropped.add(row.number)
            else:
                self._driver_rows.setdefault(row.number, []).append((row.name, bytes(row.body)))
        for job in jobs:
            yield results[job.number]

    def drop(self, job: CutJob) -> None:
        """Forget what a job read."""
        self._dropped.add(job.number)

    def finish_headers(self) -> None:
        """Do nothing: rows that follow headers meet them in a shuffle."""

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells."""
        for number in sorted(self._driver_rows.keys() - self._dropped):
            for name, body in self._driver_rows[number]:
                with pa.ipc.open_stream(body) as reader:
                    pieces = [self._without_partition(name, batch) for batch in reader]
                self._here.place(name, pieces)
        self._driver_rows.clear()
        return self._here.ragged_rows()

    def known(self, ids: IdHashes) -> Mapping[str, OwnedIds]:
        """Return the existing ones of some ids."""
        self._save_ids()
        return {table: self._ids.known(table, asked) for table, asked in ids.items()}

    def place(self, name: str, pieces: Sequence[PartitionedRows]) -> None:
        """Keep malformed rows: those of members go to the executors."""
        for piece in pieces:
            if OWNER_COLUMN not in piece.rows.schema.names:
                self._here.place(name, [piece])
                continue
            for place in np.unique(piece.partitions).tolist():
                is_here = pa.array(piece.partitions == place)
                rows = pa.Table.from_batches([piece.rows.filter(is_here)])
                stream = arrow_stream(rows, compressed=False).to_pybytes()
                self._placed.append(TaskRow(place, PLACED, name, 0, stream))

    def close(self, facts: PartitionFacts) -> Partitions:
        """Return what was read."""
        self._save_ids()
        pieces, buckets = self._pieces(), each_place(self._ids.buckets)
        following, known = _filter_kinds(pieces, *HEADERS), (self._ids, self._count)
        owned = by_task(self._session, following, buckets, give_owners, known)
        rows = _filter_kinds(pieces, OF_MEMBER).union(owned)
        if self._placed:
            rows = rows.union(self._session.createDataFrame(self._placed, ROWS))
        shared: dict[str, list[Hashes]] = {role: [] for role in ROLES}
        sharers = list[Hashes]()
        for row in self._saved or ():
            ids = np.frombuffer(row.body, np.uint64)
            shared[row.name].append(ids[: row.number])
            sharers.append(ids[row.number :])
        shared_ids = {role: _unite(hashes) for role, hashes in shared.items()}
        keys = GlobalKeys({}, shared_ids, _unite(sharers))
        here = self._here.close(facts).raw
        tables = ShuffledTables(here, self._count, rows, self._ids, self._held)
        return Partitions(facts, tables, keys)

    def release(self) -> None:
        """Let Spark forget what it holds: the reading failed."""
        for frame in self._held:
            frame.unpersist()

    def _without_partition(self, name: str, batch: pa.RecordBatch) -> PartitionedRows:
        place = 0 if name == RAGGED else self._count
        return PartitionedRows(name, 0, batch, np.full(batch.num_rows, place, dtype=np.int32))

    def _pieces(self) -> Any:
        """Return the frame of the rows of all jobs that were not dropped."""
        pieces = reduce(lambda left, right: left.union(right), self._held)
        dropped = ", ".join(map(str, sorted(self._dropped)))
        return pieces.where(f"number NOT IN ({dropped})") if dropped else pieces

    def _save_ids(self) -> None:
        """Have the ids of all jobs written to staging, by bucket."""
        if self._saved is not None:
            return
        seen, buckets = _filter_kinds(self._pieces(), SEEN), each_place(self._ids.buckets)
        self._saved = collected(by_task(self._session, seen, buckets, save_ids, self._ids))
        files = frozenset((row.name, row.place) for row in self._saved)
        self._ids = replace(self._ids, there=files)


def _resolve_folder(job: CutJob) -> CutJob:
    """Return a job that works from any current folder."""
    place = job.place
    if isinstance(place, FolderFiles):
        return replace(job, place=replace(place, folder=place.folder.absolute()))
    return job


def _unite(hashes: Sequence[Hashes]) -> Hashes:
    distinct: Hashes = np.unique(np.concatenate([NO_HASHES, *hashes]))
    return distinct


def _filter_kinds(rows: Any, *kinds: str) -> Any:
    return rows.where(f"kind IN ({', '.join(map(repr, kinds))})")
