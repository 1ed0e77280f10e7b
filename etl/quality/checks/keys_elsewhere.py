"""What a partition has to know about the rest: keys of other partitions, ids of the directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array


class KnownKeys(Protocol):
    """Answers about the whole extract.

    Every method takes `string` of shape (n,) and gives `bool` of shape (n,), never null.
    """

    def claim_exists(self, ids: Any) -> Any:
        """Return which claims are there."""
        ...

    def member_exists(self, ids: Any) -> Any:
        """Return which members are there."""
        ...

    def coverage_exists(self, ids: Any) -> Any:
        """Return which coverages are there."""
        ...

    def duplicate_claims(self, ids: Any) -> Any:
        """Return which claim ids stand on rows of more than one member."""
        ...

    def duplicate_coverages(self, ids: Any) -> Any:
        """Return which coverage ids stand on rows of more than one member."""
        ...


class PublishedKeys(Protocol):
    """Answers about the published tree, onto which a delta is merged.

    Every method takes `string` of shape (n,) and gives `bool` of shape (n,), never null.
    """

    def member_exists(self, ids: Any) -> Any:
        """Return which members are there."""
        ...

    def coverage_of(self, ids: Any, members: Any) -> Any:
        """Return which coverages are there and belong to that member."""
        ...

    def claim_exists(self, ids: Any) -> Any:
        """Return which claims are there."""
        ...


@dataclass(frozen=True, slots=True)
class TreeInMemory:
    """`PublishedKeys` over plain values, for tests.

    Attributes:
        members: ids of the members there.
        coverages: coverage id -> its member.
        claims: ids of the claims there.
    """

    members: frozenset[str] = frozenset()
    coverages: Mapping[str, str] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()

    def member_exists(self, ids: Any) -> Any:
        """Return which members are there."""
        return _among(ids, self.members)

    def coverage_of(self, ids: Any, members: Any) -> Any:
        """Return which coverages are there and belong to that member."""
        both = zip(as_array(ids).to_pylist(), as_array(members).to_pylist(), strict=True)
        return pa.array(
            [member is not None and self.coverages.get(each) == member for each, member in both],
            pa.bool_(),
        )

    def claim_exists(self, ids: Any) -> Any:
        """Return which claims are there."""
        return _among(ids, self.claims)


@dataclass(frozen=True, slots=True)
class KeysInMemory:
    """`KnownKeys` over plain sets: for tests and small extracts."""

    claims: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    coverages: frozenset[str] = frozenset()
    shared_claims: frozenset[str] = frozenset()
    shared_coverages: frozenset[str] = frozenset()

    def claim_exists(self, ids: Any) -> Any:
        """Return which claims are there."""
        return _among(ids, self.claims)

    def member_exists(self, ids: Any) -> Any:
        """Return which members are there."""
        return _among(ids, self.members)

    def coverage_exists(self, ids: Any) -> Any:
        """Return which coverages are there."""
        return _among(ids, self.coverages)

    def duplicate_claims(self, ids: Any) -> Any:
        """Return which claim ids stand on rows of more than one member."""
        return _among(ids, self.shared_claims)

    def duplicate_coverages(self, ids: Any) -> Any:
        """Return which coverage ids stand on rows of more than one member."""
        return _among(ids, self.shared_coverages)


def _among(ids: Any, known: Iterable[str]) -> Any:
    words = pa.array(sorted(known), pa.string())
    return pc.fill_null(pc.is_in(as_array(ids), value_set=words), False)


@dataclass(frozen=True, slots=True)
class DirectoryIds:
    """Ids that the directory's tables hold.

    Attributes:
        organizations, practitioners: `string`; ids and NPIs alike.
    """

    organizations: Any = field(default_factory=lambda: pa.array([], pa.string()))
    practitioners: Any = field(default_factory=lambda: pa.array([], pa.string()))

    def holds(self, ids: Any, tables: Iterable[str]) -> Any:
        """Return which ids stand in any of the tables, as numpy `bool`."""
        each = {"organization": self.organizations, "practitioner": self.practitioners}
        known = pa.concat_arrays([each[table] for table in tables])
        found = pc.fill_null(pc.is_in(ids, value_set=known), False)
        return found.to_numpy(zero_copy_only=False)


def read_directory(organization: pa.Table, practitioner: pa.Table) -> DirectoryIds:
    """Return the ids and NPIs of the directory's canonical tables."""

    def ids(table: pa.Table, key: str) -> Any:
        both = pa.concat_arrays([as_array(table.column(key)), as_array(table.column("npi"))])
        return as_array(pc.drop_null(pc.unique(both)))

    return DirectoryIds(ids(organization, "organization_id"), ids(practitioner, "practitioner_id"))
