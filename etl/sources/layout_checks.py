"""What must hold for a layout as a whole: keys fit together, every header is accounted for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from etl.errors import MappingError
from etl.model.tables import CLAIM_TABLES, TABLES
from etl.sources.layout import ColumnSpec, FromColumn, Layout, RawTable, TableSpec

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
    """Refuse a layout that cannot work or that leaves a header unmentioned.

    Args:
        layout: the layout.
        raw_at: where a raw file is declared, for messages.
        table_at: where a canonical table is declared.

    Raises:
        MappingError: `layout-required`, `layout-keys`, `layout-unaccounted`.
    """
    fed = {spec.table for spec in layout.tables}
    for table in TABLES.values():
        if table.compulsory and table.name not in fed:
            raise MappingError(
                layout.file, "layout-required", f"nothing feeds the compulsory table {table.name}"
            )
    for spec in layout.tables:
        _check_required(spec, table_at(spec.table))
        _check_keys(spec, layout.raw[spec.source], table_at(spec.table))
    for raw in layout.raw.values():
        _check_accounted(layout, raw, raw_at(raw.name))


def _check_required(spec: TableSpec, where: str) -> None:
    for entry in spec.rows or ({},):
        for name in TABLES[spec.table].required:
            if name not in spec.columns and name not in entry:
                raise MappingError(
                    where, "layout-required", f"{spec.table} is not given its column {name}"
                )


def _check_keys(spec: TableSpec, raw: RawTable, where: str) -> None:
    """A row is cut by its raw cells, so the canonical key must be those cells as they are."""
    for role, column in _KEYS.get(spec.table, {}).items():
        header = {"member": raw.member, "claim": raw.claim, "coverage": raw.coverage}[role]
        if header is None:
            raise MappingError(
                where, "layout-keys", f"{raw.name} feeds {spec.table}, so it must declare {role}"
            )
        if spec.columns.get(column) != ColumnSpec(FromColumn(header)):
            raise MappingError(
                where,
                "layout-keys",
                f"{column} must be {header!r}, the {role} of {raw.name}, without any conversion",
            )


def _check_accounted(layout: Layout, raw: RawTable, where: str) -> None:
    used = {header for header in (raw.member, raw.claim, raw.coverage) if header is not None}
    for spec in layout.tables:
        if spec.source == raw.name:
            used |= spec.headers()
        for columns in (spec.columns, *spec.rows):
            for column in columns.values():
                used |= {header for table, header in column.foreign() if table == raw.name}
    for header in raw.columns:
        if header in used and header in raw.unused:
            raise MappingError(
                where, "layout-unaccounted", f"{header!r} of {raw.name} is used and called unused"
            )
        if header not in used and header not in raw.unused:
            raise MappingError(
                where,
                "layout-unaccounted",
                f"{header!r} of {raw.name} is neither used nor under unused with a reason",
            )
