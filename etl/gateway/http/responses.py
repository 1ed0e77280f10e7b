"""Responses, and errors as OperationOutcomes with stable codes.

`errors.toml` has all errors. None contains a value of the request or a member's data. RFC 6750
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
        headers: headers besides the common ones; names in lower case.
        media: content type; empty without a body.
        unpacked: uncompressed size of a body that is gzip already; else 0.
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
        display: the error in words.
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
        headers: headers of the answer besides the common ones.
        expression: `OperationOutcome.issue.expression`: names of parameters as `http.<name>`; empty
            for none.
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
    shown_name = safe_name(name)
    expression = (f"http.{shown_name}",) if shown_name else ()
    is_unnamed = issue == "invalid" and not expression
    code = "request-invalid" if is_unnamed else _PARAMETER_CODES[issue]
    return FhirError(code, f"{shown_name or 'a parameter'} {text}", (), expression)


def safe_name(name: str) -> str:
    """Return a parameter's name if it looks like one, else an empty text."""
    return name if _PARAMETER_NAME.fullmatch(name) else ""


@lru_cache
def challenge(error: str) -> Header:
    """Return the WWW-Authenticate header of a refusal (RFC 6750 section 3)."""
    text = 'Bearer realm="FHIR"' + (f', error="{error}"' if error else "")
    return (b"www-authenticate", text.encode())


def outcome(code: str, diagnostics: str, expression: tuple[str, ...] = ()) -> bytes:
    """Return an OperationOutcome of one error.

    Args:
        code: a key of `KINDS`.
        diagnostics: one sentence for the app's developer.
        expression: names of the parameters, as `http.<name>`.
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
