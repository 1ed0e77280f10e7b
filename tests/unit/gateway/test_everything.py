"""`Patient/[id]/$everything`."""

import pytest

from etl.gateway.http.responses import FhirError
from etl.publish.block import PatientResources
from tests.given.tables import table
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import (
    ALL,
    BASE,
    busiest,
    directory,
    grant,
    ids,
    members,
    opened,
    walk,
)
from tests.unit.publish.samples import logical_id, publish, resource

EOB = "ExplanationOfBenefit"


def everything(service, query="", *, who="", scopes=ALL):
    """Return all pages."""
    who = who or busiest()
    pairs = [one.partition("=")[::2] for one in query.split("&") if one]
    caller = grant(who, scopes)
    return list(walk(service, caller, service.everything(caller, who, pairs, base=BASE)))


def named(resources):
    return [f"{one['resourceType']}/{one['id']}" for one in resources]


def own(pages):
    return [one for page in pages for one in ids(page)]


@pytest.mark.parametrize("count", ["", "_count=7", "_count=1000"])
def test_it_is_the_whole_block_each_resource_once_and_what_that_refers_to(service, count):
    pages = everything(service, count)
    assert own(pages) == named(members()[busiest()])
    text = repr(members()[busiest()])
    included = {one for page in pages for one in ids(page, "include")}
    assert included == {name for name in directory() if f"'{name}'" in text}
    for page in pages:
        assert len(ids(page, "include")) == len(set(ids(page, "include")))


def test_dates_of_care_choose_among_claims(service):
    claims = [one for one in members()[busiest()] if one["resourceType"] == EOB]
    year = claims[len(claims) // 2]["billablePeriod"]["start"][:4]
    pages = everything(service, f"start={year}&end={year}&_type={EOB},Patient,Coverage")
    found = own(pages)
    chosen = {one for one in found if one.startswith(EOB)}
    assert {one for one in found if not one.startswith(EOB)} == {
        name for name in named(members()[busiest()]) if not name.startswith(EOB)
    }
    inside = {f"{EOB}/{one['id']}" for one in claims if one["billablePeriod"]["start"][:4] == year}
    assert inside <= chosen
    assert 0 < len(chosen) < len(claims)


def test_types_choose_what_comes(service):
    coverages = [one for one in named(members()[busiest()]) if one.startswith("Coverage/")]
    pages = everything(service, "_type=Coverage")
    assert own(pages) == coverages
    assert all(ids(page, "include") == [] for page in pages)
    pages = everything(service, "_type=Organization")
    assert own(pages) == []
    text = repr(members()[busiest()])
    assert {one for page in pages for one in ids(page, "include")} == {
        name for name in directory() if f"'{name}'" in text and name.startswith("Organization/")
    }


def test_types_outside_the_scopes_are_left_out_and_told(service):
    scopes = ("patient/Patient.r", "patient/Coverage.r")
    (page,) = everything(service, scopes=scopes)
    assert {one.partition("/")[0] for one in ids(page)} == {"Patient", "Coverage"}
    assert ids(page, "include") == []
    told = repr(page["entry"][-1])
    assert f"patient/{EOB}.r" in told
    assert "patient/Organization.r" in told


@pytest.mark.parametrize(*table(__file__, "refused"))
def test_what_is_wrong_is_refused(service, query, scopes, status):
    with pytest.raises(FhirError) as caught:
        everything(service, query, scopes=tuple(scopes))
    assert caught.value.status == status


def test_any_count_and_any_zone_are_taken_as_in_a_search(service):
    whole = own(everything(service, ""))
    assert own(everything(service, f"_count={2**31 - 1}")) == whole
    assert own(everything(service, "start=2024-05&end=2024-05")) == own(
        everything(service, "start=2024-05-01&end=2024-05-31")
    )
    # A plus sign that nobody escaped is a blank when it comes here.
    blank = everything(service, "_since=2020-01-01T00:00:00 01:00")
    assert own(blank) == own(everything(service, "_since=2020-01-01T00:00:00+01:00"))


def test_a_claim_that_reaches_into_the_dates_of_care_is_among_them():
    ann = logical_id("ann")
    stays = ("2024-01-15/2024-02-10", "2024-02-28/", "2024-01-01/2024-01-31", "2024-03-01")
    claims = [
        resource(
            EOB,
            f"claim-{at}",
            search={"service-date": [one]},
            last_updated=f"202{at}-01-01T00:00:00Z",
        )
        for at, one in enumerate(stays)
    ]
    store = MemoryStore()
    publish(store, [PatientResources(ann, [resource("Patient", "ann"), *claims])])
    service = opened(store).service
    for query, chosen in (
        ("start=2024-02&end=2024-02", {0, 1}),
        ("start=2024-02-10", {0, 1, 3}),
        ("end=2024-01-31", {0, 2}),
    ):
        found = own(everything(service, f"{query}&_type={EOB}", who=ann))
        assert set(found) == {f"{EOB}/{logical_id(f'claim-{at}')}" for at in chosen}, query
