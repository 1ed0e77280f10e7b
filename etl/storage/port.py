"""The `Store` port: objects under keys, and one conditional write.

Almost every object of a published tree is immutable: its key contains the hash of its bytes, so it
is written with `put` and never changed. Only pointers change, and only through `swap`. One contract
suite (tests/contract/store) tests every store against this text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol, runtime_checkable

from etl.errors import StoreError

Line = bytes | memoryview
"""One resource's JSON without line break; a view keeps its part of the block in memory."""


class Transient(StoreError):
    """Storage did not answer or is unavailable; the same read may succeed later."""


@dataclass(slots=True)
class Reads:
    """Counters of reads since the start.

    Attributes:
        reads: successful requests to storage.
        bytes: bytes that they returned.
        retries: tries after a failed one.
        failures: reads that failed for good; missing objects are not counted.
    """

    reads: int = 0
    bytes: int = 0
    retries: int = 0
    failures: int = 0


@runtime_checkable
class Objects(Protocol):
    """Objects under keys, read by many coroutines at once.

    Every error is a `StoreError` with one sentence: `NotFound` if there is no such object,
    `Transient` if a retry may succeed.
    """

    @property
    def name(self) -> str:
        """Its name in messages: the folder, or `s3://bucket/prefix`."""

    @property
    def near(self) -> bool:
        """Whether a read costs no more than a cache lookup, so that caching is useless."""

    async def get(self, key: str) -> bytes:
        """Return the whole object.

        Raises:
            NotFound: no object has that key.
        """

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start` on; `length` is 1 or more.

        Raises:
            NotFound: no object has that key.
            StoreError: the object is shorter.
        """


_KEY: Final = re.compile(r"[A-Za-z0-9$_][A-Za-z0-9$_.@+=-]*(?:/[A-Za-z0-9$_][A-Za-z0-9$_.@+=-]*)*")

OWNER: Final = 0o700
"""The mode of a folder that only its owner can access."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Settings of a store. All but the last two are about object storage.

    Attributes:
        endpoint_url: an S3-compatible server other than AWS.
        region: the bucket's region; None takes it from the usual AWS configuration.
        profile: name of a profile in the AWS configuration files.
        sse: server-side encryption of written objects.
        sse_key: KMS key for `aws:kms`; None takes the bucket's own.
        storage_class: of written objects, such as `STANDARD_IA`; None takes the bucket's default.
        concurrency: concurrent requests.
        attempts: tries of one request before it counts as failed, without a first one that boto3
            does not make.
        connect_seconds: time limit of a connection.
        read_seconds: time limit of a response.
        part_bytes: objects larger than this are sent in parts of this size.
        mode: mode of folders in a local target; files get the same without execute permission.
        closed: top-level folders that only the owner can read, whatever the mode.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    sse_key: str | None = None
    storage_class: str | None = None
    concurrency: int = 16
    attempts: int = 5
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    part_bytes: int = 64 * 1024 * 1024
    mode: int = OWNER
    closed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tagged:
    """The bytes of an object and its tag when they were read.

    Attributes:
        data: the whole object.
        tag: opaque, for `swap`; equal tags mean equal states of the key.
    """

    data: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as a listing shows it.

    Attributes:
        key: the object's key.
        size: in bytes.
        modified: when it was last written, by the store's clock; with its zone.
    """

    key: str
    size: int
    modified: datetime


@runtime_checkable
class Store(Protocol):
    """Objects under keys like `patients/0f/0f3a….ndjson.gz`.

    All methods are thread-safe. If storage refuses or does not answer, they raise `StoreError` with
    one sentence; for a missing object, `NotFound`.
    """

    @property
    def name(self) -> str:
        """Its name in messages: the folder, or `s3://bucket/prefix`."""

    @property
    def concurrency(self) -> int:
        """Useful number of concurrent requests; 1 if latency does not matter."""

    def get(self, key: str) -> bytes:
        """Return the whole object.

        Raises:
            NotFound: no object has that key.
        """

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on; fewer or none if the object ends earlier.

        Raises:
            NotFound: no object has that key.
        """

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag.

        Raises:
            NotFound: no object has that key.
        """

    def put(self, key: str, data: bytes) -> bool:
        """Write an object under a key derived from its bytes; return whether it is new.

        Readers see the whole object or none. An existing object is the same or a damaged copy: a
        store that can detect damage replaces it, others leave it. The object survives a crash of
        this process at once, and a crash of the machine after `sync`.
        """

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object if it is unchanged (compare and swap); return its new tag.

        Everything that was `put` through this store is durable before the swap takes place.

        Args:
            key: a key that only `swap` writes.
            data: its new bytes.
            expected: the tag that the object must still have; None if it must not exist.

        Raises:
            CommitConflict: the object is not in the expected state. It was not changed.
            CommitUnknown: the response was lost, and reading back gave no certainty.
        """

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects under a key prefix, in any order."""

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, skipping missing ones; return how many keys were given.

        Raises:
            CommitUnknown: the response was lost; the deletion may still take place.
        """

    def sync(self) -> None:
        """Make all objects that this process `put` durable, so that they survive a power cut.

        This includes existing objects that it tried to `put` or has `read`.
        """

    def clean(self, older_than: datetime) -> int:
        """Delete incomplete objects of crashed writers; return how many.

        No key leads to them, but they take up space.
        """


def check_key(key: str) -> str:
    """Return a key after checking that every store accepts it.

    Raises:
        StoreError: the key is empty or absolute, has a `..`, hidden or empty segment, or has
            forbidden characters.
    """
    if _KEY.fullmatch(key):
        return key
    raise StoreError(f"{key!r} is no key of a published tree: use letters, digits and - _ . in it")
