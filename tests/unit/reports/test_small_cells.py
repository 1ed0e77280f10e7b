"""Which sums are withheld, on the page and for machines, and what is written beside them."""

import csv
from dataclasses import replace

import pytest

from etl.quality.totals.counts import FilledKey
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.certificate import CertificateFacts, FileMoney, certificate_document
from etl.reports.document import report_document
from etl.reports.page import report_page
from etl.reports.pools import pool_cells
from etl.reports.small_cells import exact_csv, shown_money
from tests.given.tables import table
from tests.unit.reports.test_report import report

KEY = MoneyKey("claim", "oral", "benefit")
OTHER = MoneyKey("claim", "vision", "benefit")


def quarantined(claims, cents=77_777):
    """Return a cell with so many claims in quarantine, and many published ones."""
    return MoneyTotals(1_000_000 + cents, 1_000_000, cents, 0, 1_000_000, 99, claims, 0, 99)


@pytest.mark.parametrize(
    ("claims", "most", "is_shown"),
    [(1, 10, False), (10, 10, False), (11, 10, True), (1, 0, True), (3, 2, True), (2, 2, False)],
)
def test_a_sum_over_ten_claims_is_withheld_and_one_over_eleven_is_shown(claims, most, is_shown):
    each = shown_money({KEY: quarantined(claims)}, most).cells[KEY]
    assert (each.quarantined, each.source) == ((77_777, 1_077_777) if is_shown else (None, None))
    assert (each.published, each.superseded, each.net) == (1_000_000, 0, 1_000_000)
    assert each.adds_up


def test_a_sum_over_no_claim_is_shown_and_one_that_is_nothing_over_one_claim_is_not():
    none, nothing = (shown_money({KEY: quarantined(n, 0)}, 10).cells[KEY] for n in (0, 1))
    assert (none.quarantined, none.source) == (0, 1_000_000)
    assert (nothing.quarantined, nothing.source) == (None, None)


def test_an_amount_without_a_claim_is_not_shown():
    assert shown_money({KEY: quarantined(0)}, 10).cells[KEY].quarantined is None


def test_a_total_is_shown_unless_it_is_of_few_claims_and_a_second_type_is_withheld():
    few, many = quarantined(6), quarantined(500)
    for cells, withheld, of_all in (
        ([few, many], 2, False),
        ([few, few], 2, False),
        ([quarantined(5), quarantined(5)], 2, True),
        ([few, quarantined(0, 0)], 1, True),
        ([many, many], 0, False),
    ):
        shown = shown_money(dict(zip((KEY, OTHER), cells, strict=True)), 10)
        whole = shown.totals["claim", "benefit"]
        assert sum(each.quarantined is None for each in shown.cells.values()) == withheld
        assert (whole.quarantined is None) is (whole.source is None) is of_all
        assert whole.published == 2_000_000


def test_amounts_that_come_to_nothing_are_each_nothing_and_withheld_with_more():
    nothing = [quarantined(claims, 0) for claims in (6, 500)]
    shown = shown_money(dict(zip((KEY, OTHER), nothing, strict=True)), 10)
    assert {each.quarantined for each in shown.cells.values()} == {None}
    assert shown.totals["claim", "benefit"].quarantined is None


def test_page_and_json_say_what_is_withheld_and_that_all_adds_up():
    made = replace(
        report(),
        money={KEY: quarantined(1), OTHER: quarantined(0, 0)},
        exact_money="../quarantine/sums/money.csv",
    )
    told = report_document(made)
    page = report_page(told)
    assert [each["quarantined"] for each in told["money"]] == [None, "0.00"]
    assert [each["source"] for each in told["money"]] == [None, "10000.00"]
    assert told["money_check"] == {
        "compared": 2,
        "adds_up": True,
        "small_cells": 10,
        "withheld": 2,
        "exact": "../quarantine/sums/money.csv",
    }
    assert "777.77" not in page
    assert page.count(">withheld</td>") == 6, "of the type, and of all claims, there also above"
    assert "✓ 2 sums of the source compared" in page
    assert 'href="../quarantine/sums/money.csv"' in page
    every = report_page(report_document(replace(made, small_cells=0, exact_money="")))
    assert "777.77" in every
    assert "withheld" not in every


def test_exact_sums_have_a_seal_that_the_key_alone_makes():
    money = {KEY: quarantined(1), OTHER: quarantined(0, 0)}
    one, same, other = (exact_csv(money, key) for key in (b"key", b"key", b"other"))
    assert one == same
    header, oral, vision = csv.reader(one.decode().splitlines())
    row = dict(zip(header, oral, strict=True))
    assert row["quarantined"] == "777.77"
    assert (row["quarantined_claims"], row["published_claims"]) == ("1", "99")
    assert (row["level"], row["adds_up"]) == ("header", "yes")
    assert oral[-1] == vision[-1] != list(csv.reader(other.decode().splitlines()))[1][-1]


@pytest.mark.parametrize(*table(__file__, "pools"))
def test_small_sums_are_put_together_so_that_none_is_left_alone(counts, names, *, is_withheld):
    cells = {name: (count, 100 * count) for name, count in counts.items()}
    pool = pool_cells(cells, 10)
    assert pool.names == tuple(names)
    assert pool.claims == sum(counts[name] for name in names)
    assert pool.cents == 100 * pool.claims
    assert pool.is_withheld is is_withheld
    assert pool_cells(cells, 0).names == ()


def test_claims_by_month_name_no_month_of_few_claims():
    key = FilledKey("claim", "oral", "statement_from_date", "2026-01")
    filled = {
        key: 20,
        replace(key, month="2026-02"): 4,
        replace(key, month="2026-03"): 30,
        replace(key, claim_type="vision"): 2,
        replace(key, claim_type="pharmacy"): 50,
        replace(key, claim_type="inpatient"): 60,
    }
    document = report_document(replace(report(), filled=filled))
    lines = [tuple(each.values()) for each in document["claims_by_month"]]
    assert lines == [
        ("inpatient", "2026-01", 60),
        ("vision", None, 2),
        ("oral", "2026-03", 30),
        ("oral", None, 24),
        ("pharmacy", "2026-01", 50),
    ]
    assert sum(each[2] for each in lines) == sum(filled.values())
    page = report_page(document)
    plot = page[page.index("<svg") : page.index("</svg>")]
    assert "inpatient" in plot
    assert "vision" not in plot
    assert "2026-02" not in plot
    every = report_document(replace(report(), filled=filled, small_cells=0))
    assert len(every["claims_by_month"]) == len(filled)


def by_file(*files):
    """Return file, claims, source and published sum of each line of a certificate."""
    facts = CertificateFacts(facts=1, sums=1, carried=0, counted={}, files=files)
    shown = certificate_document(facts, {}, shown_money({}, 10), 10)["files"]
    return [
        tuple(each[name] for name in ("file", "claims", "source", "published")) for each in shown
    ]


def test_files_are_not_told_beside_one_of_few_claims():
    few, more, most = (
        FileMoney(name, "claim", "benefit", claims, cents, cents)
        for name, claims, cents in (("a.csv", 3, 100), ("b.csv", 20, 2_000), ("c.csv", 30, 30_000))
    )
    assert by_file(more, most) == [
        ("b.csv", 20, "20.00", "20.00"),
        ("c.csv", 30, "300.00", "300.00"),
    ]
    assert by_file(few, more, most) == [(None, 53, None, "321.00")]
    assert by_file(few) == [(None, None, None, None)]


def test_what_few_differences_explain_does_not_follow_from_a_files_sums():
    one, many = (
        FileMoney("a.csv", "claim", "benefit", 30, 900, 1_000, -100, differences)
        for differences in (1, 11)
    )
    assert by_file(one) == [("a.csv", 30, None, "9.00")]
    assert by_file(many) == [("a.csv", 30, "10.00", "9.00")]
