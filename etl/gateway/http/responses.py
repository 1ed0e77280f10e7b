"""Responses and errors: one stable code each, as OperationOutcomes.

`errors.toml` has all of them. None holds a value of the request or a member's data. RFC 6750
section 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

import orjson

from etl.documents.packaged_toml import read_beside
from etl.web.cors import Header


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


KINDS: Final[Mapping[str, IssueKind]] = {
    code: IssueKind(**entry) for code, entry in read_beside(__file__, "errors.toml").items()
}
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
