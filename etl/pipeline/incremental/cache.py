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
from etl.pipeline.incremental.ledger import Ledger, joined
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
        ledgers: what there is of the partitions, in order: each is a range of members' hashes.
        count: how many partitions there were.
        as_of: day of the extract, in days since 1970; None where it is not stated.
        names: names under which the directory held something, ascending, and what it held.
        suites: the object that holds the results of the suites; None where none were run.
    """

    ledgers: Sequence[RangeRef]
    count: int
    as_of: int | None
    names: tuple[Hashes, Hashes]
    suites: ObjectRef | None

    def ledger(self, store: Store, indexes: range, count: int) -> Ledger:
        """Return the cached entries of the members in some of `count` partitions now.

        Entries of members in partitions beside them may be among them. What is lost or damaged is
        left out.
        """
        ledgers = (_ledger(store, cached) for cached in self.for_partitions(indexes, count).ledgers)
        return joined(ledger for ledger in ledgers if ledger is not None)

    def for_partitions(self, indexes: range, count: int) -> CachedResults:
        """Return what ledgers there are of the members in some of `count` partitions now."""
        touching = [ref for ref in self.ledgers if ref.touches(indexes, count, self.count)]
        return replace(self, ledgers=touching, names=(NO_HASHES, NO_HASHES))


def _ledger(store: Store, ref: ObjectRef) -> Ledger | None:
    try:
        data = read_verified(store, ref.key, ref.sha256)
        return ledger_from(data, f"{store.name}: {ref.key}")
    except StoreError:
        return None


def made_by(partitions: Partitions, definitions: Definitions) -> str:
    """Return a hash of all that results depend on beside rows, directory and day."""
    loose = {
        file.name: file.sha256
        for file in partitions.facts.files
        if file.name in partitions.facts.unowned
    }
    layout = partitions.facts.layout
    shared = sorted(
        (file.name, file.sha256) for file in partitions.facts.files if file.table in layout.shared
    )
    facts = [definitions.fingerprint, layout.name, _code(), loose, shared]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@cache
def _code() -> str:
    """Return a hash of the program text that makes results of rows.

    The version alone would let a developer's change go unnoticed.
    """
    digest = hashlib.sha256()
    for name in CODE:
        for path, text in _texts(files("etl") / name, name):
            digest.update(f"{path}\n".encode())
            digest.update(text)
    return digest.hexdigest()


def _texts(root: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of each module of a room, its folders included."""
    if root.is_file():
        if path.endswith(".py"):
            yield path, root.read_bytes()
        return
    for part in sorted(root.iterdir(), key=lambda path: path.name):
        yield from _texts(part, f"{path}/{part.name}")


def open_cache(store: Store, base: Current, made: str) -> CachedResults | None:
    """Return the results that the previous release keeps; None where they are of no use.

    Args:
        store: the target.
        base: what readers see now.
        made: what `made_by` returned.
    """
    try:
        return _opened(store, base, made)
    except StoreError:
        return None  # lost or damaged: `verify` reports it, and processing all members fixes it


def _opened(store: Store, base: Current, made: str) -> CachedResults | None:
    if base.release is None:
        return None
    ref = base.release.kept(MEMORY, ".json")
    if ref is None:
        return None
    cached = read_object(store, ref, _CacheList)
    if cached.made_by != made:
        return None
    names = _names_from(
        read_verified(store, cached.names.key, cached.names.sha256), cached.names.key
    )
    return CachedResults(cached.ledgers, cached.partitions, cached.as_of, names, cached.suites)


def write_ledger(store: Store, ledger: Ledger) -> ObjectRef:
    """Write the ledger of some partitions."""
    return put_by_content(store, MEMORY, ledger_to(ledger), "ledger")


def write_cache(store: Store, results: CachedResults, made: str) -> list[ObjectRef]:
    """Write the list of ledgers, and return all that the manifest is to name.

    Args:
        store: the target.
        results: those of this run.
        made: what `made_by` returned.
    """
    suites, ledgers = results.suites, results.ledgers
    directory = put_by_content(store, MEMORY, _names_to(results.names), "names")
    body = _CacheList(1, made, results.as_of, directory, suites, results.count, tuple(ledgers))
    others = [directory] if suites is None else [directory, suites]
    return write_list(store, MEMORY, body, "json", [*ledgers, *others])


def _names_to(names: tuple[Hashes, Hashes]) -> bytes:
    return np.stack(names, axis=1).astype("<u8").tobytes()


def _names_from(data: bytes, what: str) -> tuple[Hashes, Hashes]:
    if len(data) % 16:
        raise StoreError(f"{what} holds no names: the object is damaged; run verify")
    pairs = np.frombuffer(data, dtype="<u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]
