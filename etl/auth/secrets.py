"""Random tokens, their hashes, and keys derived from the server's secret."""

from __future__ import annotations

import base64
import hmac
from hashlib import blake2b, sha256
from typing import Final

from etl.auth.configuration import Randomness

TOKEN_BYTES: Final = 32
"""256 bits: cannot be guessed, so a plain SHA-256 is hash enough."""


def new_token(randomness: Randomness, size: int = TOKEN_BYTES) -> str:
    """Return a random token for URLs and headers."""
    return base64.urlsafe_b64encode(randomness(size)).decode().rstrip("=")


def hash_of(token: str) -> str:
    """Return what is stored in place of a random token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_same(given: str, stored_hash: str) -> bool:
    """Compare a token with a stored hash, in constant time."""
    return bool(stored_hash) and hmac.compare_digest(hash_of(given), stored_hash)


def derived_key(secret: bytes, purpose: str) -> bytes:
    """Return the 32-byte key of one purpose; it reveals neither the secret nor another key."""
    return blake2b(purpose.encode(), key=sha256(secret).digest(), digest_size=32).digest()
