"""`cpcds doctor` and `cpcds layouts`, as a user calls them on files that no layout knows."""

import csv
import json
import shutil

import pytest

from tests.e2e.commands import ROOT, SAMPLES, cpcds, done

PARTS = ROOT / "tests/golden/doctor/parts/extract"
NAMES = {"member": "persons", "coverage": "policies", "claim": "bills", "claim_line": "items"}


def respelt(folder, ending="csv"):
    """Write the samples with other names of files, headers and delimiter."""
    folder.mkdir()
    for table, name in NAMES.items():
        with (SAMPLES / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        with (folder / f"{name}.{ending}").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter="|", lineterminator="\n")
            writer.writerow([f"SRC {word.replace('_', ' ').upper()}" for word in header])
            writer.writerows(rows)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "txt"])
def test_the_first_day_with_an_unknown_extract_until_its_claims_are_valid(tmp_path, ending):
    extract = respelt(tmp_path / "in", ending)
    refused = cpcds("validate", extract, "--report", tmp_path / "no")
    assert refused.code == 2
    assert f"bills.{ending} has | between its cells" in refused.err
    assert f"`cpcds doctor {extract}`" in refused.err
    layouts = tmp_path / "own" / "layouts"
    layouts.mkdir(parents=True)
    told = done(cpcds("doctor", extract, "--write", layouts / "mine.yaml"))
    assert f"persons.{ending}: members" in told.out
    assert "missing" not in told.out
    checked = done(cpcds("layouts", "check", layouts / "mine.yaml"))
    assert checked.out.endswith("no mistakes\n")
    text = (layouts / "mine.yaml").read_text(encoding="utf-8")
    (tmp_path / "odd.yaml").write_text(text.replace("birth_date:", "birth_dat:"))
    assert cpcds("layouts", "check", tmp_path / "odd.yaml").code == 3
    assert cpcds("layouts", "check", tmp_path / "gone.yaml").code == 2
    same = tmp_path / "same"
    same.mkdir()
    for table in NAMES:
        shutil.copy(SAMPLES / f"{table}.csv", same)
    counts = []
    for options, folder in (((), same), (("--mappings", tmp_path / "own"), extract)):
        command = (*options, "validate", folder, "--report", tmp_path / "report", "--json")
        tables = json.loads(done(cpcds(*command)).out)["tables"]
        counts.append([tables[table] for table in NAMES])
    assert counts[1] == counts[0]
    assert tables["claim"]["published"] > 100


def test_a_layout_that_is_there_is_not_overwritten(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("layout: edited\n")
    called = cpcds("layouts", "init", PARTS, "--write", path)
    assert called.code == 2
    assert "already exists" in called.err
    assert path.read_text() == "layout: edited\n"


@pytest.mark.parametrize("extract", ["gs://bucket/extract", "gone"])
def test_what_cannot_be_read_is_refused(extract):
    called = cpcds("doctor", extract)
    assert called.code == 2
    assert called.err.startswith("error: ")


def test_layouts_show_prints_a_layout_and_those_that_it_extends():
    told = done(cpcds("layouts", "show", "onyx-b"))
    files = [line for line in told.out.splitlines() if line.startswith("# layouts/")]
    assert files == [f"# layouts/{name}.yaml" for name in ("onyx-b", "synthea-members")]
    assert "extends: synthea-members" in told.out
    called = cpcds("layouts", "show", "onyx-c")
    assert (called.code, called.err) == (2, "error: no layout 'onyx-c'; did you mean 'onyx-b'?\n")
