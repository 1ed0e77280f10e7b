"""Rules about claims against slow ones that look at a row at a time."""

import re
from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.quality.world import Row, found, run, world

few = settings(deadline=None, max_examples=25)


def places(of, rule):
    """Return table and place of every row that a rule finds."""
    return {(table, row - 2) for name, table, row, _ in found(run(of)) if name == rule}


@few
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["K0", "K1", "K2"]),
            st.integers(0, 4),
            st.sampled_from(["", "other"]),
            st.booleans(),
        ),
        max_size=8,
        unique_by=lambda row: row[:2],
    )
)
def test_a_first_row_is_missing_where_a_slow_look_says_so(made):
    of = world()
    of["claim_diagnosis"] = [
        Row(
            {"claim_id": claim, "sequence": str(number), "code": "I10" if good else "?"}
            | ({"type": word} if word else {})
        )
        for claim, number, word, good in made
    ]
    expected = set()
    for claim in ("K0", "K1", "K2"):
        left = [(row[1], at) for at, row in enumerate(made) if row[0] == claim and row[3]]
        if left and min(left)[0] > 1 and not made[min(left)[1]][2]:
            expected.add(("claim_diagnosis", min(left)[1]))
    assert places(of, "first-row-missing") == expected


DAYS = st.sampled_from(["2014-01-01", "2015-09-30", "2015-10-01", "2024-03-01"])
CODES = ["E885.9", "E8859", "E88.59", "E11.9", "V58.69", "25000", "I10", "J45.909", "0DTJ4ZZ"]
TEN_FROM = date(2015, 10, 1)


def slow_version(claim_type, days, code, stated):
    """Return the version that a diagnosis is read in, and whether no day of its claim has it."""
    start, thru, discharge = (
        date.fromisoformat(days[name]) if days[name] else date.min
        for name in ("statement_from_date", "statement_thru_date", "discharge_date")
    )
    end = max(start, thru, discharge)
    nine = r"[0-9]{3}\.?[0-9]*|V[0-9]{2}\.?[0-9]*|E(0[0-3]|[89][0-9])[0-9](\.?[0-9])?"
    ten = r"[A-Z][0-9A-Z]{1,7}|[A-Z][0-9A-Z]{2}\.[0-9A-Z]{1,5}"
    version = stated or "10"
    decides = end if claim_type == "inpatient" else start
    if not stated and decides < TEN_FROM:
        is_ten_only = re.fullmatch(ten, code) and not re.fullmatch(nine, code)
        version = "10" if is_ten_only else "9"
    return version, end < TEN_FROM if version == "10" else start >= TEN_FROM


@few
@given(
    st.sampled_from(["inpatient", "outpatient", "oral"]),
    st.fixed_dictionaries(
        {
            "statement_from_date": DAYS,
            "statement_thru_date": st.one_of(st.just(""), DAYS),
            "discharge_date": st.one_of(st.just(""), DAYS),
        }
    ),
    st.sampled_from(CODES),
    st.sampled_from(["", "9", "10"]),
)
def test_the_version_of_icd_is_what_a_slow_look_makes_of_the_claim(claim_type, days, code, stated):
    of = world()
    of["claim"][0] |= {"claim_type": claim_type} | days
    of["claim"][0] = {name: text for name, text in of["claim"][0].items() if text}
    diagnosis = {"claim_id": "K0", "sequence": "1", "code": code, "icd_version": stated}
    of["claim_diagnosis"] = [{name: text for name, text in diagnosis.items() if text}]
    of["claim_procedure"] = []
    version, contradicts = slow_version(claim_type, days, code, stated)
    by_day = {("claim_diagnosis", 0)} if not stated and version == "9" else set()
    assert places(of, "icd-version-by-day") == by_day
    wrong = {("claim_diagnosis", 0)} if contradicts else set()
    assert places(of, "icd-version-of-other-days") == wrong


AMOUNTS = st.one_of(st.just(""), st.decimals("-9.99", "9.99", places=2).map(str))


@few
@given(AMOUNTS, AMOUNTS)
def test_more_is_paid_than_allowed_where_the_numbers_say_so(paid, allowed):
    of = world()
    amounts = {"amount_benefit": paid, "amount_eligible": allowed}
    of["claim_line"][0] |= amounts
    of["claim_line"][0] = {name: text for name, text in of["claim_line"][0].items() if text}
    above = bool(paid and allowed) and abs(Decimal(paid)) > abs(Decimal(allowed))
    assert places(of, "benefit-above-eligible") == ({("claim_line", 0)} if above else set())


@few
@given(st.dates(date(2010, 1, 1), date(2030, 1, 1)), st.integers(-10, 10))
def test_an_admission_is_late_where_a_calendar_says_so(start, after):
    of = world()
    admission = start + timedelta(days=after)
    of["claim"][0] |= {
        "statement_from_date": start.isoformat(),
        "admission_date": admission.isoformat(),
        "type_of_bill": "111",
    }
    late = {("claim", 0)} if after > 3 else set()
    assert places(of, "admission-after-start") == late
    assert places(of, "admission-before-start") == ({("claim", 0)} if after < 0 else set())


@few
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8), st.booleans())
def test_a_status_is_missing_where_neither_claim_nor_line_has_it(lines, stated):
    of = world()
    if not stated:
        for claim in of["claim"]:
            del claim["benefit_payment_status"]
    for number, (at, has_status) in enumerate(lines, 2):
        row = of["claim_line"][at] | {"line_number": str(number)}
        of["claim_line"].append(row | ({"benefit_payment_status": "other"} if has_status else {}))
    having = {at for at, has_status in lines if has_status}
    expected = set() if stated else {0, 1, 4, 5} - having
    assert places(of, "benefit-status-missing") == {("claim", at) for at in expected}
