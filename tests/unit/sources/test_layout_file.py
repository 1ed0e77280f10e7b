"""Layout files: what they may say, and how a mistake in one is told."""

from __future__ import annotations

import pytest

from etl.bootstrap.mappings import read_crosswalks
from etl.errors import ExtractError, MappingError
from etl.sources import open_extract, read_layout
from etl.sources.layout.model import spelling
from tests.unit.sources.dialects import LAYOUT, layout, shipped_layouts, write
from tests.unit.sources.extracts import write_extract

MISTAKES = [
    ("layout: tiny", "lay_out: tiny", 1, "layout-key", "there is no key 'lay_out'"),
    ("title: Tiny\n", "", 1, "layout-key", "title is missing"),
    ("title: Tiny", "title: 12", 2, "layout-value", "title must be text"),
    ("title: Tiny", "title: Tiny\ndelimiter: x", 3, "layout-value", "delimiter must be one of"),
    ("title: Tiny", "title: Tiny\nquoting: maybe", 3, "layout-value", "must be true or false"),
    ("member: Person\n    cov", "member: Persn\n    cov", 7, "layout-header", "did you mean"),
    ("  persons:\n    comp", "  ../x:\n    comp", 5, "layout-value", "must be lower-case"),
    ("columns: [Name, Sex", "columns: [Name, name, Sex", 10, "layout-header", "stands twice"),
    ("old: { Day", "old: { Dy", 18, "layout-header", "bills has no column 'Dy'"),
    ("  member:\n    from", "  membr:\n    from", 22, "layout-table", "did you mean 'member'"),
    ("from: persons", "from: person", 23, "layout-table", "did you mean 'persons'"),
    ("full_name: Name", "fullname: Name", 26, "layout-column", "did you mean 'full_name'"),
    ("full_name: Name", "full_name: Nmae", 26, "layout-header", "did you mean 'Name'"),
    ("crosswalk: sexes", "crosswalk: sex", 28, "layout-crosswalk", "did you mean 'sexes'"),
    ("{ constant: self }", "{ constant: self, column: Sex }", 34, "layout-key", "only one"),
    ("{ constant: self }", "{ amount: true }", 34, "layout-key", "must be there"),
    ("finding: dialect-stand-in-value", "finding: x", 47, "layout-rule", "must be one of"),
    ("relationship: { constant: self }\n      ", "", 29, "layout-required", "column relationship"),
    ("claim_id: Bill\n      line", "claim_id: Row\n      line", 49, "layout-keys", "'Bill'"),
    ("    claim: Bill\n", "", 35, "layout-keys", "so it must declare claim"),
    ("    member: Person\n    claim", "    claim", 43, "layout-keys", "name their member"),
    ("column: Extra", "column: Note", 11, "layout-unaccounted", "used and called unused"),
    ('pattern: "[A-Z][0-9.]+"', 'pattern: "["', 79, "layout-value", "not a regular expression"),
    ("{ column: Code, filled: true }", "{ column: Code }", 70, "layout-key", "a condition asks"),
    ("filled: true }", "filled: 1 }", 70, "layout-value", "must be true or false"),
    ("rows:\n      - {", "rows:\n      {", 67, "yaml-syntax", "not YAML"),
    ("needs: [code]", "needs: [cod]", 73, "layout-column", "did you mean 'code'"),
    ("grain: [Bill, Person]\n    order", "grain: [Bil]\n    order", 38, "layout-header", "'Bill'"),
    ("first_of: [Paid, Day]", "first_of: Paid", 47, "layout-value", "must be a list"),
    ("columns:\n      member_id", "columns: 1\n  x:\n      member_id", 24, "layout-value", "pairs"),
]  # fmt: skip


def refused(old: str, new: str, line: int, error_id: str, sentence: str) -> None:
    assert old in LAYOUT
    with pytest.raises(MappingError) as caught:
        layout(LAYOUT.replace(old, new, 1))
    assert caught.value.error_id == error_id
    assert sentence in str(caught.value)
    assert caught.value.where == f"tiny.yaml:{line}"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("old", "new", "line", "error_id", "sentence"), MISTAKES)
def test_a_mistake_is_told_with_its_line(old, new, line, error_id, sentence):
    refused(old, new, line, error_id, sentence)


MORE_MISTAKES = [
    ("{ constant: self }", "{ constnt: self }", 34, "layout-key", "did you mean 'constant'"),
    ("from: persons", "frm: persons", 23, "layout-key", "did you mean 'from'"),
    ("from: persons", "from: 1", 23, "layout-value", "from must be text"),
    ("full_name: Name", "full_name: 3", 26, "layout-value", "must be key: value pairs"),
    ("title: Tiny", "title: 01", 2, "layout-value", 'put it in quotes: "01"'),
    ("title: Tiny", 'title: " "', 2, "layout-value", "title must be text"),
    ("[Name, Sex, Payer]", "[Name, Sex, 1]", 10, "layout-value", "columns must be text"),
    ("old: { Day: [Date of bill, When] }", "old: 1", 18, "layout-value", "old must be key: v"),
    ("[Date of bill, When]", "When, Row: when", 18, "layout-header", "stands for two columns"),
    ("claim: Bill\n", "claim: Bll\n", 14, "layout-header", "did you mean 'Bill'"),
    ("coverage: Policy", "coverage: Plicy", 8, "layout-header", "did you mean 'Policy'"),
    ("column: Extra,", "column: Extr,", 20, "layout-header", "did you mean 'Extra'"),
    (", reason: means nothing", "", 20, "layout-key", "reason is missing"),
    ("column: Extra, ", "", 20, "layout-value", "column must be text"),
    ("    claim: Bill\n", "    claim: Bill\n    fills: {by: Row}\n", 15, "layout-key", "where is"),
    (
        "    claim: Bill\n",
        "    claim: Bill\n    fills: {by: Rw, where: {column: Code, filled: true}}\n",
        15,
        "layout-header",
        "did you mean 'Row'",
    ),
    (
        "    coverage: Policy\n",
        "    coverage: Policy\n    fills: {by: Sex, where: {column: Sex, filled: true}}\n",
        9,
        "layout-key",
        "fills need a claim",
    ),
    ("grain: [Bill, Person]\n    order: [Row]", "order: [Rw]", 38, "layout-header", "'Row'"),
    ("value: Policy }", "value: Plicy }", 44, "layout-header", "did you mean 'Policy'"),
    ("table: persons,", "table: person,", 44, "layout-table", "did you mean 'persons'"),
    ("by: Person,", "by: Persn,", 44, "layout-header", "did you mean 'Person'"),
    ("value: Policy }", "value: Policy, order: Brn }", 44, "layout-header", "mean 'Born'"),
    (
        "value: Policy }",
        "value: Policy, order: [{column: Born, descending: 1}] }",
        44,
        "layout-value",
        "descending must be true or false",
    ),
    ("key: Person, ", "", 44, "layout-key", "key is missing"),
    ("{ join: [Note, Code] }", "{ join: [Nte, Code] }", 56, "layout-header", "mean 'Note'"),
    ("{ each_row: Row }", "{ each_row: Rw }", 83, "layout-header", "did you mean 'Row'"),
    ("within: [claim_id] }\n    rows", "within: [clam_id] }\n    rows", 64, "layout-column", "id'"),
    ("none_of: [other]", "none_of: [1]", 82, "layout-value", "none_of must be text"),
    ("filled: true }", "differs_from: Sstem }", 70, "layout-header", "did you mean 'System'"),
    ("where: { column: Code, filled: true }", "where:", 70, "layout-value", "where must be k"),
    ('sentinels: ["1969-12-31", ', "sentinels: [true, ", 46, "layout-value", "must be text"),
    ("amount: true }\n  claim_line", "amount: 1 }\n  claim_line", 48, "layout-value", "false"),
    ("amount: true }\n  claim_line", "conflict: x }\n  claim_line", 48, "layout-value", "reject"),
    ("rule: dialect-foreign-code-system", "rule: foreign", 81, "layout-rule", "must be one of"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "error_id", "sentence"), MORE_MISTAKES)
def test_whatever_a_layout_says_is_held_to_its_meaning(old, new, line, error_id, sentence):
    refused(old, new, line, error_id, sentence)


def test_all_mistakes_of_a_layout_are_told_at_once_and_none_that_only_follows_from_another():
    wrong = LAYOUT
    for old, new in (
        ("title: Tiny", "title: Tiny\ndelimiter: x"),
        ("old: { Day", "old: { Dy"),
        ("full_name: Name", "full_name: Nmae"),
        ("crosswalk: sexes", "crosswalk: sex"),
        ("finding: dialect-stand-in-value", "finding: x"),
        ("needs: [code]", "needs: [cod]"),
    ):
        assert old in wrong
        wrong = wrong.replace(old, new, 1)
    with pytest.raises(MappingError) as caught:
        layout(wrong)
    assert sorted((one.where, one.error_id) for one in caught.value.every) == [
        ("tiny.yaml:19", "layout-header"),
        ("tiny.yaml:27", "layout-header"),
        ("tiny.yaml:29", "layout-crosswalk"),
        ("tiny.yaml:3", "layout-value"),
        ("tiny.yaml:48", "layout-rule"),
        ("tiny.yaml:74", "layout-column"),
    ]


@pytest.mark.parametrize("text", ["", "- a", "x"])
def test_what_is_no_layout_at_all_is_refused(text):
    with pytest.raises(MappingError, match="must be key: value pairs"):
        layout(text)


def test_a_layout_that_feeds_no_claims_is_refused():
    start, end = LAYOUT.index("  claim:\n"), LAYOUT.index("  claim_line:")
    with pytest.raises(MappingError, match="nothing feeds the compulsory table claim"):
        layout(LAYOUT[:start] + LAYOUT[end:])


def test_spellings_that_count_as_the_same_header():
    same = [
        "Service (from) date",
        "service__from__DATE",
        " SERVICE-FROM-DATE ",
        "service from date",
    ]
    assert {spelling(header) for header in same} == {"service_from_date"}
    assert spelling("Service date") != spelling("Servicedate")


def test_a_file_is_known_by_its_headers_whatever_its_name(tmp_path):
    folder = write(tmp_path / "in")
    (folder / "persons.csv").rename(folder / "export-0001.csv")
    extract = open_extract(folder, [layout()])
    assert extract.layout.name == "tiny"
    assert {file.name: file.table for file in extract.files} == {
        "bills.csv": "bills",
        "export-0001.csv": "persons",
    }


def test_other_spellings_of_an_alias_set_are_understood(tmp_path):
    folder = write(tmp_path / "in")
    text = (folder / "bills.csv").read_text().replace("Day", "date_of-bill")
    (folder / "bills.csv").write_text(text)
    extract = open_extract(folder, [layout()])
    assert extract.findings.num_rows == 0
    assert "Day" in extract.files[0].known


def test_the_nearest_layout_and_what_it_lacks_are_told(tmp_path):
    folder = write(tmp_path / "in")
    text = (folder / "bills.csv").read_text().replace("Row", "Rank")
    (folder / "bills.csv").write_text(text)
    with pytest.raises(ExtractError) as caught:
        open_extract(folder, [layout()])
    assert str(caught.value) == (
        "no known layout fits bills.csv, persons.csv; the nearest is tiny, but bills.csv lacks "
        f"the compulsory column Row; `cpcds doctor {folder}` looks at every file and starts a "
        "layout (docs/layouts.md, A file nobody has seen)"
    )
    with pytest.raises(ExtractError, match=r"not in layout tiny: bills\.csv lacks the compulsory"):
        open_extract(folder, [layout()], layout="tiny")


def test_two_layouts_that_fit_are_refused_until_one_is_named(tmp_path):
    folder = write(tmp_path / "in")
    twins = [layout(), layout(LAYOUT.replace("layout: tiny", "layout: twin"))]
    with pytest.raises(ExtractError, match=r"fit the layouts tiny and twin; say which .*--layout"):
        open_extract(folder, twins)
    assert open_extract(folder, twins, layout="twin").layout.name == "twin"
    (folder / "manifest.json").write_text('{"layout": "tiny"}')
    assert open_extract(folder, twins).layout.name == "tiny"
    assert open_extract(folder, twins, layout="twin").layout.name == "twin"


def test_the_canonical_layout_is_found_beside_dialects(tmp_path):
    extract = open_extract(write_extract(tmp_path / "in"), [layout()])
    assert extract.layout.name == "cpcds"


@pytest.mark.parametrize("delimiter", ["|", ";", "~", "^"])
def test_delimiter_and_quoting_of_a_layout_beat_the_ending(delimiter, tmp_path):
    folder = write(tmp_path / "in")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace(",", delimiter).replace("Ng", '"Ng'))
    piped = LAYOUT.replace("title: Tiny", f'title: Tiny\ndelimiter: "{delimiter}"\nquoting: false')
    extract = open_extract(folder, [layout(piped)])
    assert [file.delimiter for file in extract.files] == [delimiter, delimiter]


@pytest.mark.parametrize("ending", [".txt", ".dat", ""])
def test_text_of_another_ending_is_read_where_a_layout_says_how(ending, tmp_path):
    folder = write(tmp_path / "in")
    (folder / "notes.txt").write_text("not of the extract\n")
    (folder / "bills.csv").rename(folder / f"BILLS_2024{ending}")
    (folder / "persons.csv").rename(folder / "persons.txt")
    with pytest.raises(ExtractError, match="has commas between its cells, but no ending"):
        open_extract(folder, [layout()])
    named = LAYOUT.replace("title: Tiny", 'title: Tiny\ndelimiter: ","').replace(
        "    coverage: Policy\n", "    coverage: Policy\n    named: persons\n"
    )
    named = named.replace("    claim: Bill\n", "    claim: Bill\n    named: bills_*\n")
    extract = open_extract(folder, [layout(named)])
    tables = {file.name: file.table for file in extract.files}
    assert tables == {f"BILLS_2024{ending}": "bills", "persons.txt": "persons", "notes.txt": ""}


def test_a_payers_crosswalk_is_laid_over_ours(tmp_path):
    for root, text in (("ours", "source,code\ns2,E11.8\n"), ("theirs", "source,code\ns1,E11.9\n")):
        (tmp_path / root / "crosswalks").mkdir(parents=True)
        (tmp_path / root / "crosswalks" / "foreign.csv").write_text(text)
        (tmp_path / root / "crosswalks" / "sexes.csv").write_text("source,code\nm,M\nf,F\n")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    found = read_layout(LAYOUT, "tiny.yaml", read_crosswalks([ours, theirs])).crosswalks["foreign"]
    assert (found.answer("S1"), found.answer("s2")) == ("E11.9", "E11.8")
    found = read_layout(LAYOUT, "tiny.yaml", read_crosswalks([ours])).crosswalks["foreign"]
    assert (found.answer("S1"), found.answer("s2")) == (None, "E11.8")


def test_every_shipped_layout_can_be_read():
    layouts = shipped_layouts()
    assert [found.name for found in layouts] == [
        "apcd-cdl",
        "cms-idr",
        "onyx-b",
        "synthea-members",
        "tuva-input-persons",
        "tuva-input",
    ]
    assert all(found.title and found.description for found in layouts)
