"""Deltas: all layers merged into one full extract in canonical files.

For every key the row with the latest time counts; of rows with one time that of the later layer.
A deletion also deletes older rows that depend on its row. So the result is a function of the set
of rows alone: their order in files and the order of files decide nothing, and a layer that is
there twice changes nothing. docs/decisions/0005-deltas.md gives the reasons.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.model.data_models import CLAIMS, DataModel
from etl.pipeline.deltas.layers import Layer, kept_object
from etl.storage.port import Store

Times: TypeAlias = npt.NDArray[np.int64]
_NEVER: Final = np.iinfo(np.int64).min
_MEMBER: Final = "member_id"
_OWNERS: Final = ("member", "coverage", "claim")
_NUMBER: Final = "_number"
LAYER_COLUMN: Final = "_layer"
"""Column with the number of a row's layer."""
_PLACES_SCHEMA: Final = pa.schema(
    [(LAYER_COLUMN, pa.int32()), (FILE_COLUMN, pa.int32()), (ROW_COLUMN, pa.int64())]
)
_NOBODY: Final = ""
"""Owner of a deleted claim: sorts before any member, where rows of one time state both."""

Deletions: TypeAlias = dict[str, list[int]]
"""Key -> the ranks (`_Rows.times`) at which it was deleted."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows of a table.

    Attributes:
        table: the rows.
        times: rank of each: its time in milliseconds, then its layer; greater is later.
        deleted: which are deletions.
    """

    table: pa.Table
    times: Times
    deleted: npt.NDArray[np.bool_]

    def only(self, keep: npt.NDArray[np.bool_]) -> _Rows:
        """Return some of the rows."""
        return _Rows(self.table.filter(pa.array(keep)), self.times[keep], self.deleted[keep])


@dataclass(frozen=True, slots=True)
class TableOrigins:
    """The rows of all layers of one table, and which of them make the merged one.

    Attributes:
        rows: rows of all layers in canonical columns, with `LAYER_COLUMN`, `_file` and `_row`:
            places in the extract of their layer; null where a layer does not know them.
        merged: for each row of the merged table, in its order, which of `rows` it is.
        deleting: which of `rows` delete what they name.
    """

    rows: pa.Table
    merged: npt.NDArray[np.int64]
    deleting: npt.NDArray[np.bool_]


def merged_extract(
    store: Store,
    layers: Sequence[Layer],
    folder: Path,
    as_of: str | None = None,
    payer: str | None = None,
    model: DataModel = CLAIMS,
) -> Path:
    """Write all layers as one full extract; one table is held in memory at a time.

    A deleted row of a directory takes none along: what still refers to it is reported as such.

    Args:
        store: where the layers are.
        layers: the full extract first, then deltas as they were published.
        folder: where to write; made where it is missing.
        as_of: day of the last delta; None where it is not stated.
        payer: the payer of the extract; None where it is not stated.
        model: what the rows are about.

    Raises:
        StoreError: a layer is missing or damaged.
    """
    _merge(store, layers, folder, model)
    manifest = {"layout": model.layout, "kind": "full", "as_of": as_of, "payer": payer}
    text = json.dumps({name: value for name, value in manifest.items() if value is not None})
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def merged_origins(
    store: Store, layers: Sequence[Layer], folder: Path
) -> Mapping[str, TableOrigins]:
    """Write all layers as `merged_extract` does, and return where each of its rows came from.

    Raises:
        StoreError: a layer is missing or damaged.
    """
    origins: dict[str, TableOrigins] = {}

    def keep(name: str, rows: _Rows, merged: pa.Table) -> None:
        numbers = merged.column(_NUMBER).to_numpy()
        origins[name] = TableOrigins(rows.table.drop_columns(_NUMBER), numbers, rows.deleted)

    _merge(store, layers, folder, CLAIMS, keep)
    (folder / "manifest.json").write_text('{"layout": "cpcds", "kind": "full"}', encoding="utf-8")
    return origins


def _merge(
    store: Store,
    layers: Sequence[Layer],
    folder: Path,
    model: DataModel,
    keep: Callable[[str, _Rows, pa.Table], None] | None = None,
) -> None:
    """Write the merged tables; hand over each table's name, all its rows, and those that count."""
    folder.mkdir(parents=True, exist_ok=True)
    gone: dict[str, Deletions] = {}
    # Deletions of members decide on coverages and claims, and those on all that depends on them.
    first = _OWNERS if model.has_members else ()
    for name in (*first, *(other for other in model.tables if other not in first)):
        rows = _rows_of(store, layers, name, has_places=keep is not None)
        all_rows = None if keep is None else rows
        owner = TABLES[name].key[0]
        is_member = name in first[:1]
        if name in first:
            gone[owner] = _deletions(rows, owner)
            if not is_member:
                taken = _gone_with_member(rows, owner, gone[_MEMBER])
                gone[owner] = _joined(gone[owner], taken)
        if not is_member and owner in gone:
            rows = rows.only(_survives(rows, owner, gone[owner]))
        merged = _present(rows, name)
        if keep is not None and all_rows is not None:
            keep(name, all_rows, merged)
        _write(folder, name, merged.select(TABLES[name].names))


def _rows_of(
    store: Store, layers: Sequence[Layer], name: str, *, has_places: bool = False
) -> _Rows:
    """Return the rows of all layers; with places, number, layer, file and row of each as well."""
    schema = pa.schema([pa.field(column, pa.string()) for column in TABLES[name].names])
    tables, times, deleted = [schema.empty_table()], [], []
    places = [_PLACES_SCHEMA.empty_table()]
    for number, layer in enumerate(layers):
        named = layer.tables.get(name)
        if named is None:
            continue
        table = pq.read_table(io.BytesIO(kept_object(store, named)))
        tables.append(table.select(schema.names).cast(schema))
        if has_places:
            places.append(_places_of(store, layer, number, name, table.num_rows))
        times.append(_times(table, layer.time) * len(layers) + number)
        says = pc.equal(pc.utf8_upper(pc.utf8_trim_whitespace(table.column("record_action"))), "D")
        gone = np.asarray(pc.fill_null(says, False))
        deleted.append(gone & (layer.kind == "delta"))
    rows = pa.concat_tables(tables).combine_chunks()
    if has_places:
        for column in (placed := pa.concat_tables(places).combine_chunks()).column_names:
            rows = rows.append_column(column, placed.column(column))
        rows = rows.append_column(_NUMBER, pa.array(np.arange(rows.num_rows)))
    return _Rows(
        rows,
        np.concatenate([np.empty(0, np.int64), *times]),
        np.concatenate([np.empty(0, np.bool_), *deleted]),
    )


def _places_of(store: Store, layer: Layer, number: int, name: str, count: int) -> pa.Table:
    columns = [pa.nulls(count, pa.int32()), pa.nulls(count, pa.int64())]
    named = layer.places.get(name)
    if named is not None:
        table = pq.read_table(io.BytesIO(kept_object(store, named)))
        columns = [table.column(FILE_COLUMN), table.column(ROW_COLUMN)]
    numbers = pa.array(np.full(count, number, np.int32))
    return pa.table([numbers, *columns], schema=_PLACES_SCHEMA)


def _times(table: pa.Table, otherwise: str) -> Times:
    """Return when each row was last updated, in milliseconds; its layer's time where not stated."""
    stated = table.column("last_updated").combine_chunks().dictionary_encode()
    default = _milliseconds(otherwise, 0)
    known = [_milliseconds(text, default) for text in stated.dictionary.to_pylist()]
    at = np.asarray(pc.fill_null(stated.indices, len(known)))
    times: Times = np.array([*known, default], np.int64)[at]
    return times


def _milliseconds(text: str, otherwise: int) -> int:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return otherwise  # the rules report it
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _deletions(rows: _Rows, key: str) -> Deletions:
    """Return the ranks at which each key was deleted."""
    deletions: Deletions = {}
    at = np.flatnonzero(rows.deleted)
    keys = rows.table.column(key).take(pa.array(at)).to_pylist()
    for name, time in zip(keys, rows.times[at].tolist(), strict=True):
        if name is not None:
            deletions.setdefault(name, []).append(time)
    return deletions


def _gone_with_member(rows: _Rows, key: str, members: Deletions) -> Deletions:
    """Return when claims or coverages were deleted with the member that then owned them."""
    if not members:
        return {}
    deleted = pa.array(list(members), pa.string())
    touched = rows.table.column(key).filter(pc.is_in(rows.table.column(_MEMBER), value_set=deleted))
    at = np.flatnonzero(pc.is_in(rows.table.column(key), value_set=touched.combine_chunks()))
    few = rows.table.select([key, _MEMBER]).take(pa.array(at)).to_pydict()
    owners = np.where(rows.deleted[at], _NOBODY, np.asarray(few[_MEMBER], dtype=object))
    seen: dict[str, list[tuple[int, str]]] = {}
    for name, member, time in zip(few[key], owners, rows.times[at].tolist(), strict=True):
        if name is not None and member is not None:
            seen.setdefault(name, []).append((time, member))
    return {name: times for name, owners in seen.items() if (times := _taken(owners, members))}


def _taken(owners: list[tuple[int, str]], members: Deletions) -> list[int]:
    """Return when a claim was deleted with its member; it has no owner from then on.

    Args:
        owners: rank and member of each row that states an owner.
        members: when each member was deleted. Of one rank, deletions come before rows.
    """
    gone = {(time, False, one) for _, one in owners for time in members.get(one, ())}
    taken, owner = [], _NOBODY
    for time, is_row, member in sorted(gone | {(time, True, one) for time, one in owners}):
        if is_row:
            owner = member
        elif owner == member:
            taken.append(time)
            owner = _NOBODY
    return taken


def _joined(first: Deletions, second: Deletions) -> Deletions:
    return {
        key: [*first.get(key, ()), *second.get(key, ())] for key in first.keys() | second.keys()
    }


def _survives(rows: _Rows, key: str, gone: Deletions) -> npt.NDArray[np.bool_]:
    """Return which rows are not older than the last deletion of their key."""
    if not gone:
        return np.ones(len(rows.times), np.bool_)
    at = pc.index_in(rows.table.column(key), value_set=pa.array(list(gone), pa.string()))
    times = np.array([*(max(each) for each in gone.values()), _NEVER], np.int64)
    return np.asarray(rows.times >= times[np.asarray(pc.fill_null(at, len(gone)))])


def _present(rows: _Rows, name: str) -> pa.Table:
    """Return the row that counts for every key, unless it is a deletion.

    Rows of one time and layer stay together, for the rules about duplicates to decide; a
    deletion beside another row is an update sent as two rows. Rows without a key stay, for the
    rules to reject.
    """
    keys = TABLES[name].key
    joined = pc.binary_join_element_wise(
        *[rows.table.column(key) for key in keys], "\x1f", null_handling="emit_null"
    )
    codes = joined.combine_chunks().dictionary_encode()
    of = np.asarray(pc.fill_null(codes.indices, -1), dtype=np.int64)
    latest = np.full(len(codes.dictionary) + 1, _NEVER, np.int64)
    np.maximum.at(latest, of, rows.times)
    keep = ((rows.times == latest[of]) | (of < 0)) & ~rows.deleted
    table = rows.table.filter(pa.array(keep))
    at = table.schema.get_field_index("record_action")
    return table.set_column(at, "record_action", pa.nulls(table.num_rows, pa.string()))


def _write(folder: Path, name: str, table: Any) -> None:
    path = folder / f"{TABLES[name].file or name}.parquet"
    if table.num_rows or TABLES[name].compulsory:
        pq.write_table(table, path, compression="zstd")
    else:
        path.unlink(missing_ok=True)
