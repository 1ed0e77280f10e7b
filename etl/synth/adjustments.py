"""Adjustments of paid claims: lowered, replaced, voided, a line more or less.

Amounts are changed so that every equation of `pricing` still holds to the cent.
"""

from __future__ import annotations

from datetime import date

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.synth.claim_drafts import Claim, Life
from etl.synth.directory import Row
from etl.synth.pricing import cents_of, money
from etl.synth.seeded_random import Dice, iso, stamp

_PAYOUTS = ("amount_benefit", "amount_paidtoprovider", "amount_paidtopatient")


def add_cents(row: Row, column: str, cents: int) -> None:
    """Add to an amount; an absent one counts as zero."""
    row[column] = money(cents_of(row.get(column, "0.00")) + cents)


def lower_benefit(claim: Claim, percent: int) -> list[Row]:
    """Move a share of the benefit into the discount: the payer found that it had paid too much.

    Returns:
        The rows that changed, the header first.
    """
    lines = claim.rows["claim_line"]
    line = max(
        (row for row in lines if "amount_benefit" in row),
        key=lambda row: cents_of(row["amount_benefit"]),
        default=None,
    )
    source = claim.header if line is None else line
    moved = cents_of(source["amount_benefit"]) * percent // 100
    changed = [claim.header] if line is None else [claim.header, line]
    for row in changed:
        add_cents(row, "amount_eligible", -moved)
        add_cents(row, "amount_discount", moved)
        for column in (*_PAYOUTS, "amount_drugcost"):
            if column in row:
                add_cents(row, column, -moved)
    if "payment_amount" in claim.header:
        add_cents(claim.header, "payment_amount", -moved)
    if line is not None and claim.header["claim_type"] != "pharmacy" and moved:
        changed.append(_add_discount(claim, line["line_number"], moved))
    return changed


def _add_discount(claim: Claim, line: str, moved: int) -> Row:
    rows = claim.rows.setdefault("claim_adjustment", [])
    of_line = [row for row in rows if row["line_number"] == line]
    for row in of_line:
        if row["group_code"] == "CO" and row["reason_code"] == "45":
            add_cents(row, "amount", moved)
            return row
    row = {
        "record_action": "A",
        "claim_id": claim.header["claim_id"],
        "line_number": line,
        "sequence": str(len(of_line) + 1),
        "group_code": "CO",
        "reason_code": "45",
        "amount": money(moved),
    }
    place = max((rows.index(other) for other in of_line), default=len(rows) - 1) + 1
    rows.insert(place, row)
    return row


def add_line(claim: Claim) -> list[Row]:
    """Add a line like the last one, with its adjustments; return the rows that changed."""
    lines = claim.rows["claim_line"]
    last = lines[-1]
    new = last | {"line_number": str(int(last["line_number"]) + 1)}
    changed = [claim.header, new]
    for row in list(claim.rows.get("claim_adjustment", ())):
        if row["line_number"] == last["line_number"]:
            changed.append(row | {"line_number": new["line_number"]})
            claim.rows["claim_adjustment"].append(changed[-1])
    lines.append(new)
    _count_line(claim.header, new, 1)
    return changed


def drop_line(claim: Claim) -> list[Row]:
    """Remove the last line and the rows that refer to it; return the rows that changed."""
    last = claim.rows["claim_line"].pop()
    for table, rows in claim.rows.items():
        claim.rows[table] = [row for row in rows if row.get("line_number") != last["line_number"]]
    _count_line(claim.header, last, -1)
    return [claim.header]


def may_change_lines(claim: Claim) -> bool:
    """Return whether a line may be added or dropped with nothing left pointing at it.

    A line that is named in `line_numbers`, and amounts on the header alone, forbid it.
    """
    rows = claim.rows["claim_line"]
    listed = any("line_numbers" in row for row in claim.everything())
    named = any(
        "line_number" in row for name in ("claim_note", "claim_other_payer", "claim_tooth",
                                          "claim_ingredient") for row in claim.rows.get(name, ())
    )  # fmt: skip
    shared = bool(claim.rows.get("claim_other_payer"))
    return "amount_benefit" in rows[-1] and not (listed or named or shared)


def _count_line(header: Row, line: Row, sign: int) -> None:
    for column in AMOUNT_COLUMNS:
        if column in line:
            add_cents(header, column, sign * cents_of(line[column]))
    if "payment_amount" in header:
        header["payment_amount"] = header["amount_benefit"]


def _make_successor(life: Life, claim: Claim, day: int, frequency: str) -> Claim:
    """Return the claim under a new number as its successor, and mark the old one as superseded."""
    old, dice = claim.header, life.dice
    number = life.claim_id(old["claim_type"], day)
    rows = {
        table: [row | {"claim_id": number} for row in rows] for table, rows in claim.rows.items()
    }
    new = Claim(old | {"claim_id": number}, rows)
    header = new.header
    header.pop("adjusted_to_claim_id", None)
    header["adjusted_from_claim_id"] = old["claim_id"]
    header["status"] = "active"
    header["received_date"] = iso(
        max(day - 4, date.fromisoformat(old["received_date"]).toordinal())
    )
    header["adjudication_date"] = iso(day)
    if "paid_date" in header:
        header["paid_date"] = iso(day)
    if "type_of_bill" in header:
        header["type_of_bill"] = header["type_of_bill"][:2] + frequency
    if "bill_frequency" in header:
        header["bill_frequency"] = frequency
    old["adjusted_to_claim_id"] = number
    old["status"] = "cancelled"
    signed = stamp(dice, day)
    for row in (old, *new.everything()):
        row["last_updated"] = signed
    return new


def replace_claim(life: Life, claim: Claim, day: int) -> Claim:
    """Return the claim that replaces another from a day on, at a lower benefit."""
    new = _make_successor(life, claim, day, "7")
    lower_benefit(new, life.dice.between(3, 25))
    return new


def pay_after_all(life: Life, refused: Claim, paid: Claim, day: int) -> Claim:
    """Return the claim that replaces a refused one from a day on: the same services, paid.

    Args:
        life: of the member.
        refused: the claim that was refused; it is marked as superseded.
        paid: the claim as it would have been, had nothing been refused.
        day: the day on which it was decided.
    """
    number = {"claim_id": refused.header["claim_id"]}
    rows = {table: [row | number for row in rows] for table, rows in paid.rows.items()}
    first = Claim(paid.header | number, rows)
    new = _make_successor(life, first, day, "7")
    for column in ("adjusted_to_claim_id", "status", "last_updated"):
        refused.header[column] = first.header[column]
    return new


def void_claim(life: Life, claim: Claim, day: int) -> Claim:
    """Return the claim that voids another, cancelled and of bill frequency 8.

    Of every two, one is a void with all amounts zero, and one a reversal with all of them
    negative. A pharmacy's is always a reversal, as NCPDP has it. The claim's number decides, not
    chance, so that no other draw of the member depends on it.
    """
    new = _make_successor(life, claim, day, "8")
    new.header["status"] = "cancelled"
    pharmacy = new.header["claim_type"] == "pharmacy"
    if pharmacy or int(new.header["claim_id"][-1]) % 2:
        for row in new.everything():
            for column in (*AMOUNT_COLUMNS, "payment_amount", "amount"):
                if column in row:
                    row[column] = money(-cents_of(row[column]))
    else:
        _zero_amounts(new)
    return new


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


def later_day(dice: Dice, claim: Claim) -> int:
    """Return a day some weeks after a claim was last worked on."""
    last = claim.header.get("paid_date") or claim.header["adjudication_date"]
    return date.fromisoformat(last).toordinal() + dice.between(15, 90)
