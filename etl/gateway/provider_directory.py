"""The Provider Directory API: public, searched whole.

This API searches the whole directory by name or number, which a member's token may not do (45 CFR
156.221 (b)(1)(ii) and similar rules require one that is public).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from etl.gateway.directory_access import PublicTree, asking_publicly, public_rows
from etl.gateway.includes import Hit
from etl.gateway.refusals import Refusal
from etl.gateway.release_reader import IndexedBlock, ReleaseTree
from etl.gateway.search.matching import matching, ordered, sections
from etl.gateway.search.query import Query
from etl.gateway.service import Service
from etl.gateway.supported_fhir import TYPES, ResourceType
from etl.smart.grants import Grant


def _public(kind: ResourceType) -> ResourceType:
    return replace(kind, documentation=f"{kind.documentation.split('.')[0]}.")


DIRECTORY_TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {kind.name: _public(kind) for kind in TYPES.values() if kind.shared}
)
"""Types, parameters and includes of the Provider Directory."""


class DirectoryService(Service):
    """Reads and searches public directory resources only; its grants name no member."""

    def _seen(self, tree: ReleaseTree) -> ReleaseTree:
        return tree.seen_as(PublicTree)

    @property
    def _kinds(self) -> Mapping[str, ResourceType]:
        return DIRECTORY_TYPES

    def _kind(self, resource_type: str) -> ResourceType:
        kind = DIRECTORY_TYPES.get(resource_type)
        if kind is None:
            raise Refusal(404, "not-supported", "this is the Provider Directory alone")
        return kind

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
