"""Faults are planted where the ledger says, nowhere else, and the rules find them there."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.columns.dates import day_number
from etl.quality.check import check
from etl.quality.checks.frames import NoKeys, RuleContext, read_directory
from etl.quality.rules.book import Policy, load_rules
from etl.sources.extract.opening import open_extract
from etl.sources.partition.reading import partition_extract
from etl.synth import Spec
from etl.synth.faults import FAULTS
from tests.e2e.commands import rows_of
from tests.unit.synth.written import MEMBER_TABLES, folder_of, read, table_of, world

FAULTY = Spec(members=12, seed=71, fault_rate=0.8, as_of=date(2024, 8, 31), since=date(2019, 1, 1))
CLEAN = replace(FAULTY, fault_rate=0.0)
Entry = tuple[str, int, str, str]
"""File, row, column, rule."""


def ledger(folder):
    entries = rows_of(folder / "faults.csv")
    assert entries[0]["fault"] == "unknown-file"  # the ledger is no table itself
    return [(row["file"], int(row["row"]), row["column"], row["fault"]) for row in entries[1:]]


LEDGER = ledger(folder_of(FAULTY))
ROWS = {(placed.file, placed.number): placed.cells for rows in read(folder_of(FAULTY)).values()
        for placed in rows}  # fmt: skip


def test_every_kind_of_fault_is_planted_and_no_cell_has_two():
    assert {fault.rule for fault in FAULTS} | {"npi"} == {rule for *_, rule in LEDGER}
    assert len({fault.rule for fault in FAULTS}) >= 70
    assert len({(file, row, column) for file, row, column, _ in LEDGER}) == len(LEDGER)


def _owner(cells):
    return cells.get("claim_id") or cells.get("member_id") or min(cells.values())


def test_what_the_ledger_does_not_touch_is_as_in_the_clean_world():
    touched = {_owner(ROWS[file, row]) for file, row, _, _ in LEDGER}
    touched |= {claim.removeprefix("X") for claim in touched}
    members = {ROWS[file, row]["member_id"] for file, row, _, _ in LEDGER
               if table_of(file) in {"member", "coverage", "member_telecom"}}  # fmt: skip
    compared = 0
    for table in MEMBER_TABLES:
        owners = members if table in {"member", "coverage", "member_telecom"} else touched
        clean = [row for row in world(CLEAN)[table] if _owner(row) not in owners]
        faulty = [row for row in world(FAULTY)[table] if _owner(row) not in owners]
        assert faulty == clean, table
        compared += len(clean)
    assert compared > 300


def test_in_parts_and_compressed_the_ledger_names_each_parts_own_rows():
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


_NO_FAULTS = {"care-team-provider-unlisted", "service-of-several-days"}
"""Findings of a clean world, a few: a provider in no directory, named by NPI; an outpatient service
of several days."""


def test_the_rules_find_every_fault_at_its_place_and_in_a_clean_world_next_to_nothing():
    found, clean = findings(folder_of(FAULTY)), findings(folder_of(CLEAN))

    assert set(LEDGER) - found == set()
    assert {rule for *_, rule in clean} <= _NO_FAULTS


def test_what_else_the_rules_find_hangs_on_a_planted_fault():
    touched = {_owner(ROWS[file, row]) for file, row, _, _ in LEDGER}
    found = findings(folder_of(FAULTY))
    assert found > set(LEDGER)
    further = [
        (file, row, column, rule)
        for file, row, column, rule in found - set(LEDGER)
        if rule not in {"unknown-file"} | _NO_FAULTS and _owner(ROWS[file, row]) not in touched
    ]

    assert further == []


def findings(folder):
    """Return what the project's own rules say of an extract."""
    roots = [shipped()]
    book = load_rules(read_folder(roots, "rules", "*.yaml").texts, Policy(), read_crosswalks(roots))
    extract = open_extract(folder, [])
    as_of = day_number(extract.as_of.isoformat())
    with TemporaryDirectory() as work:
        cut = partition_extract(extract, Path(work) / "cut", partitions=1)
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
