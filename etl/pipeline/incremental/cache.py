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
from etl.publish.kept_objects import KeptKind, ObjectRef, RangeRef, json_kind, to_bytes
from etl.publish.reader import PreviousRelease, Tree
from etl.publish.writer import ReleaseWriter
from etl.sources.partition.partitions import Partitions

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

    def ledger(self, tree: Tree, indexes: range, count: int) -> Ledger:
        """Return the cached entries of members in some of the `count` partitions now.

        Members of neighboring partitions may be included. Lost or damaged ledgers are left out.
        """
        ledgers = (
            _read_ledger(tree, cached) for cached in self.for_partitions(indexes, count).ledgers
        )
        return merge_ledgers(ledger for ledger in ledgers if ledger is not None)

    def for_partitions(self, indexes: range, count: int) -> CachedResults:
        """Keep only the ledgers with members of some of `count` partitions now."""
        touching_ledgers = [ref for ref in self.ledgers if ref.touches(indexes, count, self.count)]
        return replace(self, ledgers=touching_ledgers, names=(NO_HASHES, NO_HASHES))


def _read_ledger(tree: Tree, ref: ObjectRef) -> Ledger | None:
    """Read a ledger; None if it is missing or damaged."""
    try:
        return tree.read(_LEDGER, ref)
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


def open_cache(previous: PreviousRelease, key: str) -> CachedResults | None:
    """Return the previous release's reusable results; None if there are none.

    Args:
        previous: the release that the run builds on.
        key: what `results_key` returned.
    """
    cached = previous.read(_RESULTS)
    if previous.release is None or cached is None or cached.made_by != key:
        return None
    try:
        names = previous.release.tree.read(_NAMES, cached.names)
    except StoreError:
        return None  # lost or damaged: `verify` reports it, and processing all members fixes it
    return CachedResults(cached.ledgers, cached.partitions, cached.as_of, names, cached.suites)


def write_ledger(tree: Tree, ledger: Ledger) -> ObjectRef:
    """Write the ledger of some partitions."""
    return tree.write(_LEDGER, ledger_to(ledger))


def keep_cache(writer: ReleaseWriter, results: CachedResults, key: str) -> None:
    """Keep the list of cached results, and the objects that it names.

    Args:
        writer: of the release.
        results: those of this run.
        key: what `results_key` returned.
    """
    suites, ledgers = results.suites, results.ledgers
    names = writer.tree.write(_NAMES, _names_to_bytes(results.names))
    body = _CacheList(1, key, results.as_of, names, suites, results.count, tuple(ledgers))
    other_refs = [names] if suites is None else [names, suites]
    writer.keep(_RESULTS, to_bytes(body), [*ledgers, *other_refs])


def _names_to_bytes(names: tuple[Hashes, Hashes]) -> bytes:
    return np.stack(names, axis=1).astype("<u8").tobytes()


def _names_from_bytes(data: bytes, object_name: str) -> tuple[Hashes, Hashes]:
    if len(data) % 16:
        raise StoreError(f"{object_name} holds no names: the object is damaged; run verify")
    pairs = np.frombuffer(data, dtype="<u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


_RESULTS: Final = json_kind(".json", _CacheList)
_NAMES: Final = KeptKind(".names", _names_from_bytes)
_LEDGER: Final = KeptKind(".ledger", ledger_from)
