"""Find and read referenced resources: for `_include` and `$everything`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import starmap
from types import MappingProxyType
from typing import Final

from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.search.query import Query, RequestedInclude
from etl.gateway.supported_fhir import FACILITY, TYPES, ResourceType
from etl.smart.grants import Grant
from etl.storage.port import Line

Hit = tuple[IndexedBlock, int]
"""A block and a row in it."""

NOTHING_ELSE: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


def include_columns(includes: Iterable[RequestedInclude]) -> dict[str, list[str]]:
    """Return type -> the index sections with the references that includes follow."""
    columns: dict[str, list[str]] = {}
    for include in includes:
        columns.setdefault(include.type, []).append(column_name(include.type, include.parameter))
    return columns


async def find_referenced(
    tree: ReleaseTree, member: IndexedBlock | None, target: str, rows: Collection[int] | None = None
) -> set[str]:
    """Return the resources of a directory type that a member's block refers to.

    Args:
        tree: the release.
        member: the member's block.
        target: the directory type.
        rows: the rows to read; None for all.
    """
    if member is None:
        return set()
    columns = [
        (kind.name, include.name)
        for kind in TYPES.values()
        if not kind.shared
        for include in kind.includes
        if target in include.targets
    ]
    columns.append(FACILITY)
    await tree.need(member, [column_name(*pair) for pair in columns])
    names: set[str] = set()
    for name, parameter in columns:
        column = member.values(name, parameter)
        values: Iterable[str] = column.values
        if rows is not None:
            of_type = member.rows(name)
            values = (
                value
                for row in rows
                if row in of_type
                for value in column.values_of(row - of_type.start)
            )
        names.update(
            value.partition("/_history/")[0] for value in values if value.startswith(f"{target}/")
        )
    return names


class ReferenceResolver:
    """Finds and reads referenced resources, each once.

    Args:
        tree: the release.
        grant: its scopes limit what may be included.
        member: the block of the grant's patient; None if there is none.
        kinds: the API's resource types.

    Attributes:
        withheld: referenced types that the scopes do not allow.
        seen: `Type/id` of the matches and included resources.
    """

    def __init__(
        self,
        tree: ReleaseTree,
        grant: Grant,
        member: IndexedBlock | None,
        kinds: Mapping[str, ResourceType] = TYPES,
    ) -> None:
        self._kinds = kinds
        self._tree = tree
        self._grant = grant
        self._member = member
        self.withheld: set[str] = set()
        self.answered: set[str] = set()

    async def read_included(self, query: Query, matches: Sequence[Hit]) -> list[tuple[str, Line]]:
        """Return type and line of the included resources that are not matches.

        Types outside the scopes are left out and added to `withheld`.
        """
        kind = query.kind.name
        self.answered = answered = {f"{kind}/{block.index.ids[row]}" for block, row in matches}
        lines: list[tuple[str, Line]] = []
        frontier = [(kind, hit) for hit in matches]
        following = [include for include in query.includes if include.type == kind]
        iterated = [include for include in query.includes if include.iterate]
        columns = include_columns(query.includes)
        while frontier and following:
            requested = self._references(frontier, following, answered)
            answered.update(requested)
            hits = await self.locate(requested, columns)
            lines += await self.read_lines(hits)
            frontier = [(reference.partition("/")[0], hit) for reference, hit in hits.items()]
            following = iterated
        return lines

    def _references(
        self,
        frontier: Iterable[tuple[str, Hit]],
        following: Sequence[RequestedInclude],
        answered: set[str],
    ) -> list[str]:
        references: dict[str, None] = {}  # ordered, each once
        for resource_type, (block, row) in frontier:
            first = block.rows(resource_type).start
            for include in following:
                if include.type == resource_type:
                    column = block.values(resource_type, include.parameter)
                    for value in column.values_of(row - first):
                        reference = value.partition("/_history/")[0]
                        target = reference.partition("/")[0]
                        if include.target in (None, target) and reference not in answered:
                            references[reference] = None
        return self.filter_allowed(references)

    def filter_allowed(self, references: Iterable[str]) -> list[str]:
        """Return the references to types that the scopes allow; record the others."""
        allowed = []
        for reference in references:
            target = reference.partition("/")[0]
            if target in self._kinds and not self._grant.may(target, "r"):
                self.withheld.add(target)
            elif target in self._kinds:
                allowed.append(reference)
        return allowed

    async def locate(
        self, references: Iterable[str], needed: Mapping[str, Sequence[str]] = NOTHING_ELSE
    ) -> dict[str, Hit]:
        """Return the block and row of each resource that exists, by reference, in order.

        Args:
            references: `Type/id`.
            needed: type -> index sections that the caller needs of it besides ids and parts.
        """
        requested = [(text, *text.split("/", 1)) for text in references]
        blocks = await self._blocks([(kind, resource_id) for _, kind, resource_id in requested])
        # A section is parsed as a whole, even for one row: parse those of the types found there.
        sections: dict[IndexedBlock, dict[str, None]] = {}
        for (_, kind, _), block in zip(requested, blocks, strict=True):
            if block is not None:
                of_block = sections.setdefault(block, {"ids": None, "parts": None})
                of_block.update(dict.fromkeys(needed.get(kind, ())))
        await self._tree.in_turns(starmap(self._tree.need, sections.items()))
        hits: dict[str, Hit] = {}
        for (reference, kind, resource_id), block in zip(requested, blocks, strict=True):
            row = block.index.row_of(kind, resource_id) if block is not None else None
            if block is not None and row is not None:
                hits[reference] = (block, row)
        return hits

    async def read_lines(self, hits: dict[str, Hit]) -> list[tuple[str, Line]]:
        """Return type and line of each hit, in order."""
        rows: dict[IndexedBlock, list[int]] = {}
        for block, row in hits.values():
            rows.setdefault(block, []).append(row)
        lines: dict[Hit, Line] = {}
        texts = await self._tree.in_turns(starmap(self._tree.lines, rows.items()))
        for (block, numbers), block_lines in zip(rows.items(), texts, strict=True):
            for row, line in zip(numbers, block_lines, strict=True):
                lines[block, row] = line
        return [(reference.partition("/")[0], lines[hit]) for reference, hit in hits.items()]

    async def _blocks(self, requested: Sequence[tuple[str, str]]) -> list[IndexedBlock | None]:
        shared = [reference for reference in requested if self._kinds[reference[0]].shared]
        opened = await self._tree.in_turns(starmap(self._tree.shard_of, shared))
        shards = dict(zip(shared, opened, strict=True))
        return [shards.get(reference, self._member) for reference in requested]


async def find_relevant(
    tree: ReleaseTree, grant: Grant, member: IndexedBlock | None, kind: ResourceType
) -> set[str]:
    """Return the resources of a directory type that a member may search.

    Those are the resources that the member's block refers to. It does not refer to roles and
    locations: of these, the ones of the practitioners and organizations that it refers to.
    """
    if kind.through is None:
        return await find_referenced(tree, member, kind.name)
    source, name = kind.through
    references = await find_referenced(tree, member, source)
    resolver = ReferenceResolver(tree, grant, member)
    hits = await resolver.locate(references, {source: [column_name(source, name)]})
    return {
        value
        for block, row in hits.values()
        for value in block.values(source, name).values_of(row - block.rows(source).start)
    }
