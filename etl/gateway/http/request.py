"""Parse requests strictly: path, parameters and headers; find routes; negotiate media types.

Everything is read from the raw bytes. A URL is percent-decoded exactly once. Text that is not
UTF-8, contains a control character or is too long is refused before any further processing. The
`Host` header is ignored: links start with the configured base URL.

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
"""Maximum size of a cached text, in bytes; longer ones may be meant to fill memory."""

_CACHE_SIZE: Final = 512


def cached_parse(read: Callable[[bytes], Read]) -> Callable[[bytes], Read]:
    """Return a function that parses each short text once; refused texts are not cached."""
    cached = lru_cache(maxsize=_CACHE_SIZE)(read)

    def parse(header: bytes) -> Read:
        return cached(header) if len(header) <= LONGEST else read(header)

    return parse


MAX_PARAMETERS: Final = 100
"""Maximum number of parameters of a request."""

FORM: Final = "application/x-www-form-urlencoded"

_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_SINGLE_HEADERS: Final = frozenset(
    {b"authorization", b"content-type", b"content-length", b"content-encoding", b"x-request-id"}
)
"""Headers that must not be repeated, because programs interpret repeated ones differently."""

_LIST_HEADERS: Final = frozenset(
    {b"accept", b"accept-encoding", b"prefer", b"if-none-match", b"if-match", b"x-forwarded-for"}
)


_MAX_URL: Final = 8192
"""Maximum bytes of path and query together."""

_MAX_BODY: Final = 64 * 1024


def join_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by lower-case name; repeated list headers are joined.

    Raises:
        FhirError: `header-repeated`.
    """
    values: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in values:
            if name in _LIST_HEADERS:
                value = values[name] + b"," + value
            elif name in _SINGLE_HEADERS:
                raise FhirError("header-repeated", f"The header {name.decode()} came twice.")
        values[name] = value
    return values


def read_path(scope: Scope, prefix: str) -> bytes:
    """Return the raw path of a URL that is not too long.

    Raises:
        FhirError: `url-too-long`.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    max_bytes = _MAX_URL
    length = len(raw) + len(scope["query_string"])
    if length > max_bytes:
        if raw.startswith(f"{prefix}/_page/".encode()):
            max_bytes += LONGEST_LINK  # a page link holds a search, which may have come by POST
        if length > max_bytes:
            text = f"The URL is longer than {max_bytes} bytes; search by POST to _search."
            raise FhirError("url-too-long", text)
    return raw


def split_path(raw: bytes, prefix: str) -> tuple[str, ...]:
    """Return the decoded segments of a path after a prefix.

    Raises:
        FhirError: `url-malformed`, `address-unknown`.
    """
    start = prefix.encode()
    if not raw.startswith(start) or raw[len(start) : len(start) + 1] not in (b"", b"/"):
        # The prefix has percent escapes: no honest client does that.
        raise FhirError("address-unknown", "Write the path without escapes.")
    rest = raw[len(start) :]
    if b"%" in rest:
        # Split first: an encoded slash does not separate segments.
        parts = tuple(decode_percent(part, "path") for part in rest.split(b"/"))
    else:
        parts = tuple(decode_text(rest, "path").split("/"))
    if parts and not parts[0]:
        parts = parts[1:]
    if parts and not parts[-1]:
        parts = parts[:-1]
    return parts


def parse_parameters(raw: bytes, where: str = "query") -> list[tuple[str, str]]:
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
    read = decode_text if b"%" not in raw and b"+" not in raw else decode_percent
    for part in parts:
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            parameters.append((read(name, where), read(value, where)))
    return parameters


def decode_percent(raw: bytes, where: str) -> str:
    """Decode percent-encoded text once.

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
    return decode_text(unquote_to_bytes(raw), where)


def decode_text(raw: bytes, where: str) -> str:
    """Decode UTF-8.

    Raises:
        FhirError: `url-malformed`: the text is not UTF-8, or has a control character.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise FhirError("url-malformed", f"The {where} is not UTF-8.") from None
    if not text.isprintable() and any(character < " " or character == "\x7f" for character in text):
        raise FhirError("url-malformed", f"There is a control character in the {where}.")
    return text


async def receive_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """Read a request's body.

    Raises:
        FhirError: `body-too-large`; `media-type-unsupported`: the body is compressed;
            `client-gone`: the client disconnected before the end.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise FhirError("media-type-unsupported", "Send the body without Content-Encoding.")
    length = headers.get(b"content-length", b"0")
    try:
        if length.isdigit() and int(length) > _MAX_BODY:
            raise BodyTooLarge
        return await read_body(receive, _MAX_BODY)
    except BodyTooLarge:
        text = f"The body is larger than {_MAX_BODY} bytes."
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
        FhirError: `media-type-unsupported`, and what `parse_parameters` raises.
    """
    kind, parameters = media_type(headers.get(b"content-type", FORM.encode()))
    charset = parameters.get("charset", "utf-8")
    if (body and b"content-type" not in headers) or kind != FORM or charset not in _CHARSETS:
        raise FhirError("media-type-unsupported", f"Post the search as {FORM}, in UTF-8.")
    return parse_parameters(body, "form")


_CHARSETS: Final = ("utf-8", "utf8", "us-ascii")


def values_of(parameters: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Return the values of one parameter, in order."""
    return [value for key, value in parameters if key == name]


Kind = Literal["document", "search", "read", "vread", "everything", "page", "file"]

GET_METHODS: Final = ("GET", "HEAD", "OPTIONS")
POST_METHODS: Final = (*GET_METHODS, "POST")

_EVERYTHING: Final = f"${EVERYTHING.name}"
COMPARTMENT: Final = frozenset(
    name for name, kind in TYPES.items() if not kind.shared and name != "Patient"
)
"""Types that are searched below `Patient/[id]/` as well."""


@dataclass(frozen=True, slots=True)
class Route:
    """The route of a request.

    Attributes:
        kind: kind of the route.
        template: path for logs and metrics, with placeholders for ids.
        methods: allowed HTTP methods, OPTIONS included.
        type: resource type; for a document or a file its path.
        id: logical id; of a page, its cursor; of a search, the Patient of the compartment.
        version: version id.
    """

    kind: Kind
    template: str
    methods: tuple[str, ...]
    type: str = ""
    id: str = ""
    version: str = ""


def find_route(
    segments: tuple[str, ...],
    types: frozenset[str],
    documents: frozenset[str],
    *,
    with_files: bool = False,
) -> Route:
    """Return the route of a path.

    Args:
        segments: the decoded segments of the path after the base.
        types: served resource types.
        documents: paths of served documents.
        with_files: whether files of a provider directory are served.

    Raises:
        FhirError: `address-unknown`, `type-unknown`.
    """
    match segments:
        case (kind,) if kind in types:
            return Route("search", f"/{kind}", GET_METHODS, kind)
        case (kind, "_search") if kind in types:
            return Route("search", f"/{kind}/_search", POST_METHODS, kind)
        case ("_page", cursor):
            return Route("page", "/_page/[cursor]", GET_METHODS, id=cursor)
        case ("Patient", name, operation) if operation == _EVERYTHING and "Patient" in types:
            template = f"/Patient/[id]/{_EVERYTHING}"
            return Route("everything", template, POST_METHODS, "Patient", name)
        case ("Patient", name, kind) if kind in COMPARTMENT & types and _is_id(name):
            return Route("search", f"/Patient/[id]/{kind}", GET_METHODS, kind, name)
        case ("Patient", name, kind, "_search") if kind in COMPARTMENT & types and _is_id(name):
            return Route("search", f"/Patient/[id]/{kind}/_search", POST_METHODS, kind, name)
        case (kind, name) if kind in types and _is_id(name):
            return Route("read", f"/{kind}/[id]", GET_METHODS, kind, name)
        case (kind, name, "_history", version) if kind in types:
            template = f"/{kind}/[id]/_history/[version]"
            return Route("vread", template, GET_METHODS, kind, name, version)
    path = "/".join(segments)
    if with_files and (file_template := _find_template(segments)) is not None:
        return Route("file", file_template, GET_METHODS, path)
    if path in documents:
        return Route("document", f"/{path}", GET_METHODS, path)
    if segments and segments[0][:1].isupper() and segments[0] not in types:
        raise FhirError("type-unknown", f"Resource types served here: {', '.join(sorted(types))}.")
    text = "There is nothing at this address; /metadata lists what there is."
    raise FhirError("address-unknown", text)


def _find_template(segments: tuple[str, ...]) -> str | None:
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
    """Return whether a path segment is meant as a logical id; it may be an invalid one."""
    return not text.startswith(("_", "$"))


FHIR_JSON: Final = b"application/fhir+json"
JSON: Final = b"application/json"

_MEDIA: Final = {"application/fhir+json": FHIR_JSON, "application/json": JSON}
_FORMATS: Final = {
    "json": FHIR_JSON,
    "application/json": JSON,
    "text/json": JSON,
    "application/fhir+json": FHIR_JSON,
    "application/fhir json": FHIR_JSON,  # a plus sign that was not encoded
}
_WILDCARDS: Final = ("*/*", "application/*")
_VERSIONS: Final = ("4.0", "4.0.1")
_REFUSAL: Final = "This server speaks JSON only: ask for application/fhir+json or application/json."


def negotiate_media(headers: Mapping[bytes, bytes], formats: Sequence[str]) -> bytes:
    """Return the content type of the answer.

    Args:
        headers: the request's.
        formats: values of `_format`, which beats Accept.

    Raises:
        FhirError: `format-not-acceptable`; `parameter-invalid`: two `_format` differ.
    """
    if formats:
        if len(set(formats)) > 1:
            raise FhirError("parameter-invalid", "Give _format once.", (), ("http._format",))
        kind, _, parameters = formats[0].partition(";")
        media = _FORMATS.get(kind.strip().lower())
        if media is None or not _accepts_r4(parameters):
            raise FhirError("format-not-acceptable", _REFUSAL, (), ("http._format",))
        return media
    accept = headers.get(b"accept")
    if accept is None:
        return FHIR_JSON
    accepted = _preferred_media(accept)
    if accepted is None:
        raise FhirError("format-not-acceptable", _REFUSAL)
    return accepted


@cached_parse
def _preferred_media(header: bytes) -> bytes | None:
    """Return the supported type that an Accept header prefers; None if it accepts none."""
    ranks: dict[str, tuple[int, float]] = {}
    text = header.decode("latin-1").strip()
    if not text:
        return FHIR_JSON
    for part in text.split(","):
        kind, _, rest = part.partition(";")
        kind = kind.strip().lower()
        if not _accepts_r4(rest):
            continue
        for name in _MEDIA:
            ranked = (*_WILDCARDS, name)
            rank = ranked.index(kind) if kind in ranked else -1
            if rank > ranks.get(name, (-1, 0.0))[0]:
                ranks[name] = (rank, _quality(rest))
    best = max(_MEDIA, key=lambda name: (ranks[name][1], ranks[name][0]) if name in ranks else ())
    return _MEDIA[best] if ranks.get(best, (0, 0.0))[1] > 0 else None


def _quality(parameters: str) -> float:
    try:
        quality = float(_header_parameters(parameters).get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def _accepts_r4(parameters: str) -> bool:
    """Return whether a media type's `fhirVersion`, if it has one, is R4."""
    return _header_parameters(parameters).get("fhirversion", _VERSIONS[0]) in _VERSIONS


@cached_parse
def takes_gzip(header: bytes) -> bool:
    """Return whether an Accept-Encoding header accepts gzip."""
    weights: dict[str, float] = {}
    for part in header.decode("latin-1").split(","):
        coding, _, rest = part.partition(";")
        weights[coding.strip().lower()] = _quality(rest)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


@cached_parse
def preferred_handling(header: bytes) -> str | None:
    """Return `strict` or `lenient` of a Prefer header; None if it has neither."""
    value = _header_parameters(header.decode("latin-1").replace(",", ";")).get("handling")
    return value if value in ("strict", "lenient") else None


def is_not_modified(headers: Mapping[bytes, bytes], etag: str, changed: datetime | None) -> bool:
    """Return whether the client's copy is still valid (304).

    Args:
        headers: the request's.
        etag: entity tag of the answer.
        changed: when the answer may have changed last; None if unknown.
    """
    tags = headers.get(b"if-none-match")
    if tags is not None:
        return _has_tag(tags, etag)
    since = headers.get(b"if-modified-since")
    if since is None or changed is None:
        return False
    copy_time = _http_date(since)
    return copy_time is not None and copy_time >= changed


def check_preconditions(
    headers: Mapping[bytes, bytes], etag: str, changed: datetime | None
) -> None:
    """Refuse a request if its `If-Match` or `If-Unmodified-Since` is false.

    Tags are compared weakly: FHIR's are weak, and the server is read-only.

    Raises:
        FhirError: `precondition-failed`.
    """
    tags = headers.get(b"if-match")
    if tags is not None:
        if not _has_tag(tags, etag):
            raise FhirError("precondition-failed", "The resource has another version now.")
        return
    since = headers.get(b"if-unmodified-since")
    if since is not None and changed is not None:
        copy_time = _http_date(since)
        if copy_time is not None and changed > copy_time:
            raise FhirError("precondition-failed", "It may have changed since then.")


def _has_tag(tags: bytes, etag: str) -> bool:
    """Return whether a list of entity tags contains one, or is `*`."""
    value = etag.removeprefix("W/")
    text = tags.decode("latin-1").strip()
    return text == "*" or any(tag.strip().removeprefix("W/") == value for tag in text.split(","))


def _http_date(text: bytes) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text.decode("latin-1"))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def http_date(instant: str) -> bytes | None:
    """Return a FHIR instant as an HTTP date; None for invalid text."""
    moment = parse_instant(instant)
    return None if moment is None else formatdate(moment.timestamp(), usegmt=True).encode()


@lru_cache(maxsize=4096)
def parse_instant(instant: str) -> datetime | None:
    """Return a FHIR instant, truncated to the second as in HTTP; None for invalid text."""
    try:
        moment = datetime.fromisoformat(instant)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.replace(microsecond=0)
