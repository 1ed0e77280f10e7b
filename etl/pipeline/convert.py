"""The one-off use: an extract into plain bulk NDJSON, one file a resource type."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.columns.arrays import join, text_bytes
from etl.columns.digests import hash_ids
from etl.engine.partition_columns import Partition
from etl.engine.render import Rendered
from etl.mapping.plan import Plan
from etl.pipeline.attempt import own_folder
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import Emit
from etl.pipeline.partition.check_and_map import Mapped
from etl.pipeline.partition.directory import mapped_directory
from etl.pipeline.process import Settled, instants, settle
from etl.pipeline.read import Read
from etl.pipeline.report import LimitBroken
from etl.pipeline.workers import Workers
from etl.quality.totals.limits import refusal
from etl.reports import Rejected

_PARTS = "ndjson"


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion came to.

    Attributes:
        settled: the extract, worked through.
        directory: what became of the shared directory.
        files: FHIR type -> the file that holds its resources.
        resources: FHIR type -> how many.
        rejected: what was rejected, by first cause.
    """

    settled: Settled
    directory: Mapped
    files: Mapping[str, Path]
    resources: Mapping[str, int]
    rejected: Rejected


def convert(
    read: Read,
    out: Path,
    definitions: Definitions,
    workers: Workers,
    *,
    now: str,
    emit: Emit,
) -> Converted:
    """Write an extract as `<ResourceType>.ndjson`.

    The files come in the order of a hash of the member, whatever the order of the input's rows and
    the number of partitions. They appear in `out` when all of them are whole.

    Args:
        read: the extract, cut by member.
        out: folder for the files; made where it is missing.
        definitions: rules and mappings.
        workers: where the work is done.
        now: FHIR instant for resources of which the source states no time.
        emit: takes events.

    Raises:
        LimitBroken: a limit does not hold; nothing was written to `out`.
    """
    folder = own_folder(read.work / _PARTS)
    settled = settle(
        read,
        definitions,
        workers,
        partial(NdjsonSink, folder, now),
        suite_rows=None,
        emit=emit,
    )
    rejected = settled.rejected(definitions)
    if refusal(settled.verdicts):
        raise LimitBroken(settled, rejected)
    sink = NdjsonSink(folder, now, read.partitions.count)
    directory = mapped_directory(settled.providers, settled.missing, definitions, sink.take)
    sink.finish()
    files = _gathered(folder, out, read.partitions.count + 1)
    for plan in definitions.mappings.plans:
        if plan.resource not in files:  # what an earlier extract had and this one has not
            (out / f"{plan.resource}.ndjson").unlink(missing_ok=True)
    resources = {**settled.totals.resources, **directory.resources}
    made = {name: resources[name] for name in files}
    return Converted(settled, directory, files, made, rejected)


@dataclass
class NdjsonSink:
    """Writes the resources of one partition, a file a type.

    Attributes:
        folder: where the parts of all partitions lie.
        now: FHIR instant for resources of which the source states no time.
        index: number of the partition.
    """

    folder: Path
    now: str
    index: int
    _made: dict[str, list[_Made]] = field(default_factory=dict)

    def take(self, plan: Plan, made: list[Rendered], partition: Partition) -> None:
        """Keep what a plan made until all plans of its type have run."""
        for run in made:
            lines = _lines(run, self.now).cast(pa.large_string())
            if plan.compartment is None:
                order = np.zeros(len(lines), dtype=np.uint64)
            else:
                members = partition.column(plan.table, "member_id").take(pa.array(run.rows))
                order = hash_ids(members)
            self._made.setdefault(plan.resource, []).append(_Made(lines, order))

    def keep(self, patients: Sequence[str]) -> None:
        """Refuse: a conversion has no release before it."""
        raise AssertionError("a conversion writes everything")

    def finish(self) -> tuple[Path, ...]:
        """Write the files, resources in the order of their members' hashes, and return them."""
        own = self.folder / f"{self.index:05d}"
        shutil.rmtree(own, ignore_errors=True)  # what an attempt left that was not whole
        own.mkdir(parents=True)
        written = []
        for resource, made in self._made.items():
            lines = pa.concat_arrays([one.lines for one in made])
            order = np.argsort(np.concatenate([one.order for one in made]), kind="stable")
            written.append(own / f"{resource}.ndjson")
            with written[-1].open("wb") as file:
                file.write(text_bytes(lines.take(pa.array(order))).data)
        self._made.clear()
        return tuple(written)


@dataclass(frozen=True, slots=True)
class _Made:
    lines: pa.LargeStringArray
    order: npt.NDArray[np.uint64]


def _lines(run: Rendered, now: str) -> pa.StringArray:
    """Return whole resources, each with a line end."""
    return join(
        f'{{"resourceType":"{run.plan.resource}","id":"',
        run.ids,
        '","meta":{"lastUpdated":"',
        instants(run.last_updated, now),
        '",',
        run.bodies,
        "\n",
        absent_as_empty=True,
    )


def _gathered(folder: Path, out: Path, count: int) -> dict[str, Path]:
    """Put the parts of all partitions together, and the files in place when all are whole."""
    parts: dict[str, list[Path]] = {}
    for index in range(count):
        for path in sorted((folder / f"{index:05d}").glob("*.ndjson")):
            parts.setdefault(path.name, []).append(path)
    out.mkdir(parents=True, exist_ok=True)
    staged: list[tuple[Path, Path]] = []
    try:
        for name, paths in sorted(parts.items()):
            part = out / f".{name}.part"
            staged.append((part, out / name))
            _concatenated(paths, part)
    except BaseException:
        for part, _ in staged:
            part.unlink(missing_ok=True)
        raise
    for part, whole in staged:
        part.replace(whole)
    return {whole.stem: whole for _, whole in staged}


def _concatenated(paths: Iterable[Path], into: Path) -> None:
    with into.open("wb") as target:
        for path in paths:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
