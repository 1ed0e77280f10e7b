"""Ids of an extract as sorted files in staging, by the bucket of their hash.

Units look up the ids of other units in them. A file is read as a whole; the number of buckets keeps
it at a few MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etl.columns.digests import NO_HASHES, Hashes, among
from etl.sources.partition.ids import OwnedIds
from etl.sources.partition.partition_rows import partition_of
from etl.spark.staging import Staging

NO_IDS = OwnedIds(NO_HASHES, NO_HASHES)


@dataclass(frozen=True, slots=True)
class IdFiles:
    """The ids of an extract with their owners; can be sent to another process.

    Attributes:
        staging: the folder of the files.
        buckets: number of buckets.
        existing: table and bucket of each file; other buckets have no ids.
    """

    staging: Staging
    buckets: int
    existing: frozenset[tuple[str, int]] = frozenset()

    def save(self, table: str, bucket: int, ids: OwnedIds) -> None:
        """Write the ids of a bucket of `member`, `claim` or `coverage`."""
        self.staging.put(f"{table}/{bucket}", np.concatenate([ids.ids, ids.owners]).tobytes())

    def read(self, table: str, bucket: int) -> OwnedIds:
        """Return the ids of a bucket."""
        if (table, bucket) not in self.existing:
            return NO_IDS
        pair: Any = np.frombuffer(self.staging.get(f"{table}/{bucket}"), np.uint64).reshape(2, -1)
        return OwnedIds(pair[0], pair[1])

    def find_owners(self, table: str, hashes: Hashes) -> OwnedIds:
        """Return those of some ids, ascending, that the extract has."""
        buckets, ids, owners = partition_of(hashes, self.buckets), [NO_HASHES], [NO_HASHES]
        for bucket in np.unique(buckets).tolist():
            stored = self.read(table, bucket)
            is_wanted = among(stored.ids, hashes[buckets == bucket])
            ids.append(stored.ids[is_wanted])
            owners.append(stored.owners[is_wanted])
        return OwnedIds(np.concatenate(ids), np.concatenate(owners))
