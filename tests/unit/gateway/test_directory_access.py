"""Which providers everybody sees, which all members do, and which those whose claims name them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etl.gateway.service import Refusal, Service
from etl.gateway.startup import GatewayServices
from etl.publish.rendered_resources import LISTED, NAMED, ROW, PatientResources, Resource
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import BASE, grant, opened, run
from tests.unit.publish.samples import logical_id, patient, publish, resource

NPI = "http://hl7.org/fhir/sid/us-npi"
TAX = "urn:oid:2.16.840.1.113883.4.4"
OWN = "https://payer.example/organization"
MASKED = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "masked",
        }
    ]
}
EVERYBODY = grant("", ("patient/*.rs",))


def provider(key: str, *identifiers: tuple[str, str], listed: str | None = None) -> Resource:
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
PUBLIC = ["with-npi", "with-row", "with-row-and-number"]


@pytest.fixture(scope="module")
def tree() -> GatewayServices:
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


def names(
    service: Service, of: Any, *parameters: tuple[str, str], kind: str = "Organization"
) -> Any:
    answer = run(service.search(of, kind, parameters, base=BASE, strict=True))
    bundle = json.loads(answer.body)
    return bundle.get("total"), sorted(
        one["resource"].get("name", one["resource"]["resourceType"])
        for one in bundle.get("entry", [])
        if one["resource"]["resourceType"] != "OperationOutcome"
    )


def readable(service: Service, of: Any) -> list[str]:
    found = []
    for one in PROVIDERS:
        try:
            run(service.read(of, "Organization", one.id))
        except Refusal:
            continue
        found.append(json.loads(b"{" + bytes(one.body).partition(b"},")[2])["name"])
    return sorted(found)


def test_nothing_tells_a_hidden_provider_from_one_that_is_not_there(tree: GatewayServices) -> None:
    said = []
    for resource_id in (logical_id("payer"), logical_id("nobody")):
        with pytest.raises(Refusal) as refused:
            run(tree.directory.read(EVERYBODY, "Organization", resource_id))
        said.append((refused.value.status, refused.value.code, refused.value.diagnostics))
    assert said[0] == said[1]
    assert said[0][0] == 404


def test_nothing_tells_a_hidden_provider_that_was_retracted_from_one_that_never_was() -> None:
    store = MemoryStore()
    role = resource("PractitionerRole", "role")
    publish(store, [patient("ben", 0)], directory=[*PROVIDERS, role])
    publish(store, [patient("ben", 0)], directory=[provider("payer")], now="2026-11-25T00:00:00Z")
    made = opened(store)
    asked = ((made.directory, EVERYBODY), (made.service, grant(logical_id("ben"))))
    for service, of in asked:
        said = set()
        for resource_id in (logical_id("of-nobody"), logical_id("with-npi"), logical_id("nobody")):
            with pytest.raises(Refusal) as refused:
                run(service.read(of, "Organization", resource_id))
            said.add((refused.value.status, refused.value.code, refused.value.diagnostics))
        assert len(said) == 1
        with pytest.raises(Refusal) as refused:
            run(service.read(of, "PractitionerRole", role.id))
        assert refused.value.status == 410


def test_everybody_sees_providers_with_an_npi_or_a_row_of_the_directory(
    tree: GatewayServices,
) -> None:
    assert names(tree.directory, EVERYBODY) == (3, PUBLIC)
    assert readable(tree.directory, EVERYBODY) == PUBLIC
    asked = ("_id", ",".join(one.id for one in PROVIDERS))
    assert names(tree.directory, EVERYBODY, asked) == (3, PUBLIC)


def test_what_is_included_is_public_as_well(tree: GatewayServices) -> None:
    include = ("_include", "PractitionerRole:organization")
    total, found = names(tree.directory, EVERYBODY, include, kind="PractitionerRole")
    assert (total, found) == (1, ["PractitionerRole"])


def test_a_provider_whom_a_claim_alone_names_is_for_those_whose_claim_it_is(
    tree: GatewayServices,
) -> None:
    ann, ben = (grant(logical_id(name)) for name in ("ann", "ben"))
    shared = [*PUBLIC, "named-by-a-row"]
    assert readable(tree.service, ann) == sorted([*shared, "payer"])
    assert readable(tree.service, ben) == sorted(shared)
    asked = ("_id", ",".join(one.id for one in PROVIDERS))
    assert names(tree.service, ann, asked)[1] == sorted([*shared, "payer"])
    assert names(tree.service, ben, asked)[1] == sorted(shared)
    assert names(tree.service, ann) == (1, ["payer"])
    assert names(tree.service, ben) == (0, [])


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("with-npi", [(NPI, "1234567893"), (TAX, None)]),
        ("with-row", [(OWN, "R1")]),
        ("with-row-and-number", [(OWN, None), (OWN, "R2")]),
    ],
)
def test_tax_and_social_security_numbers_are_masked_for_everybody(
    tree: GatewayServices, key: str, shown: list[tuple[str, str | None]]
) -> None:
    read = run(tree.directory.read(EVERYBODY, "Organization", logical_id(key))).body
    answer = run(
        tree.directory.search(EVERYBODY, "Organization", [("name", key)], base=BASE, strict=True)
    )
    found = json.loads(answer.body)["entry"]
    for each in (json.loads(read), *(one["resource"] for one in found)):
        if each["name"] == key:
            identifiers = [(one["system"], one.get("value")) for one in each["identifier"]]
            assert identifiers == shown
            assert all(one.get("_value", MASKED) == MASKED for one in each["identifier"])
    mine = json.loads(run(tree.service.read(grant("x"), "Organization", logical_id(key))).body)
    assert all("value" in one for one in mine["identifier"])


def test_nothing_of_a_masked_number_is_left_to_be_guessed_from() -> None:
    """A version that is a hash of the number would give it to whoever tries a billion."""
    shown = []
    for number in ("12-3456789", "98-7654321"):
        store = MemoryStore()
        publish(store, [], directory=[provider("one", (NPI, "1234567893"), (TAX, number))])
        found = run(opened(store).directory.read(EVERYBODY, "Organization", logical_id("one")))
        assert json.loads(found.body)["meta"]["versionId"] == found.version
        shown.append((found.body, found.version))
    assert shown[0] == shown[1]


def test_the_version_of_a_masked_provider_tells_changes_of_what_is_shown() -> None:
    versions = set()
    for npi in ("1234567893", "1679576722"):
        store = MemoryStore()
        publish(store, [], directory=[provider("one", (NPI, npi), (TAX, "12-3456789"))])
        found = run(opened(store).directory.read(EVERYBODY, "Organization", logical_id("one")))
        versions.add(found.version)
    assert len(versions) == 2


@pytest.mark.parametrize("number", ["12-3456789", f"{TAX}|12-3456789", "987654321", "|987654321"])
def test_nobody_is_found_by_a_number_that_is_masked(tree: GatewayServices, number: str) -> None:
    assert names(tree.directory, EVERYBODY, ("identifier", number)) == (0, [])


def test_a_provider_is_found_by_what_is_shown(tree: GatewayServices) -> None:
    assert names(tree.directory, EVERYBODY, ("identifier", "1234567893")) == (1, ["with-npi"])
    assert names(tree.directory, EVERYBODY, ("identifier", "R2")) == (1, ["with-row-and-number"])
    assert names(tree.directory, EVERYBODY, ("identifier", "R3")) == (0, [])
