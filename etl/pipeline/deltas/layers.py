"""The rows that a release was made of, kept in the tree so that a delta can be put on top of them.

A *layer* is one extract's rows in canonical columns: a Parquet object a table. A full extract is
the first layer, each delta one more. `rows/<sha256>.json` lists them, and the manifest names the
list and every object of it among its reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.columns.places import place_keys
from etl.errors import DataRejected, UsageError
from etl.model.canonical_tables import CLAIM_TABLES, FILE_COLUMN, ROW_COLUMN, TABLES
from etl.model.severity import Severity
from etl.pipeline.definitions import Definitions
from etl.publish.manifest import Named
from etl.publish.reader import Current, checked
from etl.publish.release import put_by_content
from etl.quality.rules.kinds import LineRejected
from etl.sources import Loaded, Partitions
from etl.storage.port import Store

FOLDER: Final = "rows/"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """One extract's rows.

    Attributes:
        kind: `full` or `delta`; only a delta has rows that delete.
        time: FHIR instant that counts for rows that state none.
        tables: table -> the object with its rows; tables without rows are left out.
    """

    kind: str
    time: str
    tables: Mapping[str, Named]


def layers_of(store: Store, base: Current) -> tuple[Layer, ...]:
    """Return the layers of the present release.

    Raises:
        UsageError: there is no release, or its rows were not kept.
        StoreError: the list is missing or damaged.
    """
    if base.release is None:
        raise UsageError(f"{store.name}: nothing was published yet that a delta could change")
    for named in base.release.manifest.facts.reports:
        if named.key.startswith(FOLDER) and named.key.endswith(".json"):
            value = json.loads(checked(store, named.key, named.sha256))
            return tuple(
                Layer(
                    layer["kind"],
                    layer["time"],
                    {
                        table: Named(**object_named)
                        for table, object_named in layer["tables"].items()
                    },
                )
                for layer in value["layers"]
            )
    raise UsageError(
        f"{store.name}: a delta needs the rows of the release that it changes, and those of "
        f"{base.release.id} were not kept; set publish.deltas, and publish a full extract first"
    )


def keep_layers(store: Store, layers: Sequence[Layer]) -> list[Named]:
    """Write the list of layers, and return all that the manifest is to name."""
    body = {
        "format": _FORMAT,
        "layers": [
            {
                "kind": layer.kind,
                "time": layer.time,
                "tables": {
                    table: {
                        "key": object_named.key,
                        "sha256": object_named.sha256,
                        "bytes": object_named.bytes,
                    }
                    for table, object_named in layer.tables.items()
                },
            }
            for layer in layers
        ],
    }
    data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    objects = {
        object_named.key: object_named for layer in layers for object_named in layer.tables.values()
    }
    return [put_by_content(store, FOLDER, data, "json"), *(objects[key] for key in sorted(objects))]


def write_layer(
    store: Store, partitions: Partitions, definitions: Definitions, work: Path, kind: str, time: str
) -> Layer:
    """Write the rows of an extract as a layer; one table's file is held in memory at a time.

    Rows that could not be read are left out, and claims that are incomplete without them: they
    were reported, and stay in quarantine.

    Raises:
        DataRejected: some rows of a delta cannot be read. It is applied whole or not at
            all, because a row that is left out might be the one that deletes something.
    """
    if kind == "delta" and _rejecting(partitions.facts.findings, definitions).num_rows:
        raise _unreadable(_rejecting(partitions.facts.findings, definitions).num_rows)
    folder = work / "layer"
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        for loaded in _all(partitions):
            unfit = _rejecting(loaded.findings, definitions)
            if kind == "delta" and unfit.num_rows:
                raise _unreadable(unfit.num_rows)
            gone = _gone(loaded, unfit, definitions)
            for name, table in loaded.tables.items():
                fit = _without(table, unfit, gone.get(name, {})).select(TABLES[name].names)
                if fit.num_rows:
                    if name not in writers:
                        path = folder / f"{name}.parquet"
                        writers[name] = pq.ParquetWriter(path, fit.schema, compression="zstd")
                    writers[name].write_table(fit)
    finally:
        for writer in writers.values():
            writer.close()
    named = {}
    for name in sorted(writers):
        named[name] = put_by_content(
            store, FOLDER, (folder / f"{name}.parquet").read_bytes(), "parquet"
        )
    return Layer(kind, time, named)


def _all(partitions: Partitions) -> Iterator[Loaded]:
    yield partitions.directory()
    for index in range(partitions.facts.count if partitions.facts.layout.model.has_members else 0):
        yield partitions.load(index)


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
        if name in loaded.unread.bare:
            (key,) = TABLES[name].key
            gone[name] = {key: loaded.unread.bare[name].column(key).combine_chunks()}
    claims = [pa.array([], pa.string())]
    for name in ("claim", *CLAIM_TABLES):
        whole = name == "claim" or (
            name == "claim_line" and book.single(LineRejected).severity.rejects
        )
        rules = [rule.id for rule in book.rules if whole or rule.severity is Severity.REJECT_CLAIM]
        mine = unfit.filter(
            pc.and_(
                pc.equal(unfit.column("table"), name),
                pc.is_in(unfit.column("rule"), value_set=pa.array(rules, pa.string())),
            )
        )
        if mine.num_rows:
            rows = [table[name] for table in (loaded.tables, loaded.unread.bare) if name in table]
            claims += [_at(table, mine).column("claim_id").combine_chunks() for table in rows]
    ids = pc.unique(pa.concat_arrays(claims)).drop_null()
    return gone | {name: {"claim_id": ids} for name in ("claim", *CLAIM_TABLES) if len(ids)}


def _unreadable(count: int) -> DataRejected:
    return DataRejected(
        f"nothing was published: {count} rows of the delta cannot be read as rows, and a delta is "
        "applied whole or not at all; `cpcds validate` names them"
    )
