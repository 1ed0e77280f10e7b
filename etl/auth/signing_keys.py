"""Signing keys: published before they sign, and until the last token they signed expires.

ID tokens are signed RS256, which SMART clients expect (SMART App Launch 2.2.0, "OpenID Connect");
access tokens ES256, since only this server's gateway has to verify them. All processes share the
keys by the database, where private keys are encrypted (RFC 7516, `dir` with A256GCM).
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeyParameters, KeySet, OctKey, RSAKey, import_key
from sqlalchemy import delete, select

from etl.auth.context import AuthContext, derived_key
from etl.auth.database_tables import KeyRow
from etl.errors import MappingError

Use = Literal["id", "access"]

ALGORITHM: Final[dict[Use, str]] = {"id": "RS256", "access": "ES256"}

SIGNS_FOR: Final = timedelta(days=90)
PUBLISHED_AHEAD: Final = timedelta(days=1)
"""Time that clients may cache the key set before the next key is used."""

PUBLISHED_AFTER: Final = timedelta(days=1)
"""Longer than any token that a key has signed."""

_RELOAD_SECONDS: Final = 60
_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class _KeyCache:
    loaded_at: int
    private: dict[Use, Key]
    valid_until: int
    access: KeySet
    document: dict[str, Any]


class Keys:
    """The signing keys of all processes. Its functions wait for the database now and then."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._wrapping_key = OctKey.import_key(
            derived_key(context.configuration.secret, "signing keys")
        )
        self._lock = threading.Lock()
        self._cache: _KeyCache | None = None

    def signing_key(self, use: Use) -> Key:
        """Return the private key to sign with now; its `kid` goes into the header.

        Raises:
            MappingError: the stored keys were encrypted with another secret.
        """
        return self._current().private[use]

    def verification_keys(self, kid: str) -> KeySet:
        """Return the public keys that verify access tokens.

        Args:
            kid: id of the wanted key; where it is not cached, the keys are read again.
        """
        cache = self._current()
        if all(key.kid != kid for key in cache.access.keys):
            cache = self._current(older_than=5)
        return cache.access

    def key_set(self) -> dict[str, Any]:
        """Return the JSON Web Key Set for everyone (RFC 7517)."""
        return self._current().document

    def rotate(self) -> None:
        """Sign with new keys from now on; the old ones stay published for what they signed."""
        now = self._context.seconds()
        with self._context.database.write() as session:
            for use in ALGORITHM:
                for row in session.scalars(select(KeyRow).where(KeyRow.use == use)):
                    if row.signs_from > now:
                        session.delete(row)  # published but never used: replaced by the new one
                    elif row.signs_until > now:
                        row.signs_until = now
                        row.published_until = now + int(PUBLISHED_AFTER.total_seconds())
        self._cache = None
        self._current()
        self._context.note("keys-rotated", by="operator")

    def _current(self, older_than: int = _RELOAD_SECONDS) -> _KeyCache:
        cache, now = self._cache, self._context.seconds()
        if cache is not None and now - cache.loaded_at < older_than and cache.valid_until > now:
            return cache
        with self._lock:
            if self._cache is cache:
                self._cache = self._load()
            return self._cache if self._cache is not None else self._load()

    def _load(self) -> _KeyCache:
        now = self._context.seconds()
        for use in ALGORITHM:
            self._make_due_key(use, now)
        with self._context.database.read() as session:
            rows = list(
                session.scalars(
                    select(KeyRow)
                    .where(KeyRow.published_until > now)
                    .order_by(KeyRow.use, KeyRow.generation)
                )
            )
        # Should two keys of a use overlap, the older one signs.
        signing = {
            row.use: row for row in reversed(rows) if row.signs_from <= now < row.signs_until
        }
        return _KeyCache(
            now,
            {use: self._unwrap(signing[use].private) for use in ALGORITHM},
            min(row.signs_until for row in signing.values()),
            KeySet([import_key(row.public) for row in rows if row.use == "access"]),
            {"keys": [row.public for row in rows]},
        )

    def _make_due_key(self, use: Use, now: int) -> None:
        """Make the first key, or the next one a day before the current one ends."""
        with self._context.database.read() as session:
            latest = session.scalar(
                select(KeyRow).where(KeyRow.use == use).order_by(KeyRow.generation.desc()).limit(1)
            )
        lead_seconds = int(PUBLISHED_AHEAD.total_seconds())
        if latest is not None and latest.signs_until - now > lead_seconds:
            return
        key = _new_key(use)
        starts = now if latest is None else max(now, latest.signs_until)
        ends = starts + int(SIGNS_FOR.total_seconds())
        with self._context.database.write() as session:
            # Another process may do the same: the first one's key stays.
            self._context.database.add_if_missing(
                session,
                KeyRow,
                kid=key.kid,
                use=use,
                generation=1 if latest is None else latest.generation + 1,
                public=key.as_dict(private=False),
                private=jwe.encrypt_compact(
                    {"alg": "dir", "enc": "A256GCM"},
                    json.dumps(key.as_dict(private=True)),
                    self._wrapping_key,
                ),
                signs_from=starts,
                signs_until=ends,
                published_until=ends + int(PUBLISHED_AFTER.total_seconds()),
            )
            session.execute(delete(KeyRow).where(KeyRow.use == use, KeyRow.published_until <= now))

    def _unwrap(self, text: str) -> Key:
        try:
            plain = jwe.decrypt_compact(text, self._wrapping_key).plaintext
        except JoseError:
            raise MappingError(
                "auth.secret",
                "config-value",
                "setting auth.secret: the stored signing keys were encrypted with another secret",
                hint="set the old one, or delete the rows of the table signing_key",
            ) from None
        return import_key(json.loads(plain or b"{}"))


def _new_key(use: Use) -> Key:
    parameters: KeyParameters = {"use": "sig", "alg": ALGORITHM[use]}
    if use == "id":
        return RSAKey.generate_key(_RSA_BITS, parameters, auto_kid=True)
    return ECKey.generate_key("P-256", parameters, auto_kid=True)
