"""`cpcds layouts test`, as the author of a layout uses it, and what the layout is for."""

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from etl.cli import main
from tests.e2e.commands import ROOT, cpcds, done, rows_of
from tests.given.tables import table

CASE = ROOT / "tests/golden/layouts/records"


@pytest.fixture
def layout(tmp_path):
    """A layout file of one's own with its samples beside it."""
    shutil.copytree(CASE / "input", tmp_path / "dock/input")
    shutil.copy(CASE / "expected.ndjson", tmp_path / "dock")
    return Path(shutil.copy(CASE / "layout.yaml", tmp_path / "dock.yaml"))


def test_sample_rows_that_become_what_is_expected_are_shown(layout):
    told = done(cpcds("layouts", "test", layout))
    assert "\nclaim\n    claims_0105.dat#claims:2  claim_id=C0001  claim_type=profess" in told.out
    assert told.out.endswith(f"14 rows and findings of {layout.with_suffix('')}: as expected\n")
    said = json.loads(done(cpcds("layouts", "test", layout, "--json")).out)
    assert (said["layout"], len(said["rows"]), said["differences"]) == ("dock", 14, [])


def test_differences_are_coloured_and_end_with_exit_code_4(layout):
    text = layout.read_text().replace("full_name: Whole name", "family_name: Whole name")
    layout.write_text(text)
    expected = layout.with_suffix("") / "expected.ndjson"
    rows = expected.read_text().splitlines(keepends=True)
    expected.write_text("".join(rows[1:]) + rows[-1])
    told = CliRunner().invoke(main, ["layouts", "test", str(layout)], color=True)
    assert told.exit_code == 4
    assert "14 rows and findings of " in told.stderr
    assert ": 4 differ from " in told.stderr
    out = told.stdout
    assert click.style("  + members.txt:1  member_id=M001", fg="green")[:-4] in out
    assert "  ~ members.txt:2\n" in out
    assert f"family_name: {click.style('-', fg='red')} {click.style('+Oh, Bo', fg='green')}" in out
    assert f"full_name: {click.style('-Oh, Bo', fg='red')} {click.style('+', fg='green')}" in out
    assert click.style("expected, but missing", bold=True) in out
    said = json.loads(cpcds("layouts", "test", layout, "--json").out)
    assert [(d["expected"] is None, d["found"] is None) for d in said["differences"]] == [
        (True, False),
        (False, False),
        (False, False),
        (False, True),
    ]


def test_rows_are_kept_with_write_and_are_expected_from_then_on(layout):
    expected = layout.with_suffix("") / "expected.ndjson"
    before = expected.read_text()
    expected.unlink()
    told = cpcds("layouts", "test", layout)
    assert told.code == 4
    assert "check the rows, and save them with --write" in told.err
    assert not expected.exists()
    assert "written to" in done(cpcds("layouts", "test", layout, "--write")).out
    assert expected.read_text() == before
    done(cpcds("layouts", "test", layout))


def test_a_layout_of_a_folder_of_ones_own_is_tested_by_its_name(layout, tmp_path):
    (tmp_path / "own").mkdir()
    shutil.move(tmp_path / "dock", tmp_path / "own/layouts/dock")
    shutil.move(layout, tmp_path / "own/layouts/dock.yaml")
    own = ("--mappings", tmp_path / "own")
    done(cpcds(*own, "layouts", "test", "dock"))
    done(cpcds("layouts", "test", "onyx-b", "--samples", ROOT / "tests/golden/layouts/onyx-b"))


@pytest.mark.parametrize(*table(__file__, "untestable"))
def test_what_cannot_be_tested_is_named(layout, code, sentence):
    told = cpcds("layouts", "test", layout)
    assert (told.code, sentence in told.err) == (code, True), told.err


def test_mistakes_of_the_layout_and_of_the_expected_rows_are_named(layout):
    expected = layout.with_suffix("") / "expected.ndjson"
    expected.write_text("[]\n")
    told = cpcds("layouts", "test", layout)
    assert (told.code, "expected.ndjson:1: not a JSON object" in told.err) == (2, True)
    layout.write_text(layout.read_text().replace("title:", "titel:"))
    told = cpcds("layouts", "test", layout)
    assert (told.code, "did you mean 'title'" in told.err) == (3, True)


@pytest.mark.slow
def test_records_of_one_file_have_a_quarantine_each(layout, tmp_path):
    (tmp_path / "own/layouts").mkdir(parents=True)
    shutil.move(layout, tmp_path / "own/layouts/dock.yaml")
    own = ("--mappings", tmp_path / "own")
    done(cpcds(*own, "validate", CASE / "input", "--report", tmp_path / "report"))
    quarantine = tmp_path / "report/quarantine"
    counts = {path.name: len(rows_of(path)) for path in sorted(quarantine.glob("*.csv"))}
    assert counts == {
        "claims_0105-claims.csv": 3,
        "claims_0105-lines.csv": 4,
        "claims_0105-lines.ragged.csv": 1,
        "members.csv": 1,
        "policies-policies.csv": 1,
    }
    (ragged,) = rows_of(quarantine / "claims_0105-lines.ragged.csv")
    assert (ragged["cpcds_row"], ragged["text"]) == ("10", "20C0003002000000000 ")
