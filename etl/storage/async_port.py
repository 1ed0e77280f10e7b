"""The gateway's reading port: objects of a published tree, read without blocking the event loop.

One contract suite (tests/contract/async_storage) tests every implementation against this text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from etl.errors import StoreError

Line = bytes | memoryview
"""One resource's JSON without line break; views keep the part of the block that they look at."""


class Transient(StoreError):
    """Storage did not answer, or is not available now; the same read may succeed later."""


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

    Every error is a `StoreError` with one sentence: `NotFound` where there is no such object,
    `Transient` where a retry may succeed.
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
