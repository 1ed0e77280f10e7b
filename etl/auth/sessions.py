"""Sign-in sessions. The cookie holds a random token; the database its hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from sqlalchemy import delete, update

from etl.auth.context import AuthContext, hash_of
from etl.auth.database_tables import SessionRow

Kind = Literal["developer", "member", "authorize"]
"""A developer on the portal; a member on the page of grants; a member for one authorization."""

_LIFETIMES: Final[dict[Kind, tuple[timedelta, timedelta]]] = {
    "developer": (timedelta(hours=12), timedelta(hours=2)),
    "member": (timedelta(hours=1), timedelta(minutes=15)),
    "authorize": (timedelta(minutes=10), timedelta(minutes=10)),
}
"""Kind → how long a session lasts, and how long without a request."""

_SEEN_EVERY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in developer or member.

    Attributes:
        subject: id of the developer's account, or logical id of the member's Patient.
        signed_in: when they authenticated.
    """

    subject: str
    signed_in: datetime


class Sessions:
    """Sign-in sessions. Its functions wait for the database: call them in a thread."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context

    def start(self, kind: Kind, subject: str) -> str:
        """Sign someone in and return the token for the cookie; always a new one."""
        token = self._context.new_token()
        now = self._context.clock()
        with self._context.database.write() as session:
            session.add(
                SessionRow(
                    hash=hash_of(token),
                    kind=kind,
                    subject=subject,
                    signed_in=int(now.timestamp()),
                    seen=int(now.timestamp()),
                    expires=int((now + _LIFETIMES[kind][0]).timestamp()),
                )
            )
        return token

    def find(self, kind: Kind, token: str) -> Session | None:
        """Return the session of a token; None where there is none, or it ended."""
        if not token:
            return None
        now = self._context.seconds()
        with self._context.database.read() as session:
            row = session.get(SessionRow, hash_of(token))
        idle = _LIFETIMES[kind][1].total_seconds()
        if row is None or row.kind != kind or row.expires <= now or row.seen + idle <= now:
            return None
        if now - row.seen >= _SEEN_EVERY_SECONDS:
            with self._context.database.write() as session:
                session.execute(
                    update(SessionRow).where(SessionRow.hash == row.hash).values(seen=now)
                )
        return Session(row.subject, datetime.fromtimestamp(row.signed_in, UTC))

    def end(self, token: str) -> None:
        """Sign out."""
        with self._context.database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.hash == hash_of(token)))

    def forget(self) -> None:
        """Delete expired sessions."""
        now = self._context.seconds()
        with self._context.database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.expires <= now))
