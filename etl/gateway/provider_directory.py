"""The Provider Directory API: public, searched whole; and its files, by their addresses.

This API searches the whole directory by name or number, which a member's token may not do (45 CFR
156.221 (b)(1)(ii) and similar rules require one that is public). The directory is a target of its
own, made from the payer's list of providers. Files are read from the objects of the release that is
served; files of the release before it are there too, for clients that began to fetch before it was
published.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from etl.errors import NotFound
from etl.gateway.bundle.includes import Hit
from etl.gateway.bundle.paging import Sealer
from etl.gateway.http.request import http_date
from etl.gateway.http.responses import FhirError, Reply
from etl.gateway.release.cache import Cache
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.release.served_releases import Releases
from etl.gateway.search import evaluation
from etl.gateway.search.evaluation import Masks, RowNumbers
from etl.gateway.search.query import Query
from etl.gateway.service import Service, ServiceOptions
from etl.gateway.supported_fhir import PLAN_NET_TYPES
from etl.publish.public_files import PLAIN, PublicFile, PublicPage, public_files, public_pages
from etl.publish.segments import reference_key
from etl.smart.grants import Grant
from etl.web.cors import Header

_FOREVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_SHORT: Final = (b"cache-control", b"public, max-age=60")
_VARY: Final = (b"vary", b"accept-encoding")


class DirectoryFiles:
    """The files of a directory's releases, and the documents that list them.

    Args:
        releases: of a target with a directory of the payer.
        base: URL of the directory's base, without a slash at its end.
        cadence: ISO 8601 duration between releases.
    """

    def __init__(self, releases: Releases, base: str, cadence: str) -> None:
        self._releases = releases
        self._pages = lru_cache(maxsize=3)(lambda tree: public_pages(tree.manifest, base, cadence))
        self._files = lru_cache(maxsize=3)(lambda tree: public_files(tree.manifest))

    async def at(self, path: str) -> FoundFile:
        """Return what is at a path.

        Raises:
            FhirError: `address-unknown`: there is nothing.
            StoreError: no release was read yet, or storage failed.
        """
        tree = self._releases.current()
        what = self._pages(tree).get(path) or self._files(tree).get(path)
        if what is not None:
            return FoundFile(tree, what)
        if tree.manifest.parent is not None:
            try:
                before = await self._releases.open(tree.manifest.parent)
            except NotFound:  # it was pruned
                pass
            else:
                if (file := self._files(before).get(path)) is not None:
                    return FoundFile(before, file)
        text = "No file of the directory is at this address; $bulk-publish lists those there are."
        raise FhirError("address-unknown", text)


class FoundFile:
    """A file or document at an address.

    Args:
        tree: the release that it is read from.
        what: the file, or the document.

    Attributes:
        etag: its entity tag.
        modified: FHIR instant at which it became what it is.
        is_file: whether it is named by its content, and never changes.
    """

    def __init__(self, tree: ReleaseTree, what: PublicFile | PublicPage) -> None:
        self._tree, self._what = tree, what
        self.etag = f'W/"{what.content[:32]}"'
        self.modified = what.modified
        self.is_file = isinstance(what, PublicFile)

    @property
    def headers(self) -> list[Header]:
        """Its validators, and how long it may be kept."""
        fields = [(b"etag", self.etag.encode()), _FOREVER if self.is_file else _SHORT, _VARY]
        modified = http_date(self.modified)
        return fields if modified is None else [*fields, (b"last-modified", modified)]

    async def reply(self) -> Reply:
        """Return the answer that has it.

        Raises:
            StoreError: it is missing or damaged, or storage failed.
        """
        what = self._what
        if isinstance(what, PublicPage):
            return Reply(200, what.body, PLAIN.encode(), self.headers)
        data = await self._tree.whole(what.key, what.sha256)
        return Reply(200, data, what.media.encode(), self.headers, unpacked=what.size)


MOST_REFERRING: Final = 1000
"""Resources that `_revinclude` adds to one page, at most."""


KEPT_BYTES: Final = 16 * 1024 * 1024
"""Memory for rows that met a condition: searches repeat a network, a specialty, a city."""


class DirectoryService(Service):
    """Reads and searches a directory of the payer, all of which is public."""

    is_public = True

    def __init__(self, releases: Releases, sealer: Sealer, options: ServiceOptions) -> None:
        super().__init__(releases, sealer, options, PLAN_NET_TYPES)
        self._kept = Cache(KEPT_BYTES)

    async def _shared(
        self, tree: ReleaseTree, grant: Grant, own: IndexedBlock | None, query: Query, here: slice
    ) -> tuple[int, Sequence[Hit]]:
        """Return the matches in the order of the shards, or as they are to be sorted."""
        kind = query.kind.name
        kept: list[RowNumbers | None] = [
            self._kept.peek((tree.digest, kind, condition.asked)) for condition in query.conditions
        ]
        unknown = [one for one, rows in zip(query.conditions, kept, strict=True) if rows is None]
        wanted = [*evaluation.columns_read(kind, unknown)]
        wanted += [(kind, sort.parameter) for sort in query.sorts]
        columns = await evaluation.columns_of(tree, wanted)

        def match() -> tuple[int, list[tuple[int, int]], list[RowNumbers]]:
            """Return the total, the places of a page, and the rows of each unknown condition."""
            met = [evaluation.matching_rows(columns, kind, condition) for condition in unknown]
            found = [evaluation.row_numbers(masks) for masks in met]
            met += [columns.masks_of(kind, rows) for rows in kept if rows is not None]
            masks = evaluation.intersect(met) if met else columns.all_rows(kind)
            total = sum(mask.count(1) for mask in masks)
            if query.sorts and here.stop > here.start:
                return total, evaluation.ordered_places(columns, query, masks, here), found
            return total, columns.page(kind, masks, here.start, here.stop), found

        size = query.cost * tree.resources
        total, places, found = await self._long_work.run(size, match)
        for condition, rows in zip(unknown, found, strict=True):
            cost = sum(100 + 4 * len(of_segment) for of_segment in rows)
            self._kept.put((tree.digest, kind, condition.asked), rows, cost)
        names = ["ids", "parts"]
        names += [column_name(include.type, include.parameter) for include in query.includes]
        return total, await _hits(tree, kind, places, names)

    async def _referring(
        self, tree: ReleaseTree, query: Query, matches: Sequence[Hit]
    ) -> tuple[dict[str, Hit], int]:
        kind = query.kind.name
        keys = {reference_key(f"{kind}/{block.index.ids[row]}") for block, row in matches}
        asked = [(include.type, include.parameter) for include in query.revincludes]
        columns = await evaluation.columns_of(tree, asked)

        def refer() -> list[Masks]:
            return [
                [
                    bytes(rows)
                    for rows in evaluation.referring_rows(columns, source, parameter, keys)
                ]
                for source, parameter in asked
            ]

        hits: dict[str, Hit] = {}
        left_out = 0
        referring = await self._long_work.run(query.cost * tree.resources, refer)
        for (source, _), masks in zip(asked, referring, strict=True):
            total = sum(mask.count(1) for mask in masks)
            most = max(0, MOST_REFERRING - len(hits))
            places = columns.page(source, masks, 0, most)
            left_out += total - len(places)
            for block, row in await _hits(tree, source, places, ["ids", "parts"]):
                hits[f"{source}/{block.index.ids[row]}"] = (block, row)
        return hits, left_out


async def _hits(
    tree: ReleaseTree, kind: str, places: Sequence[tuple[int, int]], names: Sequence[str]
) -> list[Hit]:
    """Return the resources of a type at some places: a shard, and a row of the type there."""

    async def opened(number: int) -> IndexedBlock:
        block = await tree.shard(number)
        await tree.need(block, names)
        return block

    numbers = list(dict.fromkeys(number for number, _ in places))
    blocks = dict(zip(numbers, await tree.in_turns(map(opened, numbers)), strict=True))
    return [(blocks[number], blocks[number].rows(kind).start + row) for number, row in places]
