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
    text = """{
  "layot": "cpcds",
  "kind": "deltas",
  "as_of": "1 February",
  "payer": " ",
  "files": {
    "member.csv": {"rows": -1, "sha": "00"},
    "claim.csv": {"rows": true, "sha256": 7},
    "claim_line.csv": 12
  }
}
"""
    with pytest.raises(ExtractError) as raised:
        read_manifest(_written(tmp_path, text))
    assert str(raised.value).splitlines() == [
        "manifest.json:2:3: there is no key 'layot' here; did you mean 'layout'?",
        "manifest.json:3:3: kind must be one of full, delta; did you mean 'delta'?",
        "manifest.json:4:3: as_of must be a day, as YYYY-MM-DD",
        "manifest.json:5:3: payer must not be blank",
        "manifest.json:7:20: rows must be a whole number, 0 or more",
        "manifest.json:7:32: there is no key 'sha' here; did you mean 'sha256'?",
        "manifest.json:8:19: rows must be a whole number",
        'manifest.json:8:33: sha256 must be text; put it in quotes: "01"',
        "manifest.json:9:5: claim_line.csv must be key: value pairs",
    ]
