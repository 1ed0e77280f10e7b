"""What a search of ten claims is made of: its steps, called one by one in this process.

    python -m benchmarks.gateway_parts TREE FILE

FILE lists the members. Each step is called for them in random order, as they come in under load,
with what the steps before it give; what one step costs is the least of several rounds, in processor
time. What is called whole is the application itself, without a server around it: headers, route,
log line, metrics and what lies between the steps are what it costs above their sum.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from benchmarks.gateway_serving import environment, token_of
from etl.bootstrap import served_app
from etl.bootstrap.gc_policy import relax_gc
from etl.bootstrap.settings import read_settings
from etl.gateway.bundle import Entries, searchset
from etl.gateway.log_writer import LogWriter
from etl.smart.grants import Access, Grant
from etl.storage.async_local import FolderObjects
from etl.storage.async_retry import RetryingObjects

TOGETHER = 8
ROUNDS = 7
EOB = "ExplanationOfBenefit"


async def parts(tree: Path, patients: Sequence[str], folder: Path) -> list[tuple[str, float]]:
    """Return each step and its microseconds of processor time; the whole comes last."""
    os.environ.update(environment(folder))
    settings = served_app.prepared(read_settings(None, target=str(tree)))
    service = served_app.opened(settings)
    authorized = served_app.authorization(settings)
    services = authorized.services
    assert services is not None  # noqa: S101 - the settings ask for them
    asked = [(one, token_of(services, one)) for one in patients]
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    app = served_app.application(
        settings, service=service, authorized=authorized, write=LogWriter(log)
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        steps = _Steps(tree, service, authorized, app, settings.serve.base_url)
        ways = (
            ("token: hash, lifetime, revocations", steps.token),
            ("member: catalog, index", steps.index),
            ("storage: open, pread, close", steps.read),
            ("inflate, check, cut into lines", steps.lines),
            ("put the Bundle together", steps.bundle),
            ("search, page links and entity tag around these", steps.search),
            ("audit trail: event, chain, write, threads", steps.audit),
            ("whole, without HTTP", steps.whole),
        )
        for _, way in ways:
            await _took(way, asked)
        relax_gc()
        return [(name, await _took(way, asked)) for name, way in ways]


class _Steps:
    def __init__(self, tree: Path, service: Any, authorized: Any, app: Any, base: str) -> None:
        self._service = service
        self._tree = service.releases.current()
        self._objects = RetryingObjects(FolderObjects(tree))
        self._authorized = authorized
        self._app = app
        self._base = f"{base}/fhir"

    async def token(self, patient: str, token: str) -> None:
        del patient
        await self._authorized.verifier.grant_of(token)

    async def index(self, patient: str, token: str) -> Any:
        del token
        return await self._tree.patient(patient)

    async def read(self, patient: str, token: str) -> None:
        block = await self.index(patient, token)
        found = block.index.parts_of(block.rows(EOB)[:10])
        length = found[-1].offset + found[-1].length - found[0].offset
        await self._objects.get_range(block.index.block, found[0].offset, length)

    async def lines(self, patient: str, token: str) -> Any:
        block = await self.index(patient, token)
        return await self._tree.lines(block, block.rows(EOB)[:10])

    async def bundle(self, patient: str, token: str) -> None:
        lines = await self.lines(patient, token)
        searchset(
            base=self._base,
            created=self._tree.created,
            total=40,
            links=[("self", self._base)],
            entries=[Entries(EOB, lines, "match")],
        )

    async def search(self, patient: str, token: str) -> None:
        grant = Grant(
            patient, "app", ("patient/*.rs",), "consent", datetime(9999, 1, 1, tzinfo=UTC)
        )
        pairs = (("_count", "10"),)
        await self._service.service.search(grant, EOB, pairs, base=self._base, strict=True)

    async def audit(self, patient: str, token: str) -> None:
        await self._authorized.recorder.record(
            Access(
                datetime.now(UTC),
                token[-28:],
                "app",
                "consent",
                patient,
                "search",
                EOB,
                "_count=10",
                200,
                "127.0.0.1",
            )
        )

    async def whole(self, patient: str, token: str) -> None:
        del patient
        path = f"/fhir/{EOB}"
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"_count=10",
            "headers": [
                (b"host", b"127.0.0.1:8000"),
                (b"accept", b"application/fhir+json"),
                (b"authorization", b"Bearer " + token.encode()),
            ],
            "client": ("127.0.0.1", 50000),
        }
        await self._app(scope, _nothing_more, _sent)


async def _nothing_more() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _sent(message: dict[str, Any]) -> None:
    if message.get("status", 200) != 200:
        sys.exit(f"answered {message['status']}")


async def _took(
    way: Callable[[str, str], Awaitable[Any]], asked: Sequence[tuple[str, str]]
) -> float:
    rounds = []
    for number in range(ROUNDS):
        order = random.Random(number).choices(asked, k=1000)  # noqa: S311 - nothing secret
        began = time.process_time()
        for at in range(0, len(order), TOGETHER):
            await asyncio.gather(*(way(*one) for one in order[at : at + TOGETHER]))
        rounds.append(time.process_time() - began)
    return min(rounds) / len(order) * 1e6


def table(found: Sequence[tuple[str, float]]) -> list[str]:
    """Return the lines of a table that adds up, from what `parts` gives.

    The steps from `index` to `search` each hold those before them.
    """
    took = dict(found)
    names = list(took)
    token, index, *nested, audit, whole = names
    lines = ["| step | processor |", "|---|---|"]
    before = 0.0
    for name in (index, *nested):
        lines.append(f"| {name} | {(took[name] - before) / 1000:.3f} ms |")
        before = took[name]
    lines += [f"| {name} | {took[name] / 1000:.3f} ms |" for name in (token, audit)]
    rest = took[whole] - before - took[token] - took[audit]
    lines.append(f"| headers, route, log line, metrics, and between these | {rest / 1000:.3f} ms |")
    lines.append(f"| {whole} | {took[whole] / 1000:.3f} ms |")
    return lines


if __name__ == "__main__":
    with TemporaryDirectory(prefix="gateway-parts-") as scratch:
        members = Path(sys.argv[2]).read_text().split()
        steps = uvloop.run(parts(Path(sys.argv[1]), members, Path(scratch)))
    print("\n".join(table(steps)))
