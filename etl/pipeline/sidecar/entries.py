"""Places of canonical rows, with claims and resources that they belong to: a piece of a sidecar.

A piece is a table with one entry for each canonical row, and one for each resource that begins at
it. Of ids there are hashes alone, but for that of the Patient, whose block leads to the others.
Entries are ordered by owner, table and place, so that they are small as Parquet.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.columns.digests import Hashes, hash_ids
from etl.columns.places import place_keys, table_places
from etl.errors import StoreError
from etl.model.canonical_tables import TABLES
from etl.pipeline.partition.mapping import PlanResources
from etl.quality import Checked
from etl.quality.totals.by_member import RowOwners
from etl.sources import Loaded

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

* `owner`: the member (`etl.sources.partition_rows.OWNER_COLUMN`); 0 for the directory.
* `claim`: hash of the claim's number; null where the row is of none.
* `table`, `file`, `row`, `fate`: a canonical row; null where an owner has none, or none any more.
* `resource`: hash of `Type/id`, `patient` its compartment, `mapping` what made it; null where none
  begins at the row.
* `extract`: mark of the extract that has the file (`pieces.extract_mark`).
"""
PUBLISHED: Final = "published"
QUARANTINED: Final = "quarantined"
SUPERSEDED: Final = "superseded"
_FATES: Final = (PUBLISHED, QUARANTINED, SUPERSEDED)
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
        claims: hashes of claim numbers, and which entries have one.
        fates: numbers in `_FATES`.
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
) -> pa.Table:
    """Return the entries of some rows.

    Args:
        loaded: the rows.
        checked: the result of the rules.
        made: the resources.
        owners: of the rows; `NOBODY` for the directory.
        extract: mark of the extract.
    """
    parts = [*_resources(made), *_canonical(loaded, checked)]
    if not parts:
        return SCHEMA.empty_table()
    sizes = [len(part.places) for part in parts]
    places = np.concatenate([part.places for part in parts])
    files, numbers = (places >> 40).astype(np.int32), places & ((1 << 40) - 1)
    codes = owners.numbers_of(files, numbers)
    claims = np.concatenate([part.claims[0] for part in parts])
    has_claim = np.concatenate([part.claims[1] for part in parts])
    tables = np.repeat(np.array([part.table for part in parts], np.int32), sizes)
    groups = codes * len(_NAMES) + tables
    # Resources come first, so that the row at which one begins is not there a second time.
    order = np.lexsort((claims, places, groups))
    begins = np.repeat([part.resources is not None for part in parts], sizes)[order]
    again = np.ones(len(order), np.bool_)
    for key in (groups[order], places[order], claims[order]):
        again[1:] &= key[1:] == key[:-1]
    again[:1] = False
    order = order[begins | ~again]
    fates = np.concatenate([part.fates for part in parts])
    resources, patients, mappings = _resource_columns(parts)
    at = pa.array(order)
    return pa.Table.from_arrays(
        [
            pa.array(np.append(owners.ids, np.uint64(0))[codes[order]]),
            pa.array(claims[order], mask=~has_claim[order]),
            _words(tables[order], _NAMES),
            pa.array(files[order]),
            pa.array(numbers[order]),
            _words(fates[order], _FATES),
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
            fates[~np.isin(places, table_places(accepted))] = _FATES.index(SUPERSEDED)
            fates[unfit] = _FATES.index(QUARANTINED)
        yield _Entries(_NAMES.index(name), places, _claims(table), fates)


def _resources(made: Sequence[PlanResources]) -> Iterator[_Entries]:
    """Yield the resources of each run at the rows at which they begin, if at any."""
    for plan, runs, partition in made:
        table = partition.tables[plan.table]
        rows = table.select(
            [name for name in ("claim_id", "_file", "_row") if name in table.column_names]
        )
        for run in runs:
            own = rows.take(pa.array(run.rows))
            there = np.asarray(pc.is_valid(own.column("_row")))
            if not there.all():
                own, run = own.filter(pa.array(there)), run.only(there)
            names = pc.binary_join_element_wise(plan.resource, run.ids, "/")
            fates = np.zeros(len(names), np.int8)
            found = (hash_ids(names), run.compartments, plan.name)
            yield _Entries(_NAMES.index(plan.table), table_places(own), _claims(own), fates, found)


def _claims(table: pa.Table) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    if "claim_id" not in table.column_names:
        return np.zeros(table.num_rows, np.uint64), np.zeros(table.num_rows, np.bool_)
    column = table.column("claim_id").combine_chunks()
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
    return joined(owners_alone(owners), entries)


def owners_alone(owners: Hashes) -> pa.Table:
    """Return entries of owners who have no rows."""
    nothing = [pa.nulls(len(owners), field.type) for field in SCHEMA][1:]
    return pa.Table.from_arrays([pa.array(owners, pa.uint64()), *nothing], schema=SCHEMA)


def joined(older: pa.Table, newer: pa.Table) -> pa.Table:
    """Return the entries of two pieces: of an owner who is in both, the newer ones."""
    kept = ~np.isin(older.column("owner").to_numpy(), newer.column("owner").to_numpy())
    both = pa.concat_tables([older.filter(pa.array(kept)), newer]).unify_dictionaries()
    order = np.argsort(both.column("owner").to_numpy(), kind="stable")
    return both.combine_chunks().take(pa.array(order))


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


def all_joined(pieces: Iterable[pa.Table]) -> pa.Table:
    """Return the entries of the pieces of one range of owners, given oldest first."""
    whole = SCHEMA.empty_table()
    for piece in pieces:
        whole = joined(whole, piece)
    return whole
