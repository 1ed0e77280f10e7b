"""One claim in quarantine: its amounts are nowhere but in the quarantine, and still add up."""

import json
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
    texts_of,
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


@pytest.mark.slow
def test_the_amounts_of_one_claim_in_quarantine_are_nowhere_in_what_a_run_says(extract, tmp_path):
    target, log = tmp_path / "tree", tmp_path / "night.log"
    called = done(cpcds("run", extract, "--to", target, "--log", log, "--json"))
    release = json.loads(called.out)["release"]
    report = target / "reports" / release
    shown = texts_of(report) | {"out": called.out, "err": called.err, "log": log.read_text("utf-8")}
    shown |= {"current.json": (target / "current.json").read_text("utf-8")}
    shown |= texts_of(target / "releases")
    for name, text in shown.items():
        assert not [amount for amount in WRITTEN if amount in text], name
    assert "✗" not in shown["index.html"]
    told = json.loads(shown["report.json"])
    assert told["tables"]["claim"]["quarantined"] == 1
    assert told["money_check"]["adds_up"] is True
    exact = target / "quarantine" / release / "sums" / "money.csv"
    assert (report / told["money_check"]["exact"]).samefile(exact)
    assert S_IMODE(exact.stat().st_mode) == 0o600
    by_cell = {(row["level"], row["claim_type"], row["category"]): row for row in rows_of(exact)}
    assert by_cell["header", "oral", "submitted"]["quarantined"] == AMOUNT
    assert len(by_cell) == told["money_check"]["compared"]


def test_a_payer_may_show_every_sum(extract, tmp_path):
    every = {"CPCDS_REPORT__SMALL_CELLS": "0", **NO_SUITES}
    done(cpcds("validate", extract, "--report", tmp_path, **every))
    told = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert AMOUNT in {each["quarantined"] for each in told["money"]}
    assert told["money_check"]["withheld"] == 0
    assert told["money_check"]["exact"] is None
    assert not (tmp_path / "quarantine" / "sums").exists()
