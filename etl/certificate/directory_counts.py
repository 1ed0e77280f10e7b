"""A provider directory in the published bytes: resources counted against accepted rows.

Neither indexes nor mappings are used: a block is read like any client reads it, as gzipped NDJSON
(RFC 1952). FHIR paths are those of Plan-Net's profiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec
from isal import igzip

_TABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Endpoint": "endpoint",
        "HealthcareService": "healthcare_service",
        "InsurancePlan": "insurance_plan",
        "Location": "location",
        "Organization": "directory_organization",
        "OrganizationAffiliation": "affiliation",
        "Practitioner": "directory_practitioner",
        "PractitionerRole": "provider_role",
    }
)
"""Resource type -> table of its rows. One row makes one resource; a role, one per network."""
_ROLES: Final = "provider_role"
_NETWORKS: Final = "network"
_NETWORK: Final = "ntwk"
"""Code of `Organization.type` that all networks have, and only networks (`plannet-Network`)."""
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


class _Resource(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    resource_type: str
    id: str = ""


class _Role(msgspec.Struct, gc=False, frozen=True):
    identifier: tuple[_Key, ...] = ()


class _Organization(msgspec.Struct, gc=False, frozen=True):
    type: tuple[_Type, ...] = ()


_RESOURCE: Final = msgspec.json.Decoder(_Resource)
_ROLE: Final = msgspec.json.Decoder(_Role)
_ORGANIZATION: Final = msgspec.json.Decoder(_Organization)


@dataclass(frozen=True, slots=True)
class DirectoryCounts:
    """Resources of a published directory.

    Attributes:
        resources: how many resources.
        tables: table -> rows that they come from, by distinct IDs; for roles, by their keys.
        doubled: resources with the type and ID of another.
    """

    resources: int
    tables: Mapping[str, int]
    doubled: int

    def differing(self, published: Mapping[str, int]) -> list[str]:
        """Describe the tables whose counts differ from the published rows."""
        return [
            f"{table}: {rows_read:,} where {rows:,} were accepted"
            for table in sorted({*_TABLES.values(), _NETWORKS})
            if (rows_read := self.tables.get(table, 0)) != (rows := published.get(table, 0))
        ]


def directory_counts(blocks: Iterable[bytes]) -> DirectoryCounts:
    """Count the resources in the blocks of a directory.

    Args:
        blocks: the compressed blocks.

    Raises:
        msgspec.DecodeError: a line is no resource.
    """
    ids: set[tuple[str, str]] = set()
    keys: set[str] = set()
    tables: Counter[str] = Counter()
    resources = 0
    for data in blocks:
        ndjson: bytes = igzip.decompress(data)  # type: ignore[no-untyped-call]
        for line in ndjson.splitlines():
            resource = _RESOURCE.decode(line)
            resources += 1
            if (resource.resource_type, resource.id) in ids:
                continue
            ids.add((resource.resource_type, resource.id))
            table = _TABLES.get(resource.resource_type, resource.resource_type)
            if table == _ROLES:
                payer_keys = (
                    identifier.value
                    for identifier in _ROLE.decode(line).identifier
                    if identifier.type.has(_KEY_TYPE)
                )
                keys.add(next(payer_keys, resource.id))
            elif table == "directory_organization" and _is_network(line):
                tables[_NETWORKS] += 1
            else:
                tables[table] += 1
    return DirectoryCounts(resources, {**tables, _ROLES: len(keys)}, resources - len(ids))


def _is_network(line: bytes) -> bool:
    return any(concept.has(_NETWORK) for concept in _ORGANIZATION.decode(line).type)
