"""What a search may cost, where costly ones run, and how their time counts."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import count
from unittest.mock import Mock
from urllib.parse import parse_qsl

import pytest

from benchmarks.hostile_searches import hostile_searches
from etl.gateway.access.authentication import SECONDS_A_REQUEST, PublicAuthenticator
from etl.gateway.http import time_limits as processor_time
from etl.gateway.http.responses import FhirError
from etl.gateway.http.time_limits import LongWork, ProcessorTime
from etl.gateway.public_api import PublicService
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree
from etl.gateway.search import comparisons, evaluation
from etl.gateway.search.evaluation import DirectoryColumns, columns_of
from etl.gateway.search.parsing import parse
from etl.gateway.search.query import BUDGET
from etl.web.rate_limits import RateLimiter, TooMany
from tests.given.tables import table
from tests.unit.gateway.calls import served
from tests.unit.gateway.trees import LISTED, PLAN_NET_TYPES, bundle, grant, opened, run, sample_tree

NEAR = "_has:PractitionerRole:practitioner:location.near=42|-72|3{}"


def cost(search, *, strict=True):
    """Return the points of a search of a directory."""
    kind, _, query = search.partition("?")
    return parse(
        PLAN_NET_TYPES[kind],
        parse_qsl(query),
        kinds=PLAN_NET_TYPES,
        base="",
        strict=strict,
        now=0,
        chains=True,
    ).cost


@pytest.mark.parametrize(*table(__file__, "costs"))
def test_a_search_costs_what_its_conditions_and_references_cost(search, points):
    assert cost(search) == points <= BUDGET


@pytest.mark.parametrize(
    "search",
    [
        "Practitioner?" + "&".join(NEAR.format(one) for one in range(100)),
        "Practitioner?" + "&".join(f"name:contains={one}" for one in range(17)),
        "Practitioner?" + "&".join(["identifier:not=a"] * 22),
        "Location?near=" + ",".join(["42|-72"] * 62),
        "PractitionerRole?_sort=" + ",".join(["period", "-_lastUpdated"] * 4),
        "Organization?_include=*&_include:iterate=*"
        + "&_revinclude=".join(
            ("", "PractitionerRole:network", "Organization:partof", "Location:organization")
        )
        + "&_sort=period",
    ],
)
def test_a_search_over_the_budget_is_refused_before_any_work(listed, search, monkeypatch):
    monkeypatch.setattr(evaluation, "columns_of", None)
    got = listed.call(f"/directory/{search}".replace("|", "%7C"), token=None)
    assert (got.status, got.code) == (400, "too-costly")
    (issue,) = got.json["issue"]
    assert issue["code"] == "too-costly"
    assert f"more than {BUDGET} points" in issue["diagnostics"]


def test_parsing_stops_where_the_budget_is_spent(monkeypatch):
    near = Mock(wraps=comparisons.near)
    monkeypatch.setattr(comparisons, "near", near)
    with pytest.raises(FhirError, match="more than"):
        cost("Practitioner?" + "&".join(NEAR.format(one) for one in range(100)))
    assert near.call_count == 5


class CountedColumns(DirectoryColumns):
    """Columns that count what is looked at: values and rows of each column, and keys."""

    looked_at = 0

    def column(self, kind, parameter):
        for column in super().column(kind, parameter):
            self.looked_at += len(column.column.values) + len(column.column.rows)
            yield column

    def keys(self, kind):
        for keys in super().keys(kind):
            self.looked_at += len(keys)
            yield keys


@pytest.mark.parametrize("many", [60, pytest.param(2_000, marks=pytest.mark.slow)])
def test_an_accepted_search_looks_at_no_more_than_its_points_allow(many, monkeypatch):
    service = opened(None, listed=sample_tree(LISTED)).service
    assert isinstance(service, PublicService)
    looks: list[CountedColumns] = []

    async def counted(*arguments):
        columns = await columns_of(*arguments)
        looks.append(CountedColumns(columns._segments, columns._columns))
        return looks[-1]

    monkeypatch.setattr(evaluation, "columns_of", counted)
    monkeypatch.setattr(service._cache, "peek", lambda _: None)
    tree = service._releases.current()
    accepted = 0
    for search in hostile_searches(many, many):
        kind, _, query = search.partition("?")
        looks.clear()
        try:
            run(service.search(grant(""), kind, parse_qsl(query), base="", strict=False))
        except FhirError:
            continue
        accepted += 1
        points = cost(search, strict=False)
        assert points <= BUDGET
        assert sum(one.looked_at for one in looks) <= points * tree.resources
    assert accepted > many // 3


def test_an_include_parses_sections_of_the_types_found_in_a_shard_and_no_others(monkeypatch):
    service = opened(None, listed=sample_tree(LISTED)).service
    parsed: dict[IndexedBlock, set[str]] = {}
    need = ReleaseTree.need

    async def counted(tree, block, names):
        columns = (name.split("/")[1] for name in block.index.missing(*names) if "/" in name)
        parsed.setdefault(block, set()).update(columns)
        await need(tree, block, names)

    monkeypatch.setattr(ReleaseTree, "need", counted)
    query = [("_include", "*"), ("_include:iterate", "*"), ("_count", "3")]
    types = tuple(f"patient/{name}.rs" for name in PLAN_NET_TYPES)
    answer = run(service.search(grant("", types), "PractitionerRole", query, base="", strict=True))
    entries = [entry["resource"] for entry in bundle(answer)["entry"]]
    for block, types in parsed.items():
        there = {
            entry["resourceType"]
            for entry in entries
            if block.index.row_of(entry["resourceType"], entry["id"]) is not None
        }
        assert types <= there
    assert set().union(*parsed.values()) > {"PractitionerRole", "Location"}


def test_long_work_leaves_the_event_loop_and_short_work_does_not():
    long_work = LongWork()

    async def threads():
        sizes = (processor_time.LARGEST_ON_LOOP, processor_time.LARGEST_ON_LOOP + 1)
        return [await long_work.run(size, threading.get_ident) for size in sizes]

    short, long = run(threads())
    assert short == threading.get_ident() != long


def test_processor_time_is_that_of_the_steps_and_of_long_work_and_not_of_waiting(monkeypatch):
    clocks: dict[int, Iterator[int]] = {}

    def clock():
        """A second passes within each step of each thread."""
        return next(clocks.setdefault(threading.get_ident(), count()))

    monkeypatch.setattr(ProcessorTime.__init__, "__defaults__", (clock,))
    spent = ProcessorTime()

    async def request():
        await asyncio.sleep(0)
        return await LongWork().run(processor_time.LARGEST_ON_LOOP + 1, lambda: "done")

    async def measured():
        return await spent.measure(request())

    assert run(measured()) == "done"
    assert spent.seconds == 4  # three steps in the event loop, one in the thread


def test_a_failure_and_a_cancellation_reach_what_is_measured():
    seen = []

    async def request():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise ValueError from None

    async def cancelled():
        task = asyncio.ensure_future(ProcessorTime().measure(request()))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(ValueError):  # noqa: PT011 - the one above
        run(cancelled())
    assert seen == ["cancelled"]


def test_ten_milliseconds_count_as_one_more_request_of_the_address():
    everybody = PublicAuthenticator((), RateLimiter({"member": "5/minute"}, lambda: 0.0))
    everybody.count_refused("192.0.2.1")
    everybody.count_time("192.0.2.1", 0.9 * SECONDS_A_REQUEST)
    everybody.count_time("192.0.2.1", 3.5 * SECONDS_A_REQUEST)
    everybody.count_refused("192.0.2.1")
    with pytest.raises(TooMany):
        everybody.count_refused("192.0.2.1")
    everybody.count_refused("192.0.2.2")


def test_the_time_of_a_directory_search_counts_in_the_limit_of_its_address(monkeypatch):
    monkeypatch.setattr(ProcessorTime, "run", _slow_run)
    listed = served(opened(sample_tree(), listed=sample_tree(LISTED)), rate_limit="20/minute")
    statuses = [listed.call("/directory/Location", token=None).status for _ in range(4)]
    assert statuses == [200, 429, 429, 429]
    assert listed.call("/fhir/Patient").status == 200


def _slow_run(spent, work):
    spent.seconds += 20 * SECONDS_A_REQUEST
    return work()
