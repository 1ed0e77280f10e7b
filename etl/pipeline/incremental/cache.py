"""The results that a release keeps in its tree for the next run to reuse.

Ledgers, digests of the directory, and the results of the suites.

`memory/<sha256>.json` lists the objects; the manifest names the list and all of them among its
reports. Another mapping, rule, setting, layout or program makes another `made_by`, and then
nothing of it is used: a cache that is not used costs time alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import msgspec
import numpy as np

from etl.columns.digests import NO_HASHES, Hashes
from etl.errors import StoreError
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.ledger import Ledger, merge_ledgers
from etl.pipeline.incremental.ledger import from_bytes as ledger_from
from etl.pipeline.incremental.ledger import to_bytes as ledger_to
from etl.publish.kept_objects import (
    MEMORY,
    ObjectRef,
    RangeRef,
    put_by_content,
    read_object,
    read_verified,
    write_list,
)
from etl.publish.reader import Current
from etl.sources.partition.partitions import Partitions
from etl.storage.port import Store

CODE: Final = (
    *("documents", "rows.py", "columns", "profiles", "model", "mapping", "sources", "quality"),
    *("engine", "claims", "pipeline", "publish", "certificate"),
)
"""Rooms that results of rows depend on."""


class _CacheList(msgspec.Struct, rename="camel"):
    format: int
    made_by: str
    as_of: int | None
    names: ObjectRef
    suites: ObjectRef | None
    partitions: int
    ledgers: tuple[RangeRef, ...]


@dataclass(frozen=True, slots=True)
class CachedResults:
    """Results that the previous release keeps, as far as this run may use them.

    Attributes:
        ledgers: the ledgers in order, each for a range of members' hashes.
        count: how many partitions there were.
        as_of: day of the extract, in days since 1970; None if it is not stated.
        names: hashes of the directory's names, ascending, and of their rows.
        suites: the object with the results of the suites; None if none were run.
    """

    ledgers: Sequence[RangeRef]
    count: int
    as_of: int | None
    names: tuple[Hashes, Hashes]
    suites: ObjectRef | None

    def ledger(self, store: Store, indexes: range, count: int) -> Ledger:
        """Return the cached entries of members in some of the `count` partitions now.

        Members of neighboring partitions may be included. Lost or damaged ledgers are left out.
        """
        ledgers = (
            _read_ledger(store, cached) for cached in self.for_partitions(indexes, count).ledgers
        )
        return merge_ledgers(ledger for ledger in ledgers if ledger is not None)

    def for_partitions(self, indexes: range, count: int) -> CachedResults:
        """Keep only the ledgers with members of some of `count` partitions now."""
        touching_ledgers = [ref for ref in self.ledgers if ref.touches(indexes, count, self.count)]
        return replace(self, ledgers=touching_ledgers, names=(NO_HASHES, NO_HASHES))


def _read_ledger(store: Store, ref: ObjectRef) -> Ledger | None:
    """Read a ledger; None if it is missing or damaged."""
    try:
        data = read_verified(store, ref.key, ref.sha256)
        return ledger_from(data, f"{store.name}: {ref.key}")
    except StoreError:
        return None


def results_key(partitions: Partitions, definitions: Definitions) -> str:
    """Return a hash of all that results depend on besides rows, directory and day."""
    files_with_orphans = {
        file.name: file.sha256
        for file in partitions.facts.files
        if file.name in partitions.facts.unowned
    }
    shared_names = partitions.facts.layout.shared_files
    shared_files = sorted(
        (file.name, file.sha256) for file in partitions.facts.files if file.table in shared_names
    )
    facts = [
        definitions.fingerprint,
        partitions.facts.layout.name,
        _code_hash(),
        files_with_orphans,
        shared_files,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@cache
def _code_hash() -> str:
    """Return a hash of the program text that computes results of rows.

    The version alone would miss a developer's change.
    """
    digest = hashlib.sha256()
    for name in CODE:
        for path, text in _module_texts(files("etl") / name, name):
            digest.update(f"{path}\n".encode())
            digest.update(text)
    return digest.hexdigest()


def _module_texts(root: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of each module under a path."""
    if root.is_file():
        if path.endswith(".py"):
            yield path, root.read_bytes()
        return
    for child in sorted(root.iterdir(), key=lambda path: path.name):
        yield from _module_texts(child, f"{path}/{child.name}")


def open_cache(store: Store, base: Current, key: str) -> CachedResults | None:
    """Return the previous release's reusable results; None if there are none.

    Args:
        store: the target.
        base: what readers see now.
        key: what `results_key` returned.
    """
    try:
        return _open_matching_cache(store, base, key)
    except StoreError:
        return None  # lost or damaged: `verify` reports it, and processing all members fixes it


def _open_matching_cache(store: Store, base: Current, key: str) -> CachedResults | None:
    if base.release is None:
        return None
    ref = base.release.kept_object(MEMORY, ".json")
    if ref is None:
        return None
    cached = read_object(store, ref, _CacheList)
    if cached.made_by != key:
        return None
    names = _names_from_bytes(
        read_verified(store, cached.names.key, cached.names.sha256), cached.names.key
    )
    return CachedResults(cached.ledgers, cached.partitions, cached.as_of, names, cached.suites)


def write_ledger(store: Store, ledger: Ledger) -> ObjectRef:
    """Write the ledger of some partitions."""
    return put_by_content(store, MEMORY, ledger_to(ledger), "ledger")


def write_cache(store: Store, results: CachedResults, key: str) -> list[ObjectRef]:
    """Write the list of cached results; return the references for the manifest.

    Args:
        store: the target.
        results: those of this run.
        key: what `results_key` returned.
    """
    suites, ledgers = results.suites, results.ledgers
    directory = put_by_content(store, MEMORY, _names_to_bytes(results.names), "names")
    body = _CacheList(1, key, results.as_of, directory, suites, results.count, tuple(ledgers))
    other_refs = [directory] if suites is None else [directory, suites]
    return write_list(store, MEMORY, body, "json", [*ledgers, *other_refs])


def _names_to_bytes(names: tuple[Hashes, Hashes]) -> bytes:
    return np.stack(names, axis=1).astype("<u8").tobytes()


def _names_from_bytes(data: bytes, object_name: str) -> tuple[Hashes, Hashes]:
    if len(data) % 16:
        raise StoreError(f"{object_name} holds no names: the object is damaged; run verify")
    pairs = np.frombuffer(data, dtype="<u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]
