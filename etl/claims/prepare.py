"""Corrections to the rows of a partition before mapping, so that mappings stay plain.

No fact is added: one that a column states is repeated where FHIR has its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.adjustment_reasons import reasons_once
from etl.claims.care_team import care_team
from etl.claims.masking import Masks, masked
from etl.columns.arrays import Bools, any_valid, column_of, true_where
from etl.columns.navigation import positions
from etl.mapping.plan import Environment
from etl.model.canonical_tables import AMOUNT_COLUMNS

_LINE_AMOUNT_TYPES: Final = pa.array(["pharmacy", "professional", "vision", "oral"])
"""Claim types with profiles that require an amount on every item (adjudicationamounttype 1..*)."""


def prepare(
    tables: Mapping[str, pa.Table], environment: Environment, masks: Masks | None = None
) -> dict[str, pa.Table]:
    """Return the tables of a partition as mappings want them.

    * Sensitive codes are taken out (`etl.claims.masking`).
    * Every provider stands in the care team once in a role, with the lines that name it
      (`etl.claims.care_team`).
    * A claim of one line with amounts only on its header carries them on that line, where its
      profile requires amounts on items.
    * A reason of the adjudication stands once (`etl.claims.adjustment_reasons`).

    Args:
        tables: canonical tables, each in the order of its key.
        environment: the directory and the crosswalks.
        masks: where sensitive codes stand; None for nowhere.
    """
    if masks is not None:
        tables = masked(tables, masks)
    tables = {
        **tables,
        "claim_line": _with_header_amounts(tables["claim_line"], tables["claim"]),
    }
    return {
        **tables,
        **reasons_once(tables),
        "claim_care_team": care_team(tables, environment),
    }


def _with_header_amounts(lines: pa.Table, claims: pa.Table) -> pa.Table:
    """Return the lines, the only line of a claim carrying its header's amounts if it has none."""
    if lines.num_rows == 0 or claims.num_rows == 0:
        return lines
    claim_of = positions(column_of(lines, "claim_id"), column_of(claims, "claim_id"))
    counts = np.bincount(claim_of[claim_of >= 0], minlength=claims.num_rows)
    wanted = true_where(pc.is_in(column_of(claims, "claim_type"), value_set=_LINE_AMOUNT_TYPES))
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
    return any_valid((column_of(table, name) for name in AMOUNT_COLUMNS), table.num_rows)
