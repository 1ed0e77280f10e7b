"""Cache of reads, bounded in bytes.

All cached values are immutable, so none becomes stale.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, TypeVar

Value = TypeVar("Value")

_ENTRY: Final = 200
"""Bytes that an entry costs beside its value."""


class Cache:
    """Values by key; the least recently used is evicted first.

    Args:
        most: size of the cache in bytes. A larger value is not cached.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}
        self.hits = 0
        self.misses = 0
        self.bytes = 0

    def peek(self, key: Hashable) -> Any | None:
        """Return a value, or None where there is none."""
        entry = self._held.get(key)
        if entry is None:
            self.misses += 1
            return None
        self._held.move_to_end(key)
        self.hits += 1
        return entry[0]

    def put(self, key: Hashable, value: Any, cost: int) -> None:
        """Keep a value.

        Args:
            key: the cache key.
            value: not None.
            cost: about how many bytes it takes.
        """
        cost += _ENTRY
        old = self._held.pop(key, None)
        if old is not None:
            self.bytes -= old[1]
        if cost > self._most:
            return
        self._held[key] = (value, cost)
        self.bytes += cost
        while self.bytes > self._most:
            _, (_, freed) = self._held.popitem(last=False)
            self.bytes -= freed

    async def get(
        self, key: Hashable, load: Callable[[], Awaitable[Value]], cost: Callable[[Value], int]
    ) -> Value:
        """Return a value; where there is none, load it once for all waiters.

        Args:
            key: the cache key.
            load: makes the value; an error is raised to all waiters, and nothing is cached.
            cost: about how many bytes a value takes.
        """
        found: Value | None = self.peek(key)
        if found is not None:
            return found

        async def loaded() -> Value:
            value = await load()
            self.put(key, value, cost(value))
            return value

        return await self.once(key, loaded)

    async def once(self, key: Hashable, load: Callable[[], Awaitable[Value]]) -> Value:
        """Return what `load` gives; concurrent calls share one run and its result.

        It runs to completion even if all waiters are cancelled.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(_as_coroutine(load))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        value: Value = await asyncio.shield(flight)
        return value

    def _landed(self, key: Hashable, flight: asyncio.Task[Any]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # retrieved, even if all waiters are gone


async def _as_coroutine(load: Callable[[], Awaitable[Value]]) -> Value:
    return await load()
