"""Lockout after invalid passwords, counted in the database for all processes together.

An account is locked for a minute after five invalid passwords in a row, and for twice as long after
each further one, up to a quarter of an hour. The address they come from is counted too, with room
for an office behind it. What is free is given back over an hour, so that no address collects
failures for ever.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete

from etl.auth.context import AuthContext, hash_of
from etl.auth.database_tables import FailureRow
from etl.auth.records import SignInRefused
from etl.web.rate_limits import caller_of

FREE_FAILURES: Final = 5
FREE_FAILURES_OF_ADDRESS: Final = 30
FIRST_LOCK_SECONDS: Final = 60
LONGEST_LOCK_SECONDS: Final = 900
FORGOTTEN_AFTER_SECONDS: Final = 3600

REFUSED: Final = "problem.refused"
LOCKED: Final = "problem.locked"


class Lockout:
    """Counts invalid passwords."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context

    def check(self, account: str, address: str) -> None:
        """Refuse a sign-in while its account or address is locked.

        Raises:
            SignInRefused: the account or the address is locked; with the seconds left.
        """
        now = self._context.seconds()
        with self._context.database.read() as session:
            rows = [session.get(FailureRow, key) for key, _ in _keys(account, address)]
        seconds_left = max((row.locked_until - now for row in rows if row is not None), default=0)
        if seconds_left > 0:
            raise SignInRefused(LOCKED, retry_after=seconds_left)

    def count_failure(self, account: str, address: str) -> None:
        """Count an invalid password."""
        now = self._context.seconds()
        with self._context.database.write() as session:
            for key, limit in _keys(account, address):
                self._context.database.add_if_missing(
                    session, FailureRow, key=key, count=0, last=now, locked_until=0
                )
                row = session.get_one(FailureRow, key, with_for_update=True)
                row.count = (
                    max(0, row.count - limit * (now - row.last) // FORGOTTEN_AFTER_SECONDS) + 1
                )
                row.last = now
                if row.count >= limit:
                    lock_seconds = FIRST_LOCK_SECONDS << min(row.count - limit, 10)
                    row.locked_until = now + min(lock_seconds, LONGEST_LOCK_SECONDS)

    def clear_failures(self, account: str) -> None:
        """Clear an account's invalid passwords."""
        with self._context.database.write() as session:
            session.execute(delete(FailureRow).where(FailureRow.key == _keys(account, "")[0][0]))

    def delete_expired(self) -> None:
        """Delete entries that expired long ago."""
        with self._context.database.write() as session:
            session.execute(
                delete(FailureRow).where(
                    FailureRow.last < self._context.seconds() - FORGOTTEN_AFTER_SECONDS
                )
            )


def _keys(account: str, address: str) -> tuple[tuple[str, int], ...]:
    """Return each key with its free failures; hashed, since an account name may be a person's."""
    return (
        (hash_of(f"account {account}"), FREE_FAILURES),
        (hash_of(f"address {caller_of(address)}"), FREE_FAILURES_OF_ADDRESS),
    )
