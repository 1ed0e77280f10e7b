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
from etl.errors import StoreError, UsageError
from etl.jobs import ALONE, JobRunner
from etl.model.canonical_tables import HEADER_OF
from etl.pipeline.context import Cutting, Executor, PartitionedExtract, RunContext, RunPolicy
from etl.pipeline.definitions import Definitions
from etl.pipeline.progress import Emit, StageBegan
from etl.publish.canonical_json import as_instant, day_instant, instant
from etl.publish.reader import PreviousRelease, Tree
from etl.publish.target import Target
from etl.publish.writer import ReleaseWriter
from etl.reports.report_values import DefaultStamp
from etl.sources.extract.opening import Extract, open_extract
from etl.sources.files.listed_files import compression_of, open_files
from etl.sources.files.stored_files import ExtractFiles
from etl.sources.layout.model import Layout, RowNumber
from etl.sources.partition.finished_steps import FinishedSteps
from etl.sources.partition.partitions import Partitions

if TYPE_CHECKING:
    from etl.pipeline.deltas.layers import Layer

_STAMP_COLUMN: Final = "last_updated"
_ZONE_SPREAD: Final = timedelta(days=2)
"""More than any two instants of the same written day can differ."""


def default_stamp(executor: Executor, rows: PartitionedExtract, when: datetime) -> DefaultStamp:
    """Return the timestamp for resources whose rows state none.

    It is the day of the extract, else the newest `last_updated` in it, so that two runs of one
    extract write the same bytes; the clock only if the extract has neither.
    """
    if rows.extract.as_of is not None:
        return DefaultStamp(day_instant(rows.extract.as_of.isoformat()), "as_of")
    last_day = f"{when.astimezone(UTC):%Y-%m-%d}"
    stamps = executor.each_partition(rows, partial(_newest_in_partition, last_day))
    newest_stamp = _newest_stamp(text.decode() for text in stamps if text)
    if newest_stamp is not None:
        return DefaultStamp(newest_stamp, "newest_stamp")
    return DefaultStamp(as_instant(when), "clock")


def newest(columns: Iterable[Any], last_day: str) -> str | None:
    """Return the newest of many stamps as a FHIR instant; None if none is valid.

    Args:
        columns: `string` arrays of any length, as the source wrote them; null if absent.
        last_day: the last day that counts, as `YYYY-MM-DD`: 9999-12-31 is no stamp.
    """
    return _newest_stamp(stamp for column in columns for stamp in _newest_days(column, last_day))


def _newest_in_partition(last_day: str, partitions: Partitions, index: int) -> bytes:
    return (newest(partitions.values(_STAMP_COLUMN, index), last_day) or "").encode()


def _newest_days(column: Any, last_day: str) -> set[str]:
    """Return the stamps of a column that can be the newest, as instants."""
    stamps = pc.drop_null(pc.unique(read_timestamps(column).values))
    stamps = stamps.filter(pc.less_equal(pc.utf8_slice_codeunits(stamps, 0, 10), last_day))
    newest_day = pc.max(pc.utf8_slice_codeunits(stamps, 0, 10)).as_py()
    if newest_day is None:
        return set()
    day = date.fromisoformat(newest_day)
    first = pa.scalar((day - min(_ZONE_SPREAD, day - date.min)).isoformat())
    return {
        day_instant(text) for text in stamps.filter(pc.greater_equal(stamps, first)).to_pylist()
    }


def _newest_stamp(stamps: Iterable[str]) -> str | None:
    return max(stamps, key=lambda text: (instant(text), text), default=None)


_ROW_BYTES: Final = 120
"""Approximate bytes of an input row, as text."""
_COMPRESSION_RATIO: Final = 8
"""Approximate ratio of a file's text to its compressed size."""
_START_STEP: Final = "begun"
_RESUMABLE_FOR: Final = timedelta(hours=12)
"""Younger than what a prune leaves alone (`prune.GRACE`): objects of a dead attempt still exist."""


@dataclass(frozen=True, slots=True)
class ReleaseRows:
    """The rows of a release.

    Attributes:
        read: everything that the release is to hold, cut by member.
        layers: what the release is to keep of it; empty if no delta is to follow.
        when: when the run began, or the attempt that it goes on from.
        notes: sentences about rows of a delta that change nothing.
    """

    read: PartitionedExtract
    layers: Sequence[Layer]
    when: datetime
    notes: tuple[str, ...] = ()


def open_with(
    files: Path | ExtractFiles,
    definitions: Definitions,
    layout: str | None,
    emit: Emit,
    runner: JobRunner = ALONE,
) -> Extract:
    """Open files as an extract; reads only headers and hashes."""
    delivered = open_files(files)
    emit(StageBegan("hash", sum(entry.bytes for entry in delivered.entries()) or None))
    return open_extract(delivered, definitions.layouts, layout=layout, runner=runner, emit=emit)


def read(
    context: RunContext, *, digests: bool = False, keeps_rows: bool = False
) -> PartitionedExtract:
    """Partition an extract by member, unless an earlier attempt already did.

    Args:
        context: of the run.
        digests: whether to keep a digest of every row, for the next release to compare with.
        keeps_rows: whether the rows are to become a layer of the release.
    """
    extract = context.extract
    sizes = ((file.bytes, bool(file.compression)) for file in extract.files)
    count = partition_count(sizes, context.options.partition_rows)
    run_folder = context.work / _fingerprint(extract, context.definitions, count)[:16]
    context.emit(StageBegan("read", sum(file.bytes for file in extract.files)))
    partitioning = Cutting(run_folder, count, digests, keeps_rows)
    partitions = context.executor.read(extract, partitioning, context.emit)
    as_of = extract.as_of
    return PartitionedExtract(
        extract, partitions, run_folder, None if as_of is None else day_number(as_of.isoformat())
    )


def read_release(
    context: RunContext, previous: PreviousRelease, policy: RunPolicy, writer: ReleaseWriter
) -> ReleaseRows:
    """Read an extract to publish; for a delta, also its base layers.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows, or the layout
            numbers rows.
        DataRejected: a delta of which some rows cannot be read, or with some lines of a claim.
        StoreError: storage failed.
    """
    extract = context.extract
    if not policy.keeps_layers(extract):
        rows = read(context, digests=True)
        return ReleaseRows(rows, (), _start_time(context, previous, policy.target, rows.work))
    return _read_layers(context, previous, policy.target, writer.tree)


def _read_layers(
    context: RunContext, previous: PreviousRelease, target: Target, tree: Tree
) -> ReleaseRows:
    """Read an extract whose rows become a layer of the release."""
    from etl.pipeline.deltas.layers import layers_of, write_layer  # for targets that keep rows
    from etl.pipeline.deltas.merge import write_merged_extract

    extract, definitions = context.extract, context.definitions
    is_delta = extract.kind == "delta"
    if is_delta:
        _require_stable_keys(extract.layout)
    previous_layers = layers_of(target.name, previous) if is_delta else ()
    rows = read(context, digests=not is_delta, keeps_rows=True)
    when = _start_time(context, previous, target, rows.work)
    # The rows become a layer of their own: later deltas need them as they were delivered.
    day = extract.as_of.isoformat() if extract.as_of is not None else None
    layer_time = day_instant(day) if day is not None else as_instant(when)
    layer, findings = write_layer(
        tree, rows.partitions, definitions, rows.work, extract.kind, layer_time
    )
    content = layer.kind, layer.tables, layer.files
    contents = [(other.kind, other.tables, other.files) for other in previous_layers]
    is_stored = content in contents
    layers = previous_layers if is_stored else (*previous_layers, layer)
    if not is_delta:
        return ReleaseRows(rows, layers, when)
    # A delta is published as the full extract that all layers together make.
    model = definitions.model
    merged_files, notes = write_merged_extract(
        tree, layers, rows.work / "merged", day, extract.payer, model
    )
    full_extract = open_with(merged_files, definitions, model.layout, context.emit)
    merged = read(replace(context, extract=full_extract), digests=True)
    _start_time(context, previous, target, merged.work)
    # The delta was read before the merge, so its findings are added to those of the merged rows.
    earlier_layers = layers[: [*contents, content].index(content)]
    first_file = sum(len(other.files) for other in earlier_layers)
    merged = replace(merged, partitions=_add_findings(merged.partitions, findings, first_file))
    return ReleaseRows(merged, layers, when, () if is_stored else notes)


def _add_findings(partitions: Partitions, findings: pa.Table, first_file: int) -> Partitions:
    """Add the findings of reading a delta to those of the merged rows.

    Args:
        partitions: the merged rows.
        findings: findings whose files are numbered as in the delta.
        first_file: position of the delta's first file among the files of all layers.
    """
    facts = partitions.facts
    index = findings.schema.get_field_index("file")
    files = pc.add(findings.column(index), facts.queried[first_file].index).cast(pa.int32())
    moved = findings.set_column(index, findings.schema.field(index), files)
    all_findings = pa.concat_tables([facts.findings, moved])
    return replace(partitions, facts=replace(facts, findings=all_findings))


def _require_stable_keys(layout: Layout) -> None:
    """Check that the rows of a delta can be matched with those that they change.

    Raises:
        UsageError: the layout numbers rows that are not part of their claim's row. In a delta, the
            same row may have another number than in the extract that it changes.
    """
    sources = {(spec.table, spec.source) for spec in layout.tables}
    for spec in layout.tables:
        is_numbered = any(isinstance(column.source, RowNumber) for column in spec.columns.values())
        if is_numbered and (HEADER_OF.get(spec.table), spec.source) not in sources:
            raise UsageError(
                f"the layout {layout.name} numbers the rows of {spec.table}, which it makes from "
                f"{spec.source}, so a delta cannot tell which of them it changes; publish a full "
                "extract"
            )


def _start_time(
    context: RunContext, previous: PreviousRelease, target: Target, work: Path
) -> datetime:
    """Return when the run began; a resumed run keeps the time of its first attempt.

    An attempt can be resumed on the same target and previous release. It keeps its time, so that
    its result equals that of an undisturbed run and its finished tasks count.
    """
    steps, when, lost = FinishedSteps(work), context.when, previous.lost_objects
    damage = [sorted(lost.patients), sorted(lost.shards), lost.bulk]
    facts = {
        "target": target.name,
        "release": previous.id,
        "lost": hashlib.sha256(json.dumps(damage).encode()).hexdigest() if lost else "",
    }
    earlier_step = steps.find(_START_STEP)
    if earlier_step is not None and facts.items() <= earlier_step.facts.items():
        earlier_start = datetime.fromisoformat(earlier_step.facts["began"])
        if timedelta(0) <= when - earlier_start < _RESUMABLE_FOR:
            return earlier_start
    steps.add(_START_STEP, facts={**facts, "began": when.isoformat()})
    return when


def own_folder(folder: Path) -> Path:
    """Create a private folder for work in progress, or check an existing one.

    Raises:
        StoreError: the folder exists and others own it or can access it: a run would resume from
            what they put there.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.geteuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise StoreError(
            f"{folder} must be your own folder that nobody else can access (mode 0700), because "
            "runs continue from its content: delete it, or set run.work to another folder"
        )
    return folder


def _fingerprint(extract: Extract, definitions: Definitions, partitions: int) -> str:
    """Return a hash of everything a run's result depends on, except clock and target."""
    facts = {
        "files": [[file.name, file.sha256] for file in extract.files],
        "layout": extract.layout.name,
        "kind": extract.kind,
        "as_of": str(extract.as_of),
        "tools": definitions.fingerprint,  # the name is part of the hash, and so of run ids
        "partitions": partitions,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def expected_partitions(files: ExtractFiles, partition_rows: int) -> int:
    """Estimate how many partitions an extract will make, before reading it."""
    sizes = ((entry.bytes, compression_of(entry.name) != "") for entry in files.entries())
    return partition_count(sizes, partition_rows)


def partition_count(files: Iterable[tuple[int, bool]], partition_rows: int) -> int:
    """Return how many partitions files make, given their sizes and compression."""
    text_bytes = sum(
        size * (_COMPRESSION_RATIO if is_compressed else 1) for size, is_compressed in files
    )
    return 1 + text_bytes // (_ROW_BYTES * partition_rows)
