"""Hashed ids of a whole extract, across all partitions.

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
"""Ids, and an owner that each was seen with; shape (n, 2)."""

_PAIRS_ENDING: Final = ".sorting"
_OWNERS_ENDING: Final = ".owners"
_PAIR_BYTES: Final = 16
_GATHERED: Final = 1 << 18
"""Pairs that are held before they are sorted and written."""
_RANGES: Final = 256
_BOUNDS: Final = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(56)
_SHARERS: Final = "sharers"


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted pairs in a file.

    Attributes:
        path: the file.
        bounds: where each range of first numbers begins in it, and where the last ends; in pairs.
    """

    path: Path
    bounds: npt.NDArray[np.int64]


class Owners:
    """A growing set of ids, each with the member that it was seen with.

    A member is its own owner.

    Args:
        folder: where that is kept.
        name: its name there.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = folder / f"{name}{_PAIRS_ENDING}"
        self._parts: list[Pairs] = []
        self._gathered = 0
        self._runs: list[Run] = []
        self._end = 0
        self._known: tuple[OwnedIds, Hashes, Hashes] | None = None

    def add(self, ids: Hashes, owners: Hashes) -> None:
        """Put pairs in, in any order and as often as they come; both have shape (n,).

        Raises:
            OSError: the file cannot be written.
        """
        # Rows that name the same id mostly stand together; the rest is left to the sorting.
        once = changes(ids) | changes(owners)
        self._parts.append(np.stack([ids[once], owners[once]], axis=1))
        self._gathered += len(self._parts[-1])
        self._known = None
        if self._gathered > _GATHERED:
            self._write_run()

    def runs(self) -> tuple[Run, ...]:
        """Write what was put in, and return where it is: another process may `join` it.

        Raises:
            OSError: the file cannot be written.
        """
        self._write_run()
        return tuple(self._runs)

    def join(self, runs: Sequence[Run]) -> None:
        """Add the runs of other owners; these own their files from now on."""
        if runs:
            self._runs += runs
            self._known = None

    def directory(self) -> OwnedIds:
        """Return one owner an id, the least where there are several.

        It is in files that `OwnedIds.open` opens; the ids are in the one that `GlobalKeys` opens.
        """
        return self._sort_ids()[0]

    def shared(self) -> tuple[Hashes, Hashes]:
        """Return the ids that were seen with several members, and those members; ascending."""
        return self._sort_ids()[1:]

    def _sort_ids(self) -> tuple[OwnedIds, Hashes, Hashes]:
        if self._known is None:
            shared, sharers = [NO_HASHES], [NO_HASHES]

            def owners() -> Iterator[Hashes]:
                for pairs in self.ranges():
                    owned, shared_ids, shared_by = owned_and_shared(pairs)
                    shared.append(shared_ids)
                    sharers.append(shared_by)
                    yield owned.owners

            save_numbers(_owners_path(self._folder, self._name), owners())
            save_numbers(
                _ids_path(self._folder, self._name),
                (pairs[changes(pairs[:, 0]), 0] for pairs in self.ranges()),
            )
            self._known = (
                OwnedIds.open(self._folder, self._name),
                np.concatenate(shared),
                np.unique(np.concatenate(sharers)),
            )
        return self._known

    def ranges(self) -> Iterator[Pairs]:
        """Yield the pairs, distinct and ascending; all of one id come together.

        Raises:
            OSError: the file cannot be written or read.
        """
        self._write_run()
        if not self._runs:
            return
        count = sum(int(run.bounds[-1] - run.bounds[0]) for run in self._runs)
        together = _RANGES if count <= _GATHERED else 1
        for first in range(0, _RANGES, together):
            yield distinct_pairs(np.concatenate(list(self._read_pairs(first, first + together))))

    def _read_pairs(self, first: int, stop: int) -> Iterator[Pairs]:
        """Yield the pairs of some ranges of hashes, one sorted run after the other."""
        for path, runs in groupby(self._runs, key=lambda run: run.path):
            with path.open("rb") as file:
                for run in runs:
                    start, end = run.bounds[first], run.bounds[stop]
                    file.seek(int(start) * _PAIR_BYTES)
                    data = file.read(int(end - start) * _PAIR_BYTES)
                    yield np.frombuffer(data, np.uint64).reshape(-1, 2)

    def remove(self) -> None:
        """Delete the intermediate files; a directory that was returned stays."""
        for path in {self._path, *(run.path for run in self._runs)}:
            path.unlink(missing_ok=True)
        _owners_path(self._folder, self._name).unlink(missing_ok=True)

    def _write_run(self) -> None:
        if not self._gathered:
            return
        pairs = distinct_pairs(np.concatenate(self._parts))
        self._parts, self._gathered = [], 0
        inner = np.searchsorted(np.ascontiguousarray(pairs[:, 0]), _BOUNDS)
        bounds = self._end + np.concatenate([[0], inner, [len(pairs)]])
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
        """Return what `Owners.directory` left in a folder: mapped, not copied.

        Raises:
            OSError: it cannot be read.
        """
        return cls(open_numbers(_ids_path(folder, name)), open_numbers(_owners_path(folder, name)))

    def owner_of(self, ids: Hashes) -> Hashes:
        """Return the owner of each id; an id without an owner is its own."""
        if not len(self.ids):
            return ids
        changed = changes(ids)
        once = ids[changed]
        position = np.minimum(np.searchsorted(self.ids, once), len(self.ids) - 1)
        owners: Hashes = np.where(self.ids[position] == once, self.owners[position], once)
        spread: Hashes = owners[np.cumsum(changed) - 1]
        return spread


def owned_and_shared(pairs: Pairs) -> tuple[OwnedIds, Hashes, Hashes]:
    """Return one owner an id, the least where there are several; the ids that have several; those.

    Args:
        pairs: distinct and ascending.
    """
    first = changes(pairs[:, 0])
    several = np.unique(pairs[~first, 0])
    sharers = np.unique(pairs[np.isin(pairs[:, 0], several), 1])
    return OwnedIds(pairs[first, 0], pairs[first, 1]), several, sharers


@dataclass(frozen=True, slots=True)
class UnitIds:
    """Ids in the rows of one unit, by the table of `KEYS` that has them.

    Attributes:
        own: hashes of the ids of its own readable rows, ascending.
        foreign: of other ids that its rows name, ascending: other units may have them.
    """

    own: Mapping[str, Hashes]
    foreign: Mapping[str, Hashes]

    def __len__(self) -> int:
        """Return how many foreign ids there are."""
        return sum(map(len, self.foreign.values()))


@dataclass(frozen=True, slots=True)
class GlobalKeys:
    """Keys across partitions: ids of all of them, and ids that several members share.

    `exists` and `shared` take a `string` array of shape (n,) and give a boolean one, never null:
    False for an absent id.

    Attributes:
        ids: table of `KEYS` -> hashes of all its ids, ascending.
        shared_ids: table -> hashes of its ids that rows of more than one member name as their own.
        sharers: of the members that name those.
        asked: the only ids that may be looked up, where the keys are the answers for one unit;
            None where all ids are here.
    """

    ids: Mapping[str, Hashes]
    shared_ids: Mapping[str, Hashes]
    sharers: Hashes
    asked: UnitIds | None = field(default=None, kw_only=True)

    def has(self, table: str, ids: Hashes) -> npt.NDArray[np.bool_]:
        """Return which ids are in a table, by their hashes; shape (n,), as `ids`.

        Raises:
            AssertionError: an id was not asked about before.
        """
        if self.asked is not None:
            asked, foreign = self.asked.own[table], self.asked.foreign[table]
            if not (among(ids, asked) | among(ids, foreign)).all():
                raise AssertionError(f"a {table} is looked up that was not asked about (a bug)")
        return among(ids, self.ids.get(table, NO_HASHES))

    def exists(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which ids are in a table.

        Raises:
            AssertionError: an id was not asked about before.
        """
        if self.asked is not None:
            self.has(table, hash_ids(ids)[filled(ids)])
        return is_among(ids, self.ids.get(table, NO_HASHES))

    def shared(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which ids of a table are of more than one member."""
        return is_among(ids, self.shared_ids.get(table, NO_HASHES))

    def of_unit(self, ids: UnitIds) -> GlobalKeys:
        """Return what the rules of one unit may look up, as a value that needs no work folder.

        Args:
            ids: those of its rows.
        """
        answered = {
            table: np.union1d(ids.own[table], asked[self.has(table, asked)])
            for table, asked in ids.foreign.items()
        }
        shared = {table: np.array(hashes) for table, hashes in self.shared_ids.items()}
        return GlobalKeys(answered, shared, np.array(self.sharers), asked=ids)

    @classmethod
    def save(cls, work: Path, owners: Mapping[str, Owners]) -> tuple[Path, ...]:
        """Write the sets into the work folder in which they were gathered; return their files."""
        sharers = [NO_HASHES]
        for table, gathered in owners.items():
            shared, shared_by = gathered.shared()
            save_numbers(_ids_path(work, _shared_name(table)), [shared])
            sharers.append(shared_by)
        save_numbers(_ids_path(work, _SHARERS), [np.unique(np.concatenate(sharers))])
        for gathered in owners.values():
            gathered.remove()
        names = (*owners, *map(_shared_name, owners), _SHARERS)
        return tuple(_ids_path(work, name) for name in names)

    @classmethod
    def open(cls, work: Path) -> GlobalKeys:
        """Return the sets of a work folder, mapped and not copied."""
        ids = {table: open_numbers(_ids_path(work, table)) for table in KEYS}
        shared = {table: open_numbers(_ids_path(work, _shared_name(table))) for table in KEYS}
        return cls(ids, shared, open_numbers(_ids_path(work, _SHARERS)))


NO_KEYS: Final = GlobalKeys({}, {}, NO_HASHES)


def clear_gathered(work: Path) -> None:
    """Delete the files of a reading that did not finish."""
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
    """Return pairs in ascending order, each once."""
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    keep = np.ones(len(pairs), dtype=bool)
    keep[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[keep]


def save_numbers(path: Path, pieces: Iterable[npt.NDArray[np.uint64]]) -> None:
    """Write numbers one after another into a file; existing maps of an older one stay valid.

    Raises:
        OSError: it cannot be written.
    """
    staged = path.with_name(path.name + ".part")
    with staged.open("wb") as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)
    staged.replace(path)


def open_numbers(path: Path) -> npt.NDArray[np.uint64]:
    """Return the numbers of a file, mapped and not copied.

    Raises:
        OSError: it cannot be read.
    """
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=np.uint64)
    return np.memmap(path, dtype=np.uint64, mode="r").view(np.ndarray)
