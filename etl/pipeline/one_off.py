"""One-off uses: plain NDJSON of an extract, or a report of it; nothing is published."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from etl.columns.arrays import join, text_bytes
from etl.columns.digests import Hashes, hash_ids
from etl.engine.render import ResourceBatch
from etl.errors import UsageError
from etl.pipeline.context import Chunks, RunContext
from etl.pipeline.partition.mapping import Mapped, PlanResources
from etl.pipeline.process import ProcessedExtract, process
from etl.pipeline.read import default_stamp, read
from etl.pipeline.reporting import report_files
from etl.pipeline.reporting.suites import sample_of
from etl.quality.totals.limits import refusal
from etl.storage.port import Store

_KINDS: Final = (report_files.QUARANTINE, report_files.REPORT)


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation.

    Attributes:
        processed: the extract, checked and mapped.
        reported: the report.
    """

    processed: ProcessedExtract
    reported: report_files.WrittenReport

    def enforce(self) -> None:
        """Stop where a limit does not hold; the report is there.

        Raises:
            LimitBroken: one does not.
        """
        if self.reported.report.stopped:
            raise report_files.LimitBroken(
                self.processed, self.reported.report, str(self.reported.page)
            )


def validate(context: RunContext, folder: Path) -> Validation:
    """Check every row of an extract, map what is accepted to see that it can be, and report.

    Args:
        context: of the run.
        folder: where the report goes, below `report/` and `quarantine/`, when it is whole.
    """
    rows = read(context)
    sample = sample_of(rows, context.options)
    processed = process(context, rows, row_output=sample, is_reported=True)
    context.executor.dismiss()
    about = report_files.About(
        run=report_files.run_id(context.when, rows),
        when=context.when,
        release=None,
        parent=None,
        resources=processed.totals.resources,
        elements=processed.totals.elements,
        quarantine=f"../{report_files.QUARANTINE}",
    )
    reported = report_files.write_reports(context, processed, about)
    _put_in_place(rows.work, folder)
    return Validation(processed, replace(reported, folder=folder))


def check_report_folder(folder: Path) -> None:
    """Check that what a report would replace in a folder is an older report.

    Raises:
        UsageError: there are folders of the same names that are something else.
    """
    if (folder / report_files.REPORT / "report.json").is_file():
        return
    for kind in _KINDS:
        if (folder / kind).exists():
            raise UsageError(f"{folder / kind} exists and is not a report: use another folder")


def _put_in_place(staged: Path, folder: Path) -> None:
    """Replace an older report and its quarantine, once the new one is whole on the same disk."""
    parts = [(kind, folder / f".{kind}.part") for kind in _KINDS if (staged / kind).is_dir()]
    try:
        for kind, part in parts:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(stat.S_IMODE((staged / kind).stat().st_mode))
            _copied(staged / kind, part)
    except BaseException:
        for _, part in parts:
            shutil.rmtree(part, ignore_errors=True)
        raise
    for kind in _KINDS:
        shutil.rmtree(folder / kind, ignore_errors=True)
    for kind, part in parts:
        part.replace(folder / kind)


def _copied(source: Path, target: Path) -> None:
    """Copy what is in a folder, with modes.

    The first file that cannot be written ends it with an OSError that states why.
    """
    for path in sorted(source.rglob("*")):
        into = target / path.relative_to(source)
        if path.is_dir():
            into.mkdir(stat.S_IMODE(path.stat().st_mode))
        else:
            shutil.copy(path, into)


_ENDING: Final = ".ndjson"


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        processed: the extract, checked and mapped.
        directory: the result of mapping the shared directory.
        files: FHIR type -> the file that holds its resources.
        resources: FHIR type -> how many.
    """

    processed: ProcessedExtract
    directory: Mapped
    files: Mapping[str, Path]
    resources: Mapping[str, int]


def convert(context: RunContext, out: Path) -> Conversion:
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
        raise report_files.LimitBroken(processed)
    directory = processed.mapped_directory()
    files = _gathered([*processed.files, output.files(directory.made)], out)
    for plan in context.definitions.mappings.plans:
        if plan.resource not in files:  # what an earlier extract had and this one has not
            (out / f"{plan.resource}{_ENDING}").unlink(missing_ok=True)
    resources = {**processed.totals.resources, **directory.resources}
    return Conversion(processed, directory, files, {name: resources[name] for name in files})


@dataclass(frozen=True, slots=True)
class NdjsonOutput:
    """Writes the resources of a unit as lines, a file a type; can be sent to another process.

    Attributes:
        now: FHIR instant for resources of which the source states no time.
    """

    now: str

    def __call__(
        self, made: Sequence[PlanResources], kept: Sequence[str], store: Store | None, /
    ) -> Mapping[str, Chunks]:
        """Return the files of a unit; a conversion has no release before it."""
        if kept or store is not None:
            raise AssertionError("a conversion writes everything, and to no target")
        return self.files(made)

    def files(self, made: Iterable[PlanResources]) -> Mapping[str, Chunks]:
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


def _lines(run: ResourceBatch, now: str) -> pa.StringArray:
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


def _gathered(units: Iterable[Mapping[str, Path | Chunks]], out: Path) -> dict[str, Path]:
    """Put the files of all units together, and in place when all are whole."""
    parts: dict[str, list[Path | Chunks]] = {}
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


def _concatenate(parts: Iterable[Path | Chunks], into: Path) -> None:
    with into.open("wb") as target:
        for part in parts:
            if isinstance(part, Path):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            else:
                target.writelines(part)
