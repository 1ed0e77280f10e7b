"""LRU cache of reads, bounded in bytes. All cached values are immutable, so none becomes stale."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, TypeVar

Value = TypeVar("Value")

_ENTRY_BYTES: Final = 200
"""Estimated bytes of an entry without its value."""


class Cache:
    """Values by key; the least recently used is evicted first.

    Args:
        max_bytes: size of the cache in bytes. A larger value is not cached.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self.hits = 0
        self.misses = 0
        self.bytes = 0

    def peek(self, key: Hashable) -> Any | None:
        """Return a cached value; None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry[0]

    def put(self, key: Hashable, value: Any, cost: int) -> None:
        """Cache a value.

        Args:
            key: the cache key.
            value: not None.
            cost: estimated bytes of the value.
        """
        cost += _ENTRY_BYTES
        old_entry = self._entries.pop(key, None)
        if old_entry is not None:
            self.bytes -= old_entry[1]
        if cost > self._max_bytes:
            return
        self._entries[key] = (value, cost)
        self.bytes += cost
        while self.bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed

    async def get(
        self, key: Hashable, load: Callable[[], Awaitable[Value]], cost: Callable[[Value], int]
    ) -> Value:
        """Return a cached value, or load it once for all waiters.

        Args:
            key: the cache key.
            load: loads the value; all waiters get its error, and nothing is cached.
            cost: returns the estimated bytes of a value.
        """
        cached: Value | None = self.peek(key)
        if cached is not None:
            return cached

        async def load_and_put() -> Value:
            value = await load()
            self.put(key, value, cost(value))
            return value

        return await self.once(key, load_and_put)

    async def once(self, key: Hashable, load: Callable[[], Awaitable[Value]]) -> Value:
        """Call `load`; concurrent calls with the same key share one run and its result.

        The run goes on even if all waiters are cancelled.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(load())
            self._running[key] = task
            task.add_done_callback(lambda done: self._finish(key, done))
        value: Value = await asyncio.shield(task)
        return value

    def _finish(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # marks it as retrieved, even without waiters
