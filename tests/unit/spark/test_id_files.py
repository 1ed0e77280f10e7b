"""Ids in sorted files are found with their members, and no others."""

import numpy as np

from etl.publish.target import Target
from etl.sources.partition.ids import OwnedIds
from etl.sources.partition.partition_rows import partition_of
from etl.spark.id_files import IdFiles
from etl.spark.staging import Staging
from etl.storage.port import StoreOptions

BUCKETS = 3
MOST = (1 << 64) - 1


def test_ids_that_are_there_are_found_with_their_members_and_no_others(tmp_path):
    ids = np.unique(np.random.default_rng(5).integers(0, MOST, 1000, np.uint64))
    where = partition_of(ids, BUCKETS)
    files = IdFiles(Staging(Target(str(tmp_path), StoreOptions())), BUCKETS)
    for bucket in range(BUCKETS - 1):  # of the last none is there
        mine = ids[where == bucket]
        files.save("claim", bucket, OwnedIds(mine, mine ^ np.uint64(7)))
    there = frozenset(("claim", bucket) for bucket in range(BUCKETS - 1))
    files = IdFiles(files.staging, BUCKETS, there)
    asked = np.unique(np.concatenate([ids[::100], np.array([0, 17, MOST], np.uint64)]))
    expected = np.intersect1d(asked, ids[where < BUCKETS - 1])
    known = files.find_owners("claim", asked)
    assert 0 < len(expected) < len(asked)
    assert known.ids.tolist() == expected.tolist()
    assert (known.owners == expected ^ np.uint64(7)).all()
    assert not len(files.find_owners("coverage", asked).ids)
