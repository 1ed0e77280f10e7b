"""The target of a run, as processes elsewhere open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.pipeline.target import Target
from etl.storage.port import StoreOptions


def test_a_folder_is_the_same_from_any_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    target = Target("published", StoreOptions()).in_any_folder()
    target.store().put("a", b"here")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert target.store().get("a") == b"here"
    assert (tmp_path / "published" / "a").read_bytes() == b"here"


def test_object_storage_has_no_current_folder() -> None:
    target = Target("s3://bucket/published", StoreOptions())
    assert target.in_any_folder() == target
