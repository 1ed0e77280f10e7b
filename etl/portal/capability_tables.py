"""A CapabilityStatement laid out for tables, from the JSON that the server serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
"""Extension with the OAuth endpoints, SMART App Launch 1.0.0 "Declaring support"."""

ORDER: Final = (
    "ExplanationOfBenefit",
    "Patient",
    "Coverage",
    "RelatedPerson",
    "Practitioner",
    "PractitionerRole",
    "Location",
    "Organization",
    "InsurancePlan",
    "HealthcareService",
    "OrganizationAffiliation",
    "Endpoint",
)
"""The order in which developers meet the types: claims first."""

HOLDS: Final[Mapping[str, str]] = {
    "ExplanationOfBenefit": "A claim: what was done, what it cost, who paid what",
    "Patient": "The member",
    "Coverage": "A plan that covers the member, and since when",
    "RelatedPerson": "The subscriber, where that is not the member",
    "Practitioner": "A person who gives care",
    "PractitionerRole": "What a practitioner does, where and for whom",
    "Location": "A place of care",
    "Organization": "A payer, hospital, practice, pharmacy or network",
    "InsurancePlan": "A product of a payer, with its networks and its area",
    "HealthcareService": "A service that is given at a place, or virtually",
    "OrganizationAffiliation": "What an organization does for another, and in which networks",
    "Endpoint": "An electronic address: a FHIR server, Direct",
}
"""One line for each type, for tables; the statement's own text is on its page."""


@dataclass(frozen=True, slots=True)
class StatementParameter:
    """A search parameter: its name, FHIR type, and what it searches."""

    name: str
    type: str
    documentation: str


@dataclass(frozen=True, slots=True)
class ServedType:
    """Capabilities of the server for one resource type.

    Attributes:
        type: FHIR resource type.
        holds: one line about the type; empty for a type unknown to the portal.
        documentation: the statement's own text.
        profiles: canonicals of its profiles.
        interactions: their codes.
        search: its search parameters.
        includes: values of `_include`.
        revincludes: values of `_revinclude`.
        operations: names, with their `$`.
    """

    type: str
    holds: str
    documentation: str
    profiles: tuple[str, ...]
    interactions: tuple[str, ...]
    search: tuple[StatementParameter, ...]
    includes: tuple[str, ...]
    revincludes: tuple[str, ...]
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A CapabilityStatement, as far as its page shows it.

    Attributes:
        title: its title.
        date: its date.
        software: name and version of the server software.
        fhir_version: for instance `4.0.1`.
        formats: media types.
        guides: implementation guides, in short.
        instantiates: canonicals of the statements that it conforms to.
        security: its text about access; empty for none.
        oauth: name → URL of the OAuth endpoints.
        interactions: of the whole system.
        operations: of the whole system: names, with their `$`.
        resources: by type, claims first.
    """

    title: str
    date: str
    software: str
    fhir_version: str
    formats: tuple[str, ...]
    guides: tuple[str, ...]
    instantiates: tuple[str, ...]
    security: str
    oauth: Mapping[str, str]
    interactions: tuple[str, ...]
    operations: tuple[str, ...]
    resources: tuple[ServedType, ...]


def read_statement(document: Mapping[str, Any]) -> Statement:
    """Return a CapabilityStatement for its page. Missing elements are empty."""
    rest: Mapping[str, Any] = next(iter(document.get("rest") or ()), {})
    software = document.get("software") or {}
    security = rest.get("security") or {}
    resources = sorted((_resource(resource) for resource in rest.get("resource") or ()), key=_place)
    return Statement(
        title=document.get("title") or document.get("name") or "Capability Statement",
        date=document.get("date", ""),
        software=" ".join(
            str(software[part]) for part in ("name", "version") if software.get(part)
        ),
        fhir_version=document.get("fhirVersion", ""),
        formats=tuple(document.get("format") or ()),
        guides=tuple(_guide(url) for url in document.get("implementationGuide") or ()),
        instantiates=tuple(document.get("instantiates") or ()),
        security=security.get("description", ""),
        oauth=_oauth(security.get("extension") or ()),
        interactions=_codes(rest.get("interaction") or ()),
        operations=_names(rest.get("operation") or ()),
        resources=tuple(resources),
    )


def _resource(document: Mapping[str, Any]) -> ServedType:
    name = document.get("type", "")
    return ServedType(
        type=name,
        holds=HOLDS.get(name, ""),
        documentation=document.get("documentation", ""),
        profiles=tuple(
            dict.fromkeys(
                (*_texts(document.get("profile")), *(document.get("supportedProfile") or ()))
            )
        ),
        interactions=_codes(document.get("interaction") or ()),
        search=tuple(
            StatementParameter(
                parameter.get("name", ""),
                parameter.get("type", ""),
                parameter.get("documentation", ""),
            )
            for parameter in document.get("searchParam") or ()
        ),
        includes=tuple(document.get("searchInclude") or ()),
        revincludes=tuple(document.get("searchRevInclude") or ()),
        operations=_names(document.get("operation") or ()),
    )


def _place(resource: ServedType) -> tuple[int, str]:
    is_ordered = resource.type in ORDER
    return (ORDER.index(resource.type) if is_ordered else len(ORDER), resource.type)


def _texts(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


def _codes(interactions: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(interaction.get("code", "") for interaction in interactions)


def _names(operations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"${operation.get('name', '')}" for operation in operations)


def _oauth(extensions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {
        part["url"]: part["valueUri"]
        for extension in extensions
        if extension.get("url") == OAUTH_URIS
        for part in extension.get("extension") or ()
        if "valueUri" in part
    }


def _guide(canonical: str) -> str:
    """Return a guide's name for people.

    `http://hl7.org/fhir/us/carin-bb/ImplementationGuide/hl7.fhir.us.carin-bb|2.2.0` gives
    `CARIN Blue Button 2.2.0`.
    """
    url, _, version = canonical.partition("|")
    names = {
        "carin-bb": "CARIN Blue Button",
        "davinci-pdex-plan-net": "Plan-Net",
        "us/core": "US Core",
        "smart-app-launch": "SMART",
    }
    name = next((name for part, name in names.items() if part in url), url)
    return f"{name} {version}".strip()
