"""Validation of an app's registration, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from etl.auth import scopes as scope_rules
from etl.auth.app_names import has_invisible
from etl.auth.records import (
    ATTESTATIONS,
    DEFAULT_SCOPES,
    AppDraft,
    Authentication,
    InvalidForm,
)
from etl.smart import scopes as smart_scopes

LONGEST_NAME: Final = 80
LONGEST_DESCRIPTION: Final = 1000
LONGEST_URI: Final = 500
MOST_REDIRECT_URIS: Final = 10
_SHORTEST_RSA: Final = 2048
_LONGEST_RSA: Final = 8192

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EMAIL: Final = re.compile(r"[^@\s<>\"']{1,64}@[^@\s<>\"']{1,190}\.[^@\s<>\"'.]{2,}")
_PHONE: Final = re.compile(r"[0-9+()./ x-]{5,30}")
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")
"""It goes into a header of the consent page, where `;` and blanks are separators."""

_OWN_SCHEME: Final = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
_LINES: Final = str.maketrans("", "", "\n\r\t")
"""Control characters that a text of several lines may hold."""


def check(draft: AppDraft) -> AppDraft:
    """Return a draft that can be registered: the one given, with outer blanks taken off.

    Raises:
        InvalidForm: with a sentence for each invalid field.
    """
    draft = _trimmed(draft)
    problems: dict[str, str] = {}
    for field, judge in _CHECKS.items():
        sentence = judge(draft)
        if sentence:
            problems[field] = sentence
    if problems:
        raise InvalidForm(problems)
    return draft


def is_email(text: str) -> bool:
    """Return whether a text looks like an e-mail address."""
    return _EMAIL.fullmatch(text) is not None


def line_problem(text: str, longest: int, *, required: bool = True) -> str:
    """Return the error of a line of text for people; empty where it is valid."""
    if not text:
        return "Please fill this in." if required else ""
    if len(text) > longest:
        return f"At most {longest} characters, please."
    if has_invisible(text):
        return "It holds characters that cannot be seen; please type it again."
    return ""


def redirect_uri_problem(uri: str) -> str:
    """Return why a redirect URI cannot be registered; empty where it can (RFC 9700 2.1, RFC 8252).

    https; http for loopback addresses only; or a scheme of the app's own, with a dot in it.
    """
    problem = ""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "It is no URI."
    if parts.netloc and not _HOST.fullmatch(parts.netloc):
        problem = "Its host may hold letters, digits, dots, dashes and a port only."
    elif not uri.isascii() or re.search(r"[\s\x00-\x20\"<>\\^`{|}]", uri):
        problem = "It may only hold the characters of a URI; write others percent-encoded."
    elif len(uri) > LONGEST_URI:
        problem = f"At most {LONGEST_URI} characters, please."
    elif port == 0:
        problem = "Port 0 is no address; leave the port out, or give the real one."
    elif "#" in uri:
        problem = "It may hold no fragment (#)."
    elif "*" in uri:
        problem = "Wildcards are not possible; register each address."
    elif parts.scheme == "https":
        problem = "" if host else "It needs a host."
    elif parts.scheme == "http":
        problem = "" if host in _LOOPBACK else "http is possible for localhost only; use https."
    elif not _OWN_SCHEME.fullmatch(parts.scheme):
        problem = "Use https, or your app's own scheme with a dot in it (com.example.app:/done)."
    return problem


def is_registered(uri: str, registered: tuple[str, ...]) -> bool:
    """Return whether a redirect URI is one of those registered: exactly, character by character.

    The port of a loopback address may be another one, since a native app takes what is free
    (RFC 8252 section 7.3).
    """
    return uri in registered or any(_same_but_port(uri, allowed) for allowed in registered)


def _same_but_port(uri: str, registered: str) -> bool:
    try:
        given, allowed = urlsplit(uri), urlsplit(registered)
        is_free_port = given.port == 0
    except ValueError:
        return False
    if is_free_port or allowed.scheme != "http" or allowed.hostname not in ("127.0.0.1", "::1"):
        return False
    host = f"[{allowed.hostname}]" if ":" in allowed.hostname else allowed.hostname
    with_port = re.fullmatch(re.escape(f"http://{host}") + r":[0-9]{1,5}(?![0-9])(.*)", uri)
    rest = registered.removeprefix(f"http://{allowed.netloc}")
    return with_port is not None and with_port.group(1) == rest


def _trimmed(draft: AppDraft) -> AppDraft:
    def trim(value: Any) -> Any:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, tuple):
            return tuple(dict.fromkeys(text.strip() for text in value if text.strip()))
        return value

    return AppDraft(**{name: trim(getattr(draft, name)) for name in AppDraft.__slots__})


def _link(field: str, *, required: bool = False) -> Callable[[AppDraft], str]:
    def judge(draft: AppDraft) -> str:
        uri: str = getattr(draft, field)
        if not uri:
            return "Please fill this in." if required else ""
        problem = redirect_uri_problem(uri)
        if not problem and not uri.startswith("https://"):
            problem = "It has to start with https://."
        return problem

    return judge


def _redirect_uris(draft: AppDraft) -> str:
    if not draft.redirect_uris:
        return "At least one redirect URI is needed."
    if len(draft.redirect_uris) > MOST_REDIRECT_URIS:
        return f"At most {MOST_REDIRECT_URIS}, please."
    for number, uri in enumerate(draft.redirect_uris, 1):
        problem = redirect_uri_problem(uri)
        if problem:
            return f"Number {number}: {problem}"
    return ""


def _authentication(draft: AppDraft) -> str:
    if draft.client_type == "public" and draft.authentication != "none":
        return "A public app has no secret and no key; choose none."
    if draft.client_type == "confidential" and draft.authentication == "none":
        return "A confidential app authenticates by a secret or a key."
    return ""


def _client_type(draft: AppDraft) -> str:
    return "" if draft.client_type in ("confidential", "public") else "Choose one of the two."


def _scopes(draft: AppDraft) -> str:
    unknown = [scope for scope in draft.scopes if scope not in smart_scopes.grantable(draft.scopes)]
    if unknown:
        return f"{scope_rules.problem(unknown[0])}."
    if not any(smart_scopes.parse(scope) for scope in draft.scopes):
        return "At least one scope has to open a kind of resource, as patient/*.rs does."
    return ""


def _attestations(draft: AppDraft) -> str:
    missing = [attestation for attestation in ATTESTATIONS if attestation not in draft.attestations]
    return "Every one of them has to be confirmed." if missing else ""


def _jwks(draft: AppDraft) -> str:
    if draft.authentication != "private_key_jwt":
        return "" if not draft.jwks else "Keys are of use with private_key_jwt only."
    try:
        key_set = json.loads(draft.jwks)
        if not all(map(_is_strong, key_set["keys"])):
            return "RSA keys need 2048 to 8192 bits, others the curve P-256 or P-384."
        keys = KeySet.import_key_set(key_set)
        kinds = {str(key.key_type) for key in keys.keys}
    except (ValueError, TypeError, KeyError, AttributeError, JoseError):
        return "It is no JSON Web Key Set (RFC 7517)."
    if not keys.keys or not kinds <= {"RSA", "EC"}:
        return "It needs keys of the types RSA or EC."
    if any(key.is_private for key in keys.keys):
        return "It holds a private key. Make a new pair, and give the public half only."
    return ""


def _is_strong(key: Any) -> bool:
    """Return whether a key is neither too short to hold nor so long that checking it is work."""
    if not isinstance(key, dict):
        return False
    if key.get("kty") == "RSA":
        bits = len(str(key.get("n", "")).rstrip("=")) * 6
        return _SHORTEST_RSA <= bits <= _LONGEST_RSA + 6
    return key.get("kty") != "EC" or key.get("crv") in ("P-256", "P-384")


def _plain_launch(draft: AppDraft) -> str:
    if draft.plain_launch and draft.client_type != "confidential":
        return "A public app cannot do without PKCE."
    return ""


def _contact_email(draft: AppDraft) -> str:
    problem = line_problem(draft.contact_email, 254)
    return problem or ("" if is_email(draft.contact_email) else "It is no e-mail address.")


def _contact_phone(draft: AppDraft) -> str:
    if not draft.contact_phone or _PHONE.fullmatch(draft.contact_phone):
        return ""
    return "Digits, blanks and + ( ) - . / only, please."


_METADATA_METHODS: Final[dict[str, Authentication]] = {
    "client_secret_basic": "secret",
    "client_secret_post": "secret",
    "private_key_jwt": "private_key_jwt",
    "none": "none",
}


def draft_of_metadata(metadata: Mapping[str, Any]) -> AppDraft:
    """Return the draft that client metadata describe (RFC 7591); unknown metadata are ignored.

    The operator who registers an app in this way confirms the attestations.

    Raises:
        InvalidForm: a member has an invalid type, or a value that is not supported.
    """
    method = _METADATA_METHODS.get(
        _text(metadata, "token_endpoint_auth_method") or "client_secret_basic"
    )
    problems: dict[str, str] = {}
    if method is None:
        problems["token_endpoint_auth_method"] = "This method is not supported."  # noqa: S105
    if not set(_texts(metadata, "grant_types")) <= {"authorization_code", "refresh_token"}:
        problems["grant_types"] = "Only authorization_code and refresh_token are supported."
    if not set(_texts(metadata, "response_types")) <= {"code"}:
        problems["response_types"] = "Only code is supported."
    if "jwks_uri" in metadata:
        problems["jwks_uri"] = "Keys are given as jwks; nothing is fetched from here."
    if problems or method is None:
        raise InvalidForm(problems)
    contacts = _texts(metadata, "contacts")
    name = _text(metadata, "client_name")
    jwks = metadata.get("jwks")
    return AppDraft(
        name=name,
        organization=_text(metadata, "organization") or name,
        client_type="public" if method == "none" else "confidential",
        authentication=method,
        redirect_uris=_texts(metadata, "redirect_uris"),
        policy_uri=_text(metadata, "policy_uri"),
        contact_name=_text(metadata, "contact_name") or name,
        contact_email=contacts[0] if contacts else "",
        attestations=tuple(ATTESTATIONS),
        description=_text(metadata, "description"),
        website=_text(metadata, "client_uri"),
        logo_uri=_text(metadata, "logo_uri"),
        terms_uri=_text(metadata, "tos_uri"),
        scopes=_grantable_or_default(_text(metadata, "scope").split()),
        jwks=json.dumps(jwks) if jwks is not None else "",
    )


def _grantable_or_default(wanted: list[str]) -> tuple[str, ...]:
    """Return the scopes to register, without those granted to no app (RFC 7591, section 2)."""
    return (
        tuple(scope for scope in wanted if not scope_rules.problem(scope))
        or tuple(wanted)
        or DEFAULT_SCOPES
    )


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name, "")
    if not isinstance(value, str):
        raise InvalidForm({name: "This has to be a text."})
    return value


def _texts(metadata: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = metadata.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidForm({name: "This has to be a list of texts."})
    return tuple(value)


_CHECKS: Final[dict[str, Callable[[AppDraft], str]]] = {
    "name": lambda draft: line_problem(draft.name, LONGEST_NAME),
    "organization": lambda draft: line_problem(draft.organization, LONGEST_NAME),
    "description": lambda draft: (
        f"At most {LONGEST_DESCRIPTION} characters, please."
        if len(draft.description) > LONGEST_DESCRIPTION
        else line_problem(draft.description.translate(_LINES), LONGEST_DESCRIPTION, required=False)
    ),
    "client_type": _client_type,
    "authentication": _authentication,
    "redirect_uris": _redirect_uris,
    "website": _link("website"),
    "logo_uri": _link("logo_uri"),
    "policy_uri": _link("policy_uri", required=True),
    "terms_uri": _link("terms_uri"),
    "contact_name": lambda draft: line_problem(draft.contact_name, LONGEST_NAME),
    "contact_email": _contact_email,
    "contact_phone": _contact_phone,
    "attestations": _attestations,
    "scopes": _scopes,
    "jwks": _jwks,
    "plain_launch": _plain_launch,
}
