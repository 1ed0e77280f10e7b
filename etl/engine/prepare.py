"""What is put right in the rows of a partition before mapping, so that mappings stay plain.

Nothing is invented: a fact that one column states is said again in the place where FHIR has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.engine.kernels import Bools, Indices, column_of
from etl.engine.masking import Masks, masked
from etl.model.tables import AMOUNT_COLUMNS, FILE_COLUMN, ROW_COLUMN
from etl.rows import table_schema

_LINE_AMOUNT_TYPES: Final = pa.array(["pharmacy", "professional", "vision", "oral"])
"""Claim types whose profiles want an amount on every item (adjudicationamounttype 1..*)."""

_RENDERING: Final = pa.array(["rendering", "performing"])


def prepare(tables: Mapping[str, pa.Table], masks: Masks | None = None) -> dict[str, pa.Table]:
    """Return the tables of a partition as mappings want them.

    * Sensitive codes are taken out (`etl.engine.masking`).
    * A provider named as rendering on a line, and not in the claim's care team as such, joins it.
    * A claim of one line with amounts on its header only carries them on that line, where its
      profile wants amounts on items.

    Args:
        tables: canonical tables, each in the order of its key.
        masks: where sensitive codes stand; None for nowhere.
    """
    if masks is not None:
        tables = masked(tables, masks)
    return {
        **tables,
        "claim_care_team": _with_rendering(tables["claim_care_team"], tables["claim_line"]),
        "claim_line": _with_header_amounts(tables["claim_line"], tables["claim"]),
    }


def _pairs(table: pa.Table, second: str) -> pa.Array:
    keys = column_of(table, "claim_id"), column_of(table, second)
    return pc.binary_join_element_wise(*keys, "\x1f")


def _with_rendering(team: pa.Table, lines: pa.Table) -> pa.Table:
    named = _pairs(lines, "rendering_provider_id")
    if named.null_count == len(named):
        return team
    rendering = pc.is_in(pc.ascii_lower(column_of(team, "role")), value_set=_RENDERING)
    known = _pairs(team, "provider_id").filter(rendering)
    missing = pc.and_(named.is_valid(), pc.invert(pc.is_in(named, value_set=known)))
    rows = np.flatnonzero(np.asarray(pc.fill_null(missing, False)))
    if len(rows) == 0:
        return team
    groups = np.asarray(named.take(pa.array(rows)).dictionary_encode().indices)
    order = np.argsort(groups, kind="stable")
    rows, groups = rows[order], groups[order]
    firsts = np.flatnonzero(np.diff(groups, prepend=-1))
    numbers = column_of(lines, "line_number").take(pa.array(rows))
    offsets = pa.array(np.append(firsts, len(rows)).astype(np.int32))
    first_rows = pa.array(rows[firsts])
    claims = column_of(lines, "claim_id").take(first_rows)
    columns = {
        "claim_id": claims,
        "sequence": _next_sequences(team, claims),
        "role": pa.repeat("rendering", len(firsts)).cast(pa.string()),
        "provider_id": column_of(lines, "rendering_provider_id").take(first_rows),
        "line_numbers": pc.binary_join(pa.ListArray.from_arrays(offsets, numbers), ";"),
        FILE_COLUMN: column_of(lines, FILE_COLUMN).take(first_rows),
        ROW_COLUMN: column_of(lines, ROW_COLUMN).take(first_rows),
    }
    schema = table_schema("claim_care_team")
    added = pa.table(
        [columns.get(field.name, pa.nulls(len(firsts), field.type)) for field in schema],
        schema=schema,
    )
    both = pa.concat_tables([team.select(schema.names).cast(schema), added])
    return both.take(_by_claim_and_sequence(both))


def _next_sequences(team: pa.Table, claims: pa.Array) -> pa.Array:
    """Return the numbers that go on after those that the care team of each claim has."""
    last: dict[str, int] = {}
    for claim, sequence in zip(
        column_of(team, "claim_id").to_pylist(),
        column_of(team, "sequence").to_pylist(),
        strict=True,
    ):
        last[claim] = max(last.get(claim, 0), int(sequence))
    numbers = []
    for claim in claims.to_pylist():
        last[claim] = last.get(claim, 0) + 1
        numbers.append(str(last[claim]))
    return pa.array(numbers, pa.string())


def _by_claim_and_sequence(team: pa.Table) -> pa.Array:
    keys = pa.table(
        {
            "claim": column_of(team, "claim_id"),
            "sequence": column_of(team, "sequence").cast(pa.int64()),
        }
    )
    return pc.sort_indices(keys, sort_keys=[("claim", "ascending"), ("sequence", "ascending")])


def _with_header_amounts(lines: pa.Table, claims: pa.Table) -> pa.Table:
    """Return the lines, the only line of a claim carrying its header's amounts if it has none."""
    if lines.num_rows == 0 or claims.num_rows == 0:
        return lines
    at = pc.index_in(column_of(lines, "claim_id"), value_set=column_of(claims, "claim_id"))
    claim_of: Indices = np.asarray(pc.fill_null(at, -1), dtype=np.int64)
    counts = np.bincount(claim_of[claim_of >= 0], minlength=claims.num_rows)
    wanted = np.asarray(
        pc.fill_null(pc.is_in(column_of(claims, "claim_type"), value_set=_LINE_AMOUNT_TYPES), False)
    )
    lifted = (
        (claim_of >= 0)
        & (counts == 1)[claim_of]
        & wanted[claim_of]
        & ~_any_amount(lines)
        & _any_amount(claims)[claim_of]
    )
    if not lifted.any():
        return lines
    where, source = pa.array(lifted), pa.array(np.maximum(claim_of, 0))
    for name in AMOUNT_COLUMNS:
        header = column_of(claims, name)
        if header.null_count == len(header):
            continue
        index = lines.schema.get_field_index(name)
        amounts = pc.if_else(where, header.take(source), column_of(lines, name))
        lines = lines.set_column(index, name, amounts)
    return lines


def _any_amount(table: pa.Table) -> Bools:
    found = np.zeros(table.num_rows, dtype=np.bool_)
    for name in AMOUNT_COLUMNS:
        column = column_of(table, name)
        if column.null_count != len(column):
            found |= np.asarray(column.is_valid())
    return found
