"""Faults planted on purpose, each in one place that is written down with the rule it should meet.

A fault spoils as little as it can: where a changed cell would break a sum or an equation too,
another cell is chosen. What is rejected takes along what hangs on it; the ledger names the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from etl.model.tables import CLAIM_TABLES
from etl.synth.chance import Dice, Purpose
from etl.synth.directory import Row
from etl.synth.households import household_of
from etl.synth.members import MemberRows, member_of
from etl.synth.pricing import cents_of, money
from etl.synth.spec import Spec


@dataclass(frozen=True, slots=True)
class Planted:
    """One fault, by where it is.

    Attributes:
        table: canonical table.
        place: of the row within the rows written together, from 0.
        column: empty where the row as a whole is wrong.
        rule: id of the rule that should find it.
        ragged: the row gets a cell too many when it is written.
    """

    table: str
    place: int
    column: str
    rule: str
    ragged: bool = False


@dataclass(slots=True)
class Case:
    """A claim or a member in which a fault is to be planted.

    Attributes:
        tables: all rows of the member; faults change them in place.
        claim: the claim's row; the member's row where the fault is about the member.
    """

    spec: Spec
    index: int
    tables: MemberRows
    claim: Row
    dice: Dice

    def of(self, table: str) -> list[Row]:
        """Return the claim's rows of a child table."""
        return [row for row in self.tables[table] if row["claim_id"] == self.claim["claim_id"]]

    @property
    def headers_only(self) -> bool:
        """Whether amounts stand on the header alone."""
        return not any("amount_submitted" in row for row in self.of("claim_line"))


Found = tuple[str, Row, str]
"""Table, row and column of what was spoiled."""
Planting = Callable[[Case], Found | None]
"""Spoils something and tells what; None where the case has nothing to spoil that way."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        rule: id of the rule that should find it.
        plant: how it is planted.
        ragged: the row gets a cell too many.
    """

    rule: str
    plant: Planting
    ragged: bool = False


def _cell(
    table: str,
    column: str,
    spoil: Callable[[str], str],
    when: Callable[[Row, Case], bool] = lambda _row, _case: True,
) -> Planting:
    """Return a planting that spoils one filled cell of the claim's first fitting row."""

    def plant(case: Case) -> Found | None:
        rows = [case.claim] if table in {"claim", "member"} else case.of(table)
        for row in rows:
            if row.get(column) and when(row, case):
                row[column] = spoil(row[column])
                return table, row, column
        return None

    return plant


def _put(
    table: str,
    column: str,
    text: str,
    when: Callable[[Row, Case], bool] = lambda _row, _case: True,
) -> Planting:
    """Return a planting that writes a cell of the claim's first fitting row."""

    def plant(case: Case) -> Found | None:
        rows = [case.claim] if table in {"claim", "member"} else case.of(table)
        for row in rows:
            if when(row, case):
                row[column] = text
                return table, row, column
        return None

    return plant


def _later(text: str, days: int) -> str:
    return (date.fromisoformat(text) + timedelta(days=days)).isoformat()


def _of_type(*types: str) -> Callable[[Row, Case], bool]:
    return lambda _row, case: case.claim["claim_type"] in types


def _ragged(case: Case) -> Found | None:
    rows = case.of("claim_diagnosis")
    return ("claim_diagnosis", rows[-1], "") if rows else None


def _repeated(case: Case) -> Found | None:
    rows = case.tables["claim_line"]
    mine = case.of("claim_line")[-1]
    again = dict(mine)
    rows.insert(_place(rows, mine) + 1, again)
    return "claim_line", again, ""


def _orphan(case: Case) -> Found | None:
    rows = case.of("claim_care_team")
    if not rows:
        return None
    orphan = rows[-1] | {"claim_id": f"X{rows[-1]['claim_id']}"}
    everyone = case.tables["claim_care_team"]
    everyone.insert(_place(everyone, rows[-1]) + 1, orphan)
    return "claim_care_team", orphan, "claim_id"


def _no_lines(case: Case) -> Found | None:
    """Take the lines of a claim away, and what names a line."""
    if any(case.of(table) for table in ("claim_tooth", "claim_ingredient", "claim_transport")):
        return None
    mine = case.claim["claim_id"]
    if not case.headers_only or any(
        "line_numbers" in row or "line_number" in row
        for table in CLAIM_TABLES[1:]
        for row in case.of(table)
    ):
        return None
    case.tables["claim_line"] = [
        row for row in case.tables["claim_line"] if row["claim_id"] != mine
    ]
    return "claim", case.claim, ""


def _wrong_total(case: Case) -> Found | None:
    if case.headers_only or "amount_paidtoprovider" not in case.claim:
        return None
    _more(case.claim, "amount_paidtoprovider", 100)
    return "claim", case.claim, "amount_paidtoprovider"


def _more(row: Row, column: str, cents: int) -> None:
    row[column] = money(cents_of(row[column]) + cents)


def _unequal(column: str, reported: str) -> Planting:
    """Return a planting that breaks an equation of a claim whose lines carry no amounts."""

    def plant(case: Case) -> Found | None:
        if not case.headers_only:
            return None
        _more(case.claim, column, 101)
        return "claim", case.claim, reported

    return plant


def _negative(case: Case) -> Found | None:
    if "amount_paidtopatient" in case.claim:
        return None
    case.claim["amount_paidtopatient"] = "-5.00"
    return "claim", case.claim, "amount_paidtopatient"


def _late_line(case: Case) -> Found | None:
    """Move the last line behind the end of the claim, but not out of the coverage."""
    thru = case.claim.get("statement_thru_date")
    row = case.of("claim_line")[-1]
    if not thru or "service_to_date" in row or not _covered(case, thru, 40):
        return None
    row["service_from_date"] = _later(thru, 3)
    return "claim_line", row, "service_from_date"


def _covered(case: Case, day: str, days: int) -> bool:
    cover = _coverage(case)
    return cover.get("end_date", "9999") > _later(day, days)


def _coverage(case: Case) -> Row:
    wanted = case.claim["coverage_id"]
    return next(row for row in case.tables["coverage"] if row["coverage_id"] == wanted)


def _not_in_force(case: Case) -> Found | None:
    """Name an earlier coverage of the same member and payer, out of force by then."""
    lines = case.of("claim_line")
    if len(lines) != 1:
        return None
    for row in case.tables["coverage"]:
        ended = row.get("end_date", "9999") < lines[0]["service_from_date"]
        if ended and row["payer_id"] == case.claim["payer_id"]:
            case.claim["coverage_id"] = row["coverage_id"]
            return "claim_line", lines[0], "service_from_date"
    return None


def _coverage_of_another(case: Case) -> Found | None:
    """Name the coverage of the first member of the household."""
    first = household_of(case.spec, case.index).first
    if first == case.index:
        return None
    for cover in member_of(case.spec, first).covers:
        if cover.plan.payer != case.claim["payer_id"]:
            continue
        start, end = cover.row["start_date"], cover.row.get("end_date", "9999")
        last = case.claim.get("statement_thru_date", case.claim["statement_from_date"])
        if start <= case.claim["statement_from_date"] and last <= end:
            case.claim["coverage_id"] = cover.identifier
            return "claim", case.claim, "coverage_id"
    return None


def _insert(table: str, column: str, cells: Row, *types: str) -> Planting:
    """Return a planting that adds a child row to a claim of one of the types."""

    def plant(case: Case) -> Found | None:
        if case.claim["claim_type"] not in types or case.of(table):
            return None
        if table == "claim_ingredient" and case.claim.get("compound_code") == "2":
            return None
        row = {"record_action": "A", "claim_id": case.claim["claim_id"], **cells}
        row["last_updated"] = case.claim["last_updated"]
        case.tables[table].append(row)
        return table, row, column

    return plant


def _icd_point(case: Case) -> Found | None:
    for row in case.of("claim_diagnosis"):
        code = row["code"]
        if "." in code and row.get("icd_version", "10") == "10" and len(code) > 5:
            bare = code.replace(".", "")
            row["code"] = f"{bare[:4]}.{bare[4:]}"
            return "claim_diagnosis", row, "code"
    return None


def _two_sites(case: Case) -> Found | None:
    for row in case.of("claim_line"):
        if "tooth_number" in row:
            row["oral_cavity_area"] = "10"
            return "claim_line", row, "oral_cavity_area"
    return None


def _stranger_member(case: Case) -> Found | None:
    case.claim["member_id"] = "HPX00000000099"
    return "claim", case.claim, "member_id"


def _stranger_cover(case: Case) -> Found | None:
    case.claim["coverage_id"] = "C000000000-99"
    return "claim", case.claim, "coverage_id"


def _place(rows: list[Row], wanted: Row) -> int:
    return next(place for place, row in enumerate(rows) if row is wanted)


CLAIM_FAULTS: Final = (
    Fault("ragged-row", _ragged, ragged=True),
    Fault("duplicate-identical", _repeated),
    Fault("orphan-claim", _orphan),
    Fault("claim-without-lines", _no_lines),
    Fault("claim-unknown-member", _stranger_member),
    Fault("claim-unknown-coverage", _stranger_cover),
    Fault("required", _put("claim", "adjudication_date", "")),
    Fault("date-unreadable", _cell("claim", "received_date", lambda old: old.replace("-", "/"))),
    Fault("date-unreadable", _put("claim_line", "service_to_date", "2021-02-30")),
    Fault("date-sentinel", _put("claim", "paid_date", "1970-01-01")),
    Fault("date-sentinel", _put("claim", "paid_date", "1969-12-31")),
    Fault("date-order", _cell("claim", "discharge_date", lambda old: _later(old, -60))),
    Fault("amount-unreadable", _cell("claim", "payment_amount", lambda _: "1.234,50")),
    Fault("amount-beyond-cents", _cell("claim", "payment_amount", lambda old: f"{old}5")),
    Fault("amount-negative", _negative),
    Fault("lost-zero-revenue", _cell("claim_line", "revenue_code", lambda old: old[1:])),
    Fault("lost-zero-place", _cell("claim_line", "place_of_service", lambda _: "2")),
    Fault("lost-zero-ndc", _cell("claim_line", "ndc", lambda old: old[1:])),
    Fault("ndc-length", _cell("claim_line", "ndc", lambda old: f"{old}7")),
    Fault(
        "service-code-shape", _put("claim_line", "service_code", "9921", _of_type("professional"))
    ),
    Fault("service-code-shape", _put("claim_line", "service_code", "D12", _of_type("oral"))),
    Fault("claim-type-unknown", _put("claim", "claim_type", "veterinary")),
    Fault("role-unknown", _cell("claim_care_team", "role", lambda _: "janitor")),
    Fault("status-unknown", _put("claim", "status", "lost")),
    Fault("total-of-lines", _wrong_total),
    Fault("eligible-equation", _unequal("amount_discount", "amount_eligible")),
    Fault("liability-equation", _unequal("amount_memberliability", "amount_memberliability")),
    Fault("line-after-claim", _late_line),
    Fault("coverage-not-in-force", _not_in_force),
    Fault("coverage-of-another", _coverage_of_another),
    Fault("icd-point", _icd_point),
    Fault("icd-shape", _cell("claim_diagnosis", "code", lambda _: "??")),
    Fault("poa-unknown", _cell("claim_diagnosis", "present_on_admission", lambda _: "Q")),
    Fault("group-unknown", _cell("claim_adjustment", "group_code", lambda _: "ZZ")),
    Fault("integer-unreadable", _cell("claim", "days_supply", lambda _: "thirty")),
    Fault("line-unknown", _cell("claim_care_team", "line_numbers", lambda _: "99")),
    Fault("claim-unknown", _put("claim", "adjusted_from_claim_id", "P00000000000000000")),
    Fault(
        "transport-misplaced",
        _insert(
            "claim_transport",
            "",
            {"sequence": "1", "kind": "patientweight", "value": "150", "line_numbers": "1"},
            "inpatient",
            "pharmacy",
        ),
    ),
    Fault(
        "ingredient-misplaced",
        _insert(
            "claim_ingredient",
            "",
            {"line_number": "1", "sequence": "1", "ndc": "00900200299"},
            "pharmacy",
        ),
    ),
    Fault(
        "tooth-without-site",
        _insert("claim_tooth", "", {"line_number": "1", "sequence": "1", "missing": "N"}, "oral"),
    ),
    Fault("transport-unit", _cell("claim_transport", "unit", lambda _: "kg")),
    Fault("two-body-sites", _two_sites),
)
"""Faults of claims, in the order in which they take turns."""


def _stranger_in_coverage(case: Case) -> Found | None:
    covers = case.tables["coverage"]
    if not covers:
        return None
    row = covers[-1] | {
        "coverage_id": f"X{covers[-1]['coverage_id']}",
        "member_id": "HPX00000000088",
    }
    covers.append(row)
    return "coverage", row, "member_id"


def _cover_cell(column: str, text: str) -> Planting:
    """Return a planting in the member's last coverage, which is spoiled but not rejected."""

    def plant(case: Case) -> Found | None:
        covers = case.tables["coverage"]
        if not covers or column not in covers[-1]:
            return None
        covers[-1][column] = text
        return "coverage", covers[-1], column

    return plant


def _card_of_another(case: Case) -> Found | None:
    first = household_of(case.spec, case.index).first
    covers = case.tables["coverage"]
    if first == case.index or not covers:
        return None
    covers[0]["card_member_id"] = member_of(case.spec, first).life.member_id
    return "coverage", covers[0], "card_member_id"


def _telecom_twice(case: Case) -> Found | None:
    rows = case.tables["member_telecom"]
    if not rows:
        return None
    row = rows[-1] | {"sequence": str(int(rows[-1]["sequence"]) + 1)}
    rows.append(row)
    return "member_telecom", row, "value"


MEMBER_FAULTS: Final = (
    Fault("coverage-unknown-member", _stranger_in_coverage),
    Fault("gender-unknown", _put("member", "gender", "X9")),
    Fault("date-sentinel", _cover_cell("start_date", "1969-12-31")),
    Fault("lost-zero-zip", _cell("member", "postal_code", lambda old: old[1:5])),
    Fault("flag-unreadable", _put("member", "deceased", "maybe")),
    Fault("date-sentinel", _cover_cell("end_date", "9999-12-31")),
    Fault("card-of-another", _card_of_another),
    Fault("telecom-twice", _telecom_twice),
    Fault("relationship-unknown", _cover_cell("relationship", "acquaintance")),
    Fault("coverage-status-unknown", _cover_cell("status", "lapsed-ish")),
)
"""Faults of members and coverages; a member has at most one."""


def plant(spec: Spec, index: int, tables: MemberRows) -> list[Planted]:
    """Plant faults among a member's rows; claims take the kinds in turn, as far as they fit."""
    dice = Dice(spec.seed, Purpose.FAULT, index)
    found: list[tuple[Fault, Found]] = []
    kinds = [fault for fault in CLAIM_FAULTS if not (fault.ragged and spec.format == "parquet")]
    turn = dice.below(len(kinds))
    for claim in list(tables["claim"]):
        chosen = dice.random() < spec.fault_rate
        if not chosen or "adjusted_to_claim_id" in claim or "adjusted_from_claim_id" in claim:
            continue
        case = Case(spec, index, tables, claim, dice)
        for step in range(len(kinds)):
            fault = kinds[(turn + step) % len(kinds)]
            spoiled = fault.plant(case)
            if spoiled:
                found.append((fault, spoiled))
                # What did not fit this time keeps its turn.
                kinds = kinds[:]
                kinds.remove(fault)
                kinds.append(fault)
                turn %= len(kinds)
                break
    if tables["member"] and dice.random() < spec.fault_rate:
        case = Case(spec, index, tables, tables["member"][0], dice)
        turn = index
        for step in range(len(MEMBER_FAULTS)):
            fault = MEMBER_FAULTS[(turn + step) % len(MEMBER_FAULTS)]
            spoiled = fault.plant(case)
            if spoiled:
                found.append((fault, spoiled))
                break
    return [_planted(fault, spoiled, tables) for fault, spoiled in found]


def _planted(fault: Fault, found: Found, tables: MemberRows) -> Planted:
    table, row, column = found
    return Planted(table, _place(tables[table], row), column, fault.rule, fault.ragged)


def plant_directory(spec: Spec, number: int, tables: MemberRows) -> list[Planted]:
    """Plant one fault of each kind that a directory can have, whatever the rate."""
    dice = Dice(spec.seed, Purpose.DIRECTORY_FAULT, number)
    people, places = tables["practitioner"], tables["organization"]
    planted: list[Planted] = []

    def spoil(table: str, rows: list[Row], column: str, text: str, rule: str) -> None:
        """Spoil a row that is still whole; where `text` is empty, the cell loses its last sign."""
        taken = {fault.place for fault in planted if fault.table == table}
        whole = [
            place
            for place, row in enumerate(rows)
            if column in row and row.get("kind") != "payer" and place not in taken
        ]
        place = dice.pick(whole)
        rows[place] = rows[place] | {column: text or rows[place][column][:-1]}
        planted.append(Planted(table, place, column, rule))

    npi = next(row["npi"] for row in people)
    wrong = npi[:-1] + str((int(npi[-1]) + 1) % 10)
    spoil("practitioner", people, "npi", wrong, "npi")
    spoil("organization", places, "npi", "", "npi")
    spoil("organization", places, "postal_code", "2138", "lost-zero-zip")
    return planted
