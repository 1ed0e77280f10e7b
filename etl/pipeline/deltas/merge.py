"""Deltas: all layers merged into one full extract in canonical files.

For every key the row with the latest time counts; of rows with one time that of the later layer.
A deletion also deletes older rows that depend on its row. So the result is a function of the set
of rows alone: their order in files and the order of files decide nothing, and a layer that is
there twice changes nothing. docs/decisions/0005-deltas.md gives the reasons.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.model.canonical_tables import FILE_COLUMN, HEADER_OF, KEYS, ROW_COLUMN, TABLES
from etl.model.data_models import CLAIMS, DataModel
from etl.pipeline.deltas.layers import Layer, LayerFile, kept_object
from etl.sources.files.listed_files import LAYERS, SOURCE_PLACES
from etl.sources.files.stored_files import FolderFiles, QueriedFile, ReplacedFiles, TableVersion
from etl.storage.port import Store

Times: TypeAlias = npt.NDArray[np.int64]
_NEVER: Final = np.iinfo(np.int64).min
_NOWHERE: Final = np.empty(0, np.int64)
_NAMED_PLACES: Final = 5
"""Most rows that a note names."""
_MEMBER: Final = "member_id"
_NUMBER: Final = "_number"
LAYER_COLUMN: Final = "_layer"
"""Column with the number of a row's layer."""
_PLACES_SCHEMA: Final = pa.schema(
    [(LAYER_COLUMN, pa.int32()), (FILE_COLUMN, pa.int32()), (ROW_COLUMN, pa.int64())]
)
_NOBODY: Final = ""
"""Owner of a deleted header: sorts before any member, where rows of one time state both."""

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
class _IdleRows:
    """Rows of one table in the last layer, by their number there, that change nothing.

    Attributes:
        older: what they meet in the layers before is later.
        needless: they delete a row that does not exist.
    """

    older: npt.NDArray[np.int64]
    needless: npt.NDArray[np.int64]


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
) -> tuple[ReplacedFiles, tuple[str, ...]]:
    """Write all layers as one full extract; one table is held in memory at a time.

    A deleted row of a directory takes none along: what still refers to it is reported as such.
    Each row names the file and row of the layer's extract that it came with, so that findings do.

    Args:
        store: where the layers are.
        layers: the full extract first, then deltas as they were published.
        folder: where to write; made where it is missing.
        as_of: day of the last delta; None where it is not stated.
        payer: the payer of the extract; None where it is not stated.
        model: what the rows are about.

    Returns:
        The files, and sentences about rows of the last layer that change nothing.

    Raises:
        StoreError: a layer is missing or damaged.
    """
    sources = _LayerSources(layers)
    origins: dict[str, TableVersion] = {}

    def name_sources(name: str, rows: _Rows, merged: pa.Table) -> pa.Table:
        origins[_file_name(name)] = TableVersion(LAYERS, name)
        return sources.named(merged)

    idle = _merge(store, layers, folder, model, name_sources)
    manifest = {"layout": model.layout, "kind": "full", "as_of": as_of, "payer": payer}
    text = json.dumps({name: value for name, value in manifest.items() if value is not None})
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    files = FolderFiles(folder.absolute(), origins=origins)  # other processes may read them
    names = frozenset(entry.name for entry in files.entries())
    merged_files = ReplacedFiles(files, files, names, sources.files())
    return merged_files, tuple(_idle_notes(store, layers[-1], idle))


def merged_origins(
    store: Store, layers: Sequence[Layer], folder: Path
) -> Mapping[str, TableOrigins]:
    """Write all layers as `merged_extract` does, and return where each of its rows came from.

    Raises:
        StoreError: a layer is missing or damaged.
    """
    origins: dict[str, TableOrigins] = {}

    def keep(name: str, rows: _Rows, merged: pa.Table) -> pa.Table:
        numbers = merged.column(_NUMBER).to_numpy()
        origins[name] = TableOrigins(rows.table.drop_columns(_NUMBER), numbers, rows.deleted)
        return merged.select(TABLES[name].names)

    _merge(store, layers, folder, CLAIMS, keep)
    (folder / "manifest.json").write_text('{"layout": "cpcds", "kind": "full"}', encoding="utf-8")
    return origins


def _merge(
    store: Store,
    layers: Sequence[Layer],
    folder: Path,
    model: DataModel,
    written: Callable[[str, _Rows, pa.Table], pa.Table],
) -> dict[str, _IdleRows]:
    """Write the merged tables.

    Args:
        written: returns what is written of a table, given its name, all its rows, and those that
            count.

    Returns:
        Table -> its rows in the last layer that change nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gone: dict[str, Deletions] = {}
    idle: dict[str, _IdleRows] = {}
    # Deletions of members decide on coverages and headers, and those on all that depends on them.
    first = tuple(KEYS) if model.has_members else ()
    for name in (*first, *(other for other in model.tables if other not in first)):
        all_rows = rows = _rows_of(store, layers, name)
        owner = TABLES[name].key[0]
        is_member = name in first[:1]
        if name in first:
            gone[owner] = _deletions(rows, owner)
            if not is_member:
                taken = _gone_with_member(rows, owner, gone[_MEMBER])
                gone[owner] = _joined(gone[owner], taken)
        idle[name] = _idle_rows(rows, name, len(layers), {} if is_member else gone.get(owner, {}))
        if not is_member and owner in gone:
            rows = rows.only(_survives(rows, owner, gone[owner]))
        _write(folder, name, written(name, all_rows, _present(rows, name)))
    return idle


def _idle_rows(rows: _Rows, name: str, layers: int, gone: Deletions) -> _IdleRows:
    """Return the rows of the last layer that change nothing.

    Args:
        rows: of one table, of all layers.
        name: the table.
        layers: how many layers there are; a rank leaves the layer's number as its remainder.
        gone: when the owners of the rows were deleted.
    """
    is_last = rows.times % layers == layers - 1
    if layers == 1 or not is_last.any():
        return _IdleRows(_NOWHERE, _NOWHERE)
    of, size = _keys(rows.table, name)
    before = np.full(size + 1, _NEVER, np.int64)  # the last is of rows without a key
    np.maximum.at(before, of[~is_last], rows.times[~is_last])
    before[-1] = _NEVER
    is_there = np.zeros(size + 1, np.bool_)
    is_there[of[~rows.deleted]] = True
    is_there[-1] = True
    earlier = {
        key: times
        for key, ranks in gone.items()
        if (times := [rank for rank in ranks if rank % layers != layers - 1])
    }
    is_older = (rows.times < before[of]) | ~_survives(rows, TABLES[name].key[0], earlier)
    last = np.flatnonzero(is_last)
    is_needless = rows.deleted & ~is_there[of] & ~is_older
    return _IdleRows(np.flatnonzero(is_older[last]), np.flatnonzero(is_needless[last]))


def _idle_notes(store: Store, layer: Layer, idle: Mapping[str, _IdleRows]) -> Iterator[str]:
    """Yield a sentence about each way in which rows of a layer change nothing, with places."""
    for says, of_tables in (
        (
            "they are older than the rows that they would change",
            {name: rows.older for name, rows in idle.items()},
        ),
        (
            "the rows that they delete do not exist",
            {name: rows.needless for name, rows in idle.items()},
        ),
    ):
        count = sum(map(len, of_tables.values()))
        if count:
            places = itertools.chain.from_iterable(
                _places_in_words(store, layer, name, rows) for name, rows in of_tables.items()
            )
            named = "; ".join(itertools.islice(places, _NAMED_PLACES))
            more = "; …" if count > _NAMED_PLACES else ""
            where = f" ({named}{more})" if named else ""
            yield f"rows of the delta that change nothing, because {says}: {count:,}{where}"


def _places_in_words(
    store: Store, layer: Layer, name: str, rows: npt.NDArray[np.int64]
) -> Iterator[str]:
    if len(rows) and name in layer.places:
        table = pq.read_table(io.BytesIO(kept_object(store, layer.places[name])))
        files, numbers = (table.column(column).to_pylist() for column in (FILE_COLUMN, ROW_COLUMN))
        for row in rows[:_NAMED_PLACES].tolist():
            yield f"{layer.files[files[row]].name}, row {numbers[row]}"


def _rows_of(store: Store, layers: Sequence[Layer], name: str) -> _Rows:
    """Return the rows of all layers, with number, layer, file and row of each."""
    schema = pa.schema([pa.field(column, pa.string()) for column in TABLES[name].names])
    tables, times, deleted = [schema.empty_table()], [], []
    places = [_PLACES_SCHEMA.empty_table()]
    for number, layer in enumerate(layers):
        named = layer.tables.get(name)
        if named is None:
            continue
        table = pq.read_table(io.BytesIO(kept_object(store, named)))
        absent = pa.nulls(table.num_rows, pa.string())  # an own column of a later layer
        cells = {name: table.column(name) for name in table.column_names}
        tables.append(pa.table({name: cells.get(name, absent) for name in schema.names}))
        places.append(_places_of(store, layer, number, name, table.num_rows))
        times.append(_times(table, layer.time) * len(layers) + number)
        says = pc.equal(pc.utf8_upper(pc.utf8_trim_whitespace(table.column("record_action"))), "D")
        gone = np.asarray(pc.fill_null(says, False))
        deleted.append(gone & (layer.kind == "delta"))
    rows = pa.concat_tables(tables).combine_chunks()
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
    """Return when headers or coverages were deleted with the member that then owned them."""
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
    """Return when a header was deleted with its member; it has no owner from then on.

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
    of, size = _keys(rows.table, name)
    latest = np.full(size + 1, _NEVER, np.int64)
    np.maximum.at(latest, of, rows.times)
    keep = ((rows.times == latest[of]) | (of < 0)) & ~rows.deleted
    table = rows.table.filter(pa.array(keep))
    at = table.schema.get_field_index("record_action")
    return table.set_column(at, "record_action", pa.nulls(table.num_rows, pa.string()))


def _keys(table: pa.Table, name: str) -> tuple[npt.NDArray[np.int64], int]:
    """Return the number of each row's key, -1 if it is incomplete, and how many keys there are."""
    joined = pc.binary_join_element_wise(
        *[table.column(key) for key in TABLES[name].key], "\x1f", null_handling="emit_null"
    )
    codes = joined.combine_chunks().dictionary_encode()
    return np.asarray(pc.fill_null(codes.indices, -1), dtype=np.int64), len(codes.dictionary)


def _write(folder: Path, name: str, table: Any) -> None:
    path = folder / _file_name(name)
    if table.num_rows or TABLES[name].compulsory:
        pq.write_table(table, path, compression="zstd")
    else:
        path.unlink(missing_ok=True)


def _file_name(table: str) -> str:
    return f"{TABLES[table].file or table}.parquet"


def layer_titles(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return layers in words, such as `delta extract of 2024-07-02`; no two have the same."""
    titles = [f"{layer.kind} extract of {layer.time[:10]}" for layer in layers]
    return tuple(
        title if titles.count(title) == 1 else f"{title} (number {number})"
        for number, title in enumerate(titles)
    )


class _LayerSources:
    """The files of all layers, as sources of merged rows.

    Args:
        layers: the full extract first.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._files = [
            (f"{title}: {file.name}", file.sha256)
            for title, layer in zip(layer_titles(layers), layers, strict=True)
            for file in layer.files
        ]
        self._names = pa.array([name for name, _ in self._files], pa.string())
        self._first = pa.array(np.cumsum([0, *(len(layer.files) for layer in layers)])[:-1])
        self._counts = np.zeros(len(self._files), np.int64)

    def named(self, merged: pa.Table) -> pa.Table:
        """Return a merged table with the places of its rows as columns, null where not kept."""
        first = self._first.take(merged.column(LAYER_COLUMN).combine_chunks())
        files = pc.add(first, merged.column(FILE_COLUMN).combine_chunks())
        self._counts += np.bincount(np.asarray(files.drop_null()), minlength=len(self._counts))
        rows = merged.column(ROW_COLUMN).cast(pa.string())
        columns = dict(zip(SOURCE_PLACES, (self._names.take(files), rows), strict=True))
        places = (LAYER_COLUMN, FILE_COLUMN, ROW_COLUMN, _NUMBER)
        merged = merged.drop_columns([*places])
        for name, column in columns.items():
            merged = merged.append_column(name, column)
        return merged

    def files(self) -> tuple[QueriedFile, ...]:
        """Return the files, with the number of merged rows that each brought."""
        return tuple(
            QueriedFile(name, 0, digest, count)
            for (name, digest), count in zip(self._files, self._counts.tolist(), strict=True)
        )


FIRST_ROW: Final = 2
"""Number of the first row of a merged table: row 1 is the header's, as in files of text."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One canonical row of a layer.

    Attributes:
        layer: number of the layer, the full extract's is 0.
        table: canonical table.
        file: number of the file of the layer's extract that the row came with.
        row: its row there; the header is row 1. Of several rows, the first that it was made of.
        merged: its row in the merged table; None where a later row replaced or deleted it.
        is_deletion: whether it deletes what it names.
    """

    layer: int
    table: str
    file: int
    row: int
    merged: int | None
    is_deletion: bool


class LayerRows:
    """The rows of all layers of a release.

    Args:
        layers: the full extract first.
        tables: what `merged_origins` returned for them.
    """

    def __init__(self, layers: Sequence[Layer], tables: Mapping[str, TableOrigins]) -> None:
        self.layers = tuple(layers)
        self._tables = tables

    def title(self, layer: int) -> str:
        """Return a layer in words, as `layer_titles` does."""
        return layer_titles(self.layers)[layer]

    def file_of(self, row: LayerRow) -> LayerFile:
        """Return the file that a row came with."""
        return self.layers[row.layer].files[row.file]

    def of_merged(self, table: str, row: int) -> LayerRow | None:
        """Return the row behind a row of a merged table; None where its place was not kept."""
        number = row - FIRST_ROW
        if table not in self._tables or not 0 <= number < len(self._tables[table].merged):
            return None
        return self._row(table, int(self._tables[table].merged[number]))

    def at(self, layer: int, file: int, row: int) -> Iterator[LayerRow]:
        """Yield the canonical rows with a place in a layer's extract."""
        for table, places in self._places.items():
            ours = (places[0] == layer) & (places[1] == file) & (places[2] == row)
            yield from self._rows(table, np.flatnonzero(ours))

    def of_header(self, header: str, number: str) -> Iterator[LayerRow]:
        """Yield the rows of a claim or prior authorization in all layers."""
        for table, origins in self._tables.items():
            if HEADER_OF.get(table) == header:
                numbers = origins.rows.column(KEYS[header])
                ours = pc.fill_null(pc.equal(numbers, number), False)
                yield from self._rows(table, np.flatnonzero(np.asarray(ours)))

    def _rows(self, table: str, numbers: npt.NDArray[np.int64]) -> Iterator[LayerRow]:
        rows = (self._row(table, number) for number in numbers.tolist())
        return (row for row in rows if row is not None)

    def _row(self, table: str, number: int) -> LayerRow | None:
        layer, file, row = (int(places[number]) for places in self._places[table])
        if row < 0:
            return None
        merged = self._merged[table].get(number)
        is_deletion = bool(self._tables[table].deleting[number])
        return LayerRow(layer, table, file, row, merged, is_deletion)

    @cached_property
    def _places(self) -> Mapping[str, tuple[npt.NDArray[np.int64], ...]]:
        """Table -> layer, file and row of each of its rows; -1 where they were not kept."""
        return {
            table: tuple(
                pc.fill_null(origins.rows.column(name).cast(pa.int64()), -1).to_numpy()
                for name in (LAYER_COLUMN, FILE_COLUMN, ROW_COLUMN)
            )
            for table, origins in self._tables.items()
        }

    @cached_property
    def _merged(self) -> Mapping[str, Mapping[int, int]]:
        """Table -> number among the rows of all layers -> row of the merged table."""
        return {
            table: {number: at for at, number in enumerate(origins.merged.tolist(), FIRST_ROW)}
            for table, origins in self._tables.items()
        }
