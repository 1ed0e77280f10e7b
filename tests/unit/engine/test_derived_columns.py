"""Derived columns and what is put right before mapping, on rows that can be read at a glance."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.rows import Row, column, prepared

PROFESSIONAL: Row = {"claim_id": "C1", "claim_type": "professional", "member_id": "M1"}


def line(number, claim="C1", **cells):
    return {"claim_id": claim, "line_number": number, **cells}


def test_only_rows_of_claims_with_several_other_payers_are_among_others():
    rows = [
        {"claim_id": claim, "sequence": str(at), "payer_name": name}
        for at, (claim, name) in enumerate(
            [("C1", "A"), ("C2", "A"), ("C1", "A"), ("C2", "B"), ("C3", "B")]
        )
    ]
    got = column("claim_other_payer", "among_others", claim_other_payer=rows)
    assert got == ["N", "Y", "N", "Y", "N"]
    assert column("claim_other_payer", "among_others") == []


# -- totals ------------------------------------------------------------------------------------


def test_a_stated_total_stands_whatever_the_lines_say():
    claim = [{**PROFESSIONAL, "amount_copay": "5.00"}]
    lines = [line("1", amount_copay="1.10"), line("2", amount_copay="2.20")]
    assert column("claim", "total_copay", claim=claim, claim_line=lines) == ["5.00"]


def test_totals_are_the_sums_of_the_lines_where_the_claim_states_none():
    lines = [line("1", amount_copay="0.10"), line("2"), line("3", amount_copay="0.20")]
    assert column("claim", "total_copay", claim=[PROFESSIONAL], claim_line=lines) == ["0.30"]


def test_no_total_is_summed_beside_a_stated_one():
    claims = [{**PROFESSIONAL, "amount_paidtoprovider": "620.00"}]
    lines = [line("1", amount_benefit="20.00", amount_paidtoprovider="20.00")]
    rows: dict[str, Sequence[Row]] = {"claim": claims, "claim_line": lines}
    assert column("claim", "total_paidtoprovider", **rows) == ["620.00"]
    assert column("claim", "total_benefit", **rows) == [None]


def test_a_total_that_nobody_states_is_absent_and_zero_is_not_absent():
    lines = [line("1", amount_copay="0.00")]
    claims = [PROFESSIONAL]
    assert column("claim", "total_copay", claim=claims, claim_line=lines) == ["0.00"]
    assert column("claim", "total_benefit", claim=claims, claim_line=lines) == [None]


def other_payer(sequence, amount, **cells):
    return {"claim_id": "C1", "sequence": sequence, "amount_priorpayerpaid": amount, **cells}


def test_what_other_payers_paid_for_the_claim_is_stated_and_keeps_lines_from_being_summed():
    paid = [other_payer("1", "7.00"), other_payer("2", "0.50")]
    lines = [line("1", amount_priorpayerpaid="1.00", amount_copay="2.00")]
    rows: dict[str, Sequence[Row]] = {
        "claim": [PROFESSIONAL],
        "claim_line": lines,
        "claim_other_payer": paid,
    }
    assert column("claim", "total_priorpayerpaid", **rows) == ["7.50"]
    assert column("claim", "total_copay", **rows) == [None]


def test_what_other_payers_paid_stands_beside_other_stated_totals_unless_stated_itself():
    claims = [
        {**PROFESSIONAL, "amount_copay": "2.00"},
        {**PROFESSIONAL, "claim_id": "C2", "amount_priorpayerpaid": "9.00"},
    ]
    paid = [other_payer("1", "7.00"), {**other_payer("1", "8.00"), "claim_id": "C2"}]
    rows: dict[str, Sequence[Row]] = {"claim": claims, "claim_other_payer": paid}
    assert column("claim", "total_priorpayerpaid", **rows) == ["7.00", "9.00"]


def test_what_other_payers_paid_for_lines_is_summed_last():
    paid = [other_payer("1", "7.00", line_number="1"), other_payer("2", "0.50", line_number="2")]
    name = "total_priorpayerpaid"
    bare = [line("1"), line("2")]
    lines = [line("1", amount_priorpayerpaid="1.00"), line("2")]
    only = column("claim", name, claim=[PROFESSIONAL], claim_line=bare, claim_other_payer=paid)
    both = column("claim", name, claim=[PROFESSIONAL], claim_line=lines, claim_other_payer=paid)
    assert (only, both) == (["7.50"], ["1.00"])


def money(cents):
    return f"{Decimal(cents).scaleb(-2):.2f}"


AMOUNT = st.none() | st.integers(-(10**11), 10**11)


@given(st.lists(st.tuples(AMOUNT, st.lists(AMOUNT, max_size=4)), max_size=5))
def test_totals_are_the_decimal_sums(claims):
    headers: list[Row] = []
    lines: list[Row] = []
    wanted: list[str | None] = []
    for at, (stated, amounts) in enumerate(claims):
        name = f"C{at}"
        header = {} if stated is None else {"amount_copay": money(stated)}
        headers.append({"claim_id": name, **header})
        for number, amount in enumerate(amounts, 1):
            cells = {} if amount is None else {"amount_copay": money(amount)}
            lines.append(line(str(number), name, **cells))
        there = [amount for amount in amounts if amount is not None]
        summed = money(sum(there)) if there else None
        wanted.append(summed if stated is None else money(stated))
    assert column("claim", "total_copay", claim=headers, claim_line=lines) == wanted


def test_which_rows_carry_amounts():
    claims = [PROFESSIONAL, {**PROFESSIONAL, "claim_id": "C2", "amount_benefit": "0.00"}]
    lines = [line("1", amount_copay="1.00"), line("1", "C2")]
    rows = {"claim": claims, "claim_line": lines}
    assert column("claim", "has_amounts", **rows) == ["N", "Y"]
    assert column("claim", "has_line_amounts", **rows) == ["Y", "N"]
    assert column("claim_line", "has_amounts", **rows) == ["Y", "N"]


# -- lines -------------------------------------------------------------------------------------


def test_the_status_of_a_claim_is_what_its_lines_agree_on():
    claims = [{**PROFESSIONAL, "claim_id": name} for name in ("C1", "C2", "C3")]
    status = "benefit_payment_status"
    lines = [
        line("1", **{status: "innetwork"}),
        line("2"),
        line("1", "C2", **{status: "innetwork"}),
        line("2", "C2", **{status: "outofnetwork"}),
        line("1", "C3"),
    ]
    got = column("claim", "line_benefit_payment_status", claim=claims, claim_line=lines)
    assert got == ["innetwork", "other", None]


@pytest.mark.parametrize(
    ("rows", "roles"),
    [
        ({"1": "", "2": ""}, ["principal", "secondary"]),
        ({"0": "", "1": ""}, ["principal", "secondary"]),
        ({"1": "", "2": "Principal"}, ["secondary", "Principal"]),
        ({"1": "other", "2": ""}, ["other", "secondary"]),
        ({"2": "", "3": ""}, ["secondary", "secondary"]),
    ],
)
def test_a_row_is_principal_by_its_type_or_as_number_one(rows, roles):
    claims = [{**PROFESSIONAL, "claim_id": name} for name in ("C0", "C1")]
    for table in ("claim_diagnosis", "claim_procedure"):
        made = [
            {"claim_id": "C1", "sequence": number, "code": "I10"} | ({"type": word} if word else {})
            for number, word in rows.items()
        ]
        assert column(table, "role", claim=claims, **{table: made}) == roles


def test_the_system_of_a_service_code_is_told_by_its_shape():
    codes = ["99213", "J1100", "D0120", "hm", "0001U"]
    lines = [line(str(at), service_code=code) for at, code in enumerate(codes, 1)]
    lines.append(line("9", service_code="12345", service_code_system="hcpcs"))
    got = column("claim_line", "service_system", claim=[PROFESSIONAL], claim_line=lines)
    assert got == ["CPT", "HCPCS", "CDT", None, "CPT", "HCPCS"]


def test_positions_count_the_rows_of_each_claim():
    claims = [PROFESSIONAL, {**PROFESSIONAL, "claim_id": "C2"}]
    team = [
        {"claim_id": name, "sequence": number, "role": "rendering", "provider_id": "P"}
        for name, number in (("C1", "2"), ("C1", "5"), ("C2", "7"))
    ]
    assert column("claim_care_team", "position", claim=claims, claim_care_team=team) == [
        "1",
        "2",
        "1",
    ]


def test_a_line_without_a_site_has_that_of_its_first_tooth_that_is_there():
    claim = [{**PROFESSIONAL, "claim_type": "oral"}]
    teeth: list[Row] = [
        line("1", sequence="1", tooth_number="3", missing="Y"),
        line("1", sequence="2", tooth_number="4"),
        line("1", sequence="3", tooth_number="5"),
        line("2", sequence="1", tooth_number="6"),
    ]
    lines = [line("1"), line("2", tooth_number="9"), line("3")]
    rows: dict[str, Sequence[Row]] = {
        "claim": claim,
        "claim_line": lines,
        "claim_tooth": teeth,
    }
    assert column("claim_line", "site_tooth", **rows) == ["4", "9", None]
    assert column("claim_tooth", "role", **rows) == ["missing", "site", "additional", "additional"]
    assert column("claim_line", "has_tooth", **rows) == ["Y", "Y", "N"]


# -- before mapping ----------------------------------------------------------------------------


def test_who_renders_a_line_joins_the_care_team_once_for_all_its_lines():
    lines = [
        line("1", rendering_provider_id="A"),
        line("2", rendering_provider_id="B"),
        line("3", rendering_provider_id="A"),
    ]
    team = [{"claim_id": "C1", "sequence": "4", "role": "Performing", "provider_id": "B"}]
    made = prepared(claim=[PROFESSIONAL], claim_line=lines, claim_care_team=team)
    found = made["claim_care_team"].select(["sequence", "role", "provider_id", "line_numbers"])
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("4", "Performing", "B", "2"),
        ("5", "rendering", "A", "1;3"),
    ]


def test_the_care_team_stays_in_the_order_of_its_numbers():
    team = [
        {
            "claim_id": "C1",
            "sequence": str(number),
            "role": "attending",
            "provider_id": f"B{number}",
        }
        for number in range(1, 12)
    ]
    lines = [line("1", rendering_provider_id="A")]
    made = prepared(claim=[PROFESSIONAL], claim_line=lines, claim_care_team=team)
    assert made["claim_care_team"].column("sequence").to_pylist() == [str(n) for n in range(1, 13)]


def lifted(claim, lines):
    made = prepared(claim=[claim], claim_line=lines)
    return made["claim_line"].column("amount_copay").to_pylist()


def test_the_only_line_of_a_claim_carries_the_headers_amounts_where_items_need_them():
    claim = {**PROFESSIONAL, "amount_copay": "5.00"}
    assert lifted(claim, [line("1")]) == ["5.00"]
    assert lifted({**claim, "claim_type": "inpatient"}, [line("1")]) == [None]
    assert lifted(claim, [line("1"), line("2")]) == [None, None]
    assert lifted(claim, [line("1", amount_benefit="1.00")]) == [None]
    assert lifted(PROFESSIONAL, [line("1")]) == [None]
