"""`extract.toml`: what it may say, and every mistake in it at once, with its line."""

import pytest

from etl.errors import ExtractError
from etl.sources.extract.queries import own_words
from etl.sources.extract.tables import DatabaseConnection, ExtractTable, read_tables
from etl.sources.files.stored_files import FolderFiles
from tests.given import tables as cases


def read(tmp_path, text):
    (tmp_path / "extract.toml").write_text(text)
    return read_tables(FolderFiles(tmp_path), "extract.toml")


def test_tables_and_queries_are_read_with_what_a_manifest_says(tmp_path):
    tables = read(tmp_path, cases.read_tables(__file__)["good"])
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


@pytest.mark.parametrize(*cases.table(__file__, "mistakes"))
def test_every_mistake_is_one_sentence_and_no_secret_is_shown(text, sentences, tmp_path):
    with pytest.raises(ExtractError) as raised:
        read(tmp_path, text)
    for sentence in sentences:
        assert sentence in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(*cases.table(__file__, "messages"))
def test_a_database_has_its_own_words_and_no_value_in_them(message, shown):
    words = own_words(message, "select gone from claim")
    assert shown in words
    assert not any(value in words for value in ("SMITH", "Brien", "123", "select"))
