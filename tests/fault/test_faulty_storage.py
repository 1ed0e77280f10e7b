"""The gateway under load for a long time, over storage that fails, while releases come and go.

Every answer is either right for one whole release, or says that it is not there now.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl.errors import NotFound
from etl.gateway.development import NoTrail
from etl.gateway.held import HeldObjects
from etl.gateway.objects import Transient
from etl.gateway.opening import ServiceOptions, serve_objects
from etl.publish import keys
from etl.publish.reader import open_current
from etl.storage.memory import MemoryStore
from tests.unit.gateway.calls import BASE, TOKEN, Got, Server, bearer, called, served
from tests.unit.gateway.faulty import Watched
from tests.unit.gateway.trees import KEY, run
from tests.unit.publish.samples import logical_id, patient, publish

CLAIMS = 30
GROWTH = 60 * 1024 * 1024
"""Bytes that the process may grow by after it is warm: releases in memory included."""


@dataclass
class Soak:
    """What happens, and what came of it."""

    store: MemoryStore
    objects: Watched
    chance: random.Random
    statuses: Counter[int] = field(default_factory=Counter)
    releases: int = 0
    walks: int = 0

    def fault(self, key: str, data: bytes) -> bytes:
        """Return what was read; or fail, or return it damaged or cut off."""
        dice = self.chance.random()
        if dice < 0.04:
            raise Transient("storage is busy")
        if dice < 0.05:
            raise NotFound("storage has lost it for a moment")
        if dice < 0.06 and key != keys.CURRENT and data:
            at = self.chance.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        if dice < 0.065:
            return data[: len(data) // 2]
        return data

    def publish(self) -> None:
        """Publish a release whose claims all bear its number as their amount."""
        self.releases += 1
        now = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=self.releases)
        claims = CLAIMS + self.releases % 3
        publish(
            self.store,
            [patient("ann", claims, amount=f"{self.releases}.00")],
            base=open_current(self.store),
            now=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


def right(found: list[dict[str, Any]], totals: set[int]) -> bool:
    """Return whether pages put together are all claims of one release."""
    ids = [one["id"] for one in found]
    amounts = {one["payment"]["amount"]["value"] for one in found}
    return len(set(ids)) == len(ids) and totals == {len(ids)} and len(amounts) == 1


async def asked(server: Server, target: str) -> Got:
    return await called(server.app, "GET", target.encode(), [bearer(TOKEN)], b"", "192.0.2.1")


async def walk(server: Server, soak: Soak) -> None:
    """Read all pages of a search, each again until it is there."""
    target = "/fhir/ExplanationOfBenefit?_count=7"
    found: list[dict[str, Any]] = []
    totals: set[int] = set()
    while target:
        got = await asked(server, target)
        soak.statuses[got.status] += 1
        if got.status == 503:
            assert int(got.headers["retry-after"]) > 0
            assert got.code in ("storage-unavailable", "not-published")
            await asyncio.sleep(0.001)
            continue
        if got.status == 410:  # its release was let go of meanwhile, and could not be read again
            return
        assert got.status == 200, got.body
        body = got.json
        totals.add(body["total"])
        found += [one["resource"] for one in body["entry"]]
        links = {one["relation"]: one["url"] for one in body["link"]}
        target = links.get("next", "").removeprefix(BASE)
    assert right(found, totals)
    soak.walks += 1


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def soaked(seconds: float, soak: Soak, server: Server) -> int:
    """Let apps walk, releases appear and storage fail; return by how much the process grew."""
    stop = asyncio.Event()
    end = time.monotonic() + seconds

    async def app() -> None:
        while time.monotonic() < end:
            await walk(server, soak)

    async def publisher() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(max(0.25, seconds / 600))
            soak.publish()

    watching = asyncio.ensure_future(server.service.releases.watch(stop))
    publishing = asyncio.ensure_future(publisher())
    await asyncio.sleep(min(1.0, seconds / 4))
    before = memory()
    await asyncio.gather(*(app() for _ in range(8)))
    grown = memory() - before
    stop.set()
    await asyncio.gather(watching, publishing)
    return grown


def soak_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.gateway.calls.busiest", lambda: logical_id("ann"))
    monkeypatch.setattr("tests.unit.gateway.calls.another", lambda: logical_id("bob"))
    store = MemoryStore()
    soak = Soak(store, Watched(HeldObjects(store)), random.Random(4))
    soak.publish()
    options = ServiceOptions(cache_bytes=200_000, poll_seconds=0.05, read_attempts=2)
    service = serve_objects(soak.objects, [KEY], options)
    run(service.releases.refresh())
    soak.objects.fault = soak.fault
    server = served(service, recorder=NoTrail(), log="off")
    grown = run(soaked(seconds, soak, server))
    assert soak.walks > 10
    assert soak.releases > 2
    assert soak.statuses[503] > 0
    assert set(soak.statuses) <= {200, 410, 503}
    assert grown < GROWTH


def test_no_fault_of_storage_makes_an_answer_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    soak_for(4, monkeypatch)


@pytest.mark.long
def test_no_fault_of_storage_makes_an_answer_wrong_for_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soak_for(float(os.environ.get("CPCDS_TEST_SOAK_SECONDS", "600")), monkeypatch)
