"""An extract on the executors: spans of files into rows by member, and the ids in them.

Rows that follow claims or other headers are first cut by a hash of their header, so that they meet
the members that headers were seen with, and then by member. Nothing is written to an executor's
disk.
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
from etl.spark.member_rows import OF_MEMBER, heads_of, joined, member_batch
from etl.spark.pickling import unpickled
from etl.spark.placing import only_task
from etl.spark.task_rows import Batches, TaskRow, batch_of, batch_of_kind, rows_of

TAKEN: Final = "taken"
"""A job that was read, and the number of rows of its parts."""
REFUSED: Final = "refused"
"""A job with a file that cannot be read, and why; without a reason, with a span that is none."""
HERE: Final = "here"
"""Rows for the driver: of no member, or malformed."""
# Rows of members by the hash of their header have the header's table for their kind.
SEEN: Final = "seen"
"""Ids with the members that they were seen with, by the hash of the id."""
SAVED: Final = "saved"
"""Ids of one bucket that are in staging now; in the body those that were seen with several members,
of which the number says how many there are, and after them those members."""


def read_jobs(buckets: int, batches: Batches) -> Batches:
    """Yield the rows that jobs read.

    Args:
        buckets: number of ID buckets.
        batches: the jobs (`ReadJob`).

    Raises:
        NotFound: this executor does not see the files of a job.
    """
    for row in rows_of(batches):
        job: ReadJob = unpickled(row.body)
        _check_files(job)
        try:
            yield from _read_rows(job, buckets)
        except (SpanMismatch, ExtractError) as error:
            yield batch_of(TaskRow(0, REFUSED, number=job.number, body=str(error).encode()))


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
    # Where no header is known, a row that follows one has the header's own hash for an owner.
    by_bucket = replace(job, partitions=buckets) if followed else job
    counts = [0] * len(job.parts)
    for batch in read_job(by_bucket, lambda _header: NO_IDS, no_event):
        counts[batch.part] += batch.rows.num_rows
        if batch.table == MALFORMED_TABLE or batch.partitions[0] == by_bucket.partitions:
            rows = arrow_stream(pa.Table.from_batches([batch.rows]), compressed=False)
            yield batch_of(TaskRow(0, HERE, batch.table, job.number, rows.to_pybytes()))
        else:
            yield _member_rows(job, batch, followed or OF_MEMBER)
        yield from _ids_seen(job, batch, buckets)
    yield batch_of(TaskRow(0, TAKEN, "", job.number, json.dumps(counts).encode()))


def _member_rows(job: ReadJob, batch: PartitionedRows, kind: str) -> pa.RecordBatch:
    heads, cells = joined(batch.rows, len(unique_headers(job.parts[batch.part].file)))
    return member_batch(kind, batch.partitions, heads, cells, number=job.number)


def _ids_seen(job: ReadJob, batch: PartitionedRows, buckets: int) -> Batches:
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
        yield batch_of_kind(SEEN, id_buckets[starts], bodies, name=role, number=job.number)


def save_ids(ids: IdFiles, batches: Batches) -> Batches:
    """Write the ids of a bucket, and yield which of them several members share."""
    parts: dict[str, list[Pairs]] = {}
    buckets = set[int]()
    for row in rows_of(batches):
        buckets.add(row.place)
        pairs = np.frombuffer(row.body, np.uint64).reshape(-1, 2)
        parts.setdefault(row.name, []).append(pairs)
    for role in sorted(parts):
        bucket = only_task(buckets)
        owned, shared, sharers = owned_and_shared(distinct_pairs(np.concatenate(parts[role])))
        ids.save(role, bucket, owned)
        if role == "member":
            shared = sharers = NO_HASHES
        body = shared.tobytes() + sharers.tobytes()
        yield batch_of(TaskRow(bucket, SAVED, role, len(shared), body))


def give_owners(facts: tuple[IdFiles, int], batches: Batches) -> Batches:
    """Yield the rows of one bucket that follow headers, in the partitions of their members.

    Args:
        facts: all ids of the extract, and how many partitions there are.
        batches: the rows.
    """
    ids, partitions = facts
    known: dict[str, OwnedIds] = {}
    for mixed, header in itertools.product(batches, HEADERS):
        batch = mixed.filter(pc.equal(mixed.column("kind"), header))
        if not batch.num_rows:
            continue
        if header not in known:
            known[header] = ids.read(header, only_task(batch.column("place").to_pylist()))
        heads = heads_of(batch.column("body")).copy()
        owners = known[header].owner_of(np.ascontiguousarray(heads[OWNER_COLUMN]))
        heads[OWNER_COLUMN] = owners
        places, cells = partition_of(owners, partitions), batch.column("cells")
        yield member_batch(OF_MEMBER, places, heads, cells)
