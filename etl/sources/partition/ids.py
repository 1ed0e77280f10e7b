"""FileHashed ids of a whole extract, across all partitions.

The directory of claims costs 16 bytes a claim (its hash and its member's), the sets of ids 8 bytes
an id: on disk. They are sorted there, and are files of the work folder that every process maps
instead of holding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes, among, changes, filled, hash_ids, is_among
from etl.model.canonical_tables import KEYS

Pairs = npt.NDArray[np.uint64]
"""An ID and an owner in each row; shape (n, 2)."""

_PAIRS_ENDING: Final = ".sorting"
_OWNERS_ENDING: Final = ".owners"
_PAIR_BYTES: Final = 16
_MAX_PENDING: Final = 1 << 18
"""Pairs to hold in memory before they are sorted and written."""
_RANGES: Final = 256
_BOUNDS: Final = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(56)
_SHARERS: Final = "sharers"


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted pairs in a file.

    Attributes:
        path: the file.
        bounds: start of each range of hashes in it, and end of the last; in pairs.
    """

    path: Path
    bounds: npt.NDArray[np.int64]


class OwnedIdSorter:
    """A growing set of ids, each with the member that owns it; a member is its own owner.

    Args:
        folder: the folder of its files.
        name: how their names begin.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = folder / f"{name}{_PAIRS_ENDING}"
        self._pending: list[Pairs] = []
        self._pending_count = 0
        self._runs: list[Run] = []
        self._end = 0
        self._sorted: tuple[OwnedIds, Hashes, Hashes] | None = None

    def add(self, ids: Hashes, owners: Hashes) -> None:
        """Add pairs, in any order, repeated ones too; both have shape (n,).

        Raises:
            OSError: the file cannot be written.
        """
        # Rows with the same ID are mostly adjacent; sorting drops the other repeats.
        is_new = changes(ids) | changes(owners)
        self._pending.append(np.stack([ids[is_new], owners[is_new]], axis=1))
        self._pending_count += len(self._pending[-1])
        self._sorted = None
        if self._pending_count > _MAX_PENDING:
            self._write_run()

    def runs(self) -> tuple[Run, ...]:
        """Write the pairs, and return their sorted runs: another process may `join` them.

        Raises:
            OSError: the file cannot be written.
        """
        self._write_run()
        return tuple(self._runs)

    def join(self, runs: Sequence[Run]) -> None:
        """Add runs that another object wrote, and take over their files."""
        if runs:
            self._runs += runs
            self._sorted = None

    def directory(self) -> OwnedIds:
        """Return one owner for each ID, the smallest of several.

        Stored in files that `OwnedIds.open` opens; `GlobalKeys` opens that of the IDs alone.
        """
        return self._sort_ids()[0]

    def shared_ids(self) -> tuple[Hashes, Hashes]:
        """Return the IDs that several members own, and those members; ascending."""
        return self._sort_ids()[1:]

    def _sort_ids(self) -> tuple[OwnedIds, Hashes, Hashes]:
        if self._sorted is None:
            all_shared, all_sharers = [NO_HASHES], [NO_HASHES]

            def yield_owners() -> Iterator[Hashes]:
                for pairs in self.ranges():
                    owned, shared_ids, sharers = owned_and_shared(pairs)
                    all_shared.append(shared_ids)
                    all_sharers.append(sharers)
                    yield owned.owners

            save_numbers(_owners_path(self._folder, self._name), yield_owners())
            save_numbers(
                _ids_path(self._folder, self._name),
                (pairs[changes(pairs[:, 0]), 0] for pairs in self.ranges()),
            )
            self._sorted = (
                OwnedIds.open(self._folder, self._name),
                np.concatenate(all_shared),
                np.unique(np.concatenate(all_sharers)),
            )
        return self._sorted

    def ranges(self) -> Iterator[Pairs]:
        """Yield the pairs, distinct and ascending; all pairs of an ID are in one array.

        Raises:
            OSError: the file cannot be written or read.
        """
        self._write_run()
        if not self._runs:
            return
        count = sum(int(run.bounds[-1] - run.bounds[0]) for run in self._runs)
        # Few pairs are sorted at once, many range by range.
        step = _RANGES if count <= _MAX_PENDING else 1
        for first in range(0, _RANGES, step):
            yield distinct_pairs(np.concatenate(list(self._read_pairs(first, first + step))))

    def _read_pairs(self, first: int, stop: int) -> Iterator[Pairs]:
        """Yield each run's pairs in the hash ranges from `first` to before `stop`."""
        for path, runs in groupby(self._runs, key=lambda run: run.path):
            with path.open("rb") as file:
                for run in runs:
                    start, end = run.bounds[first], run.bounds[stop]
                    file.seek(int(start) * _PAIR_BYTES)
                    data = file.read(int(end - start) * _PAIR_BYTES)
                    yield np.frombuffer(data, np.uint64).reshape(-1, 2)

    def remove(self) -> None:
        """Delete the intermediate files; the file of the IDs stays."""
        for path in {self._path, *(run.path for run in self._runs)}:
            path.unlink(missing_ok=True)
        _owners_path(self._folder, self._name).unlink(missing_ok=True)

    def _write_run(self) -> None:
        if not self._pending_count:
            return
        pairs = distinct_pairs(np.concatenate(self._pending))
        self._pending, self._pending_count = [], 0
        inner_bounds = np.searchsorted(np.ascontiguousarray(pairs[:, 0]), _BOUNDS)
        bounds = self._end + np.concatenate([[0], inner_bounds, [len(pairs)]])
        self._runs.append(Run(self._path, bounds))
        with self._path.open("ab" if self._end else "wb") as file:
            file.write(pairs.data)
        self._end += len(pairs)


@dataclass(frozen=True, slots=True)
class OwnedIds:
    """Ids and their owners.

    Attributes:
        ids: hashes, ascending.
        owners: the member's hash for each.
    """

    ids: Hashes
    owners: Hashes

    @classmethod
    def open(cls, folder: Path, name: str) -> OwnedIds:
        """Map the files that `OwnedIdSorter.directory` wrote.

        Raises:
            OSError: a file cannot be read.
        """
        return cls(open_numbers(_ids_path(folder, name)), open_numbers(_owners_path(folder, name)))

    def owner_of(self, ids: Hashes) -> Hashes:
        """Return the owner of each id; an id without an owner is its own."""
        if not len(self.ids):
            return ids
        # Each run of equal ids is looked up once.
        is_new = changes(ids)
        distinct = ids[is_new]
        positions = np.minimum(np.searchsorted(self.ids, distinct), len(self.ids) - 1)
        owners: Hashes = np.where(self.ids[positions] == distinct, self.owners[positions], distinct)
        id_owners: Hashes = owners[np.cumsum(is_new) - 1]
        return id_owners


def owned_and_shared(pairs: Pairs) -> tuple[OwnedIds, Hashes, Hashes]:
    """Return one owner for each ID (the smallest), the IDs with several owners, and their owners.

    Args:
        pairs: distinct and ascending.
    """
    is_first = changes(pairs[:, 0])
    shared_ids = np.unique(pairs[~is_first, 0])
    sharers = np.unique(pairs[np.isin(pairs[:, 0], shared_ids), 1])
    return OwnedIds(pairs[is_first, 0], pairs[is_first, 1]), shared_ids, sharers


@dataclass(frozen=True, slots=True)
class UnitIds:
    """Ids in the rows of one unit, by table of `KEYS`.

    Attributes:
        own_ids: hashes of the IDs of its readable rows, ascending.
        foreign_ids: hashes of the other IDs that its rows refer to, ascending; other units may have
            them.
    """

    own_ids: Mapping[str, Hashes]
    foreign_ids: Mapping[str, Hashes]

    def __len__(self) -> int:
        """Return the number of foreign IDs."""
        return sum(map(len, self.foreign_ids.values()))


@dataclass(frozen=True, slots=True)
class GlobalKeys:
    """Keys across partitions: ids of all of them, and ids that several members share.

    `exists` and `shared` take a `string` array of shape (n,) and give a boolean one, never null:
    False for an absent id.

    Attributes:
        ids: table of `KEYS` -> hashes of all its ids, ascending.
        shared_ids: table -> hashes of its IDs that several members own.
        sharers: hashes of those members.
        lookup_ids: the only IDs that may be looked up, if the keys are of one unit; None for any.
    """

    ids: Mapping[str, Hashes]
    shared_ids: Mapping[str, Hashes]
    sharers: Hashes
    lookup_ids: UnitIds | None = field(default=None, kw_only=True)

    def has(self, table: str, ids: Hashes) -> npt.NDArray[np.bool_]:
        """Return which ID hashes are in a table; shape (n,), as `ids`.

        Raises:
            AssertionError: an id was not asked about before.
        """
        if self.lookup_ids is not None:
            own_ids = self.lookup_ids.own_ids[table]
            foreign_ids = self.lookup_ids.foreign_ids[table]
            if not (among(ids, own_ids) | among(ids, foreign_ids)).all():
                raise AssertionError(f"a {table} is looked up that was not asked about (a bug)")
        return among(ids, self.ids.get(table, NO_HASHES))

    def exists(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which ids are in a table.

        Raises:
            AssertionError: an id was not asked about before.
        """
        if self.lookup_ids is not None:
            self.has(table, hash_ids(ids)[filled(ids)])
        return is_among(ids, self.ids.get(table, NO_HASHES))

    def shared(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which IDs of a table several members own."""
        return is_among(ids, self.shared_ids.get(table, NO_HASHES))

    def of_unit(self, ids: UnitIds) -> GlobalKeys:
        """Return the keys that rules of one unit may look up; they need no work folder.

        Args:
            ids: the IDs in the unit's rows.
        """
        existing = {
            table: np.union1d(ids.own_ids[table], foreign[self.has(table, foreign)])
            for table, foreign in ids.foreign_ids.items()
        }
        shared = {table: np.array(hashes) for table, hashes in self.shared_ids.items()}
        return GlobalKeys(existing, shared, np.array(self.sharers), lookup_ids=ids)

    @classmethod
    def save(cls, work: Path, owners: Mapping[str, OwnedIdSorter]) -> tuple[Path, ...]:
        """Write the IDs, the shared IDs and their sharers; return the files.

        Deletes the intermediate files of `owners`.
        """
        all_sharers = [NO_HASHES]
        for table, table_owners in owners.items():
            shared_ids, sharers = table_owners.shared_ids()
            save_numbers(_ids_path(work, _shared_name(table)), [shared_ids])
            all_sharers.append(sharers)
        save_numbers(_ids_path(work, _SHARERS), [np.unique(np.concatenate(all_sharers))])
        for table_owners in owners.values():
            table_owners.remove()
        names = (*owners, *map(_shared_name, owners), _SHARERS)
        return tuple(_ids_path(work, name) for name in names)

    @classmethod
    def open(cls, work: Path) -> GlobalKeys:
        """Map the keys of a work folder."""
        ids = {table: open_numbers(_ids_path(work, table)) for table in KEYS}
        shared = {table: open_numbers(_ids_path(work, _shared_name(table))) for table in KEYS}
        return cls(ids, shared, open_numbers(_ids_path(work, _SHARERS)))


NO_KEYS: Final = GlobalKeys({}, {}, NO_HASHES)


def delete_id_files(work: Path) -> None:
    """Delete the intermediate files of an unfinished read."""
    for ending in (_PAIRS_ENDING, _OWNERS_ENDING):
        for path in work.glob(f"*{ending}"):
            path.unlink()


def _ids_path(work: Path, name: str) -> Path:
    return work / f"{name}.hashes"


def _shared_name(table: str) -> str:
    return f"shared_{table}"


def _owners_path(work: Path, name: str) -> Path:
    return work / f"{name}{_OWNERS_ENDING}"


def distinct_pairs(pairs: Pairs) -> Pairs:
    """Return the distinct pairs, ascending."""
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    is_new = np.ones(len(pairs), dtype=bool)
    is_new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[is_new]


def save_numbers(path: Path, arrays: Iterable[npt.NDArray[np.uint64]]) -> None:
    """Write arrays into one file; memory maps of an older file stay valid.

    Raises:
        OSError: the file cannot be written.
    """
    staged = path.with_name(path.name + ".part")
    with staged.open("wb") as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array).data)
    staged.replace(path)


def open_numbers(path: Path) -> npt.NDArray[np.uint64]:
    """Map the numbers of a file.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=np.uint64)
    return np.memmap(path, dtype=np.uint64, mode="r").view(np.ndarray)
