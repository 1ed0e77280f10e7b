"""Which providers every member sees, and which only those whose claims name them."""

import json

import pytest

from etl.gateway.http.responses import FhirError
from etl.publish.block import LISTED, NAMED, ROW, PatientResources
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import BASE, grant, opened, refused, run
from tests.unit.publish.samples import logical_id, patient, publish, resource

NPI = "http://hl7.org/fhir/sid/us-npi"
TAX = "urn:oid:2.16.840.1.113883.4.4"
OWN = "https://payer.example/organization"


def provider(key, *identifiers, listed=None):
    values = [text for system, value in identifiers for text in (f"{system}|{value}", f"|{value}")]
    search = {"identifier": values, "name": [key]}
    if listed:
        search[LISTED] = [listed]
    named = [{"system": system, "value": value} for system, value in identifiers]
    return resource("Organization", key, search=search, identifier=named, name=key)


PROVIDERS = (
    provider("with-npi", (NPI, "1234567893"), (TAX, "12-3456789")),
    provider("with-row", (OWN, "R1"), listed=ROW),
    provider("with-row-and-number", (OWN, "987654321"), (OWN, "R2"), listed=ROW),
    provider("named-by-a-row", (OWN, "R3"), listed=NAMED),
    provider("payer", (OWN, "123-45-6789")),  # what ann's claim names
    provider("of-nobody", (OWN, "111-22-3333")),
)
OPEN = ["named-by-a-row", "with-npi", "with-row", "with-row-and-number"]


@pytest.fixture(scope="module")
def tree():
    store = MemoryStore()
    role = resource(
        "PractitionerRole",
        "role",
        search={"organization": [f"Organization/{logical_id('payer')}"]},
        organization={"reference": f"Organization/{logical_id('payer')}"},
    )
    claim = resource(
        "ExplanationOfBenefit",
        "claim",
        search={"facility": [f"Organization/{logical_id('payer')}"]},
    )
    ann = PatientResources(logical_id("ann"), [resource("Patient", "ann"), claim])
    publish(store, [ann, patient("ben", 0)], directory=[*PROVIDERS, role])
    return opened(store)


def names(service, of, *parameters, kind="Organization"):
    answer = run(service.search(of, kind, parameters, base=BASE, strict=True))
    bundle = json.loads(answer.body)
    return bundle.get("total"), sorted(
        one["resource"].get("name", one["resource"]["resourceType"])
        for one in bundle.get("entry", [])
        if one["resource"]["resourceType"] != "OperationOutcome"
    )


def readable(service, of):
    found = []
    for one in PROVIDERS:
        try:
            run(service.read(of, "Organization", one.id))
        except FhirError:
            continue
        found.append(json.loads(b"{" + bytes(one.body).partition(b"},")[2])["name"])
    return sorted(found)


def test_nothing_tells_a_hidden_provider_from_one_that_is_not_there(tree):
    said = []
    for resource_id in (logical_id("payer"), logical_id("nobody")):
        refusal = refused(tree.service.read(grant(logical_id("ben")), "Organization", resource_id))
        said.append((refusal.status, refusal.code, refusal.diagnostics))
    assert said[0] == said[1]
    assert said[0][0] == 404


def test_nothing_tells_a_hidden_provider_that_was_retracted_from_one_that_never_was():
    store = MemoryStore()
    role = resource("PractitionerRole", "role")
    publish(store, [patient("ben", 0)], directory=[*PROVIDERS, role])
    publish(store, [patient("ben", 0)], directory=[provider("payer")], now="2026-11-25T00:00:00Z")
    service, ben = opened(store).service, grant(logical_id("ben"))
    said = set()
    for resource_id in (logical_id("of-nobody"), logical_id("with-npi"), logical_id("nobody")):
        refusal = refused(service.read(ben, "Organization", resource_id))
        said.add((refusal.status, refusal.code, refusal.diagnostics))
    assert len(said) == 1
    assert refused(service.read(ben, "PractitionerRole", role.id)).status == 410


def test_a_provider_whom_a_claim_alone_names_is_for_those_whose_claim_it_is(tree):
    ann, ben = (grant(logical_id(name)) for name in ("ann", "ben"))
    assert readable(tree.service, ann) == sorted([*OPEN, "payer"])
    assert readable(tree.service, ben) == OPEN
    asked = ("_id", ",".join(one.id for one in PROVIDERS))
    assert names(tree.service, ann, asked)[1] == sorted([*OPEN, "payer"])
    assert names(tree.service, ben, asked)[1] == OPEN
    assert names(tree.service, ann) == (1, ["payer"])
    assert names(tree.service, ben) == (0, [])
