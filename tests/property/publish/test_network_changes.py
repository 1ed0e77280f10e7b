"""Changes to networks and plans, against sets that are made of every resource of both releases."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model.data_models import DIRECTORY
from etl.publish import directory as published_directory
from etl.publish.manifest import ReleaseFacts
from etl.publish.network_changes import PlanNetworks, network_changes
from etl.publish.reader import read_all
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import LATER, NOW, logical_id, payer, publish, resource

FACTS = ReleaseFacts("full", mapping=DIRECTORY.stated)
IN_NETWORK = "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/network-reference"


@dataclass(frozen=True)
class Tie:
    """A provider in some networks at a place: a role, or an affiliation of an organization."""

    is_role: bool
    provider: int
    networks: frozenset[int]
    place: int


@dataclass(frozen=True)
class Directory:
    """Ties and plans by number; a plan is the set of its networks."""

    ties: Mapping[int, Tie]
    plans: Mapping[int, frozenset[int]]

    def resources(self):
        named = [
            resource("Organization", name, name=name.title())
            for name in (*map(network_name, range(3)), *(f"group-{n}" for n in range(3)))
        ]
        named += [resource("Practitioner", f"p-{n}", name=[{"text": f"P {n}"}]) for n in range(3)]
        return [payer(), *named, *map(tied, *zip(*self.ties.items())), *self._plans()]  # noqa: B905

    def _plans(self):
        for number, networks in self.plans.items():
            yield resource(
                "InsurancePlan",
                f"plan-{number}",
                name=f"Plan {number}",
                network=[of("Organization", network_name(n)) for n in sorted(networks)],
            )


def network_name(number):
    return f"network-{number}"


def of(kind, name):
    return {"reference": f"{kind}/{logical_id(name)}"}


def tied(number, tie):
    networks = [of("Organization", network_name(one)) for one in sorted(tie.networks)]
    places = [of("Location", f"place-{tie.place}")]
    if tie.is_role:
        return resource(
            "PractitionerRole",
            f"role-{number}",
            extension=[
                {"url": "urn:other", "valueReference": of("Organization", network_name(0))},
                *({"url": IN_NETWORK, "valueReference": one} for one in networks),
            ],
            practitioner=of("Practitioner", f"p-{tie.provider}"),
            organization=of("Organization", f"group-{tie.provider}"),
            location=places,
        )
    return resource(
        "OrganizationAffiliation",
        f"affiliation-{number}",
        organization=of("Organization", "payer"),
        participatingOrganization=of("Organization", f"group-{tie.provider}"),
        network=networks,
        location=places,
    )


def members(release):
    """Return provider -> network -> places, and plan -> networks, of all that is in a release."""
    found = defaultdict(lambda: defaultdict(set))
    plans = {}
    for unit in release.manifest.directory:
        lines = [] if unit is None else read_all(release.store, release.index(unit))
        for one in map(json.loads, lines):
            if one["resourceType"] == "InsurancePlan":
                networks = frozenset(each["reference"] for each in one["network"])
                plans[f"InsurancePlan/{one['id']}"] = networks
            for network in networks_of(one):
                who = one.get("practitioner", one.get("participatingOrganization"))
                places = found[who["reference"]][network]
                places |= {each["reference"] for each in (*one["location"], one["organization"])}
    whole = {
        who: {name: frozenset(places) for name, places in each.items()}
        for who, each in found.items()
    }
    return whole, plans


def networks_of(one):
    if one["resourceType"] == "OrganizationAffiliation":
        return [each["reference"] for each in one["network"]]
    if one["resourceType"] == "PractitionerRole":
        marks = one["extension"]
        return [each["valueReference"]["reference"] for each in marks if each["url"] == IN_NETWORK]
    return []


def in_plans(found, plans):
    return {
        plan: {
            who: {plan: networks & mine.keys()}
            for who, mine in found.items()
            if networks & mine.keys()
        }
        for plan, networks in plans.items()
    }


def differences(old, new, of_what):
    """Return who was added to a network or plan, who left it and who moved in it."""
    was = {who: mine[of_what] for who, mine in old.items() if of_what in mine}
    now = {who: mine[of_what] for who, mine in new.items() if of_what in mine}
    moved = {who for who in was.keys() & now.keys() if was[who] != now[who]}
    return now.keys() - was.keys(), was.keys() - now.keys(), moved


ties = st.builds(
    Tie, st.booleans(), st.integers(0, 2), st.frozensets(st.integers(0, 2)), st.integers(0, 2)
)
directories = st.builds(
    Directory,
    st.dictionaries(st.integers(0, 12), ties, min_size=1, max_size=9),
    st.dictionaries(st.integers(0, 2), st.frozensets(st.integers(0, 2)), max_size=3),
)


def referred(moves):
    return {one.reference for one in moves}


@settings(deadline=None, max_examples=80)
@given(directories, directories, st.booleans())
def test_changes_are_those_of_the_sets_of_every_resource(first, second, keeps_most):
    if keeps_most:  # a night: most of it stays
        number, tie = next(iter(second.ties.items()))
        second = Directory({**first.ties, number: tie}, first.plans)
    store = MemoryStore()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_directory, "DIRECTORY_TARGET", 4)  # several shards, and resharding
        before = publish(store, [], directory=first.resources(), now=NOW, facts=FACTS)
        after = publish(store, [], directory=second.resources(), now=LATER, facts=FACTS)
    found = network_changes(before, after)
    (old, old_plans), (new, new_plans) = members(before), members(after)
    networks = {name for side in (old, new) for mine in side.values() for name in mine}
    expected = {name: differences(old, new, name) for name in networks}
    plans = old_plans.keys() | new_plans.keys()
    of_old, of_new = in_plans(old, old_plans), in_plans(new, new_plans)
    expected |= {p: differences(of_old.get(p, {}), of_new.get(p, {}), p) for p in plans}
    got = {
        one.reference: (referred(one.added), referred(one.left), referred(one.moved))
        for one in (*found.networks, *found.plans)
    }
    relinked = {
        one for one in plans if old_plans.get(one, frozenset()) != new_plans.get(one, frozenset())
    }
    assert got == {name: sets for name, sets in expected.items() if any(sets) or name in relinked}
    for plan in found.plans:
        was, now = (each.get(plan.reference, frozenset()) for each in (old_plans, new_plans))
        networks = plan.networks or PlanNetworks((), ())
        assert {one.reference for one in networks.removed} == was - now
        assert {one.reference for one in networks.added} == now - was
    for network in found.networks:
        for one in network.added:
            gone = old.get(one.reference, {}).keys() - new[one.reference].keys()
            assert {each.reference for each in one.before} == gone
            assert not one.after
