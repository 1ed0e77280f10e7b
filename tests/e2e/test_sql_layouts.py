"""Layouts in SQL from the command line: found, named, shown, checked and drafted."""

import json
import shutil
from collections import Counter

import pytest

from tests.e2e.commands import ROOT, blocks, cpcds, done, rows_of

GOLDEN = ROOT / "tests/golden/layouts"
RIF = GOLDEN / "cms-rif-synthea/input"
ANY_SHARE = {"CPCDS_LIMITS__REJECTED_CLAIMS": "1", "CPCDS_LIMITS__REJECTED_MEMBERS": "1"}


def tables_of(*arguments):
    out = cpcds("validate", *arguments, "--json", "--workers", "1", **ANY_SHARE)
    return json.loads(out.out)["tables"]


@pytest.mark.slow
def test_a_folder_is_of_a_layout_in_sql_by_its_files_by_name_and_by_its_own_queries(tmp_path):
    found = tables_of(RIF, "--report", tmp_path / "report")
    assert found["claim"]["in"] == 8
    rejected = rows_of(tmp_path / "report/quarantine/claim_line.csv")
    assert {"source_file", "source_row"} <= rejected[0].keys()
    assert rejected[0]["source_file"].endswith(".csv")
    named = tables_of(RIF, "--layout", "cms-rif-synthea", "--report", tmp_path / "named")
    assert named == found
    shutil.copytree(RIF, tmp_path / "own")
    shutil.copytree(ROOT / "mappings/layouts/cms-rif-synthea", tmp_path / "own", dirs_exist_ok=True)
    assert tables_of(tmp_path / "own", "--report", tmp_path / "by-its-own-toml") == found


@pytest.mark.slow
def test_findings_and_explain_name_the_files_and_rows_of_the_payer(tmp_path):
    tree, files = tmp_path / "tree", {path.name for path in RIF.iterdir()}
    done(cpcds("run", RIF, "--to", tree, "--workers", "1", **ANY_SHARE))
    [report] = tree.glob("reports/*/report.json")
    rows = {one["name"]: one["rows"] for one in json.loads(report.read_text())["extract"]["files"]}
    assert (rows["inpatient.csv"], rows["result of claim.sql"]) == (2, 8)
    assert {place["file"] for place in rows_of(report.with_name("findings.csv.gz"))} <= files
    shown = done(cpcds("explain", tree, "claim:-11", "--extract", RIF)).out
    assert "from inpatient.csv row 2, claim.claim_id = -11\n    computed by claim.sql" in shown
    assert (
        "comes from row 2 of beneficiary_history.csv"
        in cpcds("explain", tree, "--row", "beneficiary_history.csv:2", "--extract", RIF).err
    )


@pytest.mark.slow
def test_prior_authorizations_follow_the_claims_of_the_same_warehouse_as_a_delta(tmp_path):
    """Of layouts that fit the one that reads most files counts; another one has to be named."""
    folder, tree = tmp_path / "in", tmp_path / "tree"
    shutil.copytree(GOLDEN / "cms-idr/input", folder)
    shutil.copy(GOLDEN / "cms-prauc/input/SYNTHETIC_PRAUC.csv", folder)
    kept = {**ANY_SHARE, "CPCDS_PUBLISH__DELTAS": "true"}
    called = done(cpcds("run", folder, "--to", tree, "--workers", "1", "--json", **kept))
    claims = json.loads(called.out)["tables"]
    assert claims["claim"]["published"] > 0
    assert "prior_auth" not in claims
    (folder / "manifest.json").write_text('{"kind": "delta", "layout": "cms-prauc"}')
    called = done(cpcds("run", folder, "--to", tree, "--workers", "1", "--json", **kept))
    tables = json.loads(called.out)["tables"]
    assert tables["claim"] == claims["claim"]
    # The two of the member; -A3 and -A4 are of others, -A5 says two things, -A6 has no known type.
    assert (tables["prior_auth"]["in"], tables["prior_auth"]["published"]) == (7, 2)
    uses = [Counter(one.get("use") for one in lines) for _, lines in blocks(tree)]
    [of_member] = [counted for counted in uses if counted["preauthorization"]]
    assert of_member["preauthorization"] == 2
    assert of_member["claim"] == claims["claim"]["published"]


@pytest.mark.slow
def test_of_two_layouts_in_sql_that_fit_one_must_be_named(tmp_path):
    own, report = tmp_path / "own/layouts", ("--report", tmp_path / "report")
    for name in ("cms-rif-synthea", "own-rif"):  # the first takes the place of the shipped one
        shutil.copytree(ROOT / "mappings/layouts/cms-rif-synthea", own / name)
    called = cpcds("--mappings", own.parent, "validate", RIF, *report, **ANY_SHARE)
    assert called.code == 2
    assert "fits the layouts cms-rif-synthea and own-rif; choose one with --layout" in called.err
    named = ("--layout", "own-rif", *report)
    assert cpcds("--mappings", own.parent, "validate", RIF, *named, **ANY_SHARE).code == 0
    shutil.rmtree(own / "own-rif")
    assert cpcds("--mappings", own.parent, "validate", RIF, *report, **ANY_SHARE).code == 0


def test_a_layout_cannot_be_named_for_an_extract_with_its_own_queries(tmp_path):
    shutil.copytree(RIF, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "mappings/layouts/cms-rif-synthea", tmp_path, dirs_exist_ok=True)
    for extract in (tmp_path, tmp_path / "extract.toml"):
        called = cpcds("validate", extract, "--layout", "cms-prauc", "--report", tmp_path / "x")
        assert called.code == 2
        assert "--layout cms-prauc doesn't apply: extract.toml has its own queries" in called.err


def test_layouts_in_sql_are_listed_and_shown():
    assert "cms-rif-synthea: Medicare RIF" in done(cpcds("layouts")).out
    shown = done(cpcds("layouts", "show", "cms-rif-synthea")).out
    assert "# layouts/cms-rif-synthea/extract.toml" in shown
    assert "CLM_ID as claim_id" in shown


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('[files.claim]\ndelta = "x"\n', 2, "has no [tables] and names no layout"),
        ('layout = "cpcd"\n[files.claim]\ndelta = "x"\n', 2, "did you mean 'cpcds'"),
        ('layout = "cpcds"\n[files.claim]\ndelta = "x"\n', 0, "compared with layout cpcds when"),
    ],
)
def test_an_extract_toml_without_queries_is_checked_by_its_layout(tmp_path, text, code, said):
    (tmp_path / "extract.toml").write_text(text)
    called = cpcds("layouts", "check", tmp_path / "extract.toml")
    assert called.code == code
    assert said in called.out + called.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tuva-input", "cms-idr", "onyx-b"])
def test_the_doctor_drafts_queries_that_can_be_bound(name, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(GOLDEN / name / "input", folder)
    assert "extract.toml" in done(cpcds("doctor", folder, "--write", "sql")).out
    said = done(cpcds("layouts", "check", folder / "extract.toml")).out
    assert "no mistakes" in said
    drafted = "".join(path.read_text() for path in folder.glob("sql/*.sql"))
    assert "-- MISSING" in drafted
    # Both positions are those of one row, even if a claim is in several files.
    assert "min_by(_file, _row) as _file,\n    min(_row) as _row" in drafted
    again = cpcds("doctor", folder, "--write", "sql")
    assert again.code == 2
    assert "already exists" in again.err
