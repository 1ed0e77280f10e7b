"""Layout files: what they may say, and how a mistake in one is told."""

import pytest

from etl.bootstrap.mappings import read_crosswalks
from etl.errors import ExtractError, MappingError
from etl.sources.extract.opening import open_extract
from etl.sources.layout.model import normalize_header
from etl.sources.layout.syntax import read_layout
from tests.given.tables import read_tables, table
from tests.unit.sources.dialects import LAYOUT, layout, write
from tests.unit.sources.extracts import write_extract


@pytest.fixture
def folder(tmp_path):
    """Return the folder of an extract of the dialect."""
    return write(tmp_path / "in")


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_is_told_with_its_line(old, new, line, error_id, sentence):
    assert old in LAYOUT
    with pytest.raises(MappingError) as caught:
        layout(LAYOUT.replace(old, new, 1))
    assert caught.value.error_id == error_id
    assert sentence in str(caught.value)
    assert caught.value.where == f"tiny.yaml:{line}"
    assert caught.value.exit_code == 3


def test_all_mistakes_of_a_layout_are_told_at_once_and_none_that_only_follows_from_another():
    wrong, several = LAYOUT, read_tables(__file__)["several"]
    for old, new in several["changes"]:
        assert old in wrong
        wrong = wrong.replace(old, new, 1)
    with pytest.raises(MappingError) as caught:
        layout(wrong)
    assert sorted([one.where, one.error_id] for one in caught.value.every) == several["errors"]


@pytest.mark.parametrize("text", ["", "- a", "x"])
def test_what_is_no_layout_at_all_is_refused(text):
    with pytest.raises(MappingError, match="must be key: value pairs"):
        layout(text)


def test_a_layout_that_feeds_no_claims_is_refused():
    start, end = LAYOUT.index("  claim:\n"), LAYOUT.index("  claim_line:")
    with pytest.raises(MappingError, match="nothing feeds the required table claim"):
        layout(LAYOUT[:start] + LAYOUT[end:])


def test_spellings_that_count_as_the_same_header():
    same = [
        "Service (from) date",
        "service__from__DATE",
        " SERVICE-FROM-DATE ",
        "service from date",
    ]
    assert {normalize_header(header) for header in same} == {"service_from_date"}
    assert normalize_header("Service date") != normalize_header("Servicedate")


def test_a_file_is_known_by_its_headers_whatever_its_name(folder):
    (folder / "persons.csv").rename(folder / "export-0001.csv")
    extract = open_extract(folder, [layout()])
    assert extract.layout.name == "tiny"
    assert {file.name: file.table for file in extract.files} == {
        "bills.csv": "bills",
        "export-0001.csv": "persons",
    }


def test_other_spellings_of_an_alias_set_are_understood(folder):
    text = (folder / "bills.csv").read_text().replace("Day", "date_of-bill")
    (folder / "bills.csv").write_text(text)
    extract = open_extract(folder, [layout()])
    assert extract.findings.num_rows == 0
    assert "Day" in extract.files[0].known


def test_the_nearest_layout_and_what_it_lacks_are_told(folder):
    text = (folder / "bills.csv").read_text().replace("Row", "Rank")
    (folder / "bills.csv").write_text(text)
    with pytest.raises(ExtractError) as caught:
        open_extract(folder, [layout()])
    assert str(caught.value) == (
        "no known layout fits bills.csv, persons.csv; the nearest is tiny, but bills.csv lacks "
        f"the required column Row; `cpcds doctor {folder}` examines every file and drafts a "
        "layout (docs/layouts.md, Drafting a layout)"
    )
    with pytest.raises(ExtractError, match=r"not in layout tiny: bills\.csv lacks the required"):
        open_extract(folder, [layout()], layout="tiny")


def test_two_layouts_that_fit_are_refused_until_one_is_named(folder):
    twins = [layout(), layout(LAYOUT.replace("layout: tiny", "layout: twin"))]
    with pytest.raises(
        ExtractError, match=r"fit the layouts tiny and twin; choose one with --layout"
    ):
        open_extract(folder, twins)
    assert open_extract(folder, twins, layout="twin").layout.name == "twin"
    (folder / "manifest.json").write_text('{"layout": "tiny"}')
    assert open_extract(folder, twins).layout.name == "tiny"
    assert open_extract(folder, twins, layout="twin").layout.name == "twin"


def test_the_canonical_layout_is_found_beside_dialects(tmp_path):
    extract = open_extract(write_extract(tmp_path / "in"), [layout()])
    assert extract.layout.name == "cpcds"


@pytest.mark.parametrize("delimiter", ["|", ";", "~", "^"])
def test_delimiter_and_quoting_of_a_layout_beat_the_ending(folder, delimiter):
    for path in folder.iterdir():
        path.write_text(path.read_text().replace(",", delimiter).replace("Ng", '"Ng'))
    piped = LAYOUT.replace("title: Tiny", f'title: Tiny\ndelimiter: "{delimiter}"\nquoting: false')
    extract = open_extract(folder, [layout(piped)])
    assert [file.form.delimiter for file in extract.files] == [delimiter, delimiter]


@pytest.mark.parametrize("ending", [".txt", ".dat", ""])
def test_text_of_another_ending_is_read_where_a_layout_says_how(folder, ending):
    (folder / "notes.txt").write_text("not of the extract\n")
    (folder / "bills.csv").rename(folder / f"BILLS_2024{ending}")
    (folder / "persons.csv").rename(folder / "persons.txt")
    with pytest.raises(ExtractError, match="has commas between its cells, but its extension"):
        open_extract(folder, [layout()])
    named = LAYOUT.replace("title: Tiny", 'title: Tiny\ndelimiter: ","')
    named = named.replace("    claim: Bill\n", "    claim: Bill\n    named: bills_*\n")
    (folder / "notes.txt").rename(folder / "notes.doc")
    with pytest.raises(ExtractError, match=r"persons\.txt is read only if the layout sets named"):
        open_extract(folder, [layout(named)], layout="tiny")
    (folder / "notes.doc").rename(folder / "notes.txt")
    named = named.replace("    coverage: Policy\n", "    coverage: Policy\n    named: persons\n")
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
