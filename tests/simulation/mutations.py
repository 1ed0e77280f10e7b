"""Ways to break the mechanism that the simulation has to find: proof that it can fail."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from etl.publish import history, lease, object_keys, prune, release
from etl.publish.canonical_json import sha256
from etl.publish.manifest import Manifest, Pointer
from etl.publish.reader import Current, read_pointer
from etl.storage.port import Entry, Store

_commit = release.commit
_unused = prune._unused
_chosen = prune._chosen

Mutation = Callable[[], AbstractContextManager[object]]


def _of(where: object, name: str, new: object) -> Mutation:
    return lambda: patch.object(where, name, new)


def _whatever_is_there(
    store: Store, manifest: Manifest, base: Current, held: lease.Lease | None = None
) -> None:
    there = read_pointer(store)
    _commit(store, manifest, replace(base, tag=there.tag if there else None), held)


def _pointer_first(
    store: Store, manifest: Manifest, base: Current, held: lease.Lease | None = None
) -> None:
    data = manifest.to_bytes()
    pointer = Pointer(manifest.release, manifest.key, sha256(data))
    store.swap(object_keys.CURRENT, pointer.to_bytes(), base.tag)
    store.put(manifest.key, data)


def _objects_first(*args: Any) -> Iterator[Entry]:
    yield from reversed(list(_unused(*args)))


def _one_less(store: Store, keep: int, *args: Any) -> prune._Chosen:
    return _chosen(store, max(keep - 1, 1), *args)


def _not_fenced(store: Store, base: Current) -> Current:
    return base


def _nothing(*_: object, **__: object) -> None:
    return None


MUTATIONS = MappingProxyType(
    {
        "a commit replaces whatever is there": _of(release, "commit", _whatever_is_there),
        "the pointer is swapped before its manifest is put": _of(release, "commit", _pointer_first),
        "a lost answer is not settled": _of(release, "_landed", lambda *_: False),
        "leases are not looked at": _of(lease, "_standing", lambda *_: ()),
        "a prune puts up no fence": _of(prune, "fenced", _not_fenced),
        "a prune deletes objects before manifests": _of(prune, "_unused", _objects_first),
        "a prune keeps a release less": _of(prune, "_chosen", _one_less),
        "a prune does not know that its lease was broken": _of(lease.Lease, "keep", _nothing),
        "a prune without an answer gives its lease back": _of(lease.Lease, "leave", _nothing),
        "a run does not break the lease of a dead prune": _of(lease, "_broken", lambda *_: True),
        "a rollback that is done again puts up no fence": _of(history, "fenced", _not_fenced),
        "a report is replaced without a fence": _of(release, "fenced", _not_fenced),
    }
)
"""What is broken, and how."""
