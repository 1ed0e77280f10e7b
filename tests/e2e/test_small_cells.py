"""One claim in quarantine: its amounts are nowhere but in the quarantine, and still add up."""

import gzip
import json
from decimal import Decimal
from stat import S_IMODE

import pytest

from tests.e2e.commands import (
    NO_SUITES,
    SAMPLES,
    columns_of,
    copied,
    cpcds,
    done,
    rows_of,
    write_rows,
)

AMOUNT, OF_LINE = "918273.64", "918271.11"
WRITTEN = ("918273", "918,273", "918271", "918,271")
"""The amounts as a page could write them, with cents or without."""


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    """The samples, one claim of which has a date that cannot be read."""
    folder = copied(SAMPLES, tmp_path_factory.mktemp("small-cells") / "in")
    claims, lines = rows_of(folder / "claim.csv"), rows_of(folder / "claim_line.csv")
    chained = ("adjusted_from_claim_id", "adjusted_to_claim_id")
    found = next(
        row
        for row in claims
        if row["claim_type"] == "oral" and not any(row[name] for name in chained)
    )
    found |= {"statement_from_date": "no day", "amount_submitted": AMOUNT}
    line = next(row for row in lines if row["claim_id"] == found["claim_id"])
    line["amount_submitted"] = OF_LINE
    for name, rows in (("claim", claims), ("claim_line", lines)):
        write_rows(folder / f"{name}.csv", columns_of(folder / f"{name}.csv"), rows)
    return folder


def texts(folder):
    """Return every file of a folder as text."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            found[path.name] = data.decode("utf-8", "replace")
    return found


def check_report(report, quarantine, *printed):
    """Look for the amounts in a report and what else was printed, and for the sums beside it."""
    shown = {**texts(report), **{f"printed {at}": text for at, text in enumerate(printed)}}
    assert {"report.json", "index.html"} <= shown.keys()
    for name, text in shown.items():
        assert not [amount for amount in WRITTEN if amount in text], name
    told = json.loads(shown["report.json"])
    assert told["tables"]["claim"]["quarantined"] == 1
    check = told["money_check"]
    assert check["adds_up"] is True
    assert check["compared"] == len(told["money"]) > 100
    assert "✗" not in shown["index.html"]
    assert f"{check['compared']} sums of the source compared" in shown["index.html"]
    assert "A sum over 1 to 10 claims could reveal a person's amounts" in shown["index.html"]
    oral = {"claim_type": "oral", "category": "submitted"}
    cells = [each for each in told["money"] if oral.items() <= each.items()]
    assert {each["level"] for each in cells} == {"header", "lines"}
    for each in cells:
        assert each["source"] is each["quarantined"] is None
        assert Decimal(each["published"]) > 0
    exact = quarantine / "sums" / "money.csv"
    assert (report / check["exact"]).samefile(exact)
    assert S_IMODE(exact.stat().st_mode) == 0o600
    by_cell = {(row["level"], row["claim_type"], row["category"]): row for row in rows_of(exact)}
    header = by_cell["header", "oral", "submitted"]
    assert header["quarantined"] == AMOUNT
    assert header["quarantined_claims"] == "1"
    assert header["adds_up"] == "yes"
    parts = ("published", "quarantined", "superseded")
    assert Decimal(header["source"]) == sum(Decimal(header[name]) for name in parts)
    assert len(by_cell) == check["compared"]


@pytest.mark.slow
def test_the_amounts_of_one_claim_in_quarantine_are_nowhere_in_what_a_run_says(extract, tmp_path):
    target, log = tmp_path / "tree", tmp_path / "night.log"
    called = done(cpcds("run", extract, "--to", target, "--log", log, "--json"))
    release = json.loads(called.out)["release"]
    check_report(
        target / "reports" / release,
        target / "quarantine" / release,
        called.out,
        called.err,
        log.read_text("utf-8"),
        (target / "current.json").read_text("utf-8"),
        *(path.read_text("utf-8") for path in (target / "releases").rglob("*.json")),
    )


def test_a_payer_may_show_every_sum(extract, tmp_path):
    every = {"CPCDS_REPORT__SMALL_CELLS": "0", **NO_SUITES}
    done(cpcds("validate", extract, "--report", tmp_path, **every))
    told = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert AMOUNT in {each["quarantined"] for each in told["money"]}
    assert told["money_check"]["withheld"] == 0
    assert told["money_check"]["exact"] is None
    assert not (tmp_path / "quarantine" / "sums").exists()
