"""Findings as `cpcds validate --format` prints them, beside the file of the report."""

import json
from collections import Counter

import pytest

from tests.e2e.commands import SAMPLES, cpcds, done, rows_of

FAULTY = SAMPLES / "faulty"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Format -> what was printed; `rows`: of the report's own file."""
    folder = tmp_path_factory.mktemp("findings")
    command = ("validate", FAULTY, "--report", folder, "--format")
    found = {form: done(cpcds(*command, form)).out for form in ("text", "json", "sarif")}
    return found | {"rows": rows_of(folder / "report" / "findings.csv.gz")}


def test_each_finding_is_a_line_that_begins_with_its_place(printed):
    lines = printed["text"].splitlines()
    assert len(lines) == len(printed["rows"]) > 400
    for line, row in zip(lines, printed["rows"], strict=True):
        place = ":".join(filter(None, (row["file"], row["row"], row["column"])))
        assert line.startswith(f"{FAULTY}/{place}: ")
        assert f" {row['rule']}: " in line


def test_json_has_each_finding_with_its_severity(printed):
    listed = json.loads(printed["json"])
    assert [(each["row"], each["rule"]) for each in listed] == [
        (int(row["row"]) if row["row"] else None, row["rule"]) for row in printed["rows"]
    ]
    assert {each["severity"] for each in listed} == {"warn", "reject-row", "reject-claim"}


def test_sarif_has_each_finding_as_a_result_of_a_rule_that_it_describes(printed):
    (run,) = json.loads(printed["sarif"])["runs"]
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert Counter(each["ruleId"] for each in run["results"]) == Counter(
        row["rule"] for row in printed["rows"]
    )
    for result in run["results"]:
        assert result["level"] == rules[result["ruleId"]]["defaultConfiguration"]["level"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"].endswith(".csv")


def test_a_clean_extract_has_an_empty_log(small, tmp_path):
    called = done(cpcds("validate", small, "--report", tmp_path, "--format", "json"))
    assert json.loads(called.out) == []


def test_a_format_and_the_summary_exclude_each_other(small):
    called = cpcds("validate", small, "--format", "sarif", "--json")
    assert called.code == 2
    assert "--json prints the summary" in called.sentence
