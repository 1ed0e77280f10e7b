"""A server that a test has to itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.auth.keys import new_key
from tests.integration.auth.standing import Standing, stand_up


@pytest.fixture(autouse=True)
def ready_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.auth.signing_keys._new_key", new_key)


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[Standing]:
    with stand_up(tmp_path) as one:
        yield one
