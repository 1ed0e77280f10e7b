"""`extract.toml`: what it may say, and every mistake in it at once, with its line."""

import pytest

from etl.errors import ExtractError
from etl.sources.extract.database import own_words
from etl.sources.extract.tables import DatabaseConnection, ExtractTable, read_tables
from etl.sources.files.stored_files import FolderFiles

GOOD = """
layout = "tuva-input"
as_of = 2026-01-31

[files.eligibility]
delta = "s3://lake/eligibility"
version = 12
options = { AWS_REGION = "us-east-1" }

[files.medical_claim]
iceberg = "tuva.medical_claim"
catalog = "prod"

[files.pharmacy_claim]
sql = "select * from pharmacy_claim"
connection = "warehouse"

[connections.warehouse]
driver = "snowflake"
uri = "WAREHOUSE_URI"
variables = { "adbc.snowflake.sql.warehouse" = "WAREHOUSE_NAME" }
"""


def read(tmp_path, text):
    (tmp_path / "extract.toml").write_text(text)
    return read_tables(FolderFiles(tmp_path), "extract.toml")


def test_tables_and_queries_are_read_with_what_a_manifest_says(tmp_path):
    (tmp_path / "extract.toml").write_text(GOOD)
    tables = read_tables(FolderFiles(tmp_path), "extract.toml")
    assert (tables.layout, tables.kind, tables.as_of) == ("tuva-input", None, "2026-01-31")
    assert tables.files == {
        "eligibility": ExtractTable(
            delta="s3://lake/eligibility", version=12, options={"AWS_REGION": "us-east-1"}
        ),
        "medical_claim": ExtractTable(iceberg="tuva.medical_claim", catalog="prod"),
        "pharmacy_claim": ExtractTable(sql="select * from pharmacy_claim", connection="warehouse"),
    }
    assert tables.connections == {
        "warehouse": DatabaseConnection(
            "snowflake",
            "WAREHOUSE_URI",
            variables={"adbc.snowflake.sql.warehouse": "WAREHOUSE_NAME"},
        )
    }


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("[files.claim\n", ["extract.toml:1: "]),
        ("layout = 'x'\n", ["extract.toml:1: files is missing"]),
        ("[files.claim]\nversion = 1\n", ["one of delta, iceberg, sql, path must be there"]),
        (
            "[files.claim]\ndelta = 'x'\nsnapshot = 1\n\n[files.member]\nsql = 'x'\n",
            ["snapshot belongs to iceberg, not to delta", "connection is missing"],
        ),
        (
            "[files.claim]\nsql = 'x'\nconnection = 'w'\n",
            ["there is no connection 'w'"],
        ),
        ("[files.'../x']\ndelta = 'x'\n", ["'../x' is no name of a raw file"]),
        (
            "[files.claim]\nsql='x'\nconnection='w'\n[connections.w]\ndriver='postgresql'\n"
            "uri='postgresql://u:hunter2@h/d'\n",
            ["extract.toml:6: uri must be the name of an environment variable, not a value"],
        ),
        (
            "[files.claim]\ndelta='x'\noptions = { AWS_SECRET_ACCESS_KEY = 'hunter2' }\n",
            ["AWS_SECRET_ACCESS_KEY may hold a secret"],
        ),
        ("[files.claim]\ndelta='s3://key:hunter2@host/x'\n", ["delta must not hold a secret"]),
        ("[files.claim]\ndelt='x'\n", ["extract.toml:2: there is no key 'delt' here"]),
    ],
)
def test_every_mistake_is_one_sentence_and_no_secret_is_shown(text, sentences, tmp_path):
    with pytest.raises(ExtractError) as raised:
        read(tmp_path, text)
    for sentence in sentences:
        assert sentence in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            '[libpq] Failed to execute query: ERROR:  column "gone" does not exist\nLINE 1: select',
            'column "gone" does not exist',
        ),
        ('ERROR:  invalid input syntax for type numeric: "SMITH"', "…"),
        ('ERROR:  invalid input syntax for type date: "O"Brien gone"', "…"),
        ("Conversion Error: Could not convert string 'SMITH' to INT32", "…"),
        ("Out of Range Error: Overflow in INT32 (123456789 * 12)!", "INT32 (… * …)!"),
        (
            "Catalog Error: Table with name 'claim' does not exist!\nDid you mean",
            "'claim' does not",
        ),
        ("ERROR:  duplicate key\nDETAIL:  Key (ssn)=(123-45-6789) exists", "duplicate key"),
    ],
)
def test_a_database_has_its_own_words_and_no_value_in_them(message, shown):
    words = own_words(message, "select gone from claim")
    assert shown in words
    assert not any(value in words for value in ("SMITH", "Brien", "123", "select"))
