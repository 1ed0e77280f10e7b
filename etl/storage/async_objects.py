"""Objects in a local folder, read with pread in the event loop; and retries for any storage.

A read from the page cache takes 5 microseconds, a twentieth of the cost of a thread. Serve a folder
on a slow network file system as object storage instead.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etl.errors import NotFound, StoreError
from etl.storage.local import open_regular_file
from etl.storage.port import Objects, Reads, Transient, check_key

_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_TRANSIENT: Final = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)


class FolderObjects:
    """Objects as files of a folder; keys are paths.

    Args:
        folder: the folder, which need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self._root = os.fspath(folder)

    @property
    def name(self) -> str:
        """The folder."""
        return self._root

    @property
    def near(self) -> bool:
        """True: the kernel's page cache is the cache."""
        return True

    async def get(self, key: str) -> bytes:
        """Return the whole object."""
        return self._read(key, 0, None)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start` on."""
        data = self._read(key, start, length)
        if len(data) != length:
            raise StoreError(f"{self._root}: {key} ends before byte {start + length}; run verify")
        return data

    def _read(self, key: str, start: int, length: int | None) -> bytes:
        path = f"{self._root}/{check_key(key)}"
        try:
            descriptor, size = open_regular_file(path)
            try:
                if length is None:
                    length = size
                data = os.pread(descriptor, length, start)
                while data and len(data) < length:  # a signal may interrupt a read
                    chunk = os.pread(descriptor, length - len(data), start + len(data))
                    if not chunk:
                        break
                    data += chunk
                return data
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._to_store_error(error, key) from error

    def _to_store_error(self, error: OSError, key: str) -> StoreError:
        failure = f"{self._root}: cannot read {key}"
        if error.errno in _MISSING:
            return NotFound(f"{self._root}: there is no object {key}")
        if error.errno in _TRANSIENT:
            return Transient(f"{failure}: {error.strerror}")
        return StoreError(f"{failure}: {error.strerror}; check its owner and permissions")


_FIRST_PAUSE_SECONDS: Final = 0.05
"""Longest pause before the second try; it doubles for each further one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts and time limits of a read.

    Attributes:
        attempts: tries, including the first.
        read_seconds: time limit of one try.
        deadline_seconds: time limit of all tries and the pauses between them.
    """

    attempts: int = 3
    read_seconds: float = 5.0
    deadline_seconds: float = 10.0


class RetryingObjects:
    """Retries reads after transient failures.

    Pauses are random up to a bound that doubles, so reads that failed together are not retried
    together.

    Args:
        objects: the underlying objects.
        policy: attempts and time limits.
        sleep: waits some seconds.
        clock: monotonic time in seconds.
        fraction: a number from 0 to 1, for the length of a pause.
    """

    def __init__(
        self,
        objects: Objects,
        policy: RetryPolicy | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self._objects = objects
        self._is_near = objects.near
        self._policy = policy or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._fraction = fraction
        self.counts = Reads()

    @property
    def name(self) -> str:
        """Name of the underlying objects."""
        return self._objects.name

    @property
    def near(self) -> bool:
        """Nearness of the underlying objects."""
        return self._is_near

    async def get(self, key: str) -> bytes:
        """Return the whole object."""
        return await self._read_with_retries(key, 0, None)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start` on."""
        return await self._read_with_retries(key, start, length)

    async def _read_with_retries(self, key: str, start: int, length: int | None) -> bytes:
        policy = self._policy
        deadline = self._clock() + policy.deadline_seconds
        attempt = 1
        while True:
            try:
                if self._is_near:
                    data = await self._read(key, start, length)
                else:
                    data = await self._read_in_time(key, start, length, deadline)
            except NotFound:
                raise
            except Transient:
                pause = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * self._fraction()
                if attempt >= policy.attempts or self._clock() + pause >= deadline:
                    self.counts.failures += 1
                    raise
            except StoreError:
                self.counts.failures += 1
                raise
            else:
                self.counts.reads += 1
                self.counts.bytes += len(data)
                return data
            await self._sleep(pause)
            attempt += 1
            self.counts.retries += 1

    async def _read_in_time(self, key: str, start: int, length: int | None, end: float) -> bytes:
        try:
            async with asyncio.timeout(min(self._policy.read_seconds, end - self._clock())):
                return await self._read(key, start, length)
        except TimeoutError:
            raise Transient(f"{self.name}: cannot read {key}: no answer in time") from None

    def _read(self, key: str, start: int, length: int | None) -> Awaitable[bytes]:
        if length is None:
            return self._objects.get(key)
        return self._objects.get_range(key, start, length)
