"""A directory of the payer at `/directory`: a target of its own, open to everybody."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from etl.errors import StoreError
from etl.gateway.plan_net import PLAN_NET_TYPES
from tests.unit.gateway.calls import Server, bearer, served
from tests.unit.gateway.trees import LISTED, directory, ids, opened, run, sample_tree


@pytest.fixture(scope="module")
def server() -> Server:
    """The samples' claims and directory, served by one process."""
    return served(opened(sample_tree(), listed=sample_tree(LISTED)))


@pytest.mark.parametrize("kind", sorted(PLAN_NET_TYPES))
def test_every_resource_is_read_and_listed(server: Server, kind: str) -> None:
    wanted = {name: one for name, one in directory(LISTED).items() if name.startswith(f"{kind}/")}
    assert wanted
    for name, resource in wanted.items():
        got = server.call(f"/directory/{name}", token=None)
        assert (got.status, got.json) == (200, resource)
    found, url = set(), f"/directory/{kind}?_count=50"
    while url:
        page = server.call(url, token=None).json
        assert page["total"] == len(wanted)
        found.update(ids(page))
        links = {link["relation"]: link["url"] for link in page["link"]}
        url = links.get("next", "").removeprefix("https://payer.example")
    assert found == wanted.keys()


def test_a_token_is_neither_needed_nor_refused(server: Server) -> None:
    plain = server.call("/directory/Location", token=None)
    sent = server.call("/directory/Location", bearer("of-nobody"), token=None)
    assert (sent.status, sent.body, sent.headers["etag"]) == (
        200,
        plain.body,
        plain.headers["etag"],
    )
    assert "authorization" not in plain.headers["vary"]
    assert plain.headers["cache-control"].startswith("public")
    assert server.call("/fhir/Location", token=None).status == 401


def test_the_statement_says_which_directory_it_is(server: Server) -> None:
    listed = server.call("/directory/metadata", token=None).json
    named = served(opened(sample_tree())).call("/directory/metadata", token=None).json
    base = "http://hl7.org/fhir/us/davinci-pdex-plan-net"
    assert listed["instantiates"] == [f"{base}/CapabilityStatement/plan-net"]
    assert {one["type"] for one in listed["rest"][0]["resource"]} == set(PLAN_NET_TYPES)
    assert "instantiates" not in named
    assert "providers that claims name" in named["rest"][0]["documentation"]


def test_what_was_served_stays_while_the_pointer_cannot_be_read(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    copytree(sample_tree(LISTED), tree)
    made = opened(sample_tree(), listed=tree)
    server = served(made)
    first = server.call("/directory/Practitioner?_count=1", token=None).json
    (link,) = (link["url"] for link in first["link"] if link["relation"] == "next")
    (tree / "current.json").write_bytes(b"{}")
    with pytest.raises(StoreError, match="current"):
        run(made.directory_releases.refresh())
    again = server.call(link.removeprefix("https://payer.example"), token=None).json
    assert again["total"] == first["total"]
    assert set(ids(again)).isdisjoint(ids(first))
