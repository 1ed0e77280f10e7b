"""What obstore does for an S3 store, and what is left to boto3 where it fails: over real HTTP."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.session import Session as CoreSession

from etl.errors import NotFound, StoreError
from etl.storage.port import StoreOptions
from etl.storage.s3 import S3Store
from tests.contract.async_storage.conftest import fake, fake_server
from tests.contract.async_storage.fake_s3 import BUCKET, PREFIX

__all__ = ["fake", "fake_server"]

AGENTS = {"obstore": "object_store", "boto3": "Boto3"}


def store_at(fake, session=None, **options):
    session = session or boto3.Session("key", "secret")
    settings = StoreOptions(endpoint_url=fake.url, region="us-east-1", attempts=2, **options)
    return S3Store(BUCKET, PREFIX, settings, session=session)


def written_by(fake):
    return next(name for name, agent in AGENTS.items() if agent in fake.headers["user-agent"])


def test_an_object_is_put_and_read_without_boto3(fake):
    store = store_at(fake)
    assert store.put("patients/a", b"block")
    assert written_by(fake) == "obstore"
    assert not store.put("patients/a", b"block")
    assert store.get("patients/a") == b"block"
    assert store.get_range("patients/a", 1, 2) == b"lo"
    assert store.get_range("patients/a", 3, 9) == b"ck"
    assert fake.requests == 5


def test_a_put_carries_a_checksum_encryption_and_storage_class(fake):
    store = store_at(fake, sse="aws:kms", sse_key="alias/k", storage_class="STANDARD_IA")
    store.put("a", b"block")
    assert written_by(fake) == "obstore"
    headers = fake.headers
    digest = hashlib.sha256(b"block")
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(digest.digest()).decode()
    assert headers["x-amz-content-sha256"] == digest.hexdigest()
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/k"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"


def test_a_large_object_is_left_to_boto3(fake):
    assert store_at(fake).put("bulk/a", b"x" * (4 * 1024 * 1024 + 1))
    assert written_by(fake) == "boto3"


@pytest.mark.parametrize("fault", ["500", "503", "429", "409", "drop"])
def test_a_put_that_fails_is_made_again_by_boto3(fake, fault):
    fake.faults[:] = [fault]
    assert store_at(fake).put("a", b"block")
    assert written_by(fake) == "boto3"
    assert fake.objects == {f"{PREFIX}/a": b"block"}


def test_a_put_whose_answer_is_lost_is_there(fake):
    fake.faults[:] = ["lost"]
    store_at(fake).put("a", b"block")
    assert fake.objects == {f"{PREFIX}/a": b"block"}


@pytest.mark.parametrize("fault", ["500", "503", "403", "cut", "drop"])
def test_a_read_that_fails_is_made_again_by_boto3(fake, fault):
    fake.objects[f"{PREFIX}/a"] = b"0123456789"
    store = store_at(fake)
    fake.faults[:] = [fault]
    assert store.get("a") == b"0123456789"
    fake.faults[:] = [fault]
    assert store.get_range("a", 2, 3) == b"234"
    assert fake.requests == 4


def test_what_fails_for_both_is_said_in_one_sentence(fake):
    store = store_at(fake)
    fake.faults[:] = ["403"] * 2
    with pytest.raises(StoreError, match="access denied; check the credentials"):
        store.put("a", b"x")
    fake.faults[:] = ["500"] * 3
    with pytest.raises(StoreError, match="the server answered 500"):
        store.get("a")
    with pytest.raises(NotFound, match="no such object"):
        store.get("a")
    assert store.get_range("a", 0, 0) == b""


def test_a_server_on_which_nothing_succeeds_is_left_to_boto3(fake):
    store = store_at(fake)
    fake.objects[f"{PREFIX}/a"] = b"x"
    for _ in range(16):
        fake.faults[:] = ["500"]
        store.get("a")
    assert fake.requests == 32
    store.get("a")
    store.put("b", b"x")
    assert fake.requests == 34
    assert written_by(fake) == "boto3"


def test_a_server_on_which_something_succeeded_is_tried_again(fake):
    store = store_at(fake)
    store.put("a", b"x")
    for _ in range(20):
        fake.faults[:] = ["500"]
        store.get("a")
    store.put("b", b"x")
    assert written_by(fake) == "obstore"


def test_credentials_that_boto3_renews_are_renewed(fake):
    """They end within botocore's ten minutes, so that each look at them gives new ones."""
    given = []

    def renewed():
        given.append(f"key{len(given)}")
        ending = datetime.now(UTC) + timedelta(minutes=1)
        return {
            "access_key": given[-1],
            "secret_key": "secret",
            "token": "token",
            "expiry_time": ending.isoformat(),
        }

    core = CoreSession()
    core._credentials = RefreshableCredentials.create_from_metadata(renewed(), renewed, "test")
    store = store_at(fake, boto3.Session(botocore_session=core))
    store.put("a", b"x")
    assert written_by(fake) == "obstore"
    assert f"Credential={given[-1]}/" in fake.headers["authorization"]
    assert fake.headers["x-amz-security-token"] == "token"
    assert len(given) > 1


def test_without_credentials_the_sentence_is_boto3s(fake, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="there are no credentials; set AWS_ACCESS_KEY_ID"):
        store_at(fake, boto3.Session()).put("a", b"x")
    assert fake.requests == 0
