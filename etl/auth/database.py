"""The database behind the authorization server: SQLite for one machine, PostgreSQL for several.

Every change is one short transaction. On SQLite it takes the write lock at its start, so that two
processes wait for each other instead of failing; readers are not kept waiting (WAL).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from etl.auth.database_tables import Base
from etl.errors import MappingError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

BUSY_SECONDS: Final = 10
_WRITES: Final = "cpcds_writes"
_FIRST_VERSION: Final = "0004"
"""Version of the tables in the first release; no migration leads there from earlier ones."""

_MIGRATION_LOCK: Final = 0x6370636473  # "cpcds"
"""Key of the advisory lock on PostgreSQL under which one process migrates."""


class Database:
    """A pool of connections, and the two kinds of transactions.

    Attributes:
        read: gives a session that only reads.
        write: gives a session; its changes are committed together at the end, or not at all.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        write_engine = engine.execution_options(**{_WRITES: True})
        self.read = sessionmaker(engine, expire_on_commit=False)
        self.write = sessionmaker(write_engine, expire_on_commit=False).begin

    def add_if_missing(self, session: Session, table: type[Base], **values: Any) -> bool:
        """Add a row unless one has its key or a unique value; two processes may try at once.

        Returns:
            Whether it was added.
        """
        # RETURNING, because psycopg does not report the row count of such a statement.
        added = self.insert(table).values(**values).on_conflict_do_nothing()
        return session.execute(added.returning(sa.literal_column("1"))).first() is not None

    def insert(self, table: type[Base] | Table) -> SqliteInsert | PostgresqlInsert:
        """Return an INSERT that takes an ON CONFLICT clause."""
        # Imported here: each is needed for its own database only, and is slow to load.
        if self.is_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.engine.dialect.name == "sqlite"


def changed_rows(result: sa.Result[Any]) -> int:
    """Return how many rows a statement changed."""
    if not isinstance(result, sa.CursorResult):
        raise TypeError("a statement that changes nothing")
    return result.rowcount


def open_database(url: str) -> Database:
    """Return the database of a URL as SQLAlchemy writes it. Nothing is made or read yet.

    Raises:
        MappingError: `config-value`: the URL is invalid, or names another kind of database.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise _database_error("it is not a database URL") from None
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif backend != "sqlite":
        raise _database_error("only sqlite and postgresql are known")
    elif not parsed.database or parsed.database == ":memory:":
        raise _database_error("an sqlite database needs a file")
    else:
        _make_private(Path(parsed.database))
    # Its errors would show the values to be stored: addresses, hashes, members' ids.
    engine = sa.create_engine(parsed, pool_pre_ping=backend == "postgresql", hide_parameters=True)
    if backend == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return Database(engine)


def _make_private(file: Path) -> None:
    """Create the file if missing, readable by its owner only; SQLite's other files follow it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _database_error(problem: str) -> MappingError:
    return MappingError(
        "auth.database",
        "config-value",
        f"setting auth.database: {problem}",
        hint="sqlite:///path/to/file or postgresql://user@host/name",
    )


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(database: Database) -> None:
    """Migrate the tables to this program's version, if needed.

    A new database gets the tables of `database_tables`; migrations are for older ones. Two
    processes that start at once wait for each other: on SQLite by the write lock that the
    transaction begins with, on PostgreSQL by an advisory lock.

    Raises:
        StoreError: the database does not answer or refuses.
    """
    version = present_version(database)
    if version == latest_version():
        return
    if version is not None and version < _FIRST_VERSION:
        raise StoreError(
            "the database of the authorization server was made by a version before the first "
            "release; begin with a new one"
        )
    # Imported here: it takes a third of a second, and most starts find the tables up to date.
    from alembic import command
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", "etl.auth:migrations")
    try:
        with database.engine.execution_options(**{_WRITES: True}).begin() as connection:
            configuration.attributes["connection"] = connection
            if not database.is_sqlite:
                lock = sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                connection.execute(lock)
            if version is None:
                Base.metadata.create_all(connection)
                command.stamp(configuration, "head")
            else:
                command.upgrade(configuration, "head")
    except SQLAlchemyError as error:
        raise StoreError(
            f"the database of the authorization server cannot be migrated: {type(error).__name__}"
        ) from None


def latest_version() -> str:
    """Return the version of the tables that this program needs: the last of its migrations."""
    folder = Path(__file__).parent / "migrations" / "versions"
    return max(file.name for file in folder.glob("[0-9]*_*.py")).partition("_")[0]


def present_version(database: Database) -> str | None:
    """Return the version of the tables; None where there are none.

    Raises:
        StoreError: the database does not answer.
    """
    try:
        with database.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
            return None if row is None else str(row[0])
    except SQLAlchemyError as error:
        raise StoreError(
            f"the database of the authorization server does not answer: {type(error).__name__}"
        ) from None
