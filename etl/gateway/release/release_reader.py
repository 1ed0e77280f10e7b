"""One release, read without blocking: the asynchronous counterpart of `publish.reader.Release`.

The format is parsed by `publish` itself (`Manifest`, `find_row`, `Index`, `views`); this module has
asynchronous reads, caching and verification. All data is verified before it is cached: whole
objects against the hash in their key, sections of a large index and parts of a block against their
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

_TOGETHER: Final = 1024 * 1024
"""Parts of a block that span no more than this are fetched with one request."""

_NEAR_TURN: Final = 4
_FAR_TURN: Final = 16
"""Reads after which other requests have their turn in the event loop: some milliseconds."""

_UNIT_COST: Final = 1_000
_BLOCK_COST: Final = 8_000
"""Size in memory of the parsed head of an index, in bytes."""

_PARSED: Final = 5
"""Growth of a section of an index when it is parsed, as a factor."""


class IndexedBlock:
    """One patient's block, or one shard of the directory, by its index.

    Args:
        index: its search index.
        key: key of the index.
        held: bytes of the index that were fetched, parsed or not; `ReleaseTree.need` fetches
            the others.
    """

    __slots__ = ("_columns", "_held", "_parsed", "index", "key")

    def __init__(self, index: Index, key: str, held: int) -> None:
        self.index = index
        self.key = key
        self._held = held + _BLOCK_COST
        self._parsed: set[str] = set()
        self._columns: dict[str, IndexColumn] = {}

    @property
    def cost(self) -> int:
        """About how many bytes it takes: more with each section that was parsed."""
        return self._held + _PARSED * sum(map(self.index.size, self._parsed))

    def parsed(self, names: Iterable[str]) -> None:
        """Record the sections that were parsed."""
        self._parsed.update(names)

    def rows(self, resource_type: str) -> range:
        """Return the rows of a type."""
        return self.index.types.get(resource_type, range(0))

    def values(self, resource_type: str, parameter: str) -> IndexColumn:
        """Return the search values of a type's rows, the type's first row being 0."""
        name = column_name(resource_type, parameter)
        column = self._columns.get(name)
        if column is None:
            column = _without_echoes(self.index.search(resource_type, parameter))
            self._columns[name] = column
        return column


def column_name(resource_type: str, parameter: str) -> str:
    """Return the section of an index that holds the values of a parameter."""
    return f"search/{resource_type}/{parameter}"


class ReleaseTree:
    """One release of a tree.

    Args:
        objects: the target.
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
        """Return the results of some reads, in order; other requests are answered in between.

        Objects that are near are read one after the other: a task costs more than such a read.
        """
        results: list[Result] = []
        if self._is_near:
            for reading in reads:
                results.append(await reading)
                if len(results) % _NEAR_TURN == 0:
                    await asyncio.sleep(0)
            return results
        waiting = iter(reads)
        while turn := list(islice(waiting, _FAR_TURN)):
            results += await asyncio.gather(*turn) if len(turn) > 1 else [await turn[0]]
        return results

    async def whole(self, key: str, digest: str) -> bytes:
        """Return a whole object that the manifest names; it is not cached.

        Raises:
            StoreError: it is missing or damaged, or storage failed.
        """
        return await checked(self._objects, key, digest)

    @cached_property
    def resources(self) -> int:
        """Number of resources of the directory and all members together."""
        return sum(self.manifest.counts["resources"].values())

    @cached_property
    def now(self) -> int:
        """`created` in nanoseconds: the present time of searches, so that pages agree."""
        return stored_span(self.manifest.created)[0]

    def columns(self, resource_type: str) -> frozenset[str] | None:
        """Return the index columns of a type; None where the release does not record them."""
        return None if self._columns is None else self._columns.get(resource_type, frozenset())

    @cached_property
    def _columns(self) -> dict[str, frozenset[str]] | None:
        stated = self.manifest.facts.mapping.get("search")
        if stated is None:
            return None
        return {name: frozenset(columns) for name, columns in stated.items()}

    async def patient(self, patient_id: str) -> IndexedBlock | None:
        """Return a patient's block; None where there never was such a patient.

        Raises:
            StoreError: storage failed, or what it holds is damaged or another patient's.
        """
        manifest = self.manifest
        shard = manifest.catalog[shard_number(patient_id, manifest.catalog_bits)]
        if shard is None:
            return None
        key = (shard.key, patient_id)
        unit: CatalogEntry | None = self._cache.peek(key)
        if unit is None:
            data = await self._cache.get(shard.key, lambda: self._checked(shard.key), len)
            unit = find_row(data, patient_id, shard.key)
            if unit is None:
                return None
            self._cache.put(key, unit, _UNIT_COST)
        block = await self._block(unit)
        if block.index.head.get("patient") != patient_id:
            raise StoreError(f"{self._objects.name}: {unit.index} is another patient's; run verify")
        return block

    async def shard_of(self, resource_type: str, resource_id: str) -> IndexedBlock | None:
        """Return the directory shard that would hold a resource; None where it is empty."""
        bits = self.manifest.directory_bits
        unit = self.manifest.directory[shard_number(f"{resource_type}/{resource_id}", bits)]
        return None if unit is None else await self._block(unit)

    async def shard(self, number: int) -> IndexedBlock:
        """Return a shard of the directory that is not empty, by its number."""
        unit = self.manifest.directory[number]
        if unit is None:
            raise StoreError(f"{self._objects.name}: shard {number} is empty; run verify")
        return await self._block(unit)

    async def segment(self, entry: SegmentEntry) -> Segment:
        """Return the head of a segment of the directory's columns."""
        what = f"{self._objects.name}: {entry.key}"

        async def headed() -> Segment:
            head = await self._objects.get_range(entry.key, 0, entry.head)
            return Segment(what, head, entry.bytes)

        return await self._cache.get(
            entry.key, lambda: self._twice(headed), lambda _: _PARSED * entry.head
        )

    def held_section(self, entry: SegmentEntry, name: str) -> Any | None:
        """Return a section of a segment as it was read before; None where it is not cached."""
        return self._cache.peek((entry.key, name))

    async def section(
        self,
        entry: SegmentEntry,
        segment: Segment,
        name: str,
        parsed: Callable[[bytes], tuple[Result, int]],
    ) -> Result:
        """Return a section of a segment, read and kept.

        Args:
            entry: the segment.
            segment: its head.
            name: of the section, which it has.
            parsed: returns what the section's bytes hold, and about how many bytes that takes.
        """
        start, length = segment.place(name) or (0, 0)

        async def read() -> tuple[Result, int]:
            return parsed(await self._objects.get_range(entry.key, start, length))

        async def kept() -> Result:
            value, cost = await self._twice(read)
            self._cache.put((entry.key, name), value, cost)
            return value

        return await self._cache.once((entry.key, name), kept)

    async def need(self, block: IndexedBlock, names: Sequence[str]) -> None:
        """Parse the sections of an index that are needed; fetch missing ones with one request."""
        index = block.index
        missing = index.missing(*names)
        if not missing:
            return
        start, length = index.span(missing)

        async def supplied() -> None:
            if index.holds(start, length):
                index.load(*missing)
            else:
                index.load_sections(
                    missing, start, await self._objects.get_range(block.key, start, length)
                )

        await self._twice(supplied)
        block.parsed(missing)
        self._cache.put(block.key, block, block.cost)

    async def lines(self, block: IndexedBlock, rows: Iterable[int]) -> list[Line]:
        """Return the JSON lines of some rows, in the order of the rows, without line breaks.

        Raises:
            StoreError: storage failed, or a part of the block is damaged.
        """
        wanted = list(rows)
        if not wanted:
            return []
        first, last = min(wanted), max(wanted)
        if last - first + 1 == len(wanted):
            parts = block.index.parts_of(range(first, last + 1))
            if len(parts) == 1 and self._is_near:  # a default page
                part = parts[0]
                page = await self._near(block.index.block or "", part)
                return [page[row - part.first] for row in wanted]
        else:
            by_offset = {
                part.offset: part
                for row in wanted
                for part in block.index.parts_of(range(row, row + 1))
            }
            parts = [by_offset[offset] for offset in sorted(by_offset)]
        runs = await self._parts(block, parts)
        if len(runs) == 1:
            begin, lines = runs[0]
            return [lines[row - begin] for row in wanted]
        by_row = {
            begin + offset: line for begin, lines in runs for offset, line in enumerate(lines)
        }
        return [by_row[row] for row in wanted]

    def damaged(self, block: IndexedBlock) -> StoreError:
        """Return the error of a block that does not match its index."""
        return StoreError(
            f"{self._objects.name}: {block.index.block} and its index disagree; run verify"
        )

    async def _parts(
        self, block: IndexedBlock, parts: Sequence[BlockPart]
    ) -> list[tuple[int, list[Line]]]:
        """Return the first row and the lines of each part."""
        key = block.index.block or ""
        held: dict[int, bytes | None] = {}
        missing = parts
        if not self._is_near:
            held = {part.offset: self._cache.peek((key, part.offset)) for part in parts}
            missing = [part for part in parts if held[part.offset] is None]
        fresh: dict[int, list[Line]] = {}
        if missing:
            groups = _groups(missing)
            if len(groups) == 1:
                fresh = await self._run(key, groups[0])
            else:
                for run in await asyncio.gather(*(self._run(key, group) for group in groups)):
                    fresh |= run
        what = f"{self._objects.name}: {key}"
        return [
            (
                part.first,
                fresh[part.offset]
                if part.offset in fresh
                else views(held[part.offset] or b"", part, what),
            )
            for part in parts
        ]

    async def _run(self, key: str, run: Sequence[BlockPart]) -> dict[int, list[Line]]:
        """Return the lines of parts that are fetched with one request, by offset."""
        start = run[0].offset
        length = run[-1].offset + run[-1].length - start
        what = f"{self._objects.name}: {key}"

        async def fetched() -> dict[int, list[Line]]:
            data = memoryview(await self._objects.get_range(key, start, length))
            columns = {}
            for part in run:
                piece = data[part.offset - start : part.offset - start + part.length]
                columns[part.offset] = views(piece, part, what)
                if not self._is_near:
                    self._cache.put((key, part.offset), bytes(piece), part.length)
            return columns

        if self._is_near:
            return await self._twice(fetched)
        return await self._cache.once((key, start, length), lambda: self._twice(fetched))

    async def _near(self, key: str, part: BlockPart) -> list[Line]:
        """Return the lines of one part that is cheaper to read than to cache."""
        what = f"{self._objects.name}: {key}"
        try:
            return views(await self._objects.get_range(key, part.offset, part.length), part, what)
        except (NotFound, Transient):
            raise
        except StoreError:  # the retry of `_twice`, at half the cost
            return views(await self._objects.get_range(key, part.offset, part.length), part, what)

    async def _block(self, unit: CatalogEntry) -> IndexedBlock:
        return await self._cache.get(
            unit.index, lambda: self._opened(unit), lambda block: block.cost
        )

    async def _opened(self, unit: CatalogEntry) -> IndexedBlock:
        what = f"{self._objects.name}: {unit.index}"
        if unit.index_bytes <= WHOLE:
            data = await self._checked(unit.index)
            return IndexedBlock(Index.of(data, what), unit.index, len(data))

        async def headed() -> IndexedBlock:
            head = await self._objects.get_range(unit.index, 0, HEAD)
            index = Index(what, head, _never)
            check_head(index, unit, what)
            return IndexedBlock(index, unit.index, len(head))

        return await self._twice(headed)

    async def _checked(self, key: str, digest: str | None = None) -> bytes:
        return await self._twice(lambda: checked(self._objects, key, digest))

    async def _twice(self, read: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await read()
        except (NotFound, Transient):  # missing, or already retried
            raise
        except StoreError:
            return await read()


async def checked(objects: Objects, key: str, digest: str | None = None) -> bytes:
    """Return a whole object, verified against the given SHA-256 or the one in its key.

    Raises:
        NotFound: it is missing.
        DamagedObject: it is damaged.
    """
    data = await objects.get(key)
    if sha256(data) != (digest or object_keys.digest_of(key)):
        raise DamagedObject(f"{objects.name}: {key} is damaged: its bytes do not have its hash")
    return data


def _groups(parts: Sequence[BlockPart]) -> list[Sequence[BlockPart]]:
    if parts[-1].offset + parts[-1].length - parts[0].offset <= _TOGETHER:
        return [parts]
    return list(runs(parts))


def _without_echoes(column: IndexColumn) -> IndexColumn:
    """Return a column without `|code` where the same row has `system|code` as well.

    Indexes hold both forms of an identifier with a system; a search for `|code` must match only
    those without one (FHIR R4, search 3.1.1.4.10).
    """
    bare = {
        number: value[1:] for number, value in enumerate(column.values) if value.startswith("|")
    }
    if not bare:
        return column
    codes = [
        system and code for system, _, code in (value.partition("|") for value in column.values)
    ]
    rows = []
    for numbers in column.rows:
        named = {codes[number] for number in numbers}
        rows.append(
            [number for number in numbers if number not in bare or bare[number] not in named]
        )
    return IndexColumn(column.values, rows)


def _never(start: int, length: int) -> bytes:
    raise AssertionError(f"bytes {start} to {start + length} of an index were not fetched before")
