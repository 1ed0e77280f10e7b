"""`write_extract`: one whole extract, streamed member by member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from etl.model.canonical_tables import CLAIMS_TABLES
from etl.model.short_forms import SHORT_FORMS, short_form
from etl.synth.daily_changes import delta_of, member_on
from etl.synth.directory import (
    PAYER_NAMES,
    REGION_SIZE,
    Row,
    payer_rows,
    practitioners_on,
    region_of,
)
from etl.synth.extract_writer import LEDGER, Folder, folder
from etl.synth.faults import Planted, plant, plant_directory
from etl.synth.members import MemberRows, joined
from etl.synth.spec import Spec

LEDGER_COLUMNS: Final = ("file", "row", "column", "fault")
_EVERY: Final = 500
"""Members between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of writing; the last one has `done == members`."""

    done: int
    members: int
    rows: int


@dataclass(frozen=True, slots=True)
class WrittenExtract:
    """Result of writing an extract.

    Attributes:
        rows: table -> rows, headers not counted.
        bytes: of all files, as they are on disk.
        faults: how many were planted.
    """

    rows: Mapping[str, int]
    bytes: int
    faults: int


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
    ending, packed = spec.format, spec.gzip
    with folder(out, ending=ending, packed=packed, parts=spec.parts) as files:
        files.begin(_columns(spec))
        ledger: list[tuple[str, ...]] = []
        total = 0
        for index in range(spec.population):
            files.turn(index * spec.parts // spec.population)
            if index % REGION_SIZE == 0:
                total += _write_directory(files, spec, index // REGION_SIZE, ledger)
            total += _write_member(files, spec, index, ledger)
            done = index + 1
            if emit and (done % _EVERY == 0 or done == spec.population):
                emit(Progress(done, spec.population, total))
        head: list[tuple[str, ...]] = [LEDGER_COLUMNS, (LEDGER, "", "", "unknown-file")]
        size = files.finish(
            {
                "layout": "cpcds",
                "kind": spec.kind,
                "as_of": spec.date.isoformat(),
                "payer": next(iter(PAYER_NAMES.values())),
            },
            [*head, *ledger] if ledger else [],
        )
        return WrittenExtract(_by_table(files.rows), size, len(ledger))


def _by_table(rows: Mapping[str, int]) -> Mapping[str, int]:
    counts = dict.fromkeys(CLAIMS_TABLES, 0)
    for name, count in rows.items():
        if name == LEDGER:
            continue
        counts[name.partition(".")[0].partition("-")[0]] += count
    return MappingProxyType(counts)


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


def _write_directory(files: Folder, spec: Spec, number: int, ledger: list[tuple[str, ...]]) -> int:
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
    planted = plant_directory(spec, number, tables) if spec.fault_rate else []
    return _write_tables(files, tables, planted, ledger)


def _write_member(files: Folder, spec: Spec, index: int, ledger: list[tuple[str, ...]]) -> int:
    if spec.kind == "delta":
        return _write_tables(files, delta_of(spec, index), [], ledger)
    tables = member_on(spec, index, spec.day).rows()
    planted = plant(spec, index, tables) if spec.fault_rate else []
    return _write_tables(files, tables, planted, ledger)


def _write_tables(
    files: Folder, tables: MemberRows, planted: list[Planted], ledger: list[tuple[str, ...]]
) -> int:
    count = 0
    for table, rows in tables.items():
        if not rows:
            continue
        count += len(rows)
        of_table = [fault for fault in planted if fault.table == table]
        first = (
            files.write(table, rows)
            if not of_table
            else _write_faulty(files, table, rows, of_table)
        )
        for fault in sorted(of_table, key=lambda fault: fault.place):
            row = str(first + fault.place)
            ledger.append((files.name(table), row, fault.column, fault.rule))
    return count


def _write_faulty(files: Folder, table: str, rows: list[Row], planted: list[Planted]) -> int:
    ragged = {fault.place for fault in planted if fault.ragged}
    first = files.rows[files.name(table)] + 2
    for place, row in enumerate(rows):
        if place in ragged:
            files.write_ragged(table, row)
        else:
            files.write(table, [row])
    return first
