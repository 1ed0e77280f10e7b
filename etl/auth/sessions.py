"""Sign-in sessions. The cookie holds a random token; the database its hash."""

from __future__ import annotations

from datetime import timedelta
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

_SEEN_INTERVAL: Final = timedelta(minutes=1)


class Sessions:
    """Sign-in sessions. Its functions wait for the database: call them in a thread."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context

    def start(self, kind: Kind, subject: str) -> str:
        """Sign someone in and return the token for the cookie; always a new one."""
        token = self._context.new_token()
        now = self._context.now()
        with self._context.database.write() as session:
            session.add(
                SessionRow(
                    hash=hash_of(token),
                    kind=kind,
                    subject=subject,
                    signed_in=now,
                    seen=now,
                    expires=now + _LIFETIMES[kind][0],
                )
            )
        return token

    def find(self, kind: Kind, token: str) -> SessionRow | None:
        """Return the session of a token; None if it is missing or ended."""
        if not token:
            return None
        now, idle = self._context.now(), _LIFETIMES[kind][1]
        with self._context.database.read() as session:
            row = session.get(SessionRow, hash_of(token))
        if row is None or row.kind != kind or row.expires <= now or row.seen + idle <= now:
            return None
        if now - row.seen >= _SEEN_INTERVAL:
            with self._context.database.write() as session:
                session.execute(
                    update(SessionRow).where(SessionRow.hash == row.hash).values(seen=now)
                )
        return row

    def end(self, token: str) -> None:
        """Sign out."""
        with self._context.database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.hash == hash_of(token)))

    def delete_expired(self) -> None:
        """Delete expired sessions."""
        with self._context.database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.expires <= self._context.now()))
