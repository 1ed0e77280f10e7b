"""Extracts that many tests share, and a payer."""

import pytest

from etl.bootstrap import opened_extract, use_cases
from tests.e2e.commands import NO_SUITES, same_definitions
from tests.integration.nights import FIRST, Payer


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
    monkeypatch.setattr(opened_extract, "load_definitions", same_definitions)
    monkeypatch.setattr(use_cases, "now", lambda: FIRST)
    monkeypatch.setenv("CPCDS_RUN__WORKERS", "1")
    for name, value in NO_SUITES.items():
        monkeypatch.setenv(name, value)
