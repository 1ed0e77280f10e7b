"""One-off commands: convert an extract to NDJSON, or validate it; nothing is published."""

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
from etl.publish.reader import Tree
from etl.quality.totals.limits import refusal

_FOLDERS: Final = (report_files.QUARANTINE, report_files.REPORT)


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
        """Stop if a limit is broken; the report is written.

        Raises:
            LimitBroken: a limit is broken.
        """
        if self.reported.report.stopped:
            raise report_files.LimitBroken(
                self.processed, self.reported.report, str(self.reported.page)
            )


def validate(context: RunContext, folder: Path) -> Validation:
    """Check every row of an extract, map the accepted ones as a test, and write a report.

    Args:
        context: the run's context.
        folder: gets the complete report as `report/` and `quarantine/`.
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
    _replace_report(rows.work, folder)
    return Validation(processed, replace(reported, folder=folder))


def check_report_folder(folder: Path) -> None:
    """Check that a report in this folder would only replace an older report.

    Raises:
        UsageError: folders of the same names exist and are not a report.
    """
    if (folder / report_files.REPORT / "report.json").is_file():
        return
    for kind in _FOLDERS:
        if (folder / kind).exists():
            raise UsageError(f"{folder / kind} exists and is not a report: use another folder")


def _replace_report(staged: Path, folder: Path) -> None:
    """Replace an older report and quarantine, once the new ones are complete on the same disk."""
    drafts = [(kind, folder / f".{kind}.part") for kind in _FOLDERS if (staged / kind).is_dir()]
    try:
        for kind, draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(stat.S_IMODE((staged / kind).stat().st_mode))
            _copy_tree(staged / kind, draft)
    except BaseException:
        for _, draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)
        raise
    for kind in _FOLDERS:
        shutil.rmtree(folder / kind, ignore_errors=True)
    for kind, draft in drafts:
        draft.replace(folder / kind)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy the contents of a folder, with modes; the first OSError ends it."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(stat.S_IMODE(path.stat().st_mode))
        else:
            shutil.copy(path, copy)


_ENDING: Final = ".ndjson"


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        processed: the extract, checked and mapped.
        directory: the result of mapping the shared directory.
        files: FHIR type -> the file with its resources.
        resources: FHIR type -> how many resources.
    """

    processed: ProcessedExtract
    directory: Mapped
    files: Mapping[str, Path]
    resources: Mapping[str, int]


def convert(context: RunContext, out: Path) -> Conversion:
    """Write an extract as `<ResourceType>.ndjson`.

    Resources are ordered by a hash of the member, whatever the order of rows and the number of
    partitions. The files appear in `out` when all of them are complete.

    Args:
        context: the run's context.
        out: folder for the files, created if missing.

    Raises:
        LimitBroken: a limit is broken. Nothing was written to `out`.
    """
    rows = read(context)
    output = NdjsonOutput(default_stamp(context.executor, rows, context.when).instant)
    processed = process(context, rows, output)
    context.executor.dismiss()
    if refusal(processed.verdicts):
        raise report_files.LimitBroken(processed)
    directory = processed.mapped_directory()
    files = _join_files([*processed.files, output.files(directory.plan_resources)], out)
    for plan in context.definitions.mappings.plans:
        if plan.resource not in files:  # a type that only an earlier extract had
            (out / f"{plan.resource}{_ENDING}").unlink(missing_ok=True)
    resources = {**processed.totals.resources, **directory.resources}
    return Conversion(processed, directory, files, {name: resources[name] for name in files})


@dataclass(frozen=True, slots=True)
class NdjsonOutput:
    """Writes a task's resources as NDJSON, one file per type; can be sent to another process.

    Attributes:
        default_instant: FHIR instant for resources whose source states no time.
    """

    default_instant: str

    def __call__(
        self, resources: Sequence[PlanResources], kept_ids: Sequence[str], tree: Tree | None, /
    ) -> Mapping[str, Chunks]:
        """Return the files of a task; a conversion has no previous release."""
        if kept_ids or tree is not None:
            raise AssertionError("a conversion writes everything, and to no target")
        return self.files(resources)

    def files(self, resources: Iterable[PlanResources]) -> Mapping[str, Chunks]:
        """Return name -> lines, resources in the order of their members' hashes."""
        by_type: dict[str, list[tuple[pa.LargeStringArray, Hashes]]] = {}
        for plan, runs, partition in resources:
            for run in runs:
                lines = _render_lines(run, self.default_instant).cast(pa.large_string())
                order = np.zeros(len(lines), dtype=np.uint64)
                if plan.compartment is not None:
                    members = partition.column(plan.table, "member_id").take(pa.array(run.rows))
                    order = hash_ids(members)
                by_type.setdefault(plan.resource, []).append((lines, order))
        return {f"{name}{_ENDING}": [_sort_lines(parts)] for name, parts in by_type.items()}


def _sort_lines(batches: Sequence[tuple[pa.LargeStringArray, Hashes]]) -> memoryview:
    order = np.argsort(np.concatenate([order for _, order in batches]), kind="stable")
    lines = pa.concat_arrays([lines for lines, _ in batches]).take(pa.array(order))
    return text_bytes(lines).data


def _render_lines(run: ResourceBatch, default_instant: str) -> pa.StringArray:
    """Render complete resources, each with a line break."""
    return join(
        f'{{"resourceType":"{run.plan.resource}","id":"',
        run.ids,
        '","meta":{"lastUpdated":"',
        run.last_updated.fill_null(default_instant),
        '",',
        run.bodies,
        "\n",
        absent_as_empty=True,
    )


def _join_files(units: Iterable[Mapping[str, Path | Chunks]], out: Path) -> dict[str, Path]:
    """Concatenate the files of all tasks; they appear when all are complete."""
    parts_by_name: dict[str, list[Path | Chunks]] = {}
    for files in units:
        for name, part in files.items():
            parts_by_name.setdefault(name, []).append(part)
    out.mkdir(parents=True, exist_ok=True)
    drafts: list[tuple[Path, Path]] = []
    try:
        for name, parts in sorted(parts_by_name.items()):
            part = out / f".{name}.part"
            drafts.append((part, out / name))
            _concatenate(parts, part)
    except BaseException:
        for part, _ in drafts:
            part.unlink(missing_ok=True)
        raise
    for part, path in drafts:
        part.replace(path)
    return {path.stem: path for _, path in drafts}


def _concatenate(parts: Iterable[Path | Chunks], path: Path) -> None:
    with path.open("wb") as file:
        for part in parts:
            if isinstance(part, Path):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.writelines(part)
