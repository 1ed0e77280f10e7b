"""Pharmacy claims of several drugs that a source writes as one: a claim for each fill.

C4BB has days' supply, refill and the like once a claim. Where the drugs of a claim differ in them,
each row becomes a claim of its own. Its id is the claim's, `-`, and the cell that the layout names
to distinguish fills. docs/decisions/0017 states when that is done, and when it cannot be.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools
from etl.columns.numbers import rounded_to_cents
from etl.sources.convert.raw_rows import Groups, RawRows
from etl.sources.layout.column_specs import FromColumn, holds
from etl.sources.layout.model import Fills, Layout, RawTable, TableSpec

FILL: Final = "_fill"
"""Column that is filled in rows that are a claim of their own."""
_BETWEEN: Final = "-"
_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?([eE][+-]?[0-9])?")


def fill_ids(rows: RawRows, claim: str, fills: Fills) -> Any:
    """Return the claim id that each row would have as a fill; null where it is none.

    Args:
        rows: of a raw file.
        claim: its header of the claim's id.
        fills: how fills are written.
    """
    ids = pc.binary_join_element_wise(rows.column(claim), rows.column(fills.by), _BETWEEN)
    return pc.if_else(pa.array(holds(fills.where, rows.column, rows.count)), ids, None)


def with_fills(layout: Layout, raw: RawTable, rows: RawRows) -> RawRows:
    """Return the rows of a raw file, those of claims that are published fill by fill with new ids.

    Args:
        layout: what the rows mean.
        raw: the file; its rows are returned as they are where it declares no fills.
        rows: in the order of files and rows.
    """
    fills, claim = raw.fills, raw.claim
    spec = _feeding(layout, "claim", raw)
    if fills is None or claim is None or spec is None or not rows.count:
        return rows
    ids = fill_ids(rows, claim, fills)
    groups = Groups(rows, spec.where, spec.grain, spec.order)
    whole = _whole(groups, ids) & _differ(groups, spec, fills)
    if whole.any():
        whole &= _adds_up(groups, whole, spec, _feeding(layout, "claim_line", raw))
    if rows.unread is not None and rows.unread.num_rows:
        torn = RawRows(rows.unread).column(claim)
        whole &= ~np.asarray(pc.is_in(groups.pick(claim)[0], value_set=torn, skip_nulls=True))
    if not whole.any():
        return rows
    split = np.zeros(rows.count, dtype=bool)
    number, positions = groups.numbered()
    split[positions[whole[number]]] = True
    where = pa.array(split)
    cells = pc.if_else(where, ids, rows.table.column(claim).combine_chunks())
    table = rows.table.set_column(rows.table.schema.get_field_index(claim), claim, cells)
    return RawRows(
        table.append_column(FILL, pc.if_else(where, pa.scalar("1"), pa.scalar(None, pa.string()))),
        rows.unread,
        rows.cells,
    )


def _feeding(layout: Layout, table: str, raw: RawTable) -> TableSpec | None:
    """Return how a raw file feeds a table; None where it does not, or in several ways."""
    specs = [spec for spec in layout.tables if (spec.table, spec.source) == (table, raw.name)]
    return specs[0] if len(specs) == 1 else None


def _whole(groups: Groups, ids: Any) -> Bools:
    """Return which groups are of several fills and of nothing else, each with an id of its own."""
    codes = pc.fill_null(ids.dictionary_encode().indices, -1).to_numpy().astype(np.int64)
    number, mine = groups.numbered()
    own = codes[mine]
    every = np.ones(groups.count, dtype=bool)
    every[number[own < 0]] = False
    pairs = np.unique(np.stack([number, own]), axis=1)[0] if len(number) else number
    size = np.bincount(number, minlength=groups.count)
    distinct = np.bincount(pairs, minlength=groups.count)
    is_whole: Bools = every & (size > 1) & (distinct == size)
    return is_whole


def _differ(groups: Groups, spec: TableSpec, fills: Fills) -> Bools:
    """Return the groups in which some fact of the claim differs between fills."""
    rows = groups.rows
    differ = np.zeros(groups.count, dtype=bool)
    for column in spec.columns.values():
        if isinstance(column.source, FromColumn) and column.among == fills.where:
            among = holds(column.among, rows.column, rows.count)
            _, conflict = groups.pick(column.source.column, among)
            if conflict is not None:
                differ |= conflict
    return differ


def _adds_up(groups: Groups, wanted: Bools, spec: TableSpec, lines: TableSpec | None) -> Bools:
    """Return in which of some groups each amount of the claim is the sum of its lines.

    Where it is not, or where only the claim has such an amount, it would be lost.
    """
    fine = wanted.copy()
    number, positions = groups.numbered()
    here = wanted[number]
    number, positions = number[here], pa.array(positions[here])
    for name, column in spec.columns.items():
        if not name.startswith("amount_") or not isinstance(column.source, FromColumn):
            continue
        line = lines.columns.get(name) if lines is not None else None
        sums = np.zeros(groups.count, dtype=object)
        if line is not None and isinstance(line.source, FromColumn):
            cells = groups.rows.column(line.source.column).take(positions)
            for group, cell in zip(number.tolist(), cells.to_pylist(), strict=True):
                sums[group] += _amount(cell) or 0
        stated, conflict = groups.pick(column.source.column)
        if conflict is not None:
            fine &= ~conflict
        for group in np.flatnonzero(fine).tolist():
            cell = stated[group].as_py()
            fine[group] = cell is None or _amount(cell) == sums[group]
    return fine


def _amount(cell: str | None) -> Decimal | None:
    """Return an amount as it is published: in cents, half to even; None where it is none."""
    if cell is None or not _AMOUNT.fullmatch(cell):
        return None
    return rounded_to_cents(Decimal(cell))
