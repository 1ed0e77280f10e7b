"""Tasks that read an extract: spans of files into rows by member, and the ids in them.

Rows that name a header but no member are first partitioned by their header's hash, like the ids of
headers with their members, and then by member. Nothing is written to an executor's disk.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import NO_HASHES
from etl.errors import ExtractError, NotFound
from etl.jobs import no_event
from etl.model.canonical_tables import HEADERS
from etl.rows import arrow_stream
from etl.sources.files.listed_files import unique_headers
from etl.sources.parsing.spans import SpanMismatch
from etl.sources.partition.ids import OwnedIds, Pairs, distinct_pairs, owned_and_shared
from etl.sources.partition.partition_rows import (
    MALFORMED_TABLE,
    OWNER_COLUMN,
    PartitionedRows,
    ReadJob,
    partition_of,
    read_job,
)
from etl.spark.id_files import NO_IDS, IdFiles
from etl.spark.member_rows import MEMBER_ROW, encode_rows, member_batch, read_origins
from etl.spark.pickling import unpickled
from etl.spark.placing import task_of_shards
from etl.spark.task_rows import Batches, TaskRow, batch_of_kind, batch_of_row, iterate_rows

JOB_READ: Final = "taken"
"""Kind of a row for a job that was read; the body has the number of rows of each part."""
JOB_REFUSED: Final = "refused"
"""Kind of a row for a failed job; the body has the error, and is empty if only a span was wrong."""
DRIVER_ROWS: Final = "here"
"""Kind of a row with rows for the driver: of no member, or malformed."""
# A row that names a header but no member has the header's table as its kind.
SEEN_IDS: Final = "seen"
"""Kind of a row with ids and their owners, by the hash of the id."""
SAVED_IDS: Final = "saved"
"""Kind of a row for a bucket of ids in staging. The body has the ids that several members share,
whose number is `number`, and then these members."""


def read_jobs(buckets: int, batches: Batches) -> Batches:
    """Yield the rows that jobs read.

    Args:
        buckets: number of ID buckets.
        batches: the jobs (`ReadJob`).

    Raises:
        NotFound: this executor does not see the files of a job.
    """
    for row in iterate_rows(batches):
        job: ReadJob = unpickled(row.body)
        _check_files(job)
        try:
            yield from _read_rows(job, buckets)
        except (SpanMismatch, ExtractError) as error:
            yield batch_of_row(TaskRow(0, JOB_REFUSED, number=job.number, body=str(error).encode()))


def _check_files(job: ReadJob) -> None:
    try:
        sizes = {entry.name: entry.bytes for entry in job.files.entries()}
    except ExtractError:
        sizes = {}
    files = [part.file for part in job.parts]
    if any(sizes.get(file.stored or file.name) != file.bytes for file in files):
        raise NotFound(f"{job.files.name}: an executor does not see the files of the extract")


def _read_rows(job: ReadJob, buckets: int) -> Batches:
    followed = next(filter(None, (job.owners.followed(part.file) for part in job.parts)), "")
    # Without owned_ids headers, the owner of a row that follows one is the header's hash.
    by_bucket = replace(job, partitions=buckets) if followed else job
    counts = [0] * len(job.parts)
    for batch in read_job(by_bucket, lambda _header: NO_IDS, no_event):
        counts[batch.part] += batch.rows.num_rows
        if batch.table == MALFORMED_TABLE or batch.partitions[0] == by_bucket.partitions:
            rows = arrow_stream(pa.Table.from_batches([batch.rows]), compressed=False)
            yield batch_of_row(TaskRow(0, DRIVER_ROWS, batch.table, job.number, rows.to_pybytes()))
        else:
            yield _member_rows(job, batch, followed or MEMBER_ROW)
        yield from _id_rows(job, batch, buckets)
    yield batch_of_row(TaskRow(0, JOB_READ, "", job.number, json.dumps(counts).encode()))


def _member_rows(job: ReadJob, batch: PartitionedRows, kind: str) -> pa.RecordBatch:
    origins, cells = encode_rows(batch.rows, len(unique_headers(job.parts[batch.part].file)))
    return member_batch(kind, batch.partitions, origins, cells, number=job.number)


def _id_rows(job: ReadJob, batch: PartitionedRows, buckets: int) -> Batches:
    """Yield the ids in some rows with their owners, by bucket."""
    for role, (ids, owners) in batch.ids.items():
        pairs = distinct_pairs(np.stack([ids, owners], axis=1))
        id_buckets = partition_of(pairs[:, 0], buckets)  # ascending, as ids are
        starts = np.flatnonzero(np.diff(id_buckets, prepend=-1))
        ends = np.append(starts, len(pairs)) * pairs.strides[0]
        offsets = pa.py_buffer(ends.astype(np.int32))
        bodies = pa.Array.from_buffers(
            pa.binary(), len(starts), [None, offsets, pa.py_buffer(pairs)]
        )
        yield batch_of_kind(SEEN_IDS, id_buckets[starts], bodies, name=role, number=job.number)


def save_ids(ids: IdFiles, batches: Batches) -> Batches:
    """Write the ids of a bucket to staging, and yield those that several members share."""
    parts: dict[str, list[Pairs]] = {}
    buckets = set[int]()
    for row in iterate_rows(batches):
        buckets.add(row.shard)
        pairs = np.frombuffer(row.body, np.uint64).reshape(-1, 2)
        parts.setdefault(row.name, []).append(pairs)
    for role in sorted(parts):
        bucket = task_of_shards(buckets)
        owned, shared, sharers = owned_and_shared(distinct_pairs(np.concatenate(parts[role])))
        ids.save(role, bucket, owned)
        if role == "member":
            shared = sharers = NO_HASHES
        body = shared.tobytes() + sharers.tobytes()
        yield batch_of_row(TaskRow(bucket, SAVED_IDS, role, len(shared), body))


def assign_owners(facts: tuple[IdFiles, int], batches: Batches) -> Batches:
    """Yield the rows of one bucket that follow headers, in the partitions of their members.

    Args:
        facts: all ids of the extract, and the number of partitions.
    """
    ids, partitions = facts
    owned_ids: dict[str, OwnedIds] = {}
    for mixed, header in itertools.product(batches, HEADERS):
        batch = mixed.filter(pc.equal(mixed.column("kind"), header))
        if not batch.num_rows:
            continue
        if header not in owned_ids:
            owned_ids[header] = ids.read(header, task_of_shards(batch.column("shard").to_pylist()))
        origins = read_origins(batch.column("body")).copy()
        owners = owned_ids[header].owner_of(np.ascontiguousarray(origins[OWNER_COLUMN]))
        origins[OWNER_COLUMN] = owners
        shards, cells = partition_of(owners, partitions), batch.column("cells")
        yield member_batch(MEMBER_ROW, shards, origins, cells)
