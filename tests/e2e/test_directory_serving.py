"""`cpcds serve` with a provider directory: one process, two targets, nights under way."""

import json
from typing import Any

import pytest

from etl.publish.canonical_json import sha256
from tests.e2e.commands import cpcds, done
from tests.e2e.test_serving import running
from tests.unit.gateway.trees import sample_tree
from tests.waiting import until

Json = dict[str, Any]


def point_to(target, release):
    """Make a release the one that readers see, as a rollback to it would."""
    key = f"releases/{release}/manifest.json"
    pointer = {"manifest": key, "release": release, "sha256": sha256((target / key).read_bytes())}
    (target / "current.next").write_text(json.dumps(pointer), "utf-8")
    (target / "current.next").replace(target / "current.json")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A directory of two nights, and its releases."""
    folder = tmp_path_factory.mktemp("directory")
    releases = []
    for day in ("0", "1"):
        extract = folder / f"day{day}"
        synth = ("synth", "--directory", "--practitioners", "12", "--seed", "5", "--day", day)
        done(cpcds(*synth, "--out", extract))
        limits = {"CPCDS_LIMITS__RETRACTED_RESOURCES": "1"}
        done(cpcds("run", extract, "--to", folder / "target", **limits))
        pointer = json.loads((folder / "target" / "current.json").read_text("utf-8"))
        releases.append(str(pointer["release"]))
    return folder / "target", releases


@pytest.fixture
def server(target, tmp_path):
    tree, (first, _) = target
    point_to(tree, first)
    with running(sample_tree(), tmp_path, "--directory", str(tree)) as server:
        yield server


def links(page):
    return {link["relation"]: link["url"] for link in page["link"]}


def test_page_links_survive_a_publish_and_new_searches_see_it(server, target):
    tree, (_, second) = target
    search = "/directory/PractitionerRole?practitioner.name:missing=false&_count=2"
    whole = server.json(search.replace("_count=2", "_count=100"), None)
    _, headers, body = server.get(search, None)
    page, tag = json.loads(body), headers["etag"]
    point_to(tree, second)
    until(lambda: server.json("/readyz", None)["directory"] == second)
    # By the tag: two releases may be stamped in one second.
    assert server.get(search, None)[1]["etag"] != tag
    seen = [entry["resource"] for entry in page["entry"]]
    while "next" in links(page):
        page = server.json(links(page)["next"].removeprefix(server.base), None)
        seen += [entry["resource"] for entry in page["entry"]]
    assert seen == [entry["resource"] for entry in whole["entry"]]


def test_one_process_serves_claims_with_a_token_and_a_directory_without(server):
    assert "at" in server.greeting[0]
    assert server.greeting[0].count("http://") == 2
    assert server.get("/fhir/Coverage", None)[0] == 401
    status, headers, body = server.get("/directory/Organization?type=ntwk", "token-of-nobody")
    assert (status, headers["cache-control"]) == (200, "public, max-age=60")
    assert {one["resource"]["resourceType"] for one in json.loads(body)["entry"]} == {
        "Organization"
    }


@pytest.mark.slow
def test_a_directory_alone_needs_no_claims(target, tmp_path):
    tree, (first, _) = target
    point_to(tree, first)
    with running(tree, tmp_path) as server:
        assert "mode: public" in "".join(server.greeting)
        assert server.json("/readyz", None)["release"] == first
        assert server.get("/directory/Practitioner", None)[0] == 200
        assert server.get("/fhir/metadata", None)[0] == 404
