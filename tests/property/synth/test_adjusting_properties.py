"""Whatever is done to a claim afterwards, its money adds up and nothing names what is gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model.canonical_tables import AMOUNT_COLUMNS, LINE_TABLES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import Spec
from etl.synth.adjustments import add_line, drop_line, lower, may_change_lines
from etl.synth.claim_drafts import Claim
from etl.synth.members import member_of

Change = Callable[[Claim], object]
CHANGES: dict[str, Change] = {
    "lower": lambda claim: lower(claim, 17),
    "add": lambda claim: add_line(claim) if may_change_lines(claim) else None,
    "drop": lambda claim: (
        drop_line(claim) if may_change_lines(claim) and len(claim.rows["claim_line"]) > 1 else None
    ),
}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 5),
    st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=6),
)
def test_money_adds_up_after_any_changes(seed: int, index: int, names: list[str]) -> None:
    claims = member_of(Spec(6, seed=seed), index).claims
    assert claims
    for claim in claims[:40]:
        for name in names:
            CHANGES[name](claim)
        _adds_up(claim)


def test_lines_are_in_fact_added_and_dropped() -> None:
    claims = member_of(Spec(6, seed=1), 1).claims
    added = dropped = 0
    for claim in claims:
        before = len(claim.rows["claim_line"])
        CHANGES["add"](claim)
        added += len(claim.rows["claim_line"]) - before
        CHANGES["drop"](claim)
        CHANGES["drop"](claim)
        dropped += before > len(claim.rows["claim_line"])

    assert added > 10
    assert dropped > 4


def _amount(row: dict[str, str], name: str) -> Decimal:
    return Decimal(row.get(f"amount_{name}", "0.00"))


def _adds_up(claim: Claim) -> None:
    header, lines = claim.header, claim.rows["claim_line"]
    assert lines
    for row in (header, *lines):
        if "amount_submitted" not in row:
            continue
        member = sum(_amount(row, name) for name in ("deductible", "coinsurance", "copay"))
        assert _amount(row, "eligible") == (
            _amount(row, "submitted") - _amount(row, "noncovered") - _amount(row, "discount")
        )
        assert _amount(row, "memberliability") == member + _amount(row, "noncovered")
        assert _amount(row, "eligible") == (
            member + _amount(row, "benefit") + _amount(row, "priorpayerpaid")
        )
        assert _amount(row, "benefit") == (
            _amount(row, "paidtoprovider") + _amount(row, "paidtopatient")
        )
        signs = {Decimal(row.get(column, "0")).compare(0) for column in AMOUNT_COLUMNS}
        assert not {1, -1} <= signs
        assert -1 not in signs or header["status"] == "cancelled"
    if "payment_amount" in header:
        assert Decimal(header["payment_amount"]) == _amount(header, "benefit")
    if "amount_submitted" in lines[0]:
        for column in AMOUNT_COLUMNS:
            total = sum(Decimal(line.get(column, "0")) for line in lines)
            assert Decimal(header.get(column, "0")) == total, column
    _hangs_together(claim)


def _hangs_together(claim: Claim) -> None:
    lines = {line["line_number"]: line for line in claim.rows["claim_line"]}
    for table in LINE_TABLES:
        rows = claim.rows.get(table, [])
        assert {row["line_number"] for row in rows} <= lines.keys()
        keys = [tuple(row[part] for part in TABLES[table].key) for row in rows]
        assert len(keys) == len(set(keys))
    adjusted: dict[str, Decimal] = defaultdict(Decimal)
    for row in claim.rows.get("claim_adjustment", []):
        adjusted[row["line_number"]] += Decimal(row["amount"])
    for number, total in adjusted.items():
        assert _amount(lines[number], "submitted") - total == _amount(lines[number], "benefit")
