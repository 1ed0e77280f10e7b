"""Keys of the tree's objects."""

from __future__ import annotations

from typing import Final

CURRENT: Final = "current.json"
BULK_ROOT: Final = "$bulk-publish"
"""Page where consumers of Bulk Publish start: written after the pointer, never before."""
NIGHTS_PAGE: Final = "reports/index.html"
"""Page of all reports: every run writes it again, and no release names it."""
EXPIRY: Final = "reports/expired.json"
"""Object that records the deleted reports and quarantines of existing releases."""
DICTIONARY: Final = "dictionary/"
"""Folder of the data dictionaries of releases; a manifest names one among its reports."""
RUN_RECORDS: Final = "runs/"
"""Folder of the records of runs: no release names them, and each run deletes the oldest."""
STAGING: Final = "staging/"
"""Folder for exchange between the driver and the executors of a run; empty at its end."""
CLOSED: Final = ("quarantine", "rows", "memory", "leases", "runs", "staging")
"""Folders that no reader needs: only the owner can access them, whatever the tree's mode."""
FORMAT: Final = 1
"""Version of the tree's layout. It is part of every content hash: a change rewrites everything."""


def patient_block(digest: str) -> str:
    """Return the key of a patient's block with that SHA-256."""
    return f"patients/{digest[:2]}/{digest}.ndjson.gz"


def patient_index(digest: str) -> str:
    """Return the key of a patient's index with that SHA-256."""
    return f"patients/{digest[:2]}/{digest}.index.json"


def directory_block(digest: str) -> str:
    """Return the key of a directory shard's block with that SHA-256."""
    return f"directory/{digest[:2]}/{digest}.ndjson.gz"


def directory_index(digest: str) -> str:
    """Return the key of a directory shard's index with that SHA-256."""
    return f"directory/{digest[:2]}/{digest}.index.json"


def directory_segment(digest: str) -> str:
    """Return the key of a segment of the directory's columns with that SHA-256."""
    return f"directory/{digest[:2]}/{digest}.columns"


def catalog_shard(digest: str) -> str:
    """Return the key of a catalog shard with that SHA-256."""
    return f"catalog/{digest}.json"


def manifest(release: str) -> str:
    """Return the key of a release's manifest."""
    return f"releases/{release}/manifest.json"


def signature(release: str) -> str:
    """Return the key of the signature of a release's manifest."""
    return f"releases/{release}/signature.json"


def time_stamp(release: str) -> str:
    """Return the key of the time stamp of a release's manifest."""
    return f"releases/{release}/timestamp.tsr"


def resumed(release: str) -> str:
    """Return the key of the object that lets runs publish after a rollback."""
    return f"releases/{release}/resumed.json"


def run_record(run: str) -> str:
    """Return the key of the record of a run."""
    return f"{RUN_RECORDS}{run}.json"


def digest_of(key: str) -> str:
    """Return the SHA-256 in a content-addressed key."""
    return key.rpartition("/")[2].partition(".")[0]
