"""A Plan-Net server without an index, in memory: what the tester of such servers is tested on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx2

from tests.conformance.plan_net_checks import GROUPS, PROFILES
from tests.conformance.plan_net_elements import (
    Json,
    elements,
    matches,
    matches_modified,
    references,
)

BASE: Final = "http://directory.example/fhir"
GUIDE: Final = "http://hl7.org/fhir/us/davinci-pdex-plan-net"
FAULTS: Final = {
    "a statement that asks for a token": "statement without a token",
    "versioned profiles": "supported profiles",
    "another resource": "read",
    "searches that find all": "search ",
    "searches without system": "search ",
    "modifiers that are ignored": "modifier ",
    "no includes": "_include",
    "a superfluous include": "_include",
    "no reverse includes": "_revinclude",
    "ids alone": "_revinclude",
    "chains that are ignored": "chain ",
    "chains cut short": "chain ",
    "reverse chains that are ignored": "chain _has",
    "no profiles": "profile",
    "no extensions": "must support",
    "references to nothing": "references",
    "no POST": "search by POST",
    "the first page again": "page by page",
}
"""Fault that the server can have → beginning of a check that must find it."""


@dataclass
class PlainServer:
    """Answers from a list of resources.

    Attributes:
        resources: all that there are, in the order of searches.
        fault: one of `FAULTS`, or none.
    """

    resources: list[Json]
    fault: str = ""
    by_name: dict[str, Json] = field(init=False)

    def __post_init__(self) -> None:
        if self.fault == "no extensions":
            self.resources = [_without_extensions(one) for one in self.resources]
        self.by_name = {f"{one['resourceType']}/{one['id']}": one for one in self.resources}

    def client(self) -> httpx2.Client:
        """Return a client that this server answers."""
        return httpx2.Client(transport=httpx2.MockTransport(self.answer))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        path = request.url.path.removeprefix("/fhir/")
        if path == "metadata":
            return self._metadata()
        query = request.url.query.decode()
        if request.method == "POST":
            if self.fault == "no POST":
                return httpx2.Response(405)
            path, query = path.removesuffix("/_search"), request.content.decode()
        type_, _, id_ = path.partition("/")
        if not id_:
            return _json(self._bundle(type_, parse_qsl(query)))
        if self.fault == "another resource":
            id_ = next(name for name in self.by_name if name.startswith(type_)).partition("/")[2]
            return _json({**self.by_name[f"{type_}/{id_}"], "language": "en"})
        found = self.by_name.get(f"{type_}/{id_}")
        return httpx2.Response(404) if found is None else _json(self._shown(found))

    def _metadata(self) -> httpx2.Response:
        if self.fault == "a statement that asks for a token":
            return httpx2.Response(401)
        version = "|1.2.0" if self.fault == "versioned profiles" else ""
        types = {group.type: group for group in GROUPS}
        return _json(
            {
                "resourceType": "CapabilityStatement",
                "fhirVersion": "4.0.1",
                "format": ["json"],
                "instantiates": [f"{GUIDE}/CapabilityStatement/plan-net"],
                "rest": [
                    {
                        "resource": [
                            {
                                "type": type_,
                                "supportedProfile": [
                                    f"{GUIDE}/StructureDefinition/plannet-{name}{version}"
                                    for name in (*PROFILES, "InsurancePlan")
                                ],
                                "searchParam": [
                                    {"name": name} for name in types[type_].searches.split()
                                ],
                                "searchInclude": [
                                    f"{type_}:{name}" for name in types[type_].includes.split()
                                ],
                                "searchRevInclude": [
                                    path
                                    for group in GROUPS
                                    if group.type == type_
                                    for path in group.reverse_includes.split()
                                ],
                            }
                            for type_ in types
                        ]
                    }
                ],
            }
        )

    def _bundle(self, type_: str, pairs: list[tuple[str, str]]) -> Json:
        size = next((int(value) for name, value in pairs if name == "_count"), 1_000)
        start = next((int(value) for name, value in pairs if name == "start"), 0)
        conditions = [pair for pair in pairs if pair[0] not in ("_count", "start")]
        conditions = [pair for pair in conditions if "include" not in pair[0]]
        found = [
            one
            for one in self.resources
            if one["resourceType"] == type_
            and all(self._is_match(one, name, value) for name, value in conditions)
        ]
        page = found[start : start + size]
        if self.fault == "the first page again":
            page = found[:size]
        entries = [{"resource": self._shown(one), "search": {"mode": "match"}} for one in page]
        entries += [
            {"resource": self._shown(one), "search": {"mode": "include"}}
            for one in self._included(page, type_, pairs)
        ]
        links = [{"relation": "self", "url": f"{BASE}/{type_}"}]
        if start + size < len(found):
            url = f"{BASE}/{type_}?{httpx2.QueryParams([*conditions, ('_count', str(size))])}"
            links.append({"relation": "next", "url": f"{url}&start={start + size}"})
        return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}

    def _included(
        self, page: Iterable[Json], type_: str, pairs: list[tuple[str, str]]
    ) -> Iterable[Json]:
        names: dict[str, None] = {}
        for option, value in pairs:
            source, _, name = value.partition(":")
            if option == "_include" and self.fault != "no includes":
                names |= dict.fromkeys(r for one in page for r in references(one, source, name))
                if self.fault == "a superfluous include":
                    names |= dict.fromkeys(self.by_name)
            elif option == "_revinclude" and self.fault != "no reverse includes":
                wanted = {f"{type_}/{one['id']}" for one in page}
                names |= {
                    other: None
                    for other, one in self.by_name.items()
                    if one["resourceType"] == source and wanted & set(references(one, source, name))
                }
        return [self.by_name[name] for name in names]

    def _is_match(self, resource: Json, name: str, value: str) -> bool:
        type_ = resource["resourceType"]
        if name.startswith("_has:"):
            _, other, reference, inner = name.split(":")
            return self.fault == "reverse chains that are ignored" or any(
                f"{type_}/{resource['id']}" in references(one, other, reference)
                and self._is_match(one, inner, value)
                for one in self.resources
                if one["resourceType"] == other
            )
        reference, _, chain = name.partition(".")
        if chain:
            targets = references(resource, type_, reference)
            if self.fault == "chains cut short":
                targets = targets[:1] if int(resource["id"], 36) % 2 else []
            return self.fault == "chains that are ignored" or any(
                self._is_match(self.by_name[target], chain, value) for target in targets
            )
        if self.fault == "searches that find all" and name != "_id":
            return True
        if ":" in name:
            ignored = self.fault == "modifiers that are ignored"
            return ignored or matches_modified(resource, type_, name, value)
        if name == "_id":
            value = value if self.fault == "ids alone" else value.rpartition("/")[2]
        elif "|" in value:
            system, _, value = value.partition("|")
            if self.fault == "searches without system":
                return True
            return matches(resource, type_, name, value) and system in json.dumps(resource)
        return matches(resource, type_, name, value)

    def _shown(self, resource: Json) -> Json:
        shown = json.loads(json.dumps(resource))
        if self.fault == "no profiles":
            del shown["meta"]["profile"]
        if self.fault == "references to nothing":
            for reference in [*elements(shown, "partOf"), *elements(shown, "managingOrganization")]:
                reference["reference"] = f"{reference['reference'].partition('/')[0]}/nothing"
        found: Json = shown
        return found


def _without_extensions(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_extensions(v) for k, v in value.items() if k != "extension"}
    return [_without_extensions(one) for one in value] if isinstance(value, list) else value


def _json(document: Json) -> httpx2.Response:
    return httpx2.Response(200, json=document, headers={"content-type": "application/fhir+json"})
