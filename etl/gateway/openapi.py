"""OpenAPI 3.1 description of the FHIR base, made from `supported` as the statement is.

For tools that support OpenAPI but not FHIR: client generators, and the fuzzer of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from etl.gateway.fhir_errors import KINDS
from etl.gateway.routes import COMPARTMENT
from etl.gateway.supported_fhir import (
    BULK_PUBLISH,
    EVERYTHING,
    RESULT_PARAMETERS,
    REVINCLUDE,
    ResourceType,
    ResultParameter,
    SearchParameter,
)

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
            "get": _operation("metadata", "What this server does.", [_format()], "Resource", {406})
        }
    }
    shaping = (*RESULT_PARAMETERS, REVINCLUDE) if public else RESULT_PARAMETERS
    for kind in kinds:
        paths |= _paths(kind, shaping)
    if not public:
        paths["/Patient/{id}/$everything"] = {
            "get": _operation(
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
            "get": _operation("bulkPublish", BULK_PUBLISH.documentation, [], "Manifest", {404, 503})
        }
    paths["/_page/{cursor}"] = {
        "get": _operation(
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
        searched = _operation(
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
    post = _operation(f"search{name}ByPost", kind.documentation, [], "Bundle", _SEARCH | {413, 415})
    post["requestBody"] = {"content": {_FORM: {"schema": form}}}
    return compartment | {
        f"/{name}": {
            "get": _operation(
                f"search{name}", kind.documentation, [*described, _format()], "Bundle", _SEARCH
            )
        },
        f"/{name}/_search": {"post": post},
        f"/{name}/{{id}}": {
            "get": _operation(
                f"read{name}", f"One {name}.", [_in_path("id"), _format()], "Resource", _READ
            )
        },
        f"/{name}/{{id}}/_history/{{version}}": {
            "get": _operation(
                f"vread{name}",
                f"One {name}, if that is its version now.",
                [_in_path("id"), _in_path("version")],
                "Resource",
                _READ,
            )
        },
    }


def _operation(
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
