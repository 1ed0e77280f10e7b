"""A directory is searched in every way that the guide has, and a strict client reads all of it.

What such searches find is held to an oracle (`property/gateway/test_directory_against_oracle.py`,
`unit/gateway/test_directory_target.py`); that must-support elements are there and references lead
somewhere is proved where directories are published.
"""

import json
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import httpx2
import pytest

from conformance.engine import UnavailableError, compiled
from tests.e2e.commands import SAMPLES, cpcds, done
from tests.e2e.test_serving import running
from tests.given.tables import read_tables
from tests.unit.gateway.calls import served
from tests.unit.gateway.trees import LISTED, opened, sample_tree

GUIDE = read_tables(Path(__file__).with_name("plan_net.toml"))
STRUCTURES = "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/plannet-"


@cache
def ask(path):
    """Return the answer of a directory that ignores no parameter."""
    server = _server()
    return server.call(f"/directory/{path}", (b"prefer", b"handling=strict"), token=None)


@cache
def _server():
    return served(opened(sample_tree(), listed=sample_tree(LISTED)))


def searches(group):
    """Yield every search of a group, as a type and a query."""
    type_ = group["type"]
    for name in group["searches"].split():
        yield f"{type_}?{name}={'2026' if name == '_lastUpdated' else 'x'}"
    for name in group.get("includes", "").split():
        yield f"{type_}?_include={type_}:{name}"
    for path in group.get("reverse_includes", "").split():
        yield f"{type_}?_revinclude={path}"
    for name, chained in group.get("chains", {}).items():
        yield from (f"{type_}?{name}.{chain}=x" for chain in chained.split())
    for path, names in group.get("reverse_chains", {}).items():
        yield from (f"{type_}?_has:{path}:{name}=x" for name in names.split())


@pytest.mark.parametrize("group", GUIDE["groups"], ids=lambda group: group["name"])
def test_every_search_of_the_guide_is_stated_and_answered(group):
    resources = ask("metadata").json["rest"][0]["resource"]
    (stated,) = [one for one in resources if one["type"] == group["type"]]
    assert {*group["searches"].split()} <= {one["name"] for one in stated["searchParam"]}
    includes = {f"{group['type']}:{name}" for name in group.get("includes", "").split()}
    assert includes <= {*stated.get("searchInclude", ())}
    assert {*group.get("reverse_includes", "").split()} <= {*stated.get("searchRevInclude", ())}
    asked = [*searches(group)]
    assert [one for one in asked if ask(one).status != 200] == []
    assert ask(f"{asked[0]}&name.nothing=x").status == 400


def test_every_profile_is_stated():
    resources = ask("metadata").json["rest"][0]["resource"]
    named = {url.partition("|")[0] for one in resources for url in one.get("supportedProfile", ())}
    assert {f"{STRUCTURES}{name}" for name in GUIDE["profiles"]} <= named


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.2.0", "1.1.0"])
def test_hapis_strict_client_reads_every_resource(tmp_path, version):
    """From `cpcds serve` in a process of its own, with claims at its other base."""
    try:
        java = compiled()
    except UnavailableError as error:
        pytest.skip(f"HAPI's client is not there: {error}")
    target, view = tmp_path / "directory", {"CPCDS_PUBLISH__PLAN_NET": version}
    done(cpcds("run", SAMPLES / "directory", "--to", target, "--workers", "1", **view))
    settings = {"CPCDS_SERVE__DIRECTORY": str(target), "CPCDS_SERVE__RATE_LIMIT": ""}
    with running(sample_tree(), tmp_path, **settings) as server, httpx2.Client() as client:
        base = f"{server.base}/directory"
        ran = subprocess.run(
            [*java, "bluebutton.Reader", base], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        assert {one["type"]: one["differ"] for one in found if one["differ"]} == {}
        read = Counter({one["type"]: one["read"] for one in found})
        totals = {
            name: client.get(f"{base}/{name}?_summary=count").json()["total"] for name in read
        }
    assert len(read) == 8
    assert min(totals.values()) > 0
    assert read == totals
