"""Sets of hashed ids of a whole extract, across all partitions.

The directory of claims costs 16 bytes a claim (its hash and its member's), the sets of ids 8 bytes
an id: on disk. They are sorted there, and are files of the work folder that every process maps
instead of holding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes, among, changes, filled, hash_ids, is_among

_ROWS_ENDING: Final = ".sorting"
_OWNERS_ENDING: Final = ".owners"


class HashSet:
    """A growing set of hashes.

    Args:
        folder: where it is kept.
        name: its name there.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = _path(folder, name)
        self._rows = SortedRows(folder / f"{name}{_ROWS_ENDING}", 1)

    def add(self, hashes: Hashes) -> None:
        """Put hashes in, in any order and as often as they come."""
        # Rows that name the same id mostly stand together; the rest is left to the sorting.
        self._rows.add(hashes[changes(hashes)].reshape(-1, 1))

    def runs(self) -> tuple[Run, ...]:
        """Return what was put in, as another process may `join` it to a set of its own."""
        return self._rows.runs()

    def join(self, runs: Sequence[Run]) -> None:
        """Add the runs of another set; this one owns their files from now on."""
        self._rows.join(runs)

    def sorted(self) -> Hashes:
        """Return what is in it, ascending: mapped, from the file that `GlobalKeys` opens."""
        save_numbers(self._path, self._rows.ranges())
        return open_numbers(self._path)

    def remove(self) -> None:
        """Delete the intermediate files."""
        self._rows.remove()


class Owners:
    """Ids with the member that each was seen with.

    Args:
        folder: where that is kept.
        name: its name there.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._rows = SortedRows(folder / f"{name}{_ROWS_ENDING}", 2)
        self._known: tuple[OwnedIds, SharedIds] | None = None

    def add(self, ids: Hashes, owners: Hashes) -> None:
        """Put pairs in; both have shape (n,)."""
        once = changes(ids) | changes(owners)
        self._rows.add(np.stack([ids[once], owners[once]], axis=1))
        self._known = None

    def runs(self) -> tuple[Run, ...]:
        """Return what was put in, as another process may `join` it to owners of its own."""
        return self._rows.runs()

    def join(self, runs: Sequence[Run]) -> None:
        """Add the runs of other owners; these own their files from now on."""
        if runs:
            self._rows.join(runs)
            self._known = None

    def directory(self) -> OwnedIds:
        """Return one owner an id, the least where there are several.

        It is in files that `OwnedIds.open` opens; the ids are in the one that `GlobalKeys` opens.
        """
        return self._sorted()[0]

    def shared(self) -> SharedIds:
        """Return which ids were seen with several members."""
        return self._sorted()[1]

    def _sorted(self) -> tuple[OwnedIds, SharedIds]:
        if self._known is None:
            shared, sharers = [NO_HASHES], [NO_HASHES]

            def owners() -> Iterator[Hashes]:
                for pairs in self._rows.ranges():
                    owned, of_several = owned_and_shared(pairs)
                    shared.append(of_several.ids)
                    sharers.append(of_several.sharers)
                    yield owned.owners

            save_numbers(_owners_path(self._folder, self._name), owners())
            save_numbers(
                _path(self._folder, self._name),
                (pairs[changes(pairs[:, 0]), 0] for pairs in self._rows.ranges()),
            )
            self._known = (
                OwnedIds.open(self._folder, self._name),
                SharedIds(np.concatenate(shared), np.unique(np.concatenate(sharers))),
            )
        return self._known

    def remove(self) -> None:
        """Delete the intermediate files; a directory that was returned stays."""
        self._rows.remove()
        _owners_path(self._folder, self._name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class SharedIds:
    """Ids that were seen with more than one member.

    Attributes:
        ids: hashes, ascending.
        sharers: the members that they were seen with, ascending.
    """

    ids: Hashes
    sharers: Hashes


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
        return cls(open_numbers(_path(folder, name)), open_numbers(_owners_path(folder, name)))

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


def owned_and_shared(pairs: Rows) -> tuple[OwnedIds, SharedIds]:
    """Return one owner an id, the least where there are several, and which ids have several.

    Args:
        pairs: an id and an owner that it was seen with, shape (n, 2); distinct and ascending.
    """
    first = changes(pairs[:, 0])
    several = np.unique(pairs[~first, 0])
    sharers = np.unique(pairs[np.isin(pairs[:, 0], several), 1])
    return OwnedIds(pairs[first, 0], pairs[first, 1]), SharedIds(several, sharers)


@dataclass(frozen=True, slots=True)
class GlobalKeys:
    """Keys across partitions: ids of all of them, and ids that several members share.

    `exists` and `shared` take a `string` array of shape (n,) and give a boolean one, never null:
    False for an absent id.

    Attributes:
        members: hashes of all ids in the member table, ascending; likewise the others.
        claims: of the claim table.
        coverages: of the coverage table.
        shared_claims: of claims that rows of more than one member name as their own.
        shared_coverages: of coverages likewise.
        sharers: of the members that name those claims or coverages.
    """

    members: Hashes
    claims: Hashes
    coverages: Hashes
    shared_claims: Hashes
    shared_coverages: Hashes
    sharers: Hashes

    def has(self, table: str, ids: Hashes) -> npt.NDArray[np.bool_]:
        """Return which ids are in a table, by their hashes; shape (n,), as `ids`."""
        return among(ids, self._ids(table))

    def exists(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which ids are in a table: `member`, `coverage` or `claim`."""
        return is_among(ids, self._ids(table))

    def _ids(self, table: str) -> Hashes:
        return {"member": self.members, "coverage": self.coverages, "claim": self.claims}[table]

    def shared(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which ids of `coverage` or `claim` are of more than one member."""
        return is_among(ids, self.shared_claims if table == "claim" else self.shared_coverages)

    def of_unit(self, ids: UnitIds) -> UnitKeys:
        """Return what the rules of one unit may look up: answers, and no other id of the extract.

        Args:
            ids: those of its rows.
        """
        answered = {
            table: np.union1d(ids.own[table], asked[self.has(table, asked)])
            for table, asked in ids.foreign.items()
        }
        return UnitKeys(
            answered["member"],
            answered["claim"],
            answered["coverage"],
            np.array(self.shared_claims),
            np.array(self.shared_coverages),
            np.array(self.sharers),
            ids,
        )

    @classmethod
    def save(
        cls, work: Path, members: HashSet, claims: Owners, coverages: Owners
    ) -> tuple[Path, ...]:
        """Write the sets into the work folder in which they were gathered; return their files."""
        members.sorted()
        of_claims, of_coverages = claims.shared(), coverages.shared()
        for name, entry in (
            ("shared_claims", of_claims.ids),
            ("shared_coverages", of_coverages.ids),
            ("sharers", np.union1d(of_claims.sharers, of_coverages.sharers)),
        ):
            save_numbers(_path(work, name), [entry])
        for gathered in (members, claims, coverages):
            gathered.remove()
        return tuple(_path(work, each.name) for each in fields(cls))

    @classmethod
    def open(cls, work: Path) -> GlobalKeys:
        """Return the sets of a work folder, mapped and not copied."""
        return cls(**{each.name: open_numbers(_path(work, each.name)) for each in fields(cls)})


@dataclass(frozen=True, slots=True)
class UnitIds:
    """Ids in the rows of one unit, by the table that has them: `member`, `claim`, `coverage`.

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
class UnitKeys(GlobalKeys):
    """Keys that a unit may look up, as a value: they need no work folder.

    Members, claims and coverages are those of the unit, and those of its foreign ids that exist.

    Attributes:
        known: the ids that there are answers about.
    """

    known: UnitIds

    def has(self, table: str, ids: Hashes) -> npt.NDArray[np.bool_]:
        """Return which ids are in a table, by their hashes; shape (n,), as `ids`.

        Raises:
            AssertionError: an id was not asked about before.
        """
        self._check(table, ids)
        return among(ids, self._ids(table))

    def exists(self, table: str, ids: pa.Array) -> pa.BooleanArray:
        """Return which ids are in a table.

        Raises:
            AssertionError: an id was not asked about before.
        """
        self._check(table, hash_ids(ids)[filled(ids)])
        return is_among(ids, self._ids(table))

    def _check(self, table: str, ids: Hashes) -> None:
        known = among(ids, self.known.own[table]) | among(ids, self.known.foreign[table])
        if not known.all():
            raise AssertionError(f"a {table} is looked up that was not asked about (a bug)")


def clear_gathered(work: Path) -> None:
    """Delete the files of a reading that did not finish."""
    for ending in (_ROWS_ENDING, _OWNERS_ENDING):
        for path in work.glob(f"*{ending}"):
            path.unlink()


def _path(work: Path, name: str) -> Path:
    return work / f"{name}.hashes"


def _owners_path(work: Path, name: str) -> Path:
    return work / f"{name}{_OWNERS_ENDING}"


Rows = npt.NDArray[np.uint64]
"""Shape (n, width)."""

_GATHERED: Final = 1 << 18
"""Rows that are held before they are sorted and written."""
_RANGES: Final = 256
_BOUNDS: Final = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(56)


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted rows in a file.

    Attributes:
        path: the file.
        bounds: where each range of first numbers begins in it, and where the last ends; in rows.
    """

    path: Path
    bounds: npt.NDArray[np.int64]


class SortedRows:
    """Distinct rows in ascending order.

    Args:
        path: a file of this object's own, made where it is needed.
        width: numbers of a row.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self._width = width
        self._parts: list[Rows] = []
        self._gathered = 0
        self._runs: list[Run] = []
        self._end = 0

    def runs(self) -> tuple[Run, ...]:
        """Write what was put in, and return where it is: another process may `join` it.

        Raises:
            OSError: the file cannot be written.
        """
        self._write()
        return tuple(self._runs)

    def join(self, runs: Sequence[Run]) -> None:
        """Add the runs of another object; this one owns their files from now on."""
        self._runs += runs

    def add(self, rows: Rows) -> None:
        """Put rows in.

        Raises:
            OSError: the file cannot be written.
        """
        self._parts.append(rows)
        self._gathered += len(rows)
        if self._gathered > _GATHERED:
            self._write()

    def ranges(self) -> Iterator[Rows]:
        """Yield the rows in ascending order; all rows of one first number come together.

        Raises:
            OSError: the file cannot be written or read.
        """
        self._write()
        if not self._runs:
            return
        for number in range(_RANGES):
            yield distinct_rows(np.concatenate(list(self._pieces(number))))

    def _pieces(self, number: int) -> Iterator[Rows]:
        """Yield the rows of one range in each run; no more than one file is open at a time."""
        for path, runs in groupby(self._runs, key=lambda run: run.path):
            with path.open("rb") as file:
                for run in runs:
                    start, end = run.bounds[number : number + 2]
                    file.seek(int(start) * 8 * self._width)
                    data = file.read(int(end - start) * 8 * self._width)
                    yield np.frombuffer(data, np.uint64).reshape(-1, self._width)

    def remove(self) -> None:
        """Delete the files."""
        for path in {self._path, *(run.path for run in self._runs)}:
            path.unlink(missing_ok=True)

    def _write(self) -> None:
        if not self._gathered:
            return
        rows = distinct_rows(np.concatenate(self._parts))
        self._parts, self._gathered = [], 0
        inner = np.searchsorted(np.ascontiguousarray(rows[:, 0]), _BOUNDS)
        bounds = self._end + np.concatenate([[0], inner, [len(rows)]])
        self._runs.append(Run(self._path, bounds))
        with self._path.open("ab" if self._end else "wb") as file:
            file.write(rows.data)
        self._end += len(rows)


def distinct_rows(rows: Rows) -> Rows:
    """Return rows in ascending order, each once."""
    rows = rows[np.lexsort(rows.T[::-1])]
    keep = np.ones(len(rows), dtype=bool)
    keep[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[keep]


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
