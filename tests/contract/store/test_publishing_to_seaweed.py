"""The whole way on a real S3 server: publish, serve with a read-only identity, look after it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from etl.errors import CommitConflict, StoreError
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.prune import prune
from etl.publish.reader import Release, open_current
from etl.publish.release import commit
from etl.publish.verify import verify
from etl.storage.port import StoreOptions
from etl.storage.s3 import S3Store
from tests.given.object_storage import BUCKET
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import LATER, NOW, logical_id, objects, patient, publish, stage

pytestmark = pytest.mark.slow

FILE_BYTES = 40_000


def test_a_published_tree_is_the_same_on_s3_as_in_memory(seaweed, tmp_path):
    store = seaweed.store("publisher", prefix=tmp_path.name)
    memory = MemoryStore()
    for people, now in (
        ([patient("anna", 300), patient("bert", 2)], NOW),
        ([patient("anna", 301), patient("cleo", 2)], LATER),
    ):
        for target in (store, memory):
            base = open_current(target)
            manifest = stage(target, people, base, now=now, partitions=2)
            options = BulkOptions(file_bytes=FILE_BYTES)
            commit(target, with_bulk(target, base, manifest, options), base)
            write_pages(target, options)
    assert objects(store) == objects(memory)
    release = open_current(store).release
    assert release is not None
    assert verify(release).ok


def test_the_gateway_reads_and_cannot_write(seaweed, tmp_path):
    publish(seaweed.store("publisher", prefix=tmp_path.name), [patient("anna", 12)])
    gateway = seaweed.store("gateway", prefix=tmp_path.name)
    current = open_current(gateway)
    assert current.release is not None
    assert verify(current.release).ok
    anna = logical_id("anna")
    assert current.release.patient_resource(anna, "Patient", anna)
    with pytest.raises(StoreError, match="access denied"):
        gateway.put("patients/x", b"x")
    with pytest.raises(StoreError, match="access denied"):
        gateway.swap("current.json", b"{}", current.tag)
    with pytest.raises(StoreError):
        gateway.delete(["current.json"])
    again = open_current(gateway)
    assert again.tag == current.tag


def test_wrong_credentials_are_one_sentence(seaweed):
    for key, secret, sentence in (
        ("publisher", "wrong", "the secret key is wrong"),
        ("nobody", "wrong", "the access key is unknown"),
    ):
        options = StoreOptions(endpoint_url=seaweed.endpoint_url, region="us-east-1")
        store = S3Store(BUCKET, "", options, session=boto3.Session(key, secret))
        with pytest.raises(StoreError, match=sentence):
            store.get("current.json")
        with pytest.raises(StoreError, match=sentence):
            store.put("patients/x", b"x")


def test_large_objects_go_in_parts_and_encrypted(seaweed, tmp_path):
    data = bytes(range(256)) * 60_000
    store = seaweed.store(
        "publisher", prefix=tmp_path.name, part_bytes=5 * 1024 * 1024, sse="AES256"
    )
    assert store.put("bulk/large", data)
    assert store.get("bulk/large") == data
    assert store.get_range("bulk/large", 12_345_678, 1000) == data[12_345_678 : 12_345_678 + 1000]


def test_two_racing_runs_and_a_prune(seaweed, tmp_path):
    store = seaweed.store("publisher", prefix=tmp_path.name)
    first = publish(store, [patient("anna", 5)])
    base = open_current(store)
    mine = stage(store, [patient("anna", 6)], base, now=LATER)
    theirs = stage(store, [patient("anna", 7)], base, now=LATER)
    commit(store, theirs, base)
    with pytest.raises(CommitConflict):
        commit(store, mine, base)
    later = datetime.now(UTC) + timedelta(days=30)
    done = prune(store, lambda: later, keep=1)
    assert list(done.dropped) == [first.id]
    left = open_current(store).release
    assert left is not None
    assert left.id == theirs.release
    assert verify(left).ok
    assert verify(Release(store, replace(first.manifest))).count > 0
