"""Origins of the elements of a resource: the payer's cells and the mapping's lines behind each."""

from __future__ import annotations

from etl.errors import NotFound
from etl.mapping.plan import Plan
from etl.mapping.row_interpreter import (
    Cell,
    ExplainedElement,
    ExplainedResource,
    Made,
    Record,
    Records,
)
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN, TABLES
from etl.pipeline.lineage.mapped_rows import LineageSources, MappedPartition
from etl.publish.reader import Release
from etl.reports.lineage import AnswerOrigin, CellOrigin, Explanation, Origin


def explanation_of(
    sources: LineageSources,
    plan: Plan,
    part: MappedPartition,
    records: Records,
    resource: ExplainedResource,
    release: Release | None,
) -> Explanation:
    """Return the origins of a resource's elements.

    Args:
        sources: the extract.
        plan: the mapping that made the resource.
        part: the partition that its rows are in.
        records: its rows, as the mapping ran over them.
        resource: the resource.
        release: the release to compare it with; None to compare it with nothing.
    """
    made = resource.made
    return Explanation(
        resource=f"{plan.resource}/{made.id}",
        profile=plan.profile,
        mapping=plan.name,
        origins=tuple(_origin(sources, part, records, one) for one in resource.elements),
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


def _origin(
    sources: LineageSources, part: MappedPartition, records: Records, element: ExplainedElement
) -> Origin:
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


def _cell(
    sources: LineageSources, part: MappedPartition, records: Records, cell: Cell
) -> CellOrigin:
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
        same_place = all(line.get(name) == record.get(name) for name in (FILE_COLUMN, ROW_COLUMN))
        if same_place and line.get("rendering_provider_id") == record.get("provider_id"):
            return line
    return None
