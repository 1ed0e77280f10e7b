"""What one suite is run over. Another kind of storage is one more entry of `KINDS`."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from etl.storage.async_objects import FolderObjects, RetryingObjects
from etl.storage.async_s3 import S3Objects
from etl.storage.local import LocalStore
from etl.storage.port import Objects, StoreOptions
from tests.contract.async_storage.fake_s3 import BUCKET, PREFIX, serving
from tests.given.object_storage import SECRETS, start_weed
from tests.memory_store import MemoryStore
from tests.unit.gateway.memory_objects import MemoryObjects

KINDS = [
    "memory",
    "folder",
    "retrying",
    "s3",
    pytest.param("seaweed", marks=pytest.mark.slow),
]


@dataclass(frozen=True)
class Target:
    """Objects, and a way to put some there."""

    objects: Objects
    put: Callable[[str, bytes], object]


@pytest.fixture(scope="session")
def fake_server():
    with serving() as server:
        yield server


@pytest.fixture
def fake(fake_server):
    fake_server.objects.clear()
    fake_server.faults.clear()
    fake_server.headers.clear()
    fake_server.requests = 0
    return fake_server


def fake_objects(fake, read_seconds=5.0):
    """Return the objects of a fake server."""
    options = StoreOptions(endpoint_url=fake.url, region="us-east-1")
    return S3Objects(
        BUCKET, PREFIX, options, read_seconds=read_seconds, credentials=("key", "secret")
    )


@pytest.fixture(params=KINDS)
def target(request, tmp_path):
    if request.param == "memory":
        store = MemoryStore()
        yield Target(MemoryObjects(store), store.put)
    elif request.param == "folder":
        yield Target(FolderObjects(tmp_path / "tree"), LocalStore(tmp_path / "tree").put)
    elif request.param == "retrying":
        store = MemoryStore()
        yield Target(RetryingObjects(MemoryObjects(store, near=False)), store.put)
    elif request.param == "s3":
        fake = request.getfixturevalue("fake")
        yield Target(fake_objects(fake), fake.put)
    else:
        with start_weed(tmp_path) as server:
            options = StoreOptions(endpoint_url=server.endpoint_url, region="us-east-1")
            credentials = ("gateway", SECRETS["gateway"])
            objects = S3Objects("fhir", PREFIX, options, credentials=credentials)
            yield Target(objects, server.store("publisher", prefix=PREFIX).put)
