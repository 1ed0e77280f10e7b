"""Ways to spoil a row as little as possible: one cell or one row, and nothing else.

Where a changed cell would break a sum or an equation too, another cell is chosen. A case without
anything to spoil in that way is left unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from etl.model.canonical_tables import CLAIM_TABLES
from etl.synth.daily_changes import member_on
from etl.synth.directory import Row
from etl.synth.households import household_of
from etl.synth.members import MemberRows
from etl.synth.pricing import cents_of, money
from etl.synth.seeded_random import Dice
from etl.synth.spec import Spec


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
"""Spoils something and returns it; None where the case has nothing to spoil that way."""
Condition = Callable[[Row, Case], bool]


def always(_row: Row, _case: Case) -> bool:
    """Hold for every row."""
    return True


def of_type(*types: str) -> Condition:
    """Hold for claims of some types."""
    return lambda _row, case: case.claim["claim_type"] in types


def filled(column: str) -> Condition:
    """Hold where the row fills a column."""
    return lambda row, _case: column in row


def holding(column: str, text: str) -> Condition:
    """Hold where the row's cell says so."""
    return lambda row, _case: row.get(column) == text


def unless(condition: Condition) -> Condition:
    """Hold where another condition does not."""
    return lambda row, case: not condition(row, case)


def all_hold(*conditions: Condition) -> Condition:
    """Hold where every condition does."""
    return lambda row, case: all(condition(row, case) for condition in conditions)


def one_of_several(_row: Row, case: Case) -> bool:
    """Hold where the claim has more than one diagnosis: it needs one, and may lose another."""
    return len(case.of("claim_diagnosis")) > 1


def _rows(table: str, case: Case) -> list[Row]:
    return [case.claim] if table in {"claim", "member"} else case.of(table)


def cell(
    table: str, column: str, spoil: Callable[[str], str], when: Condition = always
) -> Planting:
    """Return a planting that spoils one filled cell of the first fitting row; "" empties it."""

    def plant(case: Case) -> Found | None:
        for row in _rows(table, case):
            if column in row and when(row, case):
                text = spoil(row.pop(column))
                if text:
                    row[column] = text
                return table, row, column
        return None

    return plant


def put(table: str, column: str, text: str, when: Condition = always) -> Planting:
    """Return a planting that writes a cell, filled or not, of the first fitting row."""

    def plant(case: Case) -> Found | None:
        for row in _rows(table, case):
            if when(row, case):
                row[column] = text
                return table, row, column
        return None

    return plant


def later(text: str, days: int) -> str:
    """Return a date some days later, or earlier."""
    return (date.fromisoformat(text) + timedelta(days=days)).isoformat()


def ragged(case: Case) -> Found | None:
    """Name the row that is to get a cell too many."""
    rows = case.of("claim_care_team")
    return ("claim_care_team", rows[-1], "") if rows else None


def _again(case: Case, table: str, **changes: str) -> Found | None:
    """Write the claim's last row of a table twice, the second time with changes."""
    rows, mine = case.tables[table], case.of(table)
    if not mine:
        return None
    again = mine[-1] | changes
    rows.insert(place_of(rows, mine[-1]) + 1, again)
    return table, again, ""


def repeated(case: Case) -> Found | None:
    """Write a line twice."""
    return _again(case, "claim_line")


def older_again(case: Case) -> Found | None:
    """Write an older version of a care team row as well."""
    before = {"last_updated": "2001-02-03T04:05:06Z", "taxonomy_code": "208D00000X"}
    return _again(case, "claim_care_team", **before)


def another_again(case: Case) -> Found | None:
    """Write two rows with one key where neither can be shown to be right."""
    return _again(case, "claim_care_team", taxonomy_code="208D00000X")


def orphan(case: Case) -> Found | None:
    """Write a row for a claim that does not exist."""
    nowhere = f"X{case.claim['claim_id']}"
    table, row, _ = _again(case, "claim_care_team", claim_id=nowhere) or (None, None, None)
    return (table, row, "claim_id") if table and row else None


def childless_compound(case: Case) -> Found | None:
    """Remove the ingredients of a compound."""
    if case.claim.get("compound_code") != "2":
        return None
    number = case.claim["claim_id"]
    rows = case.tables["claim_ingredient"]
    case.tables["claim_ingredient"] = [row for row in rows if row["claim_id"] != number]
    return "claim", case.claim, ""


def no_lines(case: Case) -> Found | None:
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


def wrong_total(case: Case) -> Found | None:
    """Make a total of the header a dollar more than its lines, in a category without equation."""
    if case.headers_only or "amount_paidtoprovider" not in case.claim:
        return None
    _more(case.claim, "amount_paidtoprovider", 100)
    return "claim", case.claim, "amount_paidtoprovider"


def _more(row: Row, column: str, cents: int) -> None:
    row[column] = money(cents_of(row[column]) + cents)


def unequal(column: str, reported: str) -> Planting:
    """Return a planting that breaks an equation of a claim with no amounts on its lines."""

    def plant(case: Case) -> Found | None:
        if not case.headers_only:
            return None
        _more(case.claim, column, 101)
        return "claim", case.claim, reported

    return plant


def negative(case: Case) -> Found | None:
    """State a negative amount in a category that the lines do not state."""
    if "amount_paidtopatient" in case.claim or "paid_date" not in case.claim:
        return None
    case.claim["amount_paidtopatient"] = "-5.00"
    return "claim", case.claim, "amount_paidtopatient"


def late_line(case: Case) -> Found | None:
    """Move the last line behind the end of the claim, but not out of the coverage."""
    thru = case.claim.get("statement_thru_date")
    row = case.of("claim_line")[-1]
    if not thru or "service_to_date" in row or not _covered(case, thru, 40):
        return None
    row["service_from_date"] = later(thru, 3)
    return "claim_line", row, "service_from_date"


def _covered(case: Case, day: str, days: int) -> bool:
    wanted = case.claim["coverage_id"]
    cover = next(row for row in case.tables["coverage"] if row["coverage_id"] == wanted)
    return cover.get("end_date", "9999") > later(day, days)


def not_in_force(case: Case) -> Found | None:
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


def coverage_of_another(case: Case) -> Found | None:
    """Name the coverage of the first member of the household."""
    first = household_of(case.spec, case.index).first
    if first == case.index or member_on(case.spec, first, case.spec.day).gone:
        return None
    for cover in member_on(case.spec, first, case.spec.day).covers:
        if cover.plan.payer != case.claim["payer_id"]:
            continue
        start, end = cover.row["start_date"], cover.row.get("end_date", "9999")
        last = case.claim.get("statement_thru_date", case.claim["statement_from_date"])
        if start <= case.claim["statement_from_date"] and last <= end:
            case.claim["coverage_id"] = cover.identifier
            return "claim", case.claim, "coverage_id"
    return None


def insert(table: str, column: str, cells: Row, *types: str) -> Planting:
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


def icd_point(case: Case) -> Found | None:
    """Put the point of an ICD-10 code a place too late."""
    for row in case.of("claim_diagnosis"):
        code = row["code"]
        if "." in code and row.get("icd_version", "10") == "10" and len(code) > 5:
            bare = code.replace(".", "")
            row["code"] = f"{bare[:4]}.{bare[4:]}"
            return "claim_diagnosis", row, "code"
    return None


def missing_area(case: Case) -> Found | None:
    """Mark an area as missing; only teeth can be."""
    for row in case.of("claim_tooth"):
        row.pop("tooth_number", None)
        row |= {"oral_cavity_area": "10", "missing": "Y"}
        return "claim_tooth", row, "oral_cavity_area"
    return None


def two_sites(case: Case) -> Found | None:
    """Give a line a tooth and an area."""
    for row in case.of("claim_line"):
        if "tooth_number" in row:
            row["oral_cavity_area"] = "10"
            return "claim_line", row, ""
    return None


def stranger_member(case: Case) -> Found | None:
    """Name a member who does not exist."""
    case.claim["member_id"] = "HPX00000000099"
    return "claim", case.claim, "member_id"


def stranger_cover(case: Case) -> Found | None:
    """Name a coverage that does not exist."""
    case.claim["coverage_id"] = "C000000000-99"
    return "claim", case.claim, "coverage_id"


def place_of(rows: list[Row], wanted: Row) -> int:
    """Return where a row stands, by identity: rows may be equal."""
    return next(place for place, row in enumerate(rows) if row is wanted)


def stranger_in_coverage(case: Case) -> Found | None:
    """Add a coverage of a member who does not exist."""
    covers = case.tables["coverage"]
    if not covers:
        return None
    row = covers[-1] | {
        "coverage_id": f"X{covers[-1]['coverage_id']}",
        "member_id": "HPX00000000088",
    }
    row.pop("card_member_id", None)
    covers.append(row)
    return "coverage", row, "member_id"


def cover_cell(column: str, text: str, when: Condition = always) -> Planting:
    """Return a planting in the member's last coverage, which is spoiled but not rejected."""

    def plant(case: Case) -> Found | None:
        covers = case.tables["coverage"]
        if not covers or column not in covers[-1] or not when(covers[-1], case):
            return None
        covers[-1][column] = text
        return "coverage", covers[-1], column

    return plant


def card_of_another(case: Case) -> Found | None:
    """Write the member id of the first of the household on the card."""
    first = household_of(case.spec, case.index).first
    covers = case.tables["coverage"]
    if first == case.index or not covers:
        return None
    other = member_on(case.spec, first, case.spec.day)
    if other.gone:
        return None
    covers[0]["card_member_id"] = other.life.member_id
    return "coverage", covers[0], "card_member_id"


def telecom_twice(case: Case) -> Found | None:
    """Write a telecom twice, under two numbers."""
    rows = case.tables["member_telecom"]
    if not rows:
        return None
    row = rows[-1] | {"sequence": str(int(rows[-1]["sequence"]) + 1)}
    rows.append(row)
    return "member_telecom", row, "value"
