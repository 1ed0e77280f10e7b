"""Wrappers of a store: one reports each write, the other writes to another store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from etl.errors import NotFound
from etl.storage.port import Entry, Store, Tagged


class StoreWrapper:
    """Passes every call to another store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.store.name

    @property
    def concurrency(self) -> int:
        """Useful number of concurrent requests."""
        return self.store.concurrency

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        return self.store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a part of an object."""
        return self.store.get_range(key, start, length)

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag."""
        return self.store.read(key)

    def put(self, key: str, data: bytes) -> bool:
        """Write an object; return whether it was not there."""
        return self.store.put(key, data)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object if it is unchanged; return its new tag."""
        return self.store.swap(key, data, expected)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects under a key prefix."""
        return self.store.list(prefix)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects; return how many keys were given."""
        return self.store.delete(keys)

    def sync(self) -> None:
        """Make everything that was put durable."""
        self.store.sync()

    def clean(self, older_than: datetime) -> int:
        """Delete what dead writers left; return how many."""
        return self.store.clean(older_than)


class ObservedStore(StoreWrapper):
    """Reports each write to another store.

    Args:
        on_write: called after each `put`, in the writing thread, and after each `swap`.
    """

    def __init__(self, store: Store, on_write: Callable[[], None]) -> None:
        super().__init__(store)
        self._on_write = on_write

    def put(self, key: str, data: bytes) -> bool:
        """Write an object; return whether it was not there."""
        is_new = super().put(key, data)
        self._on_write()
        return is_new

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object if it is unchanged; return its new tag."""
        tag = super().swap(key, data, expected)
        self._on_write()
        return tag


class OverlayStore(StoreWrapper):
    """Writes to a second store and never changes the target; reads from both.

    Args:
        store: the target.
        writes: store of the written objects.
    """

    def __init__(self, store: Store, writes: Store) -> None:
        super().__init__(store)
        self._writes = writes

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        try:
            return self._writes.get(key)
        except NotFound:
            return self.store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on."""
        try:
            return self._writes.get_range(key, start, length)
        except NotFound:
            return self.store.get_range(key, start, length)

    def put(self, key: str, data: bytes) -> bool:
        """Write the object to the second store."""
        return self._writes.put(key, data)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Refuse: readers of the target must see no change."""
        del data, expected
        raise AssertionError(f"{key} would have been changed")

    def delete(self, keys: Iterable[str]) -> int:
        """Refuse: the target must not change."""
        del keys
        raise AssertionError("objects would have been deleted")

    def sync(self) -> None:
        """Do nothing: nothing that has to last was written."""

    def clean(self, older_than: datetime) -> int:
        """Do nothing: nothing that has to last was written."""
        del older_than
        return 0
