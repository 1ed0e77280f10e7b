"""The CapabilityStatement says what the server does: each thing that it names is called."""

import json
from functools import cache
from pathlib import Path

import pytest

from etl.gateway.supported_fhir import TYPES, answerable
from etl.publish.block import PatientResources
from etl.publish.manifest import ReleaseFacts
from tests.given.tables import read_tables
from tests.memory_store import MemoryStore
from tests.unit.gateway.calls import FHIR, SMART, served
from tests.unit.gateway.trees import (
    LISTED,
    PLAN_NET_TYPES,
    busiest,
    directory,
    grant,
    members,
    opened,
    run,
    sample_tree,
)
from tests.unit.publish.samples import LATER, logical_id, publish, resource

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
GUIDE = Path(__file__).parents[4] / "shared" / "ig" / "CapabilityStatement-c4bb.json"
STRICT = (b"prefer", b"handling=strict")
VALUES = read_tables(__file__)["values"]


@cache
def server():
    return served(opened(sample_tree(), listed=sample_tree(LISTED)))


@cache
def statement():
    return server().call("/fhir/metadata", token=None).json


@cache
def public():
    return server().call("/directory/metadata", token=None).json


def resources(of):
    return {one["type"]: one for one in of["rest"][0]["resource"]}


def held(base, kind):
    if base == "/directory":
        everything = [*directory(LISTED).values()]
    else:
        everything = [*members()[busiest()], *directory().values()]
    return [one for one in everything if one["resourceType"] == kind]


CASES = [
    *(("/fhir", kind) for kind in TYPES),
    *(("/directory", kind) for kind in PLAN_NET_TYPES),
]


@pytest.mark.parametrize(("base", "kind"), CASES)
def test_every_interaction_works(base, kind):
    told = resources(statement() if base == "/fhir" else public())[kind]
    for interaction in told["interaction"]:
        found = held(base, kind)
        match interaction["code"]:
            case "read":
                for one in found[:2]:
                    assert server().call(f"{base}/{kind}/{one['id']}").json == one
            case "vread":
                for one in found[:2]:
                    version = one["meta"]["versionId"]
                    path = f"{base}/{kind}/{one['id']}/_history/{version}"
                    assert server().call(path).json == one
            case "search-type":
                for one in found[:2]:
                    got = server().call(f"{base}/{kind}?_id={one['id']}")
                    assert [x["resource"] for x in got.json["entry"]] == [one]
            case code:
                pytest.fail(f"{code} is told, and nobody knows how to call it")


@pytest.mark.parametrize(("base", "kind"), CASES)
def test_every_search_parameter_and_include_works_and_no_other_does(base, kind):
    told = resources(statement() if base == "/fhir" else public())[kind]
    names = {one["name"]: one["type"] for one in told["searchParam"]}
    for name, of in names.items():
        got = server().call(f"{base}/{kind}?{name}={VALUES[of]}")
        assert (name, got.status) == (name, 200)
    for include in told.get("searchInclude", []):
        got = server().call(f"{base}/{kind}?_include={include}")
        assert (include, got.status) == (include, 200)
    every = {
        one["name"]
        for of in (statement(), public())
        for resource in resources(of).values()
        for one in resource["searchParam"]
    }
    for name in every - set(names):
        assert server().call(f"{base}/{kind}?{name}=1", STRICT).status == 400, name
    nothing = f"{base}/{kind}?_include={kind}:nothing"
    assert server().call(nothing, STRICT).status == 400


def test_every_resource_has_a_profile_that_it_is_told_to_have():
    for base, told in (("/fhir", statement()), ("/directory", public())):
        for kind, of in resources(told).items():
            profiles = set(of["supportedProfile"])
            for one in held(base, kind)[:20]:
                assert {profile.partition("|")[0] for profile in one["meta"]["profile"]} <= profiles


def test_every_operation_works():
    (operation,) = resources(statement())["Patient"]["operation"]
    got = server().call(f"/fhir/Patient/{busiest()}/${operation['name']}")
    assert got.status == 200
    assert got.json["type"] == "searchset"


def test_what_is_not_told_is_not_there():
    told = set(resources(statement()))
    assert told == set(TYPES)
    assert set(resources(public())) == set(PLAN_NET_TYPES)


def test_it_is_one_that_the_guide_and_its_testers_look_for():
    told = statement()
    c4bb = "http://hl7.org/fhir/us/carin-bb/CapabilityStatement/c4bb"
    assert told["instantiates"] == [c4bb]
    plan_net = "http://hl7.org/fhir/us/davinci-pdex-plan-net/CapabilityStatement/plan-net"
    assert public()["instantiates"] == [plan_net]
    assert told["fhirVersion"] == "4.0.1"
    assert "json" in told["format"]
    assert told["kind"] == "instance"
    assert len(told["rest"]) == 1


@pytest.mark.shared
@pytest.mark.skipif(not GUIDE.exists(), reason="the guide's statement is not beside the project")
def test_it_covers_all_that_the_guide_asks_for():
    asked = resources(json.loads(GUIDE.read_text()))
    told = resources(statement())
    for kind, of in asked.items():
        mine = told[kind]
        assert {x["code"] for x in of["interaction"]} <= {x["code"] for x in mine["interaction"]}
        assert {x["name"] for x in of["searchParam"]} <= {x["name"] for x in mine["searchParam"]}
        assert set(of.get("searchInclude", [])) <= set(mine.get("searchInclude", []))
        profiles = {x.partition("|")[0] for x in mine.get("supportedProfile", [])}
        assert set(of["supportedProfile"]) <= profiles
        definitions = {x["name"]: x["definition"] for x in mine["searchParam"]}
        for one in of["searchParam"]:
            if "carin-bb" in one["definition"]:
                assert definitions[one["name"]] == one["definition"]


def test_both_places_tell_the_same_endpoints():
    names = {
        "authorize": "authorization_endpoint",
        "token": "token_endpoint",
        "introspect": "introspection_endpoint",
        "revoke": "revocation_endpoint",
        "manage": "management_endpoint",
    }
    security = statement()["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    (extension,) = [one for one in security["extension"] if one["url"] == OAUTH_URIS]
    told = {one["url"]: one["valueUri"] for one in extension["extension"]}
    documents = [
        server().call(path, (b"accept", b"text/html"), token=None)
        for path in ("/fhir/.well-known/smart-configuration", "/.well-known/smart-configuration")
    ]
    for got in documents:
        assert got.status == 200
        assert got.headers["content-type"].startswith("application/json")
        assert {k: got.json[v] for k, v in names.items()} == told
    assert documents[0].json == documents[1].json
    assert told["authorize"] == SMART["authorization_endpoint"]


def test_without_an_authorization_server_the_statement_says_so():
    closed = served(smart=None)
    security = closed.call("/fhir/metadata").json["rest"][0]["security"]
    assert "No authorization server" in security["description"]
    assert "service" not in security
    assert closed.call("/fhir/.well-known/smart-configuration").status == 404


def test_it_is_a_valid_statement():
    fhir = pytest.importorskip("fhir.resources.R4B.capabilitystatement")
    for told in (statement(), public(), served(smart=None).call("/fhir/metadata").json):
        fhir.CapabilityStatement.model_validate(told)


def test_it_is_told_without_a_token_to_everybody_and_can_be_kept():
    got = server().call("/fhir/metadata", (b"origin", b"https://app.example"), token=None)
    assert (got.status, got.headers["content-type"]) == (200, "application/fhir+json")
    assert got.headers["access-control-allow-origin"] == "*"
    assert got.headers["cache-control"] == "public, max-age=300"
    tag = (b"if-none-match", got.headers["etag"].encode())
    assert server().call("/fhir/metadata", tag, token=None).status == 304
    assert server().call("/fhir/metadata?_format=xml", token=None).status == 406
    assert got.json["implementation"]["url"] == FHIR


def test_the_statement_names_what_the_served_release_can_be_searched_by():
    store = MemoryStore()
    who = logical_id("ann")
    claim = resource("ExplanationOfBenefit", "claim", search={"type": ["urn:x|oral"]})
    facts = ReleaseFacts("full", mapping={"search": {"ExplanationOfBenefit": ["type"]}})
    publish(store, [PatientResources(who, [resource("Patient", "ann"), claim])], facts=facts)
    service = opened(store)
    older = served(service)

    def parameters(of, kind):
        return {one["name"] for one in resources(of)[kind]["searchParam"]}

    before = older.call("/fhir/metadata", token=None)
    own = {"_id", "_lastUpdated"}
    assert parameters(before.json, "ExplanationOfBenefit") == own | {"type"}
    for kind in TYPES:
        for name in parameters(before.json, kind) - {"_id", "_lastUpdated"}:
            value = VALUES[TYPES[kind].parameters[name].type]
            query = ((name, value),)
            answer = service.service.search(grant(who), kind, query, base=FHIR, strict=True)
            assert json.loads(run(answer).body)["total"] >= 0
    described = older.call("/fhir/openapi.json", token=None).json["paths"]
    asked = {one["name"] for one in described["/ExplanationOfBenefit"]["get"]["parameters"]}
    assert asked.isdisjoint({"status", "created"})
    facts = ReleaseFacts("full", mapping={"search": {"ExplanationOfBenefit": ["status"]}})
    publish(
        store,
        [PatientResources(who, [resource("Patient", "ann")])],
        facts=facts,
        now=LATER,
    )
    assert older.call("/fhir/metadata", token=None).headers["etag"] == before.headers["etag"]
    assert run(service.releases.refresh())
    after = older.call("/fhir/metadata", token=None)
    assert after.headers["etag"] != before.headers["etag"]
    assert parameters(after.json, "ExplanationOfBenefit") == own | {"status"}


@pytest.mark.parametrize(
    ("version", "undefined"),
    [
        ("1.2.0", set()),
        (
            "1.1.0",
            {
                "HealthcareService.delivery-method",
                "InsurancePlan.network",
                "Organization.period",
                "Practitioner.period",
            },
        ),
    ],
)
def test_a_statement_names_only_definitions_of_its_version_of_the_guide(version, undefined):
    """A 1.1.0 release has no column for the practitioner's period: e2e/test_directory.py."""
    own = {"PractitionerRole.new-patients"}
    kinds = [
        answerable(kind, frozenset(kind.parameters), version) for kind in PLAN_NET_TYPES.values()
    ]
    listed = {
        f"{kind.name}.{parameter.name}": parameter.definition
        for kind in kinds
        for parameter in kind.parameters.values()
    }
    assert {name for name, definition in listed.items() if not definition} == own | undefined
    folder = GUIDE.parent / f"plan-net-{version}" / "searchparameters"
    if folder.is_dir():
        defined = {json.loads(file.read_text())["url"] for file in folder.glob("*.json")}
        named = {one for one in listed.values() if "/davinci-pdex-plan-net/" in one}
        assert named == defined


def test_the_openapi_description_names_every_address():
    for base, of in (("/fhir", statement()), ("/directory", public())):
        document = server().call(f"{base}/openapi.json", token=None).json
        assert document["servers"][0]["url"].endswith(base)
        for kind, one in resources(of).items():
            assert f"/{kind}/{{id}}" in document["paths"]
            asked = {x["name"] for x in document["paths"][f"/{kind}"]["get"]["parameters"]}
            assert {x["name"] for x in one["searchParam"]} <= asked
