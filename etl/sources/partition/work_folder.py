"""The work folder as the receiver of cut rows: pieces in, partitions out.

A job writes files of its own, in any process. Its result states where everything is, so that
the results of many jobs can be combined (`read_extract`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa

from etl.errors import ExtractError, StoreError
from etl.jobs import ALONE, JobRunner
from etl.sources.events import Emit
from etl.sources.extract.opening import file_from, layout_from, layout_state
from etl.sources.files.stored_files import disk_error
from etl.sources.parsing.spans import SpanAstray
from etl.sources.partition.ids import GlobalKeys, HashSet, OwnedIds, Owners, Run, clear_gathered
from etl.sources.partition.malformed_rows import IdHashes, KnownIds
from etl.sources.partition.partition_rows import OWNER_COLUMN, RAGGED, CutJob, Piece, Refused, cut
from etl.sources.partition.partitions import PartitionFacts, Partitions
from etl.sources.partition.spill import (
    Checksum,
    Index,
    Inventory,
    SpillWriter,
    checksum_of,
    clear_spilled,
    partition_sizes,
    read_spilled,
    rows_path,
    save_index,
    spilled_names,
)

STATE: Final = "partitions.json"
STEP: Final = "read"
"""The step of the work folder's list that names what reading wrote."""
CLAIMS: Final = "claims"
"""Name under which `Owners` keeps the member of each claim."""
_FINDINGS: Final = "findings.arrow"
_FIRST_PLACED: Final = 1 << 30
"""Number of the first part of rows that no job has cut: beyond those of jobs."""


@dataclass(frozen=True, slots=True)
class SpilledTables:
    """Rows in a work folder (`RawTables`): mapped files.

    Attributes:
        work: the folder.
    """

    work: Path

    def read(
        self, name: str, partition: int | None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of a raw table in one partition, from where they lie."""
        return read_spilled(self.work, name, partition, columns)


def open_partitions(work: Path) -> Partitions:
    """Return what `partition` left in a work folder; cheap, so that every worker can do it.

    Raises:
        StoreError: the folder holds no extract that was read to its end.
    """
    try:
        state = json.loads((work / STATE).read_text(encoding="utf-8"))
        # Other versions of the program kept both otherwise.
        files = tuple(file_from(file) for file in state["files"])
        queried = tuple(file_from(file) for file in state["queried"])
        keys = GlobalKeys.open(work)
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{work} holds no partitions; read the extract again") from None
    with pa.ipc.open_file(work / _FINDINGS) as reader:
        findings = reader.read_all()
    facts = PartitionFacts(
        count=state["count"],
        layout=layout_from(state["layout"]),
        files=files,
        rows_read=MappingProxyType(state["rows_read"]),
        findings=findings,
        unowned=MappingProxyType({file: tuple(at) for file, at in state["unowned"].items()}),
        has_digests=state["digests"],
        queried=queried,
    )
    return Partitions(facts, SpilledTables(work), keys)


def largest_member(work: Path, partitions: int) -> int:
    """Return how many rows the member with most of them has, of those in the largest partition."""
    sizes = partition_sizes(work, partitions)
    if not sizes.any():
        return 0
    largest, owners = int(sizes.argmax()), [np.empty(0, np.uint64)]
    for name in spilled_names(work):
        rows = read_spilled(work, name, largest, (OWNER_COLUMN,))
        if OWNER_COLUMN in rows.column_names:
            owners.append(rows.column(OWNER_COLUMN).to_numpy())
    _, counts = np.unique(np.concatenate(owners), return_counts=True)
    return int(counts.max(initial=0))


def resume_partitions(work: Path) -> Partitions:
    """Return what an earlier attempt left in a work folder, after checking every file.

    Raises:
        StoreError: the extract was not read to its end, or a file has changed.
    """
    if Inventory(work).step(STEP) is None:
        raise StoreError(f"{work} holds no partitions that are whole; read the extract again")
    return open_partitions(work)


def save_facts(work: Path, facts: PartitionFacts) -> tuple[Path, ...]:
    """Write the facts of an extract, and return their files."""
    state = {
        "count": facts.count,
        "layout": layout_state(facts.layout),
        "files": [asdict(file) for file in facts.files],
        "queried": [asdict(file) for file in facts.queried],
        "rows_read": dict(facts.rows_read),
        "unowned": dict(facts.unowned),
        "digests": facts.has_digests,
    }
    with pa.ipc.new_file(work / _FINDINGS, facts.findings.schema) as writer:
        writer.write_table(facts.findings)
    (work / STATE).write_text(json.dumps(state), encoding="utf-8")
    return work / _FINDINGS, work / STATE


@dataclass(frozen=True, slots=True)
class Spilled:
    """Result of a job that wrote its rows into the work folder.

    Attributes:
        rows: of each part, how many rows it has: ragged ones counted, blank ones not.
        index: name of what was spilled -> where its pieces are.
        files: name of each file of rows -> its checksum.
        ids: `member`, `claim`, `coverage` -> where the ids found in the rows are.
    """

    rows: tuple[int, ...]
    index: Mapping[str, Index]
    files: Mapping[str, Checksum]
    ids: Mapping[str, tuple[Run, ...]]


def spill(work: Path, job: CutJob, emit: Emit) -> Spilled | Refused:
    """Write the pieces of a job into the work folder.

    Returns:
        `Refused`, with nothing left in the folder, where a part cannot be read.

    Raises:
        StoreError: the folder cannot be written, or its disk is full.
        OSError: likewise.
    """
    receiver = _JobReceiver(work, job)
    claims = cache(lambda: OwnedIds.open(work, CLAIMS))
    try:
        with ExitStack() as unless_done:
            unless_done.callback(receiver.abandon)
            for piece in cut(job, claims, emit):
                receiver.take(piece)
            done = receiver.close()
            unless_done.pop_all()
    except SpanAstray:
        return Refused(None)
    except ExtractError as error:
        return Refused(error)
    return done


class FolderReceiver:
    """The receiver of a reading that keeps it in a folder (`read_extract.Receiver`).

    Args:
        work: a folder of this run alone; made where it is missing. What it held is overwritten.
        partitions: how many there are.
        runner: where jobs are done.

    Raises:
        StoreError: the folder cannot be written.
    """

    def __init__(self, work: Path, partitions: int, runner: JobRunner = ALONE) -> None:
        try:
            work.mkdir(parents=True, exist_ok=True)
            Inventory(work).clear()
            (work / STATE).unlink(missing_ok=True)
            clear_spilled(work)
            clear_gathered(work)
        except OSError as error:
            raise disk_error(error) from None
        self._work, self._count, self._runner = work, partitions, runner
        # Names of sets of `GlobalKeys`.
        self._members = HashSet(work, "members")
        self._claims, self._coverages = Owners(work, CLAIMS), Owners(work, "coverages")
        self._ids: Mapping[str, HashSet | Owners] = {
            "member": self._members,
            "claim": self._claims,
            "coverage": self._coverages,
        }
        self._spilled: dict[int, Spilled] = {}
        self._joined: set[int] = set()
        self._placed = itertools.count(_FIRST_PLACED)

    @property
    def is_shared(self) -> bool:
        """Whether several processes read."""
        return self._runner.processes > 1

    def read(self, jobs: Sequence[CutJob], emit: Emit) -> Iterator[Sequence[int] | Refused]:
        """Have jobs done; yield the number of rows of each part, in order."""
        results = self._runner.each(partial(spill, self._work), jobs, emit)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Spilled):
                self._spilled[job.number] = result
                yield result.rows
            else:
                yield result

    def drop(self, job: CutJob) -> None:
        """Delete the files that a job left in the work folder."""
        done = self._spilled.pop(job.number)
        for name in done.index:
            rows_path(self._work, name, job.number).unlink()
        for run in chain.from_iterable(done.ids.values()):
            run.path.unlink(missing_ok=True)

    def finish_claims(self) -> None:
        """Write down the owner of each claim, for the jobs whose rows follow claims."""
        self._join()
        self._claims.directory()

    def ragged_rows(self) -> pa.Table:
        """Return the rows with too few or too many cells."""
        indexes = [spilled.index for spilled in self._spilled.values()]
        parts = [index[RAGGED] for index in indexes if RAGGED in index]
        if parts:
            save_index(self._work, RAGGED, parts)
        return read_spilled(self._work, RAGGED, None)

    def known(self, ids: IdHashes) -> KnownIds:
        """Return all ids."""
        del ids
        self._join()
        return KnownIds(self._members.sorted(), self._claims.directory())

    def place(self, name: str, pieces: Sequence[Piece]) -> None:
        """Write rows that no job has cut."""
        number = next(self._placed)
        writer = SpillWriter(self._work, name, number, self._count)
        for piece in pieces:
            writer.write(piece.rows, piece.cut)
        index = writer.close()
        files = {rows_path(self._work, name, number).name: writer.checksum()}
        self._spilled[number] = Spilled((), {name: index}, files, {})

    def close(self, facts: PartitionFacts) -> Partitions:
        """Finish the folder; one that was not finished is never opened."""
        self._join()
        index: dict[str, list[Index]] = {}
        files: dict[str, Checksum] = {}
        for spilled in self._spilled.values():
            for name, part in spilled.index.items():
                index.setdefault(name, []).append(part)
            files |= spilled.files
        written = [save_index(self._work, name, parts) for name, parts in index.items()]
        written += GlobalKeys.save(self._work, self._members, self._claims, self._coverages)
        written += save_facts(self._work, facts)
        files |= {path.name: checksum_of(path) for path in written}
        Inventory(self._work).add(STEP, files)
        return open_partitions(self._work)

    def _join(self) -> None:
        """Put the ids of jobs that were read since the last time to those of the others."""
        for number in self._spilled.keys() - self._joined:
            for role, runs in self._spilled[number].ids.items():
                self._ids[role].join(runs)
            self._joined.add(number)


class _JobReceiver:
    """Takes the pieces of one job."""

    def __init__(self, work: Path, job: CutJob) -> None:
        self._work, self._job = work, job
        own = f"-{job.number:05d}"
        self._members = HashSet(work, f"member{own}")
        self._owners = {role: Owners(work, f"{role}{own}") for role in ("claim", "coverage")}
        self._ids: Mapping[str, HashSet | Owners] = {"member": self._members, **self._owners}
        self._rows = [0] * len(job.parts)
        self._writers: dict[str, SpillWriter] = {}
        self._writer(job.owners.table)

    def take(self, piece: Piece) -> None:
        self._rows[piece.part] += piece.rows.num_rows
        self._writer(piece.table).write(piece.rows, piece.cut)
        for role, (ids, owners) in piece.ids.items():
            if role == "member":
                self._members.add(ids)
            else:
                self._owners[role].add(ids, owners)

    def close(self) -> Spilled:
        index = {name: writer.close() for name, writer in self._writers.items()}
        files = {
            rows_path(self._work, name, self._job.number).name: writer.checksum()
            for name, writer in self._writers.items()
        }
        runs = {role: self._ids[role].runs() for role in sorted(self._job.owners.feeds)}
        return Spilled(tuple(self._rows), index, files, runs)

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()
        for ids in self._ids.values():
            ids.remove()

    def _writer(self, name: str) -> SpillWriter:
        if name not in self._writers:
            job = self._job
            self._writers[name] = SpillWriter(self._work, name, job.number, job.partitions)
        return self._writers[name]
