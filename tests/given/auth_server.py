"""An authorization server that a test has to itself, an app of it, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Client

from etl.auth.apps import Issued
from tests.integration.auth.keys import new_key
from tests.integration.auth.standing import Standing, stand_up


@pytest.fixture(autouse=True)
def ready_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.auth.signing_keys._new_key", new_key)


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[Standing]:
    with stand_up(tmp_path) as server:
        yield server


@pytest.fixture
def issued(standing: Standing) -> Issued:
    """A confidential app that may ask for everything, with its secret."""
    return standing.register()


@pytest.fixture
def browser(standing: Standing) -> Iterator[Client]:
    with standing.client() as client:
        yield client
