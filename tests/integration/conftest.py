"""Extracts that many tests share, and a payer."""

import pytest

from tests.integration.nights import Payer, make_quick


@pytest.fixture(scope="session")
def extracts(tmp_path_factory):
    """A folder for extracts; they are written when a test first asks for them."""
    return tmp_path_factory.mktemp("extracts")


@pytest.fixture
def payer(tmp_path, monkeypatch):
    """A payer who keeps rows for deltas, and has published nothing yet."""
    monkeypatch.chdir(tmp_path)
    return Payer(tmp_path / "tree", monkeypatch, {"publish": {"deltas": True}})


@pytest.fixture
def quick_commands(tmp_path, monkeypatch):
    """Commands in a folder of their own and at one moment, with one process and no suites."""
    monkeypatch.chdir(tmp_path)
    make_quick(monkeypatch)
