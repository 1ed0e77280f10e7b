"""An authorization server that a test has to itself, an app of it, and a browser."""

import pytest

from tests.integration.auth.keys import new_key
from tests.integration.auth.standing import stand_up


@pytest.fixture(autouse=True)
def ready_keys(monkeypatch):
    monkeypatch.setattr("etl.auth.signing_keys._new_key", new_key)


@pytest.fixture
def standing(tmp_path):
    with stand_up(tmp_path) as server:
        yield server


@pytest.fixture
def issued(standing):
    """A confidential app that may ask for everything, with its secret."""
    return standing.register()


@pytest.fixture
def browser(standing):
    with standing.client() as client:
        yield client
