"""The Provider Directory API: public, searched whole.

This API searches the whole directory by name or number, which a member's token may not do (45 CFR
156.221 (b)(1)(ii) and similar rules require one that is public). It is over a directory of the
payer, a target of its own, or for want of one over the providers that claims name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from etl.gateway.directory_access import PublicTree, asking_publicly, public_rows
from etl.gateway.includes import Hit
from etl.gateway.paging import Sealer
from etl.gateway.plan_net import PLAN_NET_TYPES
from etl.gateway.release_reader import IndexedBlock, ReleaseTree
from etl.gateway.search.matching import matching, ordered, sections
from etl.gateway.search.query import Query
from etl.gateway.served_releases import Releases
from etl.gateway.service import PageSizes, Service
from etl.gateway.supported_fhir import TYPES, ResourceType
from etl.smart.grants import Grant


def _public(kind: ResourceType) -> ResourceType:
    return replace(kind, documentation=f"{kind.documentation.split('.')[0]}.")


DIRECTORY_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {kind.name: _public(kind) for kind in TYPES.values() if kind.shared}
)
"""Types, parameters and includes over the providers that claims name."""


class NamedProviders(Service):
    """Reads and searches the public providers that claims name; its grants name no member."""

    def __init__(self, releases: Releases, sealer: Sealer, pages: PageSizes | None = None) -> None:
        super().__init__(releases, sealer, pages, DIRECTORY_TYPES)

    def _seen(self, tree: ReleaseTree) -> ReleaseTree:
        return tree.seen_as(PublicTree)

    async def _shared(
        self, tree: ReleaseTree, grant: Grant, own: IndexedBlock | None, query: Query
    ) -> Sequence[Hit]:
        """Return the matches among all public directory resources, ordered by id."""
        conditions = tuple(map(asking_publicly, query.conditions))
        query = replace(query, conditions=conditions)
        if any(condition.ids for condition in query.conditions):
            return await super()._shared(tree, grant, own, query)
        hits: list[Hit] = []
        names = ("ids", "parts", *sections(query))
        for block in await tree.shards():
            await tree.need(block, names)
            rows = matching(block, query.kind.name, query.conditions)
            public = await public_rows(tree, block, query.kind.name, rows)
            hits += [(block, row) for row in public]
        hits.sort(key=lambda hit: hit[0].index.ids[hit[1]])
        return ordered(hits, query.kind.name, query.sorts)


class DirectoryService(Service):
    """Reads and searches a directory of the payer, all of which is public."""

    def __init__(self, releases: Releases, sealer: Sealer, pages: PageSizes | None = None) -> None:
        super().__init__(releases, sealer, pages, PLAN_NET_TYPES)

    async def _reaches(self, tree: ReleaseTree, grant: Grant, hit: Hit, kind: ResourceType) -> bool:
        return True

    def _tells_of_what_is_gone(self, kind: ResourceType) -> bool:
        return True

    async def _shared(
        self, tree: ReleaseTree, grant: Grant, own: IndexedBlock | None, query: Query
    ) -> Sequence[Hit]:
        """Return the matches, ordered by id."""
        if any(condition.ids for condition in query.conditions):
            return await super()._shared(tree, grant, own, query)
        hits: list[Hit] = []
        names = ("ids", "parts", *sections(query))
        for block in await tree.shards():
            await tree.need(block, names)
            rows = matching(block, query.kind.name, query.conditions)
            hits += [(block, row) for row in rows]
        hits.sort(key=lambda hit: hit[0].index.ids[hit[1]])
        return ordered(hits, query.kind.name, query.sorts)
