"""An extract that SQL makes: its results, what is refused before a row is read, and secrets."""

import gzip
import re
from contextlib import closing

import pyarrow as pa
import pytest

from etl.columns.places import RowSources, place_keys, places_of
from etl.errors import ExtractError, MappingError, StoreError
from etl.rows import findings_at
from etl.sources.extract.opening import open_extract
from etl.sources.extract.queries import QueryDatabase
from etl.sources.extract.sql_extract import (
    DEFINITION,
    check_sql_extract,
    read_sql_extract,
    stage_queries,
)
from etl.sources.extract.tables import Query, read_tables
from etl.sources.files.stored_files import FolderFiles
from etl.sources.partition.reading import partition_extract, resume_partitions
from tests.given import tables as cases

DATA = cases.read_tables(__file__)
BILLS, PERSONS, TOML, QUERIES = (
    DATA[name] for name in ("bills", "persons", "definition", "queries")
)


def payer(folder, queries=QUERIES, toml=TOML):
    folder.mkdir(exist_ok=True)
    (folder / "bills_2024.csv").write_text(BILLS)
    (folder / "persons.csv").write_text(PERSONS)
    (folder / DEFINITION).write_text(toml)
    for name, text in queries.items():
        (folder / name).write_text(text)
    files = FolderFiles(folder)
    return read_sql_extract(files, DEFINITION, read_tables(files, DEFINITION))


def staged(extract, folder, **options):
    work = folder.with_name(f"{folder.name}-work")
    work.mkdir()
    return stage_queries(extract, FolderFiles(folder), work, **options)


def results(files):
    found = {}
    for entry in files.entries():
        with files.open(entry.name) as stream:
            found[entry.name] = stream.read().decode()
    return found


def mistakes(folder, **queries):
    changed = {f"{name}.sql": text for name, text in queries.items()}
    extract = payer(folder, QUERIES | changed)
    with pytest.raises(MappingError) as raised:
        check_sql_extract(extract, FolderFiles(folder))
    return [mistake.sentence for mistake in raised.value.every]


def test_queries_become_files_of_the_canonical_layout(tmp_path):
    found = results(staged(payer(tmp_path / "in"), tmp_path / "in"))
    assert found["manifest.json"] == '{"layout": "cpcds", "kind": "full", "as_of": "2026-01-31"}'
    header, *claims = found["claim.csv"].splitlines()
    assert header.endswith('"amount_submitted","source_file","source_row"')
    first, second = sorted(claims)
    assert first.endswith('"100.00","bills_2024.csv","2"')
    assert first.count('"2024-03-05"') == 2
    assert second.endswith('"7.50","bills_2024.csv","4"')
    assert '"P1","1980-01-31","F","X"' in found["member.csv"]


def test_equal_rows_give_equal_bytes_however_the_files_are_cut_and_packed(tmp_path):
    first = results(staged(payer(tmp_path / "one"), tmp_path / "one"))
    extract = payer(tmp_path / "two")
    header, *rows = BILLS.splitlines(keepends=True)
    (tmp_path / "two/bills_2024.csv").unlink()
    (tmp_path / "two/bills_a.csv").write_text(header + rows[2])
    with gzip.open(tmp_path / "two/bills_b.csv.gz", "wt") as packed:
        packed.write(header + "".join(rows[:2]))
    second = results(staged(extract, tmp_path / "two"))
    assert second["member.csv"] == first["member.csv"]
    again = tmp_path / "two-again"
    again.mkdir()
    assert results(stage_queries(extract, FolderFiles(tmp_path / "two"), again)) == second


def read(place, work):
    return partition_extract(open_extract(place, ()), work, partitions=1)


def sources_of(parts, table):
    rows = parts.load(0).tables[table]
    files, numbers = parts.row_sources(0).named(*places_of(rows))
    return [
        (parts.facts.names[file], row)
        for file, row in zip(files.tolist(), numbers.tolist(), strict=True)
    ]


def test_rows_of_results_are_named_by_the_rows_of_the_payer(tmp_path):
    parts = read(staged(payer(tmp_path / "in"), tmp_path / "in"), tmp_path / "parts")
    assert sources_of(parts, "claim") == [("bills_2024.csv", 2), ("bills_2024.csv", 4)]
    assert sources_of(parts, "claim_line") == [("bills_2024.csv", row) for row in (2, 3, 4)]
    assert [(file.name, file.rows) for file in parts.facts.queried] == [
        ("bills_2024.csv", 3),
        ("persons.csv", 2),
    ]
    assert resume_partitions(tmp_path / "parts").facts == parts.facts
    # A query that passes no place on: the row of its result.
    members = [("result of member.sql", row) for row in (2, 3)]
    assert sorted(sources_of(parts, "member")) == members


def test_a_file_of_the_payer_may_be_called_like_a_result(tmp_path):
    extract = payer(tmp_path / "in", toml=TOML.replace("bills_*", "claim.csv"))
    (tmp_path / "in/bills_2024.csv").rename(tmp_path / "in/claim.csv")
    parts = read(staged(extract, tmp_path / "in"), tmp_path / "parts")
    assert sources_of(parts, "claim") == [("claim.csv", 2), ("claim.csv", 4)]
    assert "result of claim.sql" in parts.facts.names


@pytest.mark.parametrize(
    "place", ["'x.csv' as _file, _row", "_file, '0' as _row", "_file, 'x' as _row", "_file"]
)
def test_a_place_that_is_none_names_no_row_of_the_payer(tmp_path, place):
    line = QUERIES["claim_line.sql"].replace("_file, _row", place)
    extract = payer(tmp_path / "in", QUERIES | {"claim_line.sql": line})
    parts = read(staged(extract, tmp_path / "in"), tmp_path / "parts")
    assert {file for file, _ in sources_of(parts, "claim_line")} == {"result of claim_line.sql"}


def test_findings_about_whole_files_stay_where_they_are():
    of_file = findings_at("unknown-file", "*", pa.array([0]), pa.nulls(1, pa.int64()), None)
    of_row = findings_at("required", "claim", pa.array([1]), pa.array([7]), "claim_id")
    both = pa.concat_tables([of_file, of_row])
    sources = RowSources.from_keys(place_keys([1, 0], [7, 0]), place_keys([5, 6], [70, 60]))
    assert sources.of_findings(both).select(["file", "row"]).to_pylist() == [
        {"file": 0, "row": None},
        {"file": 5, "row": 70},
    ]
    assert sources.only(both).results_of(5, 70) == [(1, 7)]
    assert sources.only(both).results_of(6, 60) == []


def findings_of(place):
    opened = open_extract(place, ())
    found = opened.findings.to_pylist()
    return {(one["rule"], opened.names[one["file"]], one["row"], one["column"]) for one in found}


def test_rows_and_columns_that_no_result_has_are_found(tmp_path):
    lines = f"{QUERIES['claim_line.sql']} where Line = '1'"
    extract = payer(tmp_path / "in", QUERIES | {"claim_line.sql": lines})
    place = staged(extract, tmp_path / "in")
    # Row 3 is neither a line nor the first of its bill. Nothing passes on a row of persons.csv.
    assert findings_of(place) == {
        ("unused-row", "bills_2024.csv", 3, None),
        ("unknown-column", "bills_2024.csv", None, "column 5"),
    }
    assert check_sql_extract(extract, FolderFiles(tmp_path / "in")) == ("bills_2024.csv: Total",)
    known = payer(tmp_path / "known", toml=TOML.replace('"|" }', '"|", unused = "tot*" }'))
    assert findings_of(staged(known, tmp_path / "known")) == set()


@pytest.mark.parametrize(*cases.table(__file__, "columns_read"))
def test_a_column_is_read_wherever_a_query_names_it(text, unread):
    columns = dict.fromkeys(("Bill", "Person", "Line", "Day", "Total", "Charge"), "VARCHAR")
    with closing(QueryDatabase()) as database:
        database.add_table("bills", columns)
        database.add_table("persons", {"Person": "VARCHAR"})
        read = database.columns_read(Query("q.sql", text))
    assert (unread.lower() not in read) if unread else {name.lower() for name in columns} <= read


def test_files_that_no_view_reads_stay_in_the_extract(tmp_path):
    extract = payer(tmp_path / "in")
    (tmp_path / "in/notes.csv").write_text("a,b\n1,2\n")
    assert check_sql_extract(extract, FolderFiles(tmp_path / "in")) == (
        "notes.csv",
        "bills_2024.csv: Total",
    )
    names = {entry.name for entry in staged(extract, tmp_path / "in").entries()}
    assert {"notes.csv", "claim.csv"} <= names
    assert names.isdisjoint({"bills_2024.csv", "extract.toml", "claim.sql"})


def test_a_column_that_a_file_may_lack_is_null_there(tmp_path):
    toml = TOML.replace('"|" }', '"|", columns = ["Note{1..2}"] }')
    line = QUERIES["claim_line.sql"].replace("_file", "coalesce(Note2, 'none') as units, _file", 1)
    found = results(
        staged(payer(tmp_path / "in", QUERIES | {"claim_line.sql": line}, toml), tmp_path / "in")
    )
    assert found["claim_line.csv"].count('"none"') == 3


@pytest.mark.parametrize(*cases.table(__file__, "unbound"))
def test_a_query_is_bound_before_a_row_is_read(text, sentence, tmp_path):
    assert any(sentence in mistake for mistake in mistakes(tmp_path / "in", claim=text))


def test_all_that_is_wrong_with_results_is_said_at_once(tmp_path):
    line = QUERIES["claim_line.sql"].replace("as amount_submitted", "::double as amount_submited")
    said = mistakes(
        tmp_path / "in", claim_line=line, member="select Person as member_id from persons"
    )
    lacks = "member.sql: the result lacks the required column "
    assert said == [
        *(lacks + name for name in ("birth_date", "gender", "family_name or full_name")),
        "claim_line.sql: the table claim_line has no column 'amount_submited'; "
        "did you mean 'amount_submitted'?",
        "claim_line.sql: amount_submited is DOUBLE, but results are text, days or exact decimals: "
        "cast it",
    ]


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("Charge::integer as units", "claim_line.sql:2:7"),
        ("strptime(Person, '%Y')::date as service_to_date", "claim_line.sql"),
        ("error(Person) as units", "claim_line.sql"),
    ],
)
def test_no_cell_is_shown_where_a_cell_cannot_be_computed(statement, where, tmp_path):
    line = QUERIES["claim_line.sql"].replace("strptime(Day, '%m/%d/%Y')::date", "Day")
    line = line.replace("Line as", f"\n{statement}, Line as")
    claim = QUERIES["claim.sql"].replace(
        "sum(Charge::decimal(18, 2))::decimal(18, 2)", "min(Total)"
    )
    extract = payer(tmp_path / "in", QUERIES | {"claim_line.sql": line, "claim.sql": claim})
    secret = BILLS.replace("P2", "SECRET-PERSON").replace("7.50\n", "SECRET-SUM\n")
    (tmp_path / "in/bills_2024.csv").write_text(secret)
    with pytest.raises(ExtractError) as raised:
        staged(extract, tmp_path / "in")
    assert str(raised.value).startswith(where)
    assert "SECRET" not in str(raised.value)
    assert re.search(r"\(row [24] of bills_2024.csv\)", str(raised.value))
    assert "try_cast" in str(raised.value)


def test_rows_that_only_fail_together_are_both_named(tmp_path):
    member = """
    select Person as member_id, Born::date as birth_date, 'F' as gender, 'X' as full_name
    from persons join bills using (Person) where (Born[:4] || Total)::double > 0
    """
    extract = payer(tmp_path / "in", QUERIES | {"member.sql": member})
    (tmp_path / "in/bills_2024.csv").write_text(BILLS.replace(" 7.50 ", "7.5o"))
    with pytest.raises(ExtractError) as raised:
        staged(extract, tmp_path / "in")
    assert "(row 4 of bills_2024.csv, row 3 of persons.csv)" in str(raised.value)


def test_memory_is_bounded(tmp_path):
    """What does not fit is spilled; what cannot be is refused with a sentence."""
    extract = payer(tmp_path / "in")
    rows = "".join(f"B{n}|P{n}|1|03/05/2024|1.00|1.00\n" for n in range(20_000))
    (tmp_path / "in/bills_2024.csv").write_text(BILLS.splitlines(keepends=True)[0] + rows)
    found = results(staged(extract, tmp_path / "in", memory=24 << 20))
    assert found["claim.csv"].count("\n") == 20_001
    listing = (
        "select string_agg(repeat(Person, 4000), '') as member_id, 'F' as gender, "
        "'x' as full_name, 'x' as birth_date from bills, range(4000)"
    )
    with pytest.raises((StoreError, ExtractError), match="memory") as raised:
        staged(
            payer(tmp_path / "big", QUERIES | {"member.sql": listing}),
            tmp_path / "big",
            memory=16 << 20,
        )
    assert "P1" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("bills_2024.csv", BILLS + "B3|P1\n"), "bills_2024.csv: row 5 has more or fewer cells"),
        (
            ("bills_2024.csv", BILLS.replace("Line", "bill")),
            "column 1 has the same header as another",
        ),
        (("bills_2024.csv", b"\xff\xfe"), "UTF-16"),
        (("persons.csv", None), "has no file persons.csv for view persons"),
        (("manifest.json", '{"files": {"persons.csv": {"rows": 3}}}'), "persons.csv has 2 rows"),
    ],
)
def test_files_that_cannot_be_read_whole_are_refused(change, sentence, tmp_path):
    extract = payer(tmp_path / "in")
    name, text = change
    if text is None:
        (tmp_path / "in" / name).unlink()
    else:
        (tmp_path / "in" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ExtractError, match=sentence):
        staged(extract, tmp_path / "in")


@pytest.mark.parametrize(*cases.table(__file__, "definitions"))
def test_an_extract_toml_is_checked(old, new, sentence, tmp_path):
    assert old in TOML
    with pytest.raises(ExtractError, match=re.escape(sentence)):
        payer(tmp_path / "in", toml=TOML.replace(old, new))


JSON_TOML = """
layout = "cpcds-formulary"
[files]
drugs = { path = "drugs*.json*", json = true }
more = { path = "more.json", json = true, optional = true }
[tables]
formulary = "formulary.sql"
drug = "drug.sql"
item = "item.sql"
"""
JSON_QUERIES = {
    "formulary.sql": "select 'F' as formulary_id, 'One' as name",
    "drug.sql": (
        "select document->>'$.id' as drug_id, document->>'$.id' as rxnorm_code, _file, _row "
        "from (select * from drugs union all by name select * from more)"
    ),
    "item.sql": (
        "select 'F' as formulary_id, document->>'$.id' as drug_id, 'generic' as tier, "
        "'1-month-in-retail' as pharmacy_types from drugs"
    ),
}


def json_extract(folder, text):
    folder.mkdir()
    (folder / "drugs-1.json.gz").write_bytes(gzip.compress(text))
    (folder / "drugs-2.json").write_text('[{"id": "9"}]')
    (folder / DEFINITION).write_text(JSON_TOML)
    for name, query in JSON_QUERIES.items():
        (folder / name).write_text(query)
    files = FolderFiles(folder)
    return read_sql_extract(files, DEFINITION, read_tables(files, DEFINITION))


def test_each_element_of_a_json_array_is_a_row(tmp_path):
    text = '\ufeff [ {"id": "7", "name": "é"},\n{"id": 8} ]'.encode()
    extract = json_extract(tmp_path / "in", text)
    assert check_sql_extract(extract, FolderFiles(tmp_path / "in")) == ()
    found = results(staged(extract, tmp_path / "in"))
    rows = (line.replace('"', "") for line in found["drug.csv"].splitlines()[1:])
    assert sorted(rows) == [
        "7,7,drugs-1.json.gz,1",
        "8,8,drugs-1.json.gz,2",
        "9,9,drugs-2.json,1",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b'{"id": "secret"}', "drugs-1.json.gz: is not a JSON array; correct the file"),
        (b'[{"id": "secret"', "drugs-1.json.gz: is not a JSON array; correct the file"),
        (b'[{"id": "secret"} x]', r"drugs-1.json.gz: is not a JSON array \(byte \d+\)"),
        (b'["\xff"]', "drugs-1.json.gz: is not a JSON array"),
    ],
)
def test_a_file_that_is_no_json_array_is_refused_without_its_text(text, sentence, tmp_path):
    extract = json_extract(tmp_path / "in", text)
    with pytest.raises(ExtractError, match=sentence) as raised:
        staged(extract, tmp_path / "in")
    assert "secret" not in str(raised.value)
