"""Runs migrations on the connection that `etl.auth.database.migrate` gives.

Two processes that start at once wait for each other: on SQLite by the write lock that the
transaction begins with, on PostgreSQL by an advisory lock.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from etl.auth.database_tables import Base

_LOCK = 0x6370636473  # "cpcds"


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    context.configure(connection=connection, target_metadata=Base.metadata)
    context.run_migrations()


_run(context.config.attributes["connection"])
