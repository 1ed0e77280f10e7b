"""Settings into a folder of a provider directory's public files."""

from __future__ import annotations

from pathlib import Path

from etl.bootstrap.brand import brand_document, brand_of
from etl.bootstrap.settings import Settings, target_store
from etl.errors import UsageError
from etl.model.data_models import DIRECTORY, stated_model
from etl.publish.canonical_json import day_instant
from etl.publish.public_files import PublicPage, WrittenFolder, public_pages, write_folder
from etl.publish.reader import open_current
from etl.smart.brands import BRANDS


def export_directory(settings: Settings, folder: Path) -> WrittenFolder:
    """Write the public files of the release that readers see.

    Args:
        settings: name the target.
        folder: made where it is missing.

    Raises:
        UsageError: nothing was published yet, or it is no provider directory, or has no files.
        MappingError: the brand's settings are wrong.
        StoreError: the target cannot be read, or the folder cannot be written.
    """
    release = open_current(target_store(settings)).release
    if release is None:
        raise UsageError(f"{settings.target}: nothing was published yet")
    model = stated_model(release.manifest.facts.mapping)
    if model is not DIRECTORY:
        raise UsageError(
            f"{settings.target} holds {model.what}, and a folder for everybody is made of "
            f"{DIRECTORY.what} alone"
        )
    publish = settings.publish
    pages = public_pages(release.manifest, publish.base_url, publish.cadence)
    if not pages:
        raise UsageError(
            f"{settings.target}: release {release.id} has no such files; publish the directory "
            "again with publish.bulk = true"
        )
    document = brand_document(settings)
    if document is not None and (brand := brand_of(settings)) is not None:
        pages[BRANDS.lstrip("/")] = PublicPage(document, day_instant(brand.updated))
    written = write_folder(release, pages, folder)
    if document is None:  # it may have been configured before
        (folder / BRANDS.lstrip("/")).unlink(missing_ok=True)
    return written
