"""An extract on the executors: spans of files into rows by member, and the ids in them.

Rows that follow claims or other headers are first cut by a hash of their header, so that they meet
the members that headers were seen with, and then by member. Nothing is written to an executor's
disk.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import Hashes
from etl.errors import ExtractError
from etl.jobs import no_event
from etl.model.canonical_tables import HEADERS
from etl.rows import arrow_stream
from etl.sources.files.listed_files import spill_names
from etl.sources.parsing.spans import SpanAstray
from etl.sources.partition.ids import OwnedIds, Pairs, distinct_pairs, owned_and_shared
from etl.sources.partition.partition_rows import (
    OWNER_COLUMN,
    RAGGED,
    CutJob,
    PartitionedRows,
    cut,
    partition_of,
)
from etl.spark.id_files import NO_IDS, IdFiles
from etl.spark.member_rows import OF_MEMBER, heads_of, joined, member_batch
from etl.spark.pickling import unpickled
from etl.spark.task_rows import Batches, TaskRow, batch_of, guarded, rows_of

TAKEN: Final = "taken"
"""A job that was read, and the number of rows of its parts."""
REFUSED: Final = "refused"
"""A job with a span that is none, or with a file that cannot be read, which the name says then."""
UNSEEN: Final = "unseen"
"""A job with files that the executor does not see."""
HERE: Final = "here"
"""Rows for the driver: of no member, or malformed."""
# Rows of members by the hash of their header have the header's table for their kind.
SEEN: Final = "seen"
"""Ids with the members that they were seen with, by the hash of the id."""
SAVED: Final = "saved"
"""Ids of one bucket that are in staging now."""
SHARED: Final = "shared"
"""Ids of one bucket that were seen with several members."""
SHARERS: Final = "sharers"
"""The members of those."""

_HELD: Final = 1 << 20
"""Ids that are held before they are cut by bucket."""


def cutting(program: str, buckets: int) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that reads jobs.

    Args:
        program: `program_text` of the driver.
        buckets: how many there are of ids.
    """

    def read(batches: Batches) -> Batches:
        for row in rows_of(batches):
            yield from guarded(program, partial(_read, row.body, buckets))

    return read


def saving(program: str, ids: IdFiles) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that writes the ids of a bucket.

    Args:
        program: `program_text` of the driver.
        ids: where they are written.
    """

    def save(batches: Batches) -> Batches:
        yield from guarded(program, partial(_save, ids, batches))

    return save


def owning(program: str, ids: IdFiles, partitions: int) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that gives rows that follow claims their members.

    Args:
        program: `program_text` of the driver.
        ids: all of the extract.
        partitions: how many there are.
    """

    def own(batches: Batches) -> Batches:
        yield from guarded(program, partial(_own, ids, partitions, batches))

    return own


def _read(body: Any, buckets: int) -> Batches:
    job: CutJob = unpickled(body)
    if not _is_seen(job):
        yield batch_of(TaskRow(0, UNSEEN, "", job.number))
        return
    try:
        yield from _pieces(job, buckets)
    except SpanAstray:
        yield batch_of(TaskRow(0, REFUSED, "", job.number))
    except ExtractError as error:
        said = str(error).encode()
        yield batch_of(TaskRow(0, REFUSED, type(error).__name__, job.number, said))


def _is_seen(job: CutJob) -> bool:
    try:
        there = {entry.name: entry.bytes for entry in job.place.entries()}
    except ExtractError:
        return False
    files = [part.file for part in job.parts]
    return all(there.get(file.stored or file.name) == file.bytes for file in files)


def _pieces(job: CutJob, buckets: int) -> Batches:
    followed = next(filter(None, (job.owners.followed(part.file) for part in job.parts)), "")
    # Where no header is known, a row that follows one has the header's own hash for an owner.
    by_bucket = replace(job, partitions=buckets) if followed else job
    counts, seen = [0] * len(job.parts), _SeenIds(job.number, buckets)
    for piece in cut(by_bucket, lambda _header: NO_IDS, no_event):
        counts[piece.part] += piece.rows.num_rows
        if piece.table == RAGGED or piece.cut[0] == by_bucket.partitions:
            rows = arrow_stream(pa.Table.from_batches([piece.rows]), compressed=False)
            yield batch_of(TaskRow(0, HERE, piece.table, job.number, rows))
        else:
            yield _of_members(job, piece, followed or OF_MEMBER)
        for role, (ids, owners) in piece.ids.items():
            yield from map(batch_of, seen.add(role, ids, owners))
    yield from map(batch_of, seen.cut_off())
    yield batch_of(TaskRow(0, TAKEN, "", job.number, json.dumps(counts).encode()))


def _of_members(job: CutJob, piece: PartitionedRows, kind: str) -> pa.RecordBatch:
    width = len(spill_names(job.parts[piece.part].file))
    heads, cells = joined(piece.rows, width)
    return member_batch(piece.cut, kind, piece.table, job.number, heads, cells)


class _SeenIds:
    """Ids in the rows of a job, with the members that they were seen with."""

    def __init__(self, job: int, buckets: int) -> None:
        self._job, self._buckets = job, buckets
        self._pairs: dict[str, list[Pairs]] = {}
        self._held = 0

    def add(self, role: str, ids: Hashes, owners: Hashes) -> Iterator[TaskRow]:
        """Take ids in, and yield rows of ids where many are held."""
        self._pairs.setdefault(role, []).append(distinct_pairs(np.stack([ids, owners], axis=1)))
        self._held += len(ids)
        if self._held > _HELD:
            yield from self.cut_off()

    def cut_off(self) -> Iterator[TaskRow]:
        """Yield all that are held, cut by bucket."""
        for role, parts in self._pairs.items():
            pairs = distinct_pairs(np.concatenate(parts))
            if not len(pairs):
                continue
            where = partition_of(pairs[:, 0], self._buckets)
            starts = np.flatnonzero(np.diff(where, prepend=-1))
            for start, end in zip(starts, [*starts[1:], len(where)], strict=True):
                body = pairs[start:end].tobytes()
                yield TaskRow(int(where[start]), SEEN, role, self._job, body)
        self._pairs, self._held = {}, 0


def _save(ids: IdFiles, batches: Batches) -> Batches:
    parts: dict[str, list[Pairs]] = {}
    buckets = set[int]()
    for row in rows_of(batches):
        buckets.add(row.place)
        pairs = np.frombuffer(row.body, np.uint64).reshape(-1, 2)
        parts.setdefault(row.name, []).append(pairs)
    for role in sorted(parts):
        bucket = only_place(buckets)
        owned, shared, sharers = owned_and_shared(distinct_pairs(np.concatenate(parts[role])))
        ids.save(role, bucket, owned)
        yield batch_of(TaskRow(bucket, SAVED, role))
        if role != "member" and len(shared):
            yield batch_of(TaskRow(bucket, SHARED, role, body=shared.tobytes()))
            yield batch_of(TaskRow(bucket, SHARERS, role, body=sharers.tobytes()))


def _own(ids: IdFiles, partitions: int, batches: Batches) -> Batches:
    known: dict[str, OwnedIds] = {}
    for whole, header in itertools.product(batches, HEADERS):
        batch = whole.filter(pc.equal(whole.column("kind"), header))
        if not batch.num_rows:
            continue
        if header not in known:
            known[header] = ids.read(header, only_place(batch.column("place").unique().to_pylist()))
        heads = heads_of(batch.column("body")).copy()
        owners = known[header].owner_of(np.ascontiguousarray(heads[OWNER_COLUMN]))
        heads[OWNER_COLUMN] = owners
        places, cells = partition_of(owners, partitions), batch.column("cells")
        name, number = batch.column("name"), batch.column("number")
        yield member_batch(places, OF_MEMBER, name, number, heads, cells)


def only_place(places: set[int] | list[int]) -> int:
    """Return the place of the rows of a task.

    Raises:
        AssertionError: there are several: this Spark hashes numbers in another way.
    """
    if len(places) != 1:
        raise AssertionError(f"Spark gave one task the rows of {len(places)} places")
    return next(iter(places))
