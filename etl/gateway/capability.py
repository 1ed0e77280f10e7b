"""The CapabilityStatement, made from `supported`, which the server uses too.

Sources: FHIR R4 `capabilitystatement.html`; the CapabilityStatement `c4bb` of CARIN Blue Button
2.2.0; SMART App Launch 2.2.0 for `rest.security`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from etl.gateway.supported_fhir import (
    BULK_PUBLISH,
    INSTANTIATES,
    OPERATIONS,
    PLAN_NET_STATEMENT,
    Operation,
    ResourceType,
    SearchInclude,
    revincludes,
)
from etl.profiles.guides import C4BB, PLAN_NET
from etl.smart.discovery import AuthEndpoints, oauth_uris

OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SERVICE: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_PATIENT_COMPARTMENT: Final = "http://hl7.org/fhir/CompartmentDefinition/patient"
_PLAN_NET: Final = f"{PLAN_NET.base}ImplementationGuide/hl7.fhir.us.davinci-pdex-plan-net"
_GUIDE: Final = f"{C4BB.base}ImplementationGuide/hl7.fhir.us.carin-bb|{C4BB.version}"


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """Facts of the statement beside the capability itself.

    Attributes:
        base: FHIR base URL, without a slash at its end.
        publisher: the payer's name.
        version: of the software.
        date: FHIR date of the statement: when this server was started.
        endpoints: where the authorization server is; None where there is none.
    """

    base: str
    publisher: str
    version: str
    date: str
    endpoints: AuthEndpoints | None


def capability_statement(about: StatementFacts, kinds: Iterable[ResourceType]) -> dict[str, Any]:
    """Return the CapabilityStatement of the Patient Access API.

    Args:
        about: facts beside the capability itself.
        kinds: types, with the parameters that the served release can be searched by.
    """
    statement = _head(about, "PatientAccess", "Patient Access API")
    statement["instantiates"] = [INSTANTIATES]
    statement["implementationGuide"] = [_GUIDE]
    statement["rest"] = [
        {
            "mode": "server",
            "documentation": (
                "Read-only. Every answer holds the data of the one member whose access token was "
                "sent, and the payer's directory. A search without `patient` is about that member."
            ),
            "security": _security(about),
            "resource": [_resource(kind, OPERATIONS) for kind in kinds],
            "compartment": [_PATIENT_COMPARTMENT],
        }
    ]
    cleaned: dict[str, Any] = _without_empty(statement)
    return cleaned


def directory_statement(about: StatementFacts, kinds: Iterable[ResourceType]) -> dict[str, Any]:
    """Return the CapabilityStatement of the Provider Directory API, which needs no token.

    Args:
        about: facts beside the capability itself.
        kinds: types, with the parameters that the served release can be searched by.
    """
    served = tuple(kinds)
    statement = _head(about, "ProviderDirectory", "Provider Directory API")
    statement["instantiates"] = [PLAN_NET_STATEMENT]
    statement["implementationGuide"] = [_PLAN_NET]
    statement["rest"] = [
        {
            "mode": "server",
            "documentation": "Read-only and public: no access token is needed. "
            + _FOLLOWED_REFERENCES,
            "security": {"cors": True, "description": "Public; no authorization."},
            "resource": [_resource(kind, referring=revincludes(kind, served)) for kind in served],
            "operation": [_operation(BULK_PUBLISH)],
        }
    ]
    cleaned: dict[str, Any] = _without_empty(statement)
    return cleaned


def _head(about: StatementFacts, name: str, title: str) -> dict[str, Any]:
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{about.base}/metadata",
        "version": about.version,
        "name": name,
        "title": title,
        "status": "active",
        "experimental": False,
        "date": about.date,
        "publisher": about.publisher,
        "description": f"{title} of {about.publisher}.",
        "kind": "instance",
        "software": {"name": "cpcds-bluebutton", "version": about.version},
        "implementation": {"description": f"{title} of {about.publisher}", "url": about.base},
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json", "application/json"],
    }


_FOLLOWED_REFERENCES: Final = (
    "It is the payer's directory. References are followed in searches: "
    "`parameter.parameter=value`, `parameter:Type.parameter=value` and "
    "`_has:Type:parameter:parameter=value`."
)


def _security(about: StatementFacts) -> dict[str, Any]:
    if about.endpoints is None:
        text = "No authorization server is configured: no access token is accepted."
        return {"cors": True, "description": text}
    return {
        "extension": [
            {
                "url": OAUTH_URIS,
                "extension": [
                    {"url": name, "valueUri": url} for name, url in oauth_uris(about.endpoints)
                ],
            }
        ],
        "cors": True,
        "service": [
            {
                "coding": [
                    {"system": _SERVICE, "code": "SMART-on-FHIR", "display": "SMART-on-FHIR"}
                ],
                "text": "OAuth 2.0 with SMART App Launch",
            }
        ],
        "description": "SMART App Launch, standalone; access tokens in the Authorization header.",
    }


def _resource(
    kind: ResourceType,
    operations: Iterable[Operation] = (),
    referring: Iterable[SearchInclude] = (),
) -> dict[str, Any]:
    return {
        "type": kind.name,
        "supportedProfile": list(kind.profiles),
        "documentation": kind.documentation,
        "interaction": [{"code": interaction} for interaction in kind.interactions],
        "versioning": "versioned",
        "readHistory": False,
        "updateCreate": False,
        "conditionalRead": "full-support",
        "referencePolicy": ["literal", "resolves"],
        "searchInclude": [*(include.code for include in kind.includes), f"{kind.name}:*"]
        if kind.includes
        else [],
        "searchRevInclude": [include.code for include in referring],
        "searchParam": [
            {
                "name": parameter.name,
                "definition": parameter.definition,
                "type": parameter.type,
                "documentation": parameter.documentation,
            }
            for parameter in kind.parameters.values()
        ],
        "operation": [
            _operation(operation) for operation in operations if operation.type == kind.name
        ],
    }


def _operation(operation: Operation) -> dict[str, str]:
    return {
        "name": operation.name,
        "definition": operation.definition,
        "documentation": operation.documentation,
    }


def _without_empty(value: Any) -> Any:
    """Return JSON without empty members: FHIR allows no empty list or text."""
    match value:
        case dict():
            cleaned = {name: _without_empty(inner) for name, inner in value.items()}
            return {
                name: inner for name, inner in cleaned.items() if inner not in (None, "", [], {})
            }
        case list():
            return [_without_empty(entry) for entry in value]
        case _:
            return value
