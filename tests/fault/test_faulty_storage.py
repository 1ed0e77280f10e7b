"""Pages of a search over storage that fails, while releases come and go: in process, by a seed.

Every answer is either right for one whole release, or says that it is not there now. Seed and
virtual clock decide all that happens: a run that fails does so again. The served process with all
around it, for ten minutes, is `tests/soak`.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from etl.errors import NotFound
from etl.gateway.access.authentication import NoTrail
from etl.gateway.startup import ServiceOptions, serve_objects
from etl.publish import object_keys
from etl.publish.reader import open_current
from etl.storage.port import Transient
from tests.memory_store import MemoryStore
from tests.unit.gateway.calls import BASE, TOKEN, bearer, called, served
from tests.unit.gateway.faulty import Watched
from tests.unit.gateway.memory_objects import MemoryObjects
from tests.unit.gateway.trees import KEY, run
from tests.unit.publish.samples import logical_id, patient, publish
from tests.virtual_time import pass_time, run_virtually

CLAIMS = 30
RELEASES = 12
READ_SECONDS = 0.02
"""The longest that one read takes."""


@dataclass
class Failing:
    """What happens, and what came of it."""

    store: MemoryStore
    objects: Watched
    chance: random.Random
    statuses: Counter[int] = field(default_factory=Counter)
    releases: int = 0
    walks: int = 0

    def fault(self, key, data):
        """Return what was read; or fail, or return it damaged or cut off."""
        dice = self.chance.random()
        if dice < 0.04:
            raise Transient("storage is busy")
        if dice < 0.05:
            raise NotFound("storage has lost it for a moment")
        if dice < 0.06 and key != object_keys.CURRENT and data:
            at = self.chance.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        if dice < 0.065:
            return data[: len(data) // 2]
        return data

    def publish(self):
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


def right(found, totals):
    """Return whether pages put together are all claims of one release."""
    ids = [one["id"] for one in found]
    amounts = {one["payment"]["amount"]["value"] for one in found}
    return len(set(ids)) == len(ids) and totals == {len(ids)} and len(amounts) == 1


async def asked(server, target):
    return await called(server.app, "GET", target.encode(), [bearer(TOKEN)], b"", "192.0.2.1")


async def walk(server, failing):
    """Read all pages of a search, each again until it is there."""
    target = "/fhir/ExplanationOfBenefit?_count=7"
    found = []
    totals = set()
    while target:
        got = await asked(server, target)
        failing.statuses[got.status] += 1
        if got.status == 503:
            assert int(got.headers["retry-after"]) > 0
            assert got.code in ("storage-unavailable", "not-published")
            await pass_time(0.1)
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
    failing.walks += 1


async def walked(failing, server):
    """Let apps walk, releases appear and storage fail."""
    stop = asyncio.Event()

    async def app():
        while failing.releases < RELEASES:
            await walk(server, failing)
            await pass_time(0.01)  # what is in the cache takes no time

    async def publisher():
        while failing.releases < RELEASES:
            await pass_time(0.25)
            failing.publish()

    watching = asyncio.ensure_future(server.service.releases.watch(stop))
    await asyncio.gather(publisher(), *(app() for _ in range(8)))
    stop.set()
    await watching


@pytest.mark.slow
def test_no_fault_of_storage_makes_an_answer_wrong(monkeypatch):
    monkeypatch.setattr("tests.unit.gateway.calls.busiest", lambda: logical_id("ann"))
    monkeypatch.setattr("tests.unit.gateway.calls.another", lambda: logical_id("bob"))
    store = MemoryStore()
    failing = Failing(store, Watched(MemoryObjects(store)), random.Random(4))
    failing.publish()
    options = ServiceOptions(cache_bytes=200_000, poll_seconds=0.05, read_attempts=2)
    service = serve_objects(failing.objects, [KEY], options)
    run(service.releases.refresh())
    failing.objects.fault = failing.fault
    failing.objects.wait = lambda: pass_time(failing.chance.random() * READ_SECONDS)
    server = served(service, recorder=NoTrail(), log="off")
    run_virtually(walked(failing, server))
    assert failing.walks > 10
    assert failing.releases == RELEASES
    assert failing.statuses[503] > 0
    assert set(failing.statuses) <= {200, 410, 503}
