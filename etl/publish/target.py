"""The target of a run, for any process: a folder or a bucket prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from etl.storage.local import LocalStore
from etl.storage.open_store import open_store
from etl.storage.port import Store, StoreOptions
from etl.storage.wrappers import OverlayStore


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
        """Return the target with an absolute path, for processes in other folders."""
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

    def __eq__(self, other: object) -> bool:
        """Whether both are for the same target."""
        return isinstance(other, RunStore) and self._target == other._target

    def __hash__(self) -> int:
        """Return the hash of the target."""
        return hash(self._target)

    def __getstate__(self) -> Target:
        """Return the state to pickle: the target, without the open store."""
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
        return shared_store(self._target) if self._is_copy else self._target.store()


@lru_cache(maxsize=2)
def shared_store(target: Target) -> Store:
    """Return the store of a target, which is opened once in each process."""
    return target.store()
