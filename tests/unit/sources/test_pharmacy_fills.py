"""Pharmacy claims of several drugs: a claim for each fill, or none."""

import pyarrow as pa
import pytest

from tests.given.tables import table
from tests.unit.sources.dialects import BILLS_HEADER, LAYOUT, PERSONS, layout, write
from tests.unit.sources.extracts import findings_of, read, rows_of

# Note stands for a fact that the claim has once, Doctor for a drug.
TEXT = (
    LAYOUT.replace(
        "    claim: Bill\n",
        "    claim: Bill\n    fills: { where: { column: Doctor, filled: true }, by: Row }\n",
    )
    .replace(
        "      claim_type: Kind\n",
        "      claim_type: Kind\n"
        "      days_supply: { column: Note, among: { column: Doctor, filled: true } }\n",
    )
    .replace("      denial_reason: { join: [Note, Code] }\n", "      denial_reason: Code\n")
)
SPLIT, CONFLICT = "dialect-fills-split", "dialect-conflict"


def run(tmp_path, *rows, more=""):
    """Read bills: claim, line, total, sum, fact; each row is a drug unless its line is bare."""
    bills = "".join(
        f"{claim},M1,{line.strip('-')},pharmacy,2024-01-05,2024-01-09,{total},{amount},"
        f"{'' if '-' in line else 'D1'},,{'I10' if '-' in line else ''},ICD,{fact}\n"
        for claim, line, total, amount, fact in rows
    )
    folder = write(tmp_path / "in", BILLS_HEADER + bills + more, PERSONS)
    return read(folder, tmp_path / "work", 3, layouts=[layout(TEXT)])


def claims_of(parts):
    rows = rows_of(parts, "claim")
    return [(one["claim_id"], one.get("days_supply"), one.get("amount_submitted")) for one in rows]


@pytest.mark.parametrize(*table(__file__, "cases"))
def test_fills_become_claims_of_their_own_unless_something_would_be_lost(
    rows, more, claims, lines, care_teams, rules, tmp_path
):
    parts = run(tmp_path, *rows, more=more or "")
    assert [[cell or "" for cell in claim] for claim in claims_of(parts)] == claims
    names = ("claim_id", "line_number", "amount_submitted")
    found = [[row.get(name, "") for name in names] for row in rows_of(parts, "claim_line")]
    assert found == lines
    assert [row["claim_id"] for row in rows_of(parts, "claim_care_team")] == care_teams
    assert sorted({rule for rule, *_ in findings_of(parts)} & {SPLIT, CONFLICT}) == rules


def test_an_id_that_a_fill_gets_is_no_other_members(tmp_path):
    rows = ("B1", "1", "30", "10", "7"), ("B1", "2", "30", "20", "14")
    parts = run(tmp_path, *rows, more="B1-2,M2,1,oral,2024-01-05,2024-01-09,5,5,,,,,\n")
    assert parts.keys.shared("claim", pa.array(["B1-1", "B1-2"])).to_pylist() == [False, True]
    assert parts.keys.exists("claim", pa.array(["B1-1", "B1"])).to_pylist() == [True, True]


def test_where_rows_stand_and_how_many_partitions_there_are_does_not_show(tmp_path):
    rows = [
        (f"B{claim}", str(line), "6", str(line), str(line * (claim % 2)))
        for claim in range(5)
        for line in (1, 2, 3)
    ]
    one, other = run(tmp_path / "a", *rows), run(tmp_path / "b", *rows[::-1])
    assert claims_of(one) == claims_of(other)
    assert len(claims_of(one)) == 3 + 2 * 3
