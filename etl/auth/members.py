"""Identity of members: from the payer's identity provider or a sandbox's directory."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse

from etl.auth.configuration import AuthConfiguration, Clock, IdentityProvider
from etl.auth.lockout import REFUSED, Lockout
from etl.auth.records import DemoMember, Happening, Note, SignedInMember, SignInRefused

if TYPE_CHECKING:
    from authlib.integrations.starlette_client import StarletteOAuth2App

PatientOf = Callable[[str], str]
"""Member id → logical id of the Patient."""

IsPublished = Callable[[str], Awaitable[bool]]
"""Logical id of a Patient → whether the release that is served has it. Raises StoreError."""

LONGEST_MEMBER_ID: Final = 200

_SILENT: Final = "The sign-in service does not answer at the moment."


class DemoSignIn:
    """Signs in sample members. Their one password is public; invalid ones are still counted."""

    def __init__(
        self, configuration: AuthConfiguration, lockout: Lockout, *, clock: Clock, note: Note
    ) -> None:
        if configuration.demo is None:
            raise ValueError("there is no demo directory")
        self.members = configuration.demo.members
        self.password = configuration.demo.password
        self._by_name = {member.username: member for member in self.members}
        self._lockout = lockout
        self._clock = clock
        self._note = note

    def sign_in(self, username: str, password: str, address: str) -> SignedInMember:
        """Return the sample member that signs in.

        Raises:
            SignInRefused: invalid, or locked after too many invalid ones.
        """
        username = username.strip().lower()
        account = f"member {username}"
        self._lockout.check(account, address)
        member = self._by_name.get(username)
        fits = hmac.compare_digest(password.encode(), self.password.encode())
        if member is None or not fits:
            self._lockout.failed(account, address)
            self._note(_signed_in(self._clock, "", address, succeeded=False))
            raise SignInRefused(REFUSED)
        self._lockout.succeeded(account)
        self._note(_signed_in(self._clock, member.patient, address))
        return SignedInMember(member.patient, member.name, self._clock())

    def member(self, patient: str) -> DemoMember | None:
        """Return the sample member of a logical id."""
        return next(
            (known_member for known_member in self.members if known_member.patient == patient), None
        )


class ProviderSignIn:
    """Signs members in at the payer's OpenID Connect provider: code flow, PKCE, state, nonce."""

    def __init__(
        self,
        configuration: AuthConfiguration,
        provider: IdentityProvider,
        patient_of: PatientOf,
        *,
        clock: Clock,
        note: Note,
    ) -> None:
        self._provider = provider
        self._patient_of = patient_of
        self._callback = configuration.url("/oauth/callback")
        self._clock = clock
        self._note = note
        self._client = _client_of(provider)

    async def begin(
        self, request: Request, purpose: str
    ) -> tuple[RedirectResponse, dict[str, object]]:
        """Return the redirect to the provider, and the state that the browser has to return.

        Args:
            request: the member's request.
            purpose: `authorize` or `member`: what the sign-in is for.

        Raises:
            SignInRefused: the provider does not answer, or describes another issuer.
        """
        request.scope["session"] = {}
        try:
            described = await self._client.load_server_metadata()
            if described.get("issuer") != self._provider.issuer:
                # A client caches the metadata it read first; a new one reads them again.
                self._client = _client_of(self._provider)
                raise SignInRefused(_SILENT)  # OpenID Connect Discovery 1.0 section 4.3
            answer = await self._client.authorize_redirect(request, self._callback, prompt="login")
        except _of_provider(ValueError, KeyError):
            raise SignInRefused(_SILENT) from None
        return answer, {"purpose": purpose, "session": dict(request.scope["session"])}

    async def complete(
        self, request: Request, brought: dict[str, object], address: str
    ) -> tuple[SignedInMember, str]:
        """Return the signed-in member, and the purpose.

        Args:
            request: the provider's redirect back.
            brought: what `begin` gave the browser.
            address: where the request came from.

        Raises:
            SignInRefused: state, nonce, signature or issuer is invalid, or no member is named.
        """
        session = brought.get("session")
        state = request.query_params.get("state", "")
        issuer = request.query_params.get("iss")
        if not isinstance(session, dict) or not state:
            raise await self._refused(address)
        if issuer is not None and issuer != self._provider.issuer:
            raise await self._refused(address)  # RFC 9207: a response of another provider
        request.scope["session"] = session
        try:
            token = await self._client.authorize_access_token(request)
        except _of_provider(JoseError, ValueError, KeyError, TypeError, AttributeError):
            # AttributeError, TypeError: Authlib's, for a state of another browser.
            raise await self._refused(address) from None
        patient = self._patient(token)
        if patient is None:
            raise await self._refused(address)
        # In a thread: a disk that hangs would block the event loop.
        await run_in_threadpool(self._note, _signed_in(self._clock, patient, address))
        return SignedInMember(patient, "", self._clock()), str(brought.get("purpose"))

    def _patient(self, token: dict[str, Any]) -> str | None:
        claims = token.get("userinfo") or {}
        if claims.get("iss") != self._provider.issuer or "id_token" not in token:
            return None
        member_id = claims.get(self._provider.member_claim)
        if not isinstance(member_id, str) or not 0 < len(member_id) <= LONGEST_MEMBER_ID:
            return None
        return self._patient_of(member_id)

    async def _refused(self, address: str) -> SignInRefused:
        happening = _signed_in(self._clock, "", address, succeeded=False)
        await run_in_threadpool(self._note, happening)
        return SignInRefused("The sign-in did not work. Please start again from the app.")


def _client_of(provider: IdentityProvider) -> StarletteOAuth2App:
    """Return a client of the provider that has not read its metadata yet."""
    # Imported here: it takes a quarter of a second, and a sandbox does not need it.
    from authlib.integrations.starlette_client import OAuth

    registry = OAuth()
    registry.register(
        "payer",
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={"scope": provider.scope, "code_challenge_method": "S256", "timeout": 10},
    )
    client: StarletteOAuth2App = registry.create_client("payer")
    return client


def _signed_in(clock: Clock, patient: str, address: str, *, succeeded: bool = True) -> Happening:
    return Happening(
        clock(), "member-sign-in", succeeded, patient=patient, by="member", address=address
    )


def _of_provider(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what its client raises where a provider does not answer as it should, and more."""
    # Imported here: a sandbox has no provider, and starts faster without its client.
    from authlib.integrations.base_client.errors import OAuthError
    from httpx2 import HTTPError

    return (OAuthError, HTTPError, *more)
