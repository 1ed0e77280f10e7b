"""Content negotiation: format, compression, strictness, conditional requests.

Sources: FHIR R4 `http.html` (content types, `_format`, `Prefer`, conditional read); RFC 9110
sections 12.5 (Accept, Accept-Encoding) and 13 (conditional requests); RFC 7240 (Prefer).
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate, parsedate
from functools import lru_cache
from typing import Final

from etl.gateway.fhir_errors import FhirError
from etl.gateway.header_cache import cached_parse

FHIR_JSON: Final = b"application/fhir+json"
JSON: Final = b"application/json"

_SERVED: Final = {"application/fhir+json": FHIR_JSON, "application/json": JSON}
_FORMATS: Final = {
    "json": FHIR_JSON,
    "application/json": JSON,
    "text/json": JSON,
    "application/fhir+json": FHIR_JSON,
    "application/fhir json": FHIR_JSON,  # a plus sign that was not encoded
}
_VERSIONS: Final = ("4.0", "4.0.1")
_REFUSED: Final = "This server speaks JSON only: ask for application/fhir+json or application/json."


def media_of(headers: Mapping[bytes, bytes], formats: Sequence[str]) -> bytes:
    """Return the content type of the answer.

    Args:
        headers: the request's.
        formats: values of `_format`, which beats Accept.

    Raises:
        FhirError: `format-not-acceptable`; `parameter-invalid` where two `_format` differ.
    """
    if formats:
        if len(set(formats)) > 1:
            raise FhirError("parameter-invalid", "Give _format once.", (), ("http._format",))
        kind, _, parameters = formats[0].partition(";")
        media = _FORMATS.get(kind.strip().lower())
        if media is None or not _speaks(parameters):
            raise FhirError("format-not-acceptable", _REFUSED, (), ("http._format",))
        return media
    accept = headers.get(b"accept")
    if accept is None:
        return FHIR_JSON
    accepted = _accepted(accept)
    if accepted is None:
        raise FhirError("format-not-acceptable", _REFUSED)
    return accepted


@cached_parse
def _accepted(header: bytes) -> bytes | None:
    """Return the supported type that an Accept header prefers; None where it accepts none."""
    wants: dict[str, tuple[int, float]] = {}
    text = header.decode("latin-1").strip()
    if not text:
        return FHIR_JSON
    for part in text.split(","):
        kind, _, rest = part.partition(";")
        kind = kind.strip().lower()
        if not _speaks(rest):
            continue
        for name, rank in _matching(kind):
            quality = _quality(rest)
            if name not in wants or rank > wants[name][0]:
                wants[name] = (rank, quality)
    best = max(_SERVED, key=lambda name: (wants[name][1], wants[name][0]) if name in wants else ())
    return _SERVED[best] if wants.get(best, (0, 0.0))[1] > 0 else None


def _matching(kind: str) -> list[tuple[str, int]]:
    if kind in _SERVED:
        return [(kind, 2)]
    if kind == "application/*":
        return [(name, 1) for name in _SERVED]
    if kind == "*/*":
        return [(name, 0) for name in _SERVED]
    return []


def _quality(parameters: str) -> float:
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0


def _speaks(parameters: str) -> bool:
    """Return whether a media type's `fhirVersion`, if it has one, is R4."""
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "fhirversion" and value.strip().strip('"') not in _VERSIONS:
            return False
    return True


@cached_parse
def takes_gzip(header: bytes) -> bool:
    """Return whether an Accept-Encoding header accepts gzip."""
    wants: dict[str, float] = {}
    for part in header.decode("latin-1").split(","):
        coding, _, rest = part.partition(";")
        wants[coding.strip().lower()] = _quality(rest)
    return wants.get("gzip", wants.get("x-gzip", wants.get("*", 0.0))) > 0


@cached_parse
def handling(header: bytes) -> str | None:
    """Return `strict` or `lenient` of a Prefer header; None where it names neither."""
    for part in header.decode("latin-1").replace(";", ",").split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "handling":
            wanted = value.strip().strip('"').lower()
            if wanted in ("strict", "lenient"):
                return wanted
    return None


def has_it(headers: Mapping[bytes, bytes], etag: str, changed: datetime | None) -> bool:
    """Return whether the client's copy is still valid (304).

    Args:
        headers: the request's.
        etag: entity tag of the answer.
        changed: when the answer last may have changed; None where that is not known.
    """
    tags = headers.get(b"if-none-match")
    if tags is not None:
        return _names(tags, etag)
    since = headers.get(b"if-modified-since")
    if since is None or changed is None:
        return False
    then = _http_date(since)
    return then is not None and then >= changed


def check_preconditions(
    headers: Mapping[bytes, bytes], etag: str, changed: datetime | None
) -> None:
    """Refuse a request if its `If-Match` or `If-Unmodified-Since` does not hold.

    Tags are compared weakly: FHIR's are weak, and nothing is changed here.

    Raises:
        FhirError: `precondition-failed`.
    """
    tags = headers.get(b"if-match")
    if tags is not None:
        if not _names(tags, etag):
            raise FhirError("precondition-failed", "The resource has another version now.")
        return
    since = headers.get(b"if-unmodified-since")
    if since is not None and changed is not None:
        then = _http_date(since)
        if then is not None and changed > then:
            raise FhirError("precondition-failed", "It may have changed since then.")


def _names(tags: bytes, etag: str) -> bool:
    wanted = etag.removeprefix("W/")
    text = tags.decode("latin-1").strip()
    return text == "*" or any(tag.strip().removeprefix("W/") == wanted for tag in text.split(","))


def _http_date(text: bytes) -> datetime | None:
    parsed = parsedate(text.decode("latin-1"))
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=4096)
def http_date(instant: str) -> bytes | None:
    """Return a FHIR instant as an HTTP date; None for invalid text."""
    moment = moment_of(instant)
    return None if moment is None else formatdate(moment.timestamp(), usegmt=True).encode()


@lru_cache(maxsize=4096)
def moment_of(instant: str) -> datetime | None:
    """Return a FHIR instant, truncated to the second as in HTTP; None for invalid text."""
    try:
        moment = datetime.fromisoformat(instant)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.replace(microsecond=0)
