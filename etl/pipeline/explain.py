"""Origins of each element of a published resource: file, row, column, line of the mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.engine.evaluate import Values
from etl.engine.partition_columns import Partition
from etl.engine.row_records import records_of
from etl.errors import NotFound, UsageError
from etl.mapping.environment import Environment
from etl.mapping.plan import Place, Plan
from etl.mapping.row_interpreter import Cell, ExplainedElement, Made, explained
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.pipeline.context import RunContext
from etl.pipeline.definitions import Definitions
from etl.pipeline.executor import Read
from etl.pipeline.partition.claims import ClaimRules
from etl.pipeline.partition.providers import Providers, decided_directory, providers_of
from etl.pipeline.read import read as read_rows
from etl.publish.reader import Release
from etl.quality import RuleContext, check_rows
from etl.sources import Extract


@dataclass(frozen=True, slots=True)
class CellOrigin:
    """One cell of the input.

    Attributes:
        file: the file's name; None for a row that stands in no file.
        row: its row in the file, of which the header is row 1; None likewise.
        table: canonical table.
        column: canonical column.
        derived: whether the column is worked out from others; docs/mapping.md says how.
        value: its text. A member's data: for the eyes of whoever may see the resource.
    """

    file: str | None
    row: int | None
    table: str
    column: str
    derived: bool
    value: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of one element.

    Attributes:
        path: FHIR path with positions, without the resource's type: `item[0].net.value`.
        json: the value as it is published.
        place: file and line of the mapping.
        map_ids: MapIDs that the line cites.
        cells: the cells that it was made of or that decided on it; none for a constant.
    """

    path: str
    json: str
    place: str
    map_ids: tuple[int, ...]
    cells: tuple[CellOrigin, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Origins of the elements of a resource.

    Attributes:
        resource: `Type/id`.
        profile: canonical of its profile, with its version.
        mapping: name of the mapping that makes it.
        origins: its elements in order, `id` and `meta` left out.
        agrees: whether the resource that is published now holds just this; None where no release
            was looked at.
    """

    resource: str
    profile: str
    mapping: str
    origins: tuple[Origin, ...]
    agrees: bool | None


def require_same(extract: Extract, release: Release, name: str) -> None:
    """Check that a release was made of an extract.

    Raises:
        UsageError: it was made of other files.
    """
    ours = {file.name: file.sha256 for file in extract.files}
    theirs = {str(one["name"]): str(one["sha256"]) for one in release.manifest.facts.inputs}
    different = sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )
    if different:
        raise UsageError(
            f"{name} is not the extract that release {release.id} was made of: "
            f"{', '.join(different[:3])}{' …' if len(different) > 3 else ''} "
            f"{'differs' if len(different) == 1 else 'differ'}; name the folder of that night"
        )


def explain(
    context: RunContext, resource_type: str, logical_id: str, release: Release | None
) -> Explanation:
    """Return where a resource came from.

    Args:
        context: of the run: the extract that the resource was made of, and what it was made with.
        resource_type: FHIR type.
        logical_id: its id.
        release: the release to compare with; None to compare with nothing.

    Raises:
        UsageError: no mapping makes such a resource, or no accepted row of the extract.
    """
    definitions, read = context.definitions, read_rows(context)
    plans = tuple(plan for plan in definitions.mappings.plans if plan.resource == resource_type)
    if not plans:
        types = sorted({plan.resource for plan in definitions.mappings.plans})
        raise UsageError(f"no mapping makes a {resource_type}; they make {', '.join(types)}")
    directory = decided_directory(read.partitions.directory(), definitions, as_of=read.as_of)
    providers = providers_of(directory.accepted, definitions)
    if plans[0].compartment is None:
        tables = _pieces_of_directory(providers)
    else:
        tables = _pieces(read, definitions, providers, plans, logical_id)
    for accepted in tables:
        found = _found(plans, accepted, providers.environment, logical_id)
        if found is not None:
            plan, made, elements = found
            return Explanation(
                resource=f"{resource_type}/{logical_id}",
                profile=plan.profile,
                mapping=plan.name,
                origins=tuple(_origin(one, read.partitions.facts.names) for one in elements),
                agrees=None if release is None else _agrees(release, plan, made),
            )
    raise UsageError(
        f"no accepted row of the extract makes {resource_type}/{logical_id}; its row may be in "
        "quarantine, may belong to another payer or id key, or (in the directory) there may be "
        "only an id that claims name"
    )


def _pieces_of_directory(providers: Providers) -> Iterator[Partition]:
    yield Partition(providers.tables)


def _pieces(
    read: Read,
    definitions: Definitions,
    providers: Providers,
    plans: Sequence[Plan],
    logical_id: str,
) -> Iterator[Partition]:
    """Yield, for each member that the resource may belong to, the member's accepted rows."""
    context = RuleContext(definitions.book, read.partitions.keys, providers.known, read.as_of)
    claim_rules = ClaimRules.of(definitions)
    for index in range(read.partitions.facts.count):
        loaded = read.partitions.load(index)
        members = _members(loaded.tables, plans, providers.environment, logical_id)
        if not len(members):
            continue
        claims = claim_rules.settle(
            check_rows(loaded.tables, loaded.findings, context, loaded.unread)
        )
        accepted = claims.decided.accepted
        own = _of_members(accepted, members)
        ids = own["claim"].column("claim_id").combine_chunks()
        keep = np.asarray(pc.is_in(accepted["claim"].column("claim_id"), value_set=ids))
        yield claims.partition({**own, **providers.tables}, providers.environment, keep)


def _members(
    tables: Mapping[str, pa.Table],
    plans: Sequence[Plan],
    environment: Environment,
    logical_id: str,
) -> pa.Array:
    """Return the members whose rows come out with that id, before any rule was asked."""
    partition = Partition(tables)
    found = []
    for plan in plans:
        ids = Values(replace(plan, condition=None), partition, environment).text(plan.id, 0)
        at = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(ids, logical_id), False)))
        found.append(partition.column(plan.table, "member_id").take(pa.array(at)))
    return pc.unique(pa.concat_arrays(found)).drop_null()


def _of_members(tables: Mapping[str, pa.Table], members: pa.Array) -> dict[str, pa.Table]:
    own = {
        name: table.filter(pc.is_in(table.column("member_id"), value_set=members))
        for name, table in tables.items()
        if "member_id" in table.column_names
    }
    claims = own["claim"].column("claim_id").combine_chunks()
    for name, table in tables.items():
        if name not in own and "claim_id" in table.column_names:
            own[name] = table.filter(pc.is_in(table.column("claim_id"), value_set=claims))
    return own


def _found(
    plans: Sequence[Plan], partition: Partition, environment: Environment, logical_id: str
) -> tuple[Plan, Made, tuple[ExplainedElement, ...]] | None:
    records = records_of(partition)
    for plan in plans:
        made = explained(plan, records, environment, logical_id)
        if made is not None:
            return plan, *made
    return None


def _agrees(release: Release, plan: Plan, made: Made) -> bool:
    """Return whether the published resource ends as this one does: after `meta`'s stamps."""
    try:
        if made.compartment is None:
            line = release.directory_resource(plan.resource, made.id)
        else:
            line = release.patient_resource(made.compartment, plan.resource, made.id)
    except NotFound:
        return False
    return line.endswith(made.body.encode())


def _origin(element: ExplainedElement, files: Sequence[str]) -> Origin:
    steps = [f"[{one}]" if isinstance(one, int) else f".{one}" for one in element.path]
    cells = dict.fromkeys(_cell(one, files) for one in element.cells)
    place: Place = element.place
    return Origin("".join(steps).lstrip("."), element.json, str(place), place.map_ids, tuple(cells))


def _cell(cell: Cell, files: Sequence[str]) -> CellOrigin:
    file, row = cell.row.get(FILE_COLUMN), cell.row.get(ROW_COLUMN)
    return CellOrigin(
        file=None if file is None else files[int(file)],
        row=None if row is None else int(row),
        table=cell.table,
        column=cell.column,
        derived=cell.table in TABLES and TABLES[cell.table].column(cell.column) is None,
        value=cell.value,
    )
