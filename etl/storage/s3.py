"""A store in a bucket of S3, or of any compatible server with conditional writes."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as NoConnection

from etl.errors import CommitConflict, CommitUnknown, NotFound, StoreError
from etl.storage.first_tries import LARGEST_PUT, FirstTries
from etl.storage.port import Entry, StoreOptions, Tagged, check_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_BODY_ATTEMPTS: Final = 3
_SWAP_ATTEMPTS: Final = 4
_WRITER_TAG: Final = "swapped-by"
_DELETE_AT_ONCE: Final = 1000
"""Keys of one DeleteObjects request: S3's own limit."""

_ADVICE: Final = {
    "NoSuchBucket": "there is no such bucket; create it or correct its name",
    "AccessDenied": "access denied; these credentials may not do that here",
    "InvalidAccessKeyId": "the access key is unknown; check the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; check the credentials",
    "ExpiredToken": "the credentials have expired; renew them",
    "InvalidToken": "the session token is not valid; renew the credentials",
    "PermanentRedirect": "the bucket is in another region; set the region",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set the region",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "XMinioStorageFull": "the server has no space left",
    "InsufficientStorage": "the server has no space left",
}
_ADVICE_BY_STATUS: Final = {
    301: "the bucket is in another region; set the region",
    403: "access denied; check the credentials and what they may do",
    507: "the server has no space left",
}


def profile_session(profile: str | None) -> boto3.Session:
    """Return a session with the credentials of a profile in the AWS configuration files.

    Args:
        profile: its name; None for those of the usual chain.
    """
    return boto3.Session(profile_name=profile)


class _Clients(NamedTuple):
    """Clients that make requests.

    Attributes:
        s3: all of them.
        first: the first tries of some; None if there are no credentials.
    """

    s3: S3Client
    first: FirstTries | None


class S3Store:
    """Objects under a prefix of a bucket.

    Requests with transient failures are retried by botocore (standard mode, with backoff). S3
    writes an object whole or not at all, and it is durable once S3 has answered, so there is
    nothing to sync.

    Objects that never change are put and read by `FirstTries` first.

    Args:
        bucket: the bucket's name.
        prefix: prefix of all keys, without slashes at its ends; may be empty.
        options: endpoint, encryption, limits.
        session: the source of credentials; the options' profile where None.
        client: does all requests, instead of one made from the options; for tests.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: StoreOptions,
        *,
        session: boto3.Session | None = None,
        client: S3Client | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self._test_client = client
        self._given_session = session
        self._clients_lock = Lock()
        self._cached_clients: _Clients | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out clients: each process of a pool makes its own."""
        return {**self.__dict__, "_clients_lock": None, "_cached_clients": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the settings of a store from another process."""
        self.__dict__.update(state)
        self._clients_lock = Lock()

    @property
    def name(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix.rstrip('/')}".rstrip("/")

    @property
    def concurrency(self) -> int:
        """Requests at once, from the options."""
        return self._options.concurrency

    @property
    def _client(self) -> S3Client:
        return self._clients().s3

    @property
    def _first(self) -> FirstTries | None:
        return self._clients().first

    def _clients(self) -> _Clients:
        """Return the clients, created on first use: boto3 can't create them in parallel."""
        with self._clients_lock:
            if self._cached_clients is None:
                with self._explain_errors("open", "the store"):
                    self._cached_clients = self._make_clients()
            return self._cached_clients

    def _make_clients(self) -> _Clients:
        if self._test_client is not None:
            return _Clients(self._test_client, None)
        options = self._options
        config = Config(
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            max_pool_connections=options.concurrency,
            connect_timeout=options.connect_seconds,
            read_timeout=options.read_seconds,
            s3={"addressing_style": "path"} if options.endpoint_url else {},
        )
        session = self._given_session or profile_session(options.profile)
        client = session.client(
            "s3", region_name=options.region, endpoint_url=options.endpoint_url, config=config
        )
        credentials = session.get_credentials()
        if credentials is None:
            return _Clients(client, None)
        client_meta = client.meta
        first = FirstTries(
            self._bucket, client_meta.endpoint_url, client_meta.region_name, credentials, options
        )
        return _Clients(client, first)

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        data = self._first.get(self._key(key)) if self._first else None
        return self.read(key).data if data is None else data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on, or fewer at the end of the object."""
        if length <= 0:
            return b""
        data = self._first.get_range(self._key(key), start, length) if self._first else None
        if data is not None:
            return data
        byte_range = f"bytes={start}-{start + length - 1}"
        try:
            return self._read(key, {"Range": byte_range}).data
        except _PastTheEnd:
            return b""

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag, the server's ETag."""
        return self._read(key, {})

    def put(self, key: str, data: bytes) -> bool:
        """Write an object under a key derived from its bytes; return whether it is new."""
        if len(data) > self._options.part_bytes:
            return self._put_in_parts(key, data)
        if self._first and len(data) <= LARGEST_PUT:
            is_new = self._first.put(self._key(key), data)
            if is_new is not None:
                return is_new
        try:
            self._write(key, data, {"IfNoneMatch": "*"})
        except _Racing:  # the other writer may still fail, so this one writes unconditionally
            self._write(key, data, {})
        except CommitConflict:
            return False
        return True

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object if its ETag is still the expected one.

        botocore may send a write twice when the response to the first is lost, and then the second
        is refused because of the first. So after a refusal or a missing response the object is
        read back. A mark in its metadata identifies its writer, even where two writers wrote the
        same bytes.
        """
        writer_id = secrets.token_hex(16)
        condition: dict[str, Any] = (
            {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        )
        failure: StoreError | None = None
        for _ in range(_SWAP_ATTEMPTS):
            try:
                return self._write(key, data, {**condition, "Metadata": {_WRITER_TAG: writer_id}})
            except (_NoAnswer, CommitConflict, NotFound) as error:
                failure = error
            tag, stored_writer = self._read_back(key, failure)
            if stored_writer == writer_id and tag is not None:
                return tag
            if tag != expected:
                raise CommitConflict(f"{self.name}: {key} was changed by someone else")
        raise CommitUnknown(
            f"{self.name}: no answer to the writing of {key}, which may still take place; "
            "look at it before anything else"
        ) from failure

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys start with a prefix."""
        with self._explain_errors("list", prefix or "the bucket"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key = item["Key"][len(self._prefix) :]
                    yield Entry(key, item["Size"], item["LastModified"])

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects; missing keys are skipped."""
        count, paths = 0, map(self._key, keys)
        while batch := list(islice(paths, _DELETE_AT_ONCE)):
            self._delete(batch)
            count += len(batch)
        return count

    def sync(self) -> None:
        """Do nothing: S3 has stored what it has acknowledged."""

    def clean(self, older_than: datetime) -> int:
        """Abort multipart uploads that were started before a time and not completed."""
        count = 0
        with self._explain_errors("clean", "the bucket"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < older_than:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        count += 1
        return count

    def _read(self, key: str, conditions: dict[str, Any]) -> Tagged:
        for attempt in range(1, _BODY_ATTEMPTS + 1):
            with self._explain_errors("read", key):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._key(key), **conditions
                )
                try:
                    return Tagged(answer["Body"].read(), answer["ETag"])
                except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                    # botocore retries requests, but not an interrupted body.
                    if attempt == _BODY_ATTEMPTS:
                        raise
        raise AssertionError("unreachable")

    def _write(self, key: str, data: bytes, condition: dict[str, Any]) -> str:
        with self._explain_errors("write", key):
            answer = self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, **condition, **self._extra()
            )
            return answer["ETag"]

    def _delete(self, keys: Sequence[str]) -> None:
        try:
            with self._explain_errors("delete", keys[0]):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
                )
        except _NoAnswer as error:
            raise CommitUnknown(f"{error}; it may yet be deleted") from error
        for problem in answer.get("Errors", ()):
            raise StoreError(
                f"{self.name}: cannot delete {problem.get('Key')}: "
                f"{_ADVICE.get(problem.get('Code', ''), problem.get('Message', 'refused'))}"
            )

    def _put_in_parts(self, key: str, data: bytes) -> bool:
        with self._explain_errors("write", key):
            self._client.upload_fileobj(
                io.BytesIO(data),
                self._bucket,
                self._key(key),
                ExtraArgs=self._extra(),
                Config=TransferConfig(
                    multipart_threshold=self._options.part_bytes,
                    multipart_chunksize=self._options.part_bytes,
                    max_concurrency=self._options.concurrency,
                ),
            )
        return True

    def _read_back(self, key: str, failure: StoreError) -> tuple[str | None, str | None]:
        """Return the object's current tag and the ID of its writer."""
        try:
            with self._explain_errors("read", key):
                answer = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
        except NotFound:
            return None, None
        except StoreError:
            raise CommitUnknown(
                f"{self.name}: no answer to the writing of {key}, nor to looking at it; "
                "it may have taken place, so look at it before anything else"
            ) from failure
        return answer["ETag"], answer["Metadata"].get(_WRITER_TAG)

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _extra(self) -> dict[str, Any]:
        options = self._options
        extra = {
            "ServerSideEncryption": options.sse,
            "SSEKMSKeyId": options.sse_key,
            "StorageClass": options.storage_class,
        }
        return {name: value for name, value in extra.items() if value is not None}

    @contextmanager
    def _explain_errors(self, verb: str, key: str) -> Iterator[None]:
        """Translate errors of boto3 into store errors that name the action."""
        action = f"{self.name}: cannot {verb} {key}"
        try:
            yield
        except ClientError as error:
            raise _translate_error(error, action) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreError(
                f"{action}: there are no credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or a profile"
            ) from error
        except ProfileNotFound as error:
            raise StoreError(f"{action}: {error}") from error
        except NoConnection as error:
            raise _NoAnswer(f"{action}: no connection to the server: {error}") from error
        except (BotoCoreError, OSError, boto3.exceptions.Boto3Error) as error:
            raise _NoAnswer(f"{action}: {error}") from error


class _PastTheEnd(StoreError):
    """The requested range starts behind the object's last byte."""


class _Racing(CommitConflict):
    """Another conditional write of that key is under way; it may succeed or fail."""


class _NoAnswer(StoreError):
    """The request may or may not have been carried out."""


def _translate_error(error: ClientError, action: str) -> StoreError:
    """Translate an error response into a store error."""
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in {"NoSuchKey", "404"} or (status == 404 and code != "NoSuchBucket"):
        return NotFound(f"{action}: there is no such object")
    if status == 409:
        return _Racing(f"{action}: it is being changed by someone else")
    if code == "PreconditionFailed" or status == 412:
        return CommitConflict(f"{action}: it was changed by someone else")
    if code == "InvalidRange" or status == 416:
        return _PastTheEnd(f"{action}: the object ends before that")
    reason = _ADVICE.get(code) or _ADVICE_BY_STATUS.get(status)
    if reason is None:
        message = error.response.get("Error", {}).get("Message", "")
        reason = f"the server answered {status} {code} {message}".strip()
    error_class = _NoAnswer if status >= 500 else StoreError
    return error_class(f"{action}: {reason}")


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object, or a folder of objects, as a listing shows it.

    Attributes:
        name: its key behind the prefix.
        bytes: its size; 0 of a folder.
        tag: its ETag; "" of a folder.
    """

    name: str
    bytes: int
    tag: str

    @property
    def is_folder(self) -> bool:
        """Whether it stands for the objects below a common prefix."""
        return not self.tag


class S3Prefix(S3Store):
    """A prefix of a bucket whose objects may have any key. Rights to list and to read suffice."""

    def objects(self) -> Iterator[S3Object]:
        """Yield the objects and folders directly under the prefix.

        Raises:
            StoreError: the server refused, or did not answer.
        """
        with self._explain_errors("list", "the prefix"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
            )
            for page in pages:
                for folder in page.get("CommonPrefixes", ()):
                    yield S3Object(folder["Prefix"][len(self._prefix) :].rstrip("/"), 0, "")
                for item in page.get("Contents", ()):
                    name = item["Key"][len(self._prefix) :]
                    if name:  # some clients make an empty object for a folder
                        yield S3Object(name, item["Size"], item["ETag"])

    def find(self, name: str) -> S3Object | None:
        """Return an object by name; None if it is missing.

        Raises:
            StoreError: the server refused, or did not answer.
        """
        with self._explain_errors("list", name):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + name, MaxKeys=1
            )
        for item in answer.get("Contents", ()):
            if item["Key"] == self._prefix + name:
                return S3Object(name, item["Size"], item["ETag"])
        return None

    def read_range(self, item: S3Object, start: int, length: int) -> bytes:
        """Read a byte range of an object, unless it changed since it was listed.

        Args:
            start: the first byte, inside of it.
            length: number of bytes, at least 1; fewer are returned at the end of the object.

        Raises:
            CommitConflict: the object was replaced since it was listed.
            NotFound: the object was deleted since it was listed.
            StoreError: the server refused, or did not answer.
        """
        conditions = {"Range": f"bytes={start}-{start + length - 1}", "IfMatch": item.tag}
        return self._read(item.name, conditions).data

    def _key(self, key: str) -> str:
        return self._prefix + key
