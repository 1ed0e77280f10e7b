"""The payer's brand and endpoints for app directories: a User-access Brands Bundle.

Source: SMART App Launch 2.2.0, "User-access Brands and Endpoints", with the profiles
user-access-brand (Organization), user-access-endpoint (Endpoint) and user-access-brands-bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

BRANDS: Final = "/.well-known/user-access-brands.json"
"""Path of the Bundle. The guide leaves it open; `.well-known/smart-configuration` names its URL."""

_PROFILES: Final = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/"
_EXTENSIONS: Final = "http://hl7.org/fhir/StructureDefinition/"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_URI: Final = "urn:ietf:rfc:3986"


_Url = Annotated[str, Field(pattern=r"^(https://[^\s/?#@]+(/\S*)?)?$")]


class Brand(BaseModel):
    """A payer's brand. URLs are `https:` and absolute; what is empty is left out.

    Attributes:
        website: its public website; without one, the payer has no brand.
        updated: day on which any of this was changed last.
        aliases: other names to find it by.
        logo: URL of its logo, SVG or PNG.
        logo_license: URL of the terms under which apps may show it.
        portal_name: name of the portal where members have their accounts.
        portal_url: that portal.
        portal_description: which members it is for.
        developers_url: where developers learn how to connect; the developer portal if empty.
        states: states in which the payer has plans, two letters each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    website: _Url = ""
    updated: date | None = None
    aliases: tuple[str, ...] = ()
    logo: _Url = ""
    logo_license: _Url = ""
    portal_name: str = ""
    portal_url: _Url = ""
    portal_description: str = ""
    developers_url: _Url = ""
    states: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _require_day(self) -> Brand:
        if self.website and self.updated is None:
            text = "a website needs `updated`: apps see by it that something changed"
            raise PydanticCustomError("brand", text)
        return self

    @property
    def instant(self) -> str:
        """FHIR instant at which any of this was changed last."""
        return f"{self.updated}T00:00:00Z"

    @property
    def identifier(self) -> dict[str, str]:
        """Identifier that apps merge brands by: the website, without `www.` and path."""
        host = urlsplit(self.website).netloc.lower().removeprefix("www.")
        return {"system": _URI, "value": f"https://{host}"}


@dataclass(frozen=True, slots=True)
class BrandEndpoint:
    """A FHIR base of the payer.

    Attributes:
        id: logical id in the Bundle.
        name: its name.
        address: its FHIR base URL.
        developers: URL of a page where developers learn how to use it.
        of_portal: whether it serves the same data as the members' portal.
    """

    id: str
    name: str
    address: str
    developers: str
    of_portal: bool = False


def brands_bundle(
    payer: str, brand: Brand, endpoints: Sequence[BrandEndpoint], base: str
) -> dict[str, Any]:
    """Return the Bundle: the payer as an Organization, and its endpoints.

    Args:
        payer: the payer's name for people.
        brand: its brand.
        endpoints: its FHIR bases.
        base: URL before `/Type/id` in `fullUrl`.
    """
    resources = [
        _organization(payer, brand, endpoints),
        *(_endpoint(endpoint, brand) for endpoint in endpoints),
    ]
    return {
        "resourceType": "Bundle",
        "meta": _meta(brand, "user-access-brands-bundle"),
        "type": "collection",
        "timestamp": brand.instant,
        "entry": [
            {"fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}", "resource": resource}
            for resource in resources
        ],
    }


def _meta(brand: Brand, profile: str) -> dict[str, Any]:
    return {"lastUpdated": brand.instant, "profile": [f"{_PROFILES}{profile}"]}


def _organization(payer: str, brand: Brand, endpoints: Sequence[BrandEndpoint]) -> dict[str, Any]:
    references = {endpoint.id: {"reference": f"Endpoint/{endpoint.id}"} for endpoint in endpoints}
    logo = [("brandLogo", brand.logo), ("brandLogoLicense", brand.logo_license)]
    extensions = [
        _extension("organization-brand", [_part(name, "Url", url) for name, url in logo if url])
    ]
    portal = [
        ("portalName", "String", brand.portal_name),
        ("portalDescription", "Markdown", brand.portal_description),
        ("portalUrl", "Url", brand.portal_url),
    ]
    parts = [_part(*part) for part in portal if part[2]]
    if parts:
        parts += [
            _part("portalEndpoint", "Reference", references[endpoint.id])
            for endpoint in endpoints
            if endpoint.of_portal
        ]
    extensions.append(_extension("organization-portal", parts))
    body = {
        "resourceType": "Organization",
        "id": "payer",
        "meta": _meta(brand, "user-access-brand"),
        "extension": [extension for extension in extensions if extension["extension"]],
        "identifier": [brand.identifier],
        "active": True,
        "type": [{"coding": [{"system": f"{_TERMINOLOGY}organization-type", "code": "ins"}]}],
        "name": payer,
        "alias": list(brand.aliases),
        "telecom": [{"system": "url", "value": brand.website}],
        "address": [{"state": state, "country": "US"} for state in brand.states],
        "endpoint": list(references.values()),
    }
    return {name: value for name, value in body.items() if value != []}


def _extension(name: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"extension": parts, "url": f"{_EXTENSIONS}{name}"}


def _part(name: str, kind: str, value: object) -> dict[str, Any]:
    return {"url": name, f"value{kind}": value}


def _endpoint(endpoint: BrandEndpoint, brand: Brand) -> dict[str, Any]:
    payload = {"system": f"{_TERMINOLOGY}endpoint-payload-type", "code": "none"}
    return {
        "resourceType": "Endpoint",
        "id": endpoint.id,
        "meta": _meta(brand, "user-access-endpoint"),
        "extension": [{"url": f"{_EXTENSIONS}endpoint-fhir-version", "valueCode": "4.0.1"}],
        "status": "active",
        "connectionType": {
            "system": f"{_TERMINOLOGY}endpoint-connection-type",
            "code": "hl7-fhir-rest",
        },
        "name": endpoint.name,
        "managingOrganization": {"reference": "Organization/payer"},
        "contact": [{"system": "url", "value": endpoint.developers}],
        "payloadType": [{"coding": [payload]}],
        "address": endpoint.address,
    }
