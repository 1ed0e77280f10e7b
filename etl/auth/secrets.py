"""Hashes of random tokens, and keys derived from the server's secret."""

from __future__ import annotations

import hmac
from hashlib import blake2b, sha256


def hash_of(token: str) -> str:
    """Return what is stored in place of a random token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_same(given: str, stored_hash: str) -> bool:
    """Compare a token with a stored hash, in constant time."""
    return bool(stored_hash) and hmac.compare_digest(hash_of(given), stored_hash)


def derived_key(secret: bytes, purpose: str) -> bytes:
    """Return the 32-byte key of one purpose; it reveals neither the secret nor another key."""
    return blake2b(purpose.encode(), key=sha256(secret).digest(), digest_size=32).digest()
