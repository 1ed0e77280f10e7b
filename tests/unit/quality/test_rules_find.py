"""Every rule of the product finds what it is for, and nothing else about that cell."""

from dataclasses import dataclass

import pytest

from etl.columns.dates import day_number
from etl.quality.rules import kinds
from tests.given.tables import read_tables, table
from tests.unit.quality.world import (
    Row,
    accepted,
    assert_outcome,
    found,
    outcomes,
    rejected,
    run,
    standard_book,
    world,
)


@dataclass(frozen=True)
class Case:
    """One row changed, or added, and what has to be found about it.

    Attributes:
        rule: the rule that must fail.
        table, at: the row; `at` past the end adds it.
        cells: put into it; "" empties a cell.
        column: the failing column; "" for the row.
        left: what is published in that column instead; "" for nothing, "?" where nobody looks.
    """

    rule: str
    table: str
    at: int
    cells: Row
    column: str = ""
    left: str = "?"


def _another(table, number, **cells):
    """Return the cells of a row of the world, and some in their place."""
    return {**world()[table][number], **cells}


TABLES = read_tables(__file__)
CASES = [
    *(Case(**one) for one in TABLES["cases"]),
    Case("member-without-coverage", "member", 2, _another("member", 1, member_id="M3")),
    Case("claim-without-lines", "claim", 6, _another("claim", 5, claim_id="K6")),
    Case("claim-without-diagnosis", "claim", 6, _another("claim", 2, claim_id="K6")),
    Case("duplicate-conflict", "claim", 6, _another("claim", 2, paid_date="2024-03-13")),
]


def after(case):
    of = world()
    table = of.setdefault(case.table, [])
    if case.at == len(table):
        table.append({})
    table[case.at] = {k: v for k, v in (table[case.at] | case.cells).items() if v}
    if case.rule in ("line-rejected", "hangs-on-rejected"):
        of["claim_line"][0].pop("revenue_code")
    if case.rule.endswith("-without-amount"):
        for name in [name for name in table[case.at] if name.startswith("amount_")]:
            del table[case.at][name]
    if case.rule == "adjustment-of-line-without-amount":
        line = of["claim_line"][0]
        of["claim_line"][0] = {k: v for k, v in line.items() if not k.startswith("amount_")}
    if case.rule == "coverage-not-real":
        of["coverage"][0]["status"] = "Draft"
    for cells in TABLES["beside"].get(case.rule, []):
        of[cells["table"]][cells["at"]] |= cells["cells"]
    if case.rule == "line-benefit-status-missing":
        del of["claim"][case.at]["benefit_payment_status"]
    if case.rule == "compound-without-ingredient":
        of["claim_ingredient"].clear()
    if case.rule == "pharmacy-line-without-drug":
        of["claim"][5]["compound_code"] = "1"
    return of


@outcomes(__file__)
def test_cells_together_have_the_outcome_that_is_written_down(outcome):
    assert_outcome(outcome)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.table}")
def test_a_rule_finds_what_it_is_for(case):
    checked = run(after(case), as_of=day_number("2024-12-31"))
    assert (case.rule, case.table, case.at + 2, case.column or None) in found(checked)
    rule = standard_book()[case.rule]
    rows_rejected = {(table, number) for table, number, _ in rejected(checked)}
    if rule.severity.rejects:
        assert (case.table, case.at + 2) in rows_rejected
    elif case.left != "?":
        assert (case.table, case.at + 2) not in rows_rejected
    if case.left != "?" and case.column:
        assert accepted(checked, case.table, case.column)[case.at] == (case.left or None)


def test_every_rule_has_a_case():
    told = kinds.Reading | kinds.Unmet  # by reading and by mapping
    rules = {rule.id for rule in standard_book().rules if not isinstance(rule.kind, told)}
    of_prior_auths = {rule for rule in rules if "prior-auth" in rule}  # see test_prior_auth.py
    assert rules - {*TABLES["elsewhere"]} - of_prior_auths == {case.rule for case in CASES}


def test_a_world_without_a_fault_has_no_finding():
    checked = run(world(), as_of=day_number("2024-12-31"))
    assert found(checked) == set()
    assert checked.rejected.num_rows == 0
    assert {name: each.published for name, each in checked.counts.items()} == {
        name: each.rows_in for name, each in checked.counts.items()
    }


BY_DAY, OTHER_DAYS = "icd-version-by-day", "icd-version-of-other-days"


@pytest.mark.parametrize(*table(__file__, "versions_of_icd"))
def test_the_version_of_icd_is_that_of_the_row_or_of_its_day(day, code, stated, published, rules):
    of = world()
    of["claim"][2] |= {"statement_from_date": day, "statement_thru_date": day}
    of["claim_diagnosis"][2] |= {"code": code} | ({"icd_version": stated} if stated else {})
    checked = run(of)
    assert {rule for rule, table, *_ in found(checked) if table == "claim_diagnosis"} == set(rules)
    versions = accepted(checked, "claim_diagnosis", "icd_version")
    codes = accepted(checked, "claim_diagnosis", "code")
    assert len(codes) == (4 if published else 3)
    if published:
        assert [versions[2] or "", codes[2]] == published


def test_the_discharge_decides_the_version_of_icd_of_a_stays_procedures():
    of = world()
    stay = dict.fromkeys(("admission_date", "statement_from_date"), "2015-09-28")
    of["claim"][0] |= stay | {"discharge_date": "2015-09-30", "statement_thru_date": "2015-09-30"}
    of["claim_procedure"] = [{"claim_id": "K0", "sequence": "1", "code": "4719"}]
    checked = run(of)
    assert BY_DAY in {rule for rule, table, *_ in found(checked) if table == "claim_procedure"}
    assert accepted(checked, "claim_procedure", "code") == ["47.19"]


def test_a_claim_whose_totals_are_the_sums_of_its_lines_is_told():
    of = world()
    for name in [name for name in of["claim"][2] if name.startswith("amount_")]:
        del of["claim"][2][name]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    paid = {"claim_id": of["claim"][2]["claim_id"], "sequence": "1", "payer_name": "Other"}
    of["claim_other_payer"] = [paid | {"amount_priorpayerpaid": "0.00", "line_number": "1"}]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    of["claim_other_payer"] = [paid | {"amount_priorpayerpaid": "0.00"}]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    del of["claim_other_payer"]
    of["claim"][2]["amount_copay"] = "0.00"
    assert "totals-summed" not in {rule for rule, *_ in found(run(of))}
