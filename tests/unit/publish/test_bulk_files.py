"""Bulk files while they are being filled."""

import random
import tracemalloc

import pytest

from etl.errors import StoreError
from etl.publish.bulk_files import BulkFiles, BulkOptions
from etl.storage.local import LocalStore
from etl.storage.parallel import Writer
from tests.memory_store import MemoryStore

MB = 1 << 20


def test_memory_holds_one_file_however_many_types_there_are(tmp_path):
    pieces = [random.Random(number).randbytes(64 << 10) for number in range(16)]
    options = BulkOptions(file_bytes=8 * MB, work=tmp_path)

    def peak(kinds):
        store = LocalStore(tmp_path / str(kinds))
        tracemalloc.start()
        with Writer(store) as writer, BulkFiles(writer, options) as files:
            for number in range(130):  # just more than one file of each
                for kind in range(kinds):
                    files.add(f"Type{kind}", pieces[(number + kind) % 16], 1)
            done = files.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(done) == 2 * kinds
        return most

    assert peak(8) - peak(1) < 2 * MB, "files that are not full are held in memory"


def test_nothing_is_left_of_files_that_are_given_up(tmp_path):
    store = MemoryStore()

    def fill():
        with Writer(store) as writer, BulkFiles(writer, BulkOptions(work=tmp_path)) as files:
            files.add("Patient", bytes(2 * MB), 1)
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    assert list(tmp_path.iterdir()) == []
    assert list(store.list()) == []


def test_a_disk_on_which_nothing_can_be_filled_is_an_error_of_storage(tmp_path):
    options = BulkOptions(work=tmp_path / "missing")
    with (
        Writer(MemoryStore()) as writer,
        BulkFiles(writer, options) as files,
        pytest.raises(StoreError, match="cannot be filled: No such file"),
    ):
        files.add("Patient", bytes(2 * MB), 1)
