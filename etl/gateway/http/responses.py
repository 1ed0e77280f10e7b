"""Responses and errors: one stable code and one remedy each, as OperationOutcomes; CORS.

The table of errors below is complete; the portal's page of errors is made of it. None of them holds
a value of the request or a member's data.

Sources: FHIR R4 `http.html` and `operationoutcome.html`, value set issue-type; RFC 6750 section 3;
Fetch standard, "CORS protocol". Access tokens are sent by the app itself and never by the browser
on its own, so an allowed origin can do no more than any other program. Cookies are not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import orjson

Header: TypeAlias = tuple[bytes, bytes]


@dataclass(slots=True)
class Reply:
    """A response.

    Attributes:
        status: HTTP status.
        body: the bytes, before any compression.
        headers: those of this answer beside the common ones; names in lower case.
        media: content type; empty where there is no body.
        unpacked: bytes that the body has without its compression, where it is gzip already; else 0.
    """

    status: int
    body: bytes = b""
    media: bytes = b"application/fhir+json"
    headers: list[Header] = field(default_factory=list)
    unpacked: int = 0


SYSTEM: Final = "urn:cpcds:gateway:error"
"""System of the codes in `issue.details.coding`."""


@dataclass(frozen=True, slots=True)
class IssueKind:
    """One kind of error.

    Attributes:
        status: HTTP status.
        issue: FHIR IssueType.
        display: what it is, for people.
    """

    status: int
    issue: str
    display: str


KINDS: Final[Mapping[str, IssueKind]] = MappingProxyType(
    {
        "url-malformed": IssueKind(400, "structure", "URL or form cannot be decoded"),
        "header-repeated": IssueKind(400, "structure", "Header sent twice"),
        "body-malformed": IssueKind(400, "structure", "Body cannot be read"),
        "client-gone": IssueKind(400, "incomplete", "Request broke off"),
        "parameters-too-many": IssueKind(400, "too-costly", "Too many parameters"),
        "parameter-invalid": IssueKind(400, "value", "Parameter with an invalid value"),
        "parameter-unsupported": IssueKind(400, "not-supported", "Parameter not supported"),
        "too-costly": IssueKind(400, "too-costly", "Search too costly"),
        "request-invalid": IssueKind(400, "invalid", "Request not understood"),
        "link-invalid": IssueKind(400, "invalid", "Page link not made by this server for this app"),
        "token-in-url": IssueKind(400, "security", "Access token outside the Authorization header"),
        "token-missing": IssueKind(401, "login", "No access token"),
        "token-invalid": IssueKind(401, "login", "Access token refused"),
        "scope-insufficient": IssueKind(403, "forbidden", "Scope not granted"),
        "not-found": IssueKind(404, "not-found", "Not there, or not this member's"),
        "type-unknown": IssueKind(404, "not-supported", "Resource type not served"),
        "address-unknown": IssueKind(404, "not-supported", "No such address"),
        "method-not-allowed": IssueKind(405, "not-supported", "Method not allowed here"),
        "format-not-acceptable": IssueKind(406, "not-supported", "Format not served"),
        "resource-deleted": IssueKind(410, "deleted", "Resource retracted"),
        "link-expired": IssueKind(410, "expired", "Page link too old"),
        "precondition-failed": IssueKind(412, "conflict", "Precondition failed"),
        "body-too-large": IssueKind(413, "too-long", "Body too large"),
        "url-too-long": IssueKind(414, "too-long", "URL too long"),
        "media-type-unsupported": IssueKind(415, "not-supported", "Content-Type not accepted"),
        "rate-limited": IssueKind(429, "throttled", "Too many requests"),
        "internal-error": IssueKind(500, "exception", "Fault of the server"),
        "storage-unavailable": IssueKind(503, "transient", "Storage does not answer"),
        "audit-unavailable": IssueKind(503, "transient", "Access cannot be recorded"),
        "overloaded": IssueKind(503, "transient", "Too many requests at once"),
        "not-published": IssueKind(503, "transient", "Nothing published yet"),
    }
)
"""Code in `issue.details.coding` → its kind of error."""


class FhirError(Exception):
    """A request that is answered with an OperationOutcome of one error.

    Attributes:
        code: a key of `KINDS`.
        diagnostics: one sentence for the app's developer; it repeats no value of the request.
        headers: headers of the answer beside the common ones.
        expression: what it is about, for `OperationOutcome.issue.expression`: names of parameters
            as `http.<name>`; empty if nothing can be named.
    """

    def __init__(
        self,
        code: str,
        diagnostics: str,
        headers: tuple[Header, ...] = (),
        expression: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{code}: {diagnostics}")
        self.code = code
        self.diagnostics = diagnostics
        self.headers = headers
        self.expression = expression

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status


ParameterIssue = Literal["invalid", "not-supported", "too-costly"]
"""FHIR IssueType of an error in a parameter."""

_PARAMETER_CODES: Final[Mapping[ParameterIssue, str]] = MappingProxyType(
    {
        "invalid": "parameter-invalid",
        "not-supported": "parameter-unsupported",
        "too-costly": "too-costly",
    }
)
_PARAMETER_NAME: Final = re.compile(r"[$_A-Za-z][A-Za-z0-9_:.-]{0,63}")


def refused(name: str, issue: ParameterIssue, text: str) -> FhirError:
    """Return the error of a parameter: 400.

    Args:
        name: the parameter as requested; repeated only if it looks like a name.
        issue: kind of the error.
        text: the error; continues the sentence after the name.
    """
    name_shown = shown(name)
    expression = (f"http.{name_shown}",) if name_shown else ()
    is_unnamed = issue == "invalid" and not expression
    code = "request-invalid" if is_unnamed else _PARAMETER_CODES[issue]
    return FhirError(code, f"{name_shown or 'a parameter'} {text}", (), expression)


def shown(name: str) -> str:
    """Return a parameter's name if it may be repeated to the app; else nothing."""
    return name if _PARAMETER_NAME.fullmatch(name) else ""


@lru_cache
def challenge(error: str) -> Header:
    """Return the header of a refusal for want of a token or of scopes (RFC 6750 section 3)."""
    text = 'Bearer realm="FHIR"' + (f', error="{error}"' if error else "")
    return (b"www-authenticate", text.encode())


def outcome(code: str, diagnostics: str, expression: tuple[str, ...] = ()) -> bytes:
    """Return an OperationOutcome of one error.

    Args:
        code: a key of `KINDS`.
        diagnostics: one sentence for the app's developer.
        expression: what it is about, as `http.<name>`.
    """
    kind = KINDS[code]
    issue: dict[str, object] = {
        "severity": "fatal" if kind.status == 500 else "error",
        "code": kind.issue,
        "details": {
            "coding": [{"system": SYSTEM, "code": code, "display": kind.display}],
            "text": kind.display,
        },
        "diagnostics": diagnostics,
    }
    if expression:
        issue["expression"] = list(expression)
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": [issue]})


def reply_of(error: FhirError) -> Reply:
    """Return the answer to a refused request."""
    body = outcome(error.code, error.diagnostics, error.expression)
    return Reply(error.status, body, headers=list(error.headers))


EXPOSED: Final = (
    b"etag, last-modified, retry-after, www-authenticate, x-request-id, preference-applied"
)
ASKED: Final = (
    b"authorization, content-type, accept, prefer, if-none-match, if-modified-since, "
    b"if-match, if-unmodified-since, x-request-id"
)
_ANY: Final[tuple[Header, ...]] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED),
)


class CorsPolicy:
    """Allowed origins.

    Args:
        origins: scheme, host and port of each; `*` for all.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._known = frozenset(origin.rstrip("/").lower().encode() for origin in origins)
        self._any = b"*" in self._known

    def headers(self, headers: Mapping[bytes, bytes], *, open_to_all: bool) -> tuple[Header, ...]:
        """Return the headers of an answer.

        Args:
            headers: the request's.
            open_to_all: whether the answer is public.
        """
        if self._any or open_to_all:
            return _ANY
        origin = headers.get(b"origin")
        if origin is None or origin.lower() not in self._known:
            return ((b"vary", b"origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        )

    @staticmethod
    def preflight(methods: Iterable[str]) -> tuple[Header, ...]:
        """Return the further headers of the answer to OPTIONS."""
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", ASKED),
            (b"access-control-max-age", b"7200"),
        )
