"""What a night costs follows what changed."""

import tracemalloc
from collections import Counter

import pytest

from etl.errors import StoreError
from etl.publish.block import PatientResources
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.directory import write_directory
from etl.publish.manifest import ReleaseFacts
from etl.publish.partition_writer import write_partition
from etl.publish.reader import open_current
from etl.publish.release import assemble, commit
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import (
    LATER,
    NOW,
    claim,
    logical_id,
    patient,
    payer,
    publish,
    resource,
    saved,
)


def by_folder(keys):
    return Counter(key.partition("/")[0] for key in keys)


def person(number, amount="1"):
    name = f"p{number}"
    resources = [resource("Patient", name), claim(name, 1, "2020-01-01", amount=amount)]
    return PatientResources(logical_id(name), resources)


def test_with_one_percent_changed_the_writes_are_theirs_and_nothing_else(store):
    people = [person(number) for number in range(2500)]
    first = publish(store, people)
    assert len(first.manifest.catalog) == 4
    changed = [
        person(number, "2") if number % 100 == 0 else person(number) for number in range(2500)
    ]
    store.writes.clear()
    store.reads.clear()
    second = publish(store, changed, now=LATER)
    touched = sum(
        a != b for a, b in zip(first.manifest.catalog, second.manifest.catalog, strict=True)
    )
    assert by_folder(store.writes) == {
        "patients": 2 * 25,
        "catalog": touched,
        "releases": 1,
        "current.json": 1,
    }
    assert by_folder(key for key, _ in store.reads)["patients"] == 25
    few = [person(number, "3") if number == 7 else changed[number] for number in range(2500)]
    store.writes.clear()
    publish(store, few, now="2026-11-26T00:00:00Z")
    written = {"patients": 2, "catalog": 1, "releases": 1, "current.json": 1}
    assert by_folder(store.writes) == written


@pytest.mark.parametrize("lost", [logical_id("nobody"), logical_id("p3")])
def test_who_is_to_stay_must_be_there_and_must_not_have_changed(store, lost):
    publish(store, [person(3), person(4)])
    base = open_current(store)
    result = write_partition(store, {}, [person(3, "2")], LATER).keeping([lost])
    shared = write_directory(store, base.release, [payer()], LATER)
    with pytest.raises(StoreError, match="1 patients should be unchanged"):
        assemble(store, base, [result], shared, ReleaseFacts("full"), LATER)


class OnDisk(MemoryStore):
    """Keeps objects in files without pathlib, whose interned names would show as memory."""

    def __init__(self, folder):
        super().__init__()
        self._folder = str(folder)
        folder.mkdir(parents=True)

    def put(self, key, data):
        with open(self._path(key), "wb") as file:  # noqa: PTH123 - as said above
            file.write(data)
        return True

    def get(self, key):
        try:
            with open(self._path(key), "rb") as file:  # noqa: PTH123 - as said above
                return file.read()
        except FileNotFoundError:
            return super().get(key)

    def _path(self, key):
        return f"{self._folder}/{key.replace('/', '-')}"


@pytest.mark.slow
def test_memory_of_committing_does_not_grow_with_the_number_of_members(tmp_path):
    def peak(patients):
        """Return the most that Python held while catalog and bulk files were made, in bytes."""
        folder = tmp_path / str(patients)
        store = OnDisk(folder / "tree")
        base = open_current(store)
        parts = []
        for first in range(0, patients, 512):
            people = (patient(f"p{n}", 1) for n in range(first, min(first + 512, patients)))
            parts.append(saved(write_partition(store, {}, people, NOW), folder / f"{first}.part"))
        options = BulkOptions(file_bytes=64 << 10, work=folder)
        shared = write_directory(store, base.release, [payer()], NOW)
        tracemalloc.start()
        manifest = assemble(store, base, parts, shared, ReleaseFacts("full"), NOW)
        commit(store, with_bulk(store, base, manifest, options), base)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(8)  # what is loaded once
    few, many = peak(2048), peak(8192)  # 1,024 members to a shard
    assert many - few < 200 * (8192 - 2048), "more than 200 bytes for each further member"
