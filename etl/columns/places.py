"""Places of rows (file and row), also encoded as single numbers in the same order."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import column_of
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN

_SHIFT: Final = 40
NO_PLACES: Final = np.empty(0, np.int64)


def place_keys(files: Any, rows: Any) -> Any:
    """Encode file and row as one number, in the same order."""
    return (np.asarray(files).astype(np.int64) << _SHIFT) | np.asarray(rows).astype(np.int64)


def places_of(table: pa.Table) -> tuple[Any, Any]:
    """Return the file and the row of each row of a canonical table, as numpy."""
    return table.column(FILE_COLUMN).to_numpy(), table.column(ROW_COLUMN).to_numpy()


def take_places(table: pa.Table, positions: pa.Array) -> dict[str, pa.Array]:
    """Return file and row of some rows of a table, as columns of rows made of them."""
    return {name: column_of(table, name).take(positions) for name in (FILE_COLUMN, ROW_COLUMN)}


def table_places(table: pa.Table) -> Any:
    """Return `place_keys` of the rows of a canonical table."""
    return place_keys(*places_of(table))


_PAIRS: Final = pa.schema([("result", pa.int64()), ("source", pa.int64())])


@dataclass(frozen=True, slots=True)
class RowSources:
    """The payer's rows behind rows that queries computed.

    The program identifies a computed row by its own place; reports name the payer's row.

    Attributes:
        pairs: `place_keys` of computed rows, ascending, and of the payer's row behind each.
    """

    # `empty_table` would make pyarrow import pandas.
    pairs: pa.Table = field(default_factory=partial(pa.Table.from_batches, [], _PAIRS))

    @classmethod
    def from_keys(cls, results: Any, sources: Any) -> RowSources:
        """Build from `place_keys` of computed rows and of the payer's rows."""
        order = np.argsort(results, kind="stable")
        columns = [pa.array(results[order]), pa.array(sources[order])]
        return cls(pa.Table.from_arrays(columns, schema=_PAIRS))

    def named(self, files: Any, rows: Any) -> tuple[Any, Any]:
        """Return the payer's file and row behind each place, or the place itself."""
        keys = place_keys(files, rows)
        if self.pairs.num_rows:
            results, sources = (column.to_numpy() for column in self.pairs.columns)
            index = np.minimum(np.searchsorted(results, keys), len(results) - 1)
            keys = np.where(results[index] == keys, sources[index], keys)
        return keys >> _SHIFT, keys & ((1 << _SHIFT) - 1)

    def results_of(self, file: int, row: int) -> list[tuple[int, int]]:
        """Return file and row of each computed row behind which the payer's row is."""
        source = int(place_keys([file], [row])[0])
        keys = self.pairs.filter(pc.equal(self.pairs.column("source"), source))["result"]
        return [(key >> _SHIFT, key & ((1 << _SHIFT) - 1)) for key in keys.to_pylist()]

    def of_findings(self, findings: pa.Table) -> pa.Table:
        """Move findings to the payer's rows; findings about a file stay."""
        has_row = findings.column("row").is_valid()
        if not self.pairs.num_rows or not pc.any(has_row).as_py():
            return findings
        is_whole_file = ~np.asarray(has_row)
        columns = [findings.column(name).fill_null(0).to_numpy() for name in ("file", "row")]
        for name, numbers in zip(("file", "row"), self.named(*columns), strict=True):
            index = findings.schema.get_field_index(name)
            column = pa.chunked_array([pa.array(numbers, mask=is_whole_file)])
            previous = findings.column(name)
            new_column = pc.if_else(has_row, column.cast(previous.type), previous)
            findings = findings.set_column(index, findings.schema.field(name), new_column)
        return findings

    def only(self, *findings: pa.Table) -> RowSources:
        """Return only the sources that some findings need."""
        if not self.pairs.num_rows:
            return self
        rows = pa.concat_tables([table.select(["file", "row"]) for table in findings]).drop_null()
        keys = place_keys(rows.column("file"), rows.column("row"))
        is_needed = np.isin(self.pairs.column("result").to_numpy(), keys)
        return RowSources(self.pairs.filter(pa.array(is_needed)))


NO_SOURCES: Final = RowSources()
