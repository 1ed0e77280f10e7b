"""What cannot be read is refused in one sentence that names the place, before anything is done."""

import errno
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import EtlError, ExtractError, StoreError, UsageError
from etl.sources.extract.opening import open_extract
from etl.sources.partition.reading import open_partitions, partition_extract
from etl.sources.partition.row_files import RowFileWriter
from tests.given.tables import read_tables, table
from tests.unit.sources.extracts import CLAIM, LINE, MEMBER, SMALL, read, write_extract, write_table

Spoil = Callable[[Path], Any]
MARKED = "Xylophonist"
"""Stands in cells of the bad files below; no message may show it."""


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def manifest(**value):
    return write("manifest.json", json.dumps(value).encode())


def without(name):
    return lambda folder: (folder / name).unlink()


def both(*spoils):
    return lambda folder: [spoil(folder) for spoil in spoils]


def members_in(ending, content):
    """Write a file of members with another ending in place of member.csv."""
    return both(without("member.csv"), write(f"member.{ending}", content))


def parquet(table, columns):
    """Write a Parquet file in place of the table's CSV file."""
    path = f"{table}.parquet"
    return both(
        without(f"{table}.csv"), lambda folder: pq.write_table(pa.table(columns), folder / path)
    )


def stray_copy(folder):
    write_table(folder, "claim_note", [{"claim_id": "CL1", "sequence": "1"}])
    write_table(folder, "claim_note", [{"claim_id": "CL1", "sequence": "1"}], "parquet")


HEADER = b"member_id,family_name,birth_date,gender\n"
ROW = f"M1,{MARKED},1970-01-01,F\n".encode()
TAIL = b",1970-01-01,F\n"
ZIPPED = b"PK\x03\x04" + bytes(30) + b"a.csv"
PACKED = gzip.compress(HEADER + ROW * 5000, mtime=0)
LINE_COLUMNS = {name: pa.array([cell]) for name, cell in LINE.items()}


def fill(text):
    """Return a text of the tables beside this module with what its words in braces stand for."""
    filled = text.replace("{HEADER}", HEADER.decode()).replace("{ROW}", ROW.decode())
    return filled.replace("{ZIP}", ZIPPED.decode("latin-1"))


def write_text(file, text, encoding):
    """Write a file of the tables beside this module, in place of the CSV file of its table."""
    filled = fill(text)
    content = gzip.compress(filled.encode()) if encoding == "gzip" else filled.encode(encoding)

    def spoil(folder):
        if not file.endswith((".csv", ".json")):
            (folder / f"{file.partition('.')[0]}.csv").unlink()
        (folder / file).write_bytes(content)

    return spoil


ROWS = [row for name in ("texts", "encoded") for row in read_tables(__file__)[name]]
CASES: dict[str, tuple[Spoil, str]] = {
    **{
        row["case"]: (
            write_text(row["file"], row["text"], row.get("encoding", "utf-8")),
            row["sentence"],
        )
        for row in ROWS
    },
    "missing-table": (without("claim.csv"), "there is no file for the required table claim"),
    "truncated-zstd": (
        members_in("csv.zst", pa.compress(HEADER + ROW * 5000, "zstd", asbytes=True)[:-5]),
        "member.csv.zst: the zstd data is broken or incomplete",
    ),
    "truncated-gzip": (
        members_in("csv.gz", PACKED[:-20]),
        "member.csv.gz: the gzip data is broken or incomplete",
    ),
    "gzip-with-wrong-checksum": (
        members_in("csv.gz", PACKED[:-8] + b"\0" * 8),
        "member.csv.gz: the gzip data is broken or incomplete",
    ),
    "open-quote-in-a-large-file": (
        write("member.csv", HEADER + ROW + b'M2,"Ng,1970-01-01,F\n' + ROW * 60_000),
        "member.csv: row 3 opens a quoted cell that is never closed",
    ),
    "row-without-end": (
        write("member.csv", HEADER + b"M2," + b"x" * 3_000_000 + b",1970-01-01,F\n"),
        "row 2 opens a quoted cell that is never closed, or is longer than 1024 KB",
    ),
    **{
        f"row-of-{size}-bytes.{ending}": (
            members_in(ending, packed(HEADER + ROW + b"M2," + b"x" * size + TAIL)),
            "row 3 is longer than 1024 KB",
        )
        for size in (1 << 20, 1_500_000, 2_000_000)
        for ending, packed in (("csv", bytes), ("csv.gz", gzip.compress))
    },
    "ragged-row-of-two-megabytes": (
        write("member.csv", HEADER + ROW + b"M2," + b"x" * 2_000_000 + b",Ng" + TAIL),
        "row 3 is longer than 1024 KB",
    ),
    "cell-of-two-megabytes-in-parquet": (
        parquet("member", {k: pa.array([v, "x" * 2_000_000]) for k, v in MEMBER.items()}),
        "member.parquet: row 3 is longer than 1024 KB",
    ),
    "same-table-in-two-formats": (
        stray_copy,
        "claim_note.csv and claim_note.parquet are the same table",
    ),
    "same-part-in-two-formats": (
        both(write("member-1.csv", HEADER + ROW), write("member-1.csv.gz", PACKED)),
        "member-1.csv and member-1.csv.gz are the same table",
    ),
    "float-parquet": (
        parquet("claim_line", LINE_COLUMNS | {"amount_copay": pa.array([0.1])}),
        "claim_line.parquet: column 4 (amount_copay) holds binary floating point",
    ),
    "nested-parquet": (
        parquet("claim_line", LINE_COLUMNS | {"denial_reason": pa.array([["1"]])}),
        "column 4 (denial_reason) has type list",
    ),
    "manifest-sha256": (
        manifest(files={f"{name}.csv": {"sha256": "0" * 64} for name in SMALL}),
        "claim.csv is not the file that manifest.json describes",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_sentence(tmp_path, case):
    spoil, sentence = CASES[case]
    folder = write_extract(tmp_path / "in", {"member": [{**MEMBER, "family_name": MARKED}]})
    spoil(folder)
    with pytest.raises(ExtractError) as caught:
        read(folder, tmp_path / "work", 2)
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message
    assert MARKED not in message
    assert caught.value.exit_code == 2
    with pytest.raises(StoreError):
        open_partitions(tmp_path / "work")


@pytest.mark.parametrize(*table(__file__, "no_extracts"))
def test_what_is_no_extract_is_refused(tmp_path, name, sentence):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "only-readme").mkdir()
    (tmp_path / "only-readme" / "README.txt").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "accounts.csv").write_text("iban,holder\n1,2\n")
    with pytest.raises(ExtractError, match=sentence):
        open_extract(tmp_path / name, ())


SEMICOLONS = HEADER.replace(b",", b";") + ROW.replace(b",", b";")


@pytest.mark.parametrize(*table(__file__, "forms"))
def test_a_file_that_is_written_otherwise_is_called_what_it_is_and_the_doctor_named(
    tmp_path, file, encoding, text, sentence
):
    (tmp_path / file).write_bytes(fill(text).encode(encoding))
    with pytest.raises(ExtractError, match=sentence) as caught:
        open_extract(tmp_path, ())
    message = str(caught.value)
    assert message.startswith(f"{file} ")
    assert f"`cpcds doctor {tmp_path}`" in message
    assert "docs/layouts.md" in message
    assert "nearest" not in message
    assert "Ng" not in message
    assert MARKED not in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("address", ["s3://bucket/extracts/one", "https://example.org/extract"])
def test_an_address_of_object_storage_is_told_from_a_folder_that_is_not_there(address):
    with pytest.raises(ExtractError, match=rf"^{address} is not a folder.*copy the files into one"):
        open_extract(Path(address), ())


def test_a_file_in_place_of_the_folder_is_called_what_it_is(tmp_path):
    (tmp_path / "claims.xlsx").write_bytes(ZIPPED + b"xl/workbook.xml")
    with pytest.raises(ExtractError, match=r"claims.xlsx is an Excel workbook.*cpcds doctor"):
        open_extract(tmp_path / "claims.xlsx", ())


def test_a_layout_that_is_named_does_not_fit_because_of_how_a_file_is_written(folder):
    (folder / "member.csv").write_bytes(SEMICOLONS)
    with pytest.raises(ExtractError, match=r"not in layout cpcds: member.csv has ; between"):
        open_extract(folder, (), layout="cpcds")


def test_a_folder_that_may_not_be_listed_is_refused(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ExtractError, match="cannot be listed: Permission denied"):
        open_extract(write_extract(tmp_path / "in"), ())


def test_an_unknown_layout_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ExtractError, match="there is no layout 'x'; there are cpcds"):
        open_extract(write_extract(tmp_path / "in"), (), layout="x")


@pytest.mark.parametrize("count", [0, -1])
def test_a_senseless_number_of_partitions_is_refused(tmp_path, count):
    with pytest.raises(UsageError, match="partitions must be 1 or more"):
        read(write_extract(tmp_path / "in"), tmp_path / "work", count)


def test_there_is_no_partition_beyond_the_last(tmp_path):
    parts = read(write_extract(tmp_path / "in"), tmp_path / "work", 2)
    with pytest.raises(UsageError, match="there is no partition 2; there are 2"):
        parts.load(2)


class FullDisk:
    """A file on a disk that has no room for anything."""

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        """There is nothing to keep."""


def test_a_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    start = RowFileWriter.__init__

    def full(self, *args):
        start(self, *args)
        self._file.close()
        self._file = FullDisk()

    monkeypatch.setattr(RowFileWriter, "__init__", full)
    extract = open_extract(write_extract(tmp_path / "in"), ())
    with pytest.raises(StoreError, match="the disk of the work folder is full") as caught:
        partition_extract(extract, tmp_path / "work", partitions=2)
    assert caught.value.exit_code == 5
    with pytest.raises(StoreError, match="read the extract again"):
        open_partitions(tmp_path / "work")


def test_a_work_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "work").write_text("x")
    with pytest.raises(StoreError, match="the work folder cannot be written"):
        read(write_extract(tmp_path / "in"), tmp_path / "work")


def test_a_file_that_goes_away_while_it_is_read_is_told(folder, tmp_path):
    extract = open_extract(folder, ())
    (folder / "claim.csv").unlink()
    with pytest.raises(EtlError) as caught:
        partition_extract(extract, tmp_path / "work", partitions=2)
    assert "No such file" in str(caught.value)
    assert CLAIM["claim_id"] not in str(caught.value)
