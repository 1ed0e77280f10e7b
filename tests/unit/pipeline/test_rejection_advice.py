"""What is advised where most was rejected, and which facts an extract lacks."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from etl.bootstrap.settings import read_settings
from etl.model.severity import Severity
from etl.pipeline.rejection_advice import advice, empty_crosswalks, missing_cells
from etl.pipeline.totals import Tally
from etl.quality.totals.counts import RowCounts
from etl.reports.report_values import EmptyCrosswalk, Example, MissingCells
from etl.reports.summary import summarize_rejected
from etl.rows import FINDINGS_SCHEMA
from etl.sources.extract.opening import Extract
from etl.sources.files.listed_files import SourceFile
from etl.sources.files.stored_files import FolderFiles
from etl.sources.layout.model import canonical_layouts
from tests.e2e.commands import same_definitions


def definitions():
    return same_definitions(read_settings(None))


def extract(layout="canonical"):
    known = {each.name: each for each in (*canonical_layouts().values(), *definitions().layouts)}
    file = SourceFile(0, "claims.csv", "claim", 1, "0" * 64)
    nothing = FINDINGS_SCHEMA.empty_table()
    name = "cpcds" if layout == "canonical" else layout
    return Extract(FolderFiles(Path("e")), known[name], "full", None, None, (file,), nothing)


def tally(table, rows, lost, rule):
    found = Tally()
    found.counts = {**found.counts, table: RowCounts(rows, rows - lost, lost, 0)}
    found.causes[rule, table] = lost
    found.cells[rule, table, ""] = lost
    return found


def advised(found, layout="canonical"):
    return advice(found, definitions().book, extract(layout))


def test_half_of_the_claims_is_not_over_half():
    half = tally("claim", 100, 50, "claim-without-diagnosis")
    assert advised(half) == ()
    more = tally("claim", 100, 51, "claim-without-diagnosis")
    (sentence,) = advised(more)
    assert sentence.startswith(
        "51 of 100 claim rows were rejected, 51 of them because of claim-with"
    )
    assert "rules.severities" in sentence


def test_diagnoses_of_another_code_system_lead_to_the_crosswalk_that_is_empty():
    found = tally("claim", 100, 90, "claim-without-diagnosis")
    found.cells["dialect-foreign-code-system", "claim_diagnosis", "code"] = 240
    found.cells["dialect-unmapped-word", "claim_diagnosis", "type"] = 7
    (sentence,) = advised(found, "synthea-members")
    assert "no code for 240 cells of claim_diagnosis.code" in sentence
    assert "add codes to mappings/crosswalks/layouts/snomed-icd-10-cm.csv" in sentence


def test_a_word_that_a_crosswalk_of_the_rules_does_not_know_leads_to_it():
    rule = next(
        rule for rule in definitions().book.rules if getattr(rule.kind, "crosswalk", "") == "gender"
    )
    found = tally("member", 3, 3, rule.id)
    (sentence,) = advised(found)
    assert "add codes to mappings/crosswalks/gender.csv" in sentence


def test_a_table_of_few_rows_is_no_table_that_was_lost_but_members_are():
    assert advised(tally("claim_note", 9, 9, "orphan-claim")) == ()
    for table, rows in (("claim_note", 10), ("member", 1)):
        assert len(advised(tally(table, rows, rows, "orphan-claim"))) == 1


def test_a_firm_rule_is_not_to_be_softened_and_the_first_place_is_named():
    found = tally("claim", 10, 10, "claim-without-lines")
    found._examples["claim-without-lines"] = [Example(0, 17)]
    (sentence,) = advised(found)
    assert sentence.endswith("Look at claims.csv row 17, and correct the extract or its layout.")


def test_one_cause_is_told_once():
    found = tally("claim", 10, 10, "claim-without-lines")
    lines = RowCounts(20, 0, 20, 0)
    found.counts = {**found.counts, "claim_diagnosis": replace(lines)}
    found.causes["claim-without-lines", "claim_diagnosis"] = 20
    assert len(advised(found)) == 1


def test_empty_crosswalks_are_named_with_their_cells_and_filled_ones_are_not():
    found = Tally()
    found.cells["dialect-foreign-code-system", "claim_diagnosis", "code"] = 240
    found.cells["dialect-foreign-code-system", "claim_line", "service_code"] = 300
    found.cells["dialect-unmapped-word", "claim_diagnosis", "type"] = 7
    assert empty_crosswalks(found, extract("synthea-members").layout) == (
        EmptyCrosswalk("layouts/snomed-service-codes", ("claim_line.service_code",), 300),
        EmptyCrosswalk("layouts/snomed-icd-10-cm", ("claim_diagnosis.code",), 240),
    )
    assert empty_crosswalks(Tally(), extract("synthea-members").layout) == ()
    assert empty_crosswalks(found, canonical_layouts()["cpcds"]) == ()


def test_missing_cells_for_which_rows_go_are_named_and_others_are_not():
    found = Tally()
    found.cells["required", "member", "birth_date"] = 2
    found.cells["inpatient-line-without-revenue", "claim_line", ""] = 69
    found.cells["orphan-claim", "claim_line", ""] = 5
    missing = missing_cells(found, definitions())
    assert missing == (
        MissingCells("inpatient-line-without-revenue", "claim_line", None, 69),
        MissingCells("required", "member", "birth_date", 2),
    )
    rules = [
        replace(rule, severity=Severity.WARN) if rule.rule == "required" else rule
        for rule in found.rules(definitions().book)
    ]
    assert summarize_rejected(rules, found.counts, (), missing).missing == missing[:1]


def test_of_a_row_without_its_id_that_id_is_named_and_not_what_was_looked_up_by_it():
    found = tally("claim", 3, 3, "required")
    columns = ["adjudication_date", "birth_date", "member_id"]
    rows = [
        {"rule": "required", "table": "claim", "file": 0, "row": 2, "column": column}
        for column in columns
    ]
    found.add_findings(pa.Table.from_pylist(rows, FINDINGS_SCHEMA))
    (sentence,) = advised(found)
    assert "Look at claims.csv row 2, column member_id, and" in sentence
