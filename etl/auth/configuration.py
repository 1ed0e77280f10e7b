"""Configuration of the authorization server. `etl.bootstrap` makes it from settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from etl.auth.records import DemoMember
from etl.web.texts import PageTexts

Clock = Callable[[], datetime]
"""Gives the present time, with its zone."""

Randomness = Callable[[int], bytes]
"""Gives that many unpredictable bytes; `secrets.token_bytes` outside tests."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""Hosts of this machine, to which http and mail may go in the clear."""

ACCESS_SECONDS: Final = 600
"""Lifetime of an access token in seconds; revocations are kept for as long."""

CODE_SECONDS: Final = 60
SANDBOX_CODE_SECONDS: Final = 600
"""Lifetime of an authorization code in seconds; in a sandbox developers trade codes by hand, in the
ten minutes that RFC 6749 section 4.1.2 allows at most."""

REFRESH_IDLE_DAYS: Final = 90
"""A refresh token that is not used for so long expires."""

ONLINE_HOURS: Final = 12
"""How long `online_access` lasts."""

ACCESS_DAYS: Final = 180
"""Days after the end of a year at which its daily counts of apps' reads by member are deleted; the
numbers of the year stay."""

LONGEST_REVOCATION_SECONDS: Final = 30
"""Most seconds until a revocation takes effect in all processes."""


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The payer's OpenID Connect provider, which identifies members.

    Attributes:
        issuer: its issuer; `/.well-known/openid-configuration` under it is read.
        client_id: this server's id there.
        client_secret: its secret there. Not printed.
        scope: the scopes requested from it.
        member_claim: claim of the id token, or of its userinfo, that holds the member id.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = "openid profile"
    member_claim: str = "member_id"


@dataclass(frozen=True, slots=True)
class DemoDirectory:
    """Sample members that anyone may sign in as. For sandboxes; every page then says so.

    Attributes:
        members: the sample members.
        password: the one password of them all; public.
    """

    members: tuple[DemoMember, ...]
    password: str = "sandbox"  # noqa: S105 - public, and on the page


@dataclass(frozen=True, slots=True)
class AuthConfiguration:
    """Configuration of the authorization server.

    Attributes:
        base_url: where the server is reached, and its issuer: scheme, host, port; no slash at
            the end. https, unless it is a loopback address.
        texts: what the members' pages say, with the payer's name.
        secret: the keys of cookies and of stored signing keys are derived from it; the same
            in all processes. Not printed.
        sandbox: apps work at once; in production they wait for the operator's approval.
        consent_days: terms that a member is offered, the preselected first.
        revocation_seconds: maximum age of the list of revocations; at most 30.
        plain_apps: ids of apps that may use the plain authorize URL, without scope, state, aud
            and PKCE, beside those approved so.
        introspectors: ids of apps that may introspect every token; others their own only.
        identity_provider: where members sign in; None where the demo directory serves.
        demo: the demo directory; None for none.
        most_apps: how many apps an account may have.
        education_page: path of the page that explains sharing to members; empty for none.
    """

    base_url: str
    texts: PageTexts
    secret: bytes = field(repr=False)
    sandbox: bool = True
    consent_days: tuple[int, ...] = (90, 30, 365)
    revocation_seconds: int = 10
    plain_apps: tuple[str, ...] = ()
    introspectors: tuple[str, ...] = ()
    identity_provider: IdentityProvider | None = None
    demo: DemoDirectory | None = None
    most_apps: int = 20
    education_page: str = ""

    @property
    def payer(self) -> str:
        """The payer's name for people."""
        return self.texts.payer

    @property
    def code_seconds(self) -> int:
        """Lifetime of an authorization code in seconds."""
        return SANDBOX_CODE_SECONDS if self.sandbox else CODE_SECONDS

    @property
    def fhir_base(self) -> str:
        """The FHIR base URL, which is the audience of access tokens."""
        return f"{self.base_url}/fhir"

    @property
    def is_secure(self) -> bool:
        """Whether the server is reached by TLS, so that cookies and HSTS can insist on it."""
        return self.base_url.startswith("https://")

    def url(self, path: str) -> str:
        """Return the absolute URL of a path of this server."""
        return self.base_url + path
