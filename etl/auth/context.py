"""What all parts of the authorization server share: their context, and hashes of tokens."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b, sha256
from typing import Any

from etl.auth.audit import AuditTrail
from etl.auth.configuration import AuthConfiguration, Clock, Randomness
from etl.auth.database import Database
from etl.auth.records import Action, AuditEvent


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
            fields: the other fields of `AuditEvent`.

        Raises:
            OSError: the event could not be written.
        """
        self.trail.note(AuditEvent(self.clock(), action, **fields))


def hash_of(token: str) -> str:
    """Return the hash that is stored in place of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_same(token: str, stored_hash: str) -> bool:
    """Compare a token with a stored hash, in constant time."""
    return bool(stored_hash) and hmac.compare_digest(hash_of(token), stored_hash)


def derived_key(secret: bytes, purpose: str) -> bytes:
    """Return the 32-byte key of one purpose; it reveals neither the secret nor another key."""
    return blake2b(purpose.encode(), key=sha256(secret).digest(), digest_size=32).digest()
