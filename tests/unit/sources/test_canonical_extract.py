"""An extract in the product's own layout."""

import hashlib
import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import ExtractError, StoreError
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.rows import FINDINGS_SCHEMA, table_schema
from etl.sources.extract.opening import open_extract
from etl.sources.files.listed_files import Event, FileProgress, Partitioned
from etl.sources.partition.reading import open_partitions, partition_extract
from tests.given.tables import table
from tests.unit.sources.extracts import (
    CLAIM,
    COVERAGE,
    LINE,
    MEMBER,
    all_loaded,
    findings_of,
    read,
    rows_of,
    write_extract,
    write_table,
)

WHOLE = {
    name: [{column: f"{column} 1" for column in table.names}] for name, table in TABLES.items()
}
"""One row a table with every column filled. The claim of all child rows is the same one."""


@pytest.mark.parametrize(
    "ending", ["csv", "psv", "tsv", "csv.gz", "psv.gz", "tsv.gz", "csv.zst", "parquet"]
)
def test_every_table_and_column_is_read_in_every_format(tmp_path, ending):
    parts = read(write_extract(tmp_path / "in", WHOLE, ending), tmp_path / "work")
    for name, rows in WHOLE.items():
        assert rows_of(parts, name) == rows
    assert findings_of(parts) == []


def test_every_partition_has_every_table_in_its_schema(tmp_path):
    parts = read(write_extract(tmp_path / "in"), tmp_path / "work", 3)
    for loaded in all_loaded(parts):
        assert list(loaded.tables) == list(TABLES)
        for name, rows in loaded.tables.items():
            assert rows.schema == table_schema(name)
        assert loaded.findings.schema == FINDINGS_SCHEMA


def test_a_table_may_come_in_parts(folder, tmp_path):
    (folder / "member.csv").unlink()
    write_table(folder, "member-1", [MEMBER])
    write_table(folder, "member-west", [{**MEMBER, "member_id": "M2"}], "psv.gz")
    parts = read(folder, tmp_path / "work")
    assert [row["member_id"] for row in rows_of(parts, "member")] == ["M1", "M2"]
    assert parts.facts.rows_read["member-west.psv.gz"] == 1


def test_rows_keep_their_numbers_around_blank_and_ragged_ones(folder, tmp_path):
    header = "member_id,family_name,birth_date,gender"
    lines = [header, "A,Ng,1970-01-01,F", "", "B,Ng", "   ", ",,,", 'C,"N\ng",1970-01-01,F,x', ""]
    (folder / "member.csv").write_text("\n".join([*lines, "D,Ng,1970-01-01,F"]))
    parts = read(folder, tmp_path / "work")
    table = parts.load(0).tables["member"]
    assert table.column("member_id").to_pylist() == ["A", "D"]
    assert table.column("_row").to_pylist() == [2, 9]
    assert parts.facts.rows_read["member.csv"] == 4
    assert findings_of(parts) == [
        ("ragged-row", "member", "member.csv", 4, None),
        ("ragged-row", "member", "member.csv", 7, None),
    ]
    ragged = parts.malformed_rows()
    assert parts.load(0).unread["member"].column("member_id").to_pylist() == ["B", "C"]
    assert ragged.column("text").to_pylist() == ["B,Ng", 'C,"N\ng",1970-01-01,F,x']
    assert ragged.column("_row").to_pylist() == [4, 7]


def test_unknown_columns_and_files_are_findings_and_harm_nothing(folder, tmp_path):
    more = {"shoe size": "43", "_row": "9", "Coverage Member-Code 2": "x"}
    write_table(folder, "member", [{**MEMBER, **more}])
    (folder / "faults.csv").write_text("rule,row\nx,1\n")
    (folder / "letter.docx").write_bytes(b"\x00\x01")
    (folder / "README.md").write_text("about this extract")
    (folder / ".hidden").write_text("")
    (folder / "archive").mkdir()
    (folder / "archive" / "claim.csv").write_text("not part of the extract")
    parts = read(folder, tmp_path / "work")
    assert findings_of(parts) == [
        ("unknown-column", "member", "member.csv", None, "Coverage Member-Code 2"),
        ("unknown-column", "member", "member.csv", None, f"column {len(MEMBER) + 1}"),
        ("unknown-column", "member", "member.csv", None, f"column {len(MEMBER) + 2}"),
        ("unknown-file", "*", "faults.csv", None, None),
        ("unknown-file", "*", "letter.docx", None, None),
    ]
    assert rows_of(parts, "member") == [MEMBER]


@pytest.mark.parametrize("name", ["claim_note.csv", "claim_tooth.csv.gz", "manifest.json"])
@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("a broken link", lambda path: path.symlink_to(path)),
        ("a broken link", lambda path: path.symlink_to("gone.csv")),
        ("a pipe", lambda path: os.mkfifo(path)),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
        ("a folder", lambda path: path.mkdir()),
    ],
)
def test_what_has_the_name_of_a_file_and_is_none_is_refused(folder, tmp_path, name, what, make):
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(ExtractError, match=f"^{re.escape(name)} is {what}"):
        read(folder, tmp_path / "work")


def test_other_things_beside_the_files_are_no_part_of_an_extract(folder, tmp_path):
    os.mkfifo(folder / "pipe")
    (folder / "latest").symlink_to("gone")
    assert rows_of(read(folder, tmp_path / "work"), "member")


@pytest.mark.parametrize(*table(__file__, "texts"))
def test_texts_of_files_become_rows_and_findings(folder, files, without, findings, rows, tmp_path):
    for name in without or ():
        (folder / name).unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    parts = read(folder, tmp_path / "work")
    found = [["" if part is None else part for part in finding] for finding in findings_of(parts)]
    assert found == findings
    for name, expected in (rows or {}).items():
        assert rows_of(parts, name) == expected


def test_source_rows_can_be_had_as_they_were(folder, tmp_path):
    (folder / "member.csv").write_text(
        "Member ID,family_name,Birth-Date,gender,shoe size\n M1 ,Ng,1970-01-01,F,43\n"
    )
    parts = read(folder, tmp_path / "work")
    assert parts.raw_rows(0)["member.csv"].to_pylist() == [
        {
            "Member ID": " M1 ",
            "family_name": "Ng",
            "Birth-Date": "1970-01-01",
            "gender": "F",
            "shoe size": "43",
            "_file": 3,
            "_row": 2,
        }
    ]


def test_all_rows_of_a_member_meet_in_one_partition(tmp_path):
    members = [f"M{n}" for n in range(60)]
    tables = {
        "member": [{**MEMBER, "member_id": m} for m in members],
        "coverage": [{**COVERAGE, "member_id": m, "coverage_id": f"C-{m}"} for m in members],
        "claim": [{**CLAIM, "member_id": m, "claim_id": f"CL-{m}"} for m in members],
        "claim_line": [{**LINE, "claim_id": f"CL-{m}"} for m in reversed(members)],
        "claim_note": [{"claim_id": f"CL-{m}", "sequence": "1", "text": "x"} for m in members],
    }
    parts = read(write_extract(tmp_path / "in", tables), tmp_path / "work", 7)
    used = 0
    for index in range(7):
        loaded = parts.load(index).tables
        ids = set(loaded["member"].column("member_id").to_pylist())
        used += bool(ids)
        assert set(loaded["coverage"].column("member_id").to_pylist()) == ids
        assert set(loaded["claim"].column("member_id").to_pylist()) == ids
        for name in ("claim_line", "claim_note"):
            found = {text[3:] for text in loaded[name].column("claim_id").to_pylist()}
            assert found == ids
    assert used == 7


def test_rows_that_belong_to_nobody_are_in_exactly_one_partition(tmp_path):
    tables = {
        "claim": [CLAIM, {**CLAIM, "claim_id": "CL2", "member_id": ""}],
        "claim_line": [
            LINE,
            {**LINE, "claim_id": "CL2"},
            {**LINE, "claim_id": "gone"},
            {**LINE, "claim_id": ""},
        ],
        "claim_note": [{"claim_id": "gone", "sequence": "1"}],
        "coverage": [COVERAGE, {**COVERAGE, "member_id": ""}],
    }
    parts = read(write_extract(tmp_path / "in", tables), tmp_path / "work", 5)
    for name, rows in tables.items():
        assert len(rows_of(parts, name)) == len(rows)
    together = {
        index
        for index in range(5)
        for table in ("claim_line", "claim_note")
        if "gone" in parts.load(index).tables[table].column("claim_id").to_pylist()
    }
    assert len(together) == 1
    of_two = [
        index
        for index in range(5)
        for table in ("claim", "claim_line")
        if "CL2" in parts.load(index).tables[table].column("claim_id").to_pylist()
    ]
    assert of_two[0] == of_two[1]


def test_keys_know_what_one_partition_cannot(tmp_path):
    tables = {
        "member": [MEMBER, {**MEMBER, "member_id": "M2"}],
        "coverage": [COVERAGE, {**COVERAGE, "member_id": "M2"}, {**COVERAGE, "coverage_id": "C2"}],
        "claim": [
            CLAIM,
            {**CLAIM, "member_id": "M2"},
            {**CLAIM, "claim_id": "CL2"},
            {**CLAIM, "claim_id": "CL2"},
        ],
    }
    folder = write_extract(tmp_path / "in", tables)
    for count in (1, 4):
        keys = read(folder, tmp_path / f"work{count}", count).keys
        ids = pa.array(["CL1", "CL2", "gone", None, "M1", "C1", "C2", " CL1 ", ""])
        assert keys.exists("claim", ids).to_pylist() == [True, True, *[False] * 5, True, False]
        assert keys.shared("claim", ids).to_pylist() == [True, *[False] * 6, True, False]
        assert keys.exists("member", ids).to_pylist() == [*[False] * 4, True, *[False] * 4]
        assert keys.exists("coverage", ids).to_pylist() == [*[False] * 5, True, True, False, False]
        assert keys.shared("coverage", ids).to_pylist() == [*[False] * 5, True, *[False] * 3]


def test_a_work_folder_can_be_opened_again_by_another_process(tmp_path):
    parts = read(write_extract(tmp_path / "in", WHOLE), tmp_path / "work", 3)
    again = open_partitions(tmp_path / "work")
    assert again.facts.count == 3
    assert again.facts.files == parts.facts.files
    assert again.facts.rows_read == parts.facts.rows_read
    for ours, theirs in zip(all_loaded(parts), all_loaded(again), strict=True):
        assert ours.tables == theirs.tables


def test_reading_again_into_a_work_folder_starts_afresh(tmp_path):
    read(write_extract(tmp_path / "in", WHOLE), tmp_path / "work", 3)
    parts = read(write_extract(tmp_path / "other"), tmp_path / "work", 2)
    assert rows_of(parts, "member") == [MEMBER]
    assert rows_of(parts, "claim_note") == []


def test_progress_is_told_and_ends_at_the_end(tmp_path):
    events: list[Event] = []
    extract = open_extract(write_extract(tmp_path / "in"), ())
    partition_extract(extract, tmp_path / "work", partitions=2, emit=events.append)
    last = {event.file: event for event in events if isinstance(event, FileProgress)}
    assert {event.file: (event.bytes_read, event.rows) for event in last.values()} == {
        file.name: (file.bytes, 1) for file in extract.files
    }
    assert events[-1] == Partitioned(rows=4, partitions=2)


def test_the_manifest_says_what_the_extract_is(folder):
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    files = {name: {"rows": 1, "sha256": text.upper()} for name, text in hashes.items()}
    manifest = {"layout": "cpcds", "kind": "full", "as_of": "2024-02-01", "payer": "Acme"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
    extract = open_extract(folder, ())
    assert (extract.kind, str(extract.as_of), extract.payer) == ("full", "2024-02-01", "Acme")
    assert {file.name: file.sha256 for file in extract.files} == hashes


def test_parquet_values_are_written_out_exactly(folder, tmp_path):
    (folder / "claim_line.csv").unlink()
    arrays = {
        "claim_id": pa.array(["CL1"]).dictionary_encode(),
        "line_number": pa.array([12], pa.int64()),
        "service_from_date": pa.array(["2024-01-05"]).cast(pa.date32()),
        "amount_submitted": pa.array(["1234567.10"]).cast(pa.decimal128(12, 2)),
        "last_updated": pa.array(["2024-01-05T10:00:00Z"]).cast(pa.timestamp("us", tz="UTC")),
        "service_text": pa.array([None], pa.null()),
        "tooth_surfaces": pa.array(["  M;O "], pa.large_string()),
        "record_action": pa.array([True]),
    }
    pq.write_table(pa.table(arrays), folder / "claim_line.parquet")
    assert rows_of(read(folder, tmp_path / "work"), "claim_line") == [
        {
            "claim_id": "CL1",
            "line_number": "12",
            "service_from_date": "2024-01-05",
            "amount_submitted": "1234567.10",
            "last_updated": "2024-01-05T10:00:00Z",
            "tooth_surfaces": "M;O",
            "record_action": "Y",
        }
    ]


def test_organizations_and_practitioners_belong_to_no_partition(tmp_path):
    tables = {
        "organization": [{"organization_id": "O1", "name": "Clinic"}],
        "practitioner": [{"practitioner_id": "P1", "full_name": "Dr. No"}],
    }
    parts = read(write_extract(tmp_path / "in", tables), tmp_path / "work", 2)
    assert [parts.load(i).tables["organization"].num_rows for i in range(2)] == [0, 0]
    assert parts.directory().tables["organization"].num_rows == 1
    assert parts.directory().tables["member"].num_rows == 0
    assert parts.raw_rows(2)["organization.csv"].num_rows == 1


@pytest.mark.parametrize("lost", ["partitions.json", "member.hashes", "claim.hashes"])
def test_a_work_folder_without_one_of_its_parts_is_to_be_read_again(tmp_path, lost):
    read(write_extract(tmp_path / "in"), tmp_path / "work")
    open_partitions(tmp_path / "work")
    (tmp_path / "work" / lost).unlink()
    with pytest.raises(StoreError, match="holds no partitions; read the extract again"):
        open_partitions(tmp_path / "work")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("odd.csv", b""),
        ("odd.csv", b"\n\n"),
        ("odd.csv", "a,b\n1,2\n".encode("utf-16")),
        ("odd.csv", b"a,b\n1,\0\n"),
        ("odd.csv", b"a,b\n\xe9,1\n"),
        ("odd.csv", b"%PDF-1.7"),
        ("odd.csv.gz", b"no gzip"),
        ("odd.parquet", b"no Parquet"),
        ("odd.zip", b"PK\x03\x04"),
    ],
)
def test_a_file_that_cannot_be_of_the_layout_by_its_name_is_a_finding_whatever_it_holds(
    folder, name, body, tmp_path
):
    (folder / name).write_bytes(body)
    parts = read(folder, tmp_path / "work")
    assert findings_of(parts) == [("unknown-file", "*", name, None, None)]
    assert rows_of(parts, "member") == [MEMBER]
