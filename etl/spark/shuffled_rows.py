"""An extract that executors read: its rows and ids in frames of Spark, seen from the driver.

What the executors hold is on their side alone. Here are counts, rows of no member, malformed rows,
and the ids that several members share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes
from etl.errors import ExtractError, StoreError
from etl.sources.events import Emit
from etl.sources.extract.opening import Extract
from etl.sources.files.stored_files import FolderFiles
from etl.sources.partition.ids import GlobalKeys, OwnedIds, UnitIds
from etl.sources.partition.malformed_rows import IdHashes, KnownIds
from etl.sources.partition.partition_rows import RAGGED, CutJob, OwnerColumns, Piece, Refused
from etl.sources.partition.partitions import PartitionFacts, Partitions, RawTables
from etl.sources.partition.spill import Gathering
from etl.sources.partition.work_folder import FolderReceiver
from etl.spark.pickling import pickled
from etl.spark.program import program_text
from etl.spark.reading_tasks import (
    FOLLOWING,
    HERE,
    IDS,
    OF_MEMBERS,
    REFUSED,
    SEEN,
    SHARED,
    SHARERS,
    TAKEN,
    UNSEEN,
    answering,
    cutting,
    following,
    owned_from,
)
from etl.spark.task_rows import FAILED, ROWS, TaskRow, raised

_OF_SPARK: Final = ("pyspark.", "py4j.")
"""Modules of its exceptions, which need not be installed where there is no session."""
_BUCKET_BYTES: Final = 64 << 20
_LEAST_BUCKETS: Final = 8
_MOST_BUCKETS: Final = 1024
"""Ids are cut by their hashes into as many buckets as the extract has so many bytes."""


class UnseenError(Exception):
    """Executors do not see the files of the extract."""


def is_for_executors(extract: Extract) -> bool:
    """Return whether executors can read an extract, if they see its files.

    They cannot if rows that follow claims make coverages or members, or if rows of members make
    providers; a directory has no rows of members.
    """
    layout, raw = extract.layout, extract.layout.raw
    files = [file for file in extract.files if file.table]
    for file in files:
        owners = OwnerColumns.of(raw[file.table], layout)
        if owners.follow_claims(file) and owners.feeds:
            return False
        if raw[file.table].ids and layout.provider_headers(file.table):
            return False
    return layout.model.has_members


def buckets_of(extract: Extract) -> int:
    """Return into how many buckets the ids of an extract are cut."""
    size = sum(file.bytes for file in extract.files)
    return min(max(_LEAST_BUCKETS, size // _BUCKET_BYTES), _MOST_BUCKETS)


@dataclass(frozen=True, slots=True)
class ShuffledTables:
    """Rows on the executors, and those of no member here (`RawTables`).

    Attributes:
        here: rows of no member, and malformed ones.
        count: number of partitions.
        rows: `ROWS` of the kind `OF_MEMBERS`: the place is the partition, the body an Arrow stream.
        ids: of the kind `IDS`.
        held: what Spark holds for the rows.
    """

    here: RawTables
    count: int
    rows: Any
    ids: Any
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

    def known(self, asked: Mapping[str, Hashes]) -> dict[str, OwnedIds]:
        """Return which of some ids there are, by table; their owners for claims alone.

        Args:
            asked: table -> hashes of ids, ascending.
        """
        return _known(self.ids, asked)

    def keys_of(self, units: Iterable[UnitIds], keys: GlobalKeys) -> GlobalKeys:
        """Return keys with the ids that some units ask for, as far as they exist.

        Args:
            units: ids of units.
            keys: those that several members share.
        """
        asked: dict[str, list[Hashes]] = {"member": [], "claim": [], "coverage": []}
        for unit in units:
            for table, ids in unit.foreign.items():
                asked[table].append(ids)
        wanted = {table: np.unique(np.concatenate(ids)) for table, ids in asked.items() if ids}
        known = {table: owned.ids for table, owned in self.known(wanted).items()}
        none = NO_HASHES
        return replace(
            keys,
            members=known.get("member", none),
            claims=known.get("claim", none),
            coverages=known.get("coverage", none),
        )

    def release_rows(self) -> None:
        """Let Spark forget what it holds for the rows, but not the ids."""
        with sentences():
            self.ids.count()  # they are made of that
        for frame in self.held:
            frame.unpersist()

    def release(self) -> None:
        """Let Spark forget all that it holds."""
        for frame in (*self.held, self.ids):
            frame.unpersist()


class ShuffleReceiver:
    """The receiver of a reading that leaves rows and ids with Spark (`read_extract.Receiver`).

    Args:
        session: a `pyspark.sql.SparkSession`.
        here: keeps what belongs to no partition.
        partitions: how many there are.
        buckets: into how many ids are cut.
    """

    is_shared = True

    def __init__(self, session: Any, here: FolderReceiver, partitions: int, buckets: int) -> None:
        self._session, self._here = session, here
        self._count, self._buckets = partitions, buckets
        self._pieces: list[Any] = []
        self._held: list[Any] = []
        self._of_driver: dict[int, list[tuple[str, bytes]]] = {}
        self._dropped: set[int] = set()
        self._placed: list[TaskRow] = []
        self._followed: Any = None
        self._ids: Any = None

    def read(self, jobs: Sequence[CutJob], emit: Emit) -> Iterator[Sequence[int] | Refused]:
        """Have jobs done; yield the number of rows of each part, in order.

        Raises:
            UnseenError: an executor does not see a file.
        """
        del emit
        if not jobs:
            return
        with sentences():
            rows = [TaskRow(0, "job", "", job.number, pickled(_anywhere(job))) for job in jobs]
            spread = self._session.createDataFrame(rows, ROWS).repartition(len(jobs))
            pieces = spread.mapInArrow(cutting(program_text(), self._buckets), ROWS).persist()
            self._held.append(pieces)
            self._pieces.append(pieces)
            found = pieces.where(_of_kinds(TAKEN, HERE, REFUSED, UNSEEN, FAILED)).collect()
        raise_failed(found)
        if any(row.kind == UNSEEN for row in found):
            raise UnseenError
        results: dict[int, Sequence[int] | Refused] = {}
        for row in found:
            if row.kind == TAKEN:
                results[row.number] = tuple(json.loads(bytes(row.body)))
            elif row.kind == REFUSED:
                error = ExtractError(bytes(row.body).decode()) if row.name else None
                results[row.number] = Refused(error)
                self._dropped.add(row.number)
            else:
                self._of_driver.setdefault(row.number, []).append((row.name, bytes(row.body)))
        for job in jobs:
            yield results[job.number]

    def drop(self, job: CutJob) -> None:
        """Forget what a job read."""
        self._dropped.add(job.number)

    def finish_claims(self) -> None:
        """Do nothing: rows that follow claims meet them in a shuffle."""

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells."""
        for number in sorted(self._of_driver.keys() - self._dropped):
            for name, body in self._of_driver[number]:
                with pa.ipc.open_stream(body) as reader:
                    pieces = [self._of_nobody(name, batch) for batch in reader]
                self._here.place(name, pieces)
        self._of_driver.clear()
        return self._here.ragged_rows()

    def known(self, ids: IdHashes) -> KnownIds:
        """Return which of some ids there are."""
        self._follow()
        known = _known(self._ids, ids)
        nobodys = OwnedIds(NO_HASHES, NO_HASHES)
        return KnownIds(known.get("member", nobodys).ids, known.get("claim", nobodys))

    def place(self, name: str, pieces: Sequence[Piece]) -> None:
        """Keep malformed rows: those of members go to the executors."""
        for piece in pieces:
            if (piece.cut == self._count).all():
                self._here.place(name, [piece])
                continue
            gathering = Gathering(self._count)
            streams = [*gathering.add(piece.rows, piece.cut), *gathering.cut_off()]
            self._placed += [
                TaskRow(place, OF_MEMBERS, name, 0, stream.to_pybytes())
                for place, stream in streams
            ]

    def close(self, facts: PartitionFacts) -> Partitions:
        """Return what was read."""
        self._follow()
        with sentences():
            found = self._followed.where(_of_kinds(SHARED, SHARERS, FAILED)).collect()
            rows = reduce(_union, [*self._read_pieces(), self._followed]).where(
                _of_kinds(OF_MEMBERS)
            )
            if self._placed:
                rows = rows.union(self._session.createDataFrame(self._placed, ROWS))
        raise_failed(found)
        keys = GlobalKeys(
            NO_HASHES,
            NO_HASHES,
            NO_HASHES,
            _united(row.body for row in found if (row.kind, row.name) == (SHARED, "claim")),
            _united(row.body for row in found if (row.kind, row.name) == (SHARED, "coverage")),
            _united(row.body for row in found if row.kind == SHARERS),
        )
        here = self._here.close(facts).raw
        return Partitions(
            facts, ShuffledTables(here, self._count, rows, self._ids, self._held), keys
        )

    def release(self) -> None:
        """Let Spark forget what it holds: the reading failed."""
        for frame in self._held:
            frame.unpersist()
        if self._ids is not None:
            self._ids.unpersist()

    def _of_nobody(self, name: str, batch: pa.RecordBatch) -> Piece:
        place = 0 if name == RAGGED else self._count
        return Piece(name, 0, batch, np.full(batch.num_rows, place, dtype=np.int32))

    def _read_pieces(self) -> Iterator[Any]:
        """Yield the frames of what was read, without jobs that were dropped."""
        for pieces in self._pieces:
            dropped = ", ".join(map(str, sorted(self._dropped)))
            yield pieces.where(f"number NOT IN ({dropped})") if dropped else pieces

    def _follow(self) -> None:
        """Let ids, and the rows that follow claims, meet by the hash of the id."""
        if self._followed is not None:
            return
        with sentences():
            pieces = reduce(_union, self._read_pieces()).where(_of_kinds(SEEN, FOLLOWING))
            met = sorted_by_place(pieces, self._buckets)
            self._followed = met.mapInArrow(following(program_text(), self._count), ROWS).persist()
            self._ids = self._followed.where(_of_kinds(IDS)).persist()
        self._held.append(self._followed)


def sorted_by_place(rows: Any, tasks: int) -> Any:
    """Return rows in some tasks, those of one place in one, one after another."""
    spread = rows.repartition(tasks, "place")
    return spread.sortWithinPartitions("place", spread["kind"].desc())


def raise_failed(rows: Iterable[Any]) -> None:
    """Raise the error of the first row that states one."""
    for row in rows:
        if row.kind == FAILED:
            raise raised(row.name, bytes(row.body).decode())


@contextmanager
def sentences() -> Iterator[None]:
    """Raise StoreError where Spark gave up; its own log has the reason."""
    try:
        yield
    except Exception as error:
        if not any(cls.__module__.startswith(_OF_SPARK) for cls in type(error).__mro__):
            raise
        if "No module named 'etl" in str(error):
            raise StoreError(
                "the executors of Spark do not have this program: install it there (docs/scale.md)"
            ) from None
        raise StoreError(
            f"Spark gave up ({type(error).__name__}); its log has the reason, and running the same "
            "again goes on from here"
        ) from None


def _anywhere(job: CutJob) -> CutJob:
    """Return a job whose folder is found from any present one."""
    place = job.place
    if isinstance(place, FolderFiles):
        return replace(job, place=replace(place, folder=place.folder.absolute()))
    return job


def _known(ids: Any, asked: Mapping[str, Hashes]) -> dict[str, OwnedIds]:
    wanted = {table: hashes.tobytes() for table, hashes in asked.items() if len(hashes)}
    if not wanted:
        return {}
    with sentences():
        rows = ids.mapInArrow(answering(program_text(), wanted), ROWS).collect()
    raise_failed(rows)
    known = {}
    for table in wanted:
        bodies = [row.body for row in rows if row.name == table]
        if table == "claim":
            parts = [owned_from(body) for body in bodies]
            claims = np.concatenate([NO_HASHES, *(part.ids for part in parts)])
            owners = np.concatenate([NO_HASHES, *(part.owners for part in parts)])
            order = np.argsort(claims)
            known[table] = OwnedIds(claims[order], owners[order])
        else:
            known[table] = OwnedIds(_united(bodies), NO_HASHES)
    return known


def _united(bodies: Iterable[Any]) -> Hashes:
    hashes = [np.frombuffer(body, np.uint64) for body in bodies]
    united: Hashes = np.unique(np.concatenate([NO_HASHES, *hashes]))
    return united


def _of_kinds(*kinds: str) -> str:
    return f"kind IN ({', '.join(map(repr, kinds))})"


def _union(one: Any, other: Any) -> Any:
    return one.union(other)
