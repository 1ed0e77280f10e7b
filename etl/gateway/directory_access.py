"""Visibility of the directory: public providers, and their masked elements.

The shared directory holds providers that the payer's own directory lists, and providers that only a
claim names, by an id of any kind: with some payers a tax or social security number. The latter are
neither public nor visible to other members.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import Any, Final

import orjson

from etl.gateway.includes import Hit, referenced
from etl.gateway.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.search.query import SearchCondition
from etl.gateway.supported_fhir import ResourceType
from etl.profiles.absent_reasons import DATA_ABSENT_REASON
from etl.publish.canonical_json import short_hash
from etl.publish.rendered_resources import LISTED, NAMED, ROW
from etl.smart.grants import Grant
from etl.storage.async_port import Line

_IDENTIFIER: Final = "identifier"
_NPI: Final = "http://hl7.org/fhir/sid/us-npi|"
_KINDS: Final = frozenset({"Organization", "Practitioner"})
"""Types that claims name by an id; the others are made from rows of the directory."""

_SECRET_SYSTEMS: Final = frozenset(
    {
        "urn:oid:2.16.840.1.113883.4.4",
        "urn:oid:2.16.840.1.113883.4.1",
        "http://hl7.org/fhir/sid/us-ssn",
    }
)
"""Tax numbers and social security numbers."""
_SECRET: Final = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}|\d{2}[- ]?\d{7}")
"""Shape of such an identifier, in whatever system it stands."""
_PERHAPS: Final = re.compile(
    rb'"value": ?"[\d -]{9,11}"|'
    + b"|".join(re.escape(system.encode()) for system in _SECRET_SYSTEMS)
)
_MASKED: Final = {
    "extension": [
        {
            "url": DATA_ABSENT_REASON,
            "valueCode": "masked",
        }
    ]
}


async def public_rows(
    tree: ReleaseTree, block: IndexedBlock, resource_type: str, rows: Sequence[int]
) -> Sequence[int]:
    """Return those rows of a type that have an NPI, or a row of the payer's directory."""
    return await _marked(tree, block, resource_type, rows, frozenset({ROW}))


async def reaches(tree: ReleaseTree, grant: Grant, hit: Hit, kind: ResourceType) -> bool:
    """Return whether a resource is open to a grant: a member's own, or the directory's.

    A provider that only claims name is open to the members whose block refers to it.
    """
    block, row = hit
    open_to_members = frozenset({ROW, NAMED})
    if not kind.shared or await _marked(tree, block, kind.name, (row,), open_to_members):
        return True
    own = await tree.patient(grant.patient)
    return f"{kind.name}/{block.index.ids[row]}" in await referenced(tree, own, kind.name)


def tells_of_what_is_gone(kind: ResourceType) -> bool:
    """Return whether retracted resources of a type are distinguished from unknown ids.

    Not where some of a type are hidden: it is no longer known which of the retracted ones were.
    """
    return kind.name not in _KINDS


async def _marked(
    tree: ReleaseTree, block: IndexedBlock, resource_type: str, rows: Sequence[int], marks: Set[str]
) -> Sequence[int]:
    if resource_type not in _KINDS or not rows:
        return rows
    names = (_IDENTIFIER, LISTED)
    await tree.need(block, [column_name(resource_type, name) for name in names])
    first = block.rows(resource_type).start
    identifiers, listed = (block.values(resource_type, name) for name in names)
    return [
        row
        for row in rows
        if any(identifier.startswith(_NPI) for identifier in identifiers.values_of(row - first))
        or not marks.isdisjoint(listed.values_of(row - first))
    ]


class PublicTree(ReleaseTree):
    """The public view of a release: only public resources, their tax numbers masked."""

    async def shard_of(self, resource_type: str, resource_id: str) -> IndexedBlock | None:
        """Return the shard that would hold a resource; None also where that is not public."""
        block = await super().shard_of(resource_type, resource_id)
        if block is None:
            return None
        await self.need(block, ("ids", "parts"))
        row = block.index.row_of(resource_type, resource_id)
        if row is not None and not await public_rows(self, block, resource_type, (row,)):
            return None
        return block

    async def lines(self, block: IndexedBlock, rows: Iterable[int]) -> list[Line]:
        """Return the JSON lines of some rows, without tax and social security numbers."""
        return [masked(line) for line in await super().lines(block, rows)]


def masked(line: Line) -> Line:
    """Return a resource in which identifiers that may be such a number have no value.

    Its version is the hash of the masked resource: the published version is a hash of the number
    too, and nine digits can be found by trying.
    """
    if _PERHAPS.search(line) is None:
        return line
    resource: dict[str, Any] = orjson.loads(line)
    identifiers = resource.get(_IDENTIFIER, [])
    if not any(
        _is_secret(identifier.get("system", ""), identifier.get("value", ""))
        for identifier in identifiers
    ):
        return line
    resource[_IDENTIFIER] = [
        {**{name: part for name, part in identifier.items() if name != "value"}, "_value": _MASKED}
        if _is_secret(identifier.get("system", ""), identifier.get("value", ""))
        else identifier
        for identifier in identifiers
    ]
    resource["meta"]["versionId"] = ""
    resource["meta"]["versionId"] = short_hash(orjson.dumps(resource))
    return orjson.dumps(resource)


def asking_publicly(condition: SearchCondition) -> SearchCondition:
    """Return a condition that never matches a masked number."""
    if condition.parameter.name != _IDENTIFIER:
        return condition

    def test(value: str) -> bool:
        system, _, code = value.rpartition("|")
        return not _is_secret(system, code) and condition.test(value)

    return replace(condition, test=test)


def _is_secret(system: str, value: str) -> bool:
    return bool(value) and (system in _SECRET_SYSTEMS or bool(_SECRET.fullmatch(value.strip())))
