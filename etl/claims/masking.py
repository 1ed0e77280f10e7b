"""Find and mask the sensitive codes of a payer's value set before rows are mapped.

How a code is masked depends on the binding in the profiles: the decision about masked codes in
docs/decisions/ lists all cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, column_of, compound_keys, over_distinct, true_where
from etl.columns.navigation import positions
from etl.model.canonical_tables import HEADER_OF, KEYS, TABLES
from etl.model.crosswalks import Crosswalk
from etl.model.sensitive_codes import (
    DIAGNOSES,
    DRGS,
    PROCEDURES,
    SERVICES,
    CodeSystem,
    SensitiveCodes,
)
from etl.rows import empty_table

MASKED: Final = "masked"
"""Replaces the text of a masked service; a code of data-absent-reason (FHIR R4)."""

_MODIFIERS: Final = ("modifier_1", "modifier_2", "modifier_3", "modifier_4")
_TEXTS: Final = (
    ("claim_line", "service_text"),
    ("claim_note", "text"),
    ("prior_auth", "denial_text"),
    ("prior_auth", "end_circumstance"),
    ("prior_auth_line", "service_text"),
)
"""Texts that may reveal a code of their claim or prior authorization."""
_REMOVED_ROWS: Final = ("claim_procedure", "claim_ingredient")
"""Tables whose rows are removed if their code is sensitive."""
_COMPOUND: Final = "2"
_ICD_9: Final = "http://hl7.org/fhir/sid/icd-9-cm"
_DRG_SYSTEMS: Final = {
    "http://uri.hddaccess.com/cs/apdrg": CodeSystem.AP_DRG,
    "http://uri.hddaccess.com/cs/aprdrg": CodeSystem.APR_DRG,
    "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/AcuteInpatientPPS/"
    "MS-DRG-Classifications-and-Software": CodeSystem.MS_DRG,
}

FindGroup: TypeAlias = Callable[[str, str | None], str | None]
"""Takes a code and its system's word; returns the code's group, None if it isn't sensitive."""


@dataclass(frozen=True, slots=True)
class SensitiveCells:
    """The sensitive codes in one column. Arrays have shape (rows of the table,).

    Attributes:
        table: the table.
        column: the column.
        is_sensitive: the cells with a sensitive code.
        groups: group of the code in the payer's value set; null for other cells.
        withholds: cells whose claim is not published, because its profile requires the code and
            has no code for a masked one.
    """

    table: str
    column: str
    is_sensitive: Bools
    groups: pa.StringArray
    withholds: Bools


@dataclass(frozen=True, slots=True)
class Masks:
    """All cells of a partition with a sensitive code.

    Attributes:
        cells: one entry per column that has such a cell.
    """

    cells: tuple[SensitiveCells, ...] = ()

    def withheld(self, tables: Mapping[str, pa.Table]) -> pa.StringArray:
        """Return the IDs of the claims that are not published; sorted, each once."""
        claim_ids: set[str] = set()
        for cells in self.cells:
            if cells.withholds.any():
                ids = tables[cells.table].column("claim_id").filter(pa.array(cells.withholds))
                claim_ids.update(ids.to_pylist())
        return pa.array(sorted(claim_ids), pa.string())

    def counts(self) -> Counter[tuple[str, str]]:
        """Count the sensitive codes: (table.column, group) -> count."""
        counts: Counter[tuple[str, str]] = Counter()
        for cells in self.cells:
            for group in pc.value_counts(cells.groups.drop_null()).to_pylist():
                counts[f"{cells.table}.{cells.column}", group["values"]] += group["counts"]
        return counts


@dataclass(frozen=True, slots=True)
class Masker:
    """Finds sensitive codes.

    Attributes:
        codes: the payer's value set.
        crosswalks: by name; some give the system of a code, as in the mappings.
    """

    codes: SensitiveCodes
    crosswalks: Mapping[str, Crosswalk] = field(default_factory=dict)

    def masks(self, tables: Mapping[str, pa.Table]) -> Masks:
        """Find the sensitive codes in the accepted rows of a partition."""
        if not self.codes:
            return Masks()
        types = _ClaimTypes(tables["claim"], self.crosswalks)
        line, drug_lines = "claim_line", types.drug_lines
        inpatient_lines, professional_lines = types.inpatient_lines, types.professional_lines
        columns = [
            self._find(tables, "claim_diagnosis", "code", self._diagnosis_group, "icd_version"),
            self._find(tables, "claim_procedure", "code", self._procedure_group, "icd_version"),
            self._find(tables, "claim", "drg_code", self._drg_group, "drg_system"),
            self._find(tables, "claim_ingredient", "ndc", self._ndc_group),
            self._find(tables, line, "ndc", self._ndc_group, withholds=drug_lines),
            self._find(
                tables, line, "revenue_code", self._revenue_group, withholds=inpatient_lines
            ),
            self._find(
                tables, line, "service_code", self._service_group, withholds=professional_lines
            ),
            *(self._find(tables, line, name, self._modifier_group) for name in _MODIFIERS),
            *self._find_in_prior_auths(tables),
        ]
        return Masks(tuple(cells for cells in columns if cells.is_sensitive.any()))

    def _find_in_prior_auths(self, tables: Mapping[str, pa.Table]) -> Iterator[SensitiveCells]:
        """Yield the cells of prior authorizations, whose profile requires none of them."""
        diagnoses, line = "prior_auth_diagnosis", "prior_auth_line"
        yield self._find(tables, diagnoses, "code", self._diagnosis_group, "icd_version")
        for prefix in ("", "approved_"):
            yield self._find(tables, line, f"{prefix}service_code", self._service_group)
            yield self._find(tables, line, f"{prefix}revenue_code", self._revenue_group)
            for name in _MODIFIERS:
                yield self._find(tables, line, f"{prefix}{name}", self._modifier_group)

    def _find(
        self,
        tables: Mapping[str, pa.Table],
        table: str,
        column: str,
        find_group: FindGroup,
        system_column: str = "",
        withholds: Callable[[pa.Table], Bools] | None = None,
    ) -> SensitiveCells:
        """Find the sensitive codes of a column; looks each distinct code up once.

        Args:
            tables: canonical tables.
            table: the table.
            column: the column with codes.
            find_group: finds the group of a code.
            system_column: column with the code's system or version, if there is one.
            withholds: returns the rows whose claim can't be published without the code.
        """
        rows = tables.get(table, empty_table(table))
        codes = column_of(rows, column)
        no_systems = pa.nulls(len(codes), pa.string())
        systems = column_of(rows, system_column) if system_column else no_systems
        keys = compound_keys(pc.coalesce(systems, ""), pc.coalesce(codes, ""))

        def find_groups(texts: list[str]) -> list[str | None]:
            pairs = (text.split("\x1f", 1) for text in texts)
            return [find_group(code, system or None) for system, code in pairs]

        groups = over_distinct(pc.if_else(codes.is_valid(), keys, None), find_groups)
        is_sensitive: Bools = np.asarray(groups.is_valid()).copy()
        is_withheld = np.zeros(len(is_sensitive), dtype=np.bool_)
        if withholds is not None and is_sensitive.any():
            is_withheld = is_sensitive & withholds(rows)
        return SensitiveCells(table, column, is_sensitive, groups, is_withheld)

    def _system(self, crosswalk: str, word: str | None, default: str) -> str | None:
        if crosswalk not in self.crosswalks:
            return None
        return self.crosswalks[crosswalk].answer(word or default)

    def _diagnosis_group(self, code: str, version: str | None) -> str | None:
        is_icd_9 = self._system("icd_diagnosis_system", version, "10") == _ICD_9
        system = CodeSystem.ICD_9_CM if is_icd_9 else CodeSystem.ICD_10_CM
        return self.codes.group(DIAGNOSES & {system}, code)

    def _procedure_group(self, code: str, version: str | None) -> str | None:
        is_icd_9 = self._system("icd_procedure_system", version, "10") == _ICD_9
        other_system = CodeSystem.ICD_10_PCS if is_icd_9 else CodeSystem.ICD_9_PCS
        return self.codes.group(PROCEDURES - {other_system}, code)

    def _drg_group(self, code: str, system: str | None) -> str | None:
        drg_system = _DRG_SYSTEMS.get(self._system("drg_system", system, "MS-DRG") or "")
        return self.codes.group({drg_system} if drg_system else DRGS, code)

    def _ndc_group(self, code: str, _: str | None) -> str | None:
        return self.codes.group({CodeSystem.NDC}, code)

    def _revenue_group(self, code: str, _: str | None) -> str | None:
        return self.codes.group({CodeSystem.REVENUE}, code)

    def _service_group(self, code: str, _: str | None) -> str | None:
        return self.codes.group(SERVICES, code)

    def _modifier_group(self, code: str, _: str | None) -> str | None:
        return self.codes.group({CodeSystem.CPT, CodeSystem.HCPCS}, code, exact=True)


def mask_codes(tables: Mapping[str, pa.Table], masks: Masks) -> dict[str, pa.Table]:
    """Return the tables without the sensitive codes.

    * A diagnosis keeps its row; the mapping writes a masked code.
    * The rows of procedures and ingredients are removed.
    * Any other code is removed from its cell. The text of a service states that it is masked.
    * Texts of the same claim or prior authorization (of services, notes, and in the payer's own
      columns) are removed, because they may reveal the code.

    Args:
        tables: canonical tables.
        masks: the sensitive codes of these tables.
    """
    masked_tables = dict(tables)
    affected_ids: dict[str, set[str]] = {key: set() for key in KEYS.values()}

    def replace(table: str, column: str, where: Bools, text: str | None = None) -> None:
        masked_tables[table] = _replace_cells(masked_tables[table], column, where, text)

    for cells in masks.cells:
        rows, key = tables[cells.table], KEYS[HEADER_OF[cells.table]]
        affected_ids[key].update(rows.column(key).filter(pa.array(cells.is_sensitive)).to_pylist())
        if cells.table not in _REMOVED_ROWS:
            replace(cells.table, cells.column, cells.is_sensitive)
    own_columns = ((table, column.name) for table in tables for column in TABLES[table].own_columns)
    for table, column in (*_TEXTS, *own_columns):
        if table in HEADER_OF and table in tables:
            key = KEYS[HEADER_OF[table]]
            ids = pa.array(sorted(affected_ids[key]), pa.string())
            is_affected = pc.is_in(column_of(masked_tables[table], key), value_set=ids)
            replace(table, column, true_where(is_affected))
    for cells in masks.cells:
        if cells.column == "service_code":
            replace(cells.table, "service_text", cells.is_sensitive, MASKED)
        if cells.table in _REMOVED_ROWS:
            unmasked_rows = pa.array(~cells.is_sensitive)
            masked_tables[cells.table] = masked_tables[cells.table].filter(unmasked_rows)
    return masked_tables


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


def _replace_cells(table: pa.Table, column: str, where: Bools, text: str | None) -> pa.Table:
    if not where.any():
        return table
    cells = pc.if_else(pa.array(where), pa.scalar(text, pa.string()), column_of(table, column))
    return table.set_column(table.schema.get_field_index(column), column, cells)
