"""The tester of Plan-Net servers passes a right one, and finds what is wrong with others."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.conformance.plan_net_client import ROLE, CheckResult, PlanNetTester
from tests.conformance.plan_net_elements import Json
from tests.conformance.plan_net_server import BASE, FAULTS, PlainServer
from tests.e2e.commands import SAMPLES, cpcds, done

INFERNO: dict[str, str] = {
    "gather": "gather",
    "read": "read",
    "search": "search",
    "_include": "include",
    "_revinclude": "reverse include",
    "chain": "chain",
    "profile": "profile",
    "must": "must support",
    "references": "references",
}
COUNTS = {
    "gather": 9,
    "read": 9,
    "search": 73 + 2,  # two by several parameters
    "include": 29,
    "reverse include": 15,
    "chain": 74 + 10,  # forward and reverse
    "profile": 9,
    "must support": 9,
    "references": 9,
}
"""Number of tests in Inferno's report, but for those of the capability statement."""
FAMILY = '"207Q00000X", "display": "Family Medicine"'
OURS = ("search by POST", "page by page", "modifier")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """The directory of the samples."""
    folder = tmp_path_factory.mktemp("plan-net")
    done(cpcds("convert", SAMPLES / "directory", "--out", folder))
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.ndjson"))
        for line in path.read_bytes().splitlines()
    ]


def results_of(resources: list[Json], fault: str = "") -> list[CheckResult]:
    with PlainServer(resources, fault).client() as client:
        return list(PlanNetTester(BASE, client, "1.2.0").results())


def test_a_right_server_with_the_samples_passes_all_that_is_not_optional(
    resources: list[Json],
) -> None:
    results = results_of(resources)
    assert len(results) > 250
    assert [str(one) for one in results if one.outcome != "pass" and not one.is_optional] == []


def test_there_are_as_many_checks_of_a_kind_as_inferno_has(resources: list[Json]) -> None:
    results = [one for one in results_of(resources)[6:] if not one.what.startswith(OURS)]
    assert Counter(INFERNO[one.what.split()[0]] for one in results) == COUNTS
    optional = [one.what for one in results if one.is_optional and one.what.startswith("search")]
    assert len(optional) == 11


@pytest.mark.parametrize("fault", ["", "modifiers that are ignored"])
def test_modifiers_are_looked_at_where_there_are_values(resources: list[Json], fault: str) -> None:
    with_texts = json.loads(json.dumps(resources).replace('"207Q00000X"', FAMILY))
    results = {one.what: one for one in results_of(with_texts, fault) if one.group == ROLE}
    assert results["modifier role:text"].outcome == "skip"
    assert results["modifier specialty:text"].is_optional
    assert results["modifier specialty:text"].outcome == ("fail" if fault else "pass")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_server_is_found(resources: list[Json], fault: str) -> None:
    found = [one for one in results_of(resources, fault) if one.outcome != "pass"]
    is_optional = fault == "modifiers that are ignored"
    assert any(
        one.what.startswith(FAULTS[fault]) and one.is_optional is is_optional for one in found
    ), found
