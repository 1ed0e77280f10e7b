"""Read one release asynchronously: the counterpart of `publish.reader.Release`.

`publish` parses the format (`Manifest`, `find_row`, `Index`, `views`); this module adds
asynchronous reads, a cache and verification. All data is verified before it is cached: objects
against the hash in their key, sections of a large index and parts of a block against their
checksums. Data that fails verification is read once more before it is reported as damaged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Final, TypeVar

from etl.errors import DamagedObject, NotFound, StoreError
from etl.gateway.release.cache import Cache
from etl.gateway.search.dates import stored_span
from etl.publish import object_keys
from etl.publish.canonical_json import sha256
from etl.publish.catalog import CatalogEntry, find_row, shard_number
from etl.publish.manifest import Manifest
from etl.publish.reader import check_head, runs, views
from etl.publish.search_index import HEAD, WHOLE, BlockPart, Index, IndexColumn
from etl.publish.segments import Segment, SegmentEntry
from etl.storage.port import Line, Objects, Transient

Result = TypeVar("Result")

_MAX_SPAN: Final = 1024 * 1024
"""Parts of a block within this many bytes are fetched with one request."""

_NEAR_TURN: Final = 4
_FAR_TURN: Final = 16
"""After so many reads, which take some milliseconds, other requests get the event loop."""

_ENTRY_COST: Final = 1_000
_BLOCK_COST: Final = 8_000
"""Size in memory of the parsed head of an index, in bytes."""

_PARSED: Final = 5
"""A parsed section of an index takes this many times its bytes."""


class IndexedBlock:
    """One patient's block, or one shard of the directory, by its index.

    Args:
        index: its search index.
        key: key of the index.
        fetched_bytes: bytes of the index that were fetched; `ReleaseTree.need` fetches the others.
    """

    __slots__ = ("_columns", "_fetched_bytes", "_parsed", "index", "key")

    def __init__(self, index: Index, key: str, fetched_bytes: int) -> None:
        self.index = index
        self.key = key
        self._fetched_bytes = fetched_bytes + _BLOCK_COST
        self._parsed: set[str] = set()
        self._columns: dict[str, IndexColumn] = {}

    @property
    def cost(self) -> int:
        """Estimated bytes in memory; grows with each parsed section."""
        return self._fetched_bytes + _PARSED * sum(map(self.index.size, self._parsed))

    def parsed(self, names: Iterable[str]) -> None:
        """Record the sections that were parsed."""
        self._parsed.update(names)

    def rows(self, resource_type: str) -> range:
        """Return the rows of a type."""
        return self.index.types.get(resource_type, range(0))

    def values(self, resource_type: str, parameter: str) -> IndexColumn:
        """Return the search values of a type's rows; row 0 is the type's first."""
        name = column_name(resource_type, parameter)
        column = self._columns.get(name)
        if column is None:
            column = _drop_bare_codes(self.index.search(resource_type, parameter))
            self._columns[name] = column
        return column


def column_name(resource_type: str, parameter: str) -> str:
    """Return the name of the index section with a parameter's values."""
    return f"search/{resource_type}/{parameter}"


class ReleaseTree:
    """One release of a tree.

    Args:
        objects: the published tree.
        cache: the cache of its reads.
        manifest: the manifest of the release.
        digest: SHA-256 of the manifest's bytes.

    Attributes:
        id: the release's id.
        created: FHIR instant of the run that made it.
    """

    def __init__(self, objects: Objects, cache: Cache, manifest: Manifest, digest: str) -> None:
        self._objects = objects
        self._is_near = objects.near
        self._cache = cache
        self.manifest = manifest
        self.id = manifest.release
        self.created = manifest.created
        self.digest = digest

    async def in_turns(self, reads: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
        """Run reads, letting other requests run in between; return the results in order.

        Local objects are read one after the other: a task costs more than such a read.
        """
        results: list[Result] = []
        if self._is_near:
            for read_one in reads:
                results.append(await read_one)
                if len(results) % _NEAR_TURN == 0:
                    await asyncio.sleep(0)
            return results
        remaining = iter(reads)
        while batch := list(islice(remaining, _FAR_TURN)):
            results += await asyncio.gather(*batch) if len(batch) > 1 else [await batch[0]]
        return results

    async def whole(self, key: str, digest: str) -> bytes:
        """Read a whole object that the manifest names, without caching it.

        Raises:
            StoreError: the object is missing or damaged, or storage failed.
        """
        return await read_verified(self._objects, key, digest)

    @cached_property
    def resources(self) -> int:
        """Number of resources of the directory and all members together."""
        return sum(self.manifest.counts["resources"].values())

    @cached_property
    def now(self) -> int:
        """`created` in nanoseconds: the current time of searches, the same on all pages."""
        return stored_span(self.manifest.created)[0]

    def columns(self, resource_type: str) -> frozenset[str] | None:
        """Return the index columns of a type; None if the release does not record them."""
        return None if self._columns is None else self._columns.get(resource_type, frozenset())

    @cached_property
    def _columns(self) -> dict[str, frozenset[str]] | None:
        by_type = self.manifest.facts.mapping.get("search")
        if by_type is None:
            return None
        return {name: frozenset(columns) for name, columns in by_type.items()}

    async def patient(self, patient_id: str) -> IndexedBlock | None:
        """Return a patient's block; None if there never was such a patient.

        Raises:
            StoreError: storage failed, or the block is damaged or another patient's.
        """
        manifest = self.manifest
        shard = manifest.catalog[shard_number(patient_id, manifest.catalog_bits)]
        if shard is None:
            return None
        key = (shard.key, patient_id)
        entry: CatalogEntry | None = self._cache.peek(key)
        if entry is None:
            data = await self._cache.get(shard.key, lambda: self._read_whole(shard.key), len)
            entry = find_row(data, patient_id, shard.key)
            if entry is None:
                return None
            self._cache.put(key, entry, _ENTRY_COST)
        block = await self._block(entry)
        if block.index.head.get("patient") != patient_id:
            text = f"{self._objects.name}: {entry.index} is another patient's; run verify"
            raise StoreError(text)
        return block

    async def shard_of(self, resource_type: str, resource_id: str) -> IndexedBlock | None:
        """Return the directory shard for a resource; None if the shard is empty."""
        bits = self.manifest.directory_bits
        entry = self.manifest.directory[shard_number(f"{resource_type}/{resource_id}", bits)]
        return None if entry is None else await self._block(entry)

    async def shard(self, number: int) -> IndexedBlock:
        """Return a directory shard by its number; it must not be empty."""
        entry = self.manifest.directory[number]
        if entry is None:
            raise StoreError(f"{self._objects.name}: shard {number} is empty; run verify")
        return await self._block(entry)

    async def segment(self, entry: SegmentEntry) -> Segment:
        """Read the head of a segment of directory columns."""
        label = f"{self._objects.name}: {entry.key}"

        async def read_head() -> Segment:
            head = await self._objects.get_range(entry.key, 0, entry.head)
            return Segment(label, head, entry.bytes)

        return await self._cache.get(
            entry.key, lambda: self._retry_damaged(read_head), lambda _: _PARSED * entry.head
        )

    def cached_section(self, entry: SegmentEntry, name: str) -> Any | None:
        """Return a section of a segment from the cache; None if it is not cached."""
        return self._cache.peek((entry.key, name))

    async def section(
        self,
        entry: SegmentEntry,
        segment: Segment,
        name: str,
        parse: Callable[[bytes], tuple[Result, int]],
    ) -> Result:
        """Read and cache a section of a segment.

        Args:
            entry: the segment.
            segment: its head.
            name: name of an existing section.
            parse: parses the section's bytes; also returns the result's estimated bytes in memory.
        """
        start, length = segment.section_span(name) or (0, 0)

        async def read() -> tuple[Result, int]:
            return parse(await self._objects.get_range(entry.key, start, length))

        async def read_and_cache() -> Result:
            value, cost = await self._retry_damaged(read)
            self._cache.put((entry.key, name), value, cost)
            return value

        return await self._cache.once((entry.key, name), read_and_cache)

    async def need(self, block: IndexedBlock, names: Sequence[str]) -> None:
        """Parse sections of a block's index; fetch missing ones with one request."""
        index = block.index
        missing = index.missing(*names)
        if not missing:
            return
        start, length = index.span(missing)

        async def load_missing() -> None:
            if index.holds(start, length):
                index.load(*missing)
            else:
                index.load_sections(
                    missing, start, await self._objects.get_range(block.key, start, length)
                )

        await self._retry_damaged(load_missing)
        block.parsed(missing)
        self._cache.put(block.key, block, block.cost)

    async def lines(self, block: IndexedBlock, rows: Iterable[int]) -> list[Line]:
        """Return the JSON of rows, in the order of the argument, without line breaks.

        Raises:
            StoreError: storage failed, or a part of the block is damaged.
        """
        row_list = list(rows)
        if not row_list:
            return []
        first, last = min(row_list), max(row_list)
        if last - first + 1 == len(row_list):
            parts = block.index.parts_of(range(first, last + 1))
            if len(parts) == 1 and self._is_near:  # a default page
                part = parts[0]
                page = await self._read_near_part(block.index.block or "", part)
                return [page[row - part.first] for row in row_list]
        else:
            by_offset = {
                part.offset: part
                for row in row_list
                for part in block.index.parts_of(range(row, row + 1))
            }
            parts = [by_offset[offset] for offset in sorted(by_offset)]
        runs = await self._read_parts(block, parts)
        if len(runs) == 1:
            begin, lines = runs[0]
            return [lines[row - begin] for row in row_list]
        by_row = {
            begin + offset: line for begin, lines in runs for offset, line in enumerate(lines)
        }
        return [by_row[row] for row in row_list]

    def damaged(self, block: IndexedBlock) -> StoreError:
        """Return the error of a block that does not match its index."""
        return StoreError(
            f"{self._objects.name}: {block.index.block} and its index disagree; run verify"
        )

    async def _read_parts(
        self, block: IndexedBlock, parts: Sequence[BlockPart]
    ) -> list[tuple[int, list[Line]]]:
        """Return the first row and the lines of each part."""
        key = block.index.block or ""
        cached: dict[int, bytes | None] = {}
        missing = parts
        if not self._is_near:
            cached = {part.offset: self._cache.peek((key, part.offset)) for part in parts}
            missing = [part for part in parts if cached[part.offset] is None]
        fetched: dict[int, list[Line]] = {}
        if missing:
            groups = _group_parts(missing)
            if len(groups) == 1:
                fetched = await self._read_run(key, groups[0])
            else:
                for run in await asyncio.gather(*(self._read_run(key, group) for group in groups)):
                    fetched |= run
        label = f"{self._objects.name}: {key}"
        return [
            (
                part.first,
                fetched[part.offset]
                if part.offset in fetched
                else views(cached[part.offset] or b"", part, label),
            )
            for part in parts
        ]

    async def _read_run(self, key: str, run: Sequence[BlockPart]) -> dict[int, list[Line]]:
        """Fetch parts with one request; return their lines by offset."""
        start = run[0].offset
        length = run[-1].offset + run[-1].length - start
        label = f"{self._objects.name}: {key}"

        async def fetch() -> dict[int, list[Line]]:
            data = memoryview(await self._objects.get_range(key, start, length))
            columns = {}
            for part in run:
                piece = data[part.offset - start : part.offset - start + part.length]
                columns[part.offset] = views(piece, part, label)
                if not self._is_near:
                    self._cache.put((key, part.offset), bytes(piece), part.length)
            return columns

        if self._is_near:
            return await self._retry_damaged(fetch)
        return await self._cache.once((key, start, length), lambda: self._retry_damaged(fetch))

    async def _read_near_part(self, key: str, part: BlockPart) -> list[Line]:
        """Return the lines of a part in local storage, without caching it."""
        label = f"{self._objects.name}: {key}"
        try:
            return views(await self._objects.get_range(key, part.offset, part.length), part, label)
        except (NotFound, Transient):
            raise
        except StoreError:  # like `_retry_damaged`, at half the cost
            return views(await self._objects.get_range(key, part.offset, part.length), part, label)

    async def _block(self, entry: CatalogEntry) -> IndexedBlock:
        return await self._cache.get(
            entry.index, lambda: self._open_block(entry), lambda block: block.cost
        )

    async def _open_block(self, entry: CatalogEntry) -> IndexedBlock:
        label = f"{self._objects.name}: {entry.index}"
        if entry.index_bytes <= WHOLE:
            data = await self._read_whole(entry.index)
            return IndexedBlock(Index.from_bytes(data, label), entry.index, len(data))

        async def read_head() -> IndexedBlock:
            head = await self._objects.get_range(entry.index, 0, HEAD)
            index = Index(label, head, _refuse_read)
            check_head(index, entry, label)
            return IndexedBlock(index, entry.index, len(head))

        return await self._retry_damaged(read_head)

    async def _read_whole(self, key: str, digest: str | None = None) -> bytes:
        return await self._retry_damaged(lambda: read_verified(self._objects, key, digest))

    async def _retry_damaged(self, read: Callable[[], Awaitable[Result]]) -> Result:
        """Call `read`, and again if its data is damaged."""
        try:
            return await read()
        except (NotFound, Transient):  # missing, or already retried
            raise
        except StoreError:
            return await read()


async def read_verified(objects: Objects, key: str, digest: str | None = None) -> bytes:
    """Read an object; verify it against `digest`, or else the SHA-256 in its key.

    Raises:
        NotFound: the object is missing.
        DamagedObject: its bytes don't match the hash.
    """
    data = await objects.get(key)
    if sha256(data) != (digest or object_keys.digest_of(key)):
        raise DamagedObject(f"{objects.name}: {key} is damaged: its bytes do not have its hash")
    return data


def _group_parts(parts: Sequence[BlockPart]) -> list[Sequence[BlockPart]]:
    if parts[-1].offset + parts[-1].length - parts[0].offset <= _MAX_SPAN:
        return [parts]
    return list(runs(parts))


def _drop_bare_codes(column: IndexColumn) -> IndexColumn:
    """Remove `|code` from the rows of a column that also have `system|code`.

    Indexes have both forms of an identifier with a system; a search for `|code` must match only
    identifiers without one (FHIR R4, search 3.1.1.4.10).
    """
    bare_codes = {
        number: value[1:] for number, value in enumerate(column.values) if value.startswith("|")
    }
    if not bare_codes:
        return column
    codes = [
        system and code for system, _, code in (value.partition("|") for value in column.values)
    ]
    rows = []
    for numbers in column.rows:
        full_codes = {codes[number] for number in numbers}
        rows.append([number for number in numbers if bare_codes.get(number) not in full_codes])
    return IndexColumn(column.values, rows)


def _refuse_read(start: int, length: int) -> bytes:
    raise AssertionError(f"bytes {start} to {start + length} of an index were not fetched before")
