"""A served directory of the samples, looked at from outside: all checks, and a strict reader."""

import json
import subprocess
from collections import Counter
from dataclasses import dataclass

import httpx2
import pytest

from conformance.engine import UnavailableError, compiled
from tests.conformance.plan_net_client import PlanNetTester
from tests.e2e.commands import SAMPLES, cpcds, done
from tests.e2e.test_serving import running
from tests.unit.gateway.trees import sample_tree

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class ServedDirectory:
    """FHIR base URL of a served directory, and the version of the guide that it claims."""

    base: str
    version: str


@pytest.fixture(scope="module", params=["1.2.0", "1.1.0"])
def served(request, tmp_path_factory):
    """`cpcds serve` in a process of its own, with claims at its other base."""
    folder = tmp_path_factory.mktemp("served")
    target = folder / "directory"
    version: str = request.param
    view = {"CPCDS_PUBLISH__PLAN_NET": version}
    done(cpcds("run", SAMPLES / "directory", "--to", target, "--workers", "1", **view))
    settings = {"CPCDS_SERVE__DIRECTORY": str(target), "CPCDS_SERVE__RATE_LIMIT": ""}
    with running(sample_tree(), folder, **settings) as server:
        yield ServedDirectory(f"{server.base}/directory", version)


def test_every_check_that_is_not_optional_passes(served):
    with httpx2.Client(timeout=30) as client:
        results = list(PlanNetTester(served.base, client, served.version).results())
    assert len(results) > 250
    assert [str(one) for one in results if one.outcome != "pass" and not one.is_optional] == []
    modifiers = {one.what: one for one in results if one.what.startswith("modifier")}
    assert modifiers["modifier identifier:of-type"].outcome == "pass"
    # The shipped mappings give concepts codes and no texts.
    assert {one.outcome for one in modifiers.values()} == {"pass", "skip"}


def test_hapis_strict_client_reads_every_resource(served):
    try:
        java = compiled()
    except UnavailableError as error:
        pytest.skip(f"HAPI's client is not there: {error}")
    ran = subprocess.run(
        [*java, "bluebutton.Reader", served.base], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {one["type"]: one["differ"] for one in found if one["differ"]} == {}
    read = Counter({one["type"]: one["read"] for one in found})
    with httpx2.Client(base_url=served.base) as client:
        totals = {
            name: client.get(f"{served.base}/{name}?_summary=count").json()["total"]
            for name in read
        }
    assert len(read) == 8
    assert min(totals.values()) > 0
    assert read == totals
