"""Find and mask the sensitive codes of a payer's value set before rows are mapped.

How a code is masked depends on the binding in the profiles: the decision about masked codes in
docs/decisions/ lists all cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import (
    Bools,
    column_of,
    compound_keys,
    join,
    matches,
    over_distinct,
    true_where,
)
from etl.columns.navigation import positions
from etl.model import sensitive_codes as codes
from etl.model.canonical_tables import HEADER_OF, KEYS, TABLES, Column, FieldType
from etl.model.crosswalks import Crosswalk
from etl.model.sensitive_codes import CodeKind, SensitiveCodes

MASKED: Final = "masked"
"""Replaces the text of a masked service; a code of data-absent-reason (FHIR R4)."""

_KINDS: Final[Mapping[str, CodeKind]] = {
    "drg_code": codes.DRG,
    "ndc": codes.NDC,
    "revenue_code": codes.REVENUE,
    "service_code": codes.SERVICE,
    **{f"modifier_{number}": codes.MODIFIER for number in range(1, 5)},
}
"""Columns with codes, in any table; on a line of a prior authorization, with `approved_` too."""
_NOT_SEARCHED: Final = ("_id", "_number", "reason_code", "remark_code")
"""Ends of columns with identifiers, and with codes that may look like diagnoses (N130)."""
_TEXTS: Final = (
    ("claim_line", "service_text"),
    ("claim_note", "text"),
    ("claim_transport", "value"),
    ("prior_auth", "denial_text"),
    ("prior_auth", "end_circumstance"),
    ("prior_auth_line", "service_text"),
)
"""Texts that may reveal a code of their claim or prior authorization."""
_PAYERS: Final = "claim_other_payer"
_REMOVED_ROWS: Final = ("claim_procedure", "claim_ingredient")
"""Tables whose rows are removed if their code is sensitive."""
_COMPOUND: Final = "2"


@dataclass(frozen=True, slots=True)
class SensitiveCells:
    """The sensitive codes in one column. Arrays have shape (rows of the table,).

    Attributes:
        table: the table.
        column: the column.
        is_sensitive: the cells with a sensitive code.
        withholds: cells whose claim is not published, because its profile requires the code and
            has no code for a masked one.
    """

    table: str
    column: str
    is_sensitive: Bools
    withholds: Bools


@dataclass(frozen=True, slots=True)
class Masks:
    """All cells of a partition with a sensitive code.

    Attributes:
        cells: one entry per column that has such a cell.
        affected: key column -> claims or prior authorizations with such a cell.
    """

    cells: tuple[SensitiveCells, ...] = ()
    affected: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def select(self, rows: Mapping[str, Bools]) -> Masks:
        """Keep the cells of some rows; other rows still affect their claims.

        Args:
            rows: by table.
        """
        cells = tuple(
            replace(
                cell,
                is_sensitive=cell.is_sensitive[rows[cell.table]],
                withholds=cell.withholds[rows[cell.table]],
            )
            for cell in self.cells
        )
        return replace(self, cells=cells)


@dataclass(frozen=True, slots=True)
class Masker:
    """Finds sensitive codes.

    Attributes:
        codes: the payer's value set.
        crosswalks: by name; one tells which drugs are compounds, as in the mappings.
    """

    codes: SensitiveCodes
    crosswalks: Mapping[str, Crosswalk] = field(default_factory=dict)

    def masks(self, tables: Mapping[str, pa.Table], claims: pa.Table | None = None) -> Masks:
        """Find the sensitive codes in the rows of a partition.

        Args:
            tables: canonical tables; the cells need not be readable.
            claims: the readable claims; None for those of `tables`.
        """
        if not self.codes:
            return Masks()
        types = _ClaimTypes(tables["claim"] if claims is None else claims, self.crosswalks)
        withholding: Mapping[tuple[str, str], Callable[[pa.Table], Bools]] = {
            ("claim_line", "ndc"): types.drug_lines,
            ("claim_line", "revenue_code"): types.inpatient_lines,
            ("claim_line", "service_code"): types.professional_lines,
        }
        cells: list[SensitiveCells] = []
        affected: dict[str, frozenset[str]] = dict.fromkeys(KEYS.values(), frozenset())
        for table in (name for name in HEADER_OF if name in tables):
            rows, key = tables[table], KEYS[HEADER_OF[table]]
            for column in TABLES[table].columns:
                is_sensitive = self._find_cells(rows, table, column)
                if not is_sensitive.any():
                    continue
                is_withheld = np.zeros_like(is_sensitive)
                if (table, column.name) in withholding:
                    is_withheld = is_sensitive & withholding[table, column.name](rows)
                cells.append(SensitiveCells(table, column.name, is_sensitive, is_withheld))
                ids = column_of(rows, key).filter(pa.array(is_sensitive)).drop_null()
                affected[key] |= frozenset(ids.to_pylist())
        return Masks(tuple(cells), affected)

    def _find_cells(self, rows: pa.Table, table: str, column: Column) -> Bools:
        """Find the sensitive codes of a column; looks each distinct text up once."""
        kind = _KINDS.get(column.name.removeprefix("approved_"))
        if column.name == "code":
            kind = codes.DIAGNOSIS if table.endswith("_diagnosis") else codes.PROCEDURE
        texts = column_of(rows, column.name)
        is_searched = column.type in (FieldType.TEXT, FieldType.CODE) and not column.name.endswith(
            _NOT_SEARCHED
        )
        if texts.null_count == len(texts) or (kind is None and not is_searched):
            return np.zeros(len(texts), dtype=np.bool_)
        is_in = self.codes.is_in_text if kind is None else partial(self.codes.is_in_cell, kind)
        found = over_distinct(
            texts, lambda words: [word if is_in(word) else None for word in words]
        )
        is_sensitive: Bools = np.asarray(found.is_valid()).copy()
        return is_sensitive


def mask_codes(tables: Mapping[str, pa.Table], masks: Masks) -> dict[str, pa.Table]:
    """Return the tables without the sensitive codes.

    * A diagnosis keeps its row; the mapping writes a masked code.
    * The rows of procedures and ingredients are removed.
    * Any other code is removed from its cell. The text of a service states that it is masked.
    * Texts of the same claim or prior authorization (of services, notes, transports, and in the
      payer's own columns) are removed, because they may reveal the code. The names of other payers
      are replaced.

    Args:
        tables: canonical tables.
        masks: the sensitive codes of these tables, and what they affect.
    """
    masked_tables = dict(tables)
    if not any(masks.affected.values()):
        return masked_tables

    def mask(table: str, column: str, where: Bools, text: str | pa.Array | None = None) -> None:
        masked_tables[table] = _replace_cells(masked_tables[table], column, where, text)

    def find_affected(table: str) -> Bools:
        key = KEYS[HEADER_OF[table]]
        ids = pa.array(sorted(masks.affected.get(key, ())), pa.string())
        return true_where(pc.is_in(column_of(tables[table], key), value_set=ids))

    for cells in masks.cells:
        if cells.table not in _REMOVED_ROWS:
            mask(cells.table, cells.column, cells.is_sensitive)
    own_columns = ((table, column.name) for table in tables for column in TABLES[table].own_columns)
    for table, column in (*_TEXTS, *own_columns):
        if table in HEADER_OF and table in tables:
            # The distance and weight of a transport are numbers.
            is_number = matches(column_of(tables[table], column), "^[0-9.]+$")
            is_kept = is_number & (table == "claim_transport")
            mask(table, column, find_affected(table) & ~is_kept)
    if _PAYERS in tables:
        mask(_PAYERS, "payer_name", find_affected(_PAYERS), _masked_payer_names(tables[_PAYERS]))
    for cells in masks.cells:
        if cells.column == "service_code":
            mask(cells.table, "service_text", cells.is_sensitive, MASKED)
    for table in _REMOVED_ROWS:
        is_removed = [cells.is_sensitive for cells in masks.cells if cells.table == table]
        if is_removed:
            unmasked_rows = pa.array(~np.logical_or.reduce(is_removed))
            masked_tables[table] = masked_tables[table].filter(unmasked_rows)
    return masked_tables


def _masked_payer_names(payers: pa.Table) -> pa.StringArray:
    """Return names that differ where the names of a claim's other payers do; null for none."""
    keys = compound_keys(*(column_of(payers, name) for name in ("claim_id", "payer_name")))
    first_rows = pc.index_in(keys, value_set=keys, skip_nulls=True)
    sequences = column_of(payers, "sequence").take(first_rows)
    return join(f"{MASKED} ", sequences, absent_as_empty=False)


class _ClaimTypes:
    """Finds the lines of claims whose profile has no code for a masked one."""

    def __init__(self, claims: pa.Table, crosswalks: Mapping[str, Crosswalk]) -> None:
        self._ids = column_of(claims, "claim_id")
        self._types = column_of(claims, "claim_type")
        compound = crosswalks.get("compound_code")
        self._compound = over_distinct(
            column_of(claims, "compound_code"),
            lambda texts: [compound.answer(text) if compound else text for text in texts],
        )

    def inpatient_lines(self, lines: pa.Table) -> Bools:
        """Inpatient `item.revenue` is 1..1, bound to NUBC's codes."""
        return self._lines_of_claims(lines, self._are_of_type("inpatient"))

    def professional_lines(self, lines: pa.Table) -> Bools:
        """`EOB-vision-item-productorservice` forbids a missing code on all but vision claims."""
        return self._lines_of_claims(lines, self._are_of_type("professional"))

    def drug_lines(self, lines: pa.Table) -> Bools:
        """Pharmacy `item.productOrService` is an NDC, or a compound's literal."""
        is_compound = true_where(pc.equal(self._compound, _COMPOUND))
        return self._lines_of_claims(lines, self._are_of_type("pharmacy") & ~is_compound)

    def _are_of_type(self, claim_type: str) -> Bools:
        return true_where(pc.equal(self._types, claim_type))

    def _lines_of_claims(self, lines: pa.Table, is_selected: Bools) -> Bools:
        claim_rows = positions(column_of(lines, "claim_id"), self._ids)
        in_claims: Bools = np.append(is_selected, np.False_)[claim_rows]  # -1: no claim
        return in_claims


def _replace_cells(
    table: pa.Table, column: str, where: Bools, text: str | pa.Array | None
) -> pa.Table:
    if not where.any():
        return table
    texts = text if isinstance(text, pa.Array) else pa.scalar(text, pa.string())
    cells = pc.if_else(pa.array(where), texts, column_of(table, column))
    return table.set_column(table.schema.get_field_index(column), column, cells)
