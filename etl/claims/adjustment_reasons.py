"""Reasons of an adjudication, each once: lists do not repeat those of adjustments.

A payer states why a claim was denied or reduced in `claim_adjustment`, with the amount, and often
once more in a `denial_reason`. FHIR has one place for both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import (
    Bools,
    column_of,
    compound_keys,
    first_of_each,
    list_values,
    lists_of,
)


def deduplicate_reasons(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return claims, lines and adjustments, each stating a reason once.

    A code of a line's list is left out where an adjustment of the line states it, and a remark
    where an earlier adjustment of the line does; a list has no code twice. The reject codes of a
    pharmacy are of another system than the reasons of adjustments.

    Args:
        tables: canonical tables, each in the order of its key.
    """
    claims, adjustments = tables["claim"], tables["claim_adjustment"]
    pharmacy = column_of(claims, "claim_id").filter(
        pc.equal(claims.column("claim_type"), "pharmacy")
    )
    nothing = pa.array([], pa.string())
    places = compound_keys(*(column_of(adjustments, name) for name in ("claim_id", "line_number")))
    lines = tables["claim_line"]
    return {
        "claim": _lists_once(claims, column_of(claims, "claim_id"), pharmacy, nothing),
        "claim_line": _lists_once(
            lines,
            compound_keys(column_of(lines, "claim_id"), column_of(lines, "line_number")),
            pharmacy,
            _stated(adjustments, places),
        ),
        "claim_adjustment": _remarks_once(adjustments, places),
    }


def _lists_once(
    table: pa.Table, places: pa.StringArray, pharmacy: pa.Array, stated: pa.StringArray
) -> pa.Table:
    """Return the table without what its lists state twice, or adjustments of the place do."""
    column = column_of(table, "denial_reason")
    if column.null_count == len(column):
        return table
    codes, owners = list_values(column)
    rejects = pc.is_in(column_of(table, "claim_id"), value_set=pharmacy).take(pa.array(owners))
    systems = pc.if_else(rejects, "NCPDP", _systems(codes))
    keys = compound_keys(places.take(pa.array(owners)), systems, pc.ascii_upper(codes))
    kept = first_of_each(keys) & ~_among(keys, stated)
    if kept.all():
        return table
    cells = lists_of(codes.filter(pa.array(kept)), owners[kept], len(column))
    return table.set_column(table.schema.get_field_index("denial_reason"), "denial_reason", cells)


def _remarks_once(adjustments: pa.Table, places: pa.StringArray) -> pa.Table:
    remarks = column_of(adjustments, "remark_code")
    if remarks.null_count == len(remarks):
        return adjustments
    first = first_of_each(compound_keys(places, pc.ascii_upper(remarks)))
    if first.all():
        return adjustments
    cells = pc.if_else(pa.array(first), remarks, pa.scalar(None, pa.string()))
    index = adjustments.schema.get_field_index("remark_code")
    return adjustments.set_column(index, "remark_code", cells)


def _stated(adjustments: pa.Table, places: pa.StringArray) -> pa.StringArray:
    """Return place, system and code of everything that adjustments state."""
    return pa.concat_arrays(
        [
            compound_keys(places, system, pc.ascii_upper(column_of(adjustments, name))).drop_null()
            for name, system in (("reason_code", "CARC"), ("remark_code", "RARC"))
        ]
    )


def _systems(codes: pa.StringArray) -> pa.StringArray:
    """Return the system of each code, as the mapping has it: M and N begin remark codes."""
    first = pc.utf8_slice_codeunits(pc.ascii_upper(codes), 0, 1)
    return pc.if_else(pc.is_in(first, value_set=pa.array(["M", "N"])), "RARC", "CARC")


def _among(keys: pa.StringArray, stated: pa.StringArray) -> Bools:
    among: Bools = np.asarray(pc.is_in(keys, value_set=stated))
    return among
