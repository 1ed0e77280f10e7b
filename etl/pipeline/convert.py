"""Convert an extract into plain bulk NDJSON, one file a resource type."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from etl.columns.arrays import join, text_bytes
from etl.columns.digests import Hashes, hash_ids
from etl.engine.render import Rendered
from etl.pipeline.context import RunContext
from etl.pipeline.default_stamp import default_stamp
from etl.pipeline.executor import Pieces
from etl.pipeline.partition.mapping import Mapped, PlanResources
from etl.pipeline.process import Processed, process
from etl.pipeline.read import read
from etl.pipeline.report import LimitBroken
from etl.quality.totals.limits import refusal
from etl.storage.port import Store

_ENDING: Final = ".ndjson"


@dataclass(frozen=True, slots=True)
class Converted:
    """The result of a conversion.

    Attributes:
        processed: the extract, checked and mapped.
        directory: the result of mapping the shared directory.
        files: FHIR type -> the file that holds its resources.
        resources: FHIR type -> how many.
    """

    processed: Processed
    directory: Mapped
    files: Mapping[str, Path]
    resources: Mapping[str, int]


def convert(context: RunContext, out: Path) -> Converted:
    """Write an extract as `<ResourceType>.ndjson`.

    The files come in the order of a hash of the member, whatever the order of the input's rows and
    the number of partitions. They appear in `out` when all of them are whole.

    Args:
        context: of the run.
        out: folder for the files; made where it is missing.

    Raises:
        LimitBroken: a limit does not hold; nothing was written to `out`.
    """
    rows = read(context)
    output = NdjsonOutput(default_stamp(context.executor, rows, context.when).instant)
    processed = process(context, rows, output)
    context.executor.dismiss()
    if refusal(processed.verdicts):
        raise LimitBroken(processed)
    directory = processed.mapped_directory()
    files = _gathered([*processed.files, output.files(directory.made)], out)
    for plan in context.definitions.mappings.plans:
        if plan.resource not in files:  # what an earlier extract had and this one has not
            (out / f"{plan.resource}{_ENDING}").unlink(missing_ok=True)
    resources = {**processed.totals.resources, **directory.resources}
    return Converted(processed, directory, files, {name: resources[name] for name in files})


@dataclass(frozen=True, slots=True)
class NdjsonOutput:
    """Writes the resources of a unit as lines, a file a type; can be sent to another process.

    Attributes:
        now: FHIR instant for resources of which the source states no time.
    """

    now: str

    def __call__(
        self, made: Sequence[PlanResources], kept: Sequence[str], store: Store | None, /
    ) -> Mapping[str, Pieces]:
        """Return the files of a unit; a conversion has no release before it."""
        if kept or store is not None:
            raise AssertionError("a conversion writes everything, and to no target")
        return self.files(made)

    def files(self, made: Iterable[PlanResources]) -> Mapping[str, Pieces]:
        """Return name -> lines, resources in the order of their members' hashes."""
        types: dict[str, list[tuple[pa.LargeStringArray, Hashes]]] = {}
        for plan, runs, partition in made:
            for run in runs:
                lines = _lines(run, self.now).cast(pa.large_string())
                order = np.zeros(len(lines), dtype=np.uint64)
                if plan.compartment is not None:
                    members = partition.column(plan.table, "member_id").take(pa.array(run.rows))
                    order = hash_ids(members)
                types.setdefault(plan.resource, []).append((lines, order))
        return {f"{name}{_ENDING}": [_in_order(parts)] for name, parts in types.items()}


def _in_order(parts: Sequence[tuple[pa.LargeStringArray, Hashes]]) -> memoryview:
    order = np.argsort(np.concatenate([order for _, order in parts]), kind="stable")
    lines = pa.concat_arrays([lines for lines, _ in parts]).take(pa.array(order))
    return text_bytes(lines).data


def _lines(run: Rendered, now: str) -> pa.StringArray:
    """Return whole resources, each with a line end."""
    return join(
        f'{{"resourceType":"{run.plan.resource}","id":"',
        run.ids,
        '","meta":{"lastUpdated":"',
        run.last_updated.fill_null(now),
        '",',
        run.bodies,
        "\n",
        absent_as_empty=True,
    )


def _gathered(units: Iterable[Mapping[str, Path | Pieces]], out: Path) -> dict[str, Path]:
    """Put the files of all units together, and in place when all are whole."""
    parts: dict[str, list[Path | Pieces]] = {}
    for files in units:
        for name, part in files.items():
            parts.setdefault(name, []).append(part)
    out.mkdir(parents=True, exist_ok=True)
    staged: list[tuple[Path, Path]] = []
    try:
        for name, each in sorted(parts.items()):
            part = out / f".{name}.part"
            staged.append((part, out / name))
            _concatenate(each, part)
    except BaseException:
        for part, _ in staged:
            part.unlink(missing_ok=True)
        raise
    for part, whole in staged:
        part.replace(whole)
    return {whole.stem: whole for _, whole in staged}


def _concatenate(parts: Iterable[Path | Pieces], into: Path) -> None:
    with into.open("wb") as target:
        for part in parts:
            if isinstance(part, Path):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            else:
                target.writelines(part)
