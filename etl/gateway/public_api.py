"""The APIs of models without members, which are public, and the files of their releases.

All of a provider directory, for instance, can be searched by name or number, which a member's token
may not do (45 CFR 156.221 (b)(1)(ii) and similar rules require a public one). Files are read from
the served release, or else from the one before, for clients that began to fetch before the served
one was published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from etl.errors import NotFound
from etl.gateway.bundle.includes import Hit, include_columns
from etl.gateway.bundle.paging import Sealer
from etl.gateway.http.request import http_date
from etl.gateway.http.responses import FhirError, Reply
from etl.gateway.release.cache import Cache
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree
from etl.gateway.release.served_releases import Releases
from etl.gateway.search import evaluation
from etl.gateway.search.evaluation import Masks, RowNumbers
from etl.gateway.search.query import Query
from etl.gateway.service import PageRequest, Service, ServiceOptions
from etl.gateway.supported_fhir import ResourceType
from etl.publish.public_files import PLAIN, PublicFile, PublicPage, public_files, public_pages
from etl.publish.segments import reference_key
from etl.web.cors import Header

_IMMUTABLE: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_SHORT: Final = (b"cache-control", b"public, max-age=60")
_VARY: Final = (b"vary", b"accept-encoding")


class PublicFiles:
    """The files of public releases, and the documents that list them.

    Args:
        releases: of a target without members.
        base: URL of the API's base, without a slash at its end.
        cadence: ISO 8601 duration between releases.
    """

    def __init__(self, releases: Releases, base: str, cadence: str) -> None:
        self._releases = releases
        self._pages = lru_cache(maxsize=3)(lambda tree: public_pages(tree.manifest, base, cadence))
        self._files = lru_cache(maxsize=3)(lambda tree: public_files(tree.manifest))

    async def at(self, path: str) -> FoundFile:
        """Return the file or document at a path.

        Raises:
            FhirError: `address-unknown`: the path has none.
            StoreError: no release was read yet, or storage failed.
        """
        tree = self._releases.current()
        entry = self._pages(tree).get(path) or self._files(tree).get(path)
        if entry is not None:
            return FoundFile(tree, entry)
        if tree.manifest.parent is not None:
            try:
                parent = await self._releases.open(tree.manifest.parent)
            except NotFound:  # it was pruned
                pass
            else:
                if (file := self._files(parent).get(path)) is not None:
                    return FoundFile(parent, file)
        text = "No file is at this address; $bulk-publish lists those there are."
        raise FhirError("address-unknown", text)


class FoundFile:
    """A file or document of a public release.

    Args:
        tree: the release that it is read from.
        entry: the file or document.

    Attributes:
        etag: its entity tag.
        modified: FHIR instant of its last change.
        is_file: whether it is a file, which is named by its content and never changes.
    """

    def __init__(self, tree: ReleaseTree, entry: PublicFile | PublicPage) -> None:
        self._tree, self._entry = tree, entry
        self.etag = f'W/"{entry.content[:32]}"'
        self.modified = entry.modified
        self.is_file = isinstance(entry, PublicFile)

    @property
    def headers(self) -> list[Header]:
        """Headers of its validators and caching."""
        fields = [(b"etag", self.etag.encode()), _IMMUTABLE if self.is_file else _SHORT, _VARY]
        modified = http_date(self.modified)
        return fields if modified is None else [*fields, (b"last-modified", modified)]

    async def reply(self) -> Reply:
        """Return the response with it.

        Raises:
            StoreError: the file is missing or damaged, or storage failed.
        """
        entry = self._entry
        if isinstance(entry, PublicPage):
            return Reply(200, entry.body, PLAIN.encode(), self.headers)
        data = await self._tree.whole(entry.key, entry.sha256)
        return Reply(200, data, entry.media.encode(), self.headers, unpacked=entry.size)


MAX_REFERRING: Final = 1000
"""Maximum number of resources that `_revinclude` adds to a page."""


ROW_CACHE_BYTES: Final = 16 * 1024 * 1024
"""Cache size for the rows of a condition: searches repeat a network, a specialty, a city."""


class PublicService(Service):
    """Reads and searches releases without members, all of which are public."""

    is_public = True

    def __init__(
        self,
        releases: Releases,
        sealer: Sealer,
        options: ServiceOptions,
        kinds: Mapping[str, ResourceType],
    ) -> None:
        super().__init__(releases, sealer, options, kinds)
        self._cache = Cache(ROW_CACHE_BYTES)

    async def _shared(
        self, page: PageRequest, member: IndexedBlock | None, query: Query, window: slice
    ) -> tuple[int, Sequence[Hit]]:
        """Return the number of matches, and those of a page: sorted, or in shard order."""
        tree, kind = page.tree, query.kind.name
        cached: list[RowNumbers | None] = [
            self._cache.peek((tree.digest, kind, condition.text)) for condition in query.conditions
        ]
        uncached = [one for one, rows in zip(query.conditions, cached, strict=True) if rows is None]
        needed = [*evaluation.columns_read(kind, uncached)]
        needed += [(kind, sort.parameter) for sort in query.sorts]
        columns = await evaluation.columns_of(tree, needed)

        def match() -> tuple[int, list[tuple[int, int]], list[RowNumbers]]:
            """Return the total, the page's rows, and the rows of each uncached condition."""
            results = [evaluation.matching_rows(columns, kind, condition) for condition in uncached]
            new_rows = [evaluation.row_numbers(masks) for masks in results]
            results += [columns.masks_of(kind, rows) for rows in cached if rows is not None]
            masks = evaluation.intersect(results) if results else columns.all_rows(kind)
            total = sum(mask.count(1) for mask in masks)
            if query.sorts and window.stop > window.start:
                return total, evaluation.ordered_places(columns, query, masks, window), new_rows
            return total, columns.page(kind, masks, window.start, window.stop), new_rows

        size = query.cost * tree.resources
        total, positions, new_rows = await self._long_work.run(size, match)
        for condition, rows in zip(uncached, new_rows, strict=True):
            cost = sum(100 + 4 * len(numbers) for numbers in rows)
            self._cache.put((tree.digest, kind, condition.text), rows, cost)
        names = ["ids", "parts"]
        names += include_columns(query.includes).get(kind, ())
        return total, await _hits(tree, kind, positions, names)

    async def _referring(
        self, tree: ReleaseTree, query: Query, matches: Sequence[Hit]
    ) -> tuple[dict[str, Hit], int]:
        kind = query.kind.name
        keys = {reference_key(f"{kind}/{block.index.ids[row]}") for block, row in matches}
        requested = [(include.type, include.parameter) for include in query.revincludes]
        columns = await evaluation.columns_of(tree, requested)

        def refer() -> list[Masks]:
            return [
                [
                    bytes(rows)
                    for rows in evaluation.referring_rows(columns, source, parameter, keys)
                ]
                for source, parameter in requested
            ]

        hits: dict[str, Hit] = {}
        omitted = 0
        referring = await self._long_work.run(query.cost * tree.resources, refer)
        for (source, _), masks in zip(requested, referring, strict=True):
            total = sum(mask.count(1) for mask in masks)
            room = max(0, MAX_REFERRING - len(hits))
            positions = columns.page(source, masks, 0, room)
            omitted += total - len(positions)
            for block, row in await _hits(tree, source, positions, ["ids", "parts"]):
                hits[f"{source}/{block.index.ids[row]}"] = (block, row)
        return hits, omitted


async def _hits(
    tree: ReleaseTree, kind: str, positions: Sequence[tuple[int, int]], names: Sequence[str]
) -> list[Hit]:
    """Return the resources of a type by their shard and row in it."""

    async def open_shard(number: int) -> IndexedBlock:
        block = await tree.shard(number)
        await tree.need(block, names)
        return block

    numbers = list(dict.fromkeys(number for number, _ in positions))
    blocks = dict(zip(numbers, await tree.in_turns(map(open_shard, numbers)), strict=True))
    return [(blocks[number], blocks[number].rows(kind).start + row) for number, row in positions]
