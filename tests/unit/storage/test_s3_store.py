"""What the S3 store does when answers are lost, and when the server refuses."""

import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody

from etl.errors import CommitConflict, CommitUnknown, StoreError
from etl.sources.files.stored_files import ObjectFiles
from etl.storage.port import StoreOptions
from etl.storage.s3 import S3Store
from tests.given.object_storage import moto_bucket
from tests.given.tables import table


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with moto_bucket(monkeypatch):
        yield


class Faults:
    """A client whose calls can be made to fail, before or after they are carried out."""

    def __init__(self):
        self.client = boto3.client("s3")
        self.before = {}
        self.after = {}
        self.calls = []

    def __getattr__(self, name):
        call = getattr(self.client, name)

        def faulty(*args, **kwargs):
            self.calls.append((name, kwargs))
            for faults, early in ((self.before, True), (self.after, False)):
                if not early:
                    answer = call(*args, **kwargs)
                fault = faults[name].pop(0) if faults.get(name) else None
                if fault is not None:
                    raise fault
            return answer

        return faulty


def timeout():
    return ReadTimeoutError(endpoint_url="https://s3")


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def store(faults):
    return S3Store("fhir", "tree", StoreOptions(), client=faults)


def test_a_swap_whose_answer_is_lost_is_found_to_have_landed(store, faults):
    tag = store.swap("current.json", b"one", None)
    faults.after["put_object"] = [timeout()]
    new = store.swap("current.json", b"two", tag)
    assert store.read("current.json") == type(store.read("current.json"))(b"two", new)


def test_a_swap_that_was_sent_again_after_it_had_landed_is_no_conflict(store, faults):
    """As botocore does: the first answer is lost, the second says 412."""
    tag = store.swap("current.json", b"one", None)
    put = faults.client.put_object

    def twice(**kwargs):
        put(**kwargs)
        return put(**kwargs)

    faults.client.put_object = twice
    store.swap("current.json", b"two", tag)
    assert store.get("current.json") == b"two"


def test_a_swap_that_did_not_arrive_is_sent_again(store, faults):
    tag = store.swap("current.json", b"one", None)
    faults.before["put_object"] = [timeout(), timeout()]
    store.swap("current.json", b"two", tag)
    assert store.get("current.json") == b"two"


def test_a_swap_that_never_arrives_stays_unknown(store, faults):
    tag = store.swap("current.json", b"one", None)
    faults.before["put_object"] = [timeout() for _ in range(9)]
    with pytest.raises(CommitUnknown, match="may still take place"):
        store.swap("current.json", b"two", tag)
    assert store.get("current.json") == b"one"


def test_a_swap_that_cannot_be_looked_at_stays_unknown(store, faults):
    tag = store.swap("current.json", b"one", None)
    faults.after["put_object"] = [timeout()]
    faults.before["head_object"] = [timeout()]
    with pytest.raises(CommitUnknown, match="nor to looking at it"):
        store.swap("current.json", b"two", tag)


def test_a_lost_answer_to_a_swap_that_lost_the_race_is_a_conflict(store, faults):
    tag = store.swap("current.json", b"one", None)
    other = S3Store("fhir", "tree", StoreOptions())
    other.swap("current.json", b"theirs", tag)
    faults.before["put_object"] = [timeout()]
    with pytest.raises(CommitConflict):
        store.swap("current.json", b"mine", tag)
    assert store.get("current.json") == b"theirs"


def test_two_writers_of_the_same_bytes_do_not_both_win(store):
    tag = store.swap("current.json", b"one", None)
    S3Store("fhir", "tree", StoreOptions()).swap("current.json", b"two", tag)
    with pytest.raises(CommitConflict):
        store.swap("current.json", b"two", tag)


def test_a_body_that_breaks_off_is_read_again(store, faults):
    store.put("a", b"12345")
    get = faults.client.get_object
    broken = [True, True, False]

    def short(**kwargs):
        answer = get(**kwargs)
        if broken.pop(0):
            answer["Body"] = StreamingBody(io.BytesIO(b"123"), 5)
        return answer

    faults.client.get_object = short
    assert store.get("a") == b"12345"
    broken[:] = [True, True, True]
    with pytest.raises(StoreError, match="cannot read a"):
        store.get("a")


def test_encryption_and_storage_class_go_with_every_write(faults):
    options = StoreOptions(
        sse="aws:kms", sse_key="alias/k", storage_class="STANDARD_IA", part_bytes=6 * 1024 * 1024
    )
    store = S3Store("fhir", "tree", options, client=faults)
    store.put("small", b"x")
    store.put("large", b"x" * (7 * 1024 * 1024))
    store.swap("pointer", b"x", None)
    assert store.get("large") == b"x" * (7 * 1024 * 1024)
    for key in ("small", "large", "pointer"):
        head = faults.client.head_object(Bucket="fhir", Key=f"tree/{key}")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"].endswith("alias/k")
        assert head["StorageClass"] == "STANDARD_IA"


def test_uploads_that_never_ended_are_cleaned(store, faults):
    faults.client.create_multipart_upload(Bucket="fhir", Key="tree/bulk/x")
    faults.client.create_multipart_upload(Bucket="fhir", Key="other/x")
    now = datetime.now(UTC)
    assert store.clean(now - timedelta(days=9000)) == 0
    assert store.clean(now + timedelta(days=9000)) == 1
    (left,) = faults.client.list_multipart_uploads(Bucket="fhir")["Uploads"]
    assert left["Key"] == "other/x"


def test_a_missing_bucket_is_one_sentence():
    store = S3Store("nowhere", "", StoreOptions())
    for call in (
        lambda: store.put("a", b"x"),
        lambda: store.swap("a", b"x", None),
        lambda: list(store.list()),
        lambda: store.delete(["a"]),
    ):
        with pytest.raises(StoreError, match=r"s3://nowhere: .*there is no such bucket"):
            call()
    with pytest.raises(StoreError):
        store.get("a")


@pytest.mark.parametrize(*table(__file__, "refusals"))
def test_a_server_that_refuses_is_one_sentence(store, faults, code, status, sentence):
    from botocore.exceptions import ClientError

    def error():
        return ClientError(
            {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},
            "PutObject",
        )

    faults.before["put_object"] = [error()]
    with pytest.raises(StoreError, match=sentence):
        store.put("a", b"x")
    faults.before["get_object"] = [error()]
    with pytest.raises(StoreError, match=sentence):
        store.get("a")


def test_a_server_that_is_not_there_is_one_sentence():
    options = StoreOptions(endpoint_url="http://127.0.0.1:9", attempts=1, connect_seconds=0.5)
    with pytest.raises(StoreError, match="no connection to the server"):
        S3Store("fhir", "", options).get("a")


def test_missing_credentials_are_one_sentence(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    client = boto3.session.Session().client("s3")
    store = S3Store("fhir", "", StoreOptions(), client=client)
    with pytest.raises(StoreError, match="there are no credentials; set AWS_ACCESS_KEY_ID"):
        store.get("a")
    with pytest.raises(StoreError, match="profile"):
        S3Store("fhir", "", StoreOptions(profile="no-such")).get("a")


def test_threads_that_begin_together_make_one_client(monkeypatch):
    """boto3's sessions are not safe in several threads, and clients take a tenth of a second."""
    store = S3Store("fhir", "tree", StoreOptions())
    store.put("a", b"x")
    made = []
    original = boto3.Session.client

    def client(self, name, **options):
        made.append(name)
        return original(self, name, **options)

    monkeypatch.setattr(boto3.Session, "client", client)
    together = threading.Barrier(8)

    def read(there):
        together.wait()
        return there.get("a")

    there = pickle.loads(pickle.dumps(store))  # noqa: S301 - as another process gets it
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, [there] * 8)) == [b"x"] * 8
    assert made == ["s3"]


def test_copies_of_an_extract_in_a_bucket_share_a_client():
    boto3.client("s3").put_object(Bucket="fhir", Key="in/member.csv", Body=b"member_id")
    files = ObjectFiles("s3://fhir/in", StoreOptions())
    first, second = (pickle.loads(pickle.dumps(files)) for _ in range(2))  # noqa: S301
    assert first.open("member.csv").read() == second.open("member.csv").read() == b"member_id"
    assert first._objects is second._objects
