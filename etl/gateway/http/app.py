"""The FHIR base as an ASGI application: Patient Access with a token, the directory without.

A request for data takes a short path: parse, authenticate, call the service, audit, send. Bodies
are sent as the service joined them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Literal

import orjson
from isal import isal_zlib
from starlette.types import Receive, Scope, Send

from etl.errors import StoreError
from etl.gateway.access.authentication import Authenticator, refuse_tokens
from etl.gateway.http import request
from etl.gateway.http.monitoring import AccessLog, Metrics, RequestRecord, record_of
from etl.gateway.http.request import Route
from etl.gateway.http.responses import FhirError, Reply, reply_of
from etl.gateway.http.time_limits import ProcessorTime, RequestTimeout
from etl.gateway.public_api import PublicFiles
from etl.gateway.release.served_releases import Releases
from etl.gateway.search.parsing import HTTP
from etl.gateway.service import Answer, Service
from etl.smart.grants import Access, Grant
from etl.web.cors import CorsPolicy, Header
from etl.web.rate_limits import TooMany

log = logging.getLogger(__name__)

COMPRESSED_FROM: Final = 1024
"""Minimum size of a compressed body, in bytes."""

_THREADED_FROM: Final = 1024 * 1024
"""Bytes from which a thread compresses the body: it takes a millisecond or more."""

_LEVEL: Final = 2

_MAX_REQUESTS: Final = 1000
"""Maximum number of concurrent requests."""

_MAX_FILES: Final = 32
"""Maximum number of public files sent at once: each takes some MB of memory."""

_CHUNK: Final = 256 * 1024
"""Bytes of a file that are decompressed at a time."""

_RETRY: Final = (b"retry-after", b"2")
_PRIVATE: Final = (b"cache-control", b"private, no-store")
_PUBLIC: Final = (b"cache-control", b"public, max-age=60")
_IMMUTABLE: Final = (b"cache-control", b"public, max-age=3600, immutable")
"""For immutable answers: one version of a resource, a page of a release."""

_ERROR: Final = (b"cache-control", b"no-store")
_VARY: Final = (b"vary", b"authorization, accept, accept-encoding, prefer")
_PUBLIC_VARY: Final = (b"vary", b"accept, accept-encoding, prefer")
_GZIP: Final = (b"content-encoding", b"gzip")
_FHIR_MEDIA_TYPES: Final = ("application/fhir+json", "application/json")


@dataclass(frozen=True)
class Document:
    """A public document, such as the CapabilityStatement.

    Attributes:
        body: its JSON.
        media: its content type; None for the one that the client requests.
    """

    body: bytes
    media: bytes | None = None

    @cached_property
    def etag(self) -> str:
        """Its entity tag."""
        return f'W/"{hashlib.blake2b(self.body, digest_size=12).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """A request whose route is known.

    Attributes:
        headers: names in lower case; headers sent several times are joined.
        record: what the access log and the audit trail say about it.
    """

    route: Route
    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    record: RequestRecord


class Gateway:
    """One FHIR base.

    Args:
        service: answers the requests.
        releases: the served release, for its publication time.
        authenticator: authenticates requests.
        documents: path → function that returns the current public document.
        origins: CORS policy.
        base: FHIR base URL without a slash at its end; links start with it, never with `Host`.
        path: the path of that URL.
        seconds: time limit of a request.
        standing: headers of every answer.
        log: records faults.
        metrics: counts refusals.
        files: files of a public API; None if this base serves none.
    """

    def __init__(
        self,
        service: Service,
        releases: Releases,
        authenticator: Authenticator,
        documents: Mapping[str, Callable[[], Document]],
        origins: CorsPolicy,
        *,
        base: str,
        path: str,
        seconds: float,
        standing: tuple[Header, ...],
        log: AccessLog,
        metrics: Metrics,
        files: PublicFiles | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._files = files
        self._file_count = 0
        self._releases = releases
        self._authenticator = authenticator
        self._documents = documents
        paths, types = frozenset(documents), frozenset(kind.name for kind in service.kinds())
        self._route = request.cached_parse(
            lambda raw: request.find_route(
                request.split_path(raw, path), types, paths, with_files=files is not None
            )
        )
        self._origins = origins
        self._base, self._path = base, path
        self._standing = standing
        self._now = now
        self._log = log
        self._metrics = metrics
        self._request_count = 0
        self._timeout = RequestTimeout(seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        record = record_of(scope)
        headers: Mapping[bytes, bytes] = {}
        route: Route | None = None
        self._request_count += 1
        try:
            headers = request.join_headers(scope)
            route = self._route(request.read_path(scope, self._path))
            record.route = self._path + route.template
            incoming = RoutedRequest(route, scope, receive, headers, record)
            reply = await self._timeout.keep(self._dispatch(incoming))
        except Exception as error:  # every failure becomes an OperationOutcome here
            reply = self._describe_failure(error, record)
        finally:
            self._request_count -= 1
        record.route = record.route or f"{self._path}/other"
        is_open = self._authenticator.public or (route is not None and route.kind == "document")
        standing = (*self._standing, *(record.usage.headers() if record.usage else ()))
        standing += self._origins.headers(headers.get(b"origin"), open_to_all=is_open)
        try:
            await self._send(send, scope["method"] == "HEAD", headers, reply, standing)
        finally:
            self._file_count -= reply.unpacked > 0

    async def _dispatch(self, incoming: RoutedRequest) -> Reply:
        route, method = incoming.route, incoming.scope["method"]
        allowed = ", ".join(route.methods)
        allow = (b"allow", allowed.encode())
        if method not in route.methods:
            raise FhirError("method-not-allowed", f"This address takes {allowed}.", (allow,))
        if method == "OPTIONS":
            return Reply(204, b"", b"", [allow, *self._origins.preflight(route.methods)])
        if route.kind == "document":
            return self._read_document(incoming)
        if self._request_count > _MAX_REQUESTS:
            raise FhirError("overloaded", "Too many requests at once; try again.", (_RETRY,))
        if route.kind == "file" and self._files is not None:
            return await self._answer_file(self._files, route, incoming.headers)
        return await self._answer_with_audit(incoming)

    def _read_document(self, incoming: RoutedRequest) -> Reply:
        document = self._documents[incoming.route.type]()
        media = document.media
        if media is None:
            query = request.parse_parameters(incoming.scope["query_string"])
            media = request.negotiate_media(incoming.headers, request.values_of(query, "_format"))
        fields: list[Header] = [
            (b"etag", document.etag.encode()),
            (b"cache-control", b"public, max-age=300"),
            (b"vary", b"accept, accept-encoding"),
        ]
        if request.is_not_modified(incoming.headers, document.etag, None):
            return Reply(304, b"", b"", fields)
        return Reply(200, document.body, media, fields)

    async def _answer_file(
        self, files: PublicFiles, route: Route, headers: Mapping[bytes, bytes]
    ) -> Reply:
        file = await files.at(route.type)
        if request.is_not_modified(headers, file.etag, request.parse_instant(file.modified)):
            return Reply(304, b"", b"", file.headers)
        if not file.is_file:
            return await file.reply()
        if self._file_count >= _MAX_FILES:
            raise FhirError("overloaded", "Too many files at once; try again.", (_RETRY,))
        self._file_count += 1  # until it is sent
        try:
            return await file.reply()
        except BaseException:
            self._file_count -= 1
            raise

    async def _answer_with_audit(self, incoming: RoutedRequest) -> Reply:
        """Answer a request for data, or refuse it; record either in the audit trail."""
        route, scope, headers = incoming.route, incoming.scope, incoming.headers
        record = incoming.record
        address = str(scope["client"][0]) if scope.get("client") else ""
        raw_query: bytes = scope["query_string"]
        grant: Grant | None = None
        try:
            query = _query(raw_query)
            grant = await self._authenticator.grant_of(headers, address, record)
            if scope["method"] == "POST":
                body = await request.receive_body(incoming.receive, headers)
                body_parameters = _parse_body(route, body, headers)
                refuse_tokens(body_parameters)
                raw_query = b"&".join(part for part in (raw_query, body) if part)
                query = (*query, *body_parameters)
            media = request.negotiate_media(headers, request.values_of(query, "_format"))
            data = self._answer_data(incoming, grant, query)
            reply = await (self._charge_time(data, address) if self._authenticator.public else data)
            reply.media = media
        except Exception as error:  # refusals are recorded, too
            if grant is None:
                raw_query = b""  # not recorded: it may contain a token
                error = self._count_refusal(error, address)
            reply = self._describe_failure(error, record)
            if reply.status == 429:
                return reply
        await self._authenticator.record(
            Access(
                self._now(),
                record.request,
                record.client,
                grant.grant if grant else "",
                record.patient,
                _INTERACTIONS[route.kind],
                _target(route),
                route.id if route.kind == "page" else raw_query.decode("latin-1"),
                reply.status,
                address,
                delivered=record.delivered if reply.status == 200 else (),
            )
        )
        return reply

    async def _charge_time(self, data: Coroutine[Any, Any, Reply], address: str) -> Reply:
        """Return the answer, and charge its processor time to the client's address."""
        spent = ProcessorTime()
        try:
            return await spent.measure(data)
        finally:
            self._authenticator.count_time(address, spent.seconds)

    async def _answer_data(
        self, incoming: RoutedRequest, grant: Grant, query: tuple[tuple[str, str], ...]
    ) -> Reply:
        service, base = self._service, self._base
        route, headers = incoming.route, incoming.headers
        answer: Answer
        extra: list[Header] = []
        prefer = headers.get(b"prefer")
        handling = request.preferred_handling(prefer) if prefer is not None else None
        if handling is not None:
            extra.append((b"preference-applied", f"handling={handling}".encode()))
        strict = handling == "strict"
        match route.kind:
            case "search":
                answer = await service.search(
                    grant, route.type, query, base=base, strict=strict, within=route.id or None
                )
            case "read" | "vread":
                answer = await service.read(
                    grant, route.type, route.id, query, version=route.version, strict=strict
                )
            case "everything":
                answer = await service.everything(grant, route.id, query, base=base, strict=strict)
            case _:
                pairs = [pair for pair in query if pair[0] not in HTTP]
                try:
                    answer = await service.page(grant, route.id, pairs, base=base, strict=strict)
                except FhirError as error:
                    if error.status != 400 or error.code == "parameter-unsupported":
                        raise
                    raise FhirError("link-invalid", error.diagnostics) from None
        etag = answer.etag
        incoming.record.release, incoming.record.delivered = answer.release, answer.types
        # A resource's bytes can change without its lastUpdated, which is the payer's.
        changed = answer.last_updated if answer.release else self._releases.served.created
        fields: list[Header] = [(b"etag", etag.encode()), *self._caching_headers(route), *extra]
        modified = request.http_date(answer.last_updated) if answer.last_updated else None
        if modified is not None:
            fields.append((b"last-modified", modified))
        if incoming.scope["method"] != "POST" and not _CONDITIONAL_HEADERS.isdisjoint(headers):
            since = request.parse_instant(changed) if changed else None
            request.check_preconditions(headers, etag, since)
            if request.is_not_modified(headers, etag, since):
                return Reply(304, b"", b"", fields)
        return Reply(200, answer.body, headers=fields)

    def _caching_headers(self, route: Route) -> tuple[Header, Header]:
        if not self._authenticator.public:
            return _PRIVATE, _VARY
        is_immutable = route.kind in ("vread", "page")
        return (_IMMUTABLE if is_immutable else _PUBLIC), _PUBLIC_VARY

    def _count_refusal(self, error: Exception, address: str) -> Exception:
        """Count a refused request without a grant; return its error, or that of the rate limit.

        Every refusal counts, because each is recorded. The authenticator counts refused tokens.
        """
        if isinstance(error, FhirError) and error.status == 400:
            try:
                self._authenticator.count_refused(address)
            except TooMany as limit_error:
                return limit_error
        return error

    def _describe_failure(self, error: Exception, record: RequestRecord) -> Reply:
        """Return the OperationOutcome of an error; log it if it is a fault of the server."""
        match error:
            case FhirError():
                refusal = error
                if error.__cause__ is not None:
                    self._log.fault(record, error.__cause__)
            case TooMany():
                record.usage = used = error.usage
                limit = f"{used.limit} requests in {used.window} seconds"
                text = f"Wait {error.retry_after} seconds; the limit is {limit}."
                retry_after = (b"retry-after", b"%d" % error.retry_after)
                refusal = FhirError("rate-limited", text, (retry_after,))
            case StoreError() if self._releases.served.release is None:
                refusal = FhirError("not-published", "Nothing is published yet.", (_RETRY,))
            case StoreError() | TimeoutError():
                self._log.fault(record, error)
                text = "The data cannot be read now; try again."
                refusal = FhirError("storage-unavailable", text, (_RETRY,))
            case _:
                self._log.fault(record, error)
                text = "This is a fault of the server; the request id finds it."
                refusal = FhirError("internal-error", text)
        record.code = refusal.code
        self._metrics.refused(refusal.code)
        reply = reply_of(refusal)
        reply.headers.append(_ERROR)
        return reply

    async def _send(
        self,
        send: Send,
        head: bool,
        headers: Mapping[bytes, bytes],
        reply: Reply,
        standing: tuple[Header, ...],
    ) -> None:
        """Send an answer; for HEAD only its headers."""
        body = reply.body
        all_headers: list[Header] = [*standing, *reply.headers]
        if reply.media and reply.status != 304:
            all_headers.append((b"content-type", reply.media))
        encodings = headers.get(b"accept-encoding")
        takes_gzip = encodings is not None and request.takes_gzip(encodings)
        if reply.unpacked:
            await _send_gzip(send, head, reply, all_headers, takes_gzip=takes_gzip)
            return
        if len(body) >= COMPRESSED_FROM and takes_gzip:
            is_large = len(body) >= _THREADED_FROM
            body = await asyncio.to_thread(_compress, body) if is_large else _compress(body)
            all_headers.append(_GZIP)
        if reply.status not in (204, 304):
            all_headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": all_headers})
        await send({"type": "http.response.body", "body": b"" if head else body})


async def _send_gzip(
    send: Send, head: bool, reply: Reply, all_headers: list[Header], *, takes_gzip: bool
) -> None:
    """Send a gzip body as it is, or decompress it chunk by chunk."""
    length = len(reply.body) if takes_gzip else reply.unpacked
    all_headers += [*([_GZIP] if takes_gzip else []), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": reply.status, "headers": all_headers})
    if takes_gzip or head:
        await send({"type": "http.response.body", "body": b"" if head else reply.body})
        return
    unpacker = isal_zlib.decompressobj(wbits=31)
    packed = reply.body
    while not unpacker.eof:
        chunk = unpacker.decompress(packed, _CHUNK)
        packed = unpacker.unconsumed_tail
        if not chunk and not packed:
            break
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


_Interaction = Literal["read", "vread", "search", "everything"]
_INTERACTIONS: Final[Mapping[str, _Interaction]] = {
    "read": "read",
    "vread": "vread",
    "search": "search",
    "page": "search",
    "everything": "everything",
}
_CONDITIONAL_HEADERS: Final = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)
_ONE_RESOURCE: Final = frozenset({"read", "vread", "everything"})


@request.cached_parse
def _query(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query string; refuse a token in it."""
    parameters = request.parse_parameters(raw)
    refuse_tokens(parameters)
    return tuple(parameters)


def _parse_body(route: Route, body: bytes, headers: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    """Return the parameters of a POST; $everything also takes a FHIR Parameters resource."""
    if route.kind != "everything":
        return request.form_parameters(body, headers)
    media_type, _ = request.media_type(headers.get(b"content-type", b""))
    if not body:
        return []
    if media_type in _FHIR_MEDIA_TYPES:
        return _parse_parameters(body)
    return request.form_parameters(body, headers)


def _parse_parameters(body: bytes) -> list[tuple[str, str]]:
    """Return names and values of a FHIR Parameters resource.

    Raises:
        FhirError: 400 `body-malformed`.
    """
    wrong = FhirError("body-malformed", "The body is no Parameters resource with simple values.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise wrong from None
    if not isinstance(document, dict) or document.get("resourceType") != "Parameters":
        raise wrong
    parameters: list[tuple[str, str]] = []
    entries = document.get("parameter", [])
    for parameter in entries if isinstance(entries, list) else [None]:
        if not isinstance(parameter, dict) or not isinstance(parameter.get("name"), str):
            raise wrong
        values = [value for name, value in parameter.items() if name.startswith("value")]
        if len(values) != 1 or not isinstance(values[0], str | int) or isinstance(values[0], bool):
            raise wrong
        parameters.append((parameter["name"], str(values[0])))
    return parameters


def _target(route: Route) -> str:
    """Return the requested resource or type, as the audit trail records it."""
    if route.kind in _ONE_RESOURCE:
        return f"{route.type}/{route.id}"
    if route.kind == "search" and route.id:
        return f"Patient/{route.id}/{route.type}"
    return route.type or "_page"


def _compress(body: bytes) -> bytes:
    packer = isal_zlib.compressobj(_LEVEL, wbits=31)
    return packer.compress(body) + packer.flush()
