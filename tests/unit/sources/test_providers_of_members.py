"""Tables of providers that are made from rows of members."""

from collections import Counter

import pytest

from etl.columns.places import place_keys
from etl.errors import MappingError
from tests.given.tables import read_tables
from tests.unit.sources.dialects import BILLS_HEADER, LAYOUT, PERSONS, layout, write
from tests.unit.sources.extracts import all_loaded, read

PRACTITIONERS, BILLS = read_tables(__file__).values()
PEOPLE = PERSONS + "".join(f"M{n},C{n},1970-01-01,Ng,f,P1\n" for n in (2, 3, 4))


def read_bills(tmp_path, practitioners=PRACTITIONERS):
    text = LAYOUT.replace("tables:\n", f"tables:\n{practitioners}")
    rows = BILLS_HEADER + "".join(f"{row}\n" for row in BILLS)
    folder = write(tmp_path / "in", rows, PEOPLE)
    return read(folder, tmp_path / "work", 3, layouts=[layout(text)])


def practitioners(table):
    names = ("practitioner_id", "full_name", "_row")
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def test_equal_rows_are_merged_and_contradicting_ones_stay(tmp_path):
    loaded = read_bills(tmp_path).directory()
    made = practitioners(loaded.tables["practitioner"])
    assert made == [("D1", "Ann Lee", 2), ("D2", "Bo Ray", 3), ("D2", "Bo Roy", 6)]
    assert not loaded.findings.num_rows


def test_rows_that_a_grain_merges_are_reported_where_they_contradict(tmp_path):
    grain = PRACTITIONERS.replace("    needs", "    grain: [Doctor]\n    needs")
    loaded = read_bills(tmp_path, grain).directory()
    made = practitioners(loaded.tables["practitioner"])
    assert made == [("D1", "Ann Lee", 2), ("D2", None, 3)]
    found = loaded.findings.select(["rule", "table", "column", "row"]).to_pylist()
    assert [list(finding.values()) for finding in found] == [
        ["dialect-conflict", "practitioner", "full_name", 3]
    ]


def test_rows_are_counted_once_and_the_quarantine_gets_them_whole(tmp_path):
    parts = read_bills(tmp_path)
    counts = sum((Counter(one.rows) for one in all_loaded(parts)), Counter())
    parts.facts.check_all_there(counts, tmp_path)
    (bills,) = (file.index for file in parts.facts.files if file.table == "bills")
    rows = parts.raw_rows(3, place_keys([bills], [6]))
    assert rows["bills.csv"].select(["Bill", "Doctor", "Note"]).to_pylist() == [
        {"Bill": "B4", "Doctor": "D2", "Note": "Bo Roy"}
    ]


def test_a_row_of_members_that_cannot_be_read_is_theirs(tmp_path):
    parts = read_bills(tmp_path)
    assert parts.facts.layout.raw["bills"].main_table == "claim_line"


def test_a_file_that_only_providers_are_made_of_is_counted(tmp_path):
    text = LAYOUT.replace(
        "tables:\n",
        "  visits:\n    member: Person\n    required: [Person, Doc, Doc name]\n"
        "tables:\n  practitioner:\n    from: visits\n"
        "    columns: { practitioner_id: Doc, full_name: Doc name }\n",
    )
    folder = write(tmp_path / "in")
    (folder / "visits.csv").write_text("Person,Doc,Doc name\nM1,D1,Ann\nM1,D1,Ann\n")
    parts = read(folder, tmp_path / "work", 2, layouts=[layout(text)])
    loaded = all_loaded(parts)
    counts = sum((Counter(one.rows) for one in loaded), Counter())
    assert counts["visits"] == 2
    parts.facts.check_all_there(counts, tmp_path)
    assert practitioners(loaded[-1].tables["practitioner"]) == [("D1", "Ann", 2)]


def test_a_table_of_providers_looks_up_no_file_of_members():
    lookup = "{ lookup: { table: persons, key: Person, by: Person, value: Name } }"
    text = LAYOUT.replace("tables:\n", f"tables:\n{PRACTITIONERS}").replace(
        "full_name: Note", f"full_name: {lookup}"
    )
    with pytest.raises(MappingError, match=r"belongs to no member.*layout-keys"):
        layout(text)
