"""The served process for ten minutes under load, while everything around it breaks.

`cpcds serve` with its authorization server on SeaweedFS, with a proxy between that breaks answers:
time-outs, errors, slow and cut bodies, objects that are not there, spoiled bytes. Now and then no
file of the server may grow, so that the audit trail cannot be written. Meanwhile releases come, go
and are pruned; members launch, page, refresh and leave, and a crowd of slow and
endless requests comes. Every answer is compared with what the tree
says, and what may be refused is refused as documented.

SOAK_SECONDS takes more or less than ten minutes.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from tests.e2e.test_serving import rss, sandbox
from tests.given.object_storage import BUCKET, SECRETS, start_weed
from tests.given.quick_server import COMMAND
from tests.integration.auth.standing import CALLBACK, SCOPE
from tests.soak.apps import TOKEN_SECONDS, Client, Leaver, Member, World, together
from tests.soak.crowd import HEADER_SECONDS, Crowd
from tests.soak.faulty_proxy import KINDS, proxied
from tests.soak.payer import MEMBERS, Payer
from tests.unit.publish.samples import ID_KEY, PAYER, logical_id
from tests.waiting import until

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
CLIENTS = 8
READ_SECONDS = 1.0
DEADLINE_SECONDS = 3.0
REQUEST_SECONDS = 8.0
CONSTANTS = {
    "poll_seconds": 0.5,
    "read_seconds": READ_SECONDS,
    "deadline_seconds": DEADLINE_SECONDS,
    "request_seconds": REQUEST_SECONDS,
    "header_seconds": HEADER_SECONDS,
    "access_seconds": TOKEN_SECONDS,
}
CACHE_BYTES = 512 * 1024
GROWTH_KB = 16 * 1024
NO_ROOM = "no room for the audit trail"
METADATA = {
    "client_name": "Tester",
    "redirect_uris": [CALLBACK],
    "token_endpoint_auth_method": "client_secret_basic",
    "policy_uri": "https://app.example/privacy",
    "contacts": ["it@app.example"],
    "scope": SCOPE,
}
"""Client metadata, as `cpcds apps register` takes them."""
PHASES = (
    ("few faults", 6.0, 0.05),
    ("storm", 3.0, 0.6),
    (NO_ROOM, 2.0, 0.05),
    ("calm", 4.0, 0.0),
)
"""Name, seconds and share of answers of storage that are broken; again and again."""


@dataclass
class Served:
    """The served process.

    Attributes:
        base: where it listens.
        process: it.
        folder: what it writes to.
        log: what it wrote to standard error.
    """

    base: str
    process: subprocess.Popen[bytes]
    folder: Path
    log: list[bytes]
    memory: list[int] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)

    def metric(self, name):
        """Return a metric without labels."""
        with urllib.request.urlopen(f"{self.base}/metrics", timeout=10) as got:  # noqa: S310
            match = re.search(rf"^{name} (\S+)$", got.read().decode(), re.MULTILINE)
        return float(match[1])

    def trail(self):
        """Return the files of its audit trail."""
        return sorted((self.folder / "audit").glob("*.ndjson"))

    @contextmanager
    def without_room(self):
        """Let no file of it grow past where the audit trail is, and a part of a line more."""
        _, most = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        here = max(file.stat().st_size for file in self.trail())
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (here + 300, most))
        try:
            yield
        finally:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (most, most))


def settings(proxy, payer, folder):
    payer.enroll(folder / "member.csv")
    return {
        **sandbox(folder),
        "AWS_ACCESS_KEY_ID": "gateway",
        "AWS_SECRET_ACCESS_KEY": SECRETS["gateway"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "CPCDS_PAYER__ID": PAYER,
        "CPCDS_ID_KEY": ID_KEY.decode(),
        "CPCDS_STORE__ENDPOINT_URL": proxy.url,
        "CPCDS_AUTH__DEMO_MEMBERS": str(folder / "member.csv"),
        "CPCDS_SERVE__TRUSTED_PROXIES": json.dumps(["127.0.0.1"]),
        "CPCDS_SERVE__RATE_LIMIT": "",
        "QUICK_SERVER": json.dumps(CONSTANTS),
        "CPCDS_SERVE__CACHE_BYTES": str(CACHE_BYTES),
    }


@contextmanager
def served(environment, folder):
    process = subprocess.Popen(
        [*COMMAND, "serve", f"s3://{BUCKET}/tree", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **environment},
    )
    # A pipe, and not a file: files may not grow at times, and a log that is lost tells nothing.
    log = []
    reading = threading.Thread(target=lambda: log.extend(process.stderr or ()))
    reading.start()
    try:
        line = process.stdout.readline().decode()
        match = re.search(r"(http://[^/ ]+)/fhir", line)
        assert match, line
        wait_until_ready(match[1])
        yield Served(match[1], process, folder, log)
    finally:
        process.kill()
        process.wait()
        reading.join(10)
        process.stdout.close()
        process.stderr.close()


def wait_until_ready(base, created=None):
    """Wait until a release is served; the one that was created then, if that is given.

    Slow answers of storage make its pointer late.
    """

    def is_ready():
        with urllib.request.urlopen(f"{base}/readyz", timeout=2) as got:  # noqa: S310
            return created in (None, json.load(got)["created"])

    until(is_ready)


def registered(environment, folder):
    metadata = folder / "app.json"
    metadata.write_text(json.dumps(METADATA))
    done = subprocess.run(
        [*COMMAND, "apps", "register", str(metadata), "--json"],
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
    )
    issued = json.loads(done.stdout)
    app = SimpleNamespace(client_id=issued["client_id"])
    return SimpleNamespace(app=app, secret=issued["client_secret"])


def nights(world):
    """Publish, roll back and prune until told to stop."""
    try:
        while not world.stop.wait(2):
            world.payer.night()
            if len(world.payer.order) % 5 == 0:
                world.payer.prune()
    except Exception as error:
        world.wrong.append(f"publishing failed: {error!r}")


def weather(world, server, proxy):
    """Change how much is broken, and look at the server's memory, for some seconds."""
    end = time.monotonic() + SECONDS
    while True:
        for name, lasts, share in PHASES:
            proxy.share = share
            with ExitStack() as stack:
                if name == NO_ROOM:
                    stack.enter_context(world.has_room)
                    stack.enter_context(server.without_room())
                world.phase = name
                if not watch(world, server, min(end, time.monotonic() + lasts), end):
                    return
        server.cached.append(server.metric("cpcds_cache_bytes"))


def watch(world, server, until, end):
    """Look at the server's memory until then; return whether it goes on after that."""
    while time.monotonic() < until:
        time.sleep(0.5)
        server.memory.append(rss(server.process.pid))
        if world.wrong:
            return False
    return time.monotonic() < end


def ending(server, payer, clients, tokens):
    """Stop the server while it is answering slowly; what it had taken on it answers."""
    answers = []

    def asked(client, name):
        status, found = client.ask("/fhir/ExplanationOfBenefit", tokens[name])
        truth = payer.truth[payer.present()][logical_id(name)]
        answers.append((status, found.get("total", -1), len(truth)))

    threads = [
        threading.Thread(target=asked, args=pair) for pair in zip(clients, tokens, strict=True)
    ]
    wait_until_ready(server.base, payer.present())
    for one in threads:
        one.start()
    time.sleep(0.35)
    server.process.send_signal(signal.SIGTERM)
    for one in threads:
        one.join(30)
    assert server.process.wait(20) == 0
    assert len(answers) == CLIENTS, "a request that was under way was dropped"
    assert all(status == 200 and total == true for status, total, true in answers), answers


@pytest.mark.slow
def test_ten_minutes_of_faults_and_releases_give_no_wrong_answer(tmp_path, capsys):
    (tmp_path / "weed").mkdir()
    with start_weed(tmp_path / "weed") as storage:
        payer = Payer(storage.store("publisher", prefix="tree"))
        payer.night()
        host, _, port = storage.endpoint_url.removeprefix("http://").partition(":")
        with proxied((host, int(port)), READ_SECONDS + 0.5) as proxy:
            environment = settings(proxy, payer, tmp_path)
            with served(environment, tmp_path) as server:
                seen, figures = soaked(server, registered(environment, tmp_path), proxy, payer)
    with capsys.disabled():
        sys.stdout.write(f"\n{report(seen, server, proxy, payer)}\n")
        sys.stdout.write(f"slow and endless requests that were cut off: {figures[2]:,}\n")
    assert set(proxy.injected) == set(KINDS)
    assert min(*figures, payer.rolled_back, len(payer.pruned)) > 0
    assert min(seen.walks, seen.reads, seen.across, seen.revoked) > 0
    assert seen.codes["audit-unavailable"] > 0
    assert seen.lost == 0, "a refresh token was lost in an outage of the server's own"
    check_bounds(seen, server)
    check_trail(seen, server, environment)
    check_log(server)
    shutil.rmtree(tmp_path / "audit")  # pytest keeps the folder, and this is large


def soaked(server, app, proxy, payer):
    """Let it all happen; return what clients saw.

    And how often reads were repeated, how often they failed, and how many requests were cut off.
    """
    world = World(server.base, app, payer, REQUEST_SECONDS, PHASES[0][0])
    leaving, staying = MEMBERS[0], MEMBERS[1:]
    with ExitStack() as stack:
        members = [
            stack.enter_context(Member(world, one + 1, staying[one::CLIENTS]))
            for one in range(CLIENTS)
        ]
        leaver = stack.enter_context(Leaver(world, CLIENTS + 1, leaving))
        last = [stack.enter_context(Client(world, 100 + one)) for one in range(CLIENTS)]
        acting = (*members, leaver)
        threads = [threading.Thread(target=one.live) for one in acting]
        threads.append(threading.Thread(target=nights, args=(world,)))
        crowd = Crowd(world)
        threads.append(threading.Thread(target=crowd.come))
        for thread in threads:
            thread.start()
        try:
            weather(world, server, proxy)
            retries = server.metric("cpcds_object_retries_total")
            failures = server.metric("cpcds_object_failures_total")
        finally:
            world.stop.set()
            for thread in threads:
                thread.join(60)
        assert world.wrong == []
        proxy.share, proxy.delay = 0.0, 0.7
        tokens = {
            name: one.launch(name)["access_token"] for one in members for name in one.names[:1]
        }
        ending(server, payer, last, tokens)
    return together(one.seen for one in (*acting, *last)), (retries, failures, crowd.closed)


def check_bounds(seen, server):
    """Hold memory and latency to their bounds."""
    warm, last = (max(part) for part in quarters(server.memory))
    assert last <= warm + GROWTH_KB, f"memory grew from {warm} to {last} KB"
    assert max(server.cached) <= CACHE_BYTES
    calm = sorted(took for phase, took in seen.seconds if phase == "calm")
    assert calm[int(len(calm) * 0.99)] < 2 * DEADLINE_SECONDS


def check_trail(seen, server, environment):
    """Every answer stands in the audit trail, once, and nothing is wrong with the trail."""
    taken_down = []
    for file in server.trail():
        with file.open("rb") as lines:
            for event in map(orjson.loads, lines):
                taken_down += [
                    one["what"]["identifier"]["value"]
                    for one in event.get("entity", ())
                    if one.get("name") == "request"
                ]
    assert len(set(taken_down)) == len(taken_down)
    missing = set(seen.answered) - set(taken_down)
    assert not missing, f"{len(missing)} answers are not in the audit trail"
    checked = subprocess.run(
        [*COMMAND, "audit", "verify"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def check_log(server):
    """Hold the log to its promises: no bug, and nothing of tokens and members."""
    log = b"".join(server.log)
    assert b'"internal-error"' not in log
    names = "|".join([*MEMBERS, *map(logical_id, MEMBERS)])
    assert not re.search(rf"eyJ|Bearer|\b(?:{names})\b".encode(), log)


def quarters(memory):
    """Return the second quarter, when all is warm, and the last."""
    quarter = max(1, len(memory) // 4)
    return memory[quarter : 2 * quarter], memory[-quarter:]


def report(seen, server, proxy, payer):
    """Return what happened, in a few lines."""
    counts = {name: count for name, count in vars(seen).items() if isinstance(count, int | Counter)}
    lines = [
        f"{SECONDS:.0f} s, {sum(seen.statuses.values()):,} requests: {counts}",
        f"{len(payer.order)} releases, {payer.rolled_back} of them rollbacks, "
        f"{len(payer.pruned)} pruned",
        f"faults: {dict(sorted(proxy.injected.items()))}, {proxy.passed:,} as they were",
    ]
    for name, _, _ in PHASES:
        taken = sorted(took for phase, took in seen.seconds if phase == name)
        if taken:
            p50, p99 = (taken[int(len(taken) * share)] * 1000 for share in (0.5, 0.99))
            lines.append(f"{name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {taken[-1]:.1f} s")
    warm, last = (max(part) / 1024 for part in quarters(server.memory))
    size = sum(file.stat().st_size for file in server.trail()) / 1024**2
    lines.append(
        f"memory: {warm:.0f} MB in the second quarter, {last:.0f} MB in the last; "
        f"cache {max(server.cached, default=0):,.0f} bytes of {CACHE_BYTES:,}; "
        f"audit trail {size:.0f} MB"
    )
    return "\n".join(lines)
