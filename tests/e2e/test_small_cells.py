"""One claim in quarantine: its amounts are nowhere but in the quarantine, and still add up."""

import json
import re
from collections import defaultdict
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


def contradictions(shown):
    """Return the sums that are withheld in one output and shown, or follow, in another.

    Args:
        shown: name of an output -> its JSON.
    """
    stated, found = defaultdict(dict), []
    for name, told in shown.items():
        for total in told.get("money_totals", ()):
            place = total["level"], total["category"]
            stated["net", *place][name] = total["net"]
            stated["published", *place][f"{name}: money"] = total["published"]
            parts = [total[part] for part in ("published", "quarantined", "superseded")]
            if (total["source"] is None) is not (None in parts):
                found.append((name, "source", *place))
        for row in (told.get("certificate") or {}).get("files", ()):
            if row["all_files"] and not row["carried"]:
                stated["published", row["level"], row["category"]][name] = row["source"]
            if [row[part] for part in ("source", "explained", "published")].count(None) == 1:
                found.append((name, "explained", row["level"], row["category"]))
        changes = told.get("changes") or {}
        money = told["money"] if "dry_run" in told or "from" in told else changes.get("money", ())
        for row in money or ():
            stated["net", row["level"], row["category"]][name] = row["now"]
            stated["before", row["level"], row["category"]][name] = row["before"]
            if [row[part] for part in ("before", "now", "change")].count(None) == 1:
                found.append((name, "change", row["level"], row["category"]))
        for category, net in (told.get("totals") or {}).get("money", {}).get("net", {}).items():
            stated["net", "header", category][name] = net
    return found + [(figure, by) for figure, by in stated.items() if len(set(by.values())) > 1]


@pytest.mark.slow
@pytest.mark.parametrize(("quiet", "small_cells"), [(True, "10"), (False, "10"), (True, "0")])
def test_a_sum_is_withheld_in_every_output_of_a_run_or_in_none(
    extract, tmp_path, quiet, small_cells
):
    given = {"CPCDS_REPORT__SMALL_CELLS": small_cells, "CPCDS_LIMITS__MONEY_CHANGE": "99"}
    given |= NO_SUITES
    target, night = tmp_path / "tree", copied(extract, tmp_path / "night")
    first = json.loads(done(cpcds("run", extract, "--to", target, "--json", **given)).out)
    claims = rows_of(night / "claim.csv")
    changed = [row for row in claims if row["claim_type"] == "oral"]
    changed = [row for row in changed if row["statement_from_date"] != "no day"]
    for claim in changed[1:2] if quiet else changed:
        claim["amount_benefit"] = str(Decimal(claim["amount_benefit"]) + Decimal("8642.13"))
        claim["last_updated"] = "2026-01-01T00:00:00Z"
    write_rows(night / "claim.csv", columns_of(night / "claim.csv"), claims)
    plan = done(cpcds("run", night, "--to", target, "--dry-run", "--json", **given)).out
    page = tmp_path / "plan.html"
    done(cpcds("run", night, "--to", target, "--dry-run", "--html", page, **given))
    ran = done(cpcds("run", night, "--to", target, "--json", **given)).out
    releases = [target, first["release"], json.loads(ran)["release"]]
    difference = done(cpcds("diff", *releases, "--json", **given)).out
    report = target / "reports" / json.loads(ran)["release"]
    record = max((target / "runs").iterdir()).read_text("utf-8")
    texts = {"plan": plan, "run": ran, "diff": difference, "record": record}
    texts["report"] = (report / "report.json").read_text("utf-8")
    assert contradictions({name: json.loads(text) for name, text in texts.items()}) == []
    texts |= {"page": page.read_text("utf-8"), **texts_of(report)}
    texts |= {"text": done(cpcds("diff", *releases, **given)).out}
    texts |= {"all": (target / "reports" / "index.html").read_text("utf-8")}
    told = json.loads(texts["report"])
    [benefit] = [row for row in told["changes"]["money"] if row["category"] == "benefit"]
    assert (benefit["change"] is None) is (quiet and small_cells != "0")
    if benefit["change"] is None:
        assert not [name for name, text in texts.items() if re.search("8,?642.13", text)]
        assert "no change" in texts["text"]
        assert "no change" in texts["index.html"]
    rows = [row for row in told["certificate"]["money"] if (row["claims"] or 0) > 10]
    assert all(row["amount"] is not None for row in rows)


def test_a_payer_may_show_every_sum(extract, tmp_path):
    every = {"CPCDS_REPORT__SMALL_CELLS": "0", **NO_SUITES}
    done(cpcds("validate", extract, "--report", tmp_path, **every))
    told = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert AMOUNT in {each["quarantined"] for each in told["money"]}
    assert told["money_check"]["withheld"] == 0
    assert told["money_check"]["exact"] is None
    assert not (tmp_path / "quarantine" / "sums").exists()
