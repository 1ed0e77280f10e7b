"""Lineage of resources, headers and rows: from the payer's cells to elements, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import place_keys, table_places
from etl.engine.evaluate import Values
from etl.engine.partition_columns import Partition
from etl.engine.unmapped import Mention
from etl.errors import UsageError
from etl.mapping.plan import Environment, Plan
from etl.mapping.row_columns import columns_of
from etl.mapping.row_interpreter import ExplainedResource, Record, Records, explain_resources
from etl.model.canonical_tables import FILE_COLUMN, HEADER_OF, KEYS, ROW_COLUMN, TABLES
from etl.pipeline.context import RunContext
from etl.pipeline.deltas.merge import merged_file
from etl.pipeline.lineage.mapped_rows import (
    LineageSources,
    MappedPartition,
    explanation_of,
    fates_of,
)
from etl.pipeline.lineage.row_places import ExtractRows, LayerPlaces, LayerRows
from etl.pipeline.partition.providers import with_stubs
from etl.pipeline.read import read as read_rows
from etl.publish.reader import Release
from etl.reports.lineage import (
    Explanation,
    HeaderSubject,
    Lineage,
    Reason,
    ResourceSubject,
    RowFate,
    RowSubject,
    Subject,
    Through,
)
from etl.sources.convert.cell_origins import RowPosition
from etl.sources.extract.opening import Extract
from etl.sources.layout.names import RAGGED_ROW

_CLAIM_ID: Final = "claim_id"


def require_same(extract: Extract, release: Release, name: str) -> None:
    """Check that a release was made from an extract.

    Raises:
        UsageError: the release was made from other files.
    """
    extract_files = {(file.stored, file.sha256) for file in extract.named_files}
    published = {(str(file["name"]), str(file["sha256"])) for file in release.manifest.facts.inputs}
    different = sorted({file for file, _ in extract_files ^ published})
    if different:
        raise UsageError(
            f"{name} is not the extract that release {release.id} was made from: "
            f"{', '.join(different[:3])}{' …' if len(different) > 3 else ''} "
            f"{'differs' if len(different) == 1 else 'differ'}; use the folder of that "
            "run's extract"
        )


class Explainer:
    """Answers questions about one extract, which is read once.

    Args:
        context: context of the run that made the release: its extract and definitions.
        release: the release to compare with; None to skip the comparison.
        layers: the rows that the extract was merged from; None for a payer's extract.
        extracts: number of a layer -> its extract, if available.
    """

    def __init__(
        self,
        context: RunContext,
        release: Release | None,
        layers: LayerRows | None = None,
        extracts: Mapping[int, ExtractRows] = MappingProxyType({}),
    ) -> None:
        rows = ExtractRows(read_rows(context))
        positions: ExtractRows | LayerPlaces = rows
        if layers is not None:
            positions = LayerPlaces(rows, layers, context.definitions.layouts, extracts)
        self._sources = LineageSources(context.definitions, rows, positions, release)
        self._through: Through = "extract" if layers is None else "layers"

    def explain(self, subject: Subject) -> Lineage:
        """Trace a resource to its cells, or a header or row to its fate and resources.

        Raises:
            UsageError: the subject is not in the extract, or no mapping makes such a resource.
        """
        match subject:
            case ResourceSubject():
                resource = _explain_resource(self._sources, subject)
                lineage = Lineage(str(subject), (), (resource,))
            case HeaderSubject():
                lineage = _explain_header(self._sources, subject)
            case RowSubject():
                lineage = _explain_row(self._sources, subject)
        return replace(lineage, through=self._through)


# A resource


def _explain_resource(sources: LineageSources, subject: ResourceSubject) -> Explanation:
    mappings = sources.definitions.mappings.plans
    plans = tuple(plan for plan in mappings if plan.resource == subject.resource_type)
    if not plans:
        types = sorted({plan.resource for plan in mappings})
        raise UsageError(
            f"no mapping makes a {subject.resource_type}; the mappings make {', '.join(types)}"
        )
    find_rows = _directory_rows if plans[0].compartment is None else _member_rows
    for part, partition in find_rows(sources, plans, subject.logical_id):
        explanation = _find_explanation(sources, plans, part, partition, subject.logical_id)
        if explanation is not None:
            return explanation
    raise UsageError(
        f"no accepted row of the extract makes {subject}; its row may be in quarantine, or may "
        "belong to another payer or id key: trace its claim (claim:NUMBER), its prior "
        "authorization (prior-auth:NUMBER) or its row (--row)"
    )


def _directory_rows(
    sources: LineageSources, plans: Sequence[Plan], logical_id: str
) -> Iterator[tuple[MappedPartition, Partition]]:
    """Yield the directory's rows, then stubs of providers that only claims name."""
    part = sources.directory
    yield part, part.partition
    resource, environment = plans[0].resource, sources.providers.environment
    for index, loaded in sources.partitions():
        mapped = sources.map_partition(loaded, index).mapped
        mentions: set[Mention] = set() if mapped is None else set(mapped.mentioned)
        missing = [
            mention
            for mention in mentions
            if mention.resource == resource
            and environment.logical_id(resource, mention.key) == logical_id
            and not sources.providers.holds(mention)
        ]
        if missing:
            tables = {name: table.slice(0, 0) for name, table in part.checked.tables.items()}
            yield part, Partition(with_stubs(tables, missing))
            return


def _member_rows(
    sources: LineageSources, plans: Sequence[Plan], logical_id: str
) -> Iterator[tuple[MappedPartition, Partition]]:
    """Yield the accepted rows of members that the resource may belong to, by partition."""
    environment = sources.providers.environment
    for index, loaded in sources.partitions():
        members = _find_members(loaded.tables, plans, environment, logical_id)
        if len(members):
            part = sources.map_partition(loaded, index)
            yield part, sources.select_members(part, members)


def _find_members(
    tables: Mapping[str, pa.Table], plans: Sequence[Plan], environment: Environment, logical_id: str
) -> pa.Array:
    """Return the members with rows that map to a logical ID, before any rule is applied."""
    partition = Partition(tables)
    members = []
    for plan in plans:
        ids = Values(replace(plan, condition=True), partition, environment).text(plan.id, 0)
        rows = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(ids, logical_id), False)))
        members.append(partition.column(plan.table, "member_id").take(pa.array(rows)))
    return pc.unique(pa.concat_arrays(members)).drop_null()


def _find_explanation(
    sources: LineageSources,
    plans: Sequence[Plan],
    mapped: MappedPartition,
    partition: Partition,
    logical_id: str,
) -> Explanation | None:
    records = records_of(partition)
    for plan in plans:
        for resource in explain_resources(plan, records, sources.providers.environment, logical_id):
            return explanation_of(sources, plan, mapped, records, resource)
    return None


# A claim, or a prior authorization


def _explain_header(sources: LineageSources, subject: HeaderSubject) -> Lineage:
    header, key, numbers = subject.table, KEYS[subject.table], pa.array([subject.number])
    for index, loaded in sources.partitions():
        tables = {
            name: table.filter(pc.is_in(table.column(key), value_set=numbers))
            for name, table in loaded.tables.items()
            if HEADER_OF.get(name) == header
        }
        if not any(table.num_rows for table in tables.values()):
            continue
        part = sources.map_partition(loaded, index)
        rows = [
            row for name, table in tables.items() for row in fates_of(sources, part, name, table)
        ]
        partition = sources.select_members(part, part.members_of(header, numbers))
        records = records_of(partition)
        resources = [
            explanation_of(sources, plan, part, records, resource)
            for plan, resource in _explain_all(sources, partition, records)
            if plan.table == header and resource.row.get(key) == subject.number
        ]
        rows += _past_rows(sources, subject)
        return Lineage(str(subject), tuple(rows), tuple(resources))
    past_rows = _past_rows(sources, subject)
    if past_rows:
        return Lineage(str(subject), past_rows, ())
    raise UsageError(f"no readable row of the extract has the number of {subject}")


def _past_rows(sources: LineageSources, subject: HeaderSubject) -> tuple[RowFate, ...]:
    """Return a header's rows that later extracts replaced or deleted."""
    positions = sources.positions
    if not isinstance(positions, LayerPlaces):
        return ()
    return tuple(positions.fates(positions.rows.of_header(subject.table, subject.number)))


def _explain_all(
    sources: LineageSources, partition: Partition, records: Records
) -> Iterator[tuple[Plan, ExplainedResource]]:
    """Yield every resource made from the rows of a partition, with its mapping."""
    environment, of_members = sources.providers.environment, partition.size("member") > 0
    for plan in sources.definitions.mappings.plans:
        if (plan.compartment is not None) == of_members:
            for resource in explain_resources(plan, records, environment):
                yield plan, resource


# A row


def _explain_row(sources: LineageSources, subject: RowSubject) -> Lineage:
    if isinstance(sources.positions, LayerPlaces):
        return _explain_layers(sources, sources.positions, subject)
    rows = sources.read.partitions
    if subject.file not in rows.facts.names:
        raise UsageError(
            f"the extract has no file {subject.file}; it has {', '.join(sorted(rows.facts.names))}"
        )
    number = rows.facts.names.index(subject.file)
    position = (number, subject.row)
    targets: dict[int, set[tuple[str, RowPosition]]] = {}
    for index, positions in sources.rows.rows_at(position).items():
        origins = sources.rows.origins(index)
        targets[index] = {(name, at) for at in positions for name in TABLES}
        targets[index] |= {row for at in positions for row in origins.rows_of(at)}
    if targets:
        return _explain_partitions(sources, subject, targets)
    if number >= len(rows.facts.files):
        raise UsageError(
            f"no query result comes from row {subject.row} of {subject.file} (the header is "
            "row 1). A query that combines rows passes on the position of only one of them. "
            "Trace the claim (claim:NUMBER) or prior authorization (prior-auth:NUMBER) instead"
        )
    ragged = rows.malformed_rows()
    if position in zip(
        *(ragged.column(name).to_pylist() for name in (FILE_COLUMN, ROW_COLUMN)), strict=True
    ):
        rule = sources.definitions.book[RAGGED_ROW]
        reason = Reason(rule.id, rule.says, is_cause=True)
        fate = RowFate(subject.file, subject.row, "*", "quarantined", (reason,))
        return Lineage(str(subject), (fate,), ())
    header = (
        "the header is row 1" if rows.facts.files[number].form.has_header else "without a header"
    )
    raise UsageError(
        f"{subject.file} has no row {subject.row} with cells: {header}, blank rows are counted, "
        f"and {rows.facts.rows_read[subject.file]:,} rows were read"
    )


def _explain_layers(sources: LineageSources, layers: LayerPlaces, subject: RowSubject) -> Lineage:
    """Return the lineage of a row if the release was made from several extracts."""
    layer_rows = layers.at(subject.file, subject.row)
    targets: dict[int, set[tuple[str, RowPosition]]] = {}
    for row in layer_rows:
        if row.merged is not None:
            file = sources.read.partitions.facts.names.index(merged_file(row.table))
            position = (file, row.merged)
            index = sources.rows.partition_of(position)
            if index is not None:
                targets.setdefault(index, set()).add((row.table, position))
    merged = _explain_partitions(sources, subject, targets)
    return replace(merged, rows=(*merged.rows, *layers.fates(iter(layer_rows))))


def _explain_partitions(
    sources: LineageSources,
    subject: RowSubject,
    targets: Mapping[int, Set[tuple[str, RowPosition]]],
) -> Lineage:
    """Return the lineage of canonical rows, given by partition, table and place."""
    parts = [_explain_rows(sources, subject, index, rows) for index, rows in targets.items()]
    return Lineage(
        str(subject),
        tuple(row for part in parts for row in part.rows),
        tuple(resource for part in parts for resource in part.resources),
    )


def _explain_rows(
    sources: LineageSources, subject: RowSubject, index: int, targets: Set[tuple[str, RowPosition]]
) -> Lineage:
    """Return the lineage of a partition's canonical rows, given by table and place."""
    rows = sources.read.partitions
    of_members = index < rows.facts.count
    mapped = sources.map_partition(rows.load(index), index) if of_members else sources.directory
    fates: list[RowFate] = []
    members: list[pa.Array] = []
    claim_ids: set[str] | None = set()
    for name in TABLES:
        table = mapped.loaded.tables.get(name)
        positions = [at for table_name, at in targets if table_name == name]
        if table is None or not positions:
            continue
        keys = place_keys([at[0] for at in positions], [at[1] for at in positions])
        selected = table.filter(pa.array(np.isin(table_places(table), keys)))
        fates += fates_of(sources, mapped, name, selected)
        # A row of a claim only contributes to that claim's resource; other rows may to any.
        if claim_ids is not None and _CLAIM_ID in selected.column_names:
            claim_ids |= set(selected.column(_CLAIM_ID).to_pylist())
        elif selected.num_rows:
            claim_ids = None
        if "member_id" in selected.column_names:
            members.append(selected.column("member_id").combine_chunks())
        elif name in HEADER_OF:
            ids = selected.column(KEYS[HEADER_OF[name]]).combine_chunks()
            members.append(mapped.members_of(HEADER_OF[name], ids))
    partition = mapped.partition
    if mapped.mapped is not None:
        owners = pc.unique(pa.concat_arrays([pa.array([], pa.string()), *members])).drop_null()
        partition = sources.select_members(mapped, owners)
    records = records_of(partition)
    names = {(name, *sources.positions.named(at)) for name, at in targets}
    resources = []
    for plan, resource in _explain_all(sources, partition, records):
        if claim_ids is not None and resource.row.get(_CLAIM_ID) not in claim_ids:
            continue
        explanation = explanation_of(sources, plan, mapped, records, resource)
        origins = tuple(
            origin
            for origin in explanation.origins
            if any(
                (cell.table, cell.extract, cell.file, cell.row) in names for cell in origin.cells
            )
        )
        if origins:
            resources.append(replace(explanation, origins=origins))
    return Lineage(str(subject), tuple(fates), tuple(resources))


def records_of(partition: Partition) -> Records:
    """Return the rows of every table, with derived columns and places as text."""
    records: dict[str, list[Record]] = {name: [] for name in TABLES}
    for name in TABLES:
        if not partition.size(name):
            continue
        columns = {
            column: partition.column(name, column).to_pylist() for column in columns_of(name)
        }
        for key in (FILE_COLUMN, ROW_COLUMN):
            columns[key] = partition.tables[name].column(key).cast(pa.string()).to_pylist()
        records[name] = [
            {column: texts[index] for column, texts in columns.items()}
            for index in range(partition.size(name))
        ]
    return Records(records)
