"""The target of a run, as any process can open it; a trial is written to a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path

from etl.errors import NotFound
from etl.storage.local import LocalStore
from etl.storage.open_store import open_store
from etl.storage.port import Entry, Store, StoreOptions, Tagged


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a run; can be sent to another process.

    Attributes:
        name: a folder, or `s3://bucket/prefix`.
        options: settings of the store.
        overlay: a folder of this machine that is written to instead; empty for none.
    """

    name: str
    options: StoreOptions
    overlay: str = ""

    @property
    def is_trial(self) -> bool:
        """Whether readers never see what is written: it goes to an overlay."""
        return bool(self.overlay)

    def in_any_folder(self) -> Target:
        """Return the same target for processes that have another current folder."""
        return self if "://" in self.name else replace(self, name=str(Path(self.name).absolute()))

    def store(self) -> Store:
        """Return the store."""
        store = open_store(self.name, self.options)
        return OverlayStore(store, LocalStore(Path(self.overlay))) if self.overlay else store


class RunStore:
    """The store of a run's target, opened once in each process: on S3 that costs 0.1 s.

    Copies that come to another process, with each of its jobs, share one.

    Args:
        target: the target.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._is_copy = False

    def __getstate__(self) -> Target:
        """Leave out the store."""
        return self._target

    def __setstate__(self, target: Target) -> None:
        """Restore a pickled store. Opens nothing: an error raised here would be lost."""
        self._target = target
        self._is_copy = True

    def __call__(self) -> Store:
        """Return the store."""
        return self._store

    @cached_property
    def _store(self) -> Store:
        return _shared(self._target) if self._is_copy else self._target.store()


@lru_cache(maxsize=1)
def _shared(target: Target) -> Store:
    return target.store()


class OverlayStore:
    """Writes elsewhere; what is not there is read from the target, which never changes.

    Args:
        store: the target.
        written: where objects are written.
    """

    def __init__(self, store: Store, written: Store) -> None:
        self._store, self._written = store, written

    @property
    def name(self) -> str:
        """Name of the target in messages."""
        return self._store.name

    @property
    def concurrency(self) -> int:
        """Requests that are worth making at once."""
        return self._store.concurrency

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag."""
        return self._store.read(key)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Refuse: readers are to see nothing of it."""
        del data, expected
        raise AssertionError(f"{key} would have been changed")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects with keys that start with `prefix`."""
        return self._store.list(prefix)

    def delete(self, keys: Iterable[str]) -> int:
        """Refuse: nothing of the target goes."""
        del keys
        raise AssertionError("objects would have been deleted")

    def sync(self) -> None:
        """Do nothing: nothing that has to last was written."""

    def clean(self, older_than: datetime) -> int:
        """Do nothing: nothing that has to last was written."""
        del older_than
        return 0

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        try:
            return self._written.get(key)
        except NotFound:
            return self._store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on."""
        try:
            return self._written.get_range(key, start, length)
        except NotFound:
            return self._store.get_range(key, start, length)

    def put(self, key: str, data: bytes) -> bool:
        """Write the object elsewhere."""
        return self._written.put(key, data)
