"""Identity of members: from the payer's identity provider or a sandbox's directory."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse

from etl.auth.configuration import DemoDirectory, IdentityProvider
from etl.auth.context import AuthContext
from etl.auth.lockout import REFUSED, Lockout
from etl.auth.records import DemoMember, SignInRefused

if TYPE_CHECKING:
    from authlib.integrations.starlette_client import StarletteOAuth2App

PatientOf = Callable[[str], str]
"""Member id → logical id of the Patient."""

IsPublished = Callable[[str], Awaitable[bool]]
"""Logical id of a Patient → whether the release that is served has it. Raises StoreError."""

LONGEST_MEMBER_ID: Final = 200

_UNAVAILABLE: Final = "problem.unavailable"


class DemoSignIn:
    """Signs in sample members. Their one password is public; invalid ones are still counted."""

    def __init__(self, context: AuthContext, directory: DemoDirectory, lockout: Lockout) -> None:
        self._context = context
        self.members = directory.members
        self.password = directory.password
        self._by_name = {member.username: member for member in self.members}
        self._lockout = lockout

    def sign_in(self, username: str, password: str, address: str) -> str:
        """Return the patient id of the sample member that signs in.

        Raises:
            SignInRefused: invalid, or locked after too many invalid ones.
        """
        username = username.strip().lower()
        account = f"member {username}"
        self._lockout.check(account, address)
        member = self._by_name.get(username)
        fits = hmac.compare_digest(password.encode(), self.password.encode())
        if member is None or not fits:
            self._lockout.count_failure(account, address)
            _note_sign_in(self._context, "", address, succeeded=False)
            raise SignInRefused(REFUSED)
        self._lockout.clear_failures(account)
        _note_sign_in(self._context, member.patient, address)
        return member.patient

    def member(self, patient: str) -> DemoMember | None:
        """Return the sample member of a logical id."""
        return next((member for member in self.members if member.patient == patient), None)


class ProviderSignIn:
    """Signs members in at the payer's OpenID Connect provider: code flow, PKCE, state, nonce."""

    def __init__(
        self, context: AuthContext, provider: IdentityProvider, patient_of: PatientOf
    ) -> None:
        self._context = context
        self._provider = provider
        self._patient_of = patient_of
        self._callback = context.configuration.url("/oauth/callback")
        self._client = _new_client(provider)

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
            metadata = await self._client.load_server_metadata()
            if metadata.get("issuer") != self._provider.issuer:
                # A client caches the metadata it read first; a new one reads them again.
                self._client = _new_client(self._provider)
                raise SignInRefused(_UNAVAILABLE)  # OpenID Connect Discovery 1.0 section 4.3
            answer = await self._client.authorize_redirect(request, self._callback, prompt="login")
        except _provider_errors(ValueError, KeyError):
            raise SignInRefused(_UNAVAILABLE) from None
        return answer, {"purpose": purpose, "session": dict(request.scope["session"])}

    async def complete(
        self, request: Request, login: dict[str, object], address: str
    ) -> tuple[str, str]:
        """Return the patient id of the signed-in member, and the purpose.

        Args:
            request: the provider's redirect back.
            login: state that `begin` gave the browser.
            address: where the request came from.

        Raises:
            SignInRefused: state, nonce, signature or issuer is invalid, or no member is named.
        """
        session = login.get("session")
        state = request.query_params.get("state", "")
        issuer = request.query_params.get("iss")
        if not isinstance(session, dict) or not state:
            raise await self._refusal(address)
        if issuer is not None and issuer != self._provider.issuer:
            raise await self._refusal(address)  # RFC 9207: a response of another provider
        request.scope["session"] = session
        try:
            token = await self._client.authorize_access_token(request)
        except _provider_errors(JoseError, ValueError, KeyError, TypeError, AttributeError):
            # AttributeError, TypeError: Authlib's, for a state of another browser.
            raise await self._refusal(address) from None
        patient = self._find_patient(token)
        if patient is None:
            raise await self._refusal(address)
        # In a thread: a disk that hangs would block the event loop.
        await run_in_threadpool(_note_sign_in, self._context, patient, address)
        return patient, str(login.get("purpose"))

    def _find_patient(self, token: dict[str, Any]) -> str | None:
        claims = token.get("userinfo") or {}
        if claims.get("iss") != self._provider.issuer or "id_token" not in token:
            return None
        member_id = claims.get(self._provider.member_claim)
        if not isinstance(member_id, str) or not 0 < len(member_id) <= LONGEST_MEMBER_ID:
            return None
        return self._patient_of(member_id)

    async def _refusal(self, address: str) -> SignInRefused:
        await run_in_threadpool(_note_sign_in, self._context, "", address, succeeded=False)
        return SignInRefused("problem.sign-in-failed")


def _new_client(provider: IdentityProvider) -> StarletteOAuth2App:
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


def _note_sign_in(
    context: AuthContext, patient: str, address: str, *, succeeded: bool = True
) -> None:
    context.note(
        "member-sign-in", succeeded=succeeded, patient=patient, by="member", address=address
    )


def _provider_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the errors that a provider's client raises, and `more`."""
    # Imported here: a sandbox has no provider, and starts faster without its client.
    from authlib.integrations.base_client.errors import OAuthError
    from httpx2 import HTTPError

    return (OAuthError, HTTPError, *more)
