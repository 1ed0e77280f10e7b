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
from etl.columns.arrays import Bools, any_valid, column_of, true_where
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
      profile requires amounts on items.
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
        "claim_line": _copy_header_amounts(tables["claim_line"], tables["claim"]),
    }
    return {
        **tables,
        **deduplicate_reasons(tables),
        **{name: build_care_team(tables, environment, name) for name in LINE_PROVIDERS},
    }


def _copy_header_amounts(lines: pa.Table, claims: pa.Table) -> pa.Table:
    """Copy header amounts to a claim's only line if the line has none."""
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
    copied_mask, source_rows = pa.array(is_copied), pa.array(np.maximum(claim_rows, 0))
    for name in AMOUNT_COLUMNS:
        header_amounts = column_of(claims, name)
        if header_amounts.null_count == len(header_amounts):
            continue
        index = lines.schema.get_field_index(name)
        amounts = pc.if_else(copied_mask, header_amounts.take(source_rows), column_of(lines, name))
        lines = lines.set_column(index, name, amounts)
    return lines


def _has_any_amount(table: pa.Table) -> Bools:
    return any_valid((column_of(table, name) for name in AMOUNT_COLUMNS), table.num_rows)
