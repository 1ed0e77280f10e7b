"""Each search parameter of the Drug Formulary API, held to the resources that it serves.

What a parameter means is read from the guide's definitions here, not from the program: a resource
that has a value must be among those that are found by it, by GET and by POST.
"""

import json
import urllib.request
from collections import defaultdict
from urllib.parse import urlencode

import pytest

from tests.e2e.commands import SAMPLES, cpcds, done
from tests.e2e.test_serving import running

USDF = "http://hl7.org/fhir/us/davinci-drug-formulary/StructureDefinition/usdf-"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches")
    done(cpcds("run", SAMPLES / "formulary", "--to", folder / "target"))
    with running(folder / "target", folder) as server:
        yield f"{server.base}/formulary"


def fetch(url, data=None):
    with urllib.request.urlopen(urllib.request.Request(url, data)) as got:  # noqa: S310
        return json.load(got)


def search(api, resource_type, parameters, *, by_post=False):
    """Return the matches on all pages, and what was included."""
    query = urlencode([*parameters, ("_count", "20")])
    if by_post:
        bundle = fetch(f"{api}/{resource_type}/_search", query.encode())
    else:
        bundle = fetch(f"{api}/{resource_type}?{query}")
    found = {"match": [], "include": []}
    while True:
        for entry in bundle.get("entry", ()):
            found[entry["search"]["mode"]].append(entry["resource"])
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        if not following:
            return found["match"], found["include"]
        bundle = fetch(following[0])


def extension(resource, name):
    return [
        next(value for key, value in each.items() if key.startswith("value"))
        for each in resource.get("extension", ())
        if each["url"] == f"{USDF}{name}-extension"
    ]


def tokens(*concepts):
    codings = [coding for concept in concepts for coding in concept.get("coding", ())]
    return [f"{coding.get('system', '')}|{coding['code']}" for coding in codings]


def references(values):
    return [value["reference"] for value in values]


def starts(periods):
    return [period["start"] for period in periods if "start" in period]


def address(part):
    return lambda one: [one["address"][part]] if part in one.get("address", {}) else []


MEANING = {
    "Basic": {
        "code": lambda one: tokens(one["code"]),
        "subject": lambda one: references([one["subject"]]),
        "status": lambda one: extension(one, "AvailabilityStatus"),
        "period": lambda one: starts(extension(one, "AvailabilityPeriod")),
        "formulary": lambda one: references(extension(one, "FormularyReference")),
        "pharmacy-benefit-type": lambda one: tokens(*extension(one, "PharmacyBenefitType")),
        "drug-tier": lambda one: tokens(*extension(one, "DrugTierID")),
    },
    "InsurancePlan": {
        "identifier": lambda one: [
            f"{each.get('system', '')}|{each['value']}" for each in one["identifier"]
        ],
        "status": lambda one: [one["status"]],
        "period": lambda one: starts([one.get("period", {})]),
        "type": lambda one: tokens(*one["type"]),
        "name": lambda one: [one["name"]],
        "coverage-type": lambda one: tokens(*(each["type"] for each in one.get("coverage", ()))),
        "formulary-coverage": lambda one: [
            reference
            for coverage in one.get("coverage", ())
            for reference in references(extension(coverage, "FormularyReference"))
        ],
        "coverage-area": lambda one: references(one.get("coverageArea", ())),
    },
    "MedicationKnowledge": {
        "status": lambda one: [one["status"]],
        "code": lambda one: tokens(one["code"]),
        "drug-name": lambda one: [
            *(each["display"] for each in one["code"]["coding"] if "display" in each),
            *one.get("synonym", ()),
        ],
        "doseform": lambda one: tokens(one.get("doseForm", {})),
    },
    "Location": {
        "address": lambda one: [*one.get("address", {}).values()],
        "address-city": address("city"),
        "address-state": address("state"),
        "address-postalcode": address("postalCode"),
    },
}
CASES = [(kind, name) for kind, names in MEANING.items() for name in names]


def spellings(api, name, value):
    """Return the forms in which a client may write a value."""
    if name == "status":
        return [value, f"|{value}"]
    if name == "period":
        return [f"ge{value}"]
    if name in ("subject", "formulary", "formulary-coverage", "coverage-area"):
        return [value, value.partition("/")[2], f"{api}/{value}"]
    return [value, value.rpartition("|")[2]]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_resource_is_found_by_each_of_its_values(api, kind, name):
    holders = defaultdict(set)
    for one in search(api, kind, [])[0]:
        for value in MEANING[kind][name](one):
            holders[value].add(one["id"])
    assert holders
    for value, ids in list(holders.items())[:6]:
        for text in spellings(api, name, value):
            for by_post in (False, True):
                matches, _ = search(api, kind, [(name, text)], by_post=by_post)
                assert ids <= {one["id"] for one in matches}, text
                if name not in ("period", "name", "drug-name", "address"):
                    assert ids == {one["id"] for one in matches}, text


@pytest.mark.parametrize(
    ("kind", "include", "target"),
    [
        ("Basic", "Basic:subject", "MedicationKnowledge"),
        ("Basic", "Basic:formulary", "InsurancePlan"),
        ("InsurancePlan", "InsurancePlan:formulary-coverage", "InsurancePlan"),
        ("InsurancePlan", "InsurancePlan:coverage-area", "Location"),
    ],
)
def test_what_a_resource_refers_to_is_included(api, kind, include, target):
    name = include.partition(":")[2]
    matches, included = search(api, kind, [("_include", include), (f"{name}:missing", "false")])
    wanted = {reference for one in matches for reference in MEANING[kind][name](one)}
    assert wanted
    assert wanted == {f"{one['resourceType']}/{one['id']}" for one in included}
    assert {one["resourceType"] for one in included} == {target}


def test_the_statement_lists_exactly_these_parameters(api):
    [rest] = fetch(f"{api}/metadata")["rest"]
    listed = {
        (resource["type"], parameter["name"])
        for resource in rest["resource"]
        for parameter in resource["searchParam"]
        if not parameter["name"].startswith("_")
    }
    assert listed == set(CASES)
    for resource in rest["resource"]:
        for one in search(api, resource["type"], [])[0][:2]:
            url = f"{api}/{resource['type']}/{one['id']}"
            assert fetch(url) == one
            assert fetch(f"{url}/_history/{one['meta']['versionId']}") == one
