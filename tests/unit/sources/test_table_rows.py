"""Rows of a table as a file: exact text, and bytes that depend on the rows alone."""

import csv
import random
from decimal import Decimal

import pyarrow as pa
import pytest

from etl.errors import ExtractError
from etl.sources.extract.tables import TableRows, write_rows
from etl.sources.files.stored_files import TableVersion
from etl.sources.parsing.parquet import text_converter

SCHEMA = pa.schema(
    [("claim_id", pa.string()), ("paid", pa.decimal128(38, 4)), ("units", pa.uint64())]
)


def written(rows, folder, size):
    """Return the file of some rows that came in batches of a size."""
    folder.mkdir()
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    batches = pa.Table.from_arrays(arrays, schema=SCHEMA).to_batches(max_chunksize=size)
    write_rows(TableRows(TableVersion("sql", "x"), SCHEMA, iter(batches)), folder / "claim.csv")
    assert [path.name for path in folder.iterdir()] == ["claim.csv"]
    return (folder / "claim.csv").read_bytes()


def test_the_bytes_do_not_depend_on_the_order_of_rows_or_on_batches(tmp_path):
    rows = [(f"C{number % 90}", Decimal(number) / 8, number) for number in range(300)]
    rows += [rows[7], (None, None, None), ('a"b,\nc', Decimal("-0.0001"), 2**64 - 1)]
    first = written(rows, tmp_path / "first", 1000)
    random.Random(5).shuffle(rows)
    assert written(rows, tmp_path / "again", 7) == first
    header, *cells = csv.reader(first.decode().splitlines(keepends=True))
    assert header == SCHEMA.names
    # A slow oracle of the text: Python's own of each value.
    text = [
        [
            claim or "",
            "" if paid is None else f"{paid:.4f}",
            "" if units is None else str(units),
        ]
        for claim, paid, units in rows
    ]
    assert sorted(cells) == sorted(text)


def test_a_table_without_rows_has_a_header_alone(tmp_path):
    rows = TableRows(TableVersion("sql", "x"), SCHEMA, iter(()))
    write_rows(rows, tmp_path / "claim.csv")
    assert (tmp_path / "claim.csv").read_text() == '"claim_id","paid","units"\n'


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        (pa.field("paid", pa.float64()), r"claim.csv: column 1 \(paid\) holds binary floating"),
        (pa.field("at", pa.time64("us")), r"claim.csv: column 1 \(at\) has type time64"),
        (pa.field(" ", pa.string()), "claim.csv: column 1 has no name that a header can have"),
        (pa.field("a\nb", pa.string()), "claim.csv: column 1 has no name that a header can have"),
    ],
)
def test_a_column_without_exact_text_is_refused(field, sentence, tmp_path):
    rows = TableRows(TableVersion("sql", "x"), pa.schema([field]), iter(()))
    with pytest.raises(ExtractError, match=sentence):
        write_rows(rows, tmp_path / "claim.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        (["0", "1.5", None, "0.00000001"], pa.decimal128(38, 8),
         ["0.00000000", "1.50000000", None, "0.00000001"]),
        (["2024-01-05T10:00:00", "2024-01-05T10:00:00.25", None], pa.timestamp("ms"),
         ["2024-01-05T10:00:00", "2024-01-05T10:00:00.250", None]),
        (["2024-01-05T10:00:00Z", "2024-01-05T10:00:00.010Z"], pa.timestamp("us", tz="UTC"),
         ["2024-01-05T10:00:00Z", "2024-01-05T10:00:00.010000Z"]),
    ],
)  # fmt: skip
def test_a_value_has_the_same_text_whatever_is_beside_it(values, kind, texts):
    column = pa.array(values).cast(kind)
    write = text_converter(pa.field("x", kind), "x")
    assert write(column).to_pylist() == texts
    assert [write(column[at : at + 1])[0].as_py() for at in range(len(values))] == texts
