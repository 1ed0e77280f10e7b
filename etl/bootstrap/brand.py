"""The payer's brand and its endpoints, as apps find them."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from etl.bootstrap.served_rooms import DIRECTORY, FHIR
from etl.bootstrap.settings import Settings
from etl.portal.site_file import read_site_file
from etl.smart.brands import BRANDS, Brand, BrandEndpoint, brands_bundle


def brand_of(settings: Settings) -> Brand | None:
    """Return the payer's brand; None if `portal.toml` names no website.

    Raises:
        MappingError: `config-value`: something in `portal.toml` is wrong.
    """
    brand = read_site_file(settings.portal.file).brand
    return brand if brand.website else None


def brand_document(
    settings: Settings, brand: Brand, bases: Collection[str] = (FHIR, DIRECTORY)
) -> bytes:
    """Return the Bundle of the brand and the payer's endpoints as JSON.

    Args:
        settings: name the payer, and where it is reached.
        brand: the payer's.
        bases: paths of the FHIR bases that are there.
    """
    payer, base = settings.payer.name, settings.serve.reached_at
    developers = brand.developers_url or f"{base}/"
    access, directory = f"{payer}: Patient Access API", f"{payer}: Provider Directory API"
    endpoints = {
        FHIR: BrandEndpoint("patient-access", access, f"{base}{FHIR}", developers, of_portal=True),
        DIRECTORY: BrandEndpoint("provider-directory", directory, f"{base}{DIRECTORY}", developers),
    }
    there = [endpoint for path, endpoint in endpoints.items() if path in bases]
    folder = base + BRANDS.rpartition("/")[0]
    return orjson.dumps(brands_bundle(payer, brand, there, folder)) + b"\n"
