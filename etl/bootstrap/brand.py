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
        MappingError: `config-value`: `portal.toml` is invalid.
    """
    brand = read_site_file(settings.portal.file).brand
    return brand if brand.website else None


def brand_document(
    settings: Settings, brand: Brand, bases: Collection[str] = (FHIR, DIRECTORY)
) -> bytes:
    """Return the Bundle of the brand and the payer's endpoints as JSON.

    Args:
        settings: give the payer's name and public URL.
        bases: paths of the FHIR bases that are served.
    """
    payer, base = settings.payer.name, settings.serve.reached_at
    guide = brand.developers_url or f"{base}/"
    access_name, directory_name = f"{payer}: Patient Access API", f"{payer}: Provider Directory API"
    endpoints = {
        FHIR: BrandEndpoint("patient-access", access_name, f"{base}{FHIR}", guide, of_portal=True),
        DIRECTORY: BrandEndpoint("provider-directory", directory_name, f"{base}{DIRECTORY}", guide),
    }
    served = [endpoint for path, endpoint in endpoints.items() if path in bases]
    brands_folder = base + BRANDS.rpartition("/")[0]
    return orjson.dumps(brands_bundle(payer, brand, served, brands_folder)) + b"\n"
