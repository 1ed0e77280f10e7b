"""A clean world contradicts itself nowhere: keys, references, dates, money."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise

import pytest

from etl.model.canonical_tables import (
    AMOUNT_COLUMNS,
    CLAIM_TABLES,
    LINE_TABLES,
    MEMBER_TABLES,
)
from etl.model.canonical_tables import (
    CLAIMS_TABLES as TABLES,
)
from tests.unit.synth.written import WORLD, Row, world

ROWS = world(WORLD)
MEMBERS = {row["member_id"]: row for row in ROWS["member"]}
COVERAGES = {row["coverage_id"]: row for row in ROWS["coverage"]}
CLAIMS = {row["claim_id"]: row for row in ROWS["claim"]}
ORGANIZATIONS = {row["organization_id"] for row in ROWS["organization"]}
PRACTITIONERS = {row["practitioner_id"] for row in ROWS["practitioner"]}
LINES: dict[str, list[Row]] = defaultdict(list)
for _line in ROWS["claim_line"]:
    LINES[_line["claim_id"]].append(_line)


def amount(row: Row, category: str) -> Decimal:
    return Decimal(row.get(f"amount_{category}", "0.00"))


@pytest.mark.parametrize("table", TABLES)
def test_keys_are_unique(table: str) -> None:
    keys = Counter(tuple(row[part] for part in TABLES[table].key) for row in ROWS[table])

    assert keys
    assert max(keys.values()) == 1


@pytest.mark.parametrize("table", TABLES)
def test_compulsory_cells_are_filled(table: str) -> None:
    assert ROWS[table]
    for column in TABLES[table].required:
        assert all(column in row for row in ROWS[table]), column


def test_every_row_belongs_to_a_member_or_a_claim_of_the_extract() -> None:
    for table in MEMBER_TABLES[1:]:
        assert {row["member_id"] for row in ROWS[table]} <= MEMBERS.keys()
    for table in CLAIM_TABLES:
        assert {row["claim_id"] for row in ROWS[table]} <= CLAIMS.keys()
    assert LINES.keys() == CLAIMS.keys()


def test_rows_of_a_line_and_lists_of_lines_name_lines_that_are_there() -> None:
    numbers = {(line["claim_id"], line["line_number"]) for line in ROWS["claim_line"]}
    named = [
        (row["claim_id"], row["line_number"])
        for table in (*LINE_TABLES, "claim_note", "claim_other_payer")
        for row in ROWS[table]
        if "line_number" in row
    ]
    listed = [
        (row["claim_id"], number)
        for table in ("claim_diagnosis", "claim_care_team", "claim_transport")
        for row in ROWS[table]
        for number in row.get("line_numbers", "").split(";")
        if number
    ]

    assert len(named) > 100
    assert len(listed) > 20
    assert {*named, *listed} <= numbers


def test_lines_and_sequences_count_from_one_without_a_gap() -> None:
    for table in ("claim_line", "claim_diagnosis", "claim_procedure", "claim_care_team"):
        counted: dict[str, int] = defaultdict(int)
        assert ROWS[table]
        for row in ROWS[table]:
            counted[row["claim_id"]] += 1
            number = row["line_number" if table == "claim_line" else "sequence"]
            assert number == str(counted[row["claim_id"]])


def test_a_claim_names_its_members_coverage_and_that_coverages_payer() -> None:
    assert CLAIMS
    for claim in CLAIMS.values():
        coverage = COVERAGES[claim["coverage_id"]]
        assert coverage["member_id"] == claim["member_id"]
        assert coverage["payer_id"] == claim["payer_id"]
        assert claim["payer_id"] in ORGANIZATIONS


def test_services_lie_within_coverage_life_and_claim() -> None:
    assert LINES
    for claim_id, lines in LINES.items():
        claim = CLAIMS[claim_id]
        coverage, member = COVERAGES[claim["coverage_id"]], MEMBERS[claim["member_id"]]
        first, last = claim["statement_from_date"], claim.get("statement_thru_date")
        for line in lines:
            start = line["service_from_date"]
            end = line.get("service_to_date", start)
            assert first <= start <= end <= (last or end)
            assert coverage["start_date"] <= start
            assert end <= coverage.get("end_date", "9999")
            assert member["birth_date"] <= start
            assert end <= member.get("death_date", "9999")


def test_the_dates_of_a_claim_stand_in_their_order() -> None:
    assert CLAIMS
    for claim in CLAIMS.values():
        last = claim.get("statement_thru_date", claim["statement_from_date"])
        assert claim["statement_from_date"] <= last <= claim["received_date"]
        assert claim["received_date"] <= claim["adjudication_date"]
        assert claim["adjudication_date"] <= claim.get("paid_date", "9999")
        assert claim.get("paid_date", claim["adjudication_date"]) <= WORLD.as_of.isoformat()
        assert claim.get("admission_date", "") <= claim.get("discharge_date", "")


def test_the_stamp_of_a_claim_is_not_older_than_its_adjudication() -> None:
    assert CLAIMS
    for claim in CLAIMS.values():
        assert claim["last_updated"][:10] >= claim["adjudication_date"]


def test_coverages_of_one_kind_do_not_overlap() -> None:
    assert COVERAGES
    spans = defaultdict(list)
    for row in COVERAGES.values():
        kind = (
            row["coverage_type"]
            if row["coverage_type"] in {"DENTAL", "VISPOL", "HIP", "512"}
            else "medical"
        )
        spans[row["member_id"], kind].append((row["start_date"], row.get("end_date", "9999")))
    for found in spans.values():
        found.sort()
        assert all(one[1] < two[0] for one, two in pairwise(found))


def test_who_is_not_the_subscriber_says_who_is() -> None:
    assert COVERAGES
    for row in COVERAGES.values():
        named = "subscriber_family_name" in row and "subscriber_relationship" in row
        assert named == (row["relationship"] != "self")


def test_providers_are_listed_or_named_by_npi() -> None:
    assert CLAIMS
    everybody = ORGANIZATIONS | PRACTITIONERS
    for claim in CLAIMS.values():
        assert claim["billing_provider_id"] in everybody or claim["billing_provider_id"].isdigit()
        assert claim.get("service_facility_id", "PAY0001") in ORGANIZATIONS
    for row in ROWS["claim_care_team"]:
        assert row["provider_id"] in PRACTITIONERS or row["provider_id"].isdigit()
    for row in ROWS["practitioner"]:
        assert row.get("organization_id", "PAY0001") in ORGANIZATIONS


@pytest.mark.parametrize("table", ["claim", "claim_line"])
def test_the_equations_of_money_hold_to_the_cent(table: str) -> None:
    checked = 0
    for row in ROWS[table]:
        if "amount_submitted" not in row:
            continue
        checked += 1
        member_pays = sum(amount(row, name) for name in ("deductible", "coinsurance", "copay"))
        assert amount(row, "eligible") == (
            amount(row, "submitted") - amount(row, "noncovered") - amount(row, "discount")
        )
        assert amount(row, "memberliability") == member_pays + amount(row, "noncovered")
        assert amount(row, "eligible") == (
            member_pays + amount(row, "benefit") + amount(row, "priorpayerpaid")
        )
        assert amount(row, "benefit") == (
            amount(row, "paidtoprovider") + amount(row, "paidtopatient")
        )
        assert amount(row, "paidbypatient") == sum(
            amount(row, f"paidbypatient{way}") for way in ("cash", "other", "healthaccount")
        )
        signs = {Decimal(row.get(column, "0")).compare(0) for column in AMOUNT_COLUMNS}
        if CLAIMS[row["claim_id"]]["status"] == "cancelled":
            assert not {1, -1} <= signs
        else:
            assert -1 not in signs
    assert checked > 500


def test_the_header_is_the_sum_of_its_lines_in_every_category() -> None:
    forms: Counter[tuple[str, bool]] = Counter()
    for claim_id, lines in LINES.items():
        claim = CLAIMS[claim_id]
        stated = [line for line in lines if "amount_submitted" in line]
        forms[claim["claim_type"], len(stated) == len(lines)] += 1
        assert len(stated) in {0, len(lines)}
        if not stated:
            continue
        for column in AMOUNT_COLUMNS:
            total = sum(Decimal(line.get(column, "0")) for line in lines)
            assert Decimal(claim.get(column, "0")) == total
            assert (column in claim) == any(column in line for line in lines)

    assert forms["inpatient", False] >= 3
    assert forms["outpatient", False] > 20
    assert forms["outpatient", True] > 20
    assert not any(forms[kind, False] for kind in ("professional", "vision", "oral", "pharmacy"))


def test_the_adjustments_lead_from_the_charge_to_the_benefit() -> None:
    adjusted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in ROWS["claim_adjustment"]:
        adjusted[row["claim_id"], row["line_number"]] += Decimal(row["amount"])
    assert adjusted
    for (claim_id, number), total in adjusted.items():
        line = next(line for line in LINES[claim_id] if line["line_number"] == number)
        assert amount(line, "submitted") - total == amount(line, "benefit")


def test_what_was_paid_is_the_benefit_and_nothing_is_paid_for_a_denied_claim() -> None:
    assert CLAIMS
    for claim in CLAIMS.values():
        status = claim.get("payment_status")
        if status in {"paid", "partiallypaid"}:
            assert Decimal(claim["payment_amount"]) == amount(claim, "benefit")
            assert "paid_date" in claim
        else:
            assert not {"payment_amount", "paid_date"} & claim.keys()
            assert amount(claim, "benefit") == 0


def test_what_another_payer_paid_stands_on_the_claim_too() -> None:
    assert len(ROWS["claim_other_payer"]) > 5
    for row in ROWS["claim_other_payer"]:
        claim = CLAIMS[row["claim_id"]]
        assert row.get("amount_priorpayerpaid") == claim.get("amount_priorpayerpaid")
        other = COVERAGES[row["coverage_id"]]
        assert other["member_id"] == claim["member_id"]
        assert other["payer_id"] == row["payer_id"] != claim["payer_id"]


def test_a_chain_of_adjustments_is_linked_both_ways_and_only_its_end_is_active() -> None:
    links = 0
    for claim in CLAIMS.values():
        successor = claim.get("adjusted_to_claim_id")
        if successor:
            links += 1
            assert CLAIMS[successor]["adjusted_from_claim_id"] == claim["claim_id"]
            assert claim["status"] == "cancelled"
            assert CLAIMS[successor]["adjudication_date"] > claim["adjudication_date"]
        elif "adjusted_from_claim_id" not in claim:
            assert claim["status"].lower() == "active"
        prior = claim.get("adjusted_from_claim_id")
        if prior:
            assert CLAIMS[prior]["adjusted_to_claim_id"] == claim["claim_id"]
    assert links > 10


def test_a_void_carries_no_money_a_reversal_takes_it_back_and_a_replacement_no_more() -> None:
    voids, reversals = 0, 0
    for claim in CLAIMS.values():
        if "adjusted_from_claim_id" not in claim:
            continue
        before = CLAIMS[claim["adjusted_from_claim_id"]]
        if claim["status"] == "cancelled" and "adjusted_to_claim_id" not in claim:
            amounts = {column: Decimal(claim.get(column, "0")) for column in AMOUNT_COLUMNS}
            if any(amounts.values()):
                reversals += 1
                assert amounts == {
                    column: -Decimal(before.get(column, "0")) for column in AMOUNT_COLUMNS
                }
                assert claim.get("payment_status") == before.get("payment_status")
            else:
                voids += 1
                assert claim["claim_type"] != "pharmacy"
        else:
            assert amount(claim, "benefit") <= amount(before, "benefit")
            assert amount(claim, "submitted") == amount(before, "submitted")
    assert voids > 0
    assert reversals > 2
