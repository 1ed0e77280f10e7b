"""FHIR of the Provider Directory API over a directory of the payer: the eight types of Plan-Net.

Sources: the CapabilityStatement `plan-net` and the SearchParameters of Plan-Net 1.2.0, those beside
the statement included; `identifier` and `near` are FHIR R4's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from etl.gateway.supported_fhir import (
    COLUMN_MODIFIERS,
    ResourceType,
    SearchParameter,
    date_parameter,
    reference_parameter,
    resource_type,
    string_parameter,
    token_parameter,
)
from etl.profiles.guides import PLAN_NET, R4

INSTANTIATES: Final = f"{PLAN_NET.base}CapabilityStatement/plan-net"
"""Canonical of the guide's requirements; 1.2.0 itself prints that of another guide for it."""

_GUIDE: Final = f"{PLAN_NET.base}SearchParameter/"


def _kind(
    name: str,
    profiles: tuple[str, ...],
    parameters: tuple[SearchParameter, ...],
    includes: tuple[str, ...],
    documentation: str,
) -> ResourceType:
    canonicals = tuple(f"{PLAN_NET.canonical}plannet-{profile}" for profile in profiles)
    kind = resource_type(name, canonicals, parameters, includes, documentation, shared=True)
    return replace(kind, sorts=tuple(sort for sort in kind.sorts if sort != "_id"))


def _references(of: str, *parameters: tuple[str, str, str]) -> tuple[SearchParameter, ...]:
    """Return parameters of references, each by its name, what it names and that one's type."""
    return tuple(
        reference_parameter(name, f"{_GUIDE}{of}-{name}", what, target)
        for name, what, target in parameters
    )


def _strings(of: str, *parameters: tuple[str, str]) -> tuple[SearchParameter, ...]:
    return tuple(string_parameter(name, f"{_GUIDE}{of}-{name}", what) for name, what in parameters)


def _tokens(of: str, *parameters: tuple[str, str]) -> tuple[SearchParameter, ...]:
    return tuple(
        token_parameter(name, f"{_GUIDE}{of}-{name}", what, "text") for name, what in parameters
    )


def _period(of: str, what: str) -> SearchParameter:
    return date_parameter("period", f"{_GUIDE}{of}-period", what)


def _identifier(of: str, what: str) -> SearchParameter:
    return token_parameter("identifier", f"{R4.base}SearchParameter/{of}-identifier", what)


_NEAR: Final = SearchParameter(
    "near",
    "special",
    f"{R4.base}SearchParameter/Location-near",
    "Within a distance of a place: `latitude|longitude|distance|units`; 40 km where not given.",
    ("missing",),
)
_ENDPOINT: Final = ("endpoint", "An electronic address", "Endpoint")

PLAN_NET_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            _kind(
                "Endpoint",
                ("Endpoint",),
                _references(
                    "endpoint", ("organization", "The organization that manages it", "Organization")
                ),
                ("organization",),
                "An electronic address of an organization, a role, a service or a place.",
            ),
            _kind(
                "HealthcareService",
                ("HealthcareService",),
                (
                    *_references(
                        "healthcareservice",
                        ("location", "A place where it is given", "Location"),
                        ("coverage-area", "An area that it is for", "Location"),
                        ("organization", "The organization that gives it", "Organization"),
                        _ENDPOINT,
                    ),
                    *_strings("healthcareservice", ("name", "Start of its name.")),
                    *_tokens(
                        "healthcareservice",
                        ("service-category", "Its category."),
                        ("service-type", "Its type."),
                        ("specialty", "A specialty: NUCC taxonomy code."),
                        ("delivery-method", "Whether it is given in person or virtually."),
                    ),
                ),
                ("location", "coverage-area", "organization", "endpoint"),
                "A service that an organization gives at its places.",
            ),
            _kind(
                "InsurancePlan",
                ("InsurancePlan",),
                (
                    *_references(
                        "insuranceplan",
                        ("administered-by", "The organization that administers it", "Organization"),
                        ("owned-by", "The organization that offers it", "Organization"),
                        ("coverage-area", "An area that it is for", "Location"),
                        ("network", "A network of its members", "Organization"),
                    ),
                    *_strings("insuranceplan", ("name", "Start of its name or an alias.")),
                    *_tokens(
                        "insuranceplan",
                        ("plan-type", "Type of one of its plans."),
                        ("type", "Its type of product."),
                    ),
                    token_parameter(
                        "identifier",
                        f"{_GUIDE}insuranceplan-identifier",
                        "The payer's key, or Medicare's contract and plan.",
                        *COLUMN_MODIFIERS,
                    ),
                ),
                ("administered-by", "owned-by", "coverage-area", "network"),
                "A product that a payer offers, with its plans, networks and areas.",
            ),
            _kind(
                "Location",
                ("Location",),
                (
                    *_references(
                        "location",
                        ("partof", "The place that it is part of", "Location"),
                        ("organization", "The organization that runs it", "Organization"),
                        _ENDPOINT,
                    ),
                    *_strings(
                        "location",
                        ("address-city", "Start of the city."),
                        ("address-state", "Start of the state."),
                        ("address-postalcode", "Start of the ZIP code."),
                        ("address", "Start of any part of the address."),
                    ),
                    *_tokens("location", ("type", "What kind of place it is.")),
                    _identifier("Location", "The payer's key."),
                    _NEAR,
                ),
                ("endpoint", "organization", "partof"),
                "A place where care is given, or an area.",
            ),
            _kind(
                "Organization",
                ("Network", "Organization"),
                (
                    *_references(
                        "organization",
                        ("partof", "The organization that it is part of", "Organization"),
                        _ENDPOINT,
                        ("coverage-area", "An area of a network", "Location"),
                    ),
                    *_strings(
                        "organization",
                        ("address", "Start of any part of the address."),
                        ("name", "Start of its name or an alias."),
                    ),
                    *_tokens("organization", ("type", "What it is; `ntwk` is a network.")),
                    _identifier("Organization", "NPI, tax id, CLIA, NAIC, or the payer's key."),
                    _period("organization", "When it was active."),
                ),
                ("partof", "endpoint", "coverage-area"),
                "A provider organization, a payer, a business, or a network.",
            ),
            _kind(
                "OrganizationAffiliation",
                ("OrganizationAffiliation",),
                (
                    *_references(
                        "organizationaffiliation",
                        ("primary-organization", "The organization taken part in", "Organization"),
                        (
                            "participating-organization",
                            "The organization that takes part",
                            "Organization",
                        ),
                        ("location", "A place of it", "Location"),
                        ("service", "A service of it", "HealthcareService"),
                        ("network", "A network", "Organization"),
                        _ENDPOINT,
                    ),
                    *_tokens(
                        "organizationaffiliation",
                        ("role", "The role of the one that takes part."),
                        ("specialty", "A specialty: NUCC taxonomy code."),
                    ),
                    _period("organizationaffiliation", "While it lasts."),
                ),
                (
                    "primary-organization",
                    "participating-organization",
                    "location",
                    "service",
                    "endpoint",
                    "network",
                ),
                "What an organization does for another, or in its networks.",
            ),
            _kind(
                "Practitioner",
                ("Practitioner",),
                (
                    *_strings("practitioner", ("name", "Start of any part of a name.")),
                    string_parameter(
                        "family", f"{_GUIDE}practitioner-family-name", "Start of a family name."
                    ),
                    string_parameter(
                        "given", f"{_GUIDE}practitioner-given-name", "Start of a given name."
                    ),
                    _identifier("Practitioner", "NPI, or the payer's key."),
                    _period("practitioner", "When the person was active."),
                ),
                (),
                "A person who gives care.",
            ),
            _kind(
                "PractitionerRole",
                ("PractitionerRole",),
                (
                    *_references(
                        "practitionerrole",
                        ("practitioner", "The person", "Practitioner"),
                        ("organization", "The organization", "Organization"),
                        ("location", "A place", "Location"),
                        ("service", "A service", "HealthcareService"),
                        ("network", "A network", "Organization"),
                        _ENDPOINT,
                    ),
                    *_tokens(
                        "practitionerrole",
                        ("role", "The role."),
                        ("specialty", "A specialty: NUCC taxonomy code."),
                    ),
                    _period("practitionerrole", "While it lasts."),
                    token_parameter(
                        "new-patients",
                        "",
                        "Whether new patients are taken; a parameter of this server.",
                    ),
                ),
                ("practitioner", "organization", "location", "service", "network", "endpoint"),
                "What a practitioner does for an organization, in one network.",
            ),
        )
    }
)
"""Types, parameters and includes of a directory."""
