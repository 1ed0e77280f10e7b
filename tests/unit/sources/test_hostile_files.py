"""Files that are made to fill memory or disks: each ends with a sentence, in little memory."""

import gzip
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.sources.files.listed_files import recognize_entry
from etl.sources.files.stored_files import FolderFiles, StoredFile
from etl.sources.parsing.parquet import read_batches

MOST_MB = 600
_READ = """
import re, sys
from pathlib import Path
from etl.errors import ExtractError
from etl.sources.extract.opening import open_extract
from etl.sources.partition.reading import partition_extract
try:
    partition_extract(open_extract(Path(sys.argv[1]), []), Path(sys.argv[2]), partitions=1)
except ExtractError as error:
    print(error)
# Not ru_maxrss, which begins with what the parent had.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""
_HEADER = b"claim_id,sequence,text\nC1,1,"


def newlines(folder):
    with gzip.open(folder / "claim_note.csv.gz", "wb") as file:
        file.write(b"claim_id,sequence,text\n")
        for _ in range(200):
            file.write(b"\n" * (1 << 20))


def long_cell(folder, quote=b""):
    with (folder / "claim_note.csv").open("wb") as file:
        file.write(_HEADER + quote)
        for _ in range(300):
            file.write(b"x" * (1 << 20))
        file.write(quote + b"\n")


def parquet(folder, texts):
    ones = pa.array(["1"] * len(texts))
    table = pa.table({"claim_id": ones, "sequence": ones, "text": texts})
    pq.write_table(table, folder / "claim_note.parquet", compression="zstd")


def one_long_text_in_all_rows(folder):
    rows = pa.array(np.zeros(200_000, np.int32))
    parquet(folder, pa.DictionaryArray.from_arrays(rows, pa.array(["x" * 200_000])))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (newlines, "rows up to row"),
        (long_cell, "row 2 opens a quoted cell that is never closed, or is longer than 1024 KB"),
        (lambda folder: long_cell(folder, b'"'), "or is longer than 1024 KB"),
        (one_long_text_in_all_rows, "unpacks to more than 100 times its size"),
        (
            lambda folder: parquet(folder, pa.array(["x" * (300 << 20)])),
            "a row is longer than 1024 KB",
        ),
        (
            lambda folder: parquet(folder, pa.array(["x" * (300 << 20), *["y"] * 999])),
            "column text unpacks to more than 100 times its size",
        ),
    ],
    ids=["newlines", "cell", "quoted-cell", "dictionary", "parquet-cell", "parquet-page"],
)
def test_a_hostile_file_is_refused_in_little_memory(folder, make, sentence, tmp_path):
    make(folder)
    command = [sys.executable, "-c", _READ, str(folder), str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    message, megabytes = done.stdout.splitlines()
    assert message.startswith("claim_note.")
    assert sentence in message
    assert int(megabytes) < MOST_MB


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_rows_of_a_dictionary_are_read_in_slices_and_keep_their_numbers(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr("etl.sources.parsing.parquet.BATCH_BYTES", 20)
    cells = pa.array(["long " * 3, "b", None, "c", "long " * 3], kind)
    pq.write_table(pa.table({"a": cells, "n": pa.array([1, 2, 3, 4, 5])}), tmp_path / "a.parquet")
    listed = recognize_entry(StoredFile("a.parquet", 1), FolderFiles(tmp_path))
    batches = [batch.rows for batch in read_batches(listed, ("a", "n"), 1)]
    assert len(batches) > 1
    rows = pa.Table.from_batches(batches)
    assert rows.column("a").to_pylist() == ["long " * 3, "b", "", "c", "long " * 3]
    assert rows.column("_row").to_pylist() == [2, 3, 4, 5, 6]
