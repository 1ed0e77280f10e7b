"""Rows of the extracts that a release was made of, layer by layer: which of them count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.deltas.layers import Layer, LayerFile
from etl.pipeline.deltas.merge import LAYER_COLUMN, TableOrigins

FIRST_ROW: Final = 2
"""Number of the first row of a merged table: row 1 is the header's, as in files of text."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One canonical row of a layer.

    Attributes:
        layer: number of the layer, the full extract's is 0.
        table: canonical table.
        file: number of the file of the layer's extract that the row came with.
        row: its row there; the header is row 1. Of several rows, the first that it was made of.
        merged: its row in the merged table; None where a later row replaced or deleted it.
        is_deletion: whether it deletes what it names.
    """

    layer: int
    table: str
    file: int
    row: int
    merged: int | None
    is_deletion: bool


class LayerRows:
    """The rows of all layers of a release.

    Args:
        layers: the full extract first.
        tables: what `merged_origins` returned for them.
    """

    def __init__(self, layers: Sequence[Layer], tables: Mapping[str, TableOrigins]) -> None:
        self.layers = tuple(layers)
        self._tables = tables

    def title(self, layer: int) -> str:
        """Return a layer in words, such as `delta extract of 2024-07-02`; no two have the same."""
        titles = [f"{each.kind} extract of {each.time[:10]}" for each in self.layers]
        title = titles[layer]
        return title if titles.count(title) == 1 else f"{title} (number {layer})"

    def file_of(self, row: LayerRow) -> LayerFile:
        """Return the file that a row came with."""
        return self.layers[row.layer].files[row.file]

    def of_merged(self, table: str, row: int) -> LayerRow | None:
        """Return the row behind a row of a merged table; None where its place was not kept."""
        number = row - FIRST_ROW
        if table not in self._tables or not 0 <= number < len(self._tables[table].merged):
            return None
        return self._row(table, int(self._tables[table].merged[number]))

    def at(self, layer: int, file: int, row: int) -> Iterator[LayerRow]:
        """Yield the canonical rows with a place in a layer's extract."""
        for table, places in self._places.items():
            ours = (places[0] == layer) & (places[1] == file) & (places[2] == row)
            yield from self._rows(table, np.flatnonzero(ours))

    def of_claim(self, number: str) -> Iterator[LayerRow]:
        """Yield the rows of a claim in all layers."""
        for table, origins in self._tables.items():
            if "claim_id" in origins.rows.column_names:
                ours = pc.fill_null(pc.equal(origins.rows.column("claim_id"), number), False)
                yield from self._rows(table, np.flatnonzero(np.asarray(ours)))

    def _rows(self, table: str, numbers: npt.NDArray[np.int64]) -> Iterator[LayerRow]:
        rows = (self._row(table, number) for number in numbers.tolist())
        return (row for row in rows if row is not None)

    def _row(self, table: str, number: int) -> LayerRow | None:
        layer, file, row = (int(places[number]) for places in self._places[table])
        if row < 0:
            return None
        merged = self._merged[table].get(number)
        is_deletion = bool(self._tables[table].deleting[number])
        return LayerRow(layer, table, file, row, merged, is_deletion)

    @cached_property
    def _places(self) -> Mapping[str, tuple[npt.NDArray[np.int64], ...]]:
        """Table -> layer, file and row of each of its rows; -1 where they were not kept."""
        return {
            table: tuple(
                pc.fill_null(origins.rows.column(name).cast(pa.int64()), -1).to_numpy()
                for name in (LAYER_COLUMN, FILE_COLUMN, ROW_COLUMN)
            )
            for table, origins in self._tables.items()
        }

    @cached_property
    def _merged(self) -> Mapping[str, Mapping[int, int]]:
        """Table -> number among the rows of all layers -> row of the merged table."""
        return {
            table: {number: at for at, number in enumerate(origins.merged.tolist(), FIRST_ROW)}
            for table, origins in self._tables.items()
        }
