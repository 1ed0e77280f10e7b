"""Random tokens, their hashes, passwords, and keys derived from the server's secret."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b, sha256
from typing import Final

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from etl.auth.configuration import Randomness

LONGEST_RATED: Final = 72
"""zxcvbn looks at no more characters; so many are either enough or a repetition."""

UNGUESSABLE: Final = 3
"""zxcvbn's score: 10^8 guesses or more."""

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


@cache
def _passwords() -> PasswordHash:
    return PasswordHash((Argon2Hasher(),))


def password_hash(password: str) -> str:
    """Return the argon2 hash of a password. Takes about a tenth of a second, on purpose."""
    return _passwords().hash(password)


def is_password(given: str, stored: str | None) -> bool:
    """Return whether a password matches; takes as long where there is no account."""
    fits = _passwords().verify(given, stored if stored is not None else _nobody())
    return fits and stored is not None


def is_guessable(password: str, guesses: Iterable[str]) -> bool:
    """Return whether a password falls to fewer than 10^8 guesses.

    Args:
        password: the password.
        guesses: words easy to guess: address, names. A password that is one of them is guessable.
    """
    # Imported here: its word lists are slow to load, and few requests choose a password.
    from zxcvbn import zxcvbn

    parts = [(text, *re.split(r"[^\w]+", text)) for text in guesses]
    words = [word for part in parts for word in (*part, "".join(part[1:])) if word]
    if password.strip().lower() in {word.lower() for word in words}:
        return True
    return bool(zxcvbn(password[:LONGEST_RATED], user_inputs=words)["score"] < UNGUESSABLE)


@cache
def _nobody() -> str:
    return password_hash("nobody has this password")
