"""The rows that a release was made from, stored in the tree so that deltas can be applied to them.

A *layer* has the rows of one extract in canonical columns: one Parquet object for each table. A
full extract is the first layer, and each delta adds one. A second object for each table has the
places of its rows: file and row in the extract. `rows/<sha256>.json` lists all these objects, and
the manifest names the list and the objects among its reports.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.columns.places import RowSources, place_keys, places_of
from etl.errors import DamagedObject, DataRejected, NotFound, StoreError, UsageError
from etl.model.canonical_tables import CHILDREN, FILE_COLUMN, KEYS, LINES, ROW_COLUMN, TABLES
from etl.model.severity import Severity
from etl.pipeline.definitions import Definitions
from etl.publish.kept_objects import KeptKind, ObjectRef, json_kind, to_bytes
from etl.publish.reader import PreviousRelease, Release, Tree
from etl.publish.writer import ReleaseWriter
from etl.quality.rules.kinds import LineRejected
from etl.rows import findings_at
from etl.sources.extract.opening import Extract
from etl.sources.partition.partitions import Loaded, Partitions

_FORMAT: Final = 2
_FORMAT_WITHOUT_PLACES: Final = 1
"""Format of lists whose layers have no places; such layers stay without them."""
_ACTION: Final = "record_action"
_UNKNOWN_ACTION: Final = "record-action-unknown"
"""The rule about rows with an unknown record action."""
_PLACES: Final = (FILE_COLUMN, ROW_COLUMN)


class LayerFile(NamedTuple):
    """A file of the extract that a layer was made from.

    Attributes:
        name: its name in the extract.
        sha256: its hash, in lower-case hex.
        table: its raw table in the layout; "" if the layout does not use it.
    """

    name: str
    sha256: str
    table: str


class Layer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One extract's rows.

    Attributes:
        kind: `full` or `delta`; only a delta has rows that delete.
        time: FHIR instant of rows that state none.
        tables: table -> the object with its rows; tables without rows are left out.
        places: table -> the object with `_file` and `_row` of each row, in the same order; empty
            for layers of the first format.
        layout: name of the extract's layout; empty for layers of the first format.
        files: the extract's files, by number; empty for layers of the first format.
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


_LAYERS: Final = json_kind(".json", _LayerList, (_FORMAT_WITHOUT_PLACES, _FORMAT), "rows/")
_ROWS: Final = KeptKind(".parquet", lambda data, _: pq.read_table(io.BytesIO(data)), "rows/")


def layers_of(target: str, previous: PreviousRelease) -> tuple[Layer, ...]:
    """Return the layers of the current release.

    Raises:
        UsageError: there is no release, or its rows were not stored.
        StoreError: the list is missing or damaged.
    """
    if previous.release is None:
        raise UsageError(f"{target}: nothing has been published yet that a delta could change")
    layers = kept_layers(previous.release)
    if layers:
        return layers
    raise UsageError(
        f"{target}: a delta needs the rows of the release that it changes, but the rows of "
        f"{previous.id} were not kept; turn on publish.deltas, and publish a full extract first"
    )


def kept_layers(release: Release) -> tuple[Layer, ...]:
    """Return the layers of a release; none if its rows were not stored.

    Raises:
        StoreError: the list is missing or damaged.
    """
    with _advised():
        kept = release.read(_LAYERS)
    return () if kept is None else kept.layers


def read_table(tree: Tree, ref: ObjectRef) -> pa.Table:
    """Read the rows of a layer's table, or their positions.

    Raises:
        StoreError: the object is missing or damaged.
    """
    with _advised():
        return tree.read(_ROWS, ref)


@contextmanager
def _advised() -> Iterator[None]:
    """Add to the error of a missing or damaged object what to do about it."""
    try:
        yield
    except (NotFound, DamagedObject) as error:
        raise StoreError(
            f"{str(error).removesuffix('; run verify')}: it contains the rows that deltas change; "
            "restore it from a copy, or publish a full extract, which does not need it"
        ) from None


def layer_of(layers: Sequence[Layer], extract: Extract) -> int:
    """Return the number of the layer that was made from an extract.

    Raises:
        UsageError: no layer was made from it.
    """
    extract_files = {(file.title, file.sha256) for file in extract.named_files}
    for number, layer in enumerate(layers):
        if layer.files and extract_files == {(file.name, file.sha256) for file in layer.files}:
            return number
    extracts = ", ".join(f"{layer.kind} of {layer.time[:10]}" for layer in layers)
    raise UsageError(
        f"{extract.location.name} is not one of the extracts that the release was made from "
        f"({extracts}), or was published by a program that did not record its file names"
    )


def keep_layers(writer: ReleaseWriter, layers: Sequence[Layer]) -> None:
    """Keep the list of layers, and the objects that it names."""
    refs = (ref for layer in layers for ref in (*layer.tables.values(), *layer.places.values()))
    writer.keep(_LAYERS, to_bytes(_LayerList(_FORMAT, tuple(layers))), refs)


def write_layer(
    tree: Tree,
    partitions: Partitions,
    definitions: Definitions,
    work: Path,
    kind: str,
    time: str,
) -> tuple[Layer, pa.Table]:
    """Write the rows of an extract as a layer, with one table's file in memory at a time.

    Unreadable rows are left out, and so are headers that are incomplete without them: they were
    reported, and stay in quarantine. Of such a claim, only the fact that it replaces another stays.

    Returns:
        The layer, and the findings of reading a delta; none of a full extract.

    Raises:
        DataRejected: some rows of a delta, or their record actions, cannot be read. A delta is
            applied completely or not at all, because such a row might delete something.
    """
    facts = partitions.facts
    reading_findings = [facts.findings.slice(0, 0)]
    if kind == "delta":
        reading_findings.append(facts.findings)
        _require_readable(_rejecting(facts.findings, definitions), facts.names)
    folder = work / "layer"
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    positions: dict[str, list[pa.Table]] = {}
    try:
        for loaded, sources in _iterate_partitions(partitions):
            unreadable = _rejecting(loaded.findings, definitions)
            if kind == "delta":
                problems = pa.concat_tables([unreadable, *_action_findings(loaded)])
                _require_readable(sources.of_findings(problems), facts.names)
                reading_findings.append(sources.of_findings(loaded.findings))
            left_out = _left_out_ids(loaded, unreadable, definitions)
            for name, table in loaded.tables.items():
                rows = _drop_rows(table, unreadable, left_out.get(name, {}))
                if name == "claim" and name in left_out:
                    replacements = _replacements(table, left_out[name]["claim_id"])
                    rows = pa.concat_tables([rows, replacements])
                canonical = rows.select(TABLES[name].names)
                if canonical.num_rows:
                    row_places = sources.named(*places_of(rows))
                    positions.setdefault(name, []).append(
                        pa.table([*map(pa.array, row_places)], [*_PLACES])
                    )
                    if name not in writers:
                        path = folder / f"{name}.parquet"
                        writers[name] = pq.ParquetWriter(path, canonical.schema, compression="zstd")
                    writers[name].write_table(canonical)
    finally:
        for writer in writers.values():
            writer.close()
    tables, position_refs = {}, {}
    for name in sorted(writers):
        tables[name] = tree.write(_ROWS, (folder / f"{name}.parquet").read_bytes())
        position_refs[name] = tree.write(_ROWS, _to_parquet(positions[name]))
    all_files = (*facts.files, *facts.queried)
    files = tuple(LayerFile(file.title, file.sha256, file.table) for file in all_files)
    layer = Layer(kind, time, tables, position_refs, facts.layout.name, files)
    return layer, pa.concat_tables(reading_findings)


def _to_parquet(positions: Sequence[pa.Table]) -> bytes:
    """Encode the places of a table's rows as Parquet; deltas of row numbers are mostly small."""
    columns = [pa.field(FILE_COLUMN, pa.int32()), pa.field(ROW_COLUMN, pa.int64())]
    table = pa.concat_tables(positions).cast(pa.schema(columns))
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        column_encoding=dict.fromkeys(_PLACES, "DELTA_BINARY_PACKED"),
    )
    return sink.getvalue()


def _iterate_partitions(partitions: Partitions) -> Iterator[tuple[Loaded, RowSources]]:
    """Yield the rows of the directory and of each partition, with their source rows."""
    count = partitions.facts.count
    yield partitions.directory(), partitions.row_sources(count)
    for index in range(count if partitions.facts.layout.model.has_members else 0):
        yield partitions.load(index), partitions.row_sources(index)


def _rejecting(findings: pa.Table, definitions: Definitions) -> pa.Table:
    rules = pa.array(
        [rule.id for rule in definitions.book.rules if rule.severity.rejects], pa.string()
    )
    return findings.filter(pc.is_in(findings.column("rule"), value_set=rules))


def _drop_rows(
    table: pa.Table, findings: pa.Table, dropped: Mapping[str, pa.Array] = MappingProxyType({})
) -> pa.Table:
    """Drop the rows with findings, and the rows with given IDs."""
    rows = table.filter(pa.array(~_has_finding(table, findings))) if findings.num_rows else table
    for column, ids in dropped.items():
        rows = rows.filter(pc.invert(pc.is_in(rows.column(column), value_set=ids)))
    return rows


def _select_rows(table: pa.Table, findings: pa.Table) -> pa.Table:
    return table.filter(pa.array(_has_finding(table, findings)))


def _has_finding(table: pa.Table, findings: pa.Table) -> npt.NDArray[np.bool_]:
    rows = (table.column(name).to_numpy(zero_copy_only=False) for name in (FILE_COLUMN, ROW_COLUMN))
    located = findings.filter(pc.is_valid(findings.column("row")))
    file_and_row = (located.column(name).to_numpy(zero_copy_only=False) for name in ("file", "row"))
    mask: npt.NDArray[np.bool_] = np.isin(place_keys(*rows), place_keys(*file_and_row))
    return mask


def _left_out_ids(
    loaded: Loaded, unreadable: pa.Table, definitions: Definitions
) -> dict[str, dict[str, pa.Array]]:
    """Return the IDs to leave out because of unreadable rows: table -> ID column -> IDs."""
    if not definitions.model.has_members:
        return {}  # directory rows do not depend on each other
    book = definitions.book
    left_out: dict[str, dict[str, pa.Array]] = {}
    for name in ("member", "coverage"):
        if name in loaded.unread:
            (key,) = TABLES[name].key
            left_out[name] = {key: loaded.unread[name].column(key).combine_chunks()}
    for header, children in CHILDREN.items():
        key, arrays = KEYS[header], [pa.array([], pa.string())]
        for name in (header, *children):
            any_rule = name == header or (
                name == LINES[header] and book.single(LineRejected).severity.rejects
            )
            rules = [
                rule.id for rule in book.rules if any_rule or rule.severity is Severity.REJECT_CLAIM
            ]
            matching = unreadable.filter(
                pc.and_(
                    pc.equal(unreadable.column("table"), name),
                    pc.is_in(unreadable.column("rule"), value_set=pa.array(rules, pa.string())),
                )
            )
            if matching.num_rows:
                rows = [table[name] for table in (loaded.tables, loaded.unread) if name in table]
                arrays += [
                    _select_rows(table, matching).column(key).combine_chunks() for table in rows
                ]
        ids = pc.unique(pa.concat_arrays(arrays)).drop_null()
        left_out |= {name: {key: ids} for name in (header, *children) if len(ids)}
    return left_out


def _replacements(claims: pa.Table, incomplete: pa.Array) -> pa.Table:
    """Return the incomplete claims that replace others, without their type.

    So they are rejected until they arrive complete, and the claims that they replace stay
    cancelled.
    """
    is_kept = pc.and_(
        pc.is_in(claims.column("claim_id"), value_set=incomplete),
        pc.is_valid(claims.column("adjusted_from_claim_id")),
    )
    rows = claims.filter(is_kept)
    index = rows.schema.get_field_index("claim_type")
    return rows.set_column(index, "claim_type", pa.nulls(rows.num_rows, pa.string()))


def action_codes(rows: pa.Table) -> Any:
    """Return the record actions of rows: trimmed, in upper case, null if absent."""
    return pc.utf8_upper(pc.utf8_trim_whitespace(rows.column(_ACTION)))


def has_unknown_action(rows: pa.Table) -> Any:
    """Return which rows have a record action that is not A, U, or D."""
    return pc.invert(pc.is_in(action_codes(rows), value_set=pa.array(["A", "U", "D", None])))


def _action_findings(loaded: Loaded) -> Iterator[pa.Table]:
    """Yield findings about record actions that cannot be read: such a row may be a deletion."""
    # A layout's crosswalk has blanked the words that it does not list.
    yield loaded.findings.filter(pc.equal(loaded.findings.column("column"), _ACTION))
    for name, table in loaded.tables.items():
        rows = table.filter(has_unknown_action(table))
        files, numbers = rows.column(FILE_COLUMN), rows.column(ROW_COLUMN)
        yield findings_at(_UNKNOWN_ACTION, name, files, numbers, _ACTION)


def _require_readable(problems: pa.Table, file_names: Sequence[str]) -> None:
    """Check that nothing of a delta is unreadable.

    Raises:
        DataRejected: there are findings about unreadable rows.
    """
    if not problems.num_rows:
        return
    problem, *_ = problems.sort_by([("file", "ascending"), ("row", "ascending")]).to_pylist()
    position = "" if problem["file"] is None else f"{file_names[problem['file']]}, "
    position += "" if problem["row"] is None else f"row {problem['row']}, "
    position += "" if problem["column"] is None else f"column {problem['column']}, "
    raise DataRejected(
        f"nothing was published: the delta cannot be read ({position}rule {problem['rule']}), and "
        "a delta is applied completely or not at all; correct the delta (`cpcds validate` lists "
        "all its errors)"
    )
