"""Read and vread: one resource, for one member."""

import json

import pytest

from etl.gateway.supported_fhir import TYPES
from etl.publish.reader import open_current
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import (
    BASE,
    bundle,
    busiest,
    grant,
    members,
    opened,
    refused,
    run,
)
from tests.unit.publish.samples import claim, logical_id, patient, payer, publish


def test_every_resource_of_a_member_is_read_as_it_was_published(service):
    for member in list(members())[:5]:
        for one in members()[member]:
            found = run(service.read(grant(member), one["resourceType"], one["id"]))
            assert json.loads(found.body) == one
            assert found.etag == f'W/"{one["meta"]["versionId"]}"'
            assert found.last_updated == one["meta"]["lastUpdated"]


def test_another_members_resources_look_like_resources_that_do_not_exist(service):
    mine, other = list(members())[:2]
    nothing = refused(service.read(grant(mine), "Patient", "nobody"))
    for one in members()[other]:
        said = refused(service.read(grant(mine), one["resourceType"], one["id"]))
        assert said.status == 404
        missing = refused(service.read(grant(mine), one["resourceType"], "nobody"))
        assert (said.code, said.diagnostics) == (missing.code, missing.diagnostics)
    assert nothing.status == 404


@pytest.mark.parametrize(
    "resource_id", ["", "..", "../x", "a/b", "x" * 65, "a\nb", "%2e%2e", "a b", "é", "\x00", "a\n"]
)
@pytest.mark.parametrize("resource_type", ["Patient", "ExplanationOfBenefit", "Organization"])
def test_an_id_that_is_none_is_not_found(service, resource_type, resource_id):
    assert refused(service.read(grant(busiest()), resource_type, resource_id)).status == 404


def test_a_type_that_is_not_here_is_not_found(service):
    for name in ("Observation", "patient", "", "Parameters", "Bundle", "_page"):
        said = refused(service.read(grant(busiest()), name, "x"))
        assert (said.status, said.code) == (404, "type-unknown")


@pytest.mark.parametrize("resource_type", sorted(TYPES))
def test_a_type_outside_the_scopes_is_forbidden(service, resource_type):
    others = tuple(f"patient/{name}.rs" for name in TYPES if name != resource_type)
    for scopes in ((), ("openid", "launch/patient"), others, (f"patient/{resource_type}.s",)):
        said = refused(service.read(grant(busiest(), scopes), resource_type, "x"))
        assert (said.status, said.code) == (403, "scope-insufficient")
    allowed = grant(busiest(), (f"user/{resource_type}.r",))
    assert refused(service.read(allowed, resource_type, "x")).status == 404


@pytest.mark.parametrize("form", ["", "*", "..", "{}\n", " {}", "{}x", "Patient/{}"])
def test_a_grant_of_a_patient_that_is_none_reaches_nothing(service, form):
    who = grant(form.format(busiest()))
    claims = run(service.search(who, "ExplanationOfBenefit", [], base=BASE, strict=True))
    assert bundle(claims)["total"] == 0
    assert refused(service.read(who, "Patient", busiest())).status == 404


def test_the_present_version_is_there_and_no_other(service):
    one = members()[busiest()][0]
    version = one["meta"]["versionId"]
    found = run(service.read(grant(busiest()), "Patient", one["id"], version=version))
    assert json.loads(found.body) == one
    assert refused(service.read(grant(busiest()), "Patient", one["id"], version="1")).status == 404


def test_what_was_retracted_is_gone_and_what_never_was_is_not_found():
    store = MemoryStore()
    person = patient("ann", 3)
    publish(store, [person], directory=[payer()])
    kept = type(person)(person.patient_id, person.resources[:-1])
    publish(store, [kept], base=open_current(store), now="2026-11-25T00:00:00Z")
    service = opened(store).service
    gone = person.resources[-1]
    assert refused(service.read(grant(person.patient_id), gone.type, gone.id)).status == 410
    assert refused(service.read(grant(person.patient_id), gone.type, "never")).status == 404
    other = refused(service.read(grant("someone-else"), gone.type, gone.id))
    assert other.status == 404


def test_a_member_who_left_altogether_is_gone_to_himself_alone():
    store = MemoryStore()
    publish(store, [patient("ann", 1), patient("bob", 1)])
    publish(store, [patient("bob", 1)], base=open_current(store), now="2026-11-25T00:00:00Z")
    service = opened(store).service
    ann, bob = logical_id("ann"), logical_id("bob")
    assert refused(service.read(grant(ann), "Patient", ann)).status == 410
    assert refused(service.read(grant(bob), "Patient", ann)).status == 404


def test_a_claim_that_moved_to_another_member_is_his():
    store = MemoryStore()
    moved = claim("ann", 0, "2020-01-01")
    publish(store, [patient("ann", 1), patient("bob", 0)])
    ann, bob = patient("ann", 0), patient("bob", 0)
    to_bob = type(bob)(bob.patient_id, [*bob.resources, claim("ann", 0, "2020-01-01", owner="bob")])
    publish(store, [ann, to_bob], base=open_current(store), now="2026-11-25T00:00:00Z")
    service = opened(store).service
    assert refused(service.read(grant(ann.patient_id), moved.type, moved.id)).status == 410
    found = run(service.read(grant(bob.patient_id), moved.type, moved.id))
    assert bob.patient_id in found.body.decode()
