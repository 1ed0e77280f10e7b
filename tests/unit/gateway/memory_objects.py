"""Objects in memory: for tests, and the shortest statement of what the port promises."""

from etl.errors import StoreError
from tests.memory_store import MemoryStore


class MemoryObjects:
    """Objects of a store in memory, which may still change.

    Args:
        store: where they are.
        near: what the property says: False to have the cache work as before object storage.
    """

    def __init__(self, store: MemoryStore, *, near: bool = True) -> None:
        self._store = store
        self._near = near

    @property
    def name(self) -> str:
        """The store's name."""
        return self._store.name

    @property
    def near(self) -> bool:
        """As it was said when this was made."""
        return self._near

    async def get(self, key: str) -> bytes:
        """Return the whole object."""
        return self._store.get(key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start` on."""
        data = self._store.get_range(key, start, length)
        if len(data) != length:
            raise StoreError(f"{self.name}: {key} ends before byte {start + length}; run verify")
        return data
