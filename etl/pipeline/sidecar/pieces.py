"""The objects of a sidecar: pieces by range of owners, and their list.

`memory/<sha256>.sidecar` lists the pieces and the extracts whose files they name; a piece is
`memory/<sha256>.places`. The pieces of one range are listed oldest first, and the last one with an
owner counts. So a night only writes the changed members, and names the older pieces for the others.
Small older pieces are merged with the new one.

A piece is a table with one entry for each canonical row, and one for each resource that begins at
the row. IDs are hashed, except the Patient's, whose block leads to the other resources. Entries are
ordered by owner, table and place, which keeps the Parquet small.
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
from etl.publish.reader import Tree
from etl.publish.writer import ReleaseWriter
from etl.quality.check import Checked
from etl.quality.totals.by_member import ROW_FATES, RowOwners
from etl.sources.extract.opening import Extract
from etl.sources.partition.partitions import Loaded

_WORD_TYPE: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("owner", pa.uint64()),
        ("claim", pa.uint64()),
        ("table", _WORD_TYPE),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("fate", _WORD_TYPE),
        ("resource", pa.uint64()),
        ("patient", _WORD_TYPE),
        ("mapping", _WORD_TYPE),
        ("extract", _WORD_TYPE),
    ]
)
"""Columns of a piece.

* `owner`: the member (`etl.sources.partition.partition_rows.OWNER_COLUMN`); 0 for the directory.
* `claim`: hash of the number of the row's claim or prior authorization; null for other rows.
* `table`, `file`, `row`, `fate`: a canonical row; null if the owner has no rows, or no longer any.
* `resource`: hash of `Type/id`, `patient` its compartment, `mapping` its mapping; null if no
  resource begins at the row.
* `extract`: mark of the extract that has the file (`pieces.extract_mark`).
"""
PUBLISHED, QUARANTINED, SUPERSEDED, WITHDRAWN = ROW_FATES
_NAMES: Final = tuple(TABLES)
_UNLIMITED: Final = 1 << 30
"""More rows than any piece has, and more bytes than its dictionaries have."""
_DELTA_COLUMNS: Final = ("file", "row")
_PLAIN_COLUMNS: Final = ("resource",)

Numbers: TypeAlias = npt.NDArray[np.int64]


class _Entries(NamedTuple):
    """Entries of one table; arrays of one length, resources' or None.

    Attributes:
        table: number of the table in `_NAMES`.
        positions: `place_keys`.
        claims: hashes of numbers of claims and prior authorizations, and which entries have one.
        fates: numbers in `ROW_FATES`.
        resources: hashes of `Type/id`, Patients and name of the mapping.
    """

    table: int
    positions: Numbers
    claims: tuple[Hashes, npt.NDArray[np.bool_]]
    fates: npt.NDArray[np.int8]
    resources: tuple[Hashes, pa.Array, str] | None = None


def entries_of(
    loaded: Loaded,
    checked: Checked,
    plan_resources: Sequence[PlanResources],
    owners: RowOwners,
    extract: str,
    sources: RowSources,
) -> pa.Table:
    """Return the entries of some rows.

    Args:
        loaded: the rows.
        checked: the result of the rules.
        plan_resources: the resources.
        owners: of the rows; `NO_OWNERS` for the directory.
        extract: mark of the extract.
        sources: the payer's rows behind them, where queries computed them.
    """
    batches = [*_resource_entries(plan_resources), *_row_entries(loaded, checked)]
    if not batches:
        return SCHEMA.empty_table()
    batch_sizes = [len(batch.positions) for batch in batches]
    positions = np.concatenate([batch.positions for batch in batches])
    files, row_numbers = (positions >> 40).astype(np.int32), positions & ((1 << 40) - 1)
    owner_numbers = owners.codes_of(files, row_numbers)
    files, row_numbers = sources.named(files, row_numbers)
    files, positions = files.astype(np.int32), place_keys(files, row_numbers)
    claims = np.concatenate([batch.claims[0] for batch in batches])
    has_claim = np.concatenate([batch.claims[1] for batch in batches])
    tables = np.repeat(np.array([batch.table for batch in batches], np.int32), batch_sizes)
    groups = owner_numbers * len(_NAMES) + tables
    fates = np.concatenate([batch.fates for batch in batches])
    # Resources come first, so that the row at which one begins is not there a second time.
    order = np.lexsort((fates, claims, positions, groups))
    begins = np.repeat([batch.resources is not None for batch in batches], batch_sizes)[order]
    repeated = np.ones(len(order), np.bool_)
    for key in (groups[order], positions[order], claims[order], fates[order]):
        repeated[1:] &= key[1:] == key[:-1]
    repeated[:1] = False
    order = order[begins | ~repeated]
    resources, patients, mappings = _resource_columns(batches)
    indices = pa.array(order)
    return pa.Table.from_arrays(
        [
            pa.array(np.append(owners.ids, np.uint64(0))[owner_numbers[order]]),
            pa.array(claims[order], mask=~has_claim[order]),
            _dictionary_column(tables[order], _NAMES),
            pa.array(files[order]),
            pa.array(row_numbers[order]),
            _dictionary_column(fates[order], ROW_FATES),
            resources.take(indices),
            patients.take(indices),
            mappings.take(indices),
            _dictionary_column(np.zeros(len(order), np.int32), (extract,)),
        ],
        schema=SCHEMA,
    )


def _row_entries(loaded: Loaded, checked: Checked) -> Iterator[_Entries]:
    """Yield the rows of each canonical table with their fates."""
    rejected = checked.rejected
    for name, table in loaded.tables.items():
        if not table.num_rows:
            continue
        positions, accepted = table_places(table), checked.tables[name]
        fates = np.zeros(len(positions), np.int8)
        if accepted.num_rows != table.num_rows:
            table_rejections = rejected.filter(pc.equal(rejected.column("table"), name))
            is_rejected = np.isin(
                positions,
                place_keys(table_rejections.column("file"), table_rejections.column("row")),
            )
            fates[~np.isin(positions, table_places(accepted))] = ROW_FATES.index(SUPERSEDED)
            fates[is_rejected] = ROW_FATES.index(QUARANTINED)
            fates[np.isin(positions, checked.withdrawn.get(name, ()))] = ROW_FATES.index(WITHDRAWN)
        yield _Entries(_NAMES.index(name), positions, _claim_hashes(name, table), fates)


def _resource_entries(plan_resources: Sequence[PlanResources]) -> Iterator[_Entries]:
    """Yield resources at the rows where they begin, if they have any."""
    for plan, runs, partition in plan_resources:
        table = partition.tables[plan.table]
        key_columns = [KEYS[HEADER_OF[plan.table]]] if plan.table in HEADER_OF else []
        rows = table.select([*key_columns, "_file", "_row"])
        for run in runs:
            run_rows = rows.take(pa.array(run.rows))
            has_row = np.asarray(pc.is_valid(run_rows.column("_row")))
            if not has_row.all():
                run_rows, run = run_rows.filter(pa.array(has_row)), run.filter(has_row)
            resource_names = pc.binary_join_element_wise(plan.resource, run.ids, "/")
            fates = np.zeros(len(resource_names), np.int8)
            resource_columns = (hash_ids(resource_names), run.compartments, plan.name)
            yield _Entries(
                _NAMES.index(plan.table),
                table_places(run_rows),
                _claim_hashes(plan.table, run_rows),
                fates,
                resource_columns,
            )


def _claim_hashes(table_name: str, table: pa.Table) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return hashes of claim numbers, and which rows have one."""
    if table_name not in HEADER_OF:
        return np.zeros(table.num_rows, np.uint64), np.zeros(table.num_rows, np.bool_)
    column = table.column(KEYS[HEADER_OF[table_name]]).combine_chunks()
    has_claim = np.asarray(pc.is_valid(column))
    return np.where(has_claim, hash_ids(column), np.uint64(0)), has_claim


def _resource_columns(entry_batches: Sequence[_Entries]) -> tuple[Any, Any, Any]:
    """Return the columns of resource hashes, patients, and mapping names."""
    hashes, patients, mappings = [], [], []
    for batch in entry_batches:
        count = len(batch.positions)
        if batch.resources is None:
            hashes.append(pa.nulls(count, pa.uint64()))
            patients.append(pa.nulls(count, pa.string()))
            mappings.append(pa.nulls(count, pa.string()))
        else:
            resource_hashes, patient_ids, mapping_name = batch.resources
            hashes.append(pa.array(resource_hashes))
            patients.append(patient_ids.cast(pa.string()))
            mappings.append(pa.repeat(mapping_name, count))
    return (
        pa.concat_arrays(hashes),
        pa.concat_arrays(patients).dictionary_encode(),
        pa.concat_arrays(mappings).dictionary_encode(),
    )


def _dictionary_column(numbers: Any, words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(numbers.astype(np.int32)), pa.array(words, pa.string())
    )


def add_owners(entries: pa.Table, owners: Hashes) -> pa.Table:
    """Return entries, plus an empty one for each owner without any."""
    return merge_pieces([empty_entries(owners), entries])


def empty_entries(owners: Hashes) -> pa.Table:
    """Return empty entries for owners who have no rows."""
    null_columns = [pa.nulls(len(owners), field.type) for field in SCHEMA][1:]
    return pa.Table.from_arrays([pa.array(owners, pa.uint64()), *null_columns], schema=SCHEMA)


def merge_pieces(pieces: Sequence[pa.Table]) -> pa.Table:
    """Merge pieces, oldest first; of an owner, the newest entries win."""
    newer_owners, kept_entries = NO_HASHES, [SCHEMA.empty_table()]
    for piece in reversed(pieces):
        owners = piece.column("owner").to_numpy()
        kept_entries.append(piece.filter(pa.array(~among(owners, newer_owners))))
        newer_owners = np.union1d(newer_owners, owners)
    all_entries = pa.concat_tables(kept_entries).unify_dictionaries().combine_chunks()
    return all_entries.take(
        pa.array(np.argsort(all_entries.column("owner").to_numpy(), kind="stable"))
    )


def drop_empty(piece: pa.Table) -> pa.Table:
    """Return the entries that have a row."""
    return piece.filter(pc.is_valid(piece.column("row")))


def extract_marks(piece: pa.Table) -> tuple[str, ...]:
    """Return the marks of the extracts that a piece names, ascending."""
    return tuple(
        sorted(pc.unique(piece.column("extract").cast(pa.string()).drop_null()).to_pylist())
    )


def to_bytes(piece: pa.Table) -> bytes:
    """Return a piece as Parquet: the same bytes for the same entries."""
    plain_table = pa.Table.from_arrays(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(field.type) else column
            for column, field in zip(piece.columns, SCHEMA, strict=True)
        ],
        SCHEMA.names,
    )
    sink = io.BytesIO()
    pq.write_table(
        plain_table,
        sink,
        compression="zstd",
        row_group_size=_UNLIMITED,
        dictionary_pagesize_limit=_UNLIMITED,
        use_dictionary=[
            name for name in SCHEMA.names if name not in (*_DELTA_COLUMNS, *_PLAIN_COLUMNS)
        ],
        column_encoding=dict.fromkeys(_DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
        write_statistics=False,
        store_schema=False,
    )
    return sink.getvalue()


def from_bytes(data: bytes, label: str) -> pa.Table:
    """Parse a piece from Parquet bytes.

    Raises:
        StoreError: the bytes are no valid piece.
    """
    dictionary_columns = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]
    try:
        table = pq.read_table(io.BytesIO(data), read_dictionary=dictionary_columns)
        return table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, KeyError, ValueError):
        raise StoreError(f"{label} names no rows: the object is damaged; run verify") from None


PIECE: Final = kept_objects.KeptKind(".places", from_bytes)
_MERGE_RATIO: Final = 4
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
        as_of: day of the extract, `YYYY-MM-DD`; None if it is not stated.
        read: FHIR instant of the run that first published it.
        layout: name of its layout.
        files: its files, by number.
    """

    as_of: str | None
    read: str
    layout: str
    files: tuple[SidecarFile, ...]

    @classmethod
    def from_extract(cls, extract: Extract, when: datetime) -> SidecarExtract:
        """Return the facts about an extract that a sidecar stores."""
        return cls(
            None if extract.as_of is None else extract.as_of.isoformat(),
            as_instant(when),
            extract.layout.name,
            tuple(SidecarFile(file.title, file.bytes, file.sha256) for file in extract.named_files),
        )


@dataclass(frozen=True, slots=True)
class SidecarPiece(kept_objects.RangeRef):
    """A piece, and the partitions of its owners.

    Attributes:
        extracts: marks of the extracts that it names.
    """

    extracts: tuple[str, ...]


class Sidecar(msgspec.Struct, frozen=True):
    """The sidecar of a release.

    Attributes:
        partitions: number of partitions of the run.
        pieces: ordered by range, then oldest first.
        directory: the piece of the directory; None if there is none.
        extracts: mark -> extract.
        format: version of the object.
    """

    partitions: int
    pieces: Sequence[SidecarPiece]
    directory: SidecarPiece | None = None
    extracts: Mapping[str, SidecarExtract] = {}
    format: int = 1

    def for_partitions(self, indexes: range, count: int) -> Sidecar:
        """Return the pieces with members of some of `count` partitions now."""
        touching_pieces = [
            piece for piece in self.pieces if piece.touches(indexes, count, self.partitions)
        ]
        return Sidecar(self.partitions, touching_pieces)


SIDECAR: Final = kept_objects.json_kind(".sidecar", Sidecar)


def extract_mark(extract: Extract) -> str:
    """Return the ID of an extract in pieces: 16 hex digits hashed from its files."""
    facts = [extract.layout.name, *([file.name, file.sha256] for file in extract.files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class UnitSidecar:
    """The previous release's pieces with members of one task.

    Attributes:
        pieces: the pieces, oldest first.
        entries: the entries of each piece.
        is_own: whether they only name members of this task.
    """

    pieces: tuple[SidecarPiece, ...] = ()
    entries: tuple[pa.Table, ...] = ()
    is_own: bool = True


def unit_sidecar(
    tree: Tree, previous_sidecar: Sidecar | None, unit: range, count: int
) -> UnitSidecar | None:
    """Return the pieces of a task; None if one is missing or damaged.

    Args:
        tree: of the target.
        previous_sidecar: the sidecar of the previous release; None if there is none.
        unit: the partitions of the task.
        count: how many partitions there are.
    """
    if previous_sidecar is None:
        return UnitSidecar()
    pieces = previous_sidecar.for_partitions(unit, count).pieces
    try:
        entries = tuple(tree.read(PIECE, piece) for piece in pieces)
    except StoreError:
        return None
    is_own = all(
        one.first * count >= unit.start * previous_sidecar.partitions
        and one.end * count <= unit.stop * previous_sidecar.partitions
        for one in pieces
    )
    return UnitSidecar(tuple(pieces), entries, is_own)


@dataclass(frozen=True, slots=True)
class SidecarUpdate:
    """Changes that a run makes to the pieces of a unit.

    Attributes:
        previous: the pieces of the release before.
        processed: entries of the members who were processed, each of them among the owners.
        present: hashes of all members of the unit, ascending.
    """

    previous: UnitSidecar
    processed: pa.Table
    present: Hashes

    def write(self, tree: Tree, unit: range) -> tuple[SidecarPiece, ...]:
        """Write what changed, and return the pieces of the unit: the partitions."""
        pieces, entries = list(self.previous.pieces), list(self.previous.entries)
        new_entries = self.processed
        if not self.previous.is_own:
            previous_entries = merge_pieces(entries)
            is_present = np.isin(previous_entries.column("owner").to_numpy(), self.present)
            new_entries = merge_pieces([previous_entries.filter(pa.array(is_present)), new_entries])
            pieces, entries = [], []
        missing_owners = np.setdiff1d(_distinct_owners(entries), self.present)
        new_entries = merge_pieces([new_entries, empty_entries(missing_owners)])
        # Pieces that are small compared to the newer ones are merged with them.
        count, rows = len(entries), new_entries.num_rows
        while count and rows and entries[count - 1].num_rows < _MERGE_RATIO * rows:
            count -= 1
            rows += entries[count].num_rows
        new_entries = merge_pieces([*entries[count:], new_entries])
        pieces, entries = pieces[:count], entries[:count]
        if not entries:
            new_entries = drop_empty(new_entries)
        written = [replace(piece, first=unit.start, end=unit.stop) for piece in pieces]
        if new_entries.num_rows:
            written.append(_write_piece(tree, new_entries, unit))
        return tuple(written)


def _distinct_owners(tables: Sequence[pa.Table]) -> Hashes:
    owners = [table.column("owner").to_numpy() for table in tables]
    distinct: Hashes = np.unique(np.concatenate([np.empty(0, np.uint64), *owners]))
    return distinct


def _write_piece(tree: Tree, piece: pa.Table, unit: range) -> SidecarPiece:
    """Write a piece that covers the partitions of a task."""
    ref = tree.write(PIECE, to_bytes(piece))
    return SidecarPiece(ref.key, ref.sha256, ref.bytes, unit.start, unit.stop, extract_marks(piece))


def keep_sidecar(
    writer: ReleaseWriter,
    sidecar: Sidecar,
    directory: pa.Table,
    current: tuple[str, SidecarExtract],
    previous: Sidecar | None,
) -> None:
    """Write the directory's piece, and keep it with the list of all pieces.

    Args:
        writer: of the release.
        sidecar: the pieces of all units.
        directory: entries of the directory's rows.
        current: mark of this run's extract, and what is kept of it.
        previous: the sidecar of the previous release; None if there is none.
    """
    extract_id, extract = current
    piece = _write_piece(writer.tree, directory, range(0)) if directory.num_rows else None
    all_pieces = [*sidecar.pieces, *(() if piece is None else (piece,))]
    used = {extract_id for entry in all_pieces for extract_id in entry.extracts}
    facts_by_id = {extract_id: extract, **({} if previous is None else previous.extracts)}
    extracts = {name: facts for name, facts in facts_by_id.items() if name in used}
    full = Sidecar(sidecar.partitions, sidecar.pieces, piece, extracts)
    writer.keep(SIDECAR, kept_objects.to_bytes(full), all_pieces)
