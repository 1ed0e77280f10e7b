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


def test_rows_of_one_claim_become_one(tmp_path):
    parts = run(
        tmp_path,
        "B1,M1,2,professional,2024-01-05,,20.00,12,D1,,,,",
        "B1,M1,1,professional,2024-01-05,,20.00,8,,O1,,,",
        "B2,M1,1,pharmacy,2024-01-06,2024-01-07,5,5,,,,,",
    )
    common = {"member_id": "M1", "coverage_id": "C1", "payer_id": "P1"}
    assert rows_of(parts, "claim") == [
        {
            **common,
            "claim_id": "B1",
            "claim_type": "professional",
            "statement_from_date": "2024-01-05",
            "adjudication_date": "2024-01-05",
            "amount_submitted": "20.00",
        },
        {
            **common,
            "claim_id": "B2",
            "claim_type": "pharmacy",
            "statement_from_date": "2024-01-06",
            "adjudication_date": "2024-01-07",
            "amount_submitted": "5",
        },
    ]
    lines = rows_of(parts, "claim_line")
    assert [(row["claim_id"], row["line_number"], row["amount_submitted"]) for row in lines] == [
        ("B1", "1", "8"),
        ("B1", "2", "12"),
        ("B2", "1", "5"),
    ]
    assert notes(parts) == [
        ("dialect-stand-in-value", "claim", 3, "adjudication_date"),
        ("dialect-stand-in-value", "claim", 4, "adjudication_date"),
    ]


def test_where_rows_contradict_each_other_none_of_them_speaks(tmp_path):
    parts = run(
        tmp_path,
        "B1,M1,10,vision,2024-01-06,2024-01-09,,,,,,,",
        "B1,M1,9,oral,2024-01-05,2024-01-09,,,,,,,",
        "B1,M1,8,,2024-01-05,2024-01-09,,,,,,,",
    )
    (claim,) = rows_of(parts, "claim")
    assert "claim_type" not in claim
    assert "statement_from_date" not in claim
    assert claim["adjudication_date"] == "2024-01-09"
    conflicts = [note for note in notes(parts) if note[0] == "dialect-conflict"]
    assert conflicts == [
        ("dialect-conflict", "claim", 4, "claim_type"),
        ("dialect-conflict", "claim", 4, "statement_from_date"),
    ]


def test_a_layout_may_leave_a_contradiction_out(tmp_path):
    text = LAYOUT.replace("claim_type: Kind", "claim_type: { column: Kind, conflict: left-out }")
    parts = run(
        tmp_path,
        "B1,M1,1,vision,2024-01-05,2024-01-09,,,,,,,",
        "B1,M1,2,oral,2024-01-05,2024-01-09,,,,,,,",
        text=text,
    )
    assert "claim_type" not in rows_of(parts, "claim")[0]
    assert ("dialect-conflict-left-out", "claim", 2, "claim_type") in notes(parts)


@pytest.mark.parametrize(
    ("kinds", "found"),
    [(("oral", "oral"), "oral"), (("oral", ""), None), (("", ""), None), (("", "oral"), None)],
)
def test_of_the_rows_that_speak_an_empty_cell_contradicts_a_filled_one(tmp_path, kinds, found):
    text = LAYOUT.replace(
        "claim_type: Kind", "claim_type: { column: Kind, among: { column: Note, filled: true } }"
    )
    parts = run(
        tmp_path,
        "B1,M1,1,vision,2024-01-05,2024-01-09,,,,,,,",
        *(f"B1,M1,{n},{kind},2024-01-05,2024-01-09,,,,,,,x" for n, kind in enumerate(kinds, 2)),
        text=text,
    )
    assert rows_of(parts, "claim")[0].get("claim_type") == found
    told = ("dialect-conflict", "claim", 2, "claim_type") in notes(parts)
    assert told == (len(set(kinds)) > 1)


def test_rows_without_a_claim_id_are_not_put_together(tmp_path):
    unnamed = (",M1,1,oral,,,,,,,,,", ",M1,2,vision,,,,,,,,,")
    parts = run(tmp_path, *unnamed, "B1,M1,1,pharmacy,,,,,,,,,")
    types = sorted(row["claim_type"] for row in rows_of(parts, "claim"))
    assert types == ["oral", "pharmacy", "vision"]


def test_one_claim_id_of_two_members_stays_two_claims(tmp_path):
    parts = run(tmp_path, "B1,M1,1,oral,,,,,,,,,", "B1,M2,1,oral,,,,,,,,,")
    assert [row["member_id"] for row in rows_of(parts, "claim")] == ["M1", "M2"]
    assert parts.keys.shared("claim", pa.array(["B1"])).to_pylist() == [True]


@pytest.mark.parametrize("day", ["1969-12-31", "1970-01-01"])
def test_a_sentinel_date_is_absent_where_the_layout_says_so_and_nowhere_else(tmp_path, day):
    persons = PERSONS.replace("1970-01-01", day)
    parts = run(tmp_path, f"B1,M1,1,oral,{day},2024-01-09,,,,,,,", persons=persons)
    assert "statement_from_date" not in rows_of(parts, "claim")[0]
    assert rows_of(parts, "claim_line")[0]["service_from_date"] == day
    assert rows_of(parts, "member")[0]["birth_date"] == day
    sentinel = ("dialect-sentinel-date", "claim", 2, "statement_from_date")
    assert [note for note in notes(parts) if "sentinel" in note[0]] == [sentinel]


@pytest.mark.parametrize(*table(__file__, "amounts"))
def test_amounts_are_rounded_to_cents_half_to_even_and_never_silently(text, cents, lost):
    values, rounded = to_cents(pa.array([text, None]))
    assert values.to_pylist() == [cents, None]
    assert rounded.tolist() == [lost, False]


def test_every_rounded_cell_has_a_finding(tmp_path):
    parts = run(tmp_path, "B1,M1,1,oral,2024-01-05,2024-01-09,10.005,3.3333,,,,,")
    assert rows_of(parts, "claim")[0]["amount_submitted"] == "10.00"
    assert rows_of(parts, "claim_line")[0]["amount_submitted"] == "3.33"
    assert [note for note in notes(parts) if "rounded" in note[0]] == [
        ("dialect-rounded-amount", "claim", 2, "amount_submitted"),
        ("dialect-rounded-amount", "claim_line", 2, "amount_submitted"),
    ]


def test_words_go_through_the_crosswalk_or_into_a_finding(tmp_path):
    persons = "Person,Policy,Born,Sex,Name,Payer\n" + "".join(
        f"M{number},C{number},1970-01-01,{sex},Ng,P1\n"
        for number, sex in enumerate(["F", " m ", "x", "robot", ""])
    )
    parts = run(tmp_path, persons=persons)
    found = {row["member_id"]: row.get("gender") for row in rows_of(parts, "member")}
    assert found == {"M0": "F", "M1": "M", "M2": None, "M3": None, "M4": None}
    assert notes(parts) == [
        ("dialect-unmapped-word", "member", 5, "gender"),
        ("dialect-word-without-code", "member", 4, "gender"),
    ]


def test_a_code_of_another_system_is_translated_or_left_out_with_a_finding(tmp_path):
    parts = run(
        tmp_path,
        "B1,M1,1,oral,2024-01-05,2024-01-09,,,,,I10,icd,",
        "B1,M1,2,oral,2024-01-05,2024-01-09,,,,,S1,SNOMED,",
        "B1,M1,3,oral,2024-01-05,2024-01-09,,,,,S2,other,",
        "B1,M1,4,oral,2024-01-05,2024-01-09,,,,,I10,ICD,",
        "B1,M1,5,oral,2024-01-05,2024-01-09,,,,,i10,ICD,",
    )
    assert rows_of(parts, "claim_diagnosis") == [
        {
            "claim_id": "B1",
            "sequence": "1",
            "code": "I10",
            "type": "principal",
            "line_numbers": "1;4",
        },
        {
            "claim_id": "B1",
            "sequence": "2",
            "code": "E11.9",
            "type": "principal",
            "line_numbers": "2",
        },
    ]
    assert [note for note in notes(parts) if "foreign" in note[0]] == [
        ("dialect-foreign-code-system", "claim_diagnosis", 4, "code"),
        ("dialect-foreign-code-system", "claim_diagnosis", 6, "code"),
    ]


def test_columns_turn_into_rows_and_are_numbered(tmp_path):
    parts = run(
        tmp_path,
        "B1,M1,1,oral,2024-01-05,2024-01-09,,,D1,O1,,,",
        "B1,M1,2,oral,2024-01-05,2024-01-09,,,D1,O1,,,",
        "B2,M1,1,oral,2024-01-05,2024-01-09,,,,O2,,,",
        "B3,M1,1,oral,2024-01-05,2024-01-09,,,,,,,",
    )
    found = [tuple(row.values()) for row in rows_of(parts, "claim_care_team")]
    assert found == [
        ("B1", "1", "attending", "D1"),
        ("B1", "2", "referring", "O1"),
        ("B2", "1", "referring", "O2"),
    ]


def test_a_cell_about_a_row_that_is_not_made_is_found(tmp_path):
    text = LAYOUT.replace("provider_id: Doctor }", "provider_id: Doctor, taxonomy_code: Note }")
    text = text.replace("constant: principal, when: {", "first_of: [Note, Kind], when: {")
    text = text.replace(
        "type: { first_of",
        "present_on_admission: { column: Paid, crosswalk: sexes }\n      type: { first_of",
    )
    text = text.replace("{ column: Code, filled: true }", "{ column: Row, filled: true }")
    parts = run(
        tmp_path,
        "B1,M1,1,oral,2024-01-05,2024-01-09,,,,O1,,,207Q00000X",
        "B2,M1,1,oral,2024-01-05,2024-01-09,,,D1,,I10,ICD,208D00000X",
        "B3,M1,1,oral,2024-01-05,x,,,,,,other,",
        text=text,
    )
    found = [note for note in notes(parts) if note[0] == "dialect-fact-without-row"]
    assert found == [
        ("dialect-fact-without-row", "claim_care_team", 2, "taxonomy_code"),
        ("dialect-fact-without-row", "claim_diagnosis", 2, "present_on_admission"),
        ("dialect-fact-without-row", "claim_diagnosis", 2, "type"),
    ]
    assert len(rows_of(parts, "claim_care_team")) == 2


def test_cells_are_joined_and_empty_ones_left_out(tmp_path):
    parts = run(
        tmp_path,
        "B1,M1,1,,,,,,,,I10,ICD,16",
        "B1,M1,2,,,,,,,,,,16",
        "B1,M1,3,,,,,,,,,,",
    )
    found = [row.get("denial_reason") for row in rows_of(parts, "claim_line")]
    assert found == ["16;I10", "16", None]


def test_a_lookup_reads_rows_of_the_same_member_only(tmp_path):
    text = LAYOUT.replace(
        "key: Person, by: Person, value: Payer", "key: Policy, by: Kind, value: Payer"
    )
    persons = PERSONS + "M2,C2,1970-01-01,Ng,f,P2\nM1,C3,1970-01-01,Ng,f,\n"
    parts = run(
        tmp_path,
        "B1,M1,1,C1,,,,,,,,,",
        "B2,M1,1,C2,,,,,,,,,",
        "B3,M1,1,C3,,,,,,,,,",
        "B4,M1,1,gone,,,,,,,,,",
        persons=persons,
        text=text,
    )
    found = {row["claim_id"]: row.get("payer_id") for row in rows_of(parts, "claim")}
    assert found == {"B1": "P1", "B2": None, "B3": None, "B4": None}


TWO_POLICIES = "Person,Policy,Born,Name,Sex,Payer,Since\n" + "".join(
    f"M1,{policy},1970-01-01,Ng,f,{payer},{since}\n"
    for policy, payer, since in (("C1", "P1", "2023-01-01"), ("C2", "P2", "2024-01-01"))
)
AMBIGUOUS = "dialect-ambiguous-lookup"


def ordered(order):
    """The layout with an order in its lookups."""
    text = LAYOUT.replace("value: Policy }", f"value: Policy, order: {order} }}")
    text = text.replace("value: Payer }", f"value: Payer, order: {order} }}")
    more = ", Since" if "Since" in order else ""
    return text.replace("columns: [Name, Sex, Payer]", f"columns: [Name, Sex, Payer{more}]")


def turned(persons):
    head, *rows = persons.splitlines(keepends=True)
    return head + "".join(reversed(rows))


@pytest.mark.parametrize("persons", [TWO_POLICIES, turned(TWO_POLICIES)])
def test_a_lookup_that_finds_different_answers_takes_none(tmp_path, persons):
    text = ordered("[Name]")
    parts = run(tmp_path, "B1,M1,1,oral,2024-01-05,2024-01-09,,,,,,,", persons=persons, text=text)
    (claim,) = rows_of(parts, "claim")
    assert "payer_id" not in claim
    assert "coverage_id" not in claim
    assert [note for note in notes(parts) if note[0] == AMBIGUOUS] == [
        (AMBIGUOUS, "claim", 2, "coverage_id"),
        (AMBIGUOUS, "claim", 2, "payer_id"),
    ]


@pytest.mark.parametrize("persons", [TWO_POLICIES, turned(TWO_POLICIES)])
@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("Since", ("C1", "P1")),
        ("[{ column: Since, descending: true }]", ("C2", "P2")),
        ("[Name, { column: Policy, descending: true }]", ("C2", "P2")),
    ],
)
def test_a_layout_may_say_which_row_of_a_lookup_counts(tmp_path, persons, order, found):
    bill = "B1,M1,1,oral,2024-01-05,2024-01-09,,,,,,,"
    parts = run(tmp_path, bill, persons=persons, text=ordered(order))
    (claim,) = rows_of(parts, "claim")
    assert (claim["coverage_id"], claim["payer_id"]) == found
    assert not [note for note in notes(parts) if note[0] == AMBIGUOUS]


def test_rows_that_say_the_same_are_one_answer_and_an_empty_cell_is_another(tmp_path):
    bill = "B1,M1,1,oral,2024-01-05,2024-01-09,,,,,,,"
    same = PERSONS + PERSONS.splitlines(keepends=True)[1]
    (claim,) = rows_of(run(tmp_path / "same", bill, persons=same), "claim")
    assert claim["payer_id"] == "P1"
    other = run(tmp_path / "other", bill, persons=PERSONS + "M1,C1,1970-01-01,Ng,f,\n")
    assert (AMBIGUOUS, "claim", 2, "payer_id") in notes(other)
    assert (AMBIGUOUS, "claim", 2, "coverage_id") not in notes(other)


def test_a_row_that_cannot_be_read_may_be_the_one_that_was_looked_for(tmp_path):
    bills = ["B1,M1,1,oral,2024-01-05,2024-01-09,,,,,,,", "B2,M2,1,oral,2024-01-05,,,,,,,,"]
    persons = PERSONS + "M2,C2,1970-01-01,Ng,f,P2\nM1,C1,1970-01-01,Ng,f,P1,x\n"
    parts = run(tmp_path, *bills, persons=persons)
    assert {note[2] for note in notes(parts) if note[0] == AMBIGUOUS} == {2}


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
