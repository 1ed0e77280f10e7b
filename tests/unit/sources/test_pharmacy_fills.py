"""Pharmacy claims of several drugs: a claim for each fill, or none."""

import pyarrow as pa
import pytest

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


def claims(parts):
    rows = rows_of(parts, "claim")
    return [(one["claim_id"], one.get("days_supply"), one.get("amount_submitted")) for one in rows]


def told(parts):
    return {rule for rule, *_ in findings_of(parts)} & {SPLIT, CONFLICT}


def test_fills_that_say_different_things_are_claims_of_their_own(tmp_path):
    parts = run(tmp_path, ("B1", "1", "30", "10", "7"), ("B1", "2", "30", "20", "14"))
    assert claims(parts) == [("B1-1", "7", None), ("B1-2", "14", None)]
    lines = [
        (one["claim_id"], one["line_number"], one["amount_submitted"])
        for one in rows_of(parts, "claim_line")
    ]
    assert lines == [("B1-1", "1", "10"), ("B1-2", "2", "20")]
    assert [one["claim_id"] for one in rows_of(parts, "claim_care_team")] == ["B1-1", "B1-2"]
    assert told(parts) == {SPLIT}


def test_fills_that_say_the_same_stay_one_claim(tmp_path):
    parts = run(tmp_path, ("B1", "1", "30", "10", "7"), ("B1", "2", "30", "20", "7"))
    assert claims(parts) == [("B1", "7", "30")]
    assert told(parts) == set()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            [("B1", "1", "31", "10", "7"), ("B1", "2", "31", "20", "14")], id="total-is-no-sum"
        ),
        pytest.param(
            [("B1", "1", "30", "10", "7"), ("B1", "1", "30", "20", "14")], id="one-line-number"
        ),
        pytest.param(
            [("B1", "1", "30", "10", "7"), ("B1", "", "30", "20", "14")], id="no-line-number"
        ),
        pytest.param(
            [
                ("B1", "1", "30", "10", "7"),
                ("B1", "2", "30", "20", "14"),
                ("B1", "3-", "30", "0", ""),
            ],
            id="a-line-without-a-drug",
        ),
    ],
)
def test_where_something_would_be_lost_the_claim_is_rejected_and_not_split(tmp_path, rows):
    parts = run(tmp_path, *rows)
    assert [(claim, fact) for claim, fact, _ in claims(parts)] == [("B1", None)]
    assert told(parts) == {CONFLICT}


def test_a_claim_with_a_row_that_cannot_be_read_is_not_split(tmp_path):
    rows = ("B1", "1", "30", "10", "7"), ("B1", "2", "30", "20", "14")
    parts = run(tmp_path, *rows, more="B1,M1,3,x\n")
    assert [claim for claim, *_ in claims(parts)] == ["B1"]
    assert told(parts) == {CONFLICT}


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
    assert claims(one) == claims(other)
    assert len(claims(one)) == 3 + 2 * 3
