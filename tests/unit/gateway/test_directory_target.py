"""A directory of the payer at `/directory`: a target of its own, open to everybody."""

from shutil import copytree
from urllib.parse import quote

import pytest

from etl.errors import StoreError
from etl.gateway.supported_fhir import answerable
from etl.model.data_models import DIRECTORY
from tests.given.tables import table
from tests.unit.gateway.calls import bearer, served
from tests.unit.gateway.plan_net_oracle import REFERENCES, values_at
from tests.unit.gateway.trees import (
    LISTED,
    PLAN_NET_TYPES,
    TEXTS,
    directory,
    ids,
    opened,
    run,
    sample_tree,
)


def test_a_token_is_neither_needed_nor_refused(listed):
    plain = listed.call("/directory/Location", token=None)
    sent = listed.call("/directory/Location", bearer("of-nobody"), token=None)
    assert (sent.status, sent.body, sent.headers["etag"]) == (
        200,
        plain.body,
        plain.headers["etag"],
    )
    assert "authorization" not in plain.headers["vary"]
    assert plain.headers["cache-control"].startswith("public")
    assert listed.call("/fhir/Location", token=None).status == 401


def test_what_was_served_stays_while_the_pointer_cannot_be_read(tmp_path):
    tree = tmp_path / "tree"
    copytree(sample_tree(LISTED), tree)
    made = opened(sample_tree(), listed=tree)
    listed = served(made)
    first = listed.call("/directory/Practitioner?_count=1", token=None).json
    (link,) = (link["url"] for link in first["link"] if link["relation"] == "next")
    (tree / "current.json").write_bytes(b"{}")
    with pytest.raises(StoreError, match="current"):
        run(made.serving(DIRECTORY).releases.refresh())
    again = listed.call(link.removeprefix("https://payer.example"), token=None).json
    assert again["total"] == first["total"]
    assert set(ids(again)).isdisjoint(ids(first))


def found(listed, query, *headers):
    return listed.call(f"/directory/{query}", *headers, token=None)


def test_a_match_that_refers_to_a_match_is_not_repeated_as_an_include(listed):
    page = found(listed, "Organization?_count=200&_revinclude=Organization:partof").json
    assert len(ids(page)) == page["total"]
    assert ids(page, "include") == []
    parts = {
        name
        for name, one in directory(LISTED).items()
        if name.startswith("Organization/") and "partOf" in one
    }
    wholes = {directory(LISTED)[name]["partOf"]["reference"] for name in parts}
    some = ",".join(sorted(wholes))
    page = found(listed, f"Organization?_id={some}&_revinclude=Organization:partof").json
    assert set(ids(page)) == wholes
    assert set(ids(page, "include")) == parts - wholes != set()


@pytest.mark.parametrize("kind", sorted(PLAN_NET_TYPES))
def test_every_include_brings_what_is_referred_to_and_every_reverse_one_what_refers(listed, kind):
    (rest,) = listed.call("/directory/metadata", token=None).json["rest"]
    (stated,) = (one for one in rest["resource"] if one["type"] == kind)
    own = {name for name in directory(LISTED) if name.startswith(f"{kind}/")}
    for code in stated.get("searchInclude", []):
        parameter = code.partition(":")[2]
        if parameter != "*":
            some = dict(list(references_of(kind, parameter).items())[:3])
            page = found(listed, f"{kind}?_id={','.join(some)}&_include={code}").json
            wanted = set().union(*some.values()) - some.keys()
            assert sorted(ids(page, "include")) == sorted(wanted)
    for code in stated.get("searchRevInclude", []):
        referring = references_of(*code.split(":"))
        some = sorted({name for names in referring.values() for name in names & own})[:3]
        page = found(listed, f"{kind}?_id={','.join(some)}&_revinclude={code}").json
        wanted = {name for name, names in referring.items() if names & set(some)}
        assert sorted(ids(page, "include")) == sorted(wanted - set(some))


def references_of(kind, parameter):
    """Return what each resource of a type refers to by a search parameter."""
    path, _ = REFERENCES[kind][parameter]
    return {
        name: set(values_at(one, f"{path}.reference"))
        for name, one in directory(LISTED).items()
        if name.startswith(f"{kind}/") and values_at(one, f"{path}.reference")
    }


@pytest.mark.parametrize(*table(__file__, "refused"))
def test_what_cannot_be_followed_is_refused(listed, query, status, sentence):
    got = found(listed, query.replace("|", "%7C"), (b"prefer", b"handling=strict"))
    assert got.status == status
    assert sentence in got.json["issue"][0]["diagnostics"]


@pytest.mark.parametrize(*table(__file__, "typed_identifiers"))
def test_a_plan_is_found_by_its_key_and_the_type_of_that(listed, value, plans):
    query = f"identifier:of-type={quote(value)}"
    page = found(listed, f"InsurancePlan?{query}").json
    everything = directory(LISTED)
    assert sorted(everything[one]["identifier"][0]["value"] for one in ids(page)) == plans
    owners = found(listed, f"Organization?_has:InsurancePlan:owned-by:{query}").json
    assert set(ids(owners)) == {everything[one]["ownedBy"]["reference"] for one in ids(page)}


@pytest.mark.parametrize(*table(__file__, "texts"))
def test_texts_that_mappings_write_are_searched_from_their_beginning(query, words):
    listed = served(opened(sample_tree(), listed=sample_tree(LISTED, *TEXTS)))
    page = found(listed, f"PractitionerRole?{quote(query, '=')}&_count=200").json
    everything = directory(LISTED, *TEXTS)
    wanted = {
        name
        for name, one in everything.items()
        if name.startswith("PractitionerRole/")
        and set(words) & set(values_at(one, "specialty.coding.display"))
    }
    assert bool(wanted) is bool(words)
    assert set(ids(page)) == wanted


def test_modifiers_go_with_the_columns_of_a_release():
    kind = PLAN_NET_TYPES["InsurancePlan"]

    def modifiers(*columns):
        return (
            answerable(kind, frozenset({*columns, "identifier"}), "")
            .parameters["identifier"]
            .modifiers
        )

    assert modifiers() == ("missing", "not")
    assert modifiers("identifier:of-type") == ("missing", "not", "of-type")


def test_a_page_and_a_version_may_be_kept_for_good(listed):
    page = found(listed, "Location?_count=1")
    (link,) = [one["url"] for one in page.json["link"] if one["relation"] == "next"]
    name = ids(page.json)[0]
    version = directory(LISTED)[name]["meta"]["versionId"]
    for path in (link.rpartition("/directory/")[2], f"{name}/_history/{version}"):
        got = found(listed, path)
        assert (got.status, "immutable" in got.headers["cache-control"]) == (200, True)
        again = found(listed, path, (b"if-none-match", got.headers["etag"].encode()))
        assert again.status == 304
    assert "immutable" not in page.headers["cache-control"]


@pytest.mark.parametrize("kind", sorted(PLAN_NET_TYPES))
def test_parts_and_totals_of_an_answer(listed, kind):
    total = sum(name.startswith(f"{kind}/") for name in directory(LISTED))
    assert found(listed, f"{kind}?_summary=count").json["total"] == total
    assert "total" not in found(listed, f"{kind}?_total=none&_count=1").json
    (entry,) = found(listed, f"{kind}?_elements=identifier&_count=1").json["entry"]
    assert {"resourceType", "id", "meta"} <= entry["resource"].keys()
    (entry,) = found(listed, f"{kind}?_summary=true&_count=1").json["entry"]
    assert "extension" not in entry["resource"]
    stamps = [
        one["resource"]["meta"]["lastUpdated"]
        for one in found(listed, f"{kind}?_sort=-_lastUpdated&_count=100").json["entry"]
    ]
    assert stamps == sorted(stamps, reverse=True)
