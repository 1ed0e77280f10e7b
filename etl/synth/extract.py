"""`write_extract`: one whole extract, streamed member by member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.model.canonical_tables import CLAIMS_TABLES, SHORT_FORMS, short_form
from etl.synth.daily_changes import delta_of, member_on
from etl.synth.directory import (
    REGION_SIZE,
    Row,
    payer_rows,
    practitioners_on,
    region_of,
)
from etl.synth.extract_writer import ExtractFiles, WrittenExtract, extract_files
from etl.synth.faults import plant, plant_directory
from etl.synth.members import MemberRows, joined
from etl.synth.spec import Spec

_EVERY: Final = 500
"""Members between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of writing; the last one has `done == members`."""

    done: int
    members: int
    rows: int


def write_extract(
    out: Path, spec: Spec, emit: Callable[[Progress], None] | None = None
) -> WrittenExtract:
    """Write an extract in the canonical layout; memory does not grow with it.

    Args:
        out: the folder; made where it is missing. Files of the same names are replaced.
        spec: what to write. The same spec gives the same bytes.
        emit: called with progress now and then.

    Raises:
        UsageError: `out` holds files of another extract.
        StoreError: the system refused to write; no file of the extract was left.
    """
    with extract_files(out, spec, _columns(spec)) as files:
        for index in range(spec.population):
            files.part = index * spec.parts // spec.population
            if index % REGION_SIZE == 0:
                _write_directory(files, spec, index // REGION_SIZE)
            _write_member(files, spec, index)
            done = index + 1
            if emit and (done % _EVERY == 0 or done == spec.population):
                emit(Progress(done, spec.population, sum(files.rows.values())))
        return files.finish("cpcds")


def _columns(spec: Spec) -> dict[str, tuple[str, ...]]:
    columns = {name: table.names for name, table in CLAIMS_TABLES.items()}
    if spec.short_form:
        numbered = [
            column
            for child, fields in SHORT_FORMS.items()
            for field in fields
            for column in short_form(child.removeprefix("claim_"), field)
        ]
        names = columns["claim"]
        columns["claim"] = (*names[:-2], *numbered, *names[-2:])
    return columns


def _write_directory(files: ExtractFiles, spec: Spec, number: int) -> None:
    """Write a region's directory, the payers before the first; in a delta, what is new of it."""
    region = region_of(spec, number)
    new = spec.kind == "full" or joined(spec, number * REGION_SIZE) == spec.day
    organizations: list[Row] = list(region.organizations) if new else []
    if number == 0 and spec.kind == "full":
        organizations = [*payer_rows(spec), *organizations]
    practitioners = [
        row if new else row | {"record_action": "U"}
        for row, day in practitioners_on(spec, number, spec.day)
        if new or day == spec.day
    ]
    tables: MemberRows = {"organization": organizations, "practitioner": practitioners}
    files.write(tables, plant_directory(spec, number, tables) if spec.fault_rate else [])


def _write_member(files: ExtractFiles, spec: Spec, index: int) -> None:
    if spec.kind == "delta":
        files.write(delta_of(spec, index), [])
    else:
        tables = member_on(spec, index, spec.day).rows()
        files.write(tables, plant(spec, index, tables) if spec.fault_rate else [])
