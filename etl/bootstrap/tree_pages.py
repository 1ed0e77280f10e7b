"""The pages of a target that belong to no release: of Bulk Publish, and of all runs."""

from __future__ import annotations

import logging

from etl.errors import StoreError
from etl.publish import object_keys
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.run_reports import read_nights, replace_page
from etl.reports.earlier_reports import NIGHTS, nights_page
from etl.storage.port import Store

log = logging.getLogger(__name__)


def refresh_tree_pages(store: Store, bulk: BulkOptions | None) -> None:
    """Bring the pages up to date with the releases and reports of a target.

    Args:
        store: the target.
        bulk: options of the Bulk Publish pages; None to leave them.

    Raises:
        StoreError: the Bulk Publish pages could not be written; call again.
    """
    if bulk is not None:
        write_pages(store, bulk)
    refresh_nights_page(store)


def refresh_nights_page(store: Store) -> None:
    """Bring the page of all runs up to date; a failure is only logged.

    No release depends on this page, and the next run writes it again.
    """
    try:
        replace_page(
            store,
            object_keys.NIGHTS_PAGE,
            lambda: nights_page(*read_nights(store, NIGHTS)).encode(),
        )
    except StoreError as error:
        log.warning("%s: the page of all reports is not up to date", error)
