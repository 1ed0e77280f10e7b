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
"""Ids are cut by their hashes into as many buckets as the extract has so many bytes."""


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
    """Return into how many buckets the ids are cut of an extract of so many bytes."""
    return max(_LEAST_BUCKETS, size // _BUCKET_BYTES)


def job_bytes_for(table_bytes: int) -> int:
    """Return a size with a limit, so that a large table has enough tasks for a cluster."""
    return min(_JOB_BYTES, table_bytes // TABLE_JOBS)


@dataclass(frozen=True, slots=True)
class ShuffledTables:
    """Rows on the executors, and those of no member here (`RawTables`).

    Attributes:
        here: rows of no member, and malformed ones.
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
        """Return the rows of a raw table that are here.

        Raises:
            AssertionError: those of a partition are asked for.
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
        here: keeps what belongs to no partition.
        partitions: how many there are.
        ids: where ids are written.
    """

    is_shared = True

    def __init__(self, session: Any, here: FolderReceiver, partitions: int, ids: IdFiles) -> None:
        self._session, self._here = session, here
        self._count, self._ids = partitions, ids
        self._held: list[Any] = []
        self._of_driver: dict[int, list[tuple[str, bytes]]] = {}
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
        rows = [TaskRow(0, "job", "", job.number, pickled(_anywhere(job))) for job in jobs]
        spread = self._session.createDataFrame(rows, ROWS).repartition(len(jobs))
        pieces = spread.mapInArrow(task_function(read_jobs, self._ids.buckets), ROWS).persist()
        self._held.append(pieces)
        found = collected(_of_kinds(pieces, TAKEN, HERE, REFUSED, FAILED))
        results: dict[int, Sequence[int] | Refused] = {}
        for row in found:
            if row.kind == TAKEN:
                results[row.number] = tuple(json.loads(bytes(row.body)))
            elif row.kind == REFUSED:
                said = bytes(row.body).decode()
                results[row.number] = Refused(ExtractError(said) if said else None)
                self._dropped.add(row.number)
            else:
                self._of_driver.setdefault(row.number, []).append((row.name, bytes(row.body)))
        for job in jobs:
            yield results[job.number]

    def drop(self, job: CutJob) -> None:
        """Forget what a job read."""
        self._dropped.add(job.number)

    def finish_headers(self) -> None:
        """Do nothing: rows that follow headers meet them in a shuffle."""

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells."""
        for number in sorted(self._of_driver.keys() - self._dropped):
            for name, body in self._of_driver[number]:
                with pa.ipc.open_stream(body) as reader:
                    pieces = [self._of_nobody(name, batch) for batch in reader]
                self._here.place(name, pieces)
        self._of_driver.clear()
        return self._here.ragged_rows()

    def known(self, ids: IdHashes) -> Mapping[str, OwnedIds]:
        """Return which of some ids there are."""
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
        following, known = _of_kinds(pieces, *HEADERS), (self._ids, self._count)
        owned = by_task(self._session, following, buckets, give_owners, known)
        rows = _of_kinds(pieces, OF_MEMBER).union(owned)
        if self._placed:
            rows = rows.union(self._session.createDataFrame(self._placed, ROWS))
        shared: dict[str, list[Hashes]] = {role: [] for role in ROLES}
        sharers = list[Hashes]()
        for row in self._saved or ():
            ids = np.frombuffer(row.body, np.uint64)
            shared[row.name].append(ids[: row.number])
            sharers.append(ids[row.number :])
        shared_ids = {role: _united(hashes) for role, hashes in shared.items()}
        keys = GlobalKeys({}, shared_ids, _united(sharers))
        here = self._here.close(facts).raw
        tables = ShuffledTables(here, self._count, rows, self._ids, self._held)
        return Partitions(facts, tables, keys)

    def release(self) -> None:
        """Let Spark forget what it holds: the reading failed."""
        for frame in self._held:
            frame.unpersist()

    def _of_nobody(self, name: str, batch: pa.RecordBatch) -> PartitionedRows:
        place = 0 if name == RAGGED else self._count
        return PartitionedRows(name, 0, batch, np.full(batch.num_rows, place, dtype=np.int32))

    def _pieces(self) -> Any:
        """Return the frame of what was read, without jobs that were dropped."""
        pieces = reduce(lambda one, other: one.union(other), self._held)
        dropped = ", ".join(map(str, sorted(self._dropped)))
        return pieces.where(f"number NOT IN ({dropped})") if dropped else pieces

    def _save_ids(self) -> None:
        """Let ids meet by their hash, and be written to staging."""
        if self._saved is not None:
            return
        seen, buckets = _of_kinds(self._pieces(), SEEN), each_place(self._ids.buckets)
        self._saved = collected(by_task(self._session, seen, buckets, save_ids, self._ids))
        there = frozenset((row.name, row.place) for row in self._saved)
        self._ids = replace(self._ids, there=there)


def _anywhere(job: CutJob) -> CutJob:
    """Return a job whose folder is found from any present one."""
    place = job.place
    if isinstance(place, FolderFiles):
        return replace(job, place=replace(place, folder=place.folder.absolute()))
    return job


def _united(hashes: Sequence[Hashes]) -> Hashes:
    united: Hashes = np.unique(np.concatenate([NO_HASHES, *hashes]))
    return united


def _of_kinds(rows: Any, *kinds: str) -> Any:
    return rows.where(f"kind IN ({', '.join(map(repr, kinds))})")
