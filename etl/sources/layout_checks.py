"""Checks of a layout as a whole: keys agree, and nothing that is used is called unused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from etl.errors import MappingError, Mistakes
from etl.model.canonical_tables import CLAIM_TABLES, MEMBERLESS, TABLES
from etl.sources.layout import Layout, RawTable, TableSpec
from etl.sources.layout_columns import ColumnSpec, FromColumn

Where = Callable[[str], str]
_KEYS: Final = {
    "member": {"member": "member_id"},
    "member_address": {"member": "member_id"},
    "member_telecom": {"member": "member_id"},
    "coverage": {"member": "member_id", "coverage": "coverage_id"},
    "claim": {"member": "member_id", "claim": "claim_id"},
    **{table: {"claim": "claim_id"} for table in CLAIM_TABLES},
}
"""Canonical table -> what its raw file must declare -> the canonical column it must agree with."""


def check_layout(layout: Layout, raw_at: Where, table_at: Where) -> None:
    """Refuse a layout that cannot work.

    Args:
        layout: the layout.
        raw_at: where a raw file is declared, for messages.
        table_at: where a canonical table is declared.

    Raises:
        MappingError: `layout-required`, `layout-keys`, `layout-unaccounted`.
    """
    mistakes = Mistakes()
    fed = {spec.table for spec in layout.tables}
    for table in layout.model.tables.values():
        if table.compulsory and table.name not in fed:
            what = f"nothing feeds the compulsory table {table.name}"
            mistakes.add(MappingError(layout.file, "layout-required", what))
    for spec in layout.tables:
        for error in (
            *_missing_columns(spec, table_at(spec.table)),
            *_wrong_keys(spec, layout.raw[spec.source], table_at(spec.table)),
            *_wrong_lookups(spec, layout, table_at(spec.table)),
        ):
            mistakes.add(error)
    for raw in layout.raw.values():
        for error in _wrong_records(layout, raw, raw_at(raw.name)):
            mistakes.add(error)
        for error in _wrongly_unused(layout, raw, raw_at(raw.name)):
            mistakes.add(error)
    mistakes.report()


def _missing_columns(spec: TableSpec, where: str) -> Iterator[MappingError]:
    for entry in spec.rows or ({},):
        for name in TABLES[spec.table].required:
            if name not in spec.columns and name not in entry:
                yield MappingError(
                    where, "layout-required", f"{spec.table} is not given its column {name}"
                )


def _wrong_keys(spec: TableSpec, raw: RawTable, where: str) -> Iterator[MappingError]:
    """Yield keys that are not the raw cells, unchanged, by which rows are partitioned."""
    for role, column in _KEYS.get(spec.table, {}).items():
        header = {"member": raw.member, "claim": raw.claim, "coverage": raw.coverage}[role]
        if header is None:
            yield MappingError(
                where, "layout-keys", f"{raw.name} feeds {spec.table}, so it must declare {role}"
            )
        elif spec.columns.get(column) != ColumnSpec(FromColumn(header)):
            yield MappingError(
                where,
                "layout-keys",
                f"{column} must be {header!r}, the {role} of {raw.name}, without any conversion",
            )


def _wrong_lookups(spec: TableSpec, layout: Layout, where: str) -> Iterator[MappingError]:
    """Yield lookups of a table without members in files of members."""
    for name in sorted(spec.looked_up()):
        if spec.table in MEMBERLESS and layout.raw[name].ids:
            what = f"{spec.table} belongs to no member, so it cannot look up {name}, whose rows do"
            yield MappingError(where, "layout-keys", what)


def _wrong_records(layout: Layout, raw: RawTable, where: str) -> Iterator[MappingError]:
    """Yield records of one file that cannot be distinguished."""
    if raw.lines is None:
        return
    beside = [
        other
        for other in layout.raw.values()
        if other.name != raw.name and set(other.named) & set(raw.named)
    ]
    if beside and not raw.lines.record:
        what = f"{raw.name} and {beside[0].name} are in the same files, so record must tell them"
        yield MappingError(where, "layout-key", f"{what} apart")
    if beside and raw.has_header and any(one.has_header for one in beside if one.lines):
        what = "one type of record at most has the headers; of the others say header: false"
        yield MappingError(where, "layout-key", what)


def _wrongly_unused(layout: Layout, raw: RawTable, where: str) -> Iterator[MappingError]:
    used = {header for header in (raw.member, raw.claim, raw.coverage) if header is not None}
    for made in raw.cells.made.values():
        used |= made.headers()
    for condition in raw.lines.record if raw.lines else ():
        used.update(condition.columns)
    for spec in layout.tables:
        if spec.source == raw.name:
            used |= spec.headers()
        for columns in (spec.columns, *spec.rows):
            for column in columns.values():
                used |= {header for table, header in column.foreign() if table == raw.name}
    for header in raw.names:
        if header in used and header in raw.unused:
            yield MappingError(
                where, "layout-unaccounted", f"{header!r} of {raw.name} is used and called unused"
            )
