"""The target of a run, as any process can open it; read alone in a dry run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from etl.pipeline.deltas.layers import FOLDER
from etl.storage.open_store import open_store
from etl.storage.port import Entry, Store, StoreOptions, Tagged


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a run; can be sent to another process.

    Attributes:
        name: a folder, or `s3://bucket/prefix`.
        options: settings of the store.
        dry: whether nothing is to be written.
    """

    name: str
    options: StoreOptions
    dry: bool = False

    def store(self) -> Store:
        """Return the store."""
        store = open_store(self.name, self.options)
        return DryStore(store) if self.dry else store


class DryStore:
    """Passes reads on, discards objects, and refuses whatever readers would see.

    Args:
        store: the target.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        """Name of the target in messages."""
        return self._store.name

    @property
    def concurrency(self) -> int:
        """Requests that are worth making at once."""
        return self._store.concurrency

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        kept = self._rows.get(key)
        return self._store.get(key) if kept is None else kept

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on."""
        return self._store.get_range(key, start, length)

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag."""
        return self._store.read(key)

    def put(self, key: str, data: bytes) -> bool:
        """Discard the object; it counts as one that was not there."""
        if key.startswith(FOLDER):  # the one thing that a run reads back
            self._rows[key] = bytes(data)
        return True

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Refuse: a dry run swaps nothing."""
        del data, expected
        raise AssertionError(f"a dry run would have changed {key}")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects with keys that start with `prefix`."""
        return self._store.list(prefix)

    def delete(self, keys: Iterable[str]) -> int:
        """Refuse: a dry run deletes nothing."""
        del keys
        raise AssertionError("a dry run would have deleted objects")

    def sync(self) -> None:
        """Do nothing: nothing was written."""

    def clean(self, older_than: datetime) -> int:
        """Do nothing: nothing was written."""
        del older_than
        return 0
