"""Request parsing: path, parameters and headers, each read once and strictly.

Everything is read from the raw bytes. A URL is percent-decoded exactly once. Text that is no UTF-8,
holds a control character or is too long is refused here, before any further processing. The `Host`
header is not read: links are made from the configured base URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope

from etl.gateway.fhir_errors import FhirError
from etl.gateway.header_cache import cached_parse
from etl.gateway.paging import LONGEST_LINK
from etl.web.bodies import BodyTooLarge, ClientGone, read_body

MAX_PARAMETERS: Final = 100
"""Most parameters of one request."""

FORM: Final = "application/x-www-form-urlencoded"

_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_ONCE: Final = frozenset(
    {b"authorization", b"content-type", b"content-length", b"content-encoding", b"x-request-id"}
)
"""Headers that must not be repeated, because programs interpret repeated ones differently."""

_LISTS: Final = frozenset(
    {b"accept", b"accept-encoding", b"prefer", b"if-none-match", b"if-match", b"x-forwarded-for"}
)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Size limits of a request.

    Attributes:
        url_bytes: longest path and query together.
        body_bytes: largest body.
    """

    url_bytes: int = 8192
    body_bytes: int = 64 * 1024


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by lower-case name; repeated list headers are joined.

    Raises:
        FhirError: `header-repeated`.
    """
    values: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in values:
            if name in _LISTS:
                value = values[name] + b"," + value
            elif name in _ONCE:
                raise FhirError("header-repeated", f"The header {name.decode()} came twice.")
        values[name] = value
    return values


def path_of(scope: Scope, prefix: str, bounds: RequestLimits) -> bytes:
    """Return the raw path of a URL that is not too long.

    Raises:
        FhirError: `url-too-long`.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    longest = bounds.url_bytes
    length = len(raw) + len(scope["query_string"])
    if length > longest:
        if raw.startswith(f"{prefix}/_page/".encode()):
            longest += LONGEST_LINK  # a page link holds a search, which may have come by POST
        if length > longest:
            raise FhirError(
                "url-too-long",
                f"The URL is longer than {longest} bytes; search by POST to _search.",
            )
    return raw


def segments_of(raw: bytes, prefix: str) -> tuple[str, ...]:
    """Return the parts of the path behind a prefix, each decoded once; none for the prefix itself.

    Raises:
        FhirError: `url-malformed`, `address-unknown`.
    """
    start = prefix.encode()
    if not raw.startswith(start) or raw[len(start) : len(start) + 1] not in (b"", b"/"):
        # Its first part was written with escapes, which no honest client does.
        raise FhirError("address-unknown", "Write the path without escapes.")
    rest = raw[len(start) :]
    if b"%" in rest:
        # Split first: an encoded slash is no slash.
        parts = tuple(decoded(part, "path") for part in rest.split(b"/"))
    else:
        parts = tuple(text_of(rest, "path").split("/"))
    if parts and not parts[0]:
        parts = parts[1:]
    if parts and not parts[-1]:
        parts = parts[:-1]
    return parts


def parameters_of(raw: bytes, where: str = "query") -> list[tuple[str, str]]:
    """Return the parameters of a query string or a form, in order, each decoded once.

    Args:
        raw: the bytes between `?` and the end, or a form's body.
        where: `query` or `form`, for the message.

    Raises:
        FhirError: `url-malformed` not decodable; `parameters-too-many`.
    """
    if not raw:
        return []
    parts = raw.split(b"&")
    if len(parts) > MAX_PARAMETERS:
        raise FhirError("parameters-too-many", f"There are more than {MAX_PARAMETERS} parameters.")
    parameters: list[tuple[str, str]] = []
    plain = b"%" not in raw and b"+" not in raw
    for part in parts:
        if part:
            name, _, value = part.partition(b"=")
            if plain:
                parameters.append((text_of(name, where), text_of(value, where)))
            else:
                parameters.append(
                    (
                        decoded(name.replace(b"+", b" "), where),
                        decoded(value.replace(b"+", b" "), where),
                    )
                )
    return parameters


def decoded(raw: bytes, where: str) -> str:
    """Return percent-encoded text, decoded once.

    Raises:
        FhirError: `url-malformed`.
    """
    start = raw.find(b"%")
    while start >= 0:
        pair = raw[start + 1 : start + 3]
        if len(pair) != 2 or not _HEX.issuperset(pair):
            raise FhirError(
                "url-malformed", f"A % in the {where} is not followed by two hex digits."
            )
        start = raw.find(b"%", start + 3)
    return text_of(unquote_to_bytes(raw), where)


def text_of(raw: bytes, where: str) -> str:
    """Return bytes as text.

    Raises:
        FhirError: `url-malformed`: not UTF-8, or a control character.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise FhirError("url-malformed", f"The {where} is not UTF-8.") from None
    if not text.isprintable() and any(character < " " or character == "\x7f" for character in text):
        raise FhirError("url-malformed", f"There is a control character in the {where}.")
    return text


async def body_of(receive: Receive, headers: Mapping[bytes, bytes], bounds: RequestLimits) -> bytes:
    """Return a request's body.

    Raises:
        FhirError: `body-too-large`; `media-type-unsupported` where it is compressed;
            `client-gone` where the client disconnected before the end.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise FhirError("media-type-unsupported", "Send the body without Content-Encoding.")
    length = headers.get(b"content-length", b"0")
    try:
        if length.isdigit() and int(length) > bounds.body_bytes:
            raise BodyTooLarge
        return await read_body(receive, bounds.body_bytes)
    except BodyTooLarge:
        text = f"The body is larger than {bounds.body_bytes} bytes."
        raise FhirError("body-too-large", text) from None
    except ClientGone:
        text = "The connection was closed before the body was whole."
        raise FhirError("client-gone", text) from None


@cached_parse
def media_type(header: bytes) -> tuple[str, Mapping[str, str]]:
    """Return the media type of a header in lower case, and its parameters."""
    head, *rest = header.decode("latin-1").split(";")
    pairs = (pair.partition("=") for pair in rest)
    return head.strip().lower(), {
        name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs
    }


def form_parameters(body: bytes, headers: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    """Return the parameters of a posted form.

    Raises:
        FhirError: `media-type-unsupported`, and what `parameters_of` raises.
    """
    kind, parameters = media_type(headers.get(b"content-type", FORM.encode()))
    charset = parameters.get("charset", "utf-8")
    if (body and b"content-type" not in headers) or kind != FORM or charset not in _CHARSETS:
        raise FhirError("media-type-unsupported", f"Post the search as {FORM}, in UTF-8.")
    return parameters_of(body, "form")


_CHARSETS: Final = ("utf-8", "utf8", "us-ascii")


def values_of(parameters: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Return the values of one parameter, in order."""
    return [value for given, value in parameters if given == name]
