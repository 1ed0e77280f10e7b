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
from etl.mapping.row_interpreter import ExplainedResource, Record, Records, explain_resources
from etl.mapping.rows import columns_of
from etl.model.canonical_tables import FILE_COLUMN, HEADER_OF, KEYS, ROW_COLUMN, TABLES
from etl.pipeline.context import RunContext
from etl.pipeline.deltas.merge import LayerRows
from etl.pipeline.lineage.mapped_rows import (
    LineageSources,
    MappedPartition,
    explanation_of,
    fates_of,
)
from etl.pipeline.lineage.row_places import ExtractRows, LayerPlaces
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
from etl.sources.convert.cell_origins import Place
from etl.sources.extract.opening import Extract
from etl.sources.layout.names import RAGGED_ROW

_CLAIM_ID: Final = "claim_id"


def require_same(extract: Extract, release: Release, name: str) -> None:
    """Check that a release was made from an extract.

    Raises:
        UsageError: it was made from other files.
    """
    ours = {(file.stored, file.sha256) for file in extract.named_files}
    theirs = {(str(one["name"]), str(one["sha256"])) for one in release.manifest.facts.inputs}
    different = sorted({file for file, _ in ours ^ theirs})
    if different:
        raise UsageError(
            f"{name} is not the extract that release {release.id} was made from: "
            f"{', '.join(different[:3])}{' …' if len(different) > 3 else ''} "
            f"{'differs' if len(different) == 1 else 'differ'}; use the folder of that "
            "run's extract"
        )


class Explainer:
    """Answers about one extract, which is read once.

    Args:
        context: of the run: the extract that the release was made from, and what it was made with.
        release: the release to compare with; None to compare with nothing.
        layers: the rows that the extract was merged from; None where it is the payer's own.
        extracts: number of a layer -> its extract, where that is at hand.
    """

    def __init__(
        self,
        context: RunContext,
        release: Release | None,
        layers: LayerRows | None = None,
        extracts: Mapping[int, ExtractRows] = MappingProxyType({}),
    ) -> None:
        rows = ExtractRows(read_rows(context))
        places: ExtractRows | LayerPlaces = rows
        if layers is not None:
            places = LayerPlaces(rows, layers, context.definitions.layouts, extracts)
        self._sources = LineageSources(context.definitions, rows, places, release)
        self._through: Through = "extract" if layers is None else "layers"

    def explain(self, subject: Subject) -> Lineage:
        """Return the origin of a resource, or the fates of the rows of a claim or
        prior authorization, or of a row.

        Raises:
            UsageError: the subject is not in the extract, or no mapping makes such a resource.
        """
        match subject:
            case ResourceSubject():
                resource = _of_resource(self._sources, subject)
                found = Lineage(str(subject), (), (resource,))
            case HeaderSubject():
                found = _of_header(self._sources, subject)
            case RowSubject():
                found = _of_row(self._sources, subject)
        return replace(found, through=self._through)


# A resource


def _of_resource(sources: LineageSources, subject: ResourceSubject) -> Explanation:
    mappings = sources.definitions.mappings.plans
    plans = tuple(plan for plan in mappings if plan.resource == subject.resource_type)
    if not plans:
        types = sorted({plan.resource for plan in mappings})
        raise UsageError(
            f"no mapping makes a {subject.resource_type}; the mappings make {', '.join(types)}"
        )
    pieces = _directory if plans[0].compartment is None else _members_with
    for part, partition in pieces(sources, plans, subject.logical_id):
        found = _explained(sources, plans, part, partition, subject.logical_id)
        if found is not None:
            return found
    raise UsageError(
        f"no accepted row of the extract makes {subject}; its row may be in quarantine, or may "
        "belong to another payer or id key: trace its claim (claim:NUMBER), its prior "
        "authorization (prior-auth:NUMBER) or its row (--row)"
    )


def _directory(
    sources: LineageSources, plans: Sequence[Plan], logical_id: str
) -> Iterator[tuple[MappedPartition, Partition]]:
    """Yield the directory's rows, and then those that claims name and that have no row."""
    part = sources.directory
    yield part, part.partition
    resource, environment = plans[0].resource, sources.providers.environment
    for index, loaded in sources.partitions():
        mapped = sources.part(loaded, index).mapped
        named: set[Mention] = set() if mapped is None else set(mapped.mentioned)
        ours = [
            mention
            for mention in named
            if mention.resource == resource
            and environment.logical_id(resource, mention.key) == logical_id
            and not sources.providers.holds(mention)
        ]
        if ours:
            tables = {name: table.slice(0, 0) for name, table in part.checked.tables.items()}
            yield part, Partition(with_stubs(tables, ours))
            return


def _members_with(
    sources: LineageSources, plans: Sequence[Plan], logical_id: str
) -> Iterator[tuple[MappedPartition, Partition]]:
    """Yield, for each member that the resource may belong to, the member's accepted rows."""
    environment = sources.providers.environment
    for index, loaded in sources.partitions():
        members = _members(loaded.tables, plans, environment, logical_id)
        if len(members):
            part = sources.part(loaded, index)
            yield part, sources.of_members(part, members)


def _members(
    tables: Mapping[str, pa.Table],
    plans: Sequence[Plan],
    environment: Environment,
    logical_id: str,
) -> pa.Array:
    """Return the members with rows that map to that id, before any rule is applied."""
    partition = Partition(tables)
    members = []
    for plan in plans:
        ids = Values(replace(plan, condition=True), partition, environment).text(plan.id, 0)
        at = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(ids, logical_id), False)))
        members.append(partition.column(plan.table, "member_id").take(pa.array(at)))
    return pc.unique(pa.concat_arrays(members)).drop_null()


def _explained(
    sources: LineageSources,
    plans: Sequence[Plan],
    part: MappedPartition,
    partition: Partition,
    logical_id: str,
) -> Explanation | None:
    records = records_of(partition)
    for plan in plans:
        for resource in explain_resources(plan, records, sources.providers.environment, logical_id):
            return explanation_of(sources, plan, part, records, resource)
    return None


# A claim, or a prior authorization


def _of_header(sources: LineageSources, subject: HeaderSubject) -> Lineage:
    header, key, wanted = subject.table, KEYS[subject.table], pa.array([subject.number])
    for index, loaded in sources.partitions():
        tables = {
            name: table.filter(pc.is_in(table.column(key), value_set=wanted))
            for name, table in loaded.tables.items()
            if HEADER_OF.get(name) == header
        }
        if not any(table.num_rows for table in tables.values()):
            continue
        part = sources.part(loaded, index)
        rows = [
            row for name, table in tables.items() for row in fates_of(sources, part, name, table)
        ]
        partition = sources.of_members(part, part.members_of(header, wanted))
        records = records_of(partition)
        resources = [
            explanation_of(sources, plan, part, records, found)
            for plan, found in _resources(sources, partition, records)
            if plan.table == header and found.row.get(key) == subject.number
        ]
        rows += _lost_rows(sources, subject)
        return Lineage(str(subject), tuple(rows), tuple(resources))
    lost = _lost_rows(sources, subject)
    if lost:
        return Lineage(str(subject), lost, ())
    raise UsageError(f"no readable row of the extract has the number of {subject}")


def _lost_rows(sources: LineageSources, subject: HeaderSubject) -> tuple[RowFate, ...]:
    """Return its rows that later extracts replaced or deleted."""
    places = sources.places
    if not isinstance(places, LayerPlaces):
        return ()
    return tuple(places.fates(places.rows.of_header(subject.table, subject.number)))


def _resources(
    sources: LineageSources, partition: Partition, records: Records
) -> Iterator[tuple[Plan, ExplainedResource]]:
    """Yield every resource that is made of some rows."""
    environment, of_members = sources.providers.environment, partition.size("member") > 0
    for plan in sources.definitions.mappings.plans:
        if (plan.compartment is not None) == of_members:
            for found in explain_resources(plan, records, environment):
                yield plan, found


# A row


def _of_row(sources: LineageSources, subject: RowSubject) -> Lineage:
    if isinstance(sources.places, LayerPlaces):
        return _of_layer_row(sources, sources.places, subject)
    rows = sources.read.partitions
    if subject.file not in rows.facts.names:
        raise UsageError(
            f"the extract has no file {subject.file}; it has {', '.join(sorted(rows.facts.names))}"
        )
    place = (rows.facts.names.index(subject.file), subject.row)
    went_into: dict[int, set[tuple[str, Place]]] = {}
    for index, places in sources.rows.rows_at(place).items():
        origins = sources.rows.origins(index)
        went_into[index] = {(name, there) for there in places for name in TABLES}
        went_into[index] |= {row for there in places for row in origins.rows_of(there)}
    if went_into:
        return _of_partitions(sources, subject, went_into)
    if place[0] >= len(rows.facts.files):
        raise UsageError(
            f"no query result comes from row {subject.row} of {subject.file} (the header is "
            "row 1). A query that combines rows passes on the position of only one of them. "
            "Trace the claim (claim:NUMBER) or prior authorization (prior-auth:NUMBER) instead"
        )
    ragged = rows.ragged_rows()
    if place in zip(
        *(ragged.column(name).to_pylist() for name in (FILE_COLUMN, ROW_COLUMN)), strict=True
    ):
        rule = sources.definitions.book[RAGGED_ROW]
        reason = Reason(rule.id, rule.says, is_cause=True)
        fate = RowFate(subject.file, subject.row, "*", "quarantined", (reason,))
        return Lineage(str(subject), (fate,), ())
    header = (
        "the header is row 1" if rows.facts.files[place[0]].form.has_header else "without a header"
    )
    raise UsageError(
        f"{subject.file} has no row {subject.row} with cells: {header}, blank rows are counted, "
        f"and {rows.facts.rows_read[subject.file]:,} rows were read"
    )


def _of_layer_row(sources: LineageSources, places: LayerPlaces, subject: RowSubject) -> Lineage:
    """Return the lineage of a row of one of several extracts."""
    found = places.at(subject.file, subject.row)
    went_into: dict[int, set[tuple[str, Place]]] = {}
    for row in found:
        if row.merged is not None:
            name = f"{row.table}.parquet"
            place = (sources.read.partitions.facts.names.index(name), row.merged)
            index = sources.rows.partition_of(place)
            if index is not None:
                went_into.setdefault(index, set()).add((row.table, place))
    merged = _of_partitions(sources, subject, went_into)
    return replace(merged, rows=(*merged.rows, *places.fates(iter(found))))


def _of_partitions(
    sources: LineageSources,
    subject: RowSubject,
    went_into: Mapping[int, Set[tuple[str, Place]]],
) -> Lineage:
    """Return the lineage of some canonical rows, given by partition, table and place."""
    parts = [_of_canonical_rows(sources, subject, index, rows) for index, rows in went_into.items()]
    return Lineage(
        str(subject),
        tuple(row for part in parts for row in part.rows),
        tuple(resource for part in parts for resource in part.resources),
    )


def _of_canonical_rows(
    sources: LineageSources,
    subject: RowSubject,
    index: int,
    went_into: Set[tuple[str, Place]],
) -> Lineage:
    """Return the lineage of some canonical rows of a partition, given by table and place."""
    rows = sources.read.partitions
    is_directory = index == rows.facts.count
    part = sources.directory if is_directory else sources.part(rows.load(index), index)
    fates: list[RowFate] = []
    members: list[pa.Array] = []
    claims: set[str] | None = set()
    for name in TABLES:
        table = part.loaded.tables.get(name)
        places = [to for of, to in went_into if of == name]
        if table is None or not places:
            continue
        wanted = place_keys([to[0] for to in places], [to[1] for to in places])
        ours = table.filter(pa.array(np.isin(table_places(table), wanted)))
        fates += fates_of(sources, part, name, ours)
        # A row of a claim has a part in that claim's resource alone; any other may in all.
        if claims is not None and _CLAIM_ID in ours.column_names:
            claims |= set(ours.column(_CLAIM_ID).to_pylist())
        elif ours.num_rows:
            claims = None
        if "member_id" in ours.column_names:
            members.append(ours.column("member_id").combine_chunks())
        elif name in HEADER_OF:
            ids = ours.column(KEYS[HEADER_OF[name]]).combine_chunks()
            members.append(part.members_of(HEADER_OF[name], ids))
    partition = part.partition
    if part.mapped is not None:
        owners = pc.unique(pa.concat_arrays([pa.array([], pa.string()), *members])).drop_null()
        partition = sources.of_members(part, owners)
    records = records_of(partition)
    touched = {(name, *sources.places.named(to)) for name, to in went_into}
    resources = []
    for plan, found in _resources(sources, partition, records):
        if claims is not None and found.row.get(_CLAIM_ID) not in claims:
            continue
        whole = explanation_of(sources, plan, part, records, found)
        parts = tuple(
            origin
            for origin in whole.origins
            if any(
                (cell.table, cell.extract, cell.file, cell.row) in touched for cell in origin.cells
            )
        )
        if parts:
            resources.append(replace(whole, origins=parts))
    return Lineage(str(subject), tuple(fates), tuple(resources))


def records_of(partition: Partition) -> Records:
    """Return the rows of every table: derived columns included, places as text."""
    records: dict[str, list[Record]] = {}
    for name in TABLES:
        columns = {
            column: partition.column(name, column).to_pylist() for column in columns_of(name)
        }
        if partition.size(name):
            for place in (FILE_COLUMN, ROW_COLUMN):
                columns[place] = partition.tables[name].column(place).cast(pa.string()).to_pylist()
        records[name] = [
            {column: texts[index] for column, texts in columns.items()}
            for index in range(partition.size(name))
        ]
    return Records(records)
