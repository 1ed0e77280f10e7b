"""The objects of a sidecar: pieces by range of owners, and their list.

`memory/<sha256>.sidecar` lists the pieces and the extracts whose files they name; a piece is
`memory/<sha256>.places`. The pieces of one range stand oldest first, and the last one with an owner
counts. So a night writes what changed, and names the rest as the release before does; pieces that
have become small beside what is written are written again together with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from etl.columns.digests import Hashes
from etl.errors import StoreError
from etl.pipeline.sidecar.entries import (
    all_joined,
    from_bytes,
    joined,
    marks_of,
    owners_alone,
    to_bytes,
    with_rows,
)
from etl.publish import kept_objects
from etl.publish.canonical_json import as_instant
from etl.publish.reader import Current, Release
from etl.sources import Extract
from etl.storage.port import Store

_LIST: Final = "sidecar"
_PIECE: Final = "places"
_LARGER: Final = 4
"""Least ratio of the entries of a piece to those of the one after it."""


class SidecarFile(NamedTuple):
    """A file of an extract.

    Attributes:
        name: its name in the extract.
        bytes: its size.
        sha256: its hash, in lower-case hex.
    """

    name: str
    bytes: int
    sha256: str


class SidecarExtract(msgspec.Struct, frozen=True, rename="camel"):
    """An extract whose rows a sidecar names.

    Attributes:
        as_of: day of the state that it holds, `YYYY-MM-DD`; None where it is not stated.
        read: FHIR instant of the run that first published it.
        layout: name of its layout.
        files: its files, by number.
    """

    as_of: str | None
    read: str
    layout: str
    files: tuple[SidecarFile, ...]

    @classmethod
    def of(cls, extract: Extract, when: datetime) -> SidecarExtract:
        """Return what a sidecar keeps of an extract."""
        return cls(
            None if extract.as_of is None else extract.as_of.isoformat(),
            as_instant(when),
            extract.layout.name,
            tuple(SidecarFile(file.name, file.bytes, file.sha256) for file in extract.files),
        )


@dataclass(frozen=True, slots=True)
class SidecarPiece(kept_objects.RangeRef):
    """A piece, and the partitions whose owners it is of.

    Attributes:
        extracts: marks of the extracts that it names.
    """

    extracts: tuple[str, ...]


class _PieceList(msgspec.Struct):
    format: int
    partitions: int
    pieces: tuple[SidecarPiece, ...]
    directory: SidecarPiece | None
    extracts: Mapping[str, SidecarExtract]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The sidecar of a release.

    Attributes:
        count: how many partitions there were.
        pieces: in the order of ranges, those of one range oldest first.
        directory: the piece of the directory; None where there is none.
        extracts: mark -> extract.
    """

    count: int
    pieces: Sequence[SidecarPiece]
    directory: SidecarPiece | None = None
    extracts: Mapping[str, SidecarExtract] | None = None

    def for_partitions(self, indexes: range, count: int) -> Sidecar:
        """Return the pieces with members of some of `count` partitions now."""
        touching = [piece for piece in self.pieces if piece.touches(indexes, count, self.count)]
        return Sidecar(self.count, touching)


def extract_mark(extract: Extract) -> str:
    """Return what stands for an extract in pieces: 16 hex digits of a hash of its files."""
    facts = [extract.layout.name, *([file.name, file.sha256] for file in extract.files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def sidecar_of(release: Release) -> Sidecar | None:
    """Return the sidecar of a release; None where it has none.

    Raises:
        StoreError: its list is missing or damaged.
    """
    ref = release.kept(kept_objects.MEMORY, f".{_LIST}")
    if ref is None:
        return None
    listed = kept_objects.read_object(release.store, ref, _PieceList)
    return Sidecar(listed.partitions, listed.pieces, listed.directory, listed.extracts)


def sidecar_before(base: Current) -> Sidecar | None:
    """Return the sidecar to carry on from; None where there is none or its list is damaged."""
    try:
        return None if base.release is None else sidecar_of(base.release)
    except StoreError:
        return None  # `verify` reports it; all members are processed, and it is written anew


@dataclass(frozen=True, slots=True)
class UnitSidecar:
    """The pieces with members of one unit in the release before.

    Attributes:
        pieces: they, oldest first.
        entries: of each.
        is_range: whether they are of just these members.
    """

    pieces: tuple[SidecarPiece, ...] = ()
    entries: tuple[pa.Table, ...] = ()
    is_range: bool = True


def unit_sidecar(
    store: Store, before: Sidecar | None, unit: range, count: int
) -> UnitSidecar | None:
    """Return the pieces of a unit; None where one is lost or damaged.

    Args:
        store: the target.
        before: the sidecar of the release before; None where there is none.
        unit: the partitions.
        count: how many there are.
    """
    if before is None:
        return UnitSidecar()
    pieces = before.for_partitions(unit, count).pieces
    try:
        entries = tuple(read_piece(store, piece) for piece in pieces)
    except StoreError:
        return None
    is_range = all(
        one.first * count == unit.start * before.count
        and one.end * count == unit.stop * before.count
        for one in pieces
    )
    return UnitSidecar(tuple(pieces), entries, is_range)


def read_piece(store: Store, piece: SidecarPiece) -> pa.Table:
    """Return the entries of a piece.

    Raises:
        StoreError: it is missing or damaged.
    """
    data = kept_objects.checked(store, piece.key, piece.sha256)
    return from_bytes(data, f"{store.name}: {piece.key}")


@dataclass(frozen=True, slots=True)
class SidecarUpdate:
    """Changes that a run makes to the pieces of a unit.

    Attributes:
        before: the pieces of the release before.
        fresh: entries of the members who were processed, each of them among the owners.
        present: hashes of all members of the unit, ascending.
    """

    before: UnitSidecar
    fresh: pa.Table
    present: Hashes

    def write(self, store: Store, unit: range) -> tuple[SidecarPiece, ...]:
        """Write what changed, and return the pieces of the unit: the partitions."""
        pieces, entries = list(self.before.pieces), list(self.before.entries)
        newest = self.fresh
        if not self.before.is_range:
            earlier = all_joined(entries)
            is_present = np.isin(earlier.column("owner").to_numpy(), self.present)
            newest = joined(earlier.filter(pa.array(is_present)), newest)
            pieces, entries = [], []
        gone = np.setdiff1d(_owners(entries), self.present)
        newest = joined(newest, owners_alone(gone))
        while entries and newest.num_rows and entries[-1].num_rows < _LARGER * newest.num_rows:
            newest = joined(entries.pop(), newest)
            pieces.pop()
        if not entries:
            newest = with_rows(newest)
        written = [replace(piece, first=unit.start, end=unit.stop) for piece in pieces]
        if newest.num_rows:
            written.append(_written(store, newest, unit))
        return tuple(written)


def _owners(tables: Sequence[pa.Table]) -> Hashes:
    owners = [table.column("owner").to_numpy() for table in tables]
    distinct: Hashes = np.unique(np.concatenate([np.empty(0, np.uint64), *owners]))
    return distinct


def _written(store: Store, piece: pa.Table, unit: range) -> SidecarPiece:
    ref = kept_objects.put_by_content(store, kept_objects.MEMORY, to_bytes(piece), _PIECE)
    return SidecarPiece(ref.key, ref.sha256, ref.bytes, unit.start, unit.stop, marks_of(piece))


def write_sidecar(
    store: Store,
    sidecar: Sidecar,
    directory: pa.Table,
    now: tuple[str, SidecarExtract],
    before: Sidecar | None,
) -> list[kept_objects.ObjectRef]:
    """Write the directory's piece and the list, and return all that the manifest is to name.

    Args:
        store: the target.
        sidecar: the pieces of all units.
        directory: entries of the directory's rows.
        now: mark of this run's extract, and what is kept of it.
        before: the sidecar of the release before; None where there is none.
    """
    mark, extract = now
    piece = _written(store, directory, range(0)) if directory.num_rows else None
    every = [*sidecar.pieces, *(() if piece is None else (piece,))]
    used = {mark for one in every for mark in one.extracts}
    known = {mark: extract, **(before.extracts or {} if before is not None else {})}
    extracts = {mark: kept for mark, kept in known.items() if mark in used}
    body = _PieceList(1, sidecar.count, tuple(sidecar.pieces), piece, extracts)
    objects = {one.key: kept_objects.ObjectRef(one.key, one.sha256, one.bytes) for one in every}
    piece_list = kept_objects.write_object(store, kept_objects.MEMORY, body, _LIST)
    return [piece_list, *(objects[key] for key in sorted(objects))]
