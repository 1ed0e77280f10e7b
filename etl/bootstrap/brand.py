"""Settings into the payer's brand and its endpoints (`etl.smart.brands`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import date
from typing import Final

import orjson

from etl.bootstrap.served_rooms import DIRECTORY, FHIR
from etl.bootstrap.settings import Settings
from etl.errors import MappingError, Mistakes
from etl.publish.canonical_json import day_instant
from etl.smart.brands import BRANDS, Brand, BrandEndpoint, brands_bundle

_HTTPS: Final = re.compile(r"https://[^\s/?#@]+(/\S*)?")
_URLS: Final = ("website", "logo", "logo_license", "portal_url", "developers_url")


def brand_of(settings: Settings) -> Brand | None:
    """Return the payer's brand; None where no website is configured.

    Raises:
        MappingError: `config-brand`: a URL is none of `https:`, or the day of the last change is
            missing or no date.
    """
    Mistakes().report(_mistakes(settings))
    wanted = settings.brand
    if not wanted.website:
        return None
    same_facts = wanted.model_dump(exclude={"updated", "developers_url"})
    return Brand(name=settings.payer.name, updated=day_instant(wanted.updated), **same_facts)


def brand_document(settings: Settings, bases: Collection[str] = (FHIR, DIRECTORY)) -> bytes | None:
    """Return the Bundle of the brand and the payer's endpoints as JSON; None without a brand.

    Args:
        settings: name the payer, its brand, and where it is reached.
        bases: paths of the FHIR bases that are there.

    Raises:
        MappingError: as `brand_of`.
    """
    brand = brand_of(settings)
    if brand is None:
        return None
    base = settings.serve.reached_at
    developers = settings.brand.developers_url or f"{base}/"
    access, directory = f"{brand.name}: Patient Access API", f"{brand.name}: Provider Directory API"
    endpoints = {
        FHIR: BrandEndpoint("patient-access", access, f"{base}{FHIR}", developers, of_portal=True),
        DIRECTORY: BrandEndpoint("provider-directory", directory, f"{base}{DIRECTORY}", developers),
    }
    there = [endpoint for path, endpoint in endpoints.items() if path in bases]
    folder = base + BRANDS.rpartition("/")[0]
    return orjson.dumps(brands_bundle(brand, there, folder)) + b"\n"


def _mistakes(settings: Settings) -> Iterator[MappingError]:
    wanted = settings.brand
    for name in _URLS:
        if (url := getattr(wanted, name)) and not _HTTPS.fullmatch(url):
            origin = settings.origin("brand", name)
            yield MappingError(origin, "config-brand", f"brand.{name} is no URL of https")
    try:
        date.fromisoformat(wanted.updated or "0001-01-01")
    except ValueError:
        what = "brand.updated is no day"
        hint = "for instance 2026-11-27"
        yield MappingError(settings.origin("brand", "updated"), "config-brand", what, hint=hint)
    if wanted.website and not wanted.updated:
        yield MappingError(
            settings.origin("brand", "website"),
            "config-brand",
            "brand.website needs brand.updated: apps see by it that something changed",
            hint="for instance updated = '2026-11-27'",
        )
