"""A provider directory under attack: the slowest of 2,000 searches, and how long others wait.

    python -m benchmarks.hostile_searches [--practitioners 6500] [--directory FOLDER]
        [--searches 2000]

Hostile searches are of all parameters, modifiers and references, up to a hundred conditions each.
Then six clients send the slowest ones without pause, and `/healthz` is asked beside them.
"""

from __future__ import annotations

import argparse
import http.client
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.parse import quote

from benchmarks.directory_searches import published_directory, resource_counts
from benchmarks.gateway_serving import Server, served
from etl.gateway.http.responses import FhirError
from etl.gateway.search.parsing import parse
from etl.gateway.supported_fhir import COLUMN_MODIFIERS, ResourceType, api_of, revincludes
from etl.model.data_models import DIRECTORY

CLIENTS = 6
PROBES = 500
PLAN_NET_TYPES = api_of(DIRECTORY).types

_VALUES = {
    "date": ("2024", "ge2000", "lt2030-01-01", "ne2021-05", "ap2022"),
    "token": ("207N00000X", "active", "http://hl7.org/fhir/sid/us-npi|1", "|x", "x|"),
    "reference": ("Organization/none", "none"),
    "string": ("a", "e", "Street", "1"),
    "special": ("42|-72|30|km", "0|0|30000|km", "-40.5|170"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile_searches")
    parser.add_argument("--practitioners", type=int, default=6_500)
    parser.add_argument("--directory", type=Path, help="a tree of such a directory")
    parser.add_argument("--searches", type=int, default=2_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile-bench-") as name:
        folder = Path(name)
        tree = given.directory or published_directory(folder, given.practitioners)
        print(resource_counts(tree))
        searches = hostile_searches(1, given.searches)
        variables = {"CPCDS_SERVE__RATE_LIMIT": "1000000000/minute"}
        with served(str(tree), folder, 1, variables) as server:
            _measure(server, searches)  # fills the caches
            slowest = _measure(server, searches)
            probes = min(PROBES, given.searches)
            _probe(server, [], probes)
            _probe(server, slowest, probes)


def hostile_searches(seed: int, count: int) -> list[str]:
    """Return hostile searches; half of them are made to stay within the budget."""
    chosen = random.Random(seed)  # noqa: S311 - the same searches each time
    return [_hostile_search(chosen) for _ in range(count)]


def _hostile_search(chosen: random.Random) -> str:
    kind = chosen.choice(list(PLAN_NET_TYPES.values()))
    repeated = _parameter(chosen, kind) if chosen.random() < 0.5 else None
    pairs = []
    for _ in range(chosen.choice((1, 2, 5, 10, 30, 100))):
        name, value_type = repeated or _parameter(chosen, kind)
        values = chosen.choices(_VALUES[value_type], k=chosen.choice((1, 1, 1, 3, 20)))
        pairs.append((name, "true" if name.endswith(":missing") else ",".join(values)))
    for name, choices in (
        ("_include", [f"{kind.name}:{include.name}" for include in kind.includes]),
        ("_include:iterate", ["*", "PractitionerRole:practitioner"]),
        ("_revinclude", revincludes(kind, PLAN_NET_TYPES.values())),
        ("_sort", ["_lastUpdated", "-_lastUpdated"]),
        ("_count", ["0", "10", "100"]),
        ("_elements", ["id", "name,meta"]),
    ):
        if choices and chosen.random() < 0.3:
            pairs.append((name, chosen.choice(choices)))
    if chosen.random() < 0.5:
        while len(pairs) > 1 and not _is_accepted(kind, pairs):
            del pairs[: max(1, len(pairs) // 10)]
    return f"{kind.name}?" + "&".join(f"{name}={quote(value)}" for name, value in pairs)


def _parameter(chosen: random.Random, kind: ResourceType) -> tuple[str, str]:
    """Return a parameter, behind up to four references, and the type of its values."""
    steps = ""
    for _ in range(chosen.choice((0, 0, 1, 1, 2, 3, 4))):
        onward = [one for one in kind.parameters.values() if one.targets]
        back = revincludes(kind, PLAN_NET_TYPES.values())
        if back and (chosen.random() < 0.5 or not onward):
            code = chosen.choice(back)
            kind = PLAN_NET_TYPES[code.partition(":")[0]]
            steps += f"_has:{code}:"
        elif onward:
            reference = chosen.choice(onward)
            kind = PLAN_NET_TYPES[reference.targets[0]]
            steps += f"{reference.name}."
    parameter = chosen.choice(list(kind.parameters.values()))
    modifiers = [""] + [f":{one}" for one in parameter.modifiers if one not in COLUMN_MODIFIERS]
    return steps + parameter.name + chosen.choice(modifiers), parameter.type


def _is_accepted(kind: ResourceType, pairs: Sequence[tuple[str, str]]) -> bool:
    try:
        parse(kind, pairs, kinds=PLAN_NET_TYPES, base="", strict=False, now=0, chains=True)
    except FhirError:
        return False
    return True


def _measure(server: Server, searches: Sequence[str]) -> list[str]:
    """Print how long searches take one after the other; return the slowest."""
    before = server.processor()
    took = []
    statuses: Counter[int] = Counter()
    connection = _connection(server)
    for search in searches:
        seconds, status = _get(connection, f"/directory/{search}")
        statuses[status] += 1
        took.append((seconds * 1000, search))
    took.sort(reverse=True)
    processor = (server.processor() - before) / len(searches) * 1000
    print(
        f"{len(searches)} searches, {dict(statuses)}: slowest {took[0][0]:.0f} ms, "
        f"p99 {took[len(took) // 100][0]:.0f} ms, processor {processor:.1f} ms a search"
    )
    return [search for _, search in took[:CLIENTS]]


def _probe(server: Server, searches: Sequence[str], probes: int) -> None:
    """Print how long `/healthz` takes beside clients that each repeat a search."""
    ended = Event()

    def repeat(search: str) -> int:
        connection, count = _connection(server), 0
        while not ended.is_set():
            _get(connection, f"/directory/{search}")
            count += 1
        return count

    with ThreadPoolExecutor(max(1, len(searches))) as pool:
        clients = [pool.submit(repeat, search) for search in searches]
        connection, took = _connection(server), []
        for _ in range(probes):
            took.append(_get(connection, "/healthz")[0] * 1000)
            time.sleep(0.01)
        ended.set()
        answered = sum(client.result() for client in clients)
    took.sort()
    p50, p99 = took[probes // 2], took[probes * 99 // 100]
    print(
        f"/healthz beside {len(searches)} clients ({answered} answers): p50 {p50:.1f} ms, "
        f"p99 {p99:.1f} ms, worst {took[-1]:.1f} ms"
    )


def _connection(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=60)


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[float, int]:
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return time.perf_counter() - began, answer.status


if __name__ == "__main__":
    main()
