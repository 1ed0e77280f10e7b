"""The rows that a release was made of, kept in the tree so that a delta can be put on top of them.

A *layer* is one extract's rows in canonical columns: a Parquet object a table. A full extract is
the first layer, each delta one more. Beside each of these objects another has the places of its
rows: file and row of the extract that they came with. `rows/<sha256>.json` lists them, and the
manifest names the list and every object of it among its reports.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.columns.places import RowSources, place_keys, places_of
from etl.errors import DataRejected, NotFound, StoreError, UsageError
from etl.model.canonical_tables import CHILDREN, FILE_COLUMN, KEYS, LINES, ROW_COLUMN, TABLES
from etl.model.severity import Severity
from etl.pipeline.definitions import Definitions
from etl.publish.canonical_json import sha256
from etl.publish.kept_objects import ObjectRef, from_bytes, put_by_content, write_list
from etl.publish.reader import Current, Release
from etl.quality.rules.kinds import LineRejected
from etl.sources.extract.opening import Extract
from etl.sources.partition.partitions import Loaded, Partitions
from etl.storage.port import Store

FOLDER: Final = "rows/"
_FORMAT: Final = 2
_WITHOUT_PLACES: Final = 1
"""Format of lists whose layers do not know the places of their rows; such layers stay so."""
_PLACES: Final = (FILE_COLUMN, ROW_COLUMN)


class LayerFile(NamedTuple):
    """A file of the extract that a layer was made of.

    Attributes:
        name: its name in the extract.
        sha256: its hash, in lower-case hex.
        table: its raw table in the layout; "" where the layout does not use it.
    """

    name: str
    sha256: str
    table: str


class Layer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One extract's rows.

    Attributes:
        kind: `full` or `delta`; only a delta has rows that delete.
        time: FHIR instant that counts for rows that state none.
        tables: table -> the object with its rows; tables without rows are left out.
        places: table -> the object with `_file` and `_row` of each of them, in their order; empty
            for a layer that was written without.
        layout: name of the extract's layout; empty likewise.
        files: the extract's files, by number; empty likewise.
    """

    kind: str
    time: str
    tables: Mapping[str, ObjectRef]
    places: Mapping[str, ObjectRef] = msgspec.field(default_factory=dict)
    layout: str = ""
    files: tuple[LayerFile, ...] = ()


class _LayerList(msgspec.Struct):
    format: int
    layers: tuple[Layer, ...]


def layers_of(store: Store, base: Current) -> tuple[Layer, ...]:
    """Return the layers of the present release.

    Raises:
        UsageError: there is no release, or its rows were not kept.
        StoreError: the list is missing or damaged.
    """
    if base.release is None:
        raise UsageError(f"{store.name}: nothing has been published yet that a delta could change")
    layers = kept_layers(base.release)
    if layers:
        return layers
    raise UsageError(
        f"{store.name}: a delta needs the rows of the release that it changes, but the rows of "
        f"{base.release.id} were not kept; turn on publish.deltas, and publish a full extract first"
    )


def kept_layers(release: Release) -> tuple[Layer, ...]:
    """Return the layers of a release; none where its rows were not kept.

    Raises:
        StoreError: the list is missing or damaged.
    """
    ref = release.kept(FOLDER, ".json")
    if ref is None:
        return ()
    what = f"{release.store.name}: {ref.key}"
    data = kept_object(release.store, ref)
    return from_bytes(data, _LayerList, what, (_WITHOUT_PLACES, _FORMAT)).layers


def kept_object(store: Store, named: ObjectRef) -> bytes:
    """Return an object of kept rows, checked against its hash.

    Raises:
        StoreError: it is missing or damaged.
    """
    state = "damaged: its bytes do not have its hash"
    try:
        data = store.get(named.key)
        if sha256(data) == named.sha256:
            return data
    except NotFound:
        state = "missing"
    raise StoreError(
        f"{store.name}: {named.key}, which contains the rows that deltas change, is {state}; "
        "restore it from a copy, or publish a full extract, which does not need it"
    )


def layer_of(layers: Sequence[Layer], extract: Extract) -> int:
    """Return the number of the layer that an extract became.

    Raises:
        UsageError: it became none of them.
    """
    ours = {(file.title, file.sha256) for file in extract.named_files}
    for number, layer in enumerate(layers):
        if layer.files and ours == {(file.name, file.sha256) for file in layer.files}:
            return number
    extracts = ", ".join(f"{layer.kind} of {layer.time[:10]}" for layer in layers)
    raise UsageError(
        f"{extract.place.name} is not one of the extracts that the release was made from "
        f"({extracts}), or was published by a program that did not record its file names"
    )


def keep_layers(store: Store, layers: Sequence[Layer]) -> list[ObjectRef]:
    """Write the list of layers, and return all that the manifest is to name."""
    listed = (ref for layer in layers for ref in (*layer.tables.values(), *layer.places.values()))
    return write_list(store, FOLDER, _LayerList(_FORMAT, tuple(layers)), "json", listed)


def write_layer(
    store: Store, partitions: Partitions, definitions: Definitions, work: Path, kind: str, time: str
) -> Layer:
    """Write the rows of an extract as a layer; one table's file is held in memory at a time.

    Rows that could not be read are left out, and headers that are incomplete without them: they
    were reported, and stay in quarantine. What is kept of such a claim is that it replaces another.

    Raises:
        DataRejected: some rows of a delta cannot be read. It is applied whole or not at
            all, because a row that is left out might be the one that deletes something.
    """
    if kind == "delta" and _rejecting(partitions.facts.findings, definitions).num_rows:
        raise _unreadable(_rejecting(partitions.facts.findings, definitions).num_rows)
    folder = work / "layer"
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    places: dict[str, list[pa.Table]] = {}
    try:
        for loaded, sources in _all(partitions):
            unfit = _rejecting(loaded.findings, definitions)
            if kind == "delta" and unfit.num_rows:
                raise _unreadable(unfit.num_rows)
            gone = _gone(loaded, unfit, definitions)
            for name, table in loaded.tables.items():
                kept = _without(table, unfit, gone.get(name, {}))
                if name == "claim" and name in gone:
                    kept = pa.concat_tables([kept, _replacing(table, gone[name]["claim_id"])])
                fit = kept.select(TABLES[name].names)
                if fit.num_rows:
                    placed_at = sources.named(*places_of(kept))
                    places.setdefault(name, []).append(
                        pa.table([*map(pa.array, placed_at)], [*_PLACES])
                    )
                    if name not in writers:
                        path = folder / f"{name}.parquet"
                        writers[name] = pq.ParquetWriter(path, fit.schema, compression="zstd")
                    writers[name].write_table(fit)
    finally:
        for writer in writers.values():
            writer.close()
    named, placed = {}, {}
    for name in sorted(writers):
        named[name] = put_by_content(
            store, FOLDER, (folder / f"{name}.parquet").read_bytes(), "parquet"
        )
        placed[name] = put_by_content(store, FOLDER, _places_bytes(places[name]), "parquet")
    facts = partitions.facts
    every = (*facts.files, *facts.queried)
    files = tuple(LayerFile(file.title, file.sha256, file.table) for file in every)
    return Layer(kind, time, named, placed, facts.layout.name, files)


def _places_bytes(places: Sequence[pa.Table]) -> bytes:
    """Return the places of a table's rows: differences of row numbers are mostly small."""
    columns = [pa.field(FILE_COLUMN, pa.int32()), pa.field(ROW_COLUMN, pa.int64())]
    table = pa.concat_tables(places).cast(pa.schema(columns))
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        column_encoding=dict.fromkeys(_PLACES, "DELTA_BINARY_PACKED"),
    )
    return sink.getvalue()


def _all(partitions: Partitions) -> Iterator[tuple[Loaded, RowSources]]:
    """Yield the rows of the directory and of each partition, and the payer's rows behind them."""
    count = partitions.facts.count
    yield partitions.directory(), partitions.row_sources(count)
    for index in range(count if partitions.facts.layout.model.has_members else 0):
        yield partitions.load(index), partitions.row_sources(index)


def _rejecting(findings: pa.Table, definitions: Definitions) -> pa.Table:
    rules = pa.array(
        [rule.id for rule in definitions.book.rules if rule.severity.rejects], pa.string()
    )
    return findings.filter(pc.is_in(findings.column("rule"), value_set=rules))


def _without(
    table: pa.Table, unfit: pa.Table, gone: Mapping[str, pa.Array] = MappingProxyType({})
) -> pa.Table:
    """Return the readable rows of a table, but for those with some ids."""
    kept = table.filter(pa.array(~_is_at(table, unfit))) if unfit.num_rows else table
    for column, ids in gone.items():
        kept = kept.filter(pc.invert(pc.is_in(kept.column(column), value_set=ids)))
    return kept


def _at(table: pa.Table, marks: pa.Table) -> pa.Table:
    return table.filter(pa.array(_is_at(table, marks)))


def _is_at(table: pa.Table, marks: pa.Table) -> npt.NDArray[np.bool_]:
    own = (table.column(name).to_numpy(zero_copy_only=False) for name in (FILE_COLUMN, ROW_COLUMN))
    named = marks.filter(pc.is_valid(marks.column("row")))
    theirs = (named.column(name).to_numpy(zero_copy_only=False) for name in ("file", "row"))
    is_marked: npt.NDArray[np.bool_] = np.isin(place_keys(*own), place_keys(*theirs))
    return is_marked


def _gone(
    loaded: Loaded, unfit: pa.Table, definitions: Definitions
) -> dict[str, dict[str, pa.Array]]:
    """Return what is left out with unreadable rows: table -> its id -> which ids."""
    if not definitions.model.has_members:
        return {}  # rows of a directory are left out one by one
    book = definitions.book
    gone: dict[str, dict[str, pa.Array]] = {}
    for name in ("member", "coverage"):
        if name in loaded.unread:
            (key,) = TABLES[name].key
            gone[name] = {key: loaded.unread[name].column(key).combine_chunks()}
    for header, children in CHILDREN.items():
        key, found = KEYS[header], [pa.array([], pa.string())]
        for name in (header, *children):
            whole = name == header or (
                name == LINES[header] and book.single(LineRejected).severity.rejects
            )
            rules = [
                rule.id for rule in book.rules if whole or rule.severity is Severity.REJECT_CLAIM
            ]
            mine = unfit.filter(
                pc.and_(
                    pc.equal(unfit.column("table"), name),
                    pc.is_in(unfit.column("rule"), value_set=pa.array(rules, pa.string())),
                )
            )
            if mine.num_rows:
                rows = [table[name] for table in (loaded.tables, loaded.unread) if name in table]
                found += [_at(table, mine).column(key).combine_chunks() for table in rows]
        ids = pc.unique(pa.concat_arrays(found)).drop_null()
        gone |= {name: {key: ids} for name in (header, *children) if len(ids)}
    return gone


def _replacing(claims: pa.Table, incomplete: pa.Array) -> pa.Table:
    """Return the incomplete claims that replace others, without their type.

    So they are rejected until they come whole, and what they replace stays cancelled.
    """
    is_kept = pc.and_(
        pc.is_in(claims.column("claim_id"), value_set=incomplete),
        pc.is_valid(claims.column("adjusted_from_claim_id")),
    )
    rows = claims.filter(is_kept)
    at = rows.schema.get_field_index("claim_type")
    return rows.set_column(at, "claim_type", pa.nulls(rows.num_rows, pa.string()))


def _unreadable(count: int) -> DataRejected:
    return DataRejected(
        f"nothing was published: {count} rows of the delta cannot be read, and a delta is applied "
        "completely or not at all; `cpcds validate` lists them"
    )
