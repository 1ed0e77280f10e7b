"""The report adds up, finds every planted fault, keeps rejected rows whole, and tells no secret."""

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.commands import (
    SAMPLES,
    Called,
    columns_of,
    copied,
    cpcds,
    current_release,
    done,
    rows_of,
    texts_of,
    write_rows,
)
from tests.given.tables import read_tables
from tests.unit.reports.test_answers import answers

FAULTY = SAMPLES / "faulty"
ANY_SHARE = {"CPCDS_LIMITS__REJECTED_CLAIMS": "1"}
"""A run of marked rows, most of which are rejected, is to publish all the same."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of an extract, and where its files are."""

    extract: Path
    target: Path
    called: Called
    log: Path

    @property
    def release(self):
        return current_release(self.target)

    @property
    def report(self):
        path = self.target / "reports" / self.release / "report.json"
        return json.loads(path.read_text())

    @property
    def quarantine(self):
        folder = self.target / "quarantine" / self.release
        return {path.name: rows_of(path) for path in sorted(folder.glob("*.csv"))}


def run_of(extract, folder, **environment):
    target, log = folder / "target", folder / "night.log"
    called = cpcds(*("run", extract, "--to", target, "--log", log, "--workers", "1"), **environment)
    return Run(extract, target, done(called), log)


@pytest.fixture(scope="session")
def faulty(tmp_path_factory):
    """A run of the samples with planted faults, cut into several partitions."""
    return run_of(FAULTY, tmp_path_factory.mktemp("faulty"), CPCDS_RUN__PARTITION_ROWS="300")


def test_every_row_is_published_superseded_or_in_quarantine_as_it_was(faulty):
    report, quarantine = faulty.report, faulty.quarantine
    for name, counts in report["tables"].items():
        fates = counts["published"] + counts["quarantined"] + counts["superseded"]
        assert counts["in"] == fates == len(rows_of(FAULTY / f"{name}.csv")), name
    assert len(report["tables"]) == len(list(FAULTY.glob("*.csv"))) - 1  # the ledger
    said = {Path(one["path"]).name: one["rows"] for one in report["quarantine"]}
    assert said == {name: len(rows) for name, rows in quarantine.items()}
    assert sum(said.values()) == sum(one["quarantined"] for one in report["tables"].values()) > 100
    for name in (name for name in quarantine if ".ragged." not in name):
        source = rows_of(FAULTY / name)
        for row in quarantine[name]:
            number, rules = row.pop("cpcds_row"), row.pop("cpcds_rules")
            assert (row, rules != "") == (source[int(number) - 2], True), (name, number)


@pytest.mark.slow
def test_each_word_that_a_crosswalk_does_not_know_is_listed_with_its_cells_and_places(tmp_path):
    """Words of several partitions are told apart, blanks and case aside; none is shown."""
    extract = copied(SAMPLES, tmp_path / "in")
    path = extract / "claim.csv"
    rows = rows_of(path)
    pharmacy = [at for at, row in enumerate(rows) if row["claim_type"] == "pharmacy"]
    written = {"qzxdaw": pharmacy[:3], " QZXDAW": pharmacy[3:5], "qzxother": pharmacy[5:9]}
    for word, places in written.items():
        for at in places:
            rows[at]["daw_code"] = word
    write_rows(path, columns_of(path), rows)
    report = run_of(extract, tmp_path, CPCDS_RUN__PARTITION_ROWS="300").report
    found = [one for one in report["unmapped"] if one["crosswalk"] == "daw_code"]
    assert [one["count"] for one in found] == [5, 4]
    lines = [[place["row"] for place in one["examples"]] for one in found]
    assert lines == [[at + 2 for at in pharmacy[:5]], [at + 2 for at in pharmacy[5:9]]]
    assert {place["column"] for one in found for place in one["examples"]} == {"daw_code"}
    assert "qzx" not in json.dumps(report).lower()


@pytest.mark.slow
def test_a_word_without_a_code_may_reject_its_claim(tmp_path):
    extract = copied(SAMPLES, tmp_path / "in")
    for path in extract.glob("prior_auth*.csv"):
        path.unlink()  # CDT is such a word of theirs
    path = extract / "claim.csv"
    rows = rows_of(path)
    oral = [at for at, row in enumerate(rows) if row["claim_type"] == "oral"]
    for at in oral[:2]:
        rows[at] |= {"rendering_network_status": "other", "billing_network_status": "innetwork"}
    write_rows(path, columns_of(path), rows)
    strict = '{"word-without-code": "reject-claim"}'
    run = run_of(extract, tmp_path, CPCDS_RULES__SEVERITIES=strict)
    (told,) = (one for one in run.report["rules"] if one["rule"] == "word-without-code")
    assert [place["row"] for place in told["examples"]] == [at + 2 for at in oral[:2]]
    assert {place["column"] for place in told["examples"]} == {"rendering_network_status"}
    assert told["rejected_rows"] == sum(map(len, run.quarantine.values())) > 2
    assert run.report["unmapped"] == []
    claims = {row["claim_id"] for row in run.quarantine["claim.csv"]}
    assert claims == {rows[at]["claim_id"] for at in oral[:2]}


ANSWERS = Path(__file__).parents[1] / "golden/reports/planted-faults.csv"
"""What somebody who saw the first screen alone, and no file, answered."""


def figures(report):
    """Return the right answers, from `report.json` alone."""
    claims, check = report["tables"]["claim"], report["money_check"]
    causes = [each for each in report["rules"] if each["rejected_rows"]]
    worst = max(causes, key=lambda each: (each["rejected_claims"], each["rejected_rows"]))
    [billed] = [
        each["quarantined"]
        for each in report["money_totals"]
        if (each["level"], each["category"]) == ("header", "submitted")
    ]
    unfilled = [each for one in report["must_support"] for each in one["unfilled"].values()]
    return {
        "How many claims came in?": claims["in"],
        "How many claims were published?": claims["published"],
        "How many claims were rejected?": claims["quarantined"],
        "How many rules rejected something?": len(causes),
        "How many rows are in quarantine?": sum(each["rejected_rows"] for each in causes),
        "Which rule cost most claims?": worst["rule"],
        "At how many places did that rule find something?": worst["findings"],
        "How many sums were compared?": check["compared"],
        "Does each agree to the cent?": "Yes" if check["adds_up"] else "No",
        "How much was billed by claims that were rejected?": f"{Decimal(billed):,}",
        "How many facts of the published bytes were compared?": report["certificate"]["facts"],
        "How many required values are missing?": sum(each["cells"] for each in report["missing"]),
        "Of which column are most missing?": report["missing"][0]["table"],
        "How many must-support elements are there?": sum(
            len(each["filled"]) for each in report["must_support"]
        ),
        "How many could be filled and are not?": sum(each["can_be"] for each in unfilled),
        "As of which day is it?": report["extract"]["as_of"],
    }


def test_what_a_reader_of_the_first_screen_wrote_down_is_what_the_report_says(faulty):
    page = faulty.target / "reports" / faulty.release / "index.html"
    sections, right = answers(page.read_text(encoding="utf-8")), figures(faulty.report)
    written = rows_of(ANSWERS)
    assert [each["question"] for each in written] == list(right)
    for each in written:
        answer, fact = each["answer"], right[each["question"]]
        assert answer == (f"{fact:,}" if isinstance(fact, int) else fact), each["question"]
        assert re.search(rf"(?<![\d,.]){re.escape(answer)}(?!,?\d)", sections[each["section"]])


# -- secrets and the network -------------------------------------------------------------------

_MARKED = read_tables(__file__)["marked"]
_MARK = "Qzx"


def marked(extract):
    """Write marks into cells of every kind, right and wrong ones; return the ids that are there."""
    secrets: set[str] = set()
    for table, columns in _MARKED.items():
        path = extract / f"{table}.csv"
        names = columns_of(path)
        rows = [{name: row[name] for name in names} for row in rows_of(path)]
        for number, row in enumerate(rows):
            for at, column in enumerate(columns):
                # One odd cell a row, so that some rows are rejected and others only warned of.
                if row[column] and (number + at) % 4 == 0:
                    row[column] = f"{_MARK}{number}{column}"
            secrets |= {row[name] for name in ("member_id", "claim_id") if row.get(name)}
        if table == "member":
            secrets |= {row["birth_date"] for row in rows}
            ragged = [*rows[0].values(), f"{_MARK}ragged"]
        write_rows(path, names, rows)
        if table == "member":
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(ragged)
    return {one for one in secrets if len(one) > 5}


@pytest.fixture(scope="session")
def told(tmp_path_factory):
    """A run of an extract with marks in it, suites and Data Docs included."""
    folder = tmp_path_factory.mktemp("told")
    extract = copied(FAULTY, folder / "extract")
    (extract / "faults.csv").unlink()
    secrets = marked(extract)
    return run_of(extract, folder, CPCDS_REPORT__GX_ROWS="100000", **ANY_SHARE), secrets


CLOSED = ("quarantine/", "patients/", "directory/", "bulk/", ".")


def shown(run):
    """Return every text that a run shows to somebody who may not see members' data."""
    texts = {"stdout": run.called.out, "stderr": run.called.err, "log": run.log.read_text()}
    files = texts_of(run.target)
    return texts | {name: files[name] for name in files if not name.startswith(CLOSED)}


@pytest.mark.slow
def test_no_value_of_a_member_is_shown(told):
    run, secrets = told
    # What is hidden was there to be shown.
    assert any(_MARK in str(row) for rows in run.quarantine.values() for row in rows)
    assert sum(one["findings"] for one in run.report["rules"]) > 500
    texts = shown(run)
    assert any(name.endswith("data-docs/member.html") for name in texts)
    assert texts["log"].count("\n") > 3
    assert len(secrets) > 100
    leaked = {
        (name, secret)
        for name, text in texts.items()
        for secret in (_MARK, *secrets)
        if secret.lower() in text.lower()
    }
    assert leaked == set()


@pytest.mark.slow
def test_links_of_the_report_lead_to_files_that_are_there(told):
    run, _ = told
    folder = run.target / "reports" / run.release
    pages = list(folder.rglob("*.html"))
    for page in pages:
        for link in re.findall(r'href="([^"#:]+)"', page.read_text(encoding="utf-8")):
            assert (page.parent / link).resolve().exists(), (page.name, link)


def test_every_place_of_every_finding_stands_beside_the_report(faulty):
    folder = faulty.target / "reports" / faulty.release
    path = folder / faulty.report["findings_file"]
    assert path.stat().st_mode & 0o777 == 0o600
    found = Counter(place["rule"] for place in rows_of(path))
    assert found == {each["rule"]: each["findings"] for each in faulty.report["rules"]}
