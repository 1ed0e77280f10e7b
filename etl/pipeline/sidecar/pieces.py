"""The objects of a sidecar: pieces by range of owners, and their list.

`memory/<sha256>.sidecar` lists the pieces and the extracts whose files they name; a piece is
`memory/<sha256>.places`. The pieces of one range stand oldest first, and the last one with an owner
counts. So a night writes what changed, and names the rest as the release before does; pieces that
have become small beside what is written are written again together with it.

A piece is a table with one entry for each canonical row, and one for each resource that begins at
it. Of ids there are hashes alone, but for that of the Patient, whose block leads to the others.
Entries are ordered by owner, table and place, so that they are small as Parquet.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.columns.digests import NO_HASHES, Hashes, among, hash_ids
from etl.columns.places import RowSources, place_keys, table_places
from etl.errors import StoreError
from etl.model.canonical_tables import HEADER_OF, KEYS, TABLES
from etl.pipeline.partition.mapping import PlanResources
from etl.publish import kept_objects
from etl.publish.canonical_json import as_instant
from etl.publish.reader import Current, Release
from etl.quality.check import Checked
from etl.quality.totals.by_member import ROW_FATES, RowOwners
from etl.sources.extract.opening import Extract
from etl.sources.partition.partitions import Loaded
from etl.storage.port import Store

_WORD: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("owner", pa.uint64()),
        ("claim", pa.uint64()),
        ("table", _WORD),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("fate", _WORD),
        ("resource", pa.uint64()),
        ("patient", _WORD),
        ("mapping", _WORD),
        ("extract", _WORD),
    ]
)
"""Columns of a piece.

* `owner`: the member (`etl.sources.partition.partition_rows.OWNER_COLUMN`); 0 for the directory.
* `claim`: hash of the number of the row's claim or prior authorization; null where it is of none.
* `table`, `file`, `row`, `fate`: a canonical row; null where an owner has none, or none any more.
* `resource`: hash of `Type/id`, `patient` its compartment, `mapping` what made it; null where none
  begins at the row.
* `extract`: mark of the extract that has the file (`pieces.extract_mark`).
"""
PUBLISHED, QUARANTINED, SUPERSEDED, WITHDRAWN = ROW_FATES
_NAMES: Final = tuple(TABLES)
_WHOLE: Final = 1 << 30
"""More than a piece has rows, and more than its dictionaries have bytes."""
_PACKED: Final = ("file", "row")
_PLAIN: Final = ("resource",)

Numbers: TypeAlias = npt.NDArray[np.int64]


class _Entries(NamedTuple):
    """Entries of one table; arrays of one length, resources' or None.

    Attributes:
        table: number of the table in `_NAMES`.
        places: `place_keys`.
        claims: hashes of numbers of claims and prior authorizations, and which entries have one.
        fates: numbers in `ROW_FATES`.
        resources: hashes of `Type/id`, Patients and name of the mapping.
    """

    table: int
    places: Numbers
    claims: tuple[Hashes, npt.NDArray[np.bool_]]
    fates: npt.NDArray[np.int8]
    resources: tuple[Hashes, pa.Array, str] | None = None


def entries_of(
    loaded: Loaded,
    checked: Checked,
    made: Sequence[PlanResources],
    owners: RowOwners,
    extract: str,
    sources: RowSources,
) -> pa.Table:
    """Return the entries of some rows.

    Args:
        loaded: the rows.
        checked: the result of the rules.
        made: the resources.
        owners: of the rows; `NOBODY` for the directory.
        extract: mark of the extract.
        sources: the payer's rows behind them, where queries computed them.
    """
    parts = [*_resources(made), *_canonical(loaded, checked)]
    if not parts:
        return SCHEMA.empty_table()
    sizes = [len(part.places) for part in parts]
    places = np.concatenate([part.places for part in parts])
    files, numbers = (places >> 40).astype(np.int32), places & ((1 << 40) - 1)
    codes = owners.numbers_of(files, numbers)
    files, numbers = sources.named(files, numbers)
    files, places = files.astype(np.int32), place_keys(files, numbers)
    claims = np.concatenate([part.claims[0] for part in parts])
    has_claim = np.concatenate([part.claims[1] for part in parts])
    tables = np.repeat(np.array([part.table for part in parts], np.int32), sizes)
    groups = codes * len(_NAMES) + tables
    fates = np.concatenate([part.fates for part in parts])
    # Resources come first, so that the row at which one begins is not there a second time.
    order = np.lexsort((fates, claims, places, groups))
    begins = np.repeat([part.resources is not None for part in parts], sizes)[order]
    again = np.ones(len(order), np.bool_)
    for key in (groups[order], places[order], claims[order], fates[order]):
        again[1:] &= key[1:] == key[:-1]
    again[:1] = False
    order = order[begins | ~again]
    resources, patients, mappings = _resource_columns(parts)
    at = pa.array(order)
    return pa.Table.from_arrays(
        [
            pa.array(np.append(owners.ids, np.uint64(0))[codes[order]]),
            pa.array(claims[order], mask=~has_claim[order]),
            _words(tables[order], _NAMES),
            pa.array(files[order]),
            pa.array(numbers[order]),
            _words(fates[order], ROW_FATES),
            resources.take(at),
            patients.take(at),
            mappings.take(at),
            _words(np.zeros(len(order), np.int32), (extract,)),
        ],
        schema=SCHEMA,
    )


def _canonical(loaded: Loaded, checked: Checked) -> Iterator[_Entries]:
    """Yield the rows of each table."""
    rejected = checked.rejected
    for name, table in loaded.tables.items():
        if not table.num_rows:
            continue
        places, accepted = table_places(table), checked.tables[name]
        fates = np.zeros(len(places), np.int8)
        if accepted.num_rows != table.num_rows:
            ours = rejected.filter(pc.equal(rejected.column("table"), name))
            unfit = np.isin(places, place_keys(ours.column("file"), ours.column("row")))
            fates[~np.isin(places, table_places(accepted))] = ROW_FATES.index(SUPERSEDED)
            fates[unfit] = ROW_FATES.index(QUARANTINED)
            fates[np.isin(places, checked.withdrawn.get(name, ()))] = ROW_FATES.index(WITHDRAWN)
        yield _Entries(_NAMES.index(name), places, _claims(name, table), fates)


def _resources(made: Sequence[PlanResources]) -> Iterator[_Entries]:
    """Yield the resources of each run at the rows at which they begin, if at any."""
    for plan, runs, partition in made:
        table = partition.tables[plan.table]
        key = [KEYS[HEADER_OF[plan.table]]] if plan.table in HEADER_OF else []
        rows = table.select([*key, "_file", "_row"])
        for run in runs:
            own = rows.take(pa.array(run.rows))
            there = np.asarray(pc.is_valid(own.column("_row")))
            if not there.all():
                own, run = own.filter(pa.array(there)), run.filter(there)
            names = pc.binary_join_element_wise(plan.resource, run.ids, "/")
            fates = np.zeros(len(names), np.int8)
            found = (hash_ids(names), run.compartments, plan.name)
            yield _Entries(
                _NAMES.index(plan.table), table_places(own), _claims(plan.table, own), fates, found
            )


def _claims(name: str, table: pa.Table) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    if name not in HEADER_OF:
        return np.zeros(table.num_rows, np.uint64), np.zeros(table.num_rows, np.bool_)
    column = table.column(KEYS[HEADER_OF[name]]).combine_chunks()
    there = np.asarray(pc.is_valid(column))
    return np.where(there, hash_ids(column), np.uint64(0)), there


def _resource_columns(parts: Sequence[_Entries]) -> tuple[Any, Any, Any]:
    hashes, patients, mappings = [], [], []
    for part in parts:
        count = len(part.places)
        if part.resources is None:
            hashes.append(pa.nulls(count, pa.uint64()))
            patients.append(pa.nulls(count, pa.string()))
            mappings.append(pa.nulls(count, pa.string()))
        else:
            own, theirs, mapping = part.resources
            hashes.append(pa.array(own))
            patients.append(theirs.cast(pa.string()))
            mappings.append(pa.repeat(mapping, count))
    return (
        pa.concat_arrays(hashes),
        pa.concat_arrays(patients).dictionary_encode(),
        pa.concat_arrays(mappings).dictionary_encode(),
    )


def _words(numbers: Any, words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(numbers.astype(np.int32)), pa.array(words, pa.string())
    )


def with_owners(entries: pa.Table, owners: Hashes) -> pa.Table:
    """Return entries, and one of each owner who has none."""
    return all_joined([owners_alone(owners), entries])


def owners_alone(owners: Hashes) -> pa.Table:
    """Return entries of owners who have no rows."""
    nothing = [pa.nulls(len(owners), field.type) for field in SCHEMA][1:]
    return pa.Table.from_arrays([pa.array(owners, pa.uint64()), *nothing], schema=SCHEMA)


def all_joined(pieces: Sequence[pa.Table]) -> pa.Table:
    """Return the entries of some pieces, given oldest first: of an owner, those of the newest."""
    newer_owners, parts = NO_HASHES, [SCHEMA.empty_table()]
    for piece in reversed(pieces):
        owners = piece.column("owner").to_numpy()
        parts.append(piece.filter(pa.array(~among(owners, newer_owners))))
        newer_owners = np.union1d(newer_owners, owners)
    whole = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    return whole.take(pa.array(np.argsort(whole.column("owner").to_numpy(), kind="stable")))


def with_rows(piece: pa.Table) -> pa.Table:
    """Return the entries that have a row."""
    return piece.filter(pc.is_valid(piece.column("row")))


def marks_of(piece: pa.Table) -> tuple[str, ...]:
    """Return the marks of the extracts that a piece names, ascending."""
    return tuple(
        sorted(pc.unique(piece.column("extract").cast(pa.string()).drop_null()).to_pylist())
    )


def to_bytes(piece: pa.Table) -> bytes:
    """Return a piece as Parquet: the same bytes for the same entries."""
    plain = pa.Table.from_arrays(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(field.type) else column
            for column, field in zip(piece.columns, SCHEMA, strict=True)
        ],
        SCHEMA.names,
    )
    sink = io.BytesIO()
    pq.write_table(
        plain,
        sink,
        compression="zstd",
        row_group_size=_WHOLE,
        dictionary_pagesize_limit=_WHOLE,
        use_dictionary=[name for name in SCHEMA.names if name not in (*_PACKED, *_PLAIN)],
        column_encoding=dict.fromkeys(_PACKED, "DELTA_BINARY_PACKED"),
        write_statistics=False,
        store_schema=False,
    )
    return sink.getvalue()


def from_bytes(data: bytes, what: str) -> pa.Table:
    """Return the piece of some bytes.

    Raises:
        StoreError: they are none.
    """
    words = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]
    try:
        table = pq.read_table(io.BytesIO(data), read_dictionary=words)
        return table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, KeyError, ValueError):
        raise StoreError(f"{what} names no rows: the object is damaged; run verify") from None


_LIST: Final = "sidecar"
_ENDING: Final = "places"
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
            tuple(SidecarFile(file.title, file.bytes, file.sha256) for file in extract.named_files),
        )


@dataclass(frozen=True, slots=True)
class SidecarPiece(kept_objects.RangeRef):
    """A piece, and the partitions whose owners it is of.

    Attributes:
        extracts: marks of the extracts that it names.
    """

    extracts: tuple[str, ...]


class Sidecar(msgspec.Struct, frozen=True):
    """The sidecar of a release.

    Attributes:
        partitions: how many there were.
        pieces: in the order of ranges, those of one range oldest first.
        directory: the piece of the directory; None where there is none.
        extracts: mark -> extract.
        format: of the object.
    """

    partitions: int
    pieces: Sequence[SidecarPiece]
    directory: SidecarPiece | None = None
    extracts: Mapping[str, SidecarExtract] = {}
    format: int = 1

    def for_partitions(self, indexes: range, count: int) -> Sidecar:
        """Return the pieces with members of some of `count` partitions now."""
        touching = [
            piece for piece in self.pieces if piece.touches(indexes, count, self.partitions)
        ]
        return Sidecar(self.partitions, touching)


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
    return None if ref is None else kept_objects.read_object(release.store, ref, Sidecar)


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
        is_own: whether they name members of this unit alone.
    """

    pieces: tuple[SidecarPiece, ...] = ()
    entries: tuple[pa.Table, ...] = ()
    is_own: bool = True


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
    is_own = all(
        one.first * count >= unit.start * before.partitions
        and one.end * count <= unit.stop * before.partitions
        for one in pieces
    )
    return UnitSidecar(tuple(pieces), entries, is_own)


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
        if not self.before.is_own:
            earlier = all_joined(entries)
            is_present = np.isin(earlier.column("owner").to_numpy(), self.present)
            newest = all_joined([earlier.filter(pa.array(is_present)), newest])
            pieces, entries = [], []
        missing_owners = np.setdiff1d(_owners(entries), self.present)
        newest = all_joined([newest, owners_alone(missing_owners)])
        # Pieces that are small beside what follows them are written again, with it.
        count, rows = len(entries), newest.num_rows
        while count and rows and entries[count - 1].num_rows < _LARGER * rows:
            count -= 1
            rows += entries[count].num_rows
        newest = all_joined([*entries[count:], newest])
        pieces, entries = pieces[:count], entries[:count]
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
    ref = kept_objects.put_by_content(store, kept_objects.MEMORY, to_bytes(piece), _ENDING)
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
    known = {mark: extract, **({} if before is None else before.extracts)}
    extracts = {mark: kept for mark, kept in known.items() if mark in used}
    whole = Sidecar(sidecar.partitions, sidecar.pieces, piece, extracts)
    return kept_objects.write_list(store, kept_objects.MEMORY, whole, _LIST, every)
