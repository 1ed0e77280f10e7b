"""From what was delivered to the rows of a release: a delta on top of what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from etl.pipeline.attempt import go_on
from etl.pipeline.definitions import Definitions
from etl.pipeline.deltas.layers import Layer, layers_of, write_layer
from etl.pipeline.deltas.merge import merged_extract
from etl.pipeline.events import Emit
from etl.pipeline.executor import OUTCOMES
from etl.pipeline.process import stamp
from etl.pipeline.publish import PARTS, as_instant
from etl.pipeline.read import Read, read
from etl.pipeline.workers import Workers
from etl.publish.reader import Current
from etl.sources import Extract, open_extract
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class Taken:
    """An extract, taken in.

    Attributes:
        rows: everything that the release is to hold, cut by member.
        layers: what the release is to keep of it; empty where no delta is to follow.
        when: when the run began, or the attempt that it goes on from.
    """

    rows: Read
    layers: Sequence[Layer]
    when: datetime


def take_in(
    extract: Extract,
    work: Path,
    store: Store,
    base: Current,
    definitions: Definitions,
    workers: Workers,
    *,
    when: datetime,
    keep_rows: bool,
    partition_rows: int,
    emit: Emit,
) -> Taken:
    """Read an extract; a delta together with the layers that it changes.

    Args:
        extract: what was delivered.
        work: folder for what is in progress.
        store: the target.
        base: what readers see now.
        definitions: rules and mappings.
        workers: where the work is done.
        when: the time now.
        keep_rows: whether deltas are to follow a full extract.
        partition_rows: about how many rows to a partition.
        emit: takes events.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        DataRejected: a delta of which some rows cannot be read.
        StoreError: storage failed.
    """
    delta = extract.kind == "delta"
    below = layers_of(store, base) if delta else ()
    rows = read(
        extract,
        work,
        definitions,
        workers,
        partition_rows=partition_rows,
        emit=emit,
        digests=not delta,
    )
    when = go_on(rows.work, store.name, base, when, (OUTCOMES, PARTS))
    if not delta and not keep_rows:
        return Taken(rows, (), when)
    day = extract.as_of.isoformat() if extract.as_of is not None else None
    time = stamp(day) if day is not None else as_instant(when)
    layer = write_layer(store, rows.partitions, definitions, rows.work, extract.kind, time)
    known = any(layer.tables == one.tables and layer.kind == one.kind for one in below)
    layers = below if known else (*below, layer)
    if not delta:
        return Taken(rows, layers, when)
    folder = merged_extract(store, layers, rows.work / "merged", day, extract.payer)
    whole = open_extract(folder, definitions.layouts, layout="cpcds", emit=emit)
    merged = read(
        whole, work, definitions, workers, partition_rows=partition_rows, emit=emit, digests=True
    )
    go_on(merged.work, store.name, base, when, (OUTCOMES, PARTS))
    return Taken(merged, layers, when)
