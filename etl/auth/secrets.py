"""Random tokens, their hashes, passwords, and keys derived from the server's secret."""

from __future__ import annotations

import base64
import hmac
from functools import cache
from hashlib import blake2b, sha256
from typing import Final

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

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
    """Return whether a token is the one whose hash is stored, in constant time."""
    return bool(stored_hash) and hmac.compare_digest(hash_of(given), stored_hash)


def derived_key(secret: bytes, purpose: str) -> bytes:
    """Return the 32-byte key of one purpose; from it neither the secret nor another follows."""
    return blake2b(purpose.encode(), key=sha256(secret).digest(), digest_size=32).digest()


@cache
def _passwords() -> PasswordHash:
    return PasswordHash((Argon2Hasher(),))


def password_hash(password: str) -> str:
    """Return the argon2 hash of a password. Takes about a tenth of a second, on purpose."""
    return _passwords().hash(password)


def is_password(given: str, stored: str | None) -> bool:
    """Return whether a password fits; takes as long where there is no account to fit."""
    fits = _passwords().verify(given, stored if stored is not None else _nobody())
    return fits and stored is not None


@cache
def _nobody() -> str:
    return password_hash("nobody has this password")
