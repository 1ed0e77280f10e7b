"""Fates of rows: published, quarantined and why, or superseded."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import place_keys, table_places
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.lineage.mapped_rows import LineageSources, MappedPartition
from etl.reports.lineage import CellFinding, Fate, Reason, RowFate


def fates_of(
    sources: LineageSources, part: MappedPartition, name: str, table: pa.Table
) -> Iterator[RowFate]:
    """Yield the fates of some rows of a table, each of its places once."""
    book = sources.definitions.book
    rejected = part.checked.rejected
    ours = rejected.filter(pc.equal(rejected.column("table"), name))
    why = {(each["file"], each["row"]): each for each in ours.to_pylist()}
    accepted = set(table_places(part.checked.tables[name]).tolist())
    places = zip(
        *(table.column(column).to_pylist() for column in (FILE_COLUMN, ROW_COLUMN)), strict=True
    )
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
