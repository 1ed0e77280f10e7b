"""Adjustments of claims: lower benefits, added and dropped lines, replacements, voids.

After each adjustment, the equations of `pricing` still hold to the cent.
"""

from __future__ import annotations

from datetime import date

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.synth.claim_drafts import Claim, Life
from etl.synth.directory import Row
from etl.synth.pricing import format_cents, parse_cents
from etl.synth.seeded_random import Dice, draw_timestamp, iso_date

_PAYOUTS = ("amount_benefit", "amount_paidtoprovider", "amount_paidtopatient")


def add_cents(row: Row, column: str, cents: int) -> None:
    """Add to an amount; an absent one counts as zero."""
    row[column] = format_cents(parse_cents(row.get(column, "0.00")) + cents)


def lower_benefit(claim: Claim, percent: int) -> list[Row]:
    """Move a share of the benefit into the discount, because the payer had paid too much.

    Returns:
        The rows that changed, the header first.
    """
    lines = claim.rows["claim_line"]
    line = max(
        (row for row in lines if "amount_benefit" in row),
        key=lambda row: parse_cents(row["amount_benefit"]),
        default=None,
    )
    largest = claim.header if line is None else line
    cents = parse_cents(largest["amount_benefit"]) * percent // 100
    changed = [claim.header] if line is None else [claim.header, line]
    for row in changed:
        add_cents(row, "amount_eligible", -cents)
        add_cents(row, "amount_discount", cents)
        for column in (*_PAYOUTS, "amount_drugcost"):
            if column in row:
                add_cents(row, column, -cents)
    if "payment_amount" in claim.header:
        add_cents(claim.header, "payment_amount", -cents)
    if line is not None and claim.header["claim_type"] != "pharmacy" and cents:
        changed.append(_add_discount(claim, line["line_number"], cents))
    return changed


def _add_discount(claim: Claim, line_number: str, cents: int) -> Row:
    rows = claim.rows.setdefault("claim_adjustment", [])
    line_rows = [row for row in rows if row["line_number"] == line_number]
    for row in line_rows:
        if row["group_code"] == "CO" and row["reason_code"] == "45":
            add_cents(row, "amount", cents)
            return row
    row = {
        "record_action": "A",
        "claim_id": claim.header["claim_id"],
        "line_number": line_number,
        "sequence": str(len(line_rows) + 1),
        "group_code": "CO",
        "reason_code": "45",
        "amount": format_cents(cents),
    }
    index = max((rows.index(other) for other in line_rows), default=len(rows) - 1) + 1
    rows.insert(index, row)
    return row


def add_line(claim: Claim) -> list[Row]:
    """Add a line like the last one, with its adjustments; return the rows that changed."""
    lines = claim.rows["claim_line"]
    last_line = lines[-1]
    added = last_line | {"line_number": str(int(last_line["line_number"]) + 1)}
    changed = [claim.header, added]
    for row in list(claim.rows.get("claim_adjustment", ())):
        if row["line_number"] == last_line["line_number"]:
            changed.append(row | {"line_number": added["line_number"]})
            claim.rows["claim_adjustment"].append(changed[-1])
    lines.append(added)
    _add_to_header(claim.header, added, sign=1)
    return changed


def drop_line(claim: Claim) -> list[Row]:
    """Remove the last line and the rows that refer to it; return the rows that changed."""
    last_line = claim.rows["claim_line"].pop()
    line_number = last_line["line_number"]
    for table, rows in claim.rows.items():
        claim.rows[table] = [row for row in rows if row.get("line_number") != line_number]
    _add_to_header(claim.header, last_line, sign=-1)
    return [claim.header]


def can_change_lines(claim: Claim) -> bool:
    """Return whether a line can be added or dropped without breaking a reference.

    It can't if rows refer to lines, or if only the header has amounts.
    """
    rows = claim.rows["claim_line"]
    is_listed = any("line_numbers" in row for row in claim.all_rows())
    is_referenced = any(
        "line_number" in row for name in ("claim_note", "claim_other_payer", "claim_tooth",
                                          "claim_ingredient") for row in claim.rows.get(name, ())
    )  # fmt: skip
    is_shared = bool(claim.rows.get("claim_other_payer"))
    return "amount_benefit" in rows[-1] and not (is_listed or is_referenced or is_shared)


def _add_to_header(header: Row, line: Row, *, sign: int) -> None:
    for column in AMOUNT_COLUMNS:
        if column in line:
            add_cents(header, column, sign * parse_cents(line[column]))
    if "payment_amount" in header:
        header["payment_amount"] = header["amount_benefit"]


def _make_successor(life: Life, claim: Claim, day: int, frequency: str) -> Claim:
    """Return the claim under a new number as its successor; mark the previous one as superseded."""
    previous, dice = claim.header, life.dice
    claim_id = life.claim_id(previous["claim_type"], day)
    rows = {
        table: [row | {"claim_id": claim_id} for row in rows] for table, rows in claim.rows.items()
    }
    successor = Claim(previous | {"claim_id": claim_id}, rows)
    header = successor.header
    header.pop("adjusted_to_claim_id", None)
    header["adjusted_from_claim_id"] = previous["claim_id"]
    header["status"] = "active"
    header["received_date"] = iso_date(
        max(day - 4, date.fromisoformat(previous["received_date"]).toordinal())
    )
    header["adjudication_date"] = iso_date(day)
    if "paid_date" in header:
        header["paid_date"] = iso_date(day)
    if "type_of_bill" in header:
        header["type_of_bill"] = header["type_of_bill"][:2] + frequency
    if "bill_frequency" in header:
        header["bill_frequency"] = frequency
    previous["adjusted_to_claim_id"] = claim_id
    previous["status"] = "cancelled"
    timestamp = draw_timestamp(dice, day)
    for row in (previous, *successor.all_rows()):
        row["last_updated"] = timestamp
    return successor


def replace_claim(life: Life, claim: Claim, day: int) -> Claim:
    """Return the replacement of a claim, decided on a day, at a lower benefit."""
    successor = _make_successor(life, claim, day, "7")
    lower_benefit(successor, life.dice.between(3, 25))
    return successor


def pay_refused_claim(life: Life, refused_claim: Claim, paid_claim: Claim, day: int) -> Claim:
    """Return the replacement of a refused claim: the same services, paid.

    Args:
        life: of the member.
        refused_claim: the claim that was refused; it is marked as superseded.
        paid_claim: the claim without refusals.
        day: when the replacement was decided.
    """
    refused_id = {"claim_id": refused_claim.header["claim_id"]}
    rows = {table: [row | refused_id for row in rows] for table, rows in paid_claim.rows.items()}
    accepted_claim = Claim(paid_claim.header | refused_id, rows)
    successor = _make_successor(life, accepted_claim, day, "7")
    for column in ("adjusted_to_claim_id", "status", "last_updated"):
        refused_claim.header[column] = accepted_claim.header[column]
    return successor


def void_claim(life: Life, claim: Claim, day: int) -> Claim:
    """Return the claim that voids another, cancelled and of bill frequency 8.

    Half of them are voids with all amounts zero, the others reversals with all amounts negative.
    A pharmacy's is always a reversal (NCPDP). The claim's number decides which, because a draw
    would shift all later draws of the member.
    """
    void = _make_successor(life, claim, day, "8")
    void.header["status"] = "cancelled"
    is_pharmacy = void.header["claim_type"] == "pharmacy"
    if is_pharmacy or int(void.header["claim_id"][-1]) % 2:
        for row in void.all_rows():
            for column in (*AMOUNT_COLUMNS, "payment_amount", "amount"):
                if column in row:
                    row[column] = format_cents(-parse_cents(row[column]))
    else:
        _zero_amounts(void)
    return void


def _zero_amounts(claim: Claim) -> None:
    for row in (claim.header, *claim.rows["claim_line"]):
        for column in AMOUNT_COLUMNS:
            if column in row:
                row[column] = "0.00"
        row.pop("denial_reason", None)
    for column in ("payment_status", "payment_amount", "paid_date"):
        claim.header.pop(column, None)
    claim.rows.pop("claim_adjustment", None)
    for row in claim.rows.get("claim_other_payer", ()):
        row.pop("amount_priorpayerpaid", None)


def draw_adjustment_day(dice: Dice, claim: Claim) -> int:
    """Return a day some weeks after a claim was last worked on."""
    last_day = claim.header.get("paid_date") or claim.header["adjudication_date"]
    return date.fromisoformat(last_day).toordinal() + dice.between(15, 90)
