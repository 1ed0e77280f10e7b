"""Invariants of Plan-Net 1.2.0 and 1.1.0: key and signature of the expression -> what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.model.logic import AllOf, AnyOf, Not
from etl.profiles import constraints as c

_CLOSED: Final = AllOf(
    (c.Contains({"url": "acceptingPatients"}), c.coded("valueCodeableConcept", "no"))
)

PLAN_NET_INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {
        # The code system has no such code: what the guide means is `nopt`.
        ("new-patients-characteristics", "7fa4fd93"): c.implies(
            c.Exists(("extension",), _CLOSED),
            Not(c.Exists(("extension",), c.Contains({"url": "characteristics"}))),
        ),
        ("ipn-1", "6505f06e"): c.present("identifier", "name"),
        ("network-or-plan-Network", "8dc92e8e"): AnyOf(
            (c.present("network"), c.Exists(("plan",), c.present("network")))
        ),
        ("plan-type-is-distinct", "ed43b4d5"): c.Distinct(("plan", "type", "coding", "code")),
        ("organization-or-participatingOrganization", "780cdc27"): c.present(
            "organization", "participatingOrganization"
        ),
        ("practitioner-or-organization-or-healthcareservice-or-location", "4fd0e183"): c.present(
            "practitioner", "organization", "healthcareService", "location"
        ),
        # As 1.1.0 words them: an element that there is not, and a function named without brackets,
        # which makes the second part hold of anything.
        ("practitioner-or-organization-or-healthcareservice-or-location", "e586ed09"): c.present(
            "practitioner", "organization", "location"
        ),
        ("network-or-plan-Network", "9c08de61"): AllOf(()),
        ("new-patients-characteristics", "db348785"): c.implies(
            c.Exists(("extension",), _CLOSED),
            Not(c.Exists(("extension",), c.Contains({"url": "characteristics"}))),
        ),
    }
)
