"""Objects that count what is read of them, and go wrong where they are told to."""

from collections.abc import Awaitable, Callable

from tests.memory_store import MemoryStore
from tests.unit.gateway.memory_objects import MemoryObjects


class Watched(MemoryObjects):
    """Objects of a store in memory.

    Attributes:
        reads: (key, start, length) of each; start 0 and length None for whole objects.
        fault: called with the key and what was read; returns what is given instead, or raises.
        wait: awaited before each read; None for nothing.
    """

    def __init__(self, store: MemoryStore, *, near: bool = False) -> None:
        super().__init__(store, near=near)
        self.reads: list[tuple[str, int, int | None]] = []
        self.fault: Callable[[str, bytes], bytes] | None = None
        self.wait: Callable[[], Awaitable[object]] | None = None

    def fail(self, error: Exception, kind: str = "") -> None:
        """Have reads of objects of a kind raise an error; `kind` is a part of their keys."""

        def fault(key: str, data: bytes) -> bytes:
            if kind in key:
                raise error
            return data

        self.fault = fault

    async def get(self, key: str) -> bytes:
        self.reads.append((key, 0, None))
        return await self._given(key, lambda: MemoryObjects.get(self, key))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((key, start, length))
        return await self._given(key, lambda: MemoryObjects.get_range(self, key, start, length))

    async def _given(self, key: str, read: Callable[[], Awaitable[bytes]]) -> bytes:
        if self.wait is not None:
            await self.wait()
        data = await read()
        return data if self.fault is None else self.fault(key, data)
