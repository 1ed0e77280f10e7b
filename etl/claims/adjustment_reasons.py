"""Deduplicate the reasons of adjudications.

Payers state why a claim was denied or reduced in `claim_adjustment`, with the amount, and often
again in a `denial_reason`. FHIR has one element for both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import column_of, compound_keys, first_of_each, list_values, lists_of


def deduplicate_reasons(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return claims, lines and adjustments without repeated reasons.

    A code in a list is removed if the list, or an adjustment of the line, already has it; a remark
    is removed if an earlier adjustment of the line has it. Reject codes of pharmacies belong to
    another code system than adjustment reasons.

    Args:
        tables: canonical tables, each in the order of its key.
    """
    claims, adjustments = tables["claim"], tables["claim_adjustment"]
    lines, claim_ids = tables["claim_line"], column_of(claims, "claim_id")
    pharmacy_claims = claim_ids.filter(pc.equal(claims.column("claim_type"), "pharmacy"))
    adjusted_lines, line_keys = (
        compound_keys(column_of(table, "claim_id"), column_of(table, "line_number"))
        for table in (adjustments, lines)
    )
    stated = _stated_codes(adjustments, adjusted_lines)
    return {
        "claim": _deduplicate_lists(claims, claim_ids, pharmacy_claims, stated[:0]),
        "claim_line": _deduplicate_lists(lines, line_keys, pharmacy_claims, stated),
        "claim_adjustment": _deduplicate_remarks(adjustments, adjusted_lines),
    }


def _deduplicate_lists(
    table: pa.Table, row_keys: pa.StringArray, pharmacy_claims: pa.Array, stated: pa.StringArray
) -> pa.Table:
    """Remove the codes that a list, or an adjustment, already has.

    Args:
        table: claims or lines.
        row_keys: key of each row.
        pharmacy_claims: IDs of pharmacy claims.
        stated: keys of the codes that adjustments state (`_stated_codes`).
    """
    column = column_of(table, "denial_reason")
    if column.null_count == len(column):
        return table
    codes, owners = list_values(column)
    owner_rows = pa.array(owners)
    is_pharmacy = pc.is_in(column_of(table, "claim_id"), value_set=pharmacy_claims)
    systems = pc.if_else(is_pharmacy.take(owner_rows), "NCPDP", _reason_systems(codes))
    keys = compound_keys(row_keys.take(owner_rows), systems, pc.ascii_upper(codes))
    is_new = first_of_each(keys) & ~np.asarray(pc.is_in(keys, value_set=stated))
    if is_new.all():
        return table
    cells = lists_of(codes.filter(pa.array(is_new)), owners[is_new], len(column))
    return table.set_column(table.schema.get_field_index("denial_reason"), "denial_reason", cells)


def _deduplicate_remarks(adjustments: pa.Table, line_keys: pa.StringArray) -> pa.Table:
    remarks = column_of(adjustments, "remark_code")
    if remarks.null_count == len(remarks):
        return adjustments
    is_first = first_of_each(compound_keys(line_keys, pc.ascii_upper(remarks)))
    if is_first.all():
        return adjustments
    cells = pc.if_else(pa.array(is_first), remarks, pa.scalar(None, pa.string()))
    index = adjustments.schema.get_field_index("remark_code")
    return adjustments.set_column(index, "remark_code", cells)


def _stated_codes(adjustments: pa.Table, line_keys: pa.StringArray) -> pa.StringArray:
    """Return the key of each code of an adjustment: line, system, code."""
    columns = {
        system: pc.ascii_upper(column_of(adjustments, name))
        for name, system in (("reason_code", "CARC"), ("remark_code", "RARC"))
    }
    keys = (compound_keys(line_keys, system, codes) for system, codes in columns.items())
    return pa.concat_arrays([key.drop_null() for key in keys])


def _reason_systems(codes: pa.StringArray) -> pa.StringArray:
    """Return the system of each code, as mappings do: codes with M or N are remark codes."""
    initials = pc.utf8_slice_codeunits(pc.ascii_upper(codes), 0, 1)
    return pc.if_else(pc.is_in(initials, value_set=pa.array(["M", "N"])), "RARC", "CARC")
