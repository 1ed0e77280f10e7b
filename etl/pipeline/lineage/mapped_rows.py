"""Rows of an extract, checked and mapped again by partition to answer questions about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import place_keys, table_places
from etl.engine.partition_columns import Partition
from etl.errors import NotFound
from etl.mapping.plan import Plan
from etl.mapping.row_interpreter import (
    Cell,
    ExplainedElement,
    ExplainedResource,
    Record,
    Records,
    RenderedResource,
)
from etl.model.canonical_tables import FILE_COLUMN, HEADER_OF, KEYS, ROW_COLUMN, TABLES
from etl.pipeline.context import PartitionedExtract
from etl.pipeline.definitions import Definitions
from etl.pipeline.lineage.row_places import ExtractRows, LayerPlaces
from etl.pipeline.partition.mapping import Mapped, PartitionContext, check_and_map
from etl.pipeline.partition.providers import (
    Providers,
    decide_directory,
    partition_of,
    providers_of,
)
from etl.publish.reader import Release
from etl.quality.check import Checked, check_totals
from etl.reports import lineage as lineages
from etl.rows import LINE_PROVIDERS
from etl.sources.convert.cell_origins import PartitionOrigins, RowPosition
from etl.sources.partition.partitions import Loaded


def fates_of(
    sources: LineageSources, part: MappedPartition, name: str, table: pa.Table
) -> Iterator[lineages.RowFate]:
    """Yield the fates of some rows of a table, each place once.

    If a query made several rows of one source row, it is listed once for each different fate.
    """
    fates: dict[lineages.RowFate, None] = {}
    book = sources.definitions.book
    rejected = part.checked.rejected
    rejected_rows = rejected.filter(pc.equal(rejected.column("table"), name))
    rejections = {(row["file"], row["row"]): row for row in rejected_rows.to_pylist()}
    accepted = set(table_places(part.checked.tables[name]).tolist())
    withdrawn = set(map(int, part.checked.withdrawn.get(name, ())))
    positions = zip(
        *(table.column(column).to_pylist() for column in (FILE_COLUMN, ROW_COLUMN)), strict=True
    )
    for position in dict.fromkeys(positions):
        fate: lineages.Fate = "superseded"
        reasons: tuple[lineages.Reason, ...] = ()
        rejection = rejections.get(position)
        if rejection is not None:
            fate, cause = "quarantined", rejection["cause"]
            rules = dict.fromkeys(rule for rule in (*rejection["rules"].split(";"), cause) if rule)
            reasons = tuple(lineages.Reason(rule, book[rule].says, rule == cause) for rule in rules)
        elif (key := int(place_keys([position[0]], [position[1]])[0])) in accepted:
            fate = "published"
        elif key in withdrawn:
            fate = "withdrawn"
        findings = tuple(
            lineages.CellFinding(rule, column, book[rule].says)
            for rule, column in part.findings.get((name, position), ())
        )
        extract, file, row = sources.positions.named(position)
        fates[lineages.RowFate(file, row, name, fate, reasons, findings, extract)] = None
    yield from fates


_CLAIM_ID: Final = "claim_id"


@dataclass(frozen=True)
class MappedPartition:
    """A partition, or the directory, after checks and mapping.

    Attributes:
        loaded: its rows.
        checked: the result of the rules.
        mapped: the resources of the accepted rows; None for the directory.
        partition: the accepted rows, as input of mappings.
        origins: finds the source cells of its rows.
    """

    loaded: Loaded
    checked: Checked
    mapped: Mapped | None
    partition: Partition
    origins: PartitionOrigins

    @cached_property
    def findings(self) -> Mapping[tuple[str, RowPosition], tuple[tuple[str, str], ...]]:
        """Table and place of a row -> its findings: rule, and column or ""."""
        rules_by_row: dict[tuple[str, RowPosition], dict[tuple[str, str], None]] = {}
        for finding in self.checked.findings.to_pylist():
            if finding["row"] is not None:
                position = (finding["file"], finding["row"])
                rules = rules_by_row.setdefault((finding["table"], position), {})
                rules[finding["rule"], finding["column"] or ""] = None
        return {row: tuple(rules) for row, rules in rules_by_row.items()}

    def members_of(self, header: str, ids: pa.Array) -> pa.Array:
        """Return the members of some claims or prior authorizations."""
        table = self.loaded.tables[header]
        headers = table.filter(pc.is_in(table.column(KEYS[header]), value_set=ids))
        return pc.unique(headers.column("member_id")).drop_null()


@dataclass(frozen=True)
class LineageSources:
    """An extract and the definitions that it was published with.

    Attributes:
        definitions: rules and mappings.
        rows: the extract's rows.
        positions: places of rows in the payer's files.
        release: the release to compare with; None to skip the comparison.
    """

    definitions: Definitions
    rows: ExtractRows
    positions: ExtractRows | LayerPlaces
    release: Release | None
    _last: dict[int, MappedPartition] = field(default_factory=dict)

    @property
    def read(self) -> PartitionedExtract:
        """The partitioned extract."""
        return self.rows.read

    @cached_property
    def directory(self) -> MappedPartition:
        """The directory's rows, checked but not mapped."""
        loaded = self.read.partitions.directory()
        decided = decide_directory(loaded, self.definitions, as_of=self.read.as_of)
        checked = check_totals(decided)
        tables = providers_of(checked.tables, self.definitions).tables
        origins = self.rows.origins(self.read.partitions.facts.count)
        partition = partition_of(tables, self.definitions, missing=())
        return MappedPartition(loaded, checked, None, partition, origins)

    @cached_property
    def providers(self) -> Providers:
        """Accepted rows of the directory that claims can refer to."""
        return providers_of(self.directory.checked.tables, self.definitions)

    def map_partition(self, loaded: Loaded, index: int) -> MappedPartition:
        """Check and map a partition; the last one is cached."""
        if index not in self._last:
            self._last.clear()
            self._last[index] = self._check_and_map(loaded, index)
        return self._last[index]

    def _check_and_map(self, loaded: Loaded, index: int) -> MappedPartition:
        context = PartitionContext(self.definitions, self.providers, self.read.as_of)
        _, checked, mapped = check_and_map(context, loaded, self.read.partitions.keys)
        return MappedPartition(
            loaded, checked, mapped, mapped.plan_resources[0].partition, self.rows.origins(index)
        )

    def partitions(self) -> Iterator[tuple[int, Loaded]]:
        """Yield the number and rows of each partition of members."""
        for index in range(self.read.partitions.facts.count):
            yield index, self.read.partitions.load(index)

    def select_members(self, part: MappedPartition, members: pa.Array) -> Partition:
        """Return the accepted rows of some members and of the directory."""
        tables = part.partition.tables
        rows = _select_members(tables, members)
        ids = rows["claim"].column(_CLAIM_ID).combine_chunks()
        keep = np.asarray(pc.is_in(tables["claim"].column(_CLAIM_ID), value_set=ids))
        chains = part.partition.chains
        return Partition(
            {**rows, **self.providers.tables}, None if chains is None else chains.filter(keep)
        )


def _select_members(tables: Mapping[str, pa.Table], members: pa.Array) -> dict[str, pa.Table]:
    selected = {
        name: table.filter(pc.is_in(table.column("member_id"), value_set=members))
        for name, table in tables.items()
        if "member_id" in table.column_names
    }
    for name, table in tables.items():
        header = HEADER_OF.get(name, name)
        if name != header and header in selected:
            key = KEYS[header]
            ids = selected[header].column(key).combine_chunks()
            selected[name] = table.filter(pc.is_in(table.column(key), value_set=ids))
    return selected


def explanation_of(
    sources: LineageSources,
    plan: Plan,
    part: MappedPartition,
    records: Records,
    resource: ExplainedResource,
) -> lineages.Explanation:
    """Return the origins of a resource's elements.

    Args:
        sources: the extract.
        plan: the mapping that made the resource.
        part: the partition of its rows.
        records: the rows that the mapping ran over.
        resource: the resource.
    """
    rendered, release = resource.rendered, sources.release
    return lineages.Explanation(
        resource=f"{plan.resource}/{rendered.id}",
        profile=plan.profile,
        mapping=plan.name,
        origins=tuple(_origin(sources, part, records, element) for element in resource.elements),
        agrees=None if release is None else _is_published(release, plan, rendered),
    )


def _is_published(release: Release, plan: Plan, rendered: RenderedResource) -> bool:
    """Return whether the published resource is equal, apart from `meta`'s time stamps."""
    try:
        if rendered.compartment is None:
            line = release.directory_resource(plan.resource, rendered.id)
        else:
            line = release.patient_resource(rendered.compartment, plan.resource, rendered.id)
    except NotFound:
        return False
    return line.endswith(rendered.body.encode())


def _origin(
    sources: LineageSources, part: MappedPartition, records: Records, element: ExplainedElement
) -> lineages.Origin:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in element.path]
    cells = dict.fromkeys(
        _cell_origin(sources, part, records, cell)
        for used_cell in element.cells
        for cell in (*_total_amounts(used_cell, records), used_cell)
    )
    answers = dict.fromkeys(
        lineages.AnswerOrigin(answer.crosswalk, answer.word, answer.answer, answer.mark)
        for answer in element.answers
    )
    return lineages.Origin(
        "".join(steps).lstrip("."),
        element.json,
        str(element.mark),
        element.mark.map_ids,
        tuple(cells),
        tuple(answers),
    )


def _total_amounts(cell: Cell, records: Records) -> Iterator[Cell]:
    """Yield the amounts behind a claim's total: its own, or the summed ones (docs/mapping.md)."""
    category = cell.column.removeprefix("total_")
    if cell.table != "claim" or category == cell.column:
        return
    amount = f"amount_{category}"
    claim = (cell.row["claim_id"] or "",)
    payer_rows = records.where("claim_other_payer", ("claim_id",), claim)
    for table, rows in (
        ("claim", [cell.row]),
        ("claim_other_payer", [row for row in payer_rows if row.get("line_number") is None]),
        ("claim_line", records.where("claim_line", ("claim_id",), claim)),
        ("claim_other_payer", [row for row in payer_rows if row.get("line_number") is not None]),
    ):
        amounts = [Cell(table, amount, row, value) for row in rows if (value := row.get(amount))]
        if amounts:
            yield from amounts
            return


def _cell_origin(
    sources: LineageSources, part: MappedPartition, records: Records, cell: Cell
) -> lineages.CellOrigin:
    table, column, record = cell.table, cell.column, cell.row
    derived = table in TABLES and TABLES[table].column(column) is None
    if record.get(FILE_COLUMN) is None:
        return lineages.CellOrigin(None, None, table, column, derived, cell.value)
    position = (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0))
    extract, file, row = sources.positions.named(position)
    if derived or table not in TABLES:
        return lineages.CellOrigin(file, row, table, column, derived, cell.value, extract=extract)
    origin = part.origins.cell_origin(table, record, column)
    line = None if origin.layout_line or origin.cells else _rendering_line(records, table, record)
    if line is not None:  # a line's rendering provider, added to the care team
        if column != "provider_id":
            return lineages.CellOrigin(file, row, table, column, True, cell.value, extract=extract)
        (table, column), record = LINE_PROVIDERS[table], line
        origin = part.origins.cell_origin(table, record, column)
    findings = part.findings.get((table, position), ())
    payer_cells = sources.positions.cells(record, origin, (table, column))
    return lineages.CellOrigin(
        file=file,
        row=row,
        table=table,
        column=column,
        derived=False,
        value=cell.value,
        layout=payer_cells.layout,
        query=payer_cells.query,
        source=payer_cells.cells,
        rules=tuple(rule for rule, name in findings if name == column),
        extract=extract,
    )


def _rendering_line(records: Records, table: str, record: Record) -> Record | None:
    """Return the line whose rendering provider a care team row comes from, if any."""
    if table not in LINE_PROVIDERS:
        return None
    line_table, provider_column = LINE_PROVIDERS[table]
    for line in records.tables.get(line_table, ()):
        same_place = all(line.get(name) == record.get(name) for name in (FILE_COLUMN, ROW_COLUMN))
        if same_place and line.get(provider_column) == record.get("provider_id"):
            return line
    return None
