"""The certificate of public data: published resources counted against accepted rows."""

import gzip
from decimal import Decimal

import pytest

from etl.certificate.resource_counts import resource_counts
from etl.model.data_models import DATA_MODELS, DIRECTORY, FORMULARY
from etl.pipeline.certificate import public_verdict
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import publish, resource

PUBLISHED = {
    "directory_organization": 1,
    "directory_practitioner": 2,
    "network": 1,
    "provider_role": 2,
    "telecom": 7,  # makes no resource of its own
}


def role(number, key):
    """Return a role in one network: the key is that of its row, once a network."""
    kind = {"coding": [{"code": "RI"}]}
    profile = "plannet-PractitionerRole"
    identifier = [{"type": kind, "value": key}]
    return resource("PractitionerRole", number, profile=profile, identifier=identifier)


def released(*left_out):
    resources = {
        "payer": resource("Organization", "payer", profile="plannet-Organization"),
        "n1": resource("Organization", "n1", profile="plannet-Network"),
        "d1": resource("Practitioner", "d1", profile="plannet-Practitioner"),
        "d2": resource("Practitioner", "d2", profile="plannet-Practitioner"),
        "r1 in n1": role("r1-n1", "r1"),
        "r1 in n2": role("r1-n2", "r1"),
        "r2": role("r2", "r2"),
    }
    store = MemoryStore()
    held = [each for name, each in resources.items() if name not in left_out]
    return publish(store, [], directory=held)


def verdict_of(release, published=PUBLISHED, model=DIRECTORY):
    return public_verdict(release, model.tables, published, Decimal(0))


def test_every_accepted_row_is_in_the_bytes_once():
    found = verdict_of(released())
    assert (found.holds, found.sentence) == (
        True,
        "the published bytes contain every accepted row: 7 resources",
    )


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("d2", "directory_practitioner: 1 where 2 were accepted"),
        ("n1", "network: 0 where 1 were accepted"),
        ("r2", "provider_role: 1 where 2 were accepted"),
    ],
)
def test_a_row_that_is_not_in_the_bytes_stops_the_run(lost, sentence):
    found = verdict_of(released(lost))
    assert (found.holds, found.is_setting) == (False, True)
    assert found.sentence == f"the published bytes differ from the accepted rows: {sentence}"


def test_a_role_that_is_in_one_network_less_is_still_its_row():
    assert verdict_of(released("r1 in n2")).holds


def test_a_resource_that_is_there_twice_is_counted_once():
    profile = "http://guide/StructureDefinition/plannet-Location|1.2.0"
    line = b'{"resourceType":"Location","id":"l1","meta":{"profile":["%s"]}}\n' % profile.encode()
    found = resource_counts([gzip.compress(line), gzip.compress(line)], DIRECTORY.tables)
    assert (found.resources, found.doubled, found.tables["location"]) == (2, 1, 1)


def test_resources_of_one_type_are_counted_by_profile():
    of_type = [
        resource("InsurancePlan", "f", profile="usdf-Formulary"),
        resource("InsurancePlan", "p", profile="usdf-PayerInsurancePlan"),
        resource("InsurancePlan", "q", profile="usdf-PayerInsurancePlan"),
    ]
    release = publish(MemoryStore(), [], directory=of_type)
    rows = {"formulary": 1, "formulary_plan": 2, "formulary_cost": 9}
    assert verdict_of(release, rows, FORMULARY).holds
    swapped = verdict_of(release, {"formulary": 2, "formulary_plan": 1}, FORMULARY).sentence
    assert "formulary: 1 where 2 were accepted; formulary_plan: 2 where 1 were accepted" in swapped


def test_a_profile_of_another_guide_stops_the_run():
    release = publish(MemoryStore(), [], directory=[resource("Location", "l", profile="x-Place")])
    assert "x-Place: 1 where 0 were accepted" in verdict_of(release, {}, FORMULARY).sentence


def test_a_profile_is_made_of_one_table():
    for model in DATA_MODELS:
        profiles = [table.profile for table in model.tables.values() if table.profile]
        assert len(set(profiles)) == len(profiles)
        assert bool(profiles) is not model.has_members
