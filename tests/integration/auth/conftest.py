"""A server that a test has to itself (`given/auth_server.py`), and databases of both kinds."""

from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from tests.given.auth_server import browser, issued, ready_keys, standing
from tests.integration.auth.databases import postgres_programs, postgres_server
from tests.integration.auth.standing import stand_up

__all__ = ["browser", "issued", "ready_keys", "standing"]


@pytest.fixture(scope="session")
def postgres():
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: initdb is not in PATH")
    with postgres_server(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request, tmp_path):
    """A new, empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'auth.db'}"
    server = request.getfixturevalue("postgres")
    name = f"auth_{uuid4().hex}"
    admin = create_engine(
        f"{server}/postgres".replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return f"{server}/{name}"


@pytest.fixture
def lasting(database_url, tmp_path):
    """A server on a database of either kind."""
    with stand_up(tmp_path, url=database_url) as one:
        yield one
