"""The certificate of a directory: published resources counted against accepted rows."""

import gzip
from decimal import Decimal

import pytest

from etl.certificate.directory_counts import directory_counts
from etl.pipeline.certificate import directory_verdict
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
    return resource("PractitionerRole", number, identifier=[{"type": kind, "value": key}])


def released(*left_out):
    resources = {
        "payer": resource("Organization", "payer", type=[{"coding": [{"code": "payer"}]}]),
        "n1": resource("Organization", "n1", type=[{"coding": [{"code": "ntwk"}]}]),
        "d1": resource("Practitioner", "d1"),
        "d2": resource("Practitioner", "d2"),
        "r1 in n1": role("r1-n1", "r1"),
        "r1 in n2": role("r1-n2", "r1"),
        "r2": role("r2", "r2"),
    }
    store = MemoryStore()
    held = [each for name, each in resources.items() if name not in left_out]
    return publish(store, [], directory=held)


def test_every_accepted_row_is_in_the_bytes_once():
    found = directory_verdict(released(), PUBLISHED, Decimal(0))
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
    found = directory_verdict(released(lost), PUBLISHED, Decimal(0))
    assert (found.holds, found.is_setting) == (False, True)
    assert found.sentence == f"the published bytes differ from the accepted rows: {sentence}"


def test_a_role_that_is_in_one_network_less_is_still_its_row():
    assert directory_verdict(released("r1 in n2"), PUBLISHED, Decimal(0)).holds


def test_a_resource_that_is_there_twice_is_counted_once():
    line = b'{"resourceType":"Location","id":"l1"}\n'
    found = directory_counts([gzip.compress(line), gzip.compress(line)])
    assert (found.resources, found.doubled, found.tables["location"]) == (2, 1, 1)
