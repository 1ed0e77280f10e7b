"""Corrections to the rows of a partition before mapping, so that mappings stay plain.

No fact is added: values are only copied to where FHIR needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.adjustment_reasons import deduplicate_reasons
from etl.claims.care_team import build_care_team
from etl.claims.masking import Masks, mask_codes
from etl.columns.arrays import Bools, any_valid, column_of, compound_keys, true_where
from etl.columns.navigation import positions
from etl.mapping.plan import Environment
from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.rows import LINE_PROVIDERS

_LINE_AMOUNT_TYPES: Final = pa.array(["pharmacy", "professional", "vision", "oral"])
"""Claim types with profiles that require an amount on every item (adjudicationamounttype 1..*)."""


def prepare_for_mapping(
    tables: Mapping[str, pa.Table], environment: Environment, masks: Masks | None = None
) -> dict[str, pa.Table]:
    """Prepare the tables of a partition for mapping.

    * Sensitive codes are removed (`etl.claims.masking`).
    * The care team has one row per provider and role, with the lines that name the provider
      (`etl.claims.care_team`).
    * If a claim has one line and amounts only on its header, they are copied to the line if the
      profile requires amounts on items; what other payers paid only if their rows don't state it.
    * Adjustment reasons are deduplicated (`etl.claims.adjustment_reasons`).

    Args:
        tables: canonical tables, each in the order of its key.
        environment: the providers and the crosswalks.
        masks: the positions of sensitive codes; None for none.
    """
    if masks is not None:
        tables = mask_codes(tables, masks)
    tables = {
        **tables,
        "claim_line": _copy_header_amounts(tables),
    }
    return {
        **tables,
        **deduplicate_reasons(tables),
        **{name: build_care_team(tables, environment, name) for name in LINE_PROVIDERS},
    }


def _copy_header_amounts(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Return the lines; a claim's only line has the header's amounts if it has none."""
    lines, claims = tables["claim_line"], tables["claim"]
    if lines.num_rows == 0 or claims.num_rows == 0:
        return lines
    claim_rows = positions(column_of(lines, "claim_id"), column_of(claims, "claim_id"))
    counts = np.bincount(claim_rows[claim_rows >= 0], minlength=claims.num_rows)
    needs_line_amounts = true_where(
        pc.is_in(column_of(claims, "claim_type"), value_set=_LINE_AMOUNT_TYPES)
    )
    is_copied = (
        (claim_rows >= 0)
        & (counts == 1)[claim_rows]
        & needs_line_amounts[claim_rows]
        & ~_has_any_amount(lines)
        & _has_any_amount(claims)[claim_rows]
    )
    if not is_copied.any():
        return lines
    source_rows = pa.array(np.maximum(claim_rows, 0))
    paid_by_others = _lines_paid_by_others(lines, tables["claim_other_payer"])
    for name in AMOUNT_COLUMNS:
        header_amounts = column_of(claims, name)
        if header_amounts.null_count == len(header_amounts):
            continue
        index = lines.schema.get_field_index(name)
        is_stated = paid_by_others if name == "amount_priorpayerpaid" else np.False_
        copied_mask = pa.array(is_copied & ~is_stated)
        amounts = pc.if_else(copied_mask, header_amounts.take(source_rows), column_of(lines, name))
        lines = lines.set_column(index, name, amounts)
    return lines


def _lines_paid_by_others(lines: pa.Table, payers: pa.Table) -> Bools:
    """Return the lines for which rows of other payers state an amount."""
    line_keys, paid_keys = (
        compound_keys(column_of(table, "claim_id"), column_of(table, "line_number"))
        for table in (lines, payers.filter(payers.column("amount_priorpayerpaid").is_valid()))
    )
    return true_where(pc.is_in(line_keys, value_set=paid_keys.drop_null()))


def _has_any_amount(table: pa.Table) -> Bools:
    return any_valid((column_of(table, name) for name in AMOUNT_COLUMNS), table.num_rows)
