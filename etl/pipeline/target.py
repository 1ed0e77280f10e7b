"""The target of a run, as any process can open it; read alone in a dry run and in a rebuild."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from etl.errors import NotFound
from etl.pipeline.deltas.layers import FOLDER
from etl.storage.local import LocalStore
from etl.storage.open_store import open_store
from etl.storage.port import Entry, Store, StoreOptions, Tagged

KEPT_BLOCKS: Final = 100
"""Objects of patients, blocks and indexes, that a process of a dry run keeps."""
_BLOCKS: Final = "patients/"
_WHOLE: Final = ("catalog/", "directory/")
"""Folders of which a dry run keeps all that it would write."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a run; can be sent to another process.

    Attributes:
        name: a folder, or `s3://bucket/prefix`.
        options: settings of the store.
        dry: whether nothing is to be written.
        elsewhere: a folder of this machine that is written to instead; empty for none.
        kept: folder for what a dry run keeps of what it would write: catalog and directory, and
            the first blocks of each process, to show what changes; None to keep nothing.
    """

    name: str
    options: StoreOptions
    dry: bool = False
    elsewhere: str = ""
    kept: Path | None = None

    @property
    def is_kept(self) -> bool:
        """Whether all that is written can be read again: in the target, or elsewhere."""
        return not self.dry or bool(self.elsewhere)

    def in_any_folder(self) -> Target:
        """Return the same target for processes that have another current folder."""
        return self if "://" in self.name else replace(self, name=str(Path(self.name).absolute()))

    def store(self) -> Store:
        """Return the store."""
        store = open_store(self.name, self.options)
        if self.elsewhere:
            return OverlayStore(store, LocalStore(Path(self.elsewhere)))
        return DryStore(store, self.kept) if self.dry else store


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
        """Be a copy: nothing is opened, for what fails here has no message."""
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


class _ReadStore:
    """Passes reads on, and refuses whatever readers would see.

    Args:
        store: the target.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

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


class DryStore(_ReadStore):
    """Discards what is written, but for what it is to keep.

    Args:
        store: the target.
        kept: folder for some of the objects, closed to others; None to keep none.
    """

    def __init__(self, store: Store, kept: Path | None = None) -> None:
        super().__init__(store)
        self._rows: dict[str, bytes] = {}
        self._kept = kept
        self._blocks = 0

    def has_kept(self, key: str) -> bool:
        """Return whether an object that a run would write can be read."""
        return self._kept is not None and (self._kept / key).is_file()

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        if self._kept is not None and self.has_kept(key):
            return (self._kept / key).read_bytes()
        kept = self._rows.get(key)
        return self._store.get(key) if kept is None else kept

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on."""
        if self.has_kept(key):
            return self.get(key)[start : start + length]
        return self._store.get_range(key, start, length)

    def put(self, key: str, data: bytes) -> bool:
        """Discard the object; it counts as one that was not there."""
        if key.startswith(FOLDER):  # the one thing that a run reads back
            self._rows[key] = bytes(data)
        is_block = key.startswith(_BLOCKS)
        if self._kept is not None and (is_block or key.startswith(_WHOLE)):
            self._blocks += is_block
            if not is_block or self._blocks <= KEPT_BLOCKS:
                path = self._kept / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return True


class OverlayStore(_ReadStore):
    """Writes elsewhere; what is not there is read from the target.

    Args:
        store: the target.
        written: where objects are written.
    """

    def __init__(self, store: Store, written: Store) -> None:
        super().__init__(store)
        self._written = written

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
