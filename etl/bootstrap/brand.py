"""The payer's brand and its endpoints, as apps find them."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from etl.bootstrap.settings import Settings
from etl.gateway.supported_fhir import api_of
from etl.model.data_models import DataModel
from etl.portal.site_file import read_site_file
from etl.smart.brands import BRANDS, Brand, BrandEndpoint, brands_bundle


def brand_of(settings: Settings) -> Brand | None:
    """Return the payer's brand; None if `portal.toml` names no website.

    Raises:
        MappingError: `config-value`: `portal.toml` is invalid.
    """
    brand = read_site_file(settings.portal.file).brand
    return brand if brand.website else None


def brand_document(settings: Settings, brand: Brand, models: Iterable[DataModel]) -> bytes:
    """Return the Bundle of the brand and the payer's endpoints as JSON.

    Args:
        settings: give the payer's name and public URL.
        models: data models whose APIs are served.
    """
    payer, base = settings.payer.name, settings.serve.reached_at
    guide = brand.developers_url or f"{base}/"
    endpoints = [
        BrandEndpoint(
            api_of(model).name,
            f"{payer}: {api_of(model).title}",
            f"{base}{model.path}",
            guide,
            of_portal=model.has_members,
        )
        for model in models
    ]
    brands_folder = base + BRANDS.rpartition("/")[0]
    return orjson.dumps(brands_bundle(payer, brand, endpoints, brands_folder)) + b"\n"
