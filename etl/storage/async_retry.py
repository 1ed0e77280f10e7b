"""Retries of reads, up to a deadline, and counted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from etl.errors import NotFound, StoreError
from etl.storage.port import Objects, Reads, Transient

_FIRST_PAUSE: Final = 0.05
"""Seconds before the second try, at most; doubled for each further one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts and time limits of a read.

    Attributes:
        attempts: tries, the first included.
        read_seconds: the longest that one try may take.
        deadline_seconds: the longest that all tries and the pauses between them may take.
    """

    attempts: int = 3
    read_seconds: float = 5.0
    deadline_seconds: float = 10.0


class RetryingObjects:
    """Objects that are read again after a transient failure.

    Pauses are random up to a bound that doubles, so that reads that failed together are not
    retried together.

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
        return await self._tried(key, 0, None)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start` on."""
        return await self._tried(key, start, length)

    async def _tried(self, key: str, start: int, length: int | None) -> bytes:
        policy = self._policy
        end = self._clock() + policy.deadline_seconds
        attempt = 1
        while True:
            try:
                if self._is_near:
                    data = await self._read(key, start, length)
                else:
                    data = await self._timed(key, start, length, end)
            except NotFound:
                raise
            except Transient:
                pause = _FIRST_PAUSE * 2 ** (attempt - 1) * self._fraction()
                if attempt >= policy.attempts or self._clock() + pause >= end:
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

    async def _timed(self, key: str, start: int, length: int | None, end: float) -> bytes:
        try:
            async with asyncio.timeout(min(self._policy.read_seconds, end - self._clock())):
                return await self._read(key, start, length)
        except TimeoutError:
            raise Transient(f"{self.name}: cannot read {key}: no answer in time") from None

    def _read(self, key: str, start: int, length: int | None) -> Awaitable[bytes]:
        if length is None:
            return self._objects.get(key)
        return self._objects.get_range(key, start, length)
