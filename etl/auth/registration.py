"""The registration of an app: one form for the portal's page, client metadata and commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from etl.auth import scopes as scope_rules
from etl.auth.app_names import has_invisible
from etl.auth.configuration import LOOPBACK
from etl.auth.records import InvalidForm
from etl.documents.packaged_toml import read_beside
from etl.smart import scopes as smart_scopes

ClientType = Literal["confidential", "public"]
"""RFC 6749 section 2.1: whether the app can keep a secret."""

Authentication = Literal["secret", "private_key_jwt", "none"]
"""Authentication of an app: a secret (Basic or in the body), a signed assertion, or none."""

ATTESTATIONS: Final[dict[str, str]] = read_beside(__file__, "attestations.toml")
"""Statements that a developer confirms at registration: id → the sentence. All are required."""

DEFAULT_SCOPES: Final = ("launch/patient", "openid", "fhirUser", "offline_access", "patient/*.rs")
"""Default scopes of a registration. An app may ask for less."""

LONGEST_NAME: Final = 80
LONGEST_DESCRIPTION: Final = 1000
LONGEST_URI: Final = 500
MOST_REDIRECT_URIS: Final = 10
_SHORTEST_RSA: Final = 2048
_LONGEST_RSA: Final = 8192

_EMAIL: Final = re.compile(r"[^@\s<>\"']{1,64}@[^@\s<>\"']{1,190}\.[^@\s<>\"'.]{2,}")
_PHONE: Final = re.compile(r"[0-9+()./ x-]{5,30}")
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")
"""It goes into a header of the consent page, where `;` and blanks are separators."""

_APP_SCHEME: Final = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
_LINE_BREAKS: Final = str.maketrans("", "", "\n\r\t")
"""Control characters that a text of several lines may hold."""


def line_problem(text: str, longest: int, *, required: bool = True) -> str:
    """Return the error of a line of text, for people; empty if it is valid."""
    if not text:
        return "Please fill this in." if required else ""
    if len(text) > longest:
        return f"Use at most {longest} characters."
    if has_invisible(text):
        return "It contains invisible characters. Please type it again."
    return ""


def redirect_uri_problem(uri: str) -> str:
    """Return why a redirect URI cannot be registered; empty if it can (RFC 9700 2.1, RFC 8252).

    https; http for loopback addresses only; or a scheme of the app's own, with a dot in it.
    """
    problem = ""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "It is not a URI."
    if parts.netloc and not _HOST.fullmatch(parts.netloc):
        problem = "Its host can contain only letters, digits, dots, dashes, and a port."
    elif not uri.isascii() or re.search(r"[\s\x00-\x20\"<>\\^`{|}]", uri):
        problem = "It can contain only URI characters. Percent-encode all others."
    elif len(uri) > LONGEST_URI:
        problem = f"At most {LONGEST_URI} characters, please."
    elif port == 0:
        problem = "Port 0 is not valid. Leave the port out, or use the real one."
    elif "#" in uri:
        problem = "It must not contain a fragment (#)."
    elif "*" in uri:
        problem = "Wildcards are not allowed. Register each address."
    elif parts.scheme == "https":
        problem = "" if host else "It needs a host."
    elif parts.scheme == "http":
        problem = "" if host in LOOPBACK else "http is allowed only for localhost. Use https."
    elif not _APP_SCHEME.fullmatch(parts.scheme):
        problem = "Use https, or your app's own scheme with a dot in it (com.example.app:/done)."
    return problem


def is_registered(uri: str, registered: tuple[str, ...]) -> bool:
    """Return whether a redirect URI is registered, compared character by character.

    The port of a loopback address may be another one, since a native app takes what is free
    (RFC 8252 section 7.3).
    """
    return uri in registered or any(_differs_in_port(uri, allowed) for allowed in registered)


def _differs_in_port(uri: str, registered: str) -> bool:
    """Return whether two URIs of a loopback address are equal but for the port."""
    try:
        requested, allowed = urlsplit(uri), urlsplit(registered)
        is_free_port = requested.port == 0
    except ValueError:
        return False
    if is_free_port or allowed.scheme != "http" or allowed.hostname not in ("127.0.0.1", "::1"):
        return False
    host = f"[{allowed.hostname}]" if ":" in allowed.hostname else allowed.hostname
    with_port = re.fullmatch(re.escape(f"http://{host}") + r":[0-9]{1,5}(?![0-9])(.*)", uri)
    path = registered.removeprefix(f"http://{allowed.netloc}")
    return with_port is not None and with_port.group(1) == path


def _rule(problem_of: Callable[[Any, Mapping[str, Any]], str]) -> AfterValidator:
    """Return the check of a field.

    Args:
        problem_of: takes the field's value and the valid fields before it; returns a sentence for
            the person who filled it in, empty if the value is valid.
    """

    def check_field(value: Any, info: ValidationInfo) -> Any:
        if sentence := problem_of(value, info.data):
            raise PydanticCustomError("form", "{sentence}", {"sentence": sentence})
        return value

    return AfterValidator(check_field)


def _description_problem(text: str, _: Mapping[str, Any]) -> str:
    if len(text) > LONGEST_DESCRIPTION:
        return f"At most {LONGEST_DESCRIPTION} characters, please."
    return line_problem(text.translate(_LINE_BREAKS), LONGEST_DESCRIPTION, required=False)


def _link_problem(uri: str, _: Mapping[str, Any]) -> str:
    problem = redirect_uri_problem(uri) if uri else ""
    if uri and not problem and not uri.startswith("https://"):
        problem = "It must start with https://."
    return problem


def _redirect_uris_problem(uris: tuple[str, ...], _: Mapping[str, Any]) -> str:
    if not uris:
        return "At least one redirect URI is needed."
    if len(uris) > MOST_REDIRECT_URIS:
        return f"At most {MOST_REDIRECT_URIS}, please."
    for number, uri in enumerate(uris, 1):
        problem = redirect_uri_problem(uri)
        if problem:
            return f"Number {number}: {problem}"
    return ""


def _authentication_problem(authentication: str, others: Mapping[str, Any]) -> str:
    client_type = others.get("client_type")
    if client_type == "public" and authentication != "none":
        return "A public app has neither a secret nor a key. Choose none."
    if client_type == "confidential" and authentication == "none":
        return "A confidential app must authenticate with a secret or a key."
    return ""


def _scopes_problem(scopes: tuple[str, ...], _: Mapping[str, Any]) -> str:
    unknown = [scope for scope in scopes if scope not in smart_scopes.grantable(scopes)]
    if unknown:
        return f"{scope_rules.problem(unknown[0])}."
    if not any(smart_scopes.parse(scope) for scope in scopes):
        return "At least one scope must give access to a resource type, as patient/*.rs does."
    return ""


def _attestations_problem(confirmed: tuple[str, ...], _: Mapping[str, Any]) -> str:
    return "" if ATTESTATIONS.keys() <= set(confirmed) else "You must confirm each of them."


def _jwks_problem(text: str, others: Mapping[str, Any]) -> str:
    if others.get("authentication") != "private_key_jwt":
        return "" if not text else "Keys are used only with private_key_jwt."
    try:
        key_set = json.loads(text)
        if not all(map(_is_accepted_key, key_set["keys"])):
            return "RSA keys need 2048 to 8192 bits. EC keys need the curve P-256 or P-384."
        keys = KeySet.import_key_set(key_set)
        kinds = {str(key.key_type) for key in keys.keys}
    except (ValueError, TypeError, KeyError, AttributeError, JoseError):
        return "It is not a JSON Web Key Set (RFC 7517)."
    if not keys.keys or not kinds <= {"RSA", "EC"}:
        return "It must contain keys of type RSA or EC."
    if any(key.is_private for key in keys.keys):
        return "It contains a private key. Create a new key pair, and enter only the public key."
    return ""


def _is_accepted_key(key: Any) -> bool:
    """Return whether a key is long enough to be safe, and not so long that checking it is slow."""
    if not isinstance(key, dict):
        return False
    if key.get("kty") == "RSA":
        bits = len(str(key.get("n", "")).rstrip("=")) * 6
        return _SHORTEST_RSA <= bits <= _LONGEST_RSA + 6
    return key.get("kty") != "EC" or key.get("crv") in ("P-256", "P-384")


def _plain_launch_problem(is_wanted: bool, others: Mapping[str, Any]) -> str:
    is_public = others.get("client_type") == "public"
    return "A public app must use PKCE." if is_wanted and is_public else ""


def email_problem(text: str) -> str:
    """Return the error of an e-mail address for people; empty if it is valid."""
    return line_problem(text, 254) or (
        "" if _EMAIL.fullmatch(text) else "It is not an email address."
    )


def _phone_problem(text: str, _: Mapping[str, Any]) -> str:
    is_valid = not text or _PHONE.fullmatch(text)
    return "" if is_valid else "Use only digits, spaces, and + ( ) - . /"


_Line = Annotated[str, _rule(lambda text, _: line_problem(text, LONGEST_NAME))]
_Link = Annotated[str, _rule(_link_problem)]
_RequiredLink = Annotated[
    str, _rule(lambda uri, others: _link_problem(uri, others) if uri else "Please fill this in.")
]
_Texts = Annotated[
    tuple[str, ...], AfterValidator(lambda texts: tuple(dict.fromkeys(filter(None, texts))))
]
"""Texts without empty and repeated ones."""

_SENTENCES: Final = {
    "string_type": "This must be text.",
    "missing": "Please fill this in.",
    "literal_error": "Choose one of these.",
}
"""Error of pydantic → what the person who filled the form in is told."""


class AppDraft(BaseModel):
    """Fields of the registration form of an app. Making one checks it; blanks are taken off.

    Attributes:
        name: shown to members on the consent page.
        organization: the organization behind the app.
        description: what it does for the member.
        redirect_uris: exact; https, or http on a loopback address, or an app's own scheme with a
            dot in it (RFC 8252).
        website, logo_uri, policy_uri, terms_uri: https. None of them is ever fetched by the server.
        attestations: ids out of `ATTESTATIONS`; all are required.
        scopes: the most the app may ask for.
        jwks: JSON text of the public keys (RFC 7517) for `private_key_jwt`, else empty.
        plain_launch: the app uses the plain authorize URL of existing portals, without scope,
            state, aud and PKCE; it is given all its registered scopes. Confidential apps only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    name: _Line
    organization: _Line
    description: Annotated[str, _rule(_description_problem)] = ""
    client_type: ClientType
    authentication: Annotated[Authentication, _rule(_authentication_problem)]
    redirect_uris: Annotated[_Texts, _rule(_redirect_uris_problem)]
    website: _Link = ""
    logo_uri: _Link = ""
    policy_uri: _RequiredLink
    terms_uri: _Link = ""
    contact_name: _Line
    contact_email: Annotated[str, _rule(lambda text, _: email_problem(text))]
    contact_phone: Annotated[str, _rule(_phone_problem)] = ""
    attestations: Annotated[_Texts, _rule(_attestations_problem)]
    scopes: Annotated[_Texts, _rule(_scopes_problem)] = DEFAULT_SCOPES
    jwks: Annotated[str, _rule(_jwks_problem), Field(validate_default=True)] = ""
    plain_launch: Annotated[bool, _rule(_plain_launch_problem)] = False

    def __init__(self, **fields: Any) -> None:
        """Check the fields of a form.

        Raises:
            InvalidForm: with a sentence for each invalid field.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _form_error(error) from None


def _form_error(error: ValidationError) -> InvalidForm:
    # Without their input: a text that is refused may hold what a terminal obeys.
    problems = error.errors(include_url=False, include_input=False)
    return InvalidForm(
        {
            str(problem["loc"][0]): _SENTENCES.get(problem["type"], problem["msg"])
            for problem in problems
        }
    )


class _ClientMetadata(BaseModel):
    """Client metadata (RFC 7591 section 2), without those that are ignored."""

    client_name: str = ""
    organization: str = ""
    token_endpoint_auth_method: Literal[
        "client_secret_basic", "client_secret_post", "private_key_jwt", "none"
    ] = "client_secret_basic"  # noqa: S105 - RFC 7591's name
    grant_types: tuple[Literal["authorization_code", "refresh_token"], ...] = ()
    response_types: tuple[Literal["code"], ...] = ()
    redirect_uris: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    contact_name: str = ""
    description: str = ""
    client_uri: str = ""
    logo_uri: str = ""
    policy_uri: str = ""
    tos_uri: str = ""
    scope: str = ""
    jwks: Any = None
    jwks_uri: Annotated[
        str | None, _rule(lambda *_: "Pass the keys as jwks. This server does not fetch them.")
    ] = None


def draft_of_metadata(metadata: Mapping[str, Any], *, plain_launch: bool = False) -> AppDraft:
    """Return the draft that client metadata describe (RFC 7591); unknown metadata are ignored.

    The operator who registers an app in this way confirms the attestations.

    Raises:
        InvalidForm: a member has an invalid type, or a value that is not supported.
    """
    try:
        client = _ClientMetadata.model_validate(metadata)
    except ValidationError as error:
        raise _form_error(error) from None
    method = client.token_endpoint_auth_method
    return AppDraft(
        name=client.client_name,
        organization=client.organization or client.client_name,
        description=client.description,
        client_type="public" if method == "none" else "confidential",
        authentication="secret" if method.startswith("client_secret") else method,
        redirect_uris=client.redirect_uris,
        website=client.client_uri,
        logo_uri=client.logo_uri,
        policy_uri=client.policy_uri,
        terms_uri=client.tos_uri,
        contact_name=client.contact_name or client.client_name,
        contact_email=next(iter(client.contacts), ""),
        attestations=tuple(ATTESTATIONS),
        scopes=_grantable_or_default(client.scope.split()),
        jwks=json.dumps(client.jwks) if client.jwks is not None else "",
        plain_launch=plain_launch,
    )


def _grantable_or_default(requested: list[str]) -> tuple[str, ...]:
    """Return the scopes to register, without those granted to no app (RFC 7591, section 2)."""
    return (
        tuple(scope for scope in requested if not scope_rules.problem(scope))
        or tuple(requested)
        or DEFAULT_SCOPES
    )
