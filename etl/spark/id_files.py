"""Ids of an extract as sorted files in staging, by the bucket of their hash.

A unit asks them itself for the ids of others that its rows name. A bucket is of so many bytes of
the extract that its file has a few MB at most: it is read whole.
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
    """The ids of an extract, with a member that each was seen with; can be sent to another process.

    Attributes:
        staging: where their files are.
        buckets: into how many they are cut.
        there: table and bucket of each file: what is not in it has no ids, and was not lost.
    """

    staging: Staging
    buckets: int
    there: frozenset[tuple[str, int]] = frozenset()

    def save(self, table: str, bucket: int, ids: OwnedIds) -> None:
        """Write the ids of a bucket of `member`, `claim` or `coverage`."""
        self.staging.put(f"{table}/{bucket}", np.concatenate([ids.ids, ids.owners]).tobytes())

    def read(self, table: str, bucket: int) -> OwnedIds:
        """Return the ids of a bucket."""
        if (table, bucket) not in self.there:
            return NO_IDS
        both: Any = np.frombuffer(self.staging.get(f"{table}/{bucket}"), np.uint64).reshape(2, -1)
        return OwnedIds(both[0], both[1])

    def find_owners(self, table: str, asked: Hashes) -> OwnedIds:
        """Return those of some ids, ascending, that there are."""
        of_each, found = partition_of(asked, self.buckets), [NO_IDS]
        for bucket in np.unique(of_each).tolist():
            ids = self.read(table, bucket)
            is_asked = among(ids.ids, asked[of_each == bucket])
            found.append(OwnedIds(ids.ids[is_asked], ids.owners[is_asked]))
        return OwnedIds(
            np.concatenate([each.ids for each in found]),
            np.concatenate([each.owners for each in found]),
        )
