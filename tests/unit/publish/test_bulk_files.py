"""Bulk files while they are being filled."""

import random
import tracemalloc

import pytest

from etl.errors import StoreError
from etl.publish.bulk_files import BulkFiles, Spool
from etl.storage.local import LocalStore
from etl.storage.parallel import Writer

MB = 1 << 20


def test_memory_holds_two_files_however_many_types_there_are(tmp_path):
    pieces = [random.Random(number).randbytes(64 << 10) for number in range(16)]

    def peak(kinds):
        store = LocalStore(tmp_path / str(kinds))
        tracemalloc.start()
        with Writer(store) as writer:
            files = BulkFiles(writer, 8 * MB)
            for number in range(130):  # just more than one file of each
                for kind in range(kinds):
                    files.add(f"Type{kind}", bytes(bytearray(pieces[(number + kind) % 16])), 1)
            done = files.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(each["count"] for each in done) == 130 * kinds
        assert {each["type"] for each in done} == {f"Type{kind}" for kind in range(kinds)}
        return most

    assert peak(8) - peak(1) < 9 * MB


def test_a_disk_on_which_nothing_can_be_filled_is_an_error_of_storage(tmp_path):
    spool = Spool(tmp_path / "missing")
    with pytest.raises(StoreError, match="cannot be filled: No such file"):
        spool.write(bytes(2 * MB))
    spool.take()
