"""Places of canonical rows in the payer's files, and the cells at these places.

If a release was made from one extract, its rows have places in that extract. If deltas were
applied, its rows are in merged files, and their places lead through the layers to the payer's
files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import RowSources, place_keys
from etl.errors import UsageError
from etl.mapping.row_interpreter import Record
from etl.model.canonical_tables import FILE_COLUMN, HEADER_OF, KEYS, ROW_COLUMN, TABLES
from etl.pipeline.context import PartitionedExtract
from etl.pipeline.deltas.layers import Layer, LayerFile
from etl.pipeline.deltas.merge import LAYER_COLUMN, TableOrigins, layer_titles, merged_file
from etl.reports.lineage import Fate, RowFate, SourceCell
from etl.sources.convert.cell_origins import PartitionOrigins, RawOrigin, RowPosition
from etl.sources.files.listed_files import RESULT_OF
from etl.sources.layout.model import Layout, canonical_layouts

_FIRST_ROW: Final = 2
"""Number of the first row of a merged table: row 1 is the header's, as in files of text."""


class NamedPlace(NamedTuple):
    """Place of a row, for display.

    Attributes:
        extract: description of the extract; empty if there is only one.
        file: name of the file.
        row: row in the file; its header is row 1.
    """

    extract: str
    file: str
    row: int


@dataclass(frozen=True)
class ExtractRows:
    """The rows of an extract, loaded by partition.

    Attributes:
        read: the partitioned extract.
    """

    read: PartitionedExtract
    _origins: dict[int, PartitionOrigins] = field(default_factory=dict)
    _sources: dict[int, RowSources] = field(default_factory=dict)
    _partitions: dict[RowPosition, int | None] = field(default_factory=dict)

    def partition_of(self, position: RowPosition) -> int | None:
        """Return the partition with a row, `count` for the directory; None if none has it."""
        if position not in self._partitions:
            partitions, key = self.read.partitions, place_keys([position[0]], [position[1]])
            numbers = range(partitions.facts.count + 1)
            matches = (number for number in numbers if partitions.raw_rows(number, key))
            self._partitions[position] = next(matches, None)
        return self._partitions[position]

    def origins(self, partition: int) -> PartitionOrigins:
        """Return the finder of source cells for a partition's canonical rows."""
        if partition not in self._origins:
            partitions = self.read.partitions
            raw_rows = partitions.raw_rows(partition)
            if partition != partitions.facts.count:  # files shared by members are there
                raw_rows |= partitions.raw_rows(partitions.facts.count)
            facts = partitions.facts
            self._origins[partition] = PartitionOrigins(facts.layout, facts.files, raw_rows)
            self._sources[partition] = partitions.row_sources(partition)
        return self._origins[partition]

    def named(self, position: RowPosition) -> NamedPlace:
        """Return the place of a row in the payer's files, or in the result of a query.

        The source of a query's row is only known after `origins` was called for its partition.
        """
        file, row = position
        for sources in self._sources.values():
            file, row = (int(number[0]) for number in sources.named([file], [row]))
        return NamedPlace("", self.read.partitions.facts.names[file], row)

    def rows_at(self, position: RowPosition) -> Mapping[int, Sequence[RowPosition]]:
        """Return partition -> places of the rows read at a place, or computed from them."""
        facts = self.read.partitions.facts
        if position[0] < len(facts.files):
            partition = self.partition_of(position)
            return {} if partition is None else {partition: [position]}
        sources = map(self.read.partitions.row_sources, range(facts.count + 1))
        results = {number: rows.results_of(*position) for number, rows in enumerate(sources)}
        return {number: positions for number, positions in results.items() if positions}

    def cells(self, record: Record, origin: RawOrigin, column: tuple[str, str]) -> CellsOfPayer:
        """Return the payer's cells behind a canonical cell.

        Args:
            record: its row, with its place.
            origin: the origin of the cell in the extract.
            column: its canonical table and column.
        """
        del column
        if query := self.read.partitions.facts.files[_row_position(record)[0]].query:
            return CellsOfPayer((), "", query)
        cells = [
            SourceCell(*self.named(raw.position)[1:], raw.header, raw.text) for raw in origin.cells
        ]
        return CellsOfPayer(tuple(cells), origin.layout_line)


class CellsOfPayer(NamedTuple):
    """The payer's cells behind a canonical cell.

    Attributes:
        cells: the cells, with file and row.
        layout: file and line of the layout that makes the canonical cell; "" if it is copied.
        query: file of the query that computed the cell; then `cells` is empty.
    """

    cells: tuple[SourceCell, ...]
    layout: str
    query: str = ""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One canonical row of a layer.

    Attributes:
        layer: number of the layer, the full extract's is 0.
        table: canonical table.
        file: number of the file of the layer's extract that the row came with.
        row: its row there; the header is row 1. Of several rows, the first that it was made of.
        merged: its row in the merged table; None if a later row replaced or deleted it.
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
        tables: what `write_merged_origins` returned for them.
    """

    def __init__(self, layers: Sequence[Layer], tables: Mapping[str, TableOrigins]) -> None:
        self.layers = tuple(layers)
        self._tables = tables

    def title(self, layer: int) -> str:
        """Return the title of a layer."""
        return layer_titles(self.layers)[layer]

    def file_of(self, row: LayerRow) -> LayerFile:
        """Return the file that a row came with."""
        return self.layers[row.layer].files[row.file]

    def of_merged(self, file: str, row: int) -> LayerRow | None:
        """Return the layer row behind a row of a merged file; None if unknown."""
        table = next((name for name in self._tables if merged_file(name) == file), "")
        number = row - _FIRST_ROW
        if table not in self._tables or not 0 <= number < len(self._tables[table].merged):
            return None
        return self._row(table, int(self._tables[table].merged[number]))

    def at(self, layer: int, file: int, row: int) -> Iterator[LayerRow]:
        """Yield the canonical rows at a row of a layer's extract."""
        for table, positions in self._positions.items():
            is_at_row = (positions[0] == layer) & (positions[1] == file) & (positions[2] == row)
            yield from self._rows(table, np.flatnonzero(is_at_row))

    def of_header(self, header: str, number: str) -> Iterator[LayerRow]:
        """Yield the rows of a claim or prior authorization in all layers."""
        for table, origins in self._tables.items():
            if HEADER_OF.get(table) == header:
                numbers = origins.rows.column(KEYS[header])
                is_of_header = pc.fill_null(pc.equal(numbers, number), False)
                yield from self._rows(table, np.flatnonzero(np.asarray(is_of_header)))

    def _rows(self, table: str, numbers: npt.NDArray[np.int64]) -> Iterator[LayerRow]:
        rows = (self._row(table, number) for number in numbers.tolist())
        return (row for row in rows if row is not None)

    def _row(self, table: str, number: int) -> LayerRow | None:
        layer, file, row = (int(places[number]) for places in self._positions[table])
        if row < 0:
            return None
        merged = self._merged[table].get(number)
        is_deletion = bool(self._tables[table].deleting[number])
        return LayerRow(layer, table, file, row, merged, is_deletion)

    @cached_property
    def _positions(self) -> Mapping[str, tuple[npt.NDArray[np.int64], ...]]:
        """Table -> layer, file and row of each of its rows; -1 if they were not kept."""
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
            table: {number: at for at, number in enumerate(origins.merged.tolist(), _FIRST_ROW)}
            for table, origins in self._tables.items()
        }


@dataclass(frozen=True)
class LayerPlaces:
    """Places in the extracts whose layers were merged; same methods as `ExtractRows`.

    Attributes:
        merged: the merged extract.
        rows: the rows of all layers.
        layouts: the available layouts.
        extracts: number of a layer -> its extract, if available.
    """

    merged: ExtractRows
    rows: LayerRows
    layouts: Sequence[Layout]
    extracts: Mapping[int, ExtractRows]

    def named(self, position: RowPosition) -> NamedPlace:
        """Return the place in the extract of the row's layer."""
        row = self._layer_row(position)
        return self.merged.named(position) if row is None else self._named(row)

    def cells(self, record: Record, origin: RawOrigin, column: tuple[str, str]) -> CellsOfPayer:
        """Return the cells of the layer's extract; without it, their places and headers."""
        row = self._layer_row(_row_position(record))
        if row is None:
            return self.merged.cells(record, origin, column)
        table, name = column
        if query := self._query_of(row):
            return CellsOfPayer((), "", query)
        title, extract = self.rows.title(row.layer), self.extracts.get(row.layer)
        if extract is not None:
            partition = extract.partition_of((row.file, row.row))
            if partition is not None:
                source_record = {**record, FILE_COLUMN: str(row.file), ROW_COLUMN: str(row.row)}
                source = extract.origins(partition).cell_origin(table, source_record, name)
                payer_cells = extract.cells(source_record, source, column)
                return payer_cells._replace(
                    cells=tuple(replace(cell, extract=title) for cell in payer_cells.cells)
                )
        return self._headers(row, origin, table, name)

    def fates(self, rows: Iterator[LayerRow]) -> Iterator[RowFate]:
        """Yield the fates of rows that are not in the merged extract."""
        for row in rows:
            if row.merged is None:
                fate: Fate = "deletes" if row.is_deletion else "superseded"
                extract, file, number = self._named(row)
                yield RowFate(file, number, row.table, fate, extract=extract)

    def at(self, file: str, row: int) -> list[LayerRow]:
        """Return the canonical rows made from a row of an extract.

        If several extracts have such a file and row, the newest one counts. If the user gave
        folders of extracts, only these are searched.

        Raises:
            UsageError: no extract has the file, or no layer has the row.
        """
        numbers = sorted(self.extracts or range(len(self.rows.layers)), reverse=True)
        names: set[str] = set()
        for layer in numbers:
            files = [entry.name for entry in self.rows.layers[layer].files]
            names |= set(files)
            if file in files and (layer_rows := list(self._at(layer, (files.index(file), row)))):
                return layer_rows
        if file not in names:
            shown = ", ".join(sorted(names)) or "no files with recorded names"
            raise UsageError(f"the extracts of the release have no file {file}; they have {shown}")
        raise UsageError(
            f"no row of the release starts at row {row} of {file} (the header is row 1). Rows that "
            "could not be read were not kept. If a layout combines rows, use the first of them, "
            "or give the folder of their extract with --extract"
        )

    @cached_property
    def _by_name(self) -> Mapping[str, Layout]:
        return {**{layout.name: layout for layout in self.layouts}, **canonical_layouts()}

    def _at(self, layer: int, position: RowPosition) -> Iterator[LayerRow]:
        extract = self.extracts.get(layer)
        partition = None if extract is None else extract.partition_of(position)
        if extract is None or partition is None:
            yield from self.rows.at(layer, *position)
            return
        for table, (file, number) in extract.origins(partition).rows_of(position):
            yield from (row for row in self.rows.at(layer, file, number) if row.table == table)

    def _layer_row(self, position: RowPosition) -> LayerRow | None:
        file = self.merged.named(position).file
        return self.rows.of_merged(file, position[1])

    def _query_of(self, row: LayerRow) -> str:
        """Return the file of the query that computed a row; "" if none did."""
        file = self.rows.file_of(row)
        results = self.rows.layers[row.layer].files if not file.table else [file]
        names = [file_entry.name for file_entry in results if file_entry.table == row.table]
        return next((name[len(RESULT_OF) :] for name in names if name.startswith(RESULT_OF)), "")

    def _named(self, row: LayerRow) -> NamedPlace:
        return NamedPlace(self.rows.title(row.layer), self.rows.file_of(row).name, row.row)

    def _headers(self, row: LayerRow, origin: RawOrigin, table: str, name: str) -> CellsOfPayer:
        """Return the places and headers behind a cell whose extract is missing."""
        title, file = self.rows.title(row.layer), self.rows.file_of(row)
        layout = self._by_name.get(self.rows.layers[row.layer].layout)
        if layout is None:
            return CellsOfPayer((), "")
        if not (layout.canonical and file.table == table and name in TABLES[table].names):
            position = (row.file, row.row)
            origin = PartitionOrigins(layout, (), {}).headers(table, file.table, name, position)
        cells = [
            SourceCell(file.name, row.row, cell.header, cell.text, title) for cell in origin.cells
        ]
        return CellsOfPayer(tuple(cells), origin.layout_line)


def _row_position(record: Record) -> RowPosition:
    return int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0)
