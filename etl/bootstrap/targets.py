"""Settings into the target's store."""

from __future__ import annotations

from etl.bootstrap.settings import Settings
from etl.publish.object_keys import CLOSED
from etl.storage.open_store import open_store
from etl.storage.port import Store, StoreOptions


def store_options(settings: Settings) -> StoreOptions:
    """Return the storage options of the target from the settings."""
    mode = settings.publish.folder_mode
    return StoreOptions(**settings.store.model_dump(), mode=mode, closed=CLOSED)


def target_store(settings: Settings) -> Store:
    """Return the store of the target.

    Raises:
        UsageError: the target is neither a folder nor `s3://bucket/prefix`.
    """
    return open_store(settings.target, store_options(settings))
