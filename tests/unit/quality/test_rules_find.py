"""Every rule of the product finds what it is for, and nothing else about that cell."""

from dataclasses import dataclass

import pytest

from etl.columns.dates import day_number
from etl.quality.rules import kinds
from tests.given.tables import read_tables
from tests.unit.quality.world import (
    Row,
    accepted,
    found,
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


CASES = [
    *(Case(**one) for one in read_tables(__file__)["cases"]),
    Case("member-without-coverage", "member", 2, _another("member", 1, member_id="M3")),
    Case("claim-without-lines", "claim", 6, _another("claim", 5, claim_id="K6")),
    Case("claim-without-diagnosis", "claim", 6, _another("claim", 2, claim_id="K6")),
    Case("duplicate-conflict", "claim", 6, _another("claim", 2, paid_date="2024-03-13")),
]


ELSEWHERE = {
    "icd-version-by-day",
    "claim-without-amount",
    "total-of-other-payers",
    "totals-summed",
    "service-after-death",
    "npi",
    "npi-unassigned",
    "npi-of-several",
    "tax-id-shape",
    "practitioner-organization-unknown",
    "practitioner-without-name",
    "duplicate-identical",
    "duplicate-older",
    "claim-of-two-members",
    "coverage-of-two-members",
    "claim-links-another-member",
}
"""Rules with a test of their own below or in a module of their own."""


def after(case):
    of = world()
    table = of[case.table]
    if case.at == len(table):
        table.append({})
    table[case.at] = {k: v for k, v in (table[case.at] | case.cells).items() if v}
    if case.rule in ("line-rejected", "hangs-on-rejected"):
        of["claim_line"][0].pop("revenue_code")
    if case.rule.endswith("-without-amount"):
        for name in [name for name in table[case.at] if name.startswith("amount_")]:
            del table[case.at][name]
    if case.rule == "coverage-not-real":
        of["coverage"][0]["status"] = "Draft"
    if case.rule == "line-benefit-status-missing":
        del of["claim"][case.at]["benefit_payment_status"]
    if case.rule == "compound-without-ingredient":
        of["claim_ingredient"].clear()
    if case.rule == "pharmacy-line-without-drug":
        of["claim"][5]["compound_code"] = "1"
    return of


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
    assert rules - ELSEWHERE == {case.rule for case in CASES}


def test_a_world_without_a_fault_has_no_finding():
    checked = run(world(), as_of=day_number("2024-12-31"))
    assert found(checked) == set()
    assert checked.rejected.num_rows == 0
    assert {name: each.published for name, each in checked.counts.items()} == {
        name: each.rows_in for name, each in checked.counts.items()
    }


def test_a_claim_without_any_amount_is_told():
    of = world()
    for table in (of["claim"], of["claim_line"]):
        for name in [name for name in table[2] if name.startswith("amount_")]:
            del table[2][name]
    assert ("claim-without-amount", "claim", 4, None) in found(run(of))
    of["claim_line"][2]["amount_copay"] = "0.00"
    assert not {rule for rule, *_ in found(run(of))} & {"claim-without-amount"}


BY_DAY, OTHER_DAYS = "icd-version-by-day", "icd-version-of-other-days"


@pytest.mark.parametrize(
    ("day", "code", "stated", "published", "rules"),
    [
        # The day decides where the row does not say.
        ("2015-09-30", "E885.9", "", ("9", "E885.9"), {BY_DAY}),
        ("2015-09-30", "E8859", "", ("9", "E885.9"), {BY_DAY}),
        ("2015-09-30", "V5869", "", ("9", "V58.69"), {BY_DAY}),
        ("2014-01-01", "25000", "", ("9", "250.00"), {BY_DAY}),
        ("2015-10-01", "E1165", "", (None, "E11.65"), set()),
        ("2024-03-01", "V4352XA", "", (None, "V43.52XA"), set()),
        # Only ICD-10 has such a code.
        ("2015-09-30", "E11.9", "", (None, "E11.9"), {OTHER_DAYS}),
        ("2015-09-30", "E88.59", "", (None, "E88.59"), {OTHER_DAYS}),
        ("2015-09-30", "J45.909", "", (None, "J45.909"), {OTHER_DAYS}),
        # What is stated contradicts the day.
        ("2014-01-01", "E11.9", "10", ("10", "E11.9"), {OTHER_DAYS}),
        ("2024-01-01", "250.00", "9", ("9", "250.00"), {OTHER_DAYS}),
        ("2014-01-01", "250.00", "ICD9", ("9", "250.00"), {"icd-version-nine"}),
        # What is stated contradicts the code, or its point does.
        ("2014-01-01", "E11.9", "9", None, {"icd-impossible", "icd-shape"}),
        ("2014-01-01", "E88.59", "9", ("9", "E885.9"), {"icd-point"}),
        ("2024-01-01", "E885.9", "10", None, {"icd-impossible", "icd-shape"}),
        ("2024-01-01", "E885.9", "", None, {"icd-impossible", "icd-shape"}),
        ("2024-01-01", "V58.69", "", (None, "V58.69"), {"icd-shape"}),
    ],
)
def test_the_version_of_icd_is_that_of_the_row_or_of_its_day(day, code, stated, published, rules):
    of = world()
    of["claim"][2] |= {"statement_from_date": day, "statement_thru_date": day}
    of["claim_diagnosis"][2] |= {"code": code} | ({"icd_version": stated} if stated else {})
    checked = run(of)
    assert {rule for rule, table, *_ in found(checked) if table == "claim_diagnosis"} == rules
    versions = accepted(checked, "claim_diagnosis", "icd_version")
    codes = accepted(checked, "claim_diagnosis", "code")
    assert len(codes) == (4 if published else 3)
    if published:
        assert (versions[2], codes[2]) == published


def test_the_discharge_decides_the_version_of_icd_of_a_stay():
    of = world()
    stay = {"admission_date": "2015-09-28", "statement_from_date": "2015-09-28"}
    of["claim"][0] |= stay | {"discharge_date": "2015-10-02", "statement_thru_date": "2015-10-02"}
    of["claim"][1] |= stay | {"statement_thru_date": "2015-10-02"}
    of["claim_procedure"] = []
    by_day = {finding[1:3] for finding in found(run(of)) if finding[0] == BY_DAY}
    assert by_day == set()  # `E11.65` can be ICD-10 only
    of["claim_diagnosis"] = [row | {"code": "V58.69"} for row in of["claim_diagnosis"]]
    by_day = {finding[1:3] for finding in found(run(of)) if finding[0] == BY_DAY}
    assert by_day == {("claim_diagnosis", 3)}
    of["claim"][0] |= {"discharge_date": "2015-09-30", "statement_thru_date": "2015-09-30"}
    of["claim_procedure"] = [{"claim_id": "K0", "sequence": "1", "code": "4719"}]
    checked = run(of)
    assert BY_DAY in {rule for rule, table, *_ in found(checked) if table == "claim_procedure"}
    assert accepted(checked, "claim_procedure", "code") == ["47.19"]


def test_a_row_behind_a_rejected_first_one_is_not_taken_for_the_first():
    of = world()
    code = {"claim_id": "K0", "code": "E11.9"}
    of["claim_diagnosis"][0] = code | {"sequence": "1", "code": "73211009", "type": "principal"}
    of["claim_diagnosis"] += [code | {"sequence": number} for number in ("10", "2")]
    wrong = {finding[1:] for finding in found(run(of)) if finding[0] == "first-row-missing"}
    assert wrong == {("claim_diagnosis", 7, "sequence")}
    of["claim_diagnosis"][0]["code"] = "E11.9"
    assert "first-row-missing" not in {rule for rule, *_ in found(run(of))}


def test_a_cell_that_says_the_same_in_other_words_does_not_disagree():
    of = world()
    of["coverage"][0] |= {
        "subscriber_id": "S1",
        "subscriber_family_name": "DOE",
        "subscriber_given_name": "jan",
        "subscriber_birth_date": "19800506",
        "subscriber_gender": "Female",
        "subscriber_relationship": "ONESELF",
    }
    for at, payee in enumerate(("M1", "S1")):
        of["claim"][at] |= {"payee_type": "subscriber", "payee_id": payee}
    of["claim_line"][5]["units"] = "30.00"
    of["claim"][1]["benefit_payment_status"] = of["claim"][2]["benefit_payment_status"] = "In"
    for at in (1, 2):
        of["claim_line"][at] |= {"benefit_payment_status": "INNETWORK", "allowed_units": "2.0"}
    of["claim_line"][1] = {
        name: text for name, text in of["claim_line"][1].items() if not name.startswith("amount_")
    } | {"units": "2"}
    assert found(run(of)) == set()


def test_numbers_that_only_look_alike_disagree():
    for units in ("3", "300", "30.01", "-30", "0.30"):
        of = world()
        of["claim_line"][5]["units"] = units
        assert ("drug-units-otherwise", "claim_line", 7, "units") in found(run(of)), units


def test_a_line_beside_one_with_an_amount_is_adjudicated():
    of = world()
    bare = {"claim_id": "K1", "line_number": "2", "service_from_date": "2024-03-02"}
    of["claim_line"].append(
        bare | {"revenue_code": "0450", "service_code": "99213", "units": "3", "allowed_units": "2"}
    )
    assert found(run(of)) == set()


def test_other_payers_together_paid_what_the_claim_or_the_line_states():
    of = world()
    of["claim"][2]["amount_priorpayerpaid"] = "30.00"
    of["claim_line"][2]["amount_priorpayerpaid"] = "30.00"
    paid = {"claim_id": "K2", "payer_name": "Other"}
    of["claim_other_payer"] = [
        paid | {"sequence": "1", "amount_priorpayerpaid": "20"},
        paid | {"sequence": "2", "amount_priorpayerpaid": "10.00"},
        paid | {"sequence": "3"},
        paid | {"sequence": "4", "amount_priorpayerpaid": "30", "line_number": "1"},
    ]
    assert found(run(of)) == set()
    of["claim_other_payer"][3]["amount_priorpayerpaid"] = "29.99"
    where = ("total-of-other-payers", "claim_other_payer", 5, "amount_priorpayerpaid")
    assert found(run(of)) == {where}
    del of["claim_line"][2]["amount_priorpayerpaid"]
    assert found(run(of)) == set()
    of["claim_other_payer"][0]["amount_priorpayerpaid"] = "20.01"
    assert {place[2] for place in found(run(of))} == {2, 3}


def test_a_claim_whose_totals_are_the_sums_of_its_lines_is_told():
    of = world()
    for name in [name for name in of["claim"][2] if name.startswith("amount_")]:
        del of["claim"][2][name]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    paid = {"claim_id": of["claim"][2]["claim_id"], "sequence": "1", "payer_name": "Other"}
    of["claim_other_payer"] = [paid | {"amount_priorpayerpaid": "0.00", "line_number": "1"}]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    of["claim_other_payer"] = [paid | {"amount_priorpayerpaid": "0.00"}]
    assert "totals-summed" not in {rule for rule, *_ in found(run(of))}
    del of["claim_other_payer"]
    of["claim"][2]["amount_copay"] = "0.00"
    assert "totals-summed" not in {rule for rule, *_ in found(run(of))}


def test_a_service_after_death_is_told():
    of = world()
    of["member"][0]["death_date"] = "2024-03-01"
    assert ("service-after-death", "claim_line", 2, "service_from_date") in found(run(of))


def test_an_open_coverage_is_in_force():
    of = world()
    del of["coverage"][0]["start_date"]
    assert found(run(of)) == set()


def test_a_professional_line_whose_code_is_no_code_takes_its_claim_along():
    of = world()
    of["claim_line"][2]["service_code"] = "73211009"
    told = rejected(run(of))
    assert ("claim_line", 4, "professional-line-without-code") in told
    assert ("claim", 4, "line-rejected") in told


def test_icd_nine_codes_get_the_point_of_their_own_version():
    of = world()
    of["claim_diagnosis"][0] |= {"code": "25000", "icd_version": "9"}
    of["claim_diagnosis"][1] |= {"code": "E8120", "icd_version": "9"}
    of["claim_diagnosis"][2] |= {"code": "E1165"}
    checked = run(of)
    assert accepted(checked, "claim_diagnosis", "code")[:3] == ["250.00", "E812.0", "E11.65"]
    assert {rule for rule, *_ in found(checked)} == {OTHER_DAYS}


def test_canonical_forms_are_no_findings():
    of = world()
    of["claim"][0] |= {
        "statement_from_date": "20240301",
        "amount_copay": ".00",
        "claim_type": "Inpatient",
        "currency": "usd",
        "type_of_bill": "0111",
        "denial_reason": " 45 ; N130;",
        "last_updated": "2024-03-10T08:00:00.5-05:00",
    }
    of["claim"][4]["orthodontics"] = "no"
    of["claim_line"][5] |= {"ndc": "12345-678-90", "ndc_quantity": "030.0", "units": "030.00"}
    of["claim_line"][1] |= {"line_number": "01", "modifier_1": "lt", "units": "1.50"}
    of["claim_note"][0] |= {"line_number": "1.0"}
    of["claim_care_team"][0] |= {"line_numbers": "01; 1"}
    checked = run(of)
    assert found(checked) == set()
    claim = {
        name: accepted(checked, "claim", name)[0]
        for name in ("statement_from_date", "amount_copay", "claim_type")
    }
    assert list(claim.values()) == ["2024-03-01", "0.00", "inpatient"]
    assert accepted(checked, "claim", "orthodontics")[4] == "N"
    assert accepted(checked, "claim", "denial_reason")[0] == "45;N130"
    assert accepted(checked, "claim", "type_of_bill")[0] == "111"
    assert accepted(checked, "claim", "currency")[0] == "USD"
    assert accepted(checked, "claim", "last_updated")[0] == "2024-03-10T08:00:00.5-05:00"
    assert accepted(checked, "claim_line", "ndc")[5] == "12345067890"
    assert accepted(checked, "claim_line", "ndc_quantity")[5] == "30.0"
    assert accepted(checked, "claim_line", "line_number")[1] == "1"
    assert accepted(checked, "claim_line", "modifier_1")[1] == "LT"
    assert accepted(checked, "claim_care_team", "line_numbers")[0] == "1;1"


def test_no_member_is_known_by_a_birth_date_that_only_looks_empty():
    of = world()
    of["member"][0]["birth_date"] = "1970-01-01"
    checked = run(of)
    assert accepted(checked, "member", "birth_date")[0] == "1970-01-01"
    assert checked.counts["member"].published == 2


def test_the_number_of_another_members_claim_is_not_published():
    of = world()
    of["claim"][1] |= {"member_id": "M2", "coverage_id": "C2"}
    of["claim"][0]["adjusted_from_claim_id"] = "K1"  # another's
    of["claim"][2]["adjusted_to_claim_id"] = "K3"  # his own
    of["claim"][4]["adjusted_to_claim_id"] = "K99"  # nobody's
    checked = run(of)
    links = {rule for rule in found(checked) if rule[0] == "claim-links-another-member"}
    assert links == {("claim-links-another-member", "claim", 2, "adjusted_from_claim_id")}
    assert set(accepted(checked, "claim", "adjusted_from_claim_id")) == {None}
    assert accepted(checked, "claim", "adjusted_to_claim_id") == [
        None,
        None,
        "K3",
        None,
        "K99",
        None,
    ]
