"""Objects that count what is read of them, and go wrong where they are told to."""

from collections.abc import Awaitable, Callable

from etl.storage.port import Objects


class Watched:
    """Passes reads on.

    Attributes:
        reads: (key, start, length) of each; start 0 and length None for whole objects.
        fault: called with the key and what was read; returns what is given instead, or raises.
        wait: awaited before each read; None for nothing.
    """

    def __init__(self, objects: Objects, *, near: bool = False) -> None:
        self._objects = objects
        self._near = near
        self.reads: list[tuple[str, int, int | None]] = []
        self.fault: Callable[[str, bytes], bytes] | None = None
        self.wait: Callable[[], Awaitable[object]] | None = None

    @property
    def name(self) -> str:
        return "watched"

    @property
    def near(self) -> bool:
        return self._near

    async def get(self, key: str) -> bytes:
        self.reads.append((key, 0, None))
        return await self._given(key, lambda: self._objects.get(key))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((key, start, length))
        return await self._given(key, lambda: self._objects.get_range(key, start, length))

    async def _given(self, key: str, read: Callable[[], Awaitable[bytes]]) -> bytes:
        if self.wait is not None:
            await self.wait()
        data = await read()
        return data if self.fault is None else self.fault(key, data)
