"""Public data in the published bytes: resources counted against accepted rows.

Neither indexes nor mappings are used: a block is read like any client reads it, as gzipped NDJSON
(RFC 1952). A resource belongs to the table whose rows its profile is for (`Table.profile`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from isal import igzip

from etl.model.tables import Table

_ROLES: Final = "provider_role"
"""One row makes one resource; a role, one per network."""
_KEY_TYPE: Final = "RI"
"""Identifier type of the payer's own key."""


class _Coding(msgspec.Struct, gc=False, frozen=True):
    code: str = ""


class _Type(msgspec.Struct, gc=False, frozen=True):
    coding: tuple[_Coding, ...] = ()

    def has(self, code: str) -> bool:
        return any(coding.code == code for coding in self.coding)


class _Key(msgspec.Struct, gc=False, frozen=True):
    type: _Type = _Type()
    value: str = ""


class _Meta(msgspec.Struct, gc=False, frozen=True):
    profile: tuple[str, ...] = ()


class _Resource(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    resource_type: str
    id: str = ""
    meta: _Meta = _Meta()
    identifier: tuple[_Key, ...] = ()

    @property
    def profile(self) -> str:
        """Last part of its profile's canonical, or its type."""
        canonical = next(iter(self.meta.profile), self.resource_type)
        return canonical.partition("|")[0].rpartition("/")[2]


_RESOURCE: Final = msgspec.json.Decoder(_Resource)


@dataclass(frozen=True, slots=True)
class ResourceCounts:
    """Resources of a release without members.

    Attributes:
        resources: how many resources.
        tables: table -> rows that they come from, by distinct IDs; for roles, by their keys. A
            profile that no table has stands for itself.
        doubled: resources with the type and ID of another.
    """

    resources: int
    tables: Mapping[str, int]
    doubled: int

    def differing(self, accepted: Mapping[str, int]) -> list[str]:
        """Describe the tables whose counts differ from the accepted rows."""
        return [
            f"{table}: {rows_read:,} where {rows:,} were accepted"
            for table, rows_read in sorted(self.tables.items())
            if rows_read != (rows := accepted.get(table, 0))
        ]


def resource_counts(blocks: Iterable[bytes], tables: Mapping[str, Table]) -> ResourceCounts:
    """Count the resources in the blocks of a release without members.

    Args:
        blocks: the compressed blocks.
        tables: of the data model.

    Raises:
        msgspec.DecodeError: a line is no resource.
    """
    table_of = {table.profile: name for name, table in tables.items() if table.profile}
    ids: set[tuple[str, str]] = set()
    keys: set[str] = set()
    counts = Counter(dict.fromkeys(table_of.values(), 0))
    resources = 0
    for data in blocks:
        ndjson: bytes = igzip.decompress(data)  # type: ignore[no-untyped-call]
        for line in ndjson.splitlines():
            resource = _RESOURCE.decode(line)
            resources += 1
            if (resource.resource_type, resource.id) in ids:
                continue
            ids.add((resource.resource_type, resource.id))
            table = table_of.get(resource.profile, resource.profile)
            if table == _ROLES:
                payer_keys = (
                    identifier.value
                    for identifier in resource.identifier
                    if identifier.type.has(_KEY_TYPE)
                )
                keys.add(next(payer_keys, resource.id))
            else:
                counts[table] += 1
    if _ROLES in counts:
        counts[_ROLES] = len(keys)
    return ResourceCounts(resources, counts, resources - len(ids))
