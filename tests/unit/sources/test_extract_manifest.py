"""The manifest of an extract: what it may say, and every mistake in it at once."""

from datetime import date

import pytest

from etl.errors import ExtractError
from etl.sources.files.stored_files import (
    ExtractManifest,
    FolderFiles,
    ManifestEntry,
    read_manifest,
)
from tests.given.tables import read_tables


def _written(folder, text):
    (folder / "manifest.json").write_text(text)
    return FolderFiles(folder)


def test_a_manifest_says_what_it_says_and_null_says_nothing(tmp_path):
    text = """\ufeff{"layout": " cpcds ", "kind": "delta", "as_of": "2024-02-01", "payer": null,
      "files": {"member.csv": {"rows": 0, "sha256": "ABC"}, "claim.csv": {"rows": null}}}"""
    assert read_manifest(_written(tmp_path, text)) == ExtractManifest(
        layout="cpcds",
        kind="delta",
        as_of=date(2024, 2, 1),
        files={"member.csv": ManifestEntry(0, "abc"), "claim.csv": ManifestEntry(None, None)},
    )
    assert read_manifest(_written(tmp_path, "{}")) == ExtractManifest()


def test_every_mistake_is_reported_at_once_with_line_and_column(tmp_path):
    mistakes = read_tables(__file__)
    with pytest.raises(ExtractError) as raised:
        read_manifest(_written(tmp_path, mistakes["manifest"]))
    assert str(raised.value).splitlines() == mistakes["sentences"]
