"""The whole application called in process, byte by byte as a server would hand it over."""

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette

from etl.bootstrap.served_app import Authorization, application, prepared
from etl.bootstrap.setting_groups import PortalSettings, ServeSettings
from etl.bootstrap.settings import Settings
from etl.gateway.startup import GatewayServices
from etl.smart.grants import Access, Grant, Recorder, TokenRefused
from tests.unit.gateway.trees import busiest, members, opened, run, sample_tree

BASE = "https://payer.example"
FHIR = f"{BASE}/fhir"
TOKEN = "token-of-the-member"  # noqa: S105 - of a test
OTHER_TOKEN = "token-of-another-member"  # noqa: S105
NARROW_TOKEN = "token-for-coverage-alone"  # noqa: S105
SMART = {
    "issuer": BASE,
    "authorization_endpoint": f"{BASE}/oauth/authorize",
    "token_endpoint": f"{BASE}/oauth/token",
    "introspection_endpoint": f"{BASE}/oauth/introspect",
    "revocation_endpoint": f"{BASE}/oauth/revoke",
    "management_endpoint": f"{BASE}/member",
}

Headers = Sequence[tuple[bytes, bytes]]


def bearer(token: str = TOKEN) -> tuple[bytes, bytes]:
    """Return the header that carries a token."""
    return (b"authorization", b"Bearer " + token.encode())


@dataclass(frozen=True, slots=True)
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        body = gzip.decompress(self.body) if "content-encoding" in self.headers else self.body
        return json.loads(body)

    @property
    def code(self) -> str:
        """The stable code of an OperationOutcome."""
        (issue,) = self.json["issue"]
        (coding,) = issue["details"]["coding"]
        return coding["code"]


@dataclass
class Trail:
    """A recorder that remembers, or fails."""

    kept: list[Access] = field(default_factory=list)
    fails: bool = False

    async def record(self, access: Access) -> None:
        if self.fails:
            raise OSError("the disk is full")
        self.kept.append(access)


@dataclass
class Server:
    """An application, its log and its trail."""

    app: Starlette
    service: GatewayServices
    log: list[bytes]
    trail: Trail

    def call(
        self,
        target: str | bytes,
        *headers: tuple[bytes, bytes],
        method: str = "GET",
        body: bytes = b"",
        token: str | None = TOKEN,
        client: str = "192.0.2.1",
    ) -> Got:
        """Return the answer to one request; `target` is what stands in the request line."""
        raw = target.encode() if isinstance(target, str) else target
        given = [*headers] if token is None else [bearer(token), *headers]
        return run(called(self.app, method, raw, given, body, client))

    def lines(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return [json.loads(line) for line in self.log]


async def called(
    app: Callable[..., Any], method: str, raw: bytes, headers: Headers, body: bytes, client: str
) -> Got:
    """Call an ASGI application as uvicorn does."""
    from urllib.parse import unquote

    path, _, query = raw.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("ascii", "replace")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"evil.example"), *headers],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    sent: list[dict[str, Any]] = []
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return unread.pop(0) if unread else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    found: dict[str, str] = {}
    for name, value in start["headers"]:
        key = name.decode()
        found[key] = f"{found[key]}, {value.decode()}" if key in found else value.decode()
    return Got(start["status"], found, b"".join(one.get("body", b"") for one in sent[1:]))


def settings(**serve: Any) -> Settings:
    """Return settings to serve with, and any of `[serve]` changed."""
    base = {"base_url": BASE, "rate_limit": "", "refused_limit": "", **serve}
    return prepared(Settings.model_construct(target="none", serve=ServeSettings(**base)))


def another() -> str:
    """Return a member who is not the busiest, with claims."""
    return next(
        one
        for one, held in members().items()
        if one != busiest() and any(x["resourceType"] == "ExplanationOfBenefit" for x in held)
    )


class Tokens:
    """A verifier that accepts the three tokens above."""

    async def grant_of(self, token: str) -> Grant:
        held = {
            TOKEN: (busiest(), "app-1", ("patient/*.read",)),
            OTHER_TOKEN: (another(), "app-2", ("patient/*.read",)),
            NARROW_TOKEN: (busiest(), "app-1", ("patient/Coverage.rs",)),
        }
        if token not in held:
            raise TokenRefused("The access token is unknown.")
        return Grant(*held[token], "consent", datetime(9999, 12, 31, tzinfo=UTC))


def served(
    service: GatewayServices | None = None,
    *,
    smart: dict[str, str] | None = SMART,
    recorder: Recorder | None = None,
    portal: PortalSettings | None = None,
    **serve: Any,
) -> Server:
    """Return the samples served with the three tokens above."""
    log: list[bytes] = []
    trail = Trail()
    service = service or opened(sample_tree())
    told = settings(**serve)
    app = application(
        told if portal is None else told.model_copy(update={"portal": portal}),
        service=service,
        authorized=Authorization(Tokens(), recorder or trail, smart),
        write=log.append,
    )
    return Server(app, service, log, trail)
