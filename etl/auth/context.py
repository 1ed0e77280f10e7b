"""What all parts of the authorization server share."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etl.auth.audit import AuditTrail
from etl.auth.configuration import AuthConfiguration, Clock, Randomness
from etl.auth.database import Database
from etl.auth.records import Action, Happening


@dataclass(frozen=True, slots=True)
class AuthContext:
    """Settings, database, clock, randomness and audit trail of the authorization server."""

    configuration: AuthConfiguration
    database: Database
    clock: Clock
    randomness: Randomness
    trail: AuditTrail

    def now(self) -> datetime:
        """Return the present time without a fraction of a second, as the database keeps it."""
        return self.clock().replace(microsecond=0)

    def seconds(self) -> int:
        """Return the present time as whole seconds since 1970."""
        return int(self.clock().timestamp())

    def new_token(self, size: int = 32) -> str:
        """Return a random token for URLs and headers.

        256 bits cannot be guessed, so a plain SHA-256 is hash enough for them.
        """
        return base64.urlsafe_b64encode(self.randomness(size)).decode().rstrip("=")

    def note(self, action: Action, **fields: Any) -> None:
        """Record an event in the audit trail before returning.

        Args:
            action: what happened.
            fields: the other fields of `Happening`.

        Raises:
            OSError: it could not be written.
        """
        self.trail.note(Happening(self.clock(), action, **fields))
