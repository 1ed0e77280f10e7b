"""Deltas on a published tree end where a full extract of the same day does."""

import csv
import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from etl.errors import DataRejected, StoreError, UsageError
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.publish.verify import verify
from tests.e2e.commands import published
from tests.integration.nights import blocks, delta, full, small_delta
from tests.integration.test_adjustment_chains import extract, findings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whole_claims", "superseded"),
    [(False, "publish"), (True, "publish"), (False, "leave-out")],
    ids=["changed-rows", "whole-claims", "superseded-left-out"],
)
def test_a_full_extract_and_its_deltas_end_in_the_blocks_of_the_last_full_extract(
    payer, extracts, tmp_path, whole_claims, superseded
):
    payer.changed = {**payer.changed, "claims": {"superseded": superseded}}
    payer.begin(full(extracts / "full0", 0))
    first = blocks(payer.release)
    for day in (1, 2, 3):
        name = f"delta{day}{'w' * whole_claims}"
        payer.run(delta(extracts / name, day, whole_claims=whole_claims))
        assert payer.release.manifest.facts.kind == "delta"
    loaded = replace(payer, target=tmp_path / "loaded")
    loaded.run(full(extracts / "full3", 3))
    assert blocks(payer.release) == blocks(loaded.release)
    assert blocks(payer.release) != first
    ours, theirs = payer.release.manifest, loaded.release.manifest
    assert ours.facts.totals == theirs.facts.totals
    assert ours.counts["resources"] == theirs.counts["resources"]
    assert verify(payer.release).ok


@pytest.mark.slow
def test_a_delta_sent_again_changes_no_patient(payer, extracts):
    payer.begin(full(extracts / "full0", 0))
    payer.run(delta(extracts / "delta1", 1))
    payer.run(delta(extracts / "delta2", 2))
    after = payer.release
    payer.run(delta(extracts / "delta1", 1))
    assert list(payer.release.all_units()) == list(after.all_units())
    changes = payer.release.manifest.counts["changes"]
    assert changes["patients"] == {"added": 0, "changed": 0, "retracted": 0}
    assert changes["resources"] == {}


@pytest.mark.slow
def test_rows_of_a_delta_that_change_nothing_are_told(payer, tmp_path):
    payer.run(extract(tmp_path / "full", "full", A=("2024-03-10", "", "100.00")))
    before = blocks(payer.release)
    older = extract(tmp_path / "older", "delta", A=("2024-01-10", "", "90.00"))
    (older / "claim_diagnosis.csv").write_text("claim_id,sequence,code\n")
    assert notes(payer.run(older)) == [
        "rows of the delta that change nothing, because they are older than the rows that they "
        "would change: 4 (member.csv, row 2; coverage.csv, row 2; claim.csv, row 2; "
        "claim_line.csv, row 2)"
    ]
    assert blocks(payer.release) == before
    deleting = extract(tmp_path / "deleting", "delta", A=("2024-04-10", "", "100.00"))
    (deleting / "claim.csv").write_text(
        "record_action,claim_id,member_id,claim_type\nD,Z,M1,\nD,A,M1,\n"
    )
    (deleting / "claim_line.csv").write_text("claim_id,line_number\n")
    (deleting / "claim_diagnosis.csv").write_text("claim_id,sequence,code\n")
    assert notes(payer.run(deleting)) == [
        "rows of the delta that change nothing, because the rows that they delete do not exist: "
        "1 (claim.csv, row 2)"
    ]


@pytest.mark.slow
def test_findings_name_the_extract_and_the_file_and_row_that_it_had(payer, tmp_path):
    rows = {"A": ("2024-03-10", "", "100.00"), "B": ("2024-03-10", "", "50.00")}
    payer.run(extract(tmp_path / "full", "full", **rows))
    update = extract(tmp_path / "delta", "delta", A=("2024-04-10", "", "90.00"))
    ran = payer.run(update)
    [report] = payer.target.glob(f"reports/{ran.release}/findings.csv.gz")
    with gzip.open(report, "rt") as text:
        lines = {
            (place["file"], place["row"])
            for place in csv.DictReader(text)
            if place["table"] == "claim_line"
        }
    full_lines = "full extract of 2024-03-10: claim_line.csv"
    assert lines == {(full_lines, "3"), ("delta extract of 2024-04-10: claim_line.csv", "2")}
    files = {file.name: file.rows for file in ran.reported.report.extract.files}
    assert (files["claim_line.parquet"], files[full_lines]) == (2, 1)


def notes(ran):
    """Return what the report says of the delta's rows."""
    return [note for note in ran.reported.report.notes if "delta" in note]


@pytest.mark.slow
def test_a_delta_needs_rows_that_were_kept(payer, extracts):
    payer.changed = {}
    with pytest.raises(UsageError, match="nothing has been published yet"):
        payer.run(delta(extracts / "delta1", 1))
    payer.run(full(extracts / "full0", 0))
    before = payer.files()
    with pytest.raises(UsageError, match=r"turn on publish\.deltas"):
        payer.run(delta(extracts / "delta1", 1))
    assert payer.files() == before


@pytest.mark.slow
def test_a_delta_over_damaged_rows_is_refused_and_a_full_extract_gets_through(payer, extracts):
    payer.begin(full(extracts / "full0", 0))
    release = payer.release
    reports = release.manifest.facts.reports
    rows = [payer.target / named.key for named in reports if named.key.startswith("rows/")]
    (listed,) = (path for path in rows if path.suffix == ".json")
    table = max(rows, key=lambda path: path.stat().st_size)
    whole = table.read_bytes()
    for path, damage in ((table, Path.unlink), (listed, lambda path: path.write_bytes(b"{}"))):
        damage(path)
        with pytest.raises(
            StoreError, match=rf"{path.name}.* it contains the rows .*, or publish a full extract"
        ):
            payer.run(delta(extracts / "delta1", 1))
        table.write_bytes(whole)
    assert payer.release.id == release.id
    payer.run(full(extracts / "full1", 1))
    assert verify(payer.release).ok


def test_a_delta_with_a_torn_row_is_not_applied_at_all(payer, extracts, tmp_path):
    payer.begin(full(extracts / "full0", 0))
    before = payer.release.id
    text = (delta(extracts / "delta1", 1) / "claim.csv").read_text(encoding="utf-8")
    torn = small_delta(tmp_path / "torn", "2026-01-01", claim=f"{text}one,two\n")
    with pytest.raises(DataRejected, match=r"\(claim.csv, row [0-9]+, rule ragged-row\)"):
        payer.run(torn)
    assert payer.release.id == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("claim", "DELETE,A,M1,professional"),
        ("claim_line", "x,A,1"),
        ("member", "-,M1"),
        ("prior_auth", "DELETE,P1,M1"),
        ("practitioner", "DELETED,1"),
    ],
)
def test_a_delta_with_an_unknown_record_action_is_not_applied_at_all(payer, tmp_path, table, line):
    payer.run(extract(tmp_path / "full", "full", A=("2024-03-10", "", "100.00")))
    before = payer.release.id
    changed = extract(tmp_path / "delta", "delta", A=("2024-04-10", "", "90.00"))
    columns = ["record_action", *TABLES[table].key, "member_id", "claim_type"]
    header = ",".join(columns[: line.count(",") + 1])
    (changed / f"{table}.csv").write_text(f"{header}\n{line}\n")
    position = rf"\({table}.csv, row 2, column record_action, rule record-action-unknown\)"
    with pytest.raises(DataRejected, match=position):
        payer.run(changed)
    assert payer.release.id == before


@pytest.mark.slow
def test_a_row_with_an_unknown_action_in_the_full_extract_stays_rejected(payer, tmp_path):
    rows = {"A": ("2024-03-10", "", "100.00"), "B": ("2024-03-10", "", "50.00")}
    whole = extract(tmp_path / "full", "full", **rows)
    header, first, *others = (whole / "claim.csv").read_text().splitlines()
    texts = [f"{header},record_action", f"{first},DELETE", *(f"{line},A" for line in others)]
    (whole / "claim.csv").write_text("\n".join(texts))
    payer.run(whole)
    assert claims(payer) == {"B"}
    ran = payer.run(extract(tmp_path / "delta", "delta", C=("2024-04-10", "", "90.00")))
    assert claims(payer) == {"B", "C"}
    assert findings(ran, "record-action-unknown") == 1


@pytest.mark.slow
def test_findings_of_reading_a_delta_are_reported_and_limited(payer, tmp_path):
    payer.run(extract(tmp_path / "full", "full", A=("2024-03-10", "", "100.00")))
    before = payer.release.id
    changed = extract(tmp_path / "delta", "delta", A=("2024-04-10", "", "90.00"))
    header, line = (changed / "claim.csv").read_text().splitlines()
    (changed / "claim.csv").write_text(f"{header},amount_deductable\n{line},5.00\n")
    (changed / "claim_noted.csv").write_text("claim_id\n")
    payer.changed = {**payer.changed, "limits": {"findings": {"unknown-column": 0}}}
    with pytest.raises(DataRejected, match="unknown-column"):
        payer.run(changed)
    assert payer.release.id == before
    payer.changed = {**payer.changed, "limits": {"findings": {"unknown-column": 1}}}
    expected = {
        ("unknown-column", "delta extract of 2024-04-10: claim.csv", "column 10"),
        ("unknown-file", "delta extract of 2024-04-10: claim_noted.csv", ""),
    }
    assert file_findings(payer, payer.run(changed)) == expected
    next_night = payer.run(extract(tmp_path / "next", "delta", A=("2024-05-10", "", "80.00")))
    assert file_findings(payer, next_night) == set()
    assert file_findings(payer, payer.run(changed)) == expected  # sent again


def file_findings(payer, ran):
    """Return the findings about whole files of a release's report."""
    [report] = payer.target.glob(f"reports/{ran.release}/findings.csv.gz")
    with gzip.open(report, "rt") as text:
        return {
            (finding["rule"], finding["file"], finding["column"])
            for finding in csv.DictReader(text)
            if finding["rule"].startswith("unknown-")
        }


@pytest.mark.slow
def test_a_claim_that_was_not_whole_in_the_full_extract_is_not_published_by_a_delta(
    payer, extracts, tmp_path
):
    torn = tmp_path / "torn"
    shutil.copytree(full(extracts / "full0", 0), torn)
    head, first, *rest = (torn / "claim_line.csv").read_text(encoding="utf-8").splitlines()
    (torn / "claim_line.csv").write_text("\n".join([head, f"{first},x", *rest]) + "\n")
    (torn / "manifest.json").write_text('{"layout": "cpcds", "as_of": "2026-01-01"}')
    claim = first.split(",")[head.split(",").index("claim_id")]
    payer.run(torn)
    assert claim not in claims(payer)
    header, member, *_ = (torn / "member.csv").read_text(encoding="utf-8").splitlines()
    payer.run(small_delta(tmp_path / "update", "2026-02-01", member=f"{header}\n{member}\n"))
    assert payer.release.manifest.facts.kind == "delta"
    assert claim not in claims(payer)
    assert claims(payer)


def claims(payer):
    """Return the numbers of the claims that readers see."""
    return {
        one["identifier"][0]["value"]
        for one in published(payer.target)
        if one["resourceType"] == "ExplanationOfBenefit"
    }
