"""The quality of a directory, from its files to its report: figures written down by hand."""

import json
import re
from collections import Counter
from typing import Any

import pytest

from tests.e2e.commands import ANY_CHANGE, cpcds, current_release, done, rows_of
from tests.e2e.directories import directory_rows, write_directory
from tests.given.tables import read_tables
from tests.unit.reports.test_answers import answers

Json = dict[str, Any]


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """The folder of the report."""
    folder = tmp_path_factory.mktemp("quality")
    extract = write_directory(folder / "in", directory_rows("spoiled"))
    done(cpcds("validate", extract, "--report", folder / "out"))
    return folder / "out" / "report"


@pytest.fixture(scope="module")
def figures(checked):
    return json.loads((checked / "report.json").read_text("utf-8"))["directory"]


def test_the_rows_behind_each_figure_are_listed(checked, figures):
    assert figures["places"] == "directory-quality.csv.gz"
    listed = rows_of(checked / figures["places"])
    assert set(listed[0]) == {"file", "row", "table", "figure", "group"}
    places: dict[str, list[list[Any]]] = {}
    for row in listed:
        places.setdefault(row["figure"], []).append([row["file"], int(row["row"])])
    assert places.pop("undated")
    assert places == read_tables(__file__)["places"]


def test_the_page_answers_in_its_first_screen_and_speaks_of_no_claims(checked, figures):
    page = (checked / "index.html").read_text("utf-8")
    told = answers(page)
    assert tuple(told) == ("how-many", "why", "accounts", "changed", "missing", "current")
    assert "1 of 34 rows (2.9 %)" in told["how-many"]
    assert "directory-plan-without-network" in told["why"]
    assert "Yes: all rows of 8 tables are accounted for" in told["accounts"]
    assert "34 rows = 33 accepted + 1 rejected + 0 superseded + 0 withdrawn" in told["accounts"]
    assert "1 required value missing" in told["missing"]
    assert "2 practitioners and 2 organizations are in no network" in told["accounts"]
    assert "1 practitioner in no role" in told["accounts"]
    assert "4 impossible addresses , 5 entries appear to be duplicated" in told["accounts"]
    assert "As of 2026-11-01" in told["current"]
    assert "31 to 90 days before 2" in told["current"]
    assert "22 gaps in the data that people search for , most of them found by" in told["missing"]
    assert f'href="{figures["places"]}"' in page
    words = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.findall(r"(?i)\b(?:claims?|members?|money|cents?|MapID|amounts?)\b", words)


def test_a_target_of_a_directory_counts_what_it_published_once_and_shows_its_nights(tmp_path):
    target = tmp_path / "target"
    rows = directory_rows("spoiled")
    done(cpcds("run", write_directory(tmp_path / "in", rows), "--to", target, **ANY_CHANGE))
    rows["practitioner"] = rows["practitioner"][:5]
    done(cpcds("run", write_directory(tmp_path / "in", rows), "--to", target, **ANY_CHANGE))
    release = current_release(target)
    folder = target / "reports" / release
    report = json.loads((folder / "report.json").read_text("utf-8"))
    by_type: Counter[str] = Counter()
    for profile in report["must_support"]:
        by_type[next(iter(profile["filled"])).partition(".")[0]] += profile["resources"]
    assert by_type == report["resources"]
    told = answers((folder / "index.html").read_text("utf-8"))
    assert "0 added, 0 changed, 1 retracted" in told["changed"]
    assert "Practitioner 0 0 1" in told["changed"]
    every = (target / "reports" / "index.html").read_text("utf-8")
    words = re.sub(r"<style>.*?</style>|<[^>]*>", " ", every, flags=re.DOTALL)
    assert "rows in" in words
    assert "entries over 90 days old" in words
    assert not re.findall(r"(?i)\b(?:claims?|members?|money|every cent)\b", words)
