"""Access tokens, ID tokens and refresh tokens: how Authlib's generators are set up here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core.grants import OpenIDCode
from joserfc.jwk import KeySet
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from etl.auth.clients import Client
from etl.auth.configuration import AuthConfiguration, Clock, Randomness
from etl.auth.database import Database, changed
from etl.auth.database_tables import ConsentRow, RefreshRow
from etl.auth.scopes import is_long_lived
from etl.auth.secrets import hash_of, new_token
from etl.auth.signing_keys import ALGORITHM, Keys

ID_TOKEN_SECONDS: Final = 3600


class Holder:
    """The member behind a consent, as Authlib's `user`."""

    def __init__(self, consent: ConsentRow) -> None:
        self.consent = consent

    def get_user_id(self) -> str:
        """Return the subject: the logical id, which reveals nothing by itself."""
        return self.consent.patient


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Access tokens as signed JWTs (RFC 9068), and refresh tokens where the scope has them."""

    def __init__(
        self, configuration: AuthConfiguration, keys: Keys, *, clock: Clock, randomness: Randomness
    ) -> None:
        super().__init__(
            issuer=configuration.base_url,
            alg=ALGORITHM["access"],
            refresh_token_generator=lambda **_: new_token(randomness),
            # Authlib's default lifetime is ten days, whatever its response says.
            expires_generator=configuration.access_seconds,
        )
        self._configuration = configuration
        self._keys = keys
        self._clock = clock
        self._randomness = randomness

    def generate(
        self,
        grant_type: str,
        client: Client,
        user: Holder | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """Return the token response, without what OpenID Connect and SMART add to it."""
        del expires_in
        if user is None:
            raise InvalidGrantError()
        is_longer = include_refresh_token and is_long_lived(user.consent.scope.split())
        token: dict[str, Any] = super().generate(
            grant_type, client, user, scope, self._seconds(user), is_longer
        )
        return token

    def get_jwks(self) -> KeySet:
        """Return the key to sign with; in a set, so that its `kid` goes into the header."""
        return KeySet([self._keys.signing("access")])

    def get_audiences(self, client: Client, user: Holder, scope: str) -> str:
        """Return the audience: the FHIR base, never the app."""
        del client, user, scope
        return self._configuration.fhir_base

    def get_jti(self, client: Client, grant_type: str, user: Holder, scope: str) -> str:
        """Return the token's id."""
        del client, grant_type, user, scope
        return new_token(self._randomness, 16)

    def get_auth_time(self, user: Holder) -> int:
        """Return when the member signed in."""
        return user.consent.auth_time

    def get_extra_claims(
        self, client: Client, grant_type: str, user: Holder, scope: str
    ) -> dict[str, Any]:
        """Return patient and consent; and the lifetime, by this server's clock."""
        del client, grant_type, scope
        now = int(self._clock().timestamp())
        return {
            "iat": now,
            "exp": now + self._seconds(user),
            "patient": user.consent.patient,
            "grant_id": user.consent.id,
        }

    def _seconds(self, user: Holder) -> int:
        """Return how long: as configured, and no longer than the consent."""
        left = user.consent.expires - int(self._clock().timestamp())
        return max(1, min(self._configuration.access_seconds, left))


class IdTokens(OpenIDCode):  # type: ignore[misc]
    """ID tokens (OpenID Connect Core), RS256, with SMART's `fhirUser`."""

    def __init__(self, configuration: AuthConfiguration, keys: Keys, *, clock: Clock) -> None:
        super().__init__(require_nonce=False)
        self._configuration = configuration
        self._keys = keys
        self._clock = clock

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """Return False: a nonce is the app's to check; codes cannot be replayed here anyway."""
        del nonce, request
        return False

    def resolve_client_private_key(self, client: Client) -> Any:
        """Return the key to sign with."""
        del client
        return self._keys.signing("id")

    def get_client_algorithm(self, client: Client) -> str:
        """Return RS256, for every app."""
        del client
        return ALGORITHM["id"]

    def get_encode_header(self, client: Client) -> dict[str, str]:
        """Return the header, which names the key."""
        del client
        return {"alg": ALGORITHM["id"], "kid": str(self._keys.signing("id").kid)}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        """Return issuer, audience and lifetime."""
        now = int(self._clock().timestamp())
        return {
            "iss": self._configuration.base_url,
            "aud": client.get_client_id(),
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
        }

    def generate_user_info(self, user: Holder, scope: str) -> dict[str, str]:
        """Return the claims of a member's identity: the subject, and the URL of the Patient."""
        claims = {"sub": user.get_user_id()}
        if "fhirUser" in scope.split():
            claims["fhirUser"] = f"{self._configuration.fhir_base}/Patient/{user.consent.patient}"
        return claims


class AlreadyUsed(Exception):
    """Another request used the refresh token first."""


class RefreshTokens:
    """Refresh tokens in the database: each is used once, and references its consent."""

    def __init__(self, database: Database, configuration: AuthConfiguration, clock: Clock) -> None:
        self._database = database
        self._idle = timedelta(days=configuration.refresh_idle_days)
        self._clock = clock

    def keep(
        self,
        token: str | None,
        holder: Holder,
        *,
        scope: str,
        replacing: RefreshRow | None = None,
    ) -> None:
        """Keep a new refresh token, and that the consent was used.

        The old token is invalidated in the same transaction: of several requests with it only one
        gets new tokens, and where that fails, the old one stays valid.

        Args:
            token: the token; None where the scope has none.
            holder: the member.
            scope: what the token stands for: never less than the one it replaces.
            replacing: the token it replaces; None for the first of a consent.

        Raises:
            AlreadyUsed: another request was first; nothing was stored.
            InvalidGrantError: the consent has ended meanwhile; nothing was stored.
        """
        now = int(self._clock().timestamp())
        with self._database.write() as session:
            if replacing is not None:
                _take_out_of_use(session, replacing, now)
            used = session.execute(
                update(ConsentRow)
                .where(
                    ConsentRow.id == holder.consent.id,
                    ConsentRow.revoked.is_(None),
                    ConsentRow.expires > now,
                )
                .values(last_used=now)
            )
            if changed(used) != 1:
                raise InvalidGrantError("The consent has ended.")
            if token is not None:
                idle = int((self._clock() + self._idle).timestamp())
                session.add(
                    RefreshRow(
                        hash=hash_of(token),
                        consent_id=holder.consent.id,
                        client_id=holder.consent.client_id,
                        scope=scope,
                        issued=now,
                        expires=min(idle, holder.consent.expires),
                        used=None,
                    )
                )

    def take_back(self, token: str | None, replaced: RefreshRow) -> None:
        """Undo `keep` of a token that was not delivered: the one it replaced is valid again.

        Args:
            token: the new token; None where there was none.
            replaced: the token that it replaced.
        """
        with self._database.write() as session:
            if token is not None:
                session.execute(delete(RefreshRow).where(RefreshRow.hash == hash_of(token)))
            session.execute(
                update(RefreshRow).where(RefreshRow.hash == replaced.hash).values(used=None)
            )

    def find(self, token: str) -> RefreshRow | None:
        """Return a refresh token, used and expired ones included."""
        with self._database.read() as session:
            return session.get(RefreshRow, hash_of(token))


def _take_out_of_use(session: Session, row: RefreshRow, now: int) -> None:
    claimed = session.execute(
        update(RefreshRow)
        .where(
            RefreshRow.hash == row.hash,
            RefreshRow.used.is_(None),
            RefreshRow.expires > now,
        )
        .values(used=now)
    )
    if changed(claimed) != 1:
        raise AlreadyUsed
