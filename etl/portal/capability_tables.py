"""A CapabilityStatement laid out for tables, from the JSON that the server serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from etl.documents.packaged_toml import read_beside
from etl.gateway.capability import OAUTH_URIS

Json = Mapping[str, Any]

HOLDS: Final[Mapping[str, str]] = read_beside(__file__, "resource_types.toml")
"""One line for each type, claims first, in the order in which developers meet them."""

_GUIDES: Final[Mapping[str, str]] = read_beside(__file__, "guide_names.toml")
"""Part of a guide's canonical → its name for people; the first that fits."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A CapabilityStatement, and what its pages show of it in other words.

    Attributes:
        document: its JSON.
        rest: its only element `rest`; empty if it has none.
        resources: those of `rest`, claims first.
        guides: implementation guides, in short.
        oauth: name → URL of the OAuth endpoints.
    """

    document: Json
    rest: Json
    resources: tuple[Json, ...]
    guides: tuple[str, ...]
    oauth: Mapping[str, str]


def read_statement(document: Json) -> Statement:
    """Return a CapabilityStatement for its pages. Missing elements are empty."""
    rest: Json = next(iter(document.get("rest", ())), {})
    ranks = {name: rank for rank, name in enumerate(HOLDS)}
    oauth = {
        part["url"]: part["valueUri"]
        for extension in rest.get("security", {}).get("extension", ())
        if extension.get("url") == OAUTH_URIS
        for part in extension.get("extension", ())
        if "valueUri" in part
    }
    resources = sorted(
        rest.get("resource", ()),
        key=lambda resource: (ranks.get(resource["type"], len(ranks)), resource["type"]),
    )
    guides = map(_guide, document.get("implementationGuide", ()))
    return Statement(document, rest, tuple(resources), tuple(guides), oauth)


def _guide(canonical: str) -> str:
    """Return a guide's name for people.

    `http://hl7.org/fhir/us/carin-bb/ImplementationGuide/hl7.fhir.us.carin-bb|2.2.0` gives
    `CARIN Blue Button 2.2.0`.
    """
    url, _, version = canonical.partition("|")
    name = next((name for part, name in _GUIDES.items() if part in url), url)
    return f"{name} {version}".strip()
