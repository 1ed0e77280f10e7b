"""Capability statements and OpenAPI 3.1 descriptions, made from `supported_fhir`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from etl.gateway.http.request import COMPARTMENT
from etl.gateway.http.responses import KINDS
from etl.gateway.supported_fhir import (
    BULK_PUBLISH,
    EVERYTHING,
    INSTANTIATES,
    OPERATIONS,
    PLAN_NET_STATEMENT,
    RESULT_PARAMETERS,
    REVINCLUDE,
    Operation,
    ResourceType,
    ResultParameter,
    SearchInclude,
    SearchParameter,
    revincludes,
)
from etl.profiles.guides import C4BB, PLAN_NET
from etl.smart.discovery import AuthEndpoints, oauth_uris

_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"}
_FORM: Final = "application/x-www-form-urlencoded"


def openapi(
    base: str,
    title: str,
    version: str,
    kinds: Iterable[ResourceType],
    *,
    public: bool,
) -> dict[str, Any]:
    """Return the description.

    Args:
        base: FHIR base URL.
        title: of the API.
        version: of the software.
        kinds: types, with the parameters that the served release can be searched by.
        public: whether it is the Provider Directory, which needs no token and follows references.
    """
    paths: dict[str, Any] = {
        "/metadata": {
            "get": _endpoint("metadata", "What this server does.", [_format()], "Resource", {406})
        }
    }
    shaping = (*RESULT_PARAMETERS, REVINCLUDE) if public else RESULT_PARAMETERS
    for kind in kinds:
        paths |= _paths(kind, shaping)
    if not public:
        paths["/Patient/{id}/$everything"] = {
            "get": _endpoint(
                "everything",
                EVERYTHING.documentation,
                [
                    _in_path("id"),
                    *(_in_query(parameter, "") for parameter in EVERYTHING.parameters),
                ],
                "Bundle",
                _SEARCH,
            )
        }
    if public:
        paths["/$bulk-publish"] = {
            "get": _endpoint("bulkPublish", BULK_PUBLISH.documentation, [], "Manifest", {404, 503})
        }
    paths["/_page/{cursor}"] = {
        "get": _endpoint(
            "page",
            "The page that a link of a Bundle leads to.",
            [{"name": "cursor", "in": "path", "required": True, "schema": {"type": "string"}}],
            "Bundle",
            {400, 401, 403, 404, 406, 410, 412, 429, 503},
        )
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }
    if not public:
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
        }
        document["security"] = [{"token": []}]
        paths["/metadata"]["get"]["security"] = []
    return document


_READ: Final = {400, 401, 403, 404, 406, 410, 412, 414, 429, 503}
_SEARCH: Final = {400, 401, 403, 404, 406, 412, 414, 429, 503}


def _paths(kind: ResourceType, shaping: Iterable[ResultParameter]) -> dict[str, Any]:
    name = kind.name
    described = [_parameter(parameter) for parameter in kind.parameters.values()]
    described += [_in_query(parameter.name, parameter.documentation) for parameter in shaping]
    compartment = {}
    if name in COMPARTMENT:
        searched = _endpoint(
            f"searchPatient{name}",
            kind.documentation,
            [_in_path("id"), *described, _format()],
            "Bundle",
            _SEARCH,
        )
        compartment[f"/Patient/{{id}}/{name}"] = {"get": searched}
    form = {
        "type": "object",
        "properties": {parameter["name"]: parameter["schema"] for parameter in described},
        "additionalProperties": False,
    }
    post = _endpoint(f"search{name}ByPost", kind.documentation, [], "Bundle", _SEARCH | {413, 415})
    post["requestBody"] = {"content": {_FORM: {"schema": form}}}
    return compartment | {
        f"/{name}": {
            "get": _endpoint(
                f"search{name}", kind.documentation, [*described, _format()], "Bundle", _SEARCH
            )
        },
        f"/{name}/_search": {"post": post},
        f"/{name}/{{id}}": {
            "get": _endpoint(
                f"read{name}", f"One {name}.", [_in_path("id"), _format()], "Resource", _READ
            )
        },
        f"/{name}/{{id}}/_history/{{version}}": {
            "get": _endpoint(
                f"vread{name}",
                f"One {name}, if that is its version now.",
                [_in_path("id"), _in_path("version")],
                "Resource",
                _READ,
            )
        },
    }


def _endpoint(
    name: str, summary: str, parameters: list[dict[str, Any]], schema: str, errors: set[int]
) -> dict[str, Any]:
    content = {
        "application/fhir+json": {"schema": {"$ref": f"#/components/schemas/{schema}"}},
        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}},
    }
    outcome = {
        "application/fhir+json": {"schema": {"$ref": "#/components/schemas/OperationOutcome"}}
    }
    responses: dict[str, Any] = {"200": {"description": summary, "content": content}}
    for status in sorted(errors):
        codes = ", ".join(code for code, kind in KINDS.items() if kind.status == status)
        responses[str(status)] = {"description": codes, "content": outcome}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": responses,
    }


def _parameter(parameter: SearchParameter) -> dict[str, Any]:
    return _in_query(parameter.name, parameter.documentation)


def _in_query(name: str, text: str) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "in": "query", "schema": {"type": "string"}}
    return {**described, "description": text} if text else described


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _ID}


def _format() -> dict[str, Any]:
    formats = ["json", "application/json", "application/fhir+json"]
    return {"name": "_format", "in": "query", "schema": {"enum": formats}}


_SCHEMAS: Final[dict[str, Any]] = {
    "Resource": {
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"type": "string"}},
    },
    "Bundle": {
        "type": "object",
        "required": ["resourceType", "type"],
        "properties": {
            "resourceType": {"const": "Bundle"},
            "type": {"const": "searchset"},
            "total": {"type": "integer", "minimum": 0},
            "link": {"type": "array", "minItems": 1},
            "entry": {"type": "array", "minItems": 1},
        },
    },
    "Manifest": {
        "type": "object",
        "required": ["manifestType", "transactionTime", "requiresAccessToken", "output"],
        "properties": {"requiresAccessToken": {"const": False}, "output": {"type": "array"}},
    },
    "OperationOutcome": {
        "type": "object",
        "required": ["resourceType", "issue"],
        "properties": {
            "resourceType": {"const": "OperationOutcome"},
            "issue": {"type": "array", "minItems": 1},
        },
    },
}


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
