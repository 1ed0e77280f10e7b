"""The whole way on a real S3 server: publish, serve with a read-only identity, look after it."""

import pytest

from etl.errors import StoreError
from etl.publish.reader import open_current
from etl.publish.verify import verify
from tests.unit.publish.samples import (
    logical_id,
    patient,
    publish,
)

pytestmark = pytest.mark.slow


def test_the_gateway_reads_and_cannot_write(seaweed, tmp_path):
    publish(seaweed.store("publisher", prefix=tmp_path.name), [patient("anna", 12)])
    gateway = seaweed.store("gateway", prefix=tmp_path.name)
    current = open_current(gateway)
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


def test_large_objects_go_in_parts_and_encrypted(seaweed, tmp_path):
    data = bytes(range(256)) * 60_000
    store = seaweed.store(
        "publisher", prefix=tmp_path.name, part_bytes=5 * 1024 * 1024, sse="AES256"
    )
    assert store.put("bulk/large", data)
    assert store.get("bulk/large") == data
    assert store.get_range("bulk/large", 12_345_678, 1000) == data[12_345_678 : 12_345_678 + 1000]
