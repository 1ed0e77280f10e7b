"""Capability statements and OpenAPI 3.1 descriptions, made from `supported_fhir`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from etl.gateway import supported_fhir
from etl.gateway.http.request import COMPARTMENT
from etl.gateway.http.responses import KINDS
from etl.gateway.supported_fhir import API, Api, Operation, ResourceType, SearchParameter

_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"}
_FORM: Final = "application/x-www-form-urlencoded"
_MEDIA: Final = ("application/fhir+json", "application/json")
_FORMATS: Final = ("json", "application/json", "application/fhir+json")


def openapi(api: Api, base: str, version: str, kinds: Iterable[ResourceType]) -> dict[str, Any]:
    """Return the OpenAPI description of an API.

    Args:
        api: the API.
        base: FHIR base URL.
        version: version of the software.
        kinds: types, with the search parameters of the served release.
    """
    formats = {"name": "_format", "in": "query", "schema": {"enum": _FORMATS}}
    cursor = {"name": "cursor", "in": "path", "required": True, "schema": {"type": "string"}}
    paths: dict[str, Any] = {
        "/metadata": _get("metadata", "What this server does.", [formats], "Resource", {406})
    }
    public_only = API["revinclude"] if api.is_public else {}
    shaping = {**API["result_parameters"], **public_only}
    for kind in kinds:
        paths |= _paths(kind, shaping, formats)
    if api.is_public:
        text = supported_fhir.BULK_PUBLISH.documentation
        paths["/$bulk-publish"] = _get("bulkPublish", text, [], "Manifest", {404, 503})
    else:
        parameters = [
            _in_path("id"),
            *(_in_query(name, "") for name in supported_fhir.EVERYTHING.parameters),
        ]
        paths["/Patient/{id}/$everything"] = _get(
            "everything", supported_fhir.EVERYTHING.documentation, parameters
        )
    text = "The page that a link of a Bundle leads to."
    paths["/_page/{cursor}"] = _get("page", text, [cursor], errors=_SEARCH - {414} | {410})
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": api.title, "version": version},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {"schemas": API["schemas"]},
    }
    if not api.is_public:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        paths["/metadata"]["get"]["security"] = []
    return document


_SEARCH: Final = frozenset({400, 401, 403, 404, 406, 412, 414, 429, 503})


def _paths(
    kind: ResourceType, shaping: Mapping[str, str], formats: dict[str, Any]
) -> dict[str, Any]:
    name, text = kind.name, kind.documentation
    searched = {parameter.name: parameter.documentation for parameter in kind.parameters.values()}
    described = [_in_query(*parameter) for parameter in {**searched, **shaping}.items()]
    by_id = [_in_path("id"), *described, formats]
    post = _endpoint(f"search{name}ByPost", text, [], "Bundle", _SEARCH | {413, 415})
    form = {
        "type": "object",
        "properties": {parameter["name"]: parameter["schema"] for parameter in described},
        "additionalProperties": False,
    }
    post["requestBody"] = {"content": {_FORM: {"schema": form}}}
    read_path, read_errors = f"/{name}/{{id}}", _SEARCH | {410}
    version = [_in_path("id"), _in_path("version")]
    version_text = f"One {name}, if that is its version now."
    compartment = {}
    if name in COMPARTMENT:
        compartment[f"/Patient/{{id}}/{name}"] = _get(f"searchPatient{name}", text, by_id)
    return compartment | {
        f"/{name}": _get(f"search{name}", text, [*described, formats]),
        f"/{name}/_search": {"post": post},
        read_path: _get(
            f"read{name}", f"One {name}.", [_in_path("id"), formats], "Resource", read_errors
        ),
        f"{read_path}/_history/{{version}}": _get(
            f"vread{name}", version_text, version, "Resource", read_errors
        ),
    }


def _get(
    name: str,
    summary: str,
    parameters: list[dict[str, Any]],
    schema: str = "Bundle",
    errors: Collection[int] = _SEARCH,
) -> dict[str, Any]:
    return {"get": _endpoint(name, summary, parameters, schema, errors)}


def _endpoint(
    name: str, summary: str, parameters: list[dict[str, Any]], schema: str, errors: Collection[int]
) -> dict[str, Any]:
    content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for media in _MEDIA}
    outcome = {_MEDIA[0]: {"schema": {"$ref": "#/components/schemas/OperationOutcome"}}}
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


def _in_query(name: str, text: str) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "in": "query", "schema": {"type": "string"}}
    return {**described, "description": text} if text else described


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _ID}


OAUTH_URIS: Final[str] = API["security"]["smart"]["extension"][0]["url"]
"""Extension of the statement that names the OAuth endpoints."""

_PATIENT_COMPARTMENT: Final = "http://hl7.org/fhir/CompartmentDefinition/patient"


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """Facts of a statement besides the capabilities.

    Attributes:
        base: FHIR base URL, without a slash at its end.
        publisher: the payer's name.
        version: version of the software.
        date: FHIR date of the statement: when the server started.
        smart: the authorization server's SMART configuration; None if there is none.
    """

    base: str
    publisher: str
    version: str
    date: str
    smart: Mapping[str, Any] | None


def capability_statement(
    api: Api, about: StatementFacts, kinds: Iterable[ResourceType]
) -> dict[str, Any]:
    """Return the CapabilityStatement of an API.

    Args:
        api: the API.
        about: facts besides the capabilities.
        kinds: types, with the search parameters of the served release.
    """
    served = tuple(kinds)
    rest = _public_rest(served) if api.is_public else _member_rest(served, about.smart)
    name = "".join(word.capitalize() for word in api.name.split("-"))
    facts = {**asdict(about), "name": name, "title": api.title}
    statement = _fill_in(API["statement"], facts) | {
        "instantiates": [api.instantiates],
        "implementationGuide": list(api.guides),
        "rest": [{"mode": "server", "documentation": api.documentation} | rest],
    }
    cleaned: dict[str, Any] = _drop_empty(statement)
    return cleaned


def _member_rest(kinds: Iterable[ResourceType], smart: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what members' apps may do, with a token."""
    if smart is None:
        security = API["security"]["none"]
    else:
        security = _fill_in(API["security"]["smart"], smart)
    resources = [_resource(kind, supported_fhir.OPERATIONS) for kind in kinds]
    return {"security": security, "resource": resources, "compartment": [_PATIENT_COMPARTMENT]}


def _public_rest(kinds: Collection[ResourceType]) -> dict[str, Any]:
    """Return what everyone may do."""
    return {
        "security": API["security"]["public"],
        "resource": [
            _resource(kind, referring=supported_fhir.revincludes(kind, kinds)) for kind in kinds
        ],
        "operation": [_operation(supported_fhir.BULK_PUBLISH)],
    }


def _fill_in(value: Any, facts: Mapping[str, Any]) -> Any:
    """Return JSON with facts instead of their names in braces."""
    match value:
        case str():
            return value.format_map(facts)
        case dict():
            return {name: _fill_in(inner, facts) for name, inner in value.items()}
        case list():
            return [_fill_in(inner, facts) for inner in value]
        case _:
            return value


def _resource(
    kind: ResourceType, operations: Iterable[Operation] = (), referring: Iterable[str] = ()
) -> dict[str, Any]:
    includes = [include.name for include in kind.includes]
    return {
        "type": kind.name,
        "supportedProfile": list(kind.profiles),
        "documentation": kind.documentation,
        "interaction": [{"code": interaction} for interaction in kind.interactions],
        **API["resource"],
        "searchInclude": [f"{kind.name}:{name}" for name in (*includes, "*")] if includes else [],
        "searchRevInclude": list(referring),
        "searchParam": [
            _fields(parameter, "name", "definition", "type", "documentation")
            for parameter in kind.parameters.values()
        ],
        "operation": [
            _operation(operation) for operation in operations if operation.type == kind.name
        ],
    }


def _operation(operation: Operation) -> dict[str, str]:
    return _fields(operation, "name", "definition", "documentation")


def _fields(described: SearchParameter | Operation, *names: str) -> dict[str, str]:
    return {name: getattr(described, name) for name in names}


def _drop_empty(value: Any) -> Any:
    """Return JSON without empty members: FHIR allows no empty list or text."""
    match value:
        case dict():
            cleaned = {name: _drop_empty(inner) for name, inner in value.items()}
            return {
                name: inner for name, inner in cleaned.items() if inner not in (None, "", [], {})
            }
        case list():
            return [_drop_empty(entry) for entry in value]
        case _:
            return value
