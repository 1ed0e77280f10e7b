"""Lineage of resources, claims and rows: from the payer's cells to elements, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import place_keys, table_places
from etl.engine.evaluate import Values
from etl.engine.partition_columns import Partition
from etl.engine.row_records import records_of
from etl.engine.unmapped import Mention
from etl.errors import NotFound, UsageError
from etl.mapping.environment import Environment
from etl.mapping.plan import Plan
from etl.mapping.row_interpreter import (
    Cell,
    ExplainedElement,
    ExplainedResource,
    Made,
    Record,
    Records,
    explained,
)
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.pipeline.context import RunContext
from etl.pipeline.definitions import Definitions
from etl.pipeline.deltas.layer_rows import LayerRows
from etl.pipeline.executor import Read
from etl.pipeline.partition.check_and_map import PartitionContext, check_and_map
from etl.pipeline.partition.mapping import Mapped
from etl.pipeline.partition.providers import (
    Providers,
    decided_directory,
    providers_of,
    with_stubs,
)
from etl.pipeline.read import read as read_rows
from etl.pipeline.row_places import ExtractPlaces, ExtractRows, LayerPlaces, RowPlaces
from etl.publish.reader import Release
from etl.quality import Checked, check_totals
from etl.reports.lineage import (
    CLAIM_SUBJECT,
    AnswerOrigin,
    CellFinding,
    CellOrigin,
    Explanation,
    Fate,
    Lineage,
    Origin,
    Reason,
    RowFate,
    Through,
)
from etl.sources import Extract, Loaded
from etl.sources.cell_origins import PartitionOrigins, Place
from etl.sources.rule_ids import RAGGED_ROW

_CLAIM_ID: Final = "claim_id"
_PLACES: Final = (FILE_COLUMN, ROW_COLUMN)


@dataclass(frozen=True, slots=True)
class ResourceSubject:
    """A resource, by FHIR type and logical id."""

    resource_type: str
    logical_id: str

    def __str__(self) -> str:
        return f"{self.resource_type}/{self.logical_id}"


@dataclass(frozen=True, slots=True)
class ClaimSubject:
    """A claim, by the payer's number of it."""

    number: str

    def __str__(self) -> str:
        return f"{CLAIM_SUBJECT}{self.number}"


@dataclass(frozen=True, slots=True)
class RowSubject:
    """A row of a file of the extract; the header is row 1."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


Subject: TypeAlias = ResourceSubject | ClaimSubject | RowSubject


def require_same(extract: Extract, release: Release, name: str) -> None:
    """Check that a release was made of an extract.

    Raises:
        UsageError: it was made of other files.
    """
    ours = {file.stored: file.sha256 for file in extract.files}
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


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a release.

    Attributes:
        rows: the rows of all of them.
        extracts: number of a layer -> its extract, where that is at hand.
    """

    rows: LayerRows
    extracts: Mapping[int, ExtractRows]


class Explainer:
    """Answers about one extract, which is read once.

    Args:
        context: of the run: the extract that the release was made of, and what it was made with.
        release: the release to compare with; None to compare with nothing.
        layers: the layers that the extract was merged from; None where it is the payer's own.
    """

    def __init__(
        self, context: RunContext, release: Release | None, layers: Layers | None = None
    ) -> None:
        rows = ExtractRows(read_rows(context))
        places: RowPlaces = ExtractPlaces(rows)
        if layers is not None:
            places = LayerPlaces(rows, layers.rows, context.definitions.layouts, layers.extracts)
        self._sources = _Sources(context.definitions, rows, places)
        self._through: Through = "extract" if layers is None else "layers"
        self._release = release

    def explain(self, subject: Subject) -> Lineage:
        """Return the origin of a resource, or the fate of a claim or of a row.

        Raises:
            UsageError: the subject is not in the extract, or no mapping makes such a resource.
        """
        match subject:
            case ResourceSubject():
                resource = _of_resource(self._sources, subject, self._release)
                found = Lineage(str(subject), (), (resource,))
            case ClaimSubject():
                found = _of_claim(self._sources, subject, self._release)
            case RowSubject():
                found = _of_row(self._sources, subject, self._release)
        return replace(found, through=self._through)


@dataclass(frozen=True)
class _Part:
    """One partition, or the directory: its rows checked and mapped.

    Attributes:
        loaded: its rows.
        checked: the result of the rules.
        mapped: what was made of the accepted ones; None for the directory.
        partition: the accepted rows as mappings run over them.
        origins: the way back to the cells of the files.
    """

    loaded: Loaded
    checked: Checked
    mapped: Mapped | None
    partition: Partition
    origins: PartitionOrigins

    @cached_property
    def findings(self) -> Mapping[tuple[str, Place], tuple[tuple[str, str], ...]]:
        """Table and place of a row -> rules that found something in it, with the column or ""."""
        found: dict[tuple[str, Place], dict[tuple[str, str], None]] = {}
        for each in self.checked.findings.to_pylist():
            if each["row"] is not None:
                place = (each["file"], each["row"])
                rules = found.setdefault((each["table"], place), {})
                rules[each["rule"], each["column"] or ""] = None
        return {row: tuple(rules) for row, rules in found.items()}

    def members_of(self, claims: pa.Array) -> pa.Array:
        """Return the members of some claims."""
        table = self.loaded.tables["claim"]
        ours = table.filter(pc.is_in(table.column(_CLAIM_ID), value_set=claims))
        return pc.unique(ours.column("member_id")).drop_null()


@dataclass(frozen=True)
class _Sources:
    """The extract with what it was published with."""

    definitions: Definitions
    rows: ExtractRows
    places: RowPlaces
    _last: dict[int, _Part] = field(default_factory=dict)

    @property
    def read(self) -> Read:
        return self.rows.read

    @cached_property
    def directory(self) -> _Part:
        loaded = self.read.partitions.directory()
        decided = decided_directory(loaded, self.definitions, as_of=self.read.as_of)
        checked = check_totals(decided)
        tables = providers_of(checked.tables, self.definitions).tables
        origins = self.rows.origins(self.read.partitions.facts.count)
        return _Part(loaded, checked, None, Partition(tables), origins)

    @cached_property
    def providers(self) -> Providers:
        return providers_of(self.directory.checked.tables, self.definitions)

    def part(self, loaded: Loaded, index: int) -> _Part:
        """Return a partition, checked and mapped; the last one is kept."""
        if index not in self._last:
            self._last.clear()
            self._last[index] = self._checked(loaded, index)
        return self._last[index]

    def _checked(self, loaded: Loaded, index: int) -> _Part:
        context = PartitionContext(self.definitions, self.providers, self.read.as_of)
        _, checked, mapped = check_and_map(context, loaded, self.read.partitions.keys)
        return _Part(loaded, checked, mapped, mapped.made[0].partition, self.rows.origins(index))

    def partitions(self) -> Iterator[tuple[int, Loaded]]:
        for index in range(self.read.partitions.facts.count):
            yield index, self.read.partitions.load(index)

    def of_members(self, part: _Part, members: pa.Array) -> Partition:
        """Return the accepted rows of some members, and the directory's."""
        tables = part.partition.tables
        own = _of_members(tables, members)
        ids = own["claim"].column(_CLAIM_ID).combine_chunks()
        keep = np.asarray(pc.is_in(tables["claim"].column(_CLAIM_ID), value_set=ids))
        chains = part.partition.chains
        return Partition(
            {**own, **self.providers.tables}, None if chains is None else chains.only(keep)
        )


# A resource


def _of_resource(
    sources: _Sources, subject: ResourceSubject, release: Release | None
) -> Explanation:
    mappings = sources.definitions.mappings.plans
    plans = tuple(plan for plan in mappings if plan.resource == subject.resource_type)
    if not plans:
        types = sorted({plan.resource for plan in mappings})
        raise UsageError(
            f"no mapping makes a {subject.resource_type}; they make {', '.join(types)}"
        )
    pieces = _directory if plans[0].compartment is None else _members_with
    for part, partition in pieces(sources, plans, subject.logical_id):
        found = _explained(sources, plans, part, partition, subject.logical_id, release)
        if found is not None:
            return found
    raise UsageError(
        f"no accepted row of the extract makes {subject}; its row may be in quarantine, or may "
        "belong to another payer or id key: ask about its claim (claim:NUMBER) or its row (--row)"
    )


def _directory(
    sources: _Sources, plans: Sequence[Plan], logical_id: str
) -> Iterator[tuple[_Part, Partition]]:
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
    sources: _Sources, plans: Sequence[Plan], logical_id: str
) -> Iterator[tuple[_Part, Partition]]:
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
    claims = own["claim"].column(_CLAIM_ID).combine_chunks()
    for name, table in tables.items():
        if name not in own and _CLAIM_ID in table.column_names:
            own[name] = table.filter(pc.is_in(table.column(_CLAIM_ID), value_set=claims))
    return own


def _explained(
    sources: _Sources,
    plans: Sequence[Plan],
    part: _Part,
    partition: Partition,
    logical_id: str,
    release: Release | None,
) -> Explanation | None:
    records = records_of(partition)
    for plan in plans:
        for found in explained(plan, records, sources.providers.environment, logical_id):
            return _explanation(sources, plan, part, records, found, release)
    return None


def _explanation(
    sources: _Sources,
    plan: Plan,
    part: _Part,
    records: Records,
    found: ExplainedResource,
    release: Release | None,
) -> Explanation:
    made = found.made
    return Explanation(
        resource=f"{plan.resource}/{made.id}",
        profile=plan.profile,
        mapping=plan.name,
        origins=tuple(_origin(sources, part, records, one) for one in found.elements),
        agrees=None if release is None else _agrees(release, plan, made),
    )


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


# A claim


def _of_claim(sources: _Sources, subject: ClaimSubject, release: Release | None) -> Lineage:
    wanted = pa.array([subject.number])
    for index, loaded in sources.partitions():
        tables = {
            name: table.filter(pc.is_in(table.column(_CLAIM_ID), value_set=wanted))
            for name, table in loaded.tables.items()
            if _CLAIM_ID in table.column_names
        }
        if not any(table.num_rows for table in tables.values()):
            continue
        part = sources.part(loaded, index)
        rows = [row for name, table in tables.items() for row in _fates(sources, part, name, table)]
        partition = sources.of_members(part, part.members_of(wanted))
        records = records_of(partition)
        resources = [
            _explanation(sources, plan, part, records, found, release)
            for plan, found in _resources(sources, partition, records)
            if plan.table == "claim" and found.row.get(_CLAIM_ID) == subject.number
        ]
        rows += _lost_rows(sources, subject)
        return Lineage(str(subject), tuple(rows), tuple(resources))
    lost = _lost_rows(sources, subject)
    if lost:
        return Lineage(str(subject), lost, ())
    raise UsageError(f"no row of the extract that can be read has the claim number of {subject}")


def _lost_rows(sources: _Sources, subject: ClaimSubject) -> tuple[RowFate, ...]:
    """Return the rows of a claim that later extracts replaced or deleted."""
    places = sources.places
    if not isinstance(places, LayerPlaces):
        return ()
    return tuple(places.fates(places.rows.of_claim(subject.number)))


def _resources(
    sources: _Sources, partition: Partition, records: Records
) -> Iterator[tuple[Plan, ExplainedResource]]:
    """Yield every resource that is made of some rows."""
    environment, of_members = sources.providers.environment, partition.size("member") > 0
    for plan in sources.definitions.mappings.plans:
        if (plan.compartment is not None) == of_members:
            for found in explained(plan, records, environment):
                yield plan, found


# A row


def _of_row(sources: _Sources, subject: RowSubject, release: Release | None) -> Lineage:
    if isinstance(sources.places, LayerPlaces):
        return _of_layer_row(sources, sources.places, subject, release)
    rows = sources.read.partitions
    if subject.file not in rows.facts.names:
        raise UsageError(
            f"the extract has no file {subject.file}; it has {', '.join(sorted(rows.facts.names))}"
        )
    place = (rows.facts.names.index(subject.file), subject.row)
    index = sources.rows.partition_of(place)
    if index is not None:
        went_into = set(sources.rows.origins(index).rows_of(place))
        went_into |= {(name, place) for name in TABLES}
        return _of_canonical_rows(sources, subject, index, went_into, release)
    ragged = rows.ragged_rows()
    if place in zip(*(ragged.column(name).to_pylist() for name in _PLACES), strict=True):
        rule = sources.definitions.book[RAGGED_ROW]
        reason = Reason(rule.id, rule.says, is_cause=True)
        fate = RowFate(subject.file, subject.row, "*", "quarantined", (reason,))
        return Lineage(str(subject), (fate,), ())
    header = "the header is row 1" if rows.facts.files[place[0]].has_header else "without a header"
    raise UsageError(
        f"{subject.file} has no row {subject.row} with cells: {header}, blank rows count, and "
        f"{rows.facts.rows_read[subject.file]:,} rows were read"
    )


def _of_layer_row(
    sources: _Sources, places: LayerPlaces, subject: RowSubject, release: Release | None
) -> Lineage:
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
    parts = [
        _of_canonical_rows(sources, subject, index, rows, release)
        for index, rows in went_into.items()
    ]
    lost = tuple(places.fates(iter(found)))
    return Lineage(
        str(subject),
        (*(row for part in parts for row in part.rows), *lost),
        tuple(resource for part in parts for resource in part.resources),
    )


def _of_canonical_rows(
    sources: _Sources,
    subject: RowSubject,
    index: int,
    went_into: Set[tuple[str, Place]],
    release: Release | None,
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
        fates += _fates(sources, part, name, ours)
        # A row of a claim has a part in that claim's resource alone; any other may in all.
        if claims is not None and _CLAIM_ID in ours.column_names:
            claims |= set(ours.column(_CLAIM_ID).to_pylist())
        elif ours.num_rows:
            claims = None
        if "member_id" in ours.column_names:
            members.append(ours.column("member_id").combine_chunks())
        elif _CLAIM_ID in ours.column_names:
            members.append(part.members_of(ours.column(_CLAIM_ID).combine_chunks()))
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
        whole = _explanation(sources, plan, part, records, found, release)
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


def _fates(sources: _Sources, part: _Part, name: str, table: pa.Table) -> Iterator[RowFate]:
    """Yield the fates of some rows of a table, each of its places once."""
    book = sources.definitions.book
    rejected = part.checked.rejected
    ours = rejected.filter(pc.equal(rejected.column("table"), name))
    why = {(each["file"], each["row"]): each for each in ours.to_pylist()}
    accepted = set(table_places(part.checked.tables[name]).tolist())
    places = zip(*(table.column(column).to_pylist() for column in _PLACES), strict=True)
    for place in dict.fromkeys(places):
        fate: Fate = "superseded"
        reasons: tuple[Reason, ...] = ()
        each = why.get(place)
        if each is not None:
            fate, cause = "quarantined", each["cause"]
            rules = dict.fromkeys(rule for rule in (*each["rules"].split(";"), cause) if rule)
            reasons = tuple(Reason(rule, book[rule].says, rule == cause) for rule in rules)
        elif int(place_keys([place[0]], [place[1]])[0]) in accepted:
            fate = "published"
        findings = tuple(
            CellFinding(rule, column, book[rule].says)
            for rule, column in part.findings.get((name, place), ())
        )
        extract, file, row = sources.places.named(place)
        yield RowFate(file, row, name, fate, reasons, findings, extract)


# Elements and cells


def _origin(sources: _Sources, part: _Part, records: Records, element: ExplainedElement) -> Origin:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in element.path]
    cells = dict.fromkeys(_cell(sources, part, records, cell) for cell in element.cells)
    answers = dict.fromkeys(
        AnswerOrigin(answer.crosswalk, answer.word, answer.answer, answer.place)
        for answer in element.answers
    )
    return Origin(
        "".join(steps).lstrip("."),
        element.json,
        str(element.place),
        element.place.map_ids,
        tuple(cells),
        tuple(answers),
    )


def _cell(sources: _Sources, part: _Part, records: Records, cell: Cell) -> CellOrigin:
    table, column, record = cell.table, cell.column, cell.row
    derived = table in TABLES and TABLES[table].column(column) is None
    if record.get(FILE_COLUMN) is None:
        return CellOrigin(None, None, table, column, derived, cell.value)
    place = (int(record[FILE_COLUMN] or 0), int(record[ROW_COLUMN] or 0))
    extract, file, row = sources.places.named(place)
    if derived or table not in TABLES:
        return CellOrigin(file, row, table, column, derived, cell.value, extract=extract)
    origin = part.origins.of(table, record, column)
    lender = None if origin.place or origin.cells else _lender(records, table, record)
    if lender is not None:  # a member of the care team that a line names
        if column != "provider_id":
            return CellOrigin(file, row, table, column, True, cell.value, extract=extract)
        table, column, record = "claim_line", "rendering_provider_id", lender
        origin = part.origins.of(table, record, column)
    payer = sources.places.cells(record, origin, (table, column))
    return CellOrigin(
        file=file,
        row=row,
        table=table,
        column=column,
        derived=False,
        value=cell.value,
        layout=payer.layout,
        source=payer.cells,
        rules=tuple(
            rule for rule, where in part.findings.get((table, place), ()) if where == column
        ),
        extract=extract,
    )


def _lender(records: Records, table: str, record: Record) -> Record | None:
    """Return the line that lends the care team a member; None where no line does."""
    if table != "claim_care_team":
        return None
    for line in records.tables.get("claim_line", ()):
        same_place = all(line.get(name) == record.get(name) for name in _PLACES)
        if same_place and line.get("rendering_provider_id") == record.get("provider_id"):
            return line
    return None
