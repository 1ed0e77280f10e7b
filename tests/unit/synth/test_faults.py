"""Faults are planted where the ledger says, nowhere else, and the rules find them there."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.columns.dates import day_number
from etl.model.canonical_tables import CLAIM_TABLES, MEMBER_TABLES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.quality import (
    NoKeys,
    Policy,
    RuleContext,
    check,
    load_rules,
    read_directory,
)
from etl.sources import open_extract, partition
from etl.synth import Spec
from etl.synth.faults import FAULTS
from tests.unit.synth.written import WORLD, Row, folder_of, read, rows_of_file, table_of, world

FAULTY = Spec(members=12, seed=71, fault_rate=0.8, as_of=date(2024, 8, 31), since=date(2019, 1, 1))
CLEAN = replace(FAULTY, fault_rate=0.0)
Entry = tuple[str, int, str, str]
"""File, row, column, rule."""
RULES = Path(__file__).parents[3] / "mappings" / "rules"


def ledger(folder: Path) -> list[Entry]:
    with (folder / "faults.csv").open(encoding="utf-8", newline="") as stream:
        entries = list(csv.DictReader(stream))
    assert entries[0]["fault"] == "unknown-file"  # the ledger is no table itself
    return [(row["file"], int(row["row"]), row["column"], row["fault"]) for row in entries[1:]]


LEDGER = ledger(folder_of(FAULTY))
ROWS = {(placed.file, placed.number): placed.cells for rows in read(folder_of(FAULTY)).values()
        for placed in rows}  # fmt: skip
CELLS = {(path.name, number): (headers, cells) for path in folder_of(FAULTY).glob("*.csv")
         for number, headers, cells in rows_of_file(path)}  # fmt: skip


def test_without_a_rate_there_is_no_ledger() -> None:
    assert not (folder_of(CLEAN) / "faults.csv").exists()


def test_every_kind_of_fault_is_planted() -> None:
    assert {fault.rule for fault in FAULTS} | {"npi"} == {rule for *_, rule in LEDGER}
    assert len({fault.rule for fault in FAULTS}) >= 70


def test_every_fault_names_a_rule_that_there_is() -> None:
    known = {
        rule
        for path in RULES.glob("*.yaml")
        for rule in re.findall(r"^- id: (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert {fault.rule for fault in FAULTS} <= known


def test_the_ledger_names_files_rows_and_columns_that_there_are() -> None:
    for file, row, column, _ in LEDGER:
        assert (file, row) in ROWS
        assert not column or TABLES[table_of(file)].column(column)
    assert len({(file, row, column) for file, row, column, _ in LEDGER}) == len(LEDGER)


def _owner(cells: Row) -> str:
    return cells.get("claim_id") or cells.get("member_id") or min(cells.values())


def test_what_the_ledger_does_not_touch_is_as_in_the_clean_world() -> None:
    touched = {_owner(ROWS[file, row]) for file, row, _, _ in LEDGER}
    touched |= {claim.removeprefix("X") for claim in touched}
    members = {ROWS[file, row]["member_id"] for file, row, _, _ in LEDGER
               if table_of(file) in {"member", "coverage", "member_telecom"}}  # fmt: skip
    compared = 0
    for table in (*MEMBER_TABLES, *CLAIM_TABLES):
        owners = members if table in {"member", "coverage", "member_telecom"} else touched
        clean = [row for row in world(CLEAN)[table] if _owner(row) not in owners]
        faulty = [row for row in world(FAULTY)[table] if _owner(row) not in owners]
        assert faulty == clean, table
        compared += len(clean)
    assert compared > 300


def _entries(rule: str) -> list[Entry]:
    found = [entry for entry in LEDGER if entry[3] == rule]
    assert found
    return found


def _cells(rule: str) -> list[str]:
    return [ROWS[file, row].get(column, "") for file, row, column, _ in _entries(rule)]


@pytest.mark.parametrize(
    ("rule", "shape"),
    [
        ("required", ""),
        ("date-unreadable", r"[0-9]{4}/[0-9]{2}/[0-9]{2}|2021-02-30"),
        ("date-sentinel", "1969-12-31|1970-01-01|9999-12-31"),
        ("amount-unreadable", r"1\.234,50|\$[0-9]+\.[0-9]{2}"),
        ("amount-beyond-cents", r"[0-9]+\.[0-9]{3}"),
        ("amount-negative", r"-5\.00"),
        ("lost-zero-revenue", "[0-9]{3}"),
        ("lost-zero-place", "[0-9]"),
        ("lost-zero-ndc", "[0-9]{10}"),
        ("lost-zero-zip", "[0-9]{4}"),
        ("ndc-length", "[0-9]{12}"),
        ("claim-type-unknown", "veterinary"),
        ("role-unknown", "janitor"),
        ("status-unknown", "lost"),
        ("icd-point", r"[A-Z0-9]{4}\.[A-Z0-9]+"),
        ("icd-impossible", r"\?\?"),
        ("transport-unit", "kg"),
    ],
)
def test_the_cell_named_holds_the_fault(rule: str, shape: str) -> None:
    cells = _cells(rule)
    assert cells
    assert all(re.fullmatch(shape, cell) for cell in cells)


def test_a_ragged_row_has_a_cell_too_many_and_no_other_row_has() -> None:
    ragged = {place for place, (headers, cells) in CELLS.items() if len(cells) != len(headers)}

    assert ragged == {(file, row) for file, row, _, _ in _entries("ragged-row")}
    assert all(len(CELLS[place][1]) == len(CELLS[place][0]) + 1 for place in ragged)


def test_a_duplicate_row_repeats_a_key_and_no_other_row_does() -> None:
    repeated = set()
    for table, rows in read(folder_of(FAULTY)).items():
        seen = set()
        for placed in rows:
            key = tuple(placed.cells.get(part) for part in TABLES[table].key)
            if key in seen:
                repeated.add((placed.file, placed.number))
            seen.add(key)

    planted = {
        (file, row)
        for rule in ("duplicate-identical", "duplicate-older", "duplicate-conflict")
        for file, row, _, _ in _entries(rule)
    }
    assert repeated <= planted
    twins = len(_entries("duplicate-conflict")) // 2
    assert len(repeated) == len(planted) - twins


def test_orphans_name_nobody() -> None:
    rows = world(FAULTY)
    members = {row["member_id"] for row in rows["member"]}
    claims = {row["claim_id"] for row in rows["claim"]}
    coverages = {row["coverage_id"] for row in rows["coverage"]}

    assert not set(_cells("claim-unknown-member")) & members
    assert not set(_cells("coverage-unknown-member")) & members
    assert not set(_cells("claim-unknown-coverage")) & coverages
    assert not set(_cells("orphan-claim")) & claims
    lines = {row["claim_id"] for row in rows["claim_line"]}
    assert (
        not {ROWS[file, row]["claim_id"] for file, row, _, _ in _entries("claim-without-lines")}
        & lines
    )


def test_money_does_not_add_up_where_the_ledger_says_so() -> None:
    lines = world(FAULTY)["claim_line"]
    for file, row, column, _ in _entries("total-of-lines"):
        claim = ROWS[file, row]
        stated = [
            Decimal(line.get(column, "0"))
            for line in lines
            if line["claim_id"] == claim["claim_id"]
        ]
        assert Decimal(claim[column]) == sum(stated) + 1
    for file, row, _, _ in _entries("eligible-equation"):
        claim = ROWS[file, row]
        parts = [
            Decimal(claim[f"amount_{name}"]) for name in ("submitted", "noncovered", "discount")
        ]
        assert Decimal(claim["amount_eligible"]) != parts[0] - parts[1] - parts[2]


def test_services_lie_outside_where_the_ledger_says_so() -> None:
    rows = world(FAULTY)
    claims = {row["claim_id"]: row for row in rows["claim"]}
    coverages = {row["coverage_id"]: row for row in rows["coverage"]}
    for file, row, _, _ in _entries("line-after-claim"):
        line = ROWS[file, row]
        assert line["service_from_date"] > claims[line["claim_id"]]["statement_thru_date"]
    for file, row, _, _ in _entries("coverage-not-in-force"):
        line = ROWS[file, row]
        cover = coverages[claims[line["claim_id"]]["coverage_id"]]
        assert line["service_from_date"] > cover["end_date"]
    for file, row, _, _ in _entries("coverage-of-another"):
        claim = ROWS[file, row]
        assert coverages[claim["coverage_id"]]["member_id"] != claim["member_id"]


def test_faults_of_the_first_members_do_not_depend_on_how_many_there_are() -> None:
    less = ledger(folder_of(replace(FAULTY, members=6)))

    assert less == [entry for entry in LEDGER if entry in less]
    assert len(less) > 50


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_the_rate_is_the_share_of_claims_that_get_a_fault(rate: float) -> None:
    spec = replace(WORLD, members=400, fault_rate=rate)
    claims = world(replace(spec, fault_rate=0.0))["claim"]
    whole = [
        row for row in claims if not {"adjusted_from_claim_id", "adjusted_to_claim_id"} & row.keys()
    ]
    own = {"member", "member_telecom", "coverage", "organization", "practitioner"}
    planted = [entry for entry in ledger(folder_of(spec)) if table_of(entry[0]) not in own]

    assert len(planted) == pytest.approx(rate * len(whole), rel=0.25)


def test_in_parts_and_compressed_the_ledger_names_each_parts_own_rows() -> None:
    spec = replace(FAULTY, parts=3, gzip=True)
    rows = {(placed.file, placed.number): placed.cells
            for found in read(folder_of(spec)).values() for placed in found}  # fmt: skip
    told = [
        (rows[file, row].get(column), rule) for file, row, column, rule in ledger(folder_of(spec))
    ]

    assert {file for file, *_ in ledger(folder_of(spec))} > {
        "claim-00001.csv.gz",
        "claim-00003.csv.gz",
    }
    assert told == [(ROWS[file, row].get(column), rule) for file, row, column, rule in LEDGER]


def test_parquet_has_every_fault_but_ragged_rows() -> None:
    folder = folder_of(replace(FAULTY, format="parquet"))
    rules = {rule for *_, rule in ledger(folder)}

    assert rules >= {fault.rule for fault in FAULTS} - {"ragged-row"} - _SELDOM
    assert "ragged-row" not in rules


_SELDOM = {"email-shape", "telecom-twice"}
_NO_FAULTS = {"care-team-provider-unlisted", "service-of-several-days"}
"""Findings of a clean world, a few: a provider in no directory, named by NPI; an outpatient service
of several days."""


def test_the_rules_find_every_fault_at_its_place_and_in_a_clean_world_next_to_nothing() -> None:
    found, clean = findings(folder_of(FAULTY)), findings(folder_of(CLEAN))

    assert set(LEDGER) - found == set()
    assert {rule for *_, rule in clean} <= _NO_FAULTS


def test_what_else_the_rules_find_hangs_on_a_planted_fault() -> None:
    touched = {_owner(ROWS[file, row]) for file, row, _, _ in LEDGER}
    found = findings(folder_of(FAULTY))
    assert found > set(LEDGER)
    further = [
        (file, row, column, rule)
        for file, row, column, rule in found - set(LEDGER)
        if rule not in {"unknown-file"} | _NO_FAULTS and _owner(ROWS[file, row]) not in touched
    ]

    assert further == []


def findings(folder: Path) -> set[Entry]:
    """Return what the project's own rules say of an extract."""
    roots = [shipped()]
    book = load_rules(read_folder(roots, "rules", "*.yaml").texts, Policy(), read_crosswalks(roots))
    extract = open_extract(folder, [])
    assert extract.as_of is not None
    as_of = day_number(extract.as_of.isoformat())
    with TemporaryDirectory() as work:
        cut = partition(extract, Path(work) / "cut", partitions=1)
        directory = cut.directory()
        listed = read_directory(directory.tables["organization"], directory.tables["practitioner"])
        context = RuleContext(book, NoKeys(), listed, as_of)
        loaded = cut.load(0)
        tables = [
            cut.facts.findings,
            check(directory.tables, directory.findings, context, directory.unread).findings,
            check(loaded.tables, loaded.findings, context, loaded.unread).findings,
        ]
        return {
            (loaded.files[row["file"]], row["row"] or 0, row["column"] or "", row["rule"])
            for table in tables
            for row in table.to_pylist()
        }
