"""Derived columns and what is put right before mapping, on rows that can be read at a glance."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.given.tables import table
from tests.unit.engine.rows import Row, column, prepared

PROFESSIONAL: Row = {"claim_id": "C1", "claim_type": "professional", "member_id": "M1"}


def line(number, claim="C1", **cells):
    return {"claim_id": claim, "line_number": number, **cells}


@pytest.mark.parametrize(*table(__file__, "columns"))
def test_a_column_is_derived_of_the_rows_as_it_is_written_down(rows, expected):
    for name, columns in expected.items():
        for column_name, cells in columns.items():
            derived = column(name, column_name, **rows)
            assert derived == [cell or None for cell in cells], f"{name}.{column_name}"


def money(cents):
    return "" if cents is None else f"{Decimal(cents).scaleb(-2):.2f}"


AMOUNT = st.none() | st.integers(-(10**11), 10**11)


@given(st.lists(st.tuples(AMOUNT, st.lists(AMOUNT, max_size=4)), max_size=5))
def test_totals_are_the_decimal_sums(claims):
    headers: list[Row] = []
    lines: list[Row] = []
    wanted: list[str | None] = []
    for at, (stated, amounts) in enumerate(claims):
        name = f"C{at}"
        headers.append({"claim_id": name, "amount_copay": money(stated)})
        for number, amount in enumerate(amounts, 1):
            lines.append(line(str(number), name, amount_copay=money(amount)))
        there = [amount for amount in amounts if amount is not None]
        summed = money(sum(there)) if there else None
        wanted.append(summed if stated is None else money(stated))
    assert column("claim", "total_copay", claim=headers, claim_line=lines) == wanted


@pytest.mark.parametrize(*table(__file__, "roles"))
def test_a_row_is_principal_by_its_type_or_as_number_one(types, roles):
    claims = [{**PROFESSIONAL, "claim_id": name} for name in ("C0", "C1")]
    for name in ("claim_diagnosis", "claim_procedure"):
        made = [
            {"claim_id": "C1", "sequence": number, "code": "I10", "type": word}
            for number, word in types.items()
        ]
        assert column(name, "role", claim=claims, **{name: made}) == roles


# -- before mapping ----------------------------------------------------------------------------


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


def test_money_is_published_as_stated_whether_or_not_the_claim_is_a_void():
    bills = ("111", "118")
    made = prepared(
        claim=[
            {"claim_id": bill, "type_of_bill": bill, "amount_benefit": "-5.00"} for bill in bills
        ],
        claim_line=[line("1", bill, amount_copay="7.00") for bill in bills],
        claim_adjustment=[line("1", bill, sequence="1", amount="-3.00") for bill in bills],
    )
    for name, column_name, cell in (
        ("claim", "amount_benefit", "-5.00"),
        ("claim_line", "amount_copay", "7.00"),
        ("claim_adjustment", "amount", "-3.00"),
    ):
        assert made[name].column(column_name).to_pylist() == [cell] * 2
