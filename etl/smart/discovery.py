"""Discovery of the authorization server, for both places where clients look it up.

Sources: SMART App Launch 2.2.0, "Conformance" (`.well-known/smart-configuration`, the `oauth-uris`
extension of a CapabilityStatement); CARIN Blue Button 2.2.0, "Security and Privacy".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

CAPABILITIES: Final = (
    "launch-standalone",
    "client-public",
    "client-confidential-symmetric",
    "sso-openid-connect",
    "context-standalone-patient",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
    "authorize-post",
)
"""SMART capabilities of this product's authorization server."""


@dataclass(frozen=True, slots=True)
class AuthEndpoints:
    """Endpoints and capabilities of an authorization server. All URLs are absolute.

    Attributes:
        issuer: its issuer; empty where it has no OpenID Connect.
        authorization: authorize endpoint.
        token: token endpoint.
        jwks: key set of id tokens; empty likewise.
        introspection, revocation, management: empty if there is none.
        scopes: scopes that can be requested.
        capabilities: SMART capabilities.
        grant_types: OAuth grant types.
        client_authentication: how clients authenticate at the token endpoint.
        more: further members of the discovery document, as RFC 8414 names them.
    """

    issuer: str
    authorization: str
    token: str
    jwks: str = ""
    introspection: str = ""
    revocation: str = ""
    management: str = ""
    scopes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = CAPABILITIES
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    client_authentication: tuple[str, ...] = ("client_secret_basic", "client_secret_post", "none")
    more: Mapping[str, Any] = field(default_factory=dict)


def smart_configuration(endpoints: AuthEndpoints) -> dict[str, Any]:
    """Return the discovery document at `.well-known/smart-configuration`."""
    document: dict[str, Any] = {
        "issuer": endpoints.issuer,
        "jwks_uri": endpoints.jwks,
        "authorization_endpoint": endpoints.authorization,
        "token_endpoint": endpoints.token,
        "introspection_endpoint": endpoints.introspection,
        "revocation_endpoint": endpoints.revocation,
        "management_endpoint": endpoints.management,
        "scopes_supported": list(endpoints.scopes),
        "response_types_supported": ["code"],
        "grant_types_supported": list(endpoints.grant_types),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(endpoints.client_authentication),
        "capabilities": list(endpoints.capabilities),
        **endpoints.more,
    }
    return {name: value for name, value in document.items() if value}


def oauth_uris(endpoints: AuthEndpoints) -> list[tuple[str, str]]:
    """Return names and URLs for the `oauth-uris` extension: the same as the document's."""
    extension = (
        ("authorize", endpoints.authorization),
        ("token", endpoints.token),
        ("manage", endpoints.management),
        ("introspect", endpoints.introspection),
        ("revoke", endpoints.revocation),
    )
    return [(name, url) for name, url in extension if url]
