"""The layout language: a dialect that uses all of it, and mistakes in what it says."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from etl.errors import MappingError
from etl.sources.convert.cell_origins import PartitionOrigins
from etl.sources.extract.opening import open_extract
from etl.sources.files.stored_files import FolderFiles, TableVersion
from etl.sources.layout.model import LayoutText
from etl.sources.layout.syntax import read_layout
from tests.given.tables import read_tables, table
from tests.unit.sources.dialects import CROSSWALKS, LAYOUT, layout, write
from tests.unit.sources.extracts import all_loaded, findings_of, read, rows_of
from tests.unit.sources.golden import assert_written_down

GOLDEN = Path(__file__).parents[2] / "golden/layouts/language"


def harbor():
    return read_layout((GOLDEN / "layout.yaml").read_text(encoding="utf-8"), "harbor.yaml", {})


@pytest.mark.parametrize("count", [1, 3])
def test_every_construct_gives_the_rows_that_were_written_down(tmp_path, count):
    """The case's README says what is in it."""
    parts = read(GOLDEN / "input", tmp_path / "work", count, layouts=[harbor()])
    assert_written_down(parts, GOLDEN)


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_in_the_language_is_told_with_its_line(old, new, line, error_id, sentence):
    assert old in LAYOUT
    with pytest.raises(MappingError) as caught:
        layout(LAYOUT.replace(old, new, 1))
    first = caught.value.every[0]
    assert (first.where, first.error_id) == (f"tiny.yaml:{line}", error_id)
    assert sentence in str(first)


TABLES = read_tables(__file__)


def overlaid(text):
    """Return the layout of a text that extends the small dialect."""
    return read_layout(text, "b.yaml", CROSSWALKS, {"tiny": LayoutText("tiny.yaml", LAYOUT)})


def test_an_overlay_changes_what_it_names_and_nothing_else():
    made = overlaid(TABLES["overlay"].replace("full_name:\n", "gender: Sex\n"))
    base = layout()
    assert (made.name, made.title, made.description) == (
        "tiny-b",
        "Tiny, with a street",
        base.description,
    )
    assert set(made.raw["persons"].columns) ^ set(base.raw["persons"].columns) == {
        "Street",
        "Payer",
    }
    assert made.raw["bills"] == base.raw["bills"]
    ours, theirs = dict(made.tables[0].columns), dict(base.tables[0].columns)
    assert ours.pop("address_line").headers() == {"Street"}
    assert ours.pop("gender").crosswalk is None
    assert theirs.pop("gender").crosswalk is not None
    assert ours == theirs
    assert made.tables[3:] == base.tables[3:]


def test_an_overlay_takes_away_what_has_nothing_behind_its_key():
    made = overlaid(TABLES["overlay"])
    assert "full_name" in layout().tables[0].columns
    assert "full_name" not in made.tables[0].columns


def test_an_overlay_changes_one_key_of_an_entry_of_a_list_by_its_name():
    made = overlaid(TABLES["overlay_of_lists"])
    assert made.raw["bills"].unused["Extra"] == "of no use"
    (ours,) = [spec for spec in made.tables if spec.table == "claim_care_team"]
    (theirs,) = [spec for spec in layout().tables if spec.table == "claim_care_team"]
    assert ours.rows[0] == theirs.rows[0]
    assert ours.rows[1]["provider_id"] == theirs.rows[1]["provider_id"]
    assert ours.rows[1]["role"] != theirs.rows[1]["role"]


@pytest.mark.parametrize(*table(__file__, "overlays"))
def test_a_mistake_in_an_overlay_is_told_where_it_is(text, where, sentence):
    texts = {
        "tiny": LAYOUT,
        "other": "extends: third",
        "third": "extends: other",
        "wrong": LAYOUT.replace("full_name: Name", "full_name: Nmae"),
    }
    bases = {name: LayoutText(f"{name}.yaml", text) for name, text in texts.items()}
    with pytest.raises(MappingError, match=sentence) as caught:
        read_layout(text, "b.yaml", CROSSWALKS, bases)
    assert caught.value.every[0].where == where


def test_files_are_known_by_name_without_a_header_and_with_extra_cells(tmp_path):
    text = LAYOUT.replace(
        "    claim: Bill\n",
        "    claim: Bill\n    header: false\n    named: 'BILLS-*'\n"
        "    extra_cells: { most: 1, reason: a comma at the end }\n",
    )
    folder = write(tmp_path / "in")
    (folder / "bills.csv").unlink()
    one = "B1,M1,1,professional,2024-01-05,2024-01-09,10,10,D1,O1,I10,ICD,,"
    (folder / "bills-0001.csv").write_text(f"{one}\n{one.replace('B1', 'B2')},more\nB3,M1\n")
    extract = open_extract(folder, [layout(text)])
    assert [file.table for file in extract.files] == ["bills", "persons"]
    parts = read(folder, tmp_path / "work", 2, layouts=[layout(text)])
    found = [(row["claim_id"], row["claim_type"]) for row in rows_of(parts, "claim")]
    assert found == [("B1", "professional"), ("B2", "professional")]
    assert [(one[0], one[3]) for one in findings_of(parts) if one[0] == "ragged-row"] == [
        ("ragged-row", 3)
    ]


def test_rows_that_cannot_be_read_are_counted_where_keys_are_made_and_files_are_for_everybody(
    tmp_path,
):
    folder = tmp_path / "in"
    shutil.copytree(GOLDEN / "input", folder)
    for name in ("lines.csv", "plans.csv", "bills.csv"):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("N,1\n")
    parts = read(folder, tmp_path / "work", 3, layouts=[harbor()])
    rows: Counter[str] = Counter()
    for loaded in all_loaded(parts):
        rows.update(loaded.rows)
    parts.facts.check_all_there(rows, tmp_path / "work")
    assert dict(rows) == {"people": 2, "policies": 4, "bills": 6, "lines": 6, "plans": 4}
    # The torn plan may be that of any coverage, so none is taken.
    torn = [one for one in findings_of(parts) if one[0] == "dialect-ambiguous-lookup"]
    assert [row for _, table, _, row, _ in torn if table == "coverage"] == [2, 3, 4, 5]
    assert all("plan_name" not in row for row in rows_of(parts, "coverage"))
    assert set(parts.facts.unowned) == {"lines.csv", "bills.csv"}


def test_a_table_is_known_by_the_name_of_its_raw_file_and_has_headers_whatever_files_have(tmp_path):
    text = LAYOUT.replace("layout: tiny\n", "layout: tiny\ndelimiter: '|'\nquoting: false\n")
    for name in ("persons", "bills"):
        text = text.replace(f"  {name}:\n", f"  {name}:\n    named: 'X_*'\n    header: false\n", 1)
    staged = tmp_path / "in"
    staged.mkdir()
    (staged / "persons.csv").write_text('Policy,Person,Born,Name\nP1,M1,1970-05-30,"Bo, Al"\n')
    (staged / "bills.csv").write_text("Row,Bill,Person,Kind\n1,B1,M1,oral\n")
    origins = {f"{name}.csv": TableVersion("sql", name) for name in ("persons", "bills")}
    files = FolderFiles(staged, "extract.toml", origins)
    parts = read(files, tmp_path / "work", layouts=[read_layout(text, "tiny.yaml", CROSSWALKS)])
    assert [row["full_name"] for row in rows_of(parts, "member")] == ["Bo, Al"]
    assert [row["claim_id"] for row in rows_of(parts, "claim")] == ["B1"]


@pytest.mark.parametrize(
    ("payers", "payer", "headers"),
    [
        (("P1", "P1"), "P1", {"Person", "Payer"}),
        (("", ""), "Ng", {"Person", "Name"}),
        (("P1", "P2"), None, {"Person"}),  # nobody knows which, and no other entry takes its place
    ],
)
def test_a_cell_comes_from_the_alternative_that_decided(tmp_path, payers, payer, headers):
    lookup = "{ table: persons, key: Person, by: Person, value: Payer }"
    other = lookup.replace("Payer", "Name")
    text = LAYOUT.replace(
        f"payer_id: {{ lookup: {lookup} }}",
        f"payer_id: {{ first_of: [{{ lookup: {lookup} }}, {{ lookup: {other} }}] }}",
    )
    rows = "".join(f"M1,C{number},1970-05-30,Ng,f,{one}\n" for number, one in enumerate(payers))
    folder = write(tmp_path / "in", persons="Person,Policy,Born,Name,Sex,Payer\n" + rows)
    parts = read(folder, tmp_path / "work", layouts=[layout(text)])
    (claim,) = rows_of(parts, "claim")
    origins = PartitionOrigins(parts.facts.layout, parts.facts.files, parts.raw_rows(0))
    file = parts.facts.names.index("bills.csv")
    found = origins.cell_origin("claim", {**claim, "_file": str(file), "_row": "2"}, "payer_id")
    assert claim.get("payer_id") == payer
    assert {cell.header for cell in found.cells} == headers
