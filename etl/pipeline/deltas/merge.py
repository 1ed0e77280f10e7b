"""Deltas: all layers merged into one full extract in canonical files.

For every key the row with the latest time counts; of rows with one time that of the later layer.
A deletion also deletes older rows that depend on its row. So the result is a function of the set
of rows alone: their order in files and the order of files decide nothing, and a layer that is
there twice changes nothing. docs/decisions/0005-deltas.md gives the reasons.

A row that was made from the raw file of its claim (a numbered diagnosis column of `claim`, or a
line of a layout that makes claims from their lines) is part of the claim's row: a later row of the
claim replaces it. Its number is that of the program, so it cannot say which row it replaces.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.columns.arrays import compound_keys
from etl.errors import DataRejected
from etl.model.canonical_tables import (
    FILE_COLUMN,
    HEADER_OF,
    KEYS,
    LINES,
    ROW_COLUMN,
    TABLES,
)
from etl.model.data_models import CLAIMS, DataModel
from etl.pipeline.deltas.layers import Layer, action_codes, has_unknown_action, read_table
from etl.publish.reader import Tree
from etl.sources.files.listed_files import LAYERS, SOURCE_POSITIONS
from etl.sources.files.stored_files import FolderFiles, QueriedFile, ReplacedFiles, TableVersion
from etl.sources.layout.model import highest_sequences, is_sequence

Times: TypeAlias = npt.NDArray[np.int64]
_NEVER: Final = np.iinfo(np.int64).min
_NO_ROWS: Final = np.empty(0, np.int64)
_MAX_NOTED_ROWS: Final = 5
"""Most rows that a note names."""
_MEMBER: Final = "member_id"
_NUMBER_COLUMN: Final = "_number"
LAYER_COLUMN: Final = "_layer"
"""Column with the number of a row's layer."""
_RAW_COLUMN: Final = "_raw"
"""Column with the name of the raw table that a row was made from; of the file, if it has none."""
_SEQUENCE: Final = "sequence"
_POSITIONS_SCHEMA: Final = pa.schema(
    [
        (LAYER_COLUMN, pa.int32()),
        (FILE_COLUMN, pa.int32()),
        (ROW_COLUMN, pa.int64()),
        (_RAW_COLUMN, pa.dictionary(pa.int32(), pa.string())),
    ]
)
_NO_OWNER: Final = ""
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
class _Headers:
    """The rows of a header table: key, layer, raw table and row of each.

    Attributes:
        all: of all layers.
        current: the latest of each key.
    """

    all: pa.Table
    current: pa.Table


@dataclass(frozen=True, slots=True)
class TableOrigins:
    """The rows of all layers of one table, and which of them make the merged one.

    Attributes:
        rows: rows of all layers in canonical columns, with `LAYER_COLUMN`, `_file` and `_row`:
            places in the extract of their layer; null if a layer does not know them.
        merged: for each row of the merged table, in its order, which of `rows` it is.
        deleting: which of `rows` delete what they name.
    """

    rows: pa.Table
    merged: npt.NDArray[np.int64]
    deleting: npt.NDArray[np.bool_]


def write_merged_extract(
    tree: Tree,
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
        tree: of the layers.
        layers: the full extract first, then deltas as they were published.
        folder: where to write; made where it is missing.
        as_of: day of the last delta; None if it is not stated.
        payer: name of the payer, as reports show it; None if not stated.
        model: what the rows are about.

    Returns:
        The files, and sentences about rows of the last layer that change nothing.

    Raises:
        StoreError: a layer is missing or damaged.
    """
    sources = _LayerSources(layers)
    origins: dict[str, TableVersion] = {}

    def name_sources(name: str, rows: _Rows, merged: pa.Table) -> pa.Table:
        origins[merged_file(name)] = TableVersion(LAYERS, name)
        return sources.named(merged)

    idle_rows = _merge(tree, layers, folder, model, name_sources)
    manifest = {"layout": model.layout, "kind": "full", "as_of": as_of, "payer": payer}
    text = json.dumps({name: value for name, value in manifest.items() if value is not None})
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    files = FolderFiles(folder.absolute(), origins=origins)  # other processes may read them
    names = frozenset(entry.name for entry in files.entries())
    merged_files = ReplacedFiles(files, files, names, sources.files())
    return merged_files, tuple(_idle_notes(tree, layers[-1], idle_rows))


def write_merged_origins(
    tree: Tree, layers: Sequence[Layer], folder: Path, model: DataModel
) -> Mapping[str, TableOrigins]:
    """Write all layers merged, and return the origin of each row.

    Raises:
        StoreError: a layer is missing or damaged.
    """
    origins: dict[str, TableOrigins] = {}

    def record_origins(name: str, rows: _Rows, merged: pa.Table) -> pa.Table:
        numbers = merged.column(_NUMBER_COLUMN).to_numpy()
        table = rows.table.drop_columns([_NUMBER_COLUMN, _RAW_COLUMN])
        origins[name] = TableOrigins(table, numbers, rows.deleted)
        return merged.select(TABLES[name].names)

    _merge(tree, layers, folder, model, record_origins)
    manifest = {"layout": model.layout, "kind": "full"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return origins


def _merge(
    tree: Tree,
    layers: Sequence[Layer],
    folder: Path,
    model: DataModel,
    select_columns: Callable[[str, _Rows, pa.Table], pa.Table],
) -> dict[str, _IdleRows]:
    """Write the merged tables.

    Args:
        select_columns: returns the table to write, given its name, all its rows, and the current
            ones.

    Returns:
        Table -> its rows in the last layer that change nothing.

    Raises:
        DataRejected: a delta has only some lines of a claim that a layout makes from its lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deletions: dict[str, Deletions] = {}
    headers: dict[str, _Headers] = {}
    idle: dict[str, _IdleRows] = {}
    # Deleted members delete coverages and headers, and those delete their dependent rows.
    key_tables = tuple(name for name in KEYS if name in model.tables)
    for name in (*key_tables, *(other for other in model.tables if other not in key_tables)):
        all_rows = rows = _read_rows(tree, layers, name)
        owner = TABLES[name].key[0]
        is_member = name in key_tables[:1]
        if name in key_tables:
            deletions[owner] = _deletions(rows, owner)
            if not is_member:
                added = _deletions_with_member(rows, owner, deletions[_MEMBER])
                deletions[owner] = _merge_deletions(deletions[owner], added)
        idle[name] = _idle_rows(
            rows, name, len(layers), {} if is_member else deletions.get(owner, {})
        )
        if not is_member and owner in deletions:
            rows = rows.only(_is_not_deleted(rows, owner, deletions[owner]))
        header = HEADER_OF.get(name, "")
        if name == header:
            current = _current_rows(rows, name)
            columns = [owner, LAYER_COLUMN, _RAW_COLUMN, ROW_COLUMN]
            headers[name] = _Headers(rows.table.select(columns), current.select(columns))
        elif header:
            current = _current_children(rows, name, headers[header], layers)
        else:
            current = _current_rows(rows, name)
        _write_table(folder, name, select_columns(name, all_rows, current))
    return idle


def _origins(table: pa.Table, key: str, *columns: str) -> Any:
    """Return key, layer, raw table and more columns of rows as one text; null if one is unknown."""
    return _joined(table, key, LAYER_COLUMN, _RAW_COLUMN, *columns)


def _joined(table: pa.Table, *columns: str) -> Any:
    texts = [table.column(name).cast(pa.string()).combine_chunks() for name in columns]
    return compound_keys(*texts)


def _raw_tables(rows: pa.Table) -> set[str | None]:
    """Return layer and raw table of rows as one text, each once; without unknown ones."""
    return {*pc.unique(_joined(rows, LAYER_COLUMN, _RAW_COLUMN)).to_pylist()} - {None}


def _is_among(origins: Any, searched: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.is_in(origins, value_set=searched, skip_nulls=True))


def _current_children(
    rows: _Rows, name: str, headers: _Headers, layers: Sequence[Layer]
) -> pa.Table:
    """Return the current rows of a child table.

    Rows that were made from the raw file of their header's row are those of the latest header row;
    of the others the latest of each key counts.
    """
    key = TABLES[name].key[0]
    if not _raw_tables(rows.table) & _raw_tables(headers.all):
        return _current_rows(rows, name)
    is_part = _is_among(_origins(rows.table, key), _origins(headers.all, key))
    parts = rows.only(is_part)
    current_origins = _origins(headers.current, key)
    current_parts = parts.only(_is_among(_origins(parts.table, key), current_origins))
    if name in LINES.values():
        _require_all_lines(parts, current_parts, name, headers, layers)
    separate_rows = rows.only(~is_part)
    current = _current_rows(separate_rows, name)
    current_part_rows = _current_rows(current_parts, name)
    if _SEQUENCE in TABLES[name].key:
        current_part_rows = _renumber(current_part_rows, separate_rows.table, current, key)
    return pa.concat_tables([current, current_part_rows]).combine_chunks()


def _require_all_lines(
    parts: _Rows, current: _Rows, name: str, headers: _Headers, layers: Sequence[Layer]
) -> None:
    """Check that the claims of a delta have the lines that had rows of their own before."""
    key = TABLES[name].key[0]
    header_rows = _origins(headers.all, key, ROW_COLUMN)
    has_own_row = ~_is_among(_origins(parts.table, key, ROW_COLUMN), header_rows)
    layer_numbers = parts.table.column(LAYER_COLUMN).to_numpy()
    last_layer = pa.array(np.full(len(layer_numbers), len(layers) - 1, np.int32))
    at = parts.table.schema.get_field_index(LAYER_COLUMN)
    in_last_layer = parts.table.set_column(at, LAYER_COLUMN, last_layer)
    keys, _ = _number_keys(parts.table, name)
    is_current = np.isin(
        parts.table.column(_NUMBER_COLUMN).to_numpy(),
        current.table.column(_NUMBER_COLUMN).to_numpy(),
    )
    is_missing = (
        _is_among(_origins(in_last_layer, key), _origins(headers.current, key))
        & np.isin(layer_numbers, layer_numbers[has_own_row])
        & ~parts.deleted
        & ~np.isin(keys, keys[is_current])
    )
    if is_missing.any():
        layout = layers[-1].layout
        raise DataRejected(
            f"nothing was published: the delta lacks {len(np.unique(keys[is_missing])):,} lines of "
            f"the claims that it changes; the layout {layout} makes claims from their lines, so a "
            "delta must contain all rows of each claim that it changes; if lines were removed, "
            "publish a full extract"
        )


def _renumber(parts: pa.Table, other_rows: pa.Table, current: pa.Table, key: str) -> pa.Table:
    """Number rows that are part of their header's row after the other rows of the header.

    Args:
        parts: those rows, numbered after the other rows of their own layer.
        other_rows: the other rows of all layers.
        current: the latest of them.
        key: column with the key of the header.
    """
    if not parts.num_rows or not other_rows.num_rows:
        return parts
    layer_highest = highest_sequences(other_rows, [key, LAYER_COLUMN], parts)
    current_highest = highest_sequences(current, [key], parts)
    stated = parts.column(_SEQUENCE)
    numbers = pc.if_else(is_sequence(stated), stated, None).cast(pa.int64())
    moved = pc.add(pc.subtract(numbers, layer_highest), current_highest).cast(pa.string())
    renumbered = pc.coalesce(moved, stated)  # the rules reject what is no number
    return parts.set_column(parts.schema.get_field_index(_SEQUENCE), _SEQUENCE, renumbered)


def _idle_rows(rows: _Rows, name: str, layers: int, deletions: Deletions) -> _IdleRows:
    """Return the rows of the last layer that change nothing.

    Args:
        rows: of one table, of all layers.
        name: the table.
        layers: how many layers there are; a rank leaves the layer's number as its remainder.
        deletions: when the owners of the rows were deleted.
    """
    is_last = rows.times % layers == layers - 1
    if layers == 1 or not is_last.any():
        return _IdleRows(_NO_ROWS, _NO_ROWS)
    keys, key_count = _number_keys(rows.table, name)
    previous_times = np.full(key_count + 1, _NEVER, np.int64)  # the last is of rows without a key
    np.maximum.at(previous_times, keys[~is_last], rows.times[~is_last])
    previous_times[-1] = _NEVER
    key_exists = np.zeros(key_count + 1, np.bool_)
    key_exists[keys[~rows.deleted]] = True
    key_exists[-1] = True
    earlier_deletions = {
        key: times
        for key, ranks in deletions.items()
        if (times := [rank for rank in ranks if rank % layers != layers - 1])
    }
    is_older = (rows.times < previous_times[keys]) | ~_is_not_deleted(
        rows, TABLES[name].key[0], earlier_deletions
    )
    last_rows = np.flatnonzero(is_last)
    is_needless = rows.deleted & ~key_exists[keys] & ~is_older
    return _IdleRows(np.flatnonzero(is_older[last_rows]), np.flatnonzero(is_needless[last_rows]))


def _idle_notes(tree: Tree, layer: Layer, idle_rows: Mapping[str, _IdleRows]) -> Iterator[str]:
    """Yield notes about rows of a layer that change nothing, with positions."""
    for reason, rows_by_table in (
        (
            "they are older than the rows that they would change",
            {name: rows.older for name, rows in idle_rows.items()},
        ),
        (
            "the rows that they delete do not exist",
            {name: rows.needless for name, rows in idle_rows.items()},
        ),
    ):
        count = sum(map(len, rows_by_table.values()))
        if count:
            descriptions = itertools.chain.from_iterable(
                _describe_positions(tree, layer, name, rows) for name, rows in rows_by_table.items()
            )
            shown_positions = "; ".join(itertools.islice(descriptions, _MAX_NOTED_ROWS))
            ellipsis = "; …" if count > _MAX_NOTED_ROWS else ""
            details = f" ({shown_positions}{ellipsis})" if shown_positions else ""
            yield f"rows of the delta that change nothing, because {reason}: {count:,}{details}"


def _describe_positions(
    tree: Tree, layer: Layer, table_name: str, rows: npt.NDArray[np.int64]
) -> Iterator[str]:
    """Yield the first rows of a table by file and row number."""
    if len(rows) and table_name in layer.places:
        table = read_table(tree, layer.places[table_name])
        files, numbers = (table.column(column).to_pylist() for column in (FILE_COLUMN, ROW_COLUMN))
        for row in rows[:_MAX_NOTED_ROWS].tolist():
            yield f"{layer.files[files[row]].name}, row {numbers[row]}"


def _read_rows(tree: Tree, layers: Sequence[Layer], name: str) -> _Rows:
    """Read a table's rows from all layers, with their positions."""
    schema = pa.schema([pa.field(column, pa.string()) for column in TABLES[name].names])
    tables, times, deleted = [schema.empty_table()], [], []
    positions = [_POSITIONS_SCHEMA.empty_table()]
    for number, layer in enumerate(layers):
        layer_table = layer.tables.get(name)
        if layer_table is None:
            continue
        table = read_table(tree, layer_table)
        null_column = pa.nulls(table.num_rows, pa.string())  # an own column of a later layer
        cells = {name: table.column(name) for name in table.column_names}
        tables.append(pa.table({name: cells.get(name, null_column) for name in schema.names}))
        positions.append(_read_positions(tree, layer, number, name, table.num_rows))
        times.append(_row_times(table, layer.time) * len(layers) + number)
        is_deletion = np.asarray(pc.fill_null(pc.equal(action_codes(table), "D"), False))
        deleted.append(is_deletion & (layer.kind == "delta"))
    rows = pa.concat_tables(tables).combine_chunks()
    all_positions = pa.concat_tables(positions).unify_dictionaries().combine_chunks()
    for column in all_positions.column_names:
        rows = rows.append_column(column, all_positions.column(column))
    rows = rows.append_column(_NUMBER_COLUMN, pa.array(np.arange(rows.num_rows)))
    return _Rows(
        rows,
        np.concatenate([np.empty(0, np.int64), *times]),
        np.concatenate([np.empty(0, np.bool_), *deleted]),
    )


def _read_positions(tree: Tree, layer: Layer, number: int, name: str, count: int) -> pa.Table:
    """Read the positions of a layer's rows; null if it does not store them."""
    columns = [
        pa.nulls(count, pa.int32()),
        pa.nulls(count, pa.int64()),
        pa.nulls(count, _POSITIONS_SCHEMA.field(_RAW_COLUMN).type),
    ]
    positions_ref = layer.places.get(name)
    if positions_ref is not None:
        table = read_table(tree, positions_ref)
        raw_names = pa.array([file.table or file.name for file in layer.files], pa.string())
        files = table.column(FILE_COLUMN).combine_chunks()
        raw = pa.DictionaryArray.from_arrays(files, raw_names)
        columns = [files, table.column(ROW_COLUMN), raw]
    numbers = pa.array(np.full(count, number, np.int32))
    return pa.table([numbers, *columns], schema=_POSITIONS_SCHEMA)


def _row_times(table: pa.Table, default_time: str) -> Times:
    """Return when each row was last updated, in milliseconds; default to the layer's."""
    stated = table.column("last_updated").combine_chunks().dictionary_encode()
    default = _milliseconds(default_time, 0)
    parsed_times = [_milliseconds(text, default) for text in stated.dictionary.to_pylist()]
    time_indices = np.asarray(pc.fill_null(stated.indices, len(parsed_times)))
    times: Times = np.array([*parsed_times, default], np.int64)[time_indices]
    return times


def _milliseconds(text: str, default: int) -> int:
    """Parse an instant to milliseconds; return the default if it is invalid."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return default  # the rules report it
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _deletions(rows: _Rows, key: str) -> Deletions:
    """Return the ranks at which each key was deleted."""
    deletions: Deletions = {}
    deleted_rows = np.flatnonzero(rows.deleted)
    keys = rows.table.column(key).take(pa.array(deleted_rows)).to_pylist()
    for key_value, time in zip(keys, rows.times[deleted_rows].tolist(), strict=True):
        if key_value is not None:
            deletions.setdefault(key_value, []).append(time)
    return deletions


def _deletions_with_member(rows: _Rows, key: str, members: Deletions) -> Deletions:
    """Return when headers or coverages were deleted with their member."""
    if not members:
        return {}
    deleted = pa.array(list(members), pa.string())
    owned = rows.table.column(key).filter(pc.is_in(rows.table.column(_MEMBER), value_set=deleted))
    indices = np.flatnonzero(pc.is_in(rows.table.column(key), value_set=owned.combine_chunks()))
    columns = rows.table.select([key, _MEMBER]).take(pa.array(indices)).to_pydict()
    owners = np.where(rows.deleted[indices], _NO_OWNER, np.asarray(columns[_MEMBER], dtype=object))
    by_key: dict[str, list[tuple[int, str]]] = {}
    for name, member, time in zip(columns[key], owners, rows.times[indices].tolist(), strict=True):
        if name is not None and member is not None:
            by_key.setdefault(name, []).append((time, member))
    return {
        name: times
        for name, owners in by_key.items()
        if (times := _owner_deletions(owners, members))
    }


def _owner_deletions(owners: list[tuple[int, str]], members: Deletions) -> list[int]:
    """Return when a header was deleted with its owner.

    Args:
        owners: rank and member of each row that states an owner.
        members: when each member was deleted. Of one rank, a row that moves the header to a member
            who stays comes before deletions; other rows come after them.
    """
    deletions = {(time, 1, name) for _, name in owners for time in members.get(name, ())}
    stated = {(time, 2 if time in members.get(name, ()) else 0, name) for time, name in owners}
    times, owner = [], _NO_OWNER
    for time, step, member in sorted(deletions | stated):
        if step != 1:
            owner = member
        elif owner == member:
            times.append(time)
            owner = _NO_OWNER
    return times


def _merge_deletions(first: Deletions, second: Deletions) -> Deletions:
    """Merge deletions by key."""
    return {
        key: [*first.get(key, ()), *second.get(key, ())] for key in first.keys() | second.keys()
    }


def _is_not_deleted(rows: _Rows, key: str, deletions: Deletions) -> npt.NDArray[np.bool_]:
    """Return which rows are not older than the last deletion of their key."""
    if not deletions:
        return np.ones(len(rows.times), np.bool_)
    indices = pc.index_in(rows.table.column(key), value_set=pa.array(list(deletions), pa.string()))
    times = np.array([*(max(ranks) for ranks in deletions.values()), _NEVER], np.int64)
    return np.asarray(rows.times >= times[np.asarray(pc.fill_null(indices, len(deletions)))])


def _current_rows(rows: _Rows, name: str) -> pa.Table:
    """Return the latest row of every key, unless it is a deletion.

    Rows of one time and layer stay together, for the rules about duplicates to decide; a
    deletion beside another row is an update sent as two rows. Rows without a key and unknown
    record actions stay, for the rules to reject.
    """
    key_numbers, size = _number_keys(rows.table, name)
    latest = np.full(size + 1, _NEVER, np.int64)
    np.maximum.at(latest, key_numbers, rows.times)
    is_current = ((rows.times == latest[key_numbers]) | (key_numbers < 0)) & ~rows.deleted
    table = rows.table.filter(pa.array(is_current))
    column_index = table.schema.get_field_index("record_action")
    unknown_actions = pc.if_else(has_unknown_action(table), table.column("record_action"), None)
    return table.set_column(column_index, "record_action", unknown_actions)


def _number_keys(table: pa.Table, name: str) -> tuple[npt.NDArray[np.int64], int]:
    """Number the keys of rows, -1 if incomplete; also return how many there are."""
    codes = _joined(table, *TABLES[name].key).dictionary_encode()
    return np.asarray(pc.fill_null(codes.indices, -1), dtype=np.int64), len(codes.dictionary)


def _write_table(folder: Path, name: str, table: Any) -> None:
    path = folder / merged_file(name)
    if table.num_rows or TABLES[name].compulsory:
        pq.write_table(table, path, compression="zstd")
    else:
        path.unlink(missing_ok=True)


def merged_file(table: str) -> str:
    """Return the name of the file with a table's merged rows."""
    return f"{TABLES[table].file_name}.parquet"


def layer_titles(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return distinct titles of layers, such as `delta extract of 2024-07-02`."""
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
        """Add the positions of merged rows as columns, null if not stored."""
        first_files = self._first.take(merged.column(LAYER_COLUMN).combine_chunks())
        files = pc.add(first_files, merged.column(FILE_COLUMN).combine_chunks())
        self._counts += np.bincount(np.asarray(files.drop_null()), minlength=len(self._counts))
        rows = merged.column(ROW_COLUMN).cast(pa.string())
        columns = dict(zip(SOURCE_POSITIONS, (self._names.take(files), rows), strict=True))
        merged = merged.drop_columns([*_POSITIONS_SCHEMA.names, _NUMBER_COLUMN])
        for name, column in columns.items():
            merged = merged.append_column(name, column)
        return merged

    def files(self) -> tuple[QueriedFile, ...]:
        """Return the files, with the number of merged rows that each brought."""
        return tuple(
            QueriedFile(name, 0, digest, count)
            for (name, digest), count in zip(self._files, self._counts.tolist(), strict=True)
        )
