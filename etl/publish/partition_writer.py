"""Publishing one partition of patients: what a worker does, on this machine or on another.

A partition may hold any patients, as long as no patient is in two of them. Its result is small,
and can be saved, so that a run that died resumes after the last finished partition.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from etl.publish.block import PatientResources
from etl.publish.canonical_json import dumps, loads
from etl.publish.catalog import CatalogEntry, id_hash
from etl.publish.kept_objects import to_bytes
from etl.publish.manifest import Changes, total
from etl.publish.unit_writer import Owner, to_line, write_unit
from etl.storage.parallel import Writer
from etl.storage.port import Store

CATALOG_ROWS: Final = "catalog.ndjson"
"""Name of the file with a unit's rows of the catalog."""

_UNCHANGED_PREFIX: Final = b'{"stays":'
_READ_BYTES: Final = 16 * 1024
"""Bytes of a saved partition that are read at a time, and held while partitions are merged."""
_MAX_CHANGES: Final = 1000
"""Counts that are held before they are summed up."""


@dataclass(frozen=True, slots=True)
class WriteCounts:
    """Result of publishing one partition.

    Attributes:
        changes: counts against the release that the run started from.
        count: how many patients the partition had.
        kept: how many more of them stay as they are.
    """

    changes: Changes
    count: int
    kept: int = 0


class PartitionUnits(Protocol):
    """A finished partition: in memory, or saved in a file."""

    @property
    def written(self) -> WriteCounts:
        """Changes to patients and resources."""

    def units(self) -> Iterator[CatalogEntry]:
        """Yield the catalog entries of its patients, by ID hash; repeatable."""

    def unchanged_ids(self) -> Iterator[str]:
        """Yield the IDs of unchanged patients, ordered by ID hash."""


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """A finished partition in memory.

    Attributes:
        written: counts of what was published.
        rows: the rows of its patients, ordered by place.
        staying: ids of patients whose rows stay as they are, ordered by place.
    """

    written: WriteCounts
    rows: Sequence[CatalogEntry]
    staying: Sequence[str] = ()

    def units(self) -> Iterator[CatalogEntry]:
        """Yield the catalog entries of its patients, ordered by ID hash."""
        yield from self.rows

    def unchanged_ids(self) -> Iterator[str]:
        """Yield the IDs of unchanged patients, ordered by ID hash."""
        yield from self.staying

    def keeping(self, patient_ids: Iterable[str]) -> PartitionResult:
        """Return the partition with additional unchanged patients.

        They are neither rendered nor hashed nor read: their rows are taken from the catalog of the
        release that the run started from, where they must have a block.
        """
        staying = sorted({*self.staying, *patient_ids}, key=id_hash)
        return replace(self, written=replace(self.written, kept=len(staying)), staying=staying)

    def lines(self) -> Iterator[bytes]:
        """Yield the result as lines of a file that `SavedPartition` reads."""
        yield to_bytes(self.written)
        for unit in self.rows:
            yield to_bytes(unit)
        for patient_id in self.staying:
            yield dumps({"stays": patient_id}) + b"\n"


@dataclass(frozen=True, slots=True)
class SavedPartition:
    """A finished partition in a file of `PartitionResult.lines`.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def written(self) -> WriteCounts:
        """Changes to patients and resources."""
        with self.path.open("rb") as file:
            return msgspec.json.decode(file.readline(), type=WriteCounts)

    def units(self) -> Iterator[CatalogEntry]:
        """Yield the catalog entries of its patients, ordered by ID hash."""
        for line in islice(self._lines(), 1, None):
            if line.startswith(_UNCHANGED_PREFIX):
                return
            yield msgspec.json.decode(line, type=CatalogEntry)

    def unchanged_ids(self) -> Iterator[str]:
        """Yield the IDs of unchanged patients, ordered by ID hash."""
        for line in islice(self._lines(), 1, None):
            if line.startswith(_UNCHANGED_PREFIX):
                yield loads(line, str(self.path))["stays"]

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines, without line ends.

        The file is open only while a piece of it is read: a run merges all its partitions, which
        may be more files than a process can have open.
        """
        start, partial_line = 0, b""
        while True:
            with self.path.open("rb") as file:
                file.seek(start)
                chunk = file.read(_READ_BYTES)
            if not chunk:
                return
            *lines, partial_line = (partial_line + chunk).split(b"\n")
            yield from lines
            start += len(chunk)


def write_partition(
    store: Store,
    previous: Mapping[str, CatalogEntry],
    patients: Iterable[PatientResources],
    run_time: str,
    *,
    default_time: str = "",
    lost_ids: AbstractSet[str] = frozenset(),
) -> PartitionResult:
    """Publish the patients of one partition.

    An unchanged patient costs a hash: nothing is read, compressed or written.

    Args:
        store: the target.
        previous: the rows that these patients have in the release that the run started from
            (`Release.units`); empty before the first release.
        patients: everything there is of each patient.
        run_time: FHIR instant of the run.
        default_time: FHIR instant for resources that state none; `run_time` where empty.
        lost_ids: ids of patients whose block or index is not in the store any more.

    Returns:
        The rows of all these patients. Their objects are in the store and would survive a crash;
        no reader sees them before the commit.

    Raises:
        StoreError: storage failed. Nothing that a reader sees was changed.
    """
    units: dict[str, CatalogEntry] = {}
    changes: list[Changes] = []
    with Writer(store) as writer:
        for patient in patients:
            patient_id = patient.patient_id
            if patient_id in units:
                raise ValueError(f"Patient/{patient_id} was handed in twice")
            previous_entry = previous.get(patient_id)
            lines = [to_line(resource, default_time or run_time) for resource in patient.resources]
            if not any((line.row.type, line.row.id) == ("Patient", patient_id) for line in lines):
                lines = []  # nobody could be shown them
            if lines or previous_entry is not None:
                owner, is_lost = Owner.patient(patient_id), patient_id in lost_ids
                unit, change = write_unit(
                    store, writer, owner, lines, previous_entry, run_time, is_lost=is_lost
                )
                units[patient_id] = unit
                changes.append(change)
            if len(changes) > _MAX_CHANGES:
                changes = [total(changes)]
    store.sync()
    rows = sorted(units.values(), key=lambda unit: id_hash(unit.id))
    written = WriteCounts(total(changes), len(rows))
    return PartitionResult(written, rows)


def merged_units(partitions: Iterable[PartitionUnits]) -> Iterator[CatalogEntry]:
    """Merge the catalog entries of many partitions, ordered by ID hash.

    Raises:
        ValueError: a patient is in two partitions (a bug of the caller).
    """
    previous_hash = ""
    streams = [((id_hash(unit.id), unit) for unit in partition.units()) for partition in partitions]
    for unit_hash, unit in heapq.merge(*streams, key=lambda pair: pair[0]):
        if unit_hash == previous_hash:
            raise ValueError(f"Patient/{unit.id} is in two partitions")
        previous_hash = unit_hash
        yield unit


def merged_kept(partitions: Iterable[PartitionUnits]) -> Iterator[str]:
    """Merge the unchanged patients of many partitions, ordered by ID hash."""
    return heapq.merge(*(partition.unchanged_ids() for partition in partitions), key=id_hash)
