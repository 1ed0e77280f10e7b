"""An extract on the executors: spans of files into rows by member, and the ids in them.

Rows that follow claims are first cut by a hash of their claim, so that they meet the members that
claims were seen with, and then by member. Nothing is written to an executor's disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.errors import ExtractError
from etl.jobs import no_event
from etl.sources.parsing.spans import SpanAstray
from etl.sources.partition.ids import OwnedIds, Rows, distinct_rows, owned_and_shared
from etl.sources.partition.partition_rows import OWNER_COLUMN, RAGGED, CutJob, cut, partition_of
from etl.sources.partition.spill import Gathering
from etl.spark.pickling import unpickled
from etl.spark.task_rows import Batches, TaskRow, batches_of, by_place, guarded, rows_of

TAKEN: Final = "taken"
"""A job that was read, and the number of rows of its parts."""
REFUSED: Final = "refused"
"""A job with a span that is none, or with a file that cannot be read, which the name says then."""
UNSEEN: Final = "unseen"
"""A job with files that the executor does not see."""
HERE: Final = "here"
"""Rows for the driver: of no member, or malformed."""
OF_MEMBERS: Final = "rows"
"""Rows by partition."""
FOLLOWING: Final = "follow"
"""Rows by the hash of their claim."""
SEEN: Final = "seen"
"""Ids with the members that they were seen with, by the hash of the id."""
IDS: Final = "ids"
"""Ids of one bucket; of claims their members as well."""
SHARED: Final = "shared"
"""Ids of one bucket that were seen with several members."""
SHARERS: Final = "sharers"
"""The members of those."""

_HELD: Final = 1 << 20
"""Ids that are held before they are cut by bucket."""
_NOBODYS: Final = OwnedIds(NO_HASHES, NO_HASHES)


def cutting(program: str, buckets: int) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that reads jobs.

    Args:
        program: `program_text` of the driver.
        buckets: how many there are of ids.
    """

    def read(batches: Batches) -> Batches:
        for row in rows_of(batches):
            yield from batches_of(guarded(program, row.number, partial(_read, row.body, buckets)))

    return read


def following(program: str, partitions: int) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that gives ids and following rows their members.

    Args:
        program: `program_text` of the driver.
        partitions: how many there are.
    """

    def follow(batches: Batches) -> Batches:
        for place, rows in by_place(rows_of(batches)):
            yield from batches_of(
                guarded(program, place, partial(_follow, place, rows, partitions))
            )

    return follow


def answering(program: str, asked: Mapping[str, bytes]) -> Callable[[Batches], Batches]:
    """Return the function for `mapInArrow` that finds ids among those of buckets.

    Args:
        program: `program_text` of the driver.
        asked: table -> hashes of the ids, ascending.
    """

    def answer(batches: Batches) -> Batches:
        for row in rows_of(batches):
            yield from batches_of(guarded(program, row.place, partial(_answer, row, asked)))

    return answer


def owned_from(body: Any) -> OwnedIds:
    """Return the claims that the bytes of a row of `IDS` state, and their members."""
    both = np.frombuffer(body, np.uint64).reshape(2, -1)
    return OwnedIds(both[0], both[1])


def _owned_to(owned: OwnedIds) -> bytes:
    return np.concatenate([owned.ids, owned.owners]).tobytes()


def _read(body: Any, buckets: int) -> Iterator[TaskRow]:
    job: CutJob = unpickled(body)
    if not _is_seen(job):
        yield TaskRow(0, UNSEEN, "", job.number)
        return
    try:
        yield from _pieces(job, buckets)
    except SpanAstray:
        yield TaskRow(0, REFUSED, "", job.number)
    except ExtractError as error:
        yield TaskRow(0, REFUSED, type(error).__name__, job.number, str(error).encode())


def _is_seen(job: CutJob) -> bool:
    try:
        there = {entry.name: entry.bytes for entry in job.place.entries()}
    except ExtractError:
        return False
    files = [part.file for part in job.parts]
    return all(there.get(file.stored or file.name) == file.bytes for file in files)


def _pieces(job: CutJob, buckets: int) -> Iterator[TaskRow]:
    follows = any(job.owners.follow_claims(part.file) for part in job.parts)
    # Where no claim is known, a row that follows one has the claim's own hash for an owner.
    by_bucket = replace(job, partitions=buckets) if follows else job
    kind, counts = FOLLOWING if follows else OF_MEMBERS, [0] * len(job.parts)
    gathered: dict[str, Gathering] = {}
    seen = _SeenIds(job.number, buckets)

    def row(name: str, place: int, stream: pa.Buffer) -> TaskRow:
        of_driver = name == RAGGED or (not follows and place == job.partitions)
        return TaskRow(place, HERE if of_driver else kind, name, job.number, stream)

    for piece in cut(by_bucket, lambda: _NOBODYS, no_event):
        counts[piece.part] += piece.rows.num_rows
        if piece.table not in gathered:
            gathered[piece.table] = Gathering(by_bucket.partitions)
        for place, stream in gathered[piece.table].add(piece.rows, piece.cut):
            yield row(piece.table, place, stream)
        for role, (ids, owners) in piece.ids.items():
            yield from seen.add(role, ids, owners)
    for name, rest in gathered.items():
        for place, stream in rest.cut_off():
            yield row(name, place, stream)
    yield from seen.cut_off()
    yield TaskRow(0, TAKEN, "", job.number, json.dumps(counts).encode())


class _SeenIds:
    """Ids in the rows of a job, with the members that they were seen with."""

    def __init__(self, job: int, buckets: int) -> None:
        self._job, self._buckets = job, buckets
        self._pairs: dict[str, list[Rows]] = {}
        self._held = 0

    def add(self, role: str, ids: Hashes, owners: Hashes) -> Iterator[TaskRow]:
        """Take ids in, and yield rows of ids where many are held."""
        self._pairs.setdefault(role, []).append(distinct_rows(np.stack([ids, owners], axis=1)))
        self._held += len(ids)
        if self._held > _HELD:
            yield from self.cut_off()

    def cut_off(self) -> Iterator[TaskRow]:
        """Yield all that are held, cut by bucket."""
        for role, parts in self._pairs.items():
            pairs = distinct_rows(np.concatenate(parts))
            if not len(pairs):
                continue
            where = partition_of(pairs[:, 0], self._buckets)
            starts = np.flatnonzero(np.diff(where, prepend=-1))
            for start, end in zip(starts, [*starts[1:], len(where)], strict=True):
                body = pairs[start:end].tobytes()
                yield TaskRow(int(where[start]), SEEN, role, self._job, body)
        self._pairs, self._held = {}, 0


def _follow(place: int, rows: Iterator[TaskRow], partitions: int) -> Iterator[TaskRow]:
    claims = _NOBODYS
    for kind, of_kind in groupby(rows, key=itemgetter(1)):
        if kind == FOLLOWING:
            yield from _owned(of_kind, claims, partitions)
            continue
        parts: dict[str, list[Rows]] = {}
        for row in of_kind:
            pairs = np.frombuffer(row.body, np.uint64).reshape(-1, 2)
            parts.setdefault(row.name, []).append(pairs)
        for role in sorted(parts):
            owned, shared = owned_and_shared(distinct_rows(np.concatenate(parts[role])))
            if role == "claim":
                claims = owned
                yield TaskRow(place, IDS, role, 0, _owned_to(owned))
            else:
                yield TaskRow(place, IDS, role, 0, owned.ids.tobytes())
            if role != "member" and len(shared.ids):
                yield TaskRow(place, SHARED, role, 0, shared.ids.tobytes())
                yield TaskRow(place, SHARERS, role, 0, shared.sharers.tobytes())


def _owned(rows: Iterator[TaskRow], claims: OwnedIds, partitions: int) -> Iterator[TaskRow]:
    """Yield rows that follow claims, cut by the members of these."""
    gathered: dict[str, Gathering] = {}
    for row in rows:
        with pa.ipc.open_stream(row.body) as reader:
            table = reader.read_all()
        at = table.column_names.index(OWNER_COLUMN)
        owners = claims.owner_of(table.column(at).to_numpy())
        owned = table.set_column(at, OWNER_COLUMN, pa.array(owners)).combine_chunks()
        if row.name not in gathered:
            gathered[row.name] = Gathering(partitions)
        (batch,) = owned.to_batches()
        for place, stream in gathered[row.name].add(batch, partition_of(owners, partitions)):
            yield TaskRow(place, OF_MEMBERS, row.name, 0, stream)
    for name, rest in gathered.items():
        for place, stream in rest.cut_off():
            yield TaskRow(place, OF_MEMBERS, name, 0, stream)


def _answer(row: TaskRow, asked: Mapping[str, bytes]) -> Iterator[TaskRow]:
    wanted = np.frombuffer(asked.get(row.name, b""), np.uint64)
    if row.name == "claim":
        owned = owned_from(row.body)
        found = among(owned.ids, wanted)
        body = _owned_to(OwnedIds(owned.ids[found], owned.owners[found]))
    else:
        ids = np.frombuffer(row.body, np.uint64)
        body = ids[among(ids, wanted)].tobytes()
    if body:
        yield row._replace(number=0, body=body)
