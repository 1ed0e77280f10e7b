"""Keys outside a partition: ids in other partitions, and ids of the directory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array, true_where


class KnownKeys(Protocol):
    """Answers about the whole extract.

    Both take `string` of shape (n,) and give `bool` of shape (n,), never null.
    """

    def exists(self, table: str, ids: Any) -> Any:
        """Return which ids are in a table: `member`, `coverage` or `claim`."""
        ...

    def shared(self, table: str, ids: Any) -> Any:
        """Return which ids of `coverage` or `claim` stand on rows of more than one member."""
        ...


class NoKeys:
    """`KnownKeys` of an extract of one partition: nothing is elsewhere."""

    def exists(self, table: str, ids: Any) -> Any:
        """Return that no id is in a table."""
        del table
        return pa.repeat(False, len(ids))

    shared = exists


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
        listed = {"organization": self.organizations, "practitioner": self.practitioners}
        known = pa.concat_arrays([listed[table] for table in tables])
        return true_where(pc.is_in(ids, value_set=known))


def read_directory(organization: pa.Table, practitioner: pa.Table) -> DirectoryIds:
    """Return the ids and NPIs of the directory's canonical tables."""

    def ids(table: pa.Table, key: str) -> Any:
        both = pa.concat_arrays([as_array(table.column(key)), as_array(table.column("npi"))])
        return as_array(pc.drop_null(pc.unique(both)))

    return DirectoryIds(ids(organization, "organization_id"), ids(practitioner, "practitioner_id"))
