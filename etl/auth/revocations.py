"""Revocations of access tokens: ended consents, disabled apps, revoked tokens.

An access token lives ten minutes at most, so a revocation need not be kept for longer than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from etl.auth.configuration import ACCESS_SECONDS
from etl.auth.context import AuthContext
from etl.auth.database_tables import RevocationRow

Kind = Literal["consent", "app", "token"]

_SLACK_SECONDS: Final = 60
"""Allowed difference between the clocks of two machines."""


class Revocations:
    """The list of revocations; listeners are notified of this process's own changes at once."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Register a function to be called after each change that this process makes."""
        self._listeners.append(listener)

    def add(self, session: Session, kind: Kind, subject: str) -> None:
        """Revoke a token, or all of a consent or app, in the caller's transaction."""
        until = self._context.seconds() + ACCESS_SECONDS + _SLACK_SECONDS
        self._context.database.add_if_missing(
            session, RevocationRow, kind=kind, subject=subject, until=until
        )
        session.get_one(RevocationRow, (kind, subject), with_for_update=True).until = until

    def lift(self, session: Session, kind: Kind, subject: str) -> None:
        """Lift a revocation, as of an app that is enabled again."""
        session.execute(
            delete(RevocationRow).where(
                RevocationRow.kind == kind, RevocationRow.subject == subject
            )
        )

    def announce(self) -> None:
        """Notify the listeners, after the transaction was committed."""
        for listener in self._listeners:
            listener()

    def present(self) -> frozenset[tuple[str, str]]:
        """Return the unexpired revocations, as pairs of kind and id."""
        now = self._context.seconds()
        with self._context.database.read() as session:
            rows = session.execute(
                select(RevocationRow.kind, RevocationRow.subject).where(RevocationRow.until > now)
            )
            return frozenset((kind, subject) for kind, subject in rows)

    def delete_expired(self) -> None:
        """Delete expired revocations."""
        now = self._context.seconds()
        with self._context.database.write() as session:
            session.execute(delete(RevocationRow).where(RevocationRow.until <= now))
