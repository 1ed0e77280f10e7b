"""How a dialect's cells become canonical ones, and what is noticed on the way."""

import pyarrow as pa
import pytest

from etl.columns.numbers import to_cents
from etl.quality.check import check
from etl.quality.checks.frames import DirectoryIds, RuleContext
from tests.given.tables import table
from tests.unit.quality.world import standard_book
from tests.unit.sources.dialects import BILLS_HEADER, LAYOUT, PERSONS, layout, write
from tests.unit.sources.extracts import findings_of, read, rows_of


def run(tmp_path, *rows, persons=PERSONS, text=LAYOUT):
    bills = BILLS_HEADER + "".join(f"{row}\n" for row in rows)
    folder = write(tmp_path / "in", bills, persons)
    return read(folder, tmp_path / "work", 3, layouts=[layout(text)])


def notes(parts):
    return [(rule, table, row, column) for rule, table, _, row, column in findings_of(parts)]


def test_one_claim_id_of_two_members_stays_two_claims(tmp_path):
    parts = run(tmp_path, "B1,M1,1,oral,,,,,,,,,", "B1,M2,1,oral,,,,,,,,,")
    assert [row["member_id"] for row in rows_of(parts, "claim")] == ["M1", "M2"]
    assert parts.keys.shared("claim", pa.array(["B1"])).to_pylist() == [True]


@pytest.mark.parametrize(*table(__file__, "cases"))
def test_cells_become_canonical_rows_and_findings(
    changes, bills, persons, findings, rows, tmp_path
):
    text = LAYOUT
    for old, new in changes or ():
        assert text.count(old) == 1
        text = text.replace(old, new)
    lines = "".join(f"{line}\n" for line in persons or PERSONS.splitlines())
    parts = run(tmp_path, *(bills or ()), persons=lines, text=text)
    assert [[cell or "" for cell in note] for note in notes(parts)] == findings
    for name, expected in (rows or {}).items():
        assert rows_of(parts, name) == expected


@pytest.mark.parametrize(*table(__file__, "amounts"))
def test_amounts_are_rounded_to_cents_half_to_even_and_never_silently(text, cents, lost):
    values, rounded = to_cents(pa.array([text, None]))
    assert values.to_pylist() == [cents, None]
    assert rounded.tolist() == [lost, False]


def test_a_file_that_feeds_nothing_can_be_looked_up(tmp_path):
    text = LAYOUT.replace(
        "  bills:\n    compulsory",
        "  plans:\n    member: Owner\n    required: [Owner, Plan]\n    columns: [Insurer]\n"
        "  bills:\n    compulsory",
    )
    text = text.replace("persons, key: Person, by: Person, value: Payer", PLANS)
    folder = write(tmp_path / "in", BILLS_HEADER + "B1,M1,1,oral,2024-01-05,,,,,,,,\n")
    (folder / "plans.csv").write_text("Owner,Plan,Insurer\nM1,oral,P9\nM2,oral,P8\n")
    parts = read(folder, tmp_path / "work", 3, layouts=[layout(text)])
    (claim,) = rows_of(parts, "claim")
    assert claim["payer_id"] == "P9"


PLANS = "plans, key: Plan, by: Kind, value: Insurer"


def test_the_order_of_the_rows_of_a_file_does_not_show(tmp_path):
    rows = [
        f"B{claim},M1,{line},oral,2024-01-05,2024-01-09,{claim}.005,{line},D{claim},O{claim},"
        f"I{line % 4}0,ICD,n{line}"
        for claim in range(4)
        for line in range(1, 13)
    ]
    one = run(tmp_path / "a", *rows)
    other = run(tmp_path / "b", *rows[::-1])
    for name in ("claim", "claim_line", "claim_care_team", "claim_diagnosis"):
        assert rows_of(one, name) == rows_of(other, name)
        assert rows_of(one, name)


@pytest.mark.parametrize(
    ("table", "clause", "rule"),
    [
        ("coverage", "    where: { column: Name, none_of: [out] }\n", "claim-unknown-coverage"),
        ("member", "    where: { column: Name, none_of: [out] }\n", "claim-unknown-member"),
        ("coverage", "    needs: [payer_id]\n", "claim-unknown-coverage"),
    ],
)
def test_rows_that_a_layout_leaves_out_are_nowhere(tmp_path, table, clause, rule):
    text = LAYOUT.replace(
        f"  {table}:\n    from: persons\n", f"  {table}:\n    from: persons\n{clause}"
    )
    persons = PERSONS + "M2,C2,1970-01-01,out,f,\n"
    bills = [f"B{n},M{n},1,oral,2024-01-05,2024-01-09,,,,,,," for n in (1, 2)]
    parts = run(tmp_path, *bills, persons=persons, text=text)
    letter = {"coverage": "C", "member": "M"}[table]
    assert parts.keys.exists(table, pa.array([f"{letter}1", f"{letter}2"])).to_pylist() == [
        True,
        False,
    ]
    nobody = DirectoryIds(pa.array([], pa.string()), pa.array([], pa.string()))
    told = set()
    for index in range(parts.facts.count):
        loaded = parts.load(index)
        context = RuleContext(standard_book(), parts.keys, nobody)
        checked = check(loaded.tables, loaded.findings, context)
        told |= {
            (one["rule"], one["row"])
            for one in checked.findings.to_pylist()
            if one["table"] == "claim" and one["column"] in ("coverage_id", "member_id")
        }
    assert told == {(rule, 3)}


def test_a_claim_that_a_layout_leaves_out_has_no_lines(tmp_path):
    text = LAYOUT.replace(
        "    order: [Row]\n    columns:\n      claim_id: Bill\n      member_id", OUT
    )
    bills = [
        f"B{n},M1,1,oral,2024-01-05,2024-01-09,,,,,,,{note}" for n, note in ((1, ""), (2, "out"))
    ]
    parts = run(tmp_path, *bills, text=text)
    assert parts.keys.exists("claim", pa.array(["B1", "B2"])).to_pylist() == [True, False]


OUT = (
    "    order: [Row]\n    where: { column: Note, none_of: [out] }\n"
    "    columns:\n      claim_id: Bill\n      member_id"
)
