"""Requests: path, parameters and headers, each read once and strictly; routes; negotiation.

Everything is read from the raw bytes. A URL is percent-decoded exactly once. Text that is no UTF-8,
holds a control character or is too long is refused here, before any further processing. The `Host`
header is not read: links are made from the configured base URL.

Sources: FHIR R4 `http.html` (content types, `_format`, `Prefer`, conditional read); RFC 9110
sections 12.5 (Accept, Accept-Encoding) and 13 (conditional requests); RFC 7240 (Prefer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Final, Literal, TypeVar
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope

from etl.gateway.bundle.paging import LONGEST_LINK
from etl.gateway.http.responses import FhirError
from etl.gateway.supported_fhir import EVERYTHING, TYPES
from etl.web.bodies import BodyTooLarge, ClientGone, read_body

Read = TypeVar("Read")

LONGEST: Final = 256
"""Most bytes of a cached text; longer ones may be meant to fill memory."""

_MOST: Final = 512


def cached_parse(read: Callable[[bytes], Read]) -> Callable[[bytes], Read]:
    """Return a function that parses each short text once; refused texts are not cached."""
    cached = lru_cache(maxsize=_MOST)(read)

    def reading(header: bytes) -> Read:
        return cached(header) if len(header) <= LONGEST else read(header)

    return reading


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


_LONGEST_URL: Final = 8192
"""Most bytes of path and query together."""

_LARGEST_BODY: Final = 64 * 1024


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


def path_of(scope: Scope, prefix: str) -> bytes:
    """Return the raw path of a URL that is not too long.

    Raises:
        FhirError: `url-too-long`.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    longest = _LONGEST_URL
    length = len(raw) + len(scope["query_string"])
    if length > longest:
        if raw.startswith(f"{prefix}/_page/".encode()):
            longest += LONGEST_LINK  # a page link holds a search, which may have come by POST
        if length > longest:
            text = f"The URL is longer than {longest} bytes; search by POST to _search."
            raise FhirError("url-too-long", text)
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
    read = text_of if b"%" not in raw and b"+" not in raw else decoded
    for part in parts:
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            parameters.append((read(name, where), read(value, where)))
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
            text = f"A % in the {where} is not followed by two hex digits."
            raise FhirError("url-malformed", text)
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


async def body_of(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """Return a request's body.

    Raises:
        FhirError: `body-too-large`; `media-type-unsupported` where it is compressed;
            `client-gone` where the client disconnected before the end.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise FhirError("media-type-unsupported", "Send the body without Content-Encoding.")
    length = headers.get(b"content-length", b"0")
    try:
        if length.isdigit() and int(length) > _LARGEST_BODY:
            raise BodyTooLarge
        return await read_body(receive, _LARGEST_BODY)
    except BodyTooLarge:
        text = f"The body is larger than {_LARGEST_BODY} bytes."
        raise FhirError("body-too-large", text) from None
    except ClientGone:
        text = "The connection was closed before the body was whole."
        raise FhirError("client-gone", text) from None


@cached_parse
def media_type(header: bytes) -> tuple[str, Mapping[str, str]]:
    """Return the media type of a header in lower case, and its parameters."""
    kind, _, rest = header.decode("latin-1").partition(";")
    return kind.strip().lower(), _header_parameters(rest)


def _header_parameters(text: str) -> dict[str, str]:
    """Return the parameters of a header's value by name, in lower case, without quotes."""
    pairs = (pair.partition("=") for pair in text.split(";"))
    return {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}


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


Kind = Literal["document", "search", "read", "vread", "everything", "page", "file"]

READING: Final = ("GET", "HEAD", "OPTIONS")
EITHER: Final = (*READING, "POST")

_EVERYTHING: Final = f"${EVERYTHING.name}"
COMPARTMENT: Final = frozenset(
    name for name, kind in TYPES.items() if not kind.shared and name != "Patient"
)
"""Types that are searched below `Patient/[id]/` as well."""


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Attributes:
        kind: kind of the route.
        template: for logs and metrics; holds nothing of the request but known names.
        methods: allowed HTTP methods, OPTIONS included.
        type: resource type; for a document or a file its path.
        id: logical id, the cursor of a page, or of a search the Patient whose compartment it is.
        version: version id.
    """

    kind: Kind
    template: str
    methods: tuple[str, ...]
    type: str = ""
    id: str = ""
    version: str = ""


def route_of(
    segments: tuple[str, ...],
    types: frozenset[str],
    documents: frozenset[str],
    *,
    with_files: bool = False,
) -> Route:
    """Return the route of a path.

    Args:
        segments: the decoded parts of the path behind the base.
        types: resource types that are served here.
        documents: paths of documents that are served here.
        with_files: whether a directory's files are served here.

    Raises:
        FhirError: `address-unknown`, `type-unknown`.
    """
    match segments:
        case (kind,) if kind in types:
            return Route("search", f"/{kind}", READING, kind)
        case (kind, "_search") if kind in types:
            return Route("search", f"/{kind}/_search", EITHER, kind)
        case ("_page", cursor):
            return Route("page", "/_page/[cursor]", READING, id=cursor)
        case ("Patient", one, operation) if operation == _EVERYTHING and "Patient" in types:
            template = f"/Patient/[id]/{_EVERYTHING}"
            return Route("everything", template, EITHER, "Patient", one)
        case ("Patient", one, kind) if kind in COMPARTMENT & types and _is_id(one):
            return Route("search", f"/Patient/[id]/{kind}", READING, kind, one)
        case ("Patient", one, kind, "_search") if kind in COMPARTMENT & types and _is_id(one):
            return Route("search", f"/Patient/[id]/{kind}/_search", EITHER, kind, one)
        case (kind, one) if kind in types and _is_id(one):
            return Route("read", f"/{kind}/[id]", READING, kind, one)
        case (kind, one, "_history", version) if kind in types:
            template = f"/{kind}/[id]/_history/[version]"
            return Route("vread", template, READING, kind, one, version)
    path = "/".join(segments)
    if with_files and (of_file := _file_template(segments)) is not None:
        return Route("file", of_file, READING, path)
    if path in documents:
        return Route("document", f"/{path}", READING, path)
    if segments and segments[0][:1].isupper() and segments[0] not in types:
        raise FhirError("type-unknown", f"Resource types served here: {', '.join(sorted(types))}.")
    text = "There is nothing at this address; /metadata lists what there is."
    raise FhirError("address-unknown", text)


def _file_template(segments: tuple[str, ...]) -> str | None:
    match segments:
        case ("$bulk-publish",):
            return "/$bulk-publish"
        case ("bulk" | "plan-finder" as folder, _):
            return f"/{folder}/[file]"
        case ("plan-finder", _, _, "index.json"):
            return "/plan-finder/[contract]/[year]/index.json"
        case _:
            return None


def _is_id(text: str) -> bool:
    """Return whether a part of a path stands where a logical id does; it need not be one."""
    return not text.startswith(("_", "$"))


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
_RANGES: Final = ("*/*", "application/*")
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
        for name in _SERVED:
            ranked = (*_RANGES, name)
            rank = ranked.index(kind) if kind in ranked else -1
            if rank > wants.get(name, (-1, 0.0))[0]:
                wants[name] = (rank, _quality(rest))
    best = max(_SERVED, key=lambda name: (wants[name][1], wants[name][0]) if name in wants else ())
    return _SERVED[best] if wants.get(best, (0, 0.0))[1] > 0 else None


def _quality(parameters: str) -> float:
    try:
        quality = float(_header_parameters(parameters).get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def _speaks(parameters: str) -> bool:
    """Return whether a media type's `fhirVersion`, if it has one, is R4."""
    return _header_parameters(parameters).get("fhirversion", _VERSIONS[0]) in _VERSIONS


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
    wanted = _header_parameters(header.decode("latin-1").replace(",", ";")).get("handling")
    return wanted if wanted in ("strict", "lenient") else None


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
    try:
        moment = parsedate_to_datetime(text.decode("latin-1"))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
