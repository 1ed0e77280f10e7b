"""Settings into the target: its store, and how bulk files are made."""

from __future__ import annotations

from etl.bootstrap.settings import Settings
from etl.publish.bulk import BulkOptions
from etl.storage.opening import StoreOptions, open_store
from etl.storage.port import Store


def store_options(settings: Settings) -> StoreOptions:
    """Return what the settings say about object storage."""
    return StoreOptions(**settings.store.model_dump())


def target_store(settings: Settings) -> Store:
    """Return the store of the target.

    Raises:
        UsageError: the target is neither a folder nor `s3://bucket/prefix`.
    """
    return open_store(settings.target, store_options(settings))


def bulk_options(settings: Settings) -> BulkOptions | None:
    """Return how bulk files are made; None where none are wanted."""
    wanted = settings.publish
    if not wanted.bulk:
        return None
    return BulkOptions(
        base_url=wanted.base_url,
        cadence=wanted.cadence,
        requires_access_token=wanted.requires_access_token,
        snapshot_every=wanted.snapshot_every,
    )
