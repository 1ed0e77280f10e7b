"""Rows for the suites, and the suites' results as the next release keeps them.

A suite comes to the same over the same rows. So that the rows seldom change, they are those of few
members (`Share`), and their digest is kept beside what came of them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from etl.columns.digests import Hashes, hash_ids
from etl.columns.places import place_keys
from etl.errors import StoreError
from etl.model.canonical_tables import DIRECTORY_TABLES, FILE_COLUMN, ROW_COLUMN, TABLES
from etl.quality.suites.expectations import SuiteResult
from etl.quality.suites.pages import Page
from etl.quality.suites.sample import EVERY_ROW, NO_ROW, Sampled, Share
from etl.sources import Loaded, Partitions

_FORMAT: Final = 1


def share_of(partitions: Partitions, gx_rows: int) -> Share:
    """Return of which members the suites look at the rows.

    Args:
        partitions: the extract.
        gx_rows: about how many rows of its largest file they are to look at, more than none.
    """
    rows: Counter[str] = Counter()
    for file in partitions.files:
        rows[file.table] += partitions.rows_read.get(file.name, 0)
    return Share.of(max(rows.values(), default=0), gx_rows)


def of_members(share: Share | None, places: Any, owners: Hashes) -> Sampled:
    """Return which rows of members are looked at.

    Args:
        share: of which members; None where no suites are run.
        places: numpy `int64`, shape (n,): `place_keys` of the rows.
        owners: the hash of each row's member.
    """
    if share is None:
        return NO_ROW
    return EVERY_ROW if share.is_all else Sampled(np.sort(places[share.holds(owners)]))


def of_partition(share: Share | None, partitions: Partitions, index: int) -> Sampled:
    """Return which rows of a partition are looked at."""
    if share is None or not share.reaches(index, partitions.count):
        return NO_ROW
    if share.is_all:
        return EVERY_ROW
    files, rows, owners = partitions.owners(index)
    return of_members(share, place_keys(files, rows), owners)


def of_directory(share: Share | None, loaded: Loaded) -> Sampled:
    """Return which rows of the directory are looked at: the share holds for hashes of their ids."""
    if share is None:
        return NO_ROW
    places, owners = [], []
    for name in DIRECTORY_TABLES:
        table = loaded.tables[name]
        files, rows = (table.column(column).to_numpy() for column in (FILE_COLUMN, ROW_COLUMN))
        places.append(place_keys(files, rows))
        owners.append(hash_ids(table.column(TABLES[name].key[0])))
    return of_members(share, np.concatenate(places), np.concatenate(owners))


def to_bytes(results: Iterable[SuiteResult]) -> bytes:
    """Return what suites came to as bytes, the same for the same."""
    tables = [
        {**asdict(each), "unexpected": [[*key, count] for key, count in each.unexpected.items()]}
        for each in results
    ]
    body = json.dumps({"format": _FORMAT, "tables": tables}, separators=(",", ":"))
    return gzip.compress(body.encode(), mtime=0)


def from_bytes(data: bytes, what: str) -> Mapping[str, SuiteResult]:
    """Return what the suite of each table came to.

    Raises:
        StoreError: the bytes are something else.
    """
    try:
        body = json.loads(gzip.decompress(data))
        if body["format"] != _FORMAT:
            raise StoreError(f"{what} is of a later format: update the program")
        return {each["table"]: _result(each) for each in body["tables"]}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise StoreError(f"{what} holds no suites: the object is damaged; run verify") from None


def _result(each: Mapping[str, Any]) -> SuiteResult:
    unexpected = {(rule, columns): count for rule, columns, count in each["unexpected"]}
    return SuiteResult(**{**each, "unexpected": unexpected, "page": Page(**each["page"])})
