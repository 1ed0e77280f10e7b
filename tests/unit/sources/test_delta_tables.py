"""Delta tables whose data files are read where they lie: the rows that deltalake itself reads."""

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from etl.errors import ExtractError
from etl.sources.extract.delta_tables import DeltaFiles, LakeFiles, read_delta
from etl.sources.extract.tables import TableRows, table_batches, write_rows
from etl.sources.files.listed_files import list_files
from etl.sources.files.stored_files import FolderFiles, TableVersion
from etl.sources.parsing.parquet import read_batches, read_parquet_headers


def cells_in_place(place, folder):
    """Return the header of a table, and the cells of its data files."""
    assert isinstance(place, DeltaFiles)
    (folder / "staged").mkdir()
    lake = LakeFiles(FolderFiles(folder / "staged"), {"claim": place})
    header, rows = (), []
    for listed in list_files(lake):
        assert [entry.name for entry in lake.only({listed.name}).entries()] == [listed.name]
        assert listed.stem == "claim"
        header = read_parquet_headers(listed)
        for batch in read_batches(listed, header, 1):
            columns = [batch.rows.column(name).to_pylist() for name in header]
            rows += zip(*columns, strict=True)
    return header, rows


def cells_of_deltalake(location, folder):
    """Return the same of the rows that deltalake reads."""
    rows = pa.RecordBatchReader.from_stream(DeltaTable(location).scan())
    origin = TableVersion("delta", "claim")
    write_rows(TableRows(origin, rows.schema, table_batches(rows, "", "")), folder / "claim.csv")
    text = (folder / "claim.csv").read_text(encoding="utf-8")
    header, *cells = csv.reader(text.splitlines(keepends=True))
    return tuple(header), [tuple(row) for row in cells if any(row)]


def test_partitions_later_columns_and_values_of_every_type_are_those_of_deltalake(tmp_path):
    instant = datetime(2024, 5, 1, 1, 2, 3, 500_000, tzinfo=UTC)
    first = pa.table(
        {
            "claim_id": ["007", None, ' a"b,\nc '],
            "state": ["é z/%", None, "NY"],
            "day": [date(2024, 5, 1), None, date(1, 1, 1)],
            "number": pa.array([1, None, -2], pa.int32()),
            "paid": pa.array([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(12, 2)),
            "at": pa.array([instant, None, instant], pa.timestamp("us", "UTC")),
            "is_void": [True, None, False],
        }
    )
    later = first.append_column("note", pa.array(["x", "", None]))
    by = ["state", "day", "number", "is_void"]
    write_deltalake(tmp_path / "lake", first, partition_by=by)
    write_deltalake(tmp_path / "lake", later, partition_by=by, mode="append", schema_mode="merge")
    header, rows = cells_in_place(read_delta(str(tmp_path / "lake"), None, {}, "claim"), tmp_path)
    oracle_header, oracle_rows = cells_of_deltalake(tmp_path / "lake", tmp_path)
    assert header == oracle_header
    assert sorted(rows) == sorted(oracle_rows)


def handmade(folder, features=(), configuration=None, vector=None):
    """Write a table of three rows as Spark does: its instants are INT96."""
    at = pa.array([datetime(2024, 5, 1, 1, 2, number, tzinfo=UTC) for number in range(3)])
    rows = pa.table({"claim_id": ["C1", "C2", "C3"], "paid_at": at})
    write_deltalake(folder, rows, configuration=configuration)
    (log,) = (folder / "_delta_log").glob("*.json")
    actions = {}
    for line in log.read_text().splitlines():
        actions |= json.loads(line)
    listed = {"readerFeatures": list(features), "writerFeatures": list(features)}
    actions["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, **listed}
    schema = json.loads(actions["metaData"]["schemaString"])
    for number, field in enumerate(schema["fields"], start=1):
        mapping = {"id": number, "physicalName": field["name"]}
        field["metadata"] = {f"delta.columnMapping.{key}": value for key, value in mapping.items()}
    actions["metaData"]["schemaString"] = json.dumps(schema)
    path = folder / actions["add"]["path"]
    pq.write_table(rows, path, use_deprecated_int96_timestamps=True)
    actions["add"] |= {"size": path.stat().st_size, "stats": json.dumps({"numRecords": 3})}
    actions["add"] |= {"deletionVector": vector} if vector else {}
    log.write_text("".join(f"{json.dumps({name: action})}\n" for name, action in actions.items()))
    return folder


SECOND_ROW_DELETED = {
    "storageType": "i",
    "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000005c8Xg0rr91",
    "sizeInBytes": 34,
    "cardinality": 1,
}
"""A deletion vector that is in the log itself: a 64-bit Roaring bitmap of row 1, in Z85."""


def test_instants_of_spark_are_in_utc_and_deleted_rows_or_mapped_columns_are_not_read_in_place(
    tmp_path,
):
    whole = handmade(tmp_path / "whole", ["deletionVectors", "columnMapping"])
    header, rows = cells_in_place(read_delta(str(whole), None, {}, "claim"), tmp_path)
    assert header == ("claim_id", "paid_at")
    assert rows == [(f"C{number + 1}", f"2024-05-01T01:02:0{number}Z") for number in range(3)]
    for name, features, configuration, vector, ids in (
        ("deleted", ["deletionVectors"], {}, SECOND_ROW_DELETED, ["C1", "C3"]),
        (
            "mapped",
            ["columnMapping"],
            {"delta.columnMapping.mode": "name"},
            None,
            ["C1", "C2", "C3"],
        ),
    ):
        table = handmade(tmp_path / name, features, configuration, vector)
        found = read_delta(str(table), None, {}, "claim")
        assert isinstance(found, TableRows), name
        assert pa.Table.from_batches(found.batches).column("claim_id").to_pylist() == ids


def test_a_column_without_exact_text_is_refused_before_a_file_is_read(tmp_path):
    write_deltalake(tmp_path / "lake", pa.table({"claim_id": ["C1"], "paid": [0.1]}))
    with pytest.raises(ExtractError, match=r"claim: column 2 \(paid\) holds binary floating point"):
        read_delta(str(tmp_path / "lake"), None, {}, "claim")


def test_a_data_file_that_is_vacuumed_meanwhile_is_named_as_what_it_is(tmp_path):
    write_deltalake(tmp_path / "lake", pa.table({"claim_id": ["C1"]}))
    place = read_delta(str(tmp_path / "lake"), None, {}, "claim")
    next((tmp_path / "lake").glob("*.parquet")).unlink()
    with pytest.raises(ExtractError, match="the version may be vacuumed"):
        cells_in_place(place, tmp_path)
