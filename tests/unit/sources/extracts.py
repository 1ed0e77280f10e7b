"""Small extracts for tests, made on the spot. All persons in them are invented."""

import csv
import gzip
import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.sources.extract.opening import open_extract
from etl.sources.partition.reading import partition_extract

Row = Mapping[str, str]

MEMBER = {"member_id": "M1", "family_name": "Ng", "birth_date": "1970-01-01", "gender": "F"}
COVERAGE = {"coverage_id": "C1", "member_id": "M1", "relationship": "self", "payer_id": "P1"}
CLAIM = {
    "claim_id": "CL1",
    "claim_type": "professional",
    "member_id": "M1",
    "coverage_id": "C1",
    "payer_id": "P1",
    "statement_from_date": "2024-01-05",
    "adjudication_date": "2024-01-09",
}
LINE = {"claim_id": "CL1", "line_number": "1", "service_from_date": "2024-01-05"}
SMALL = {
    "member": [MEMBER],
    "coverage": [COVERAGE],
    "claim": [CLAIM],
    "claim_line": [LINE],
}
"""The least that is an extract."""
_PACKED = {
    "": bytes,
    "gz": gzip.compress,
    "zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}
_DELIMITERS = {"csv": ",", "psv": "|", "tsv": "\t"}


def headers_of(rows, table):
    """Headers that some rows need, the compulsory ones of the table first."""
    needed = [*TABLES[table].required, *(["family_name"] if table == "member" else [])]
    return list(dict.fromkeys([*needed, *(name for row in rows for name in row)]))


def delimited(rows, headers, delimiter=",", line_end="\n"):
    """Rows as a delimited file."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(headers)
    writer.writerows([[row.get(header, "") for header in headers] for row in rows])
    return text.getvalue()


def write_table(folder, name, rows, ending="csv"):
    """Write one table, in the format that the ending says."""
    table = name.partition("-")[0]
    headers = headers_of(rows, table)
    path = folder / f"{name}.{ending}"
    if ending == "parquet":
        columns = {
            header: pa.array([row.get(header) or None for row in rows], pa.string())
            for header in headers
        }
        pq.write_table(pa.table(columns), path)
        return path
    kind, _, packed = ending.partition(".")
    content = delimited(rows, headers, _DELIMITERS[kind]).encode()
    path.write_bytes(_PACKED[packed](content))
    return path


def write_extract(folder, tables=SMALL, ending="csv"):
    """Write a canonical extract; `tables` stand in for those of `SMALL`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {**SMALL, **tables}.items():
        write_table(folder, name, rows, ending)
    return folder


def read(folder, work, count=1, **options):
    """Open and partition an extract."""
    layouts = options.pop("layouts", ())
    return partition_extract(open_extract(folder, layouts, **options), work, partitions=count)


def all_loaded(parts):
    """Every partition, then the directory."""
    return [*(parts.load(index) for index in range(parts.facts.count)), parts.directory()]


def rows_of(parts, table):
    """Rows of a table in all partitions, without what is absent and without their places."""
    return [
        {name: text for name, text in row.items() if text is not None and name[0] != "_"}
        for loaded in all_loaded(parts)
        for row in loaded.tables[table].to_pylist()
    ]


def findings_of(parts):
    """All findings, sorted: rule, table, file name, row, column."""
    tables = [parts.facts.findings, *(loaded.findings for loaded in all_loaded(parts))]
    names = [file.name for file in parts.facts.files]
    return sorted(
        (
            (f["rule"], f["table"], names[f["file"]], f["row"], f["column"])
            for table in tables
            for f in table.to_pylist()
        ),
        key=str,
    )
