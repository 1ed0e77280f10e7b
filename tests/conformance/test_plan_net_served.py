"""A served directory of the samples, looked at from outside: all checks, and a strict reader."""

import json
import subprocess
from collections import Counter

import httpx2
import pytest

from conformance.engine import UnavailableError, compiled
from tests.conformance.plan_net_client import PAGES, PlanNetClient, value_of
from tests.conformance.plan_net_elements import (
    GUIDE,
    all_references,
    has,
    matches,
    name_of,
    references,
)
from tests.e2e.commands import SAMPLES, cpcds, done
from tests.e2e.test_serving import running
from tests.unit.gateway.trees import sample_tree

pytestmark = pytest.mark.slow

STRUCTURES = "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/plannet-"
STATEMENT = "http://hl7.org/fhir/us/davinci-pdex-plan-net/CapabilityStatement/plan-net"
ROLE, AFFILIATION, SERVICE = "PractitionerRole", "OrganizationAffiliation", "HealthcareService"


@pytest.fixture(scope="module", params=["1.2.0", "1.1.0"])
def served(request, tmp_path_factory):
    """Give base URL and version of `cpcds serve` in a process of its own, beside claims."""
    folder = tmp_path_factory.mktemp("served")
    target = folder / "directory"
    view = {"CPCDS_PUBLISH__PLAN_NET": request.param}
    done(cpcds("run", SAMPLES / "directory", "--to", target, "--workers", "1", **view))
    settings = {"CPCDS_SERVE__DIRECTORY": str(target), "CPCDS_SERVE__RATE_LIMIT": ""}
    with running(sample_tree(), folder, **settings) as server:
        yield f"{server.base}/directory", request.param


@pytest.fixture(scope="module")
def client(served):
    with httpx2.Client(timeout=30) as http:
        yield PlanNetClient(*served, http)


each_group = pytest.mark.parametrize("group", GUIDE["groups"], ids=lambda group: group["name"])


def each(*keys):
    """Run a test for each word of each group under a key; of a table, with the words of a line."""
    found = []
    for group in GUIDE["groups"]:
        for key in keys:
            words = group.get(key, "")
            lines = words.items() if isinstance(words, dict) else [("", words)]
            for first, text in lines:
                for word in text.split():
                    values = (group, first, word) if first else (group, word)
                    found.append(pytest.param(*values, id=" ".join([group["name"], *values[1:]])))
    return found


def test_the_statement_names_the_guide_its_profiles_and_json(client):
    statement = client.document("metadata")
    assert statement["resourceType"] == "CapabilityStatement"
    assert statement["fhirVersion"] == "4.0.1"
    assert "application/fhir+json" in statement["format"]
    assert STATEMENT in [url.partition("|")[0] for url in statement["instantiates"]]
    resources = statement["rest"][0]["resource"]
    named = {url for resource in resources for url in resource.get("supportedProfile", [])}
    assert {f"{STRUCTURES}{name}" for name in GUIDE["profiles"]} <= named


@each_group
def test_the_statement_lists_every_parameter_and_include(client, group):
    resources = client.document("metadata")["rest"][0]["resource"]
    (stated,) = [one for one in resources if one["type"] == group["type"]]
    parameters = {parameter["name"] for parameter in stated["searchParam"]}
    assert set(group["searches"].split()) <= parameters
    includes = {f"{group['type']}:{name}" for name in group.get("includes", "").split()}
    assert includes <= set(stated.get("searchInclude", []))
    reverse = set(group.get("reverse_includes", "").split())
    assert reverse <= set(stated.get("searchRevInclude", []))


@each_group
def test_resources_are_there_are_read_posted_for_and_paged(client, group):
    type_, pool = group["type"], client.pools[group["name"]]
    first, everything = pool[0], client.of_type(group["type"])
    assert client.document(f"{type_}/{first['id']}") == first
    posted = client.post(f"{type_}/_search", {"_id": first["id"]})
    assert [entry["resource"]["id"] for entry in posted["entry"]] == [first["id"]]
    size = -(-len(everything) // (PAGES - 1))
    paged, _ = client.search(type_, ("_count", str(size)))
    assert sorted(map(name_of, paged)) == sorted(map(name_of, everything))


@pytest.mark.parametrize(("group", "name"), each("searches"))
def test_a_search_finds_what_matches_and_no_more_with_a_system(client, group, name):
    type_ = group["type"]
    value, with_system = value_of(client.pools[group["name"]], type_, name)
    found = client.found(type_, (name, value))
    assert all(matches(resource, type_, name, value) for resource in found)
    narrower = client.found(type_, (name, with_system))
    assert {*map(name_of, narrower)} <= {*map(name_of, found)}


@pytest.mark.parametrize(("group", "name"), each("includes"))
def test_an_include_brings_just_what_is_referred_to(client, group, name):
    type_ = group["type"]
    pool = client.pools[group["name"]]
    resource = next(one for one in pool if references(one, type_, name))
    include = ("_include", f"{type_}:{name}")
    _, included = client.search(type_, ("_id", resource["id"]), include)
    assert {*map(name_of, included)} == {*references(resource, type_, name)}


@pytest.mark.parametrize(("group", "path"), each("reverse_includes"))
def test_a_reverse_include_brings_what_refers_to_it(client, group, path):
    other, _, name = path.partition(":")
    referred = [one for each in client.pools[other] for one in references(each, other, name)]
    reference = next(one for one in referred if one in client.names(group))
    # Inferno sends the reference as it found it; an id alone is what FHIR means.
    for sent in (reference, reference.partition("/")[2]):
        _, included = client.search(group["type"], ("_id", sent), ("_revinclude", path))
        assert included
        assert all(reference in references(one, other, name) for one in included)


@pytest.mark.parametrize(("group", "name", "chain"), each("chains"))
def test_a_chain_finds_what_refers_to_its_targets(client, group, name, chain):
    type_ = group["type"]
    pool = client.pools[group["name"]]
    referred = {one for resource in pool for one in references(resource, type_, name)}
    target_type = min(referred).partition("/")[0]
    candidates = [one for one in client.of_type(target_type) if name_of(one) in referred]
    value, _ = value_of(candidates, target_type, chain)
    found = client.found(type_, (f"{name}.{chain}", value))
    targets = {*map(name_of, client.found(target_type, (chain, value)))}
    assert {*map(name_of, found)} == {
        name_of(one) for one in client.of_type(type_) if targets & {*references(one, type_, name)}
    }


@pytest.mark.parametrize(("group", "path", "name"), each("reverse_chains"))
def test_a_reverse_chain_finds_what_is_referred_to(client, group, path, name):
    other, _, reference = path.partition(":")
    names = client.names(group)
    referring = [one for one in client.pools[other] if names & {*references(one, other, reference)}]
    value, _ = value_of(referring, other, name)
    found = client.found(group["type"], (f"_has:{path}:{name}", value))
    targets = [
        target
        for one in client.found(other, (name, value))
        for target in references(one, other, reference)
    ]
    assert {*map(name_of, found)} == {*targets}


def test_roles_are_found_by_specialty_and_location_with_their_practitioners(client):
    role = next(
        one
        for one in client.pools[ROLE]
        if references(one, ROLE, "practitioner") and one.get("specialty") and one.get("location")
    )
    sent = [(name, value_of([role], ROLE, name)[0]) for name in ("specialty", "location")]
    found, included = client.search(ROLE, *sent, ("_include", f"{ROLE}:practitioner"))
    assert found
    assert all(matches(one, ROLE, name, value) for one in found for name, value in sent)
    people = {person for one in found for person in references(one, ROLE, "practitioner")}
    assert {*map(name_of, included)} == people


def test_services_are_found_by_specialty_and_a_network_of_their_affiliations(client):
    having = {name_of(one) for one in client.pools[SERVICE] if one.get("specialty")}
    affiliation = next(
        one
        for one in client.pools[AFFILIATION]
        if references(one, AFFILIATION, "network")
        and having & {*references(one, AFFILIATION, "service")}
    )
    network = references(affiliation, AFFILIATION, "network")[0]
    its_services = references(affiliation, AFFILIATION, "service")
    services = [one for one in client.pools[SERVICE] if name_of(one) in its_services]
    specialty, _ = value_of(services, SERVICE, "specialty")
    path = f"_has:{AFFILIATION}:service:network"
    targets = {
        target
        for one in client.found(AFFILIATION, ("network", network))
        for target in references(one, AFFILIATION, "service")
    }
    for one in client.found(SERVICE, ("specialty", specialty), (path, network)):
        assert matches(one, SERVICE, "specialty", specialty)
        assert name_of(one) in targets


@each_group
def test_resources_claim_their_profile_and_refer_to_what_is_there(client, group):
    """Whether they keep to the profile is for HL7's engine."""
    for resource in client.pools[group["name"]]:
        profile = f"{STRUCTURES}{group['name']}|{client.version}"
        assert profile in resource["meta"]["profile"]
        assert "lastUpdated" in resource["meta"]
        for reference in all_references(resource):
            assert name_of(client.resolve(reference)) == reference


@each_group
def test_what_must_be_supported_is_in_some_resource(client, group):
    paths = group["must_support"].split()
    if client.version != "1.1.0":
        paths += group.get("must_support_later", "").split()
    pool = client.pools[group["name"]]
    assert [path for path in paths if not any(has(one, path) for one in pool)] == []


def test_hapis_strict_client_reads_every_resource(served):
    base, _ = served
    try:
        java = compiled()
    except UnavailableError as error:
        pytest.skip(f"HAPI's client is not there: {error}")
    ran = subprocess.run(
        [*java, "bluebutton.Reader", base], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {one["type"]: one["differ"] for one in found if one["differ"]} == {}
    read = Counter({one["type"]: one["read"] for one in found})
    with httpx2.Client() as client:
        totals = {
            name: client.get(f"{base}/{name}?_summary=count").json()["total"] for name in read
        }
    assert len(read) == 8
    assert min(totals.values()) > 0
    assert read == totals
