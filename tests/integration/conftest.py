"""Extracts that many tests share, and a payer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.nights import Payer


@pytest.fixture(scope="session")
def extracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for extracts; they are written when a test first asks for them."""
    return tmp_path_factory.mktemp("extracts")


@pytest.fixture
def payer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Payer:
    """A payer who keeps rows for deltas, and has published nothing yet."""
    monkeypatch.chdir(tmp_path)
    return Payer(tmp_path / "tree", monkeypatch, {"publish": {"deltas": True}})
