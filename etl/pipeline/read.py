"""From what was delivered to rows cut by member; a delta on top of what it changes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.dates import day_number, read_timestamps
from etl.errors import StoreError
from etl.jobs import ALONE, JobRunner
from etl.pipeline.context import Cutting, Executor, PartitionedExtract, Publication, RunContext
from etl.pipeline.definitions import Definitions
from etl.pipeline.progress import Emit, StageBegan
from etl.publish.canonical_json import as_instant, day_instant, instant
from etl.reports.report_values import DefaultStamp
from etl.sources.extract.opening import Extract, open_extract
from etl.sources.files.listed_files import compression_of, files_of
from etl.sources.files.stored_files import ExtractFiles
from etl.sources.partition.partitions import Partitions
from etl.sources.partition.spill import Inventory

if TYPE_CHECKING:
    from etl.pipeline.deltas.layers import Layer

_COLUMN: Final = "last_updated"
_ZONES: Final = timedelta(days=2)
"""More than two instants can differ in that are written with the same day."""


def default_stamp(executor: Executor, read: PartitionedExtract, when: datetime) -> DefaultStamp:
    """Return the stamp of an extract's resources that state none.

    It is the day of the extract, else the newest `last_updated` in it, so that two runs of one
    extract give the same bytes whenever they are; the clock only where there is neither.

    Args:
        executor: read the extract.
        read: the extract.
        when: when the run began.
    """
    if read.extract.as_of is not None:
        return DefaultStamp(day_instant(read.extract.as_of.isoformat()), "as_of")
    until = f"{when.astimezone(UTC):%Y-%m-%d}"
    stamps = executor.each_partition(read, partial(_newest_in_partition, until))
    stamp = _newest_of(text.decode() for text in stamps if text)
    if stamp is not None:
        return DefaultStamp(stamp, "newest_stamp")
    return DefaultStamp(as_instant(when), "clock")


def newest(columns: Iterable[Any], until: str) -> str | None:
    """Return the newest of many stamps as a FHIR instant; None where none can be read.

    Args:
        columns: `string` arrays of any length, as the source wrote them; null where absent.
        until: the last day that counts, as `YYYY-MM-DD`: 9999-12-31 is no stamp.
    """
    return _newest_of(stamp for column in columns for stamp in _newest_days(column, until))


def _newest_in_partition(until: str, partitions: Partitions, index: int) -> bytes:
    return (newest(partitions.values(_COLUMN, index), until) or "").encode()


def _newest_days(column: Any, until: str) -> set[str]:
    """Return those stamps of a column that can be the newest, as instants."""
    stamps = pc.drop_null(pc.unique(read_timestamps(column).values))
    stamps = stamps.filter(pc.less_equal(pc.utf8_slice_codeunits(stamps, 0, 10), until))
    last = pc.max(pc.utf8_slice_codeunits(stamps, 0, 10)).as_py()
    if last is None:
        return set()
    day = date.fromisoformat(last)
    since = pa.scalar((day - min(_ZONES, day - date.min)).isoformat())
    return {
        day_instant(text) for text in stamps.filter(pc.greater_equal(stamps, since)).to_pylist()
    }


def _newest_of(stamps: Iterable[str]) -> str | None:
    return max(stamps, key=lambda text: (instant(text), text), default=None)


_ROW_BYTES: Final = 120
"""About how many bytes a row of input has, as text."""
_PACKED: Final = 8
"""About how much smaller a compressed file is than its text."""
_BEGUN: Final = "begun"
_LASTS: Final = timedelta(hours=12)
"""Younger than what a prune leaves alone (`prune.GRACE`): objects of a dead attempt still exist."""


@dataclass(frozen=True, slots=True)
class ReleaseRows:
    """The rows of a release.

    Attributes:
        read: everything that the release is to hold, cut by member.
        layers: what the release is to keep of it; empty where no delta is to follow.
        when: when the run began, or the attempt that it goes on from.
        notes: sentences about rows of a delta that change nothing.
    """

    read: PartitionedExtract
    layers: Sequence[Layer]
    when: datetime
    notes: tuple[str, ...] = ()


def open_with(
    place: Path | ExtractFiles,
    definitions: Definitions,
    layout: str | None,
    emit: Emit,
    runner: JobRunner = ALONE,
) -> Extract:
    """Return the extract of files; nothing of it is read but headers and hashes."""
    stored = files_of(place)
    emit(StageBegan("hash", sum(entry.bytes for entry in stored.entries()) or None))
    return open_extract(stored, definitions.layouts, layout=layout, runner=runner, emit=emit)


def read(
    context: RunContext, *, digests: bool = False, keeps_rows: bool = False
) -> PartitionedExtract:
    """Return the extract cut by member, read unless an earlier attempt at the same did.

    Args:
        context: of the run.
        digests: whether to keep a digest of every row, for the next release to compare with.
        keeps_rows: whether the rows are to become a layer of the release.
    """
    extract = context.extract
    sizes = ((file.bytes, bool(file.compression)) for file in extract.files)
    count = partition_count(sizes, context.options.partition_rows)
    own = context.work / _fingerprint(extract, context.definitions, count)[:16]
    context.emit(StageBegan("read", sum(file.bytes for file in extract.files)))
    cutting = Cutting(own, count, digests, keeps_rows)
    partitions = context.executor.read(extract, cutting, context.emit)
    as_of = extract.as_of
    return PartitionedExtract(
        extract, partitions, own, None if as_of is None else day_number(as_of.isoformat())
    )


def read_release(context: RunContext, publication: Publication) -> ReleaseRows:
    """Read an extract that is to be published; a delta together with the layers it changes.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        DataRejected: a delta of which some rows cannot be read.
        StoreError: storage failed.
    """
    extract = context.extract
    if not publication.keeps_layers(extract):
        rows = read(context, digests=True)
        return ReleaseRows(rows, (), _began(context, publication, rows.work))
    return _read_layers(context, publication)


def _read_layers(context: RunContext, publication: Publication) -> ReleaseRows:
    """Read an extract whose rows become a layer of the release."""
    from etl.pipeline.deltas.layers import layers_of, write_layer  # for targets that keep rows
    from etl.pipeline.deltas.merge import merged_extract

    extract, store, definitions = context.extract, publication.store, context.definitions
    delta = extract.kind == "delta"
    below = layers_of(store, publication.base) if delta else ()
    rows = read(context, digests=not delta, keeps_rows=True)
    when = _began(context, publication, rows.work)
    # The rows become a layer of their own: later deltas need them as they were delivered.
    day = extract.as_of.isoformat() if extract.as_of is not None else None
    time = day_instant(day) if day is not None else as_instant(when)
    layer = write_layer(store, rows.partitions, definitions, rows.work, extract.kind, time)
    known = any(layer.tables == one.tables and layer.kind == one.kind for one in below)
    layers = below if known else (*below, layer)
    if not delta:
        return ReleaseRows(rows, layers, when)
    # A delta is published as the full extract that all layers together make.
    model = definitions.model
    merged_files, notes = merged_extract(
        store, layers, rows.work / "merged", day, extract.payer, model
    )
    whole = open_with(merged_files, definitions, model.layout, context.emit)
    merged = read(replace(context, extract=whole), digests=True)
    _began(context, publication, merged.work)
    return ReleaseRows(merged, layers, when, () if known else notes)


def _began(context: RunContext, publication: Publication, work: Path) -> datetime:
    """Return when the run began: now, or when an attempt did that can be gone on from.

    An attempt for the same target on top of the same release can be: the run keeps its time, so
    that its result is the one of an undisturbed run, and what it finished counts.
    """
    inventory, base, when = Inventory(work), publication.base, context.when
    lost = [sorted(base.lost.patients), sorted(base.lost.shards), base.lost.bulk]
    facts = {
        "target": publication.store.name,
        "release": None if base.release is None else base.release.id,
        "lost": hashlib.sha256(json.dumps(lost).encode()).hexdigest() if base.lost else "",
    }
    there = inventory.step(_BEGUN)
    if there is not None and facts.items() <= there.facts.items():
        began = datetime.fromisoformat(there.facts["began"])
        if timedelta(0) <= when - began < _LASTS:
            return began
    inventory.add(_BEGUN, facts={**facts, "began": when.isoformat()})
    return when


def own_folder(work: Path) -> Path:
    """Return a folder for what is in progress, made for its owner alone.

    Raises:
        StoreError: it is there, and others own it or may look or write into it: a run would go on
            from what they put there.
    """
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = work.lstat()
    if (
        not stat.S_ISDIR(there.st_mode)
        or there.st_uid != os.geteuid()
        or stat.S_IMODE(there.st_mode) & 0o077
    ):
        raise StoreError(
            f"{work} must be your own folder that nobody else can access (mode 0700), because "
            "runs continue from its content: delete it, or set run.work to another folder"
        )
    return work


def _fingerprint(extract: Extract, definitions: Definitions, partitions: int) -> str:
    """Return a hash of all that a run's result depends on, but for the clock and the target."""
    facts = {
        "files": [[file.name, file.sha256] for file in extract.files],
        "layout": extract.layout.name,
        "kind": extract.kind,
        "as_of": str(extract.as_of),
        "tools": definitions.fingerprint,  # the name is part of the hash, and so of run ids
        "partitions": partitions,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def expected_partitions(place: ExtractFiles, partition_rows: int) -> int:
    """Return about how many partitions an extract will make, before anything of it is read."""
    sizes = ((entry.bytes, compression_of(entry.name) != "") for entry in place.entries())
    return partition_count(sizes, partition_rows)


def partition_count(files: Iterable[tuple[int, bool]], partition_rows: int) -> int:
    """Return how many partitions files make; of each its size and whether it is compressed."""
    size = sum(stored * (_PACKED if packed else 1) for stored, packed in files)
    return 1 + size // (_ROW_BYTES * partition_rows)
