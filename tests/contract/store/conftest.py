"""The stores that one suite is run over. A new store is one more entry of `KINDS`."""

from threading import RLock

import pytest
from moto.core.botocore_stubber import BotocoreStubber

from etl.storage.local import LocalStore
from etl.storage.port import StoreOptions
from etl.storage.s3 import S3Store
from tests.given.object_storage import boto3_alone, moto_bucket, start_weed
from tests.memory_store import MemoryStore

KINDS = [
    "memory",
    "local",
    "moto",
    pytest.param("seaweed", marks=pytest.mark.slow),
    pytest.param("seaweed, boto3 alone", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    with start_weed(tmp_path_factory.mktemp("weed")) as server:
        yield server


def one_at_a_time(monkeypatch):
    """Let moto answer one request after the other.

    It looks at the condition of a write and then writes, and two threads may both do the one before
    either does the other. S3 does both at once.
    """
    lock, answer = RLock(), BotocoreStubber.__call__

    def locked(stubber, *args, **options):
        with lock:
            return answer(stubber, *args, **options)

    monkeypatch.setattr(BotocoreStubber, "__call__", locked)


@pytest.fixture(name="moto_bucket")
def quiet_bucket(monkeypatch):
    one_at_a_time(monkeypatch)
    with moto_bucket(monkeypatch) as bucket:
        yield bucket


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "local":
        yield LocalStore(tmp_path / "tree")
    elif request.param == "moto":
        bucket = request.getfixturevalue("moto_bucket")
        yield S3Store(bucket, "some/prefix", StoreOptions(concurrency=4))
    else:
        server = request.getfixturevalue("seaweed")
        if request.param != "seaweed":
            boto3_alone(request.getfixturevalue("monkeypatch"))
        yield server.store("publisher", prefix=tmp_path.name)
