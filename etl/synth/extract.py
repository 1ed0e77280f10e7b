"""`write_extract`, `write_network` and `write_formulary`: whole extracts, streamed.

The practitioners and organizations of a directory are those of the extract of claims with the same
seed: the first 34 practitioners are those of its first thousand members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.model.canonical_tables import CLAIMS_TABLES, SHORT_FORMS, short_form
from etl.model.data_models import DIRECTORY, FORMULARY, DataModel
from etl.synth import directory
from etl.synth.daily_changes import delta_of, member_on_day
from etl.synth.directory import Row
from etl.synth.extract_writer import ExtractFiles, WrittenExtract, extract_files
from etl.synth.faults import plant_directory, plant_faults, plant_network
from etl.synth.formulary import drug_tables, plan_tables
from etl.synth.members import MemberRows, joined
from etl.synth.network_tables import NetworkTables, changed_on_day, payer_tables, region_tables
from etl.synth.prior_auths import REQUIRED
from etl.synth.spec import Spec

_PROGRESS_STEP: Final = 500
"""Members between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of writing; the last one has `done == total`."""

    done: int
    total: int
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
            if index % directory.REGION_SIZE == 0:
                _write_directory(files, spec, index // directory.REGION_SIZE)
            _write_member(files, spec, index)
            done = index + 1
            if emit and (done % _PROGRESS_STEP == 0 or done == spec.population):
                emit(Progress(done, spec.population, sum(files.rows.values())))
        return files.finish("cpcds")


def _columns(spec: Spec) -> dict[str, tuple[str, ...]]:
    columns = {
        name: table.names
        for name, table in CLAIMS_TABLES.items()
        if spec.prior_auth_rate or not table.optional
    }
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
    """Write a region's providers, before the first also the payers; in a delta, the new ones."""
    region = directory.region_of(spec, number)
    is_new = spec.kind == "full" or joined(spec, number * directory.REGION_SIZE) == spec.day
    organizations: list[Row] = list(region.organizations) if is_new else []
    if number == 0 and spec.kind == "full":
        organizations = [*directory.payer_rows(spec), *organizations]
    practitioners = [
        row if is_new else row | {"record_action": "U"}
        for row, day in directory.practitioners_on_day(spec, number, spec.day)
        if is_new or day == spec.day
    ]
    tables: MemberRows = {"organization": organizations, "practitioner": practitioners}
    if number == 0 and spec.kind == "full" and spec.prior_auth_rate:
        tables["prior_auth_required"] = list(REQUIRED)
    files.write(tables, plant_directory(spec, number, tables) if spec.fault_rate else [])


def _write_member(files: ExtractFiles, spec: Spec, index: int) -> None:
    """Write a member's rows, with faults if the spec has any; in a delta, the changes alone."""
    if spec.kind == "delta":
        files.write(delta_of(spec, index), planted=[])
    else:
        tables = member_on_day(spec, index, spec.day).rows()
        files.write(tables, plant_faults(spec, index, tables) if spec.fault_rate else [])


def write_network(
    out: Path, spec: Spec, emit: Callable[[Progress], None] | None = None
) -> WrittenExtract:
    """Write a provider directory in its canonical layout; memory does not grow with it.

    Args:
        out: the folder; made where it is missing. Files of the same names are replaced.
        spec: what to write. The same spec gives the same bytes.
        emit: called with progress now and then, in practitioners.

    Raises:
        UsageError: `out` holds files of another extract.
        StoreError: the system refused to write; no file of the extract was left.
    """
    with extract_files(out, spec, _file_columns(DIRECTORY)) as files:
        for number, tables in _network_regions(spec):
            files.write(tables, plant_network(spec, number, tables))
            done = min(spec.practitioners, (number + 1) * directory.PRACTITIONERS)
            if emit:
                emit(Progress(done, spec.practitioners, sum(files.rows.values())))
        return files.finish(DIRECTORY.layout)


def _file_columns(model: DataModel) -> dict[str, tuple[str, ...]]:
    return {table.file_name: table.names for table in model.tables.values()}


def write_formulary(
    out: Path, spec: Spec, emit: Callable[[Progress], None] | None = None
) -> WrittenExtract:
    """Write a drug formulary in its canonical layout; memory does not grow with it.

    Args:
        out: the folder; made where it is missing. Files of the same names are replaced.
        spec: what to write. The same spec gives the same bytes.
        emit: called with progress now and then, in drugs.

    Raises:
        UsageError: `out` holds files of another extract.
        StoreError: the system refused to write; no file of the extract was left.
    """
    with extract_files(out, spec, _file_columns(FORMULARY)) as files:
        files.write(plan_tables(spec), planted=[])
        for number in range(spec.drugs):
            files.write(drug_tables(spec, number), planted=[])
            done = number + 1
            if emit and (done % _PROGRESS_STEP == 0 or done == spec.drugs):
                emit(Progress(done, spec.drugs, sum(files.rows.values())))
        return files.finish(FORMULARY.layout)


def _network_regions(spec: Spec) -> Iterator[tuple[int, NetworkTables]]:
    """Yield the number and the rows of each region; -1 is the number of the payers."""
    yield -1, _rows_of_day(payer_tables(spec), spec)
    for number, first in enumerate(range(0, spec.practitioners, directory.PRACTITIONERS)):
        count = min(directory.PRACTITIONERS, spec.practitioners - first)
        region = directory.region_of(spec, number)
        yield number, _rows_of_day(region_tables(spec, region, count), spec)


def _rows_of_day(tables: NetworkTables, spec: Spec) -> NetworkTables:
    """Return all rows in a full extract; in a delta, those that changed on its day."""
    if spec.kind == "full":
        return tables
    return {
        name: [row | {"record_action": "U"} for row in rows if changed_on_day(row, spec)]
        for name, rows in tables.items()
    }
