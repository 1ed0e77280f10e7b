"""Sensitive codes of a payer's value set, taken out of a partition's rows before they are mapped.

How each place with such a code is masked follows from the binding in the profiles: the decision
about masked codes in docs/decisions/ lists them one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

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
"""Text that stands where a service's own text was, as data-absent-reason words it (FHIR R4)."""

_MODIFIERS: Final = ("modifier_1", "modifier_2", "modifier_3", "modifier_4")
_TEXTS: Final = (
    ("claim_line", "service_text"),
    ("claim_note", "text"),
    ("prior_auth", "denial_text"),
    ("prior_auth", "end_circumstance"),
    ("prior_auth_line", "service_text"),
)
"""Texts that may reveal a code of their claim or prior authorization."""
_COMPOUND: Final = "2"
_ICD_9: Final = "http://hl7.org/fhir/sid/icd-9-cm"
_DRG_SYSTEMS: Final = {
    "http://uri.hddaccess.com/cs/apdrg": CodeSystem.AP_DRG,
    "http://uri.hddaccess.com/cs/aprdrg": CodeSystem.APR_DRG,
    "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/AcuteInpatientPPS/"
    "MS-DRG-Classifications-and-Software": CodeSystem.MS_DRG,
}


@dataclass(frozen=True, slots=True)
class SensitiveCells:
    """Positions of sensitive codes in one column.

    Attributes:
        table: the table.
        column: the column.
        where: shape (rows of the table,).
        groups: shape (rows of the table,): the group of the code's line; null where it is none.
        withholds: shape (rows of the table,): codes that cannot be masked, because the profile
            requires them and has no code for a masked one. The claim is not published.
    """

    table: str
    column: str
    where: Bools
    groups: pa.StringArray
    withholds: Bools


@dataclass(frozen=True, slots=True)
class Masks:
    """Every cell of a partition with a sensitive code.

    Attributes:
        cells: by column; only those that hold one.
    """

    cells: tuple[SensitiveCells, ...] = ()

    def withheld(self, tables: Mapping[str, pa.Table]) -> pa.StringArray:
        """Return the ids of the claims that are not published; each once, in their order."""
        groups: set[str] = set()
        for cell in self.cells:
            if cell.withholds.any():
                ids = tables[cell.table].column("claim_id").filter(pa.array(cell.withholds))
                groups.update(ids.to_pylist())
        return pa.array(sorted(groups), pa.string())

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many codes there are: (table.column, group) -> count."""
        numbers: Counter[tuple[str, str]] = Counter()
        for cell in self.cells:
            for counted in pc.value_counts(cell.groups.filter(pa.array(cell.where))).to_pylist():
                numbers[f"{cell.table}.{cell.column}", counted["values"]] += counted["counts"]
        return numbers


@dataclass(frozen=True, slots=True)
class Masker:
    """Finds and takes out sensitive codes.

    Attributes:
        codes: the payer's value set.
        crosswalks: by name: those that give the system of a code, as in the mappings.
    """

    codes: SensitiveCodes
    crosswalks: Mapping[str, Crosswalk] = field(default_factory=dict)

    def masks(self, tables: Mapping[str, pa.Table]) -> Masks:
        """Return where sensitive codes stand in the accepted rows of a partition."""
        if not self.codes:
            return Masks()
        types = _Types(tables["claim"], self.crosswalks)
        masked_cells = [
            self._cell(tables, "claim_diagnosis", "code", self._diagnosis, "icd_version"),
            self._cell(tables, "claim_procedure", "code", self._procedure, "icd_version"),
            self._cell(tables, "claim", "drg_code", self._drg, "drg_system"),
            self._cell(tables, "claim_ingredient", "ndc", self._ndc),
            self._cell(tables, "claim_line", "ndc", self._ndc, withholds=types.sells_a_drug),
            self._cell(
                tables, "claim_line", "revenue_code", self._revenue, withholds=types.inpatient
            ),
            self._cell(
                tables, "claim_line", "service_code", self._service, withholds=types.professional
            ),
            *(self._cell(tables, "claim_line", name, self._modifier) for name in _MODIFIERS),
            *self._prior_auths(tables),
        ]
        return Masks(tuple(cell for cell in masked_cells if cell.where.any()))

    def _prior_auths(self, tables: Mapping[str, pa.Table]) -> Iterator[SensitiveCells]:
        """Yield the cells of prior authorizations: nothing that their profile requires."""
        yield self._cell(tables, "prior_auth_diagnosis", "code", self._diagnosis, "icd_version")
        for stem in ("", "approved_"):
            line = "prior_auth_line"
            yield self._cell(tables, line, f"{stem}service_code", self._service)
            yield self._cell(tables, line, f"{stem}revenue_code", self._revenue)
            for name in _MODIFIERS:
                yield self._cell(tables, line, f"{stem}{name}", self._modifier)

    def _cell(
        self,
        tables: Mapping[str, pa.Table],
        table: str,
        column: str,
        ask: Callable[[str, str | None], str | None],
        beside: str = "",
        withholds: Callable[[pa.Table], Bools] | None = None,
    ) -> SensitiveCells:
        """Check each distinct pair of a code and its cell in another column once."""
        rows = tables.get(table, empty_table(table))
        codes = column_of(rows, column)
        marks = column_of(rows, beside) if beside else pa.nulls(len(codes), pa.string())
        pairs = pc.if_else(
            codes.is_valid(),
            compound_keys(pc.coalesce(marks, ""), pc.coalesce(codes, "")),
            None,
        )
        groups = over_distinct(pairs, lambda texts: [_answer(ask, text) for text in texts])
        where: Bools = np.asarray(groups.is_valid()).copy()
        held = np.zeros(len(where), dtype=np.bool_)
        if withholds is not None and where.any():
            held = where & withholds(rows)
        return SensitiveCells(table, column, where, groups, held)

    def _system(self, name: str, word: str | None, otherwise: str) -> str | None:
        return self.crosswalks[name].answer(word or otherwise) if name in self.crosswalks else None

    def _diagnosis(self, code: str, version: str | None) -> str | None:
        nine = self._system("icd_diagnosis_system", version, "10") == _ICD_9
        own = CodeSystem.ICD_9_CM if nine else CodeSystem.ICD_10_CM
        return self.codes.group(DIAGNOSES & {own}, code)

    def _procedure(self, code: str, version: str | None) -> str | None:
        nine = self._system("icd_procedure_system", version, "10") == _ICD_9
        other = CodeSystem.ICD_10_PCS if nine else CodeSystem.ICD_9_PCS
        return self.codes.group(PROCEDURES - {other}, code)

    def _drg(self, code: str, system: str | None) -> str | None:
        drg_system = _DRG_SYSTEMS.get(self._system("drg_system", system, "MS-DRG") or "")
        return self.codes.group({drg_system} if drg_system else DRGS, code)

    def _ndc(self, code: str, _: str | None) -> str | None:
        return self.codes.group({CodeSystem.NDC}, code)

    def _revenue(self, code: str, _: str | None) -> str | None:
        return self.codes.group({CodeSystem.REVENUE}, code)

    def _service(self, code: str, _: str | None) -> str | None:
        return self.codes.group(SERVICES, code)

    def _modifier(self, code: str, _: str | None) -> str | None:
        return self.codes.group({CodeSystem.CPT, CodeSystem.HCPCS}, code, whole=True)


def mask_codes(tables: Mapping[str, pa.Table], masks: Masks) -> dict[str, pa.Table]:
    """Return the tables without the codes; the rest of their claims' rows as it was.

    * A diagnosis stays without its code: the mapping says `mask_codes` in its place.
    * A procedure and an ingredient are removed, with their rows.
    * Every other code is removed from its cell. The text of a service states that it is masked.
    * Texts of the claim or prior authorization are removed too: those of services, and notes, may
      reveal the code. So may a payer's own columns, whatever they hold.

    Args:
        tables: canonical tables.
        masks: of the same rows.
    """
    tables_masked = dict(tables)
    whole_rows = ("claim_procedure", "claim_ingredient")
    touched: dict[str, set[str]] = {key: set() for key in KEYS.values()}
    for cell in masks.cells:
        rows, key = tables[cell.table], KEYS[HEADER_OF[cell.table]]
        touched[key].update(rows.column(key).filter(pa.array(cell.where)).to_pylist())
        if cell.table not in whole_rows:
            tables_masked[cell.table] = _blanked(tables_masked[cell.table], cell.column, cell.where)
    own = ((table, each.name) for table in tables for each in TABLES[table].own_columns)
    for table, column in (*_TEXTS, *own):
        if table not in HEADER_OF or table not in tables:
            continue
        key = KEYS[HEADER_OF[table]]
        ids = pa.array(sorted(touched[key]), pa.string())
        here = true_where(pc.is_in(column_of(tables_masked[table], key), value_set=ids))
        tables_masked[table] = _blanked(tables_masked[table], column, here)
    for cell in masks.cells:
        if cell.column == "service_code":
            tables_masked[cell.table] = _put(
                tables_masked[cell.table], "service_text", cell.where, MASKED
            )
        if cell.table in whole_rows:
            tables_masked[cell.table] = tables_masked[cell.table].filter(pa.array(~cell.where))
    return tables_masked


class _Types:
    """Lines of claims with a profile that has no code for a masked one."""

    def __init__(self, claims: pa.Table, crosswalks: Mapping[str, Crosswalk]) -> None:
        self._ids = column_of(claims, "claim_id")
        self._types = column_of(claims, "claim_type")
        compound = crosswalks.get("compound_code")
        self._compound = over_distinct(
            column_of(claims, "compound_code"),
            lambda texts: [compound.answer(text) if compound else text for text in texts],
        )

    def inpatient(self, lines: pa.Table) -> Bools:
        """Inpatient `item.revenue` is 1..1, bound to NUBC's codes."""
        return self._of(lines, ["inpatient"])

    def professional(self, lines: pa.Table) -> Bools:
        """`EOB-vision-item-productorservice` forbids a missing code on all but vision claims."""
        return self._of(lines, ["professional"])

    def sells_a_drug(self, lines: pa.Table) -> Bools:
        """Pharmacy `item.productOrService` is an NDC, or a compound's literal."""
        plain = ~true_where(pc.equal(self._compound, _COMPOUND))
        return self._of(lines, ["pharmacy"]) & self._spread(lines, plain)

    def _of(self, lines: pa.Table, types: Iterable[str]) -> Bools:
        here = true_where(pc.is_in(self._types, value_set=pa.array(types, pa.string())))
        return self._spread(lines, here)

    def _spread(self, lines: pa.Table, of_claims: Bools) -> Bools:
        spread: Bools = np.append(of_claims, np.False_)[
            positions(column_of(lines, "claim_id"), self._ids)
        ]
        return spread


def _answer(ask: Callable[[str, str | None], str | None], pair: str) -> str | None:
    mark, _, code = pair.partition("\x1f")
    return ask(code, mark or None)


def _blanked(table: pa.Table, column: str, where: Bools) -> pa.Table:
    return _put(table, column, where, None)


def _put(table: pa.Table, column: str, where: Bools, text: str | None) -> pa.Table:
    if not where.any():
        return table
    cells = pc.if_else(pa.array(where), pa.scalar(text, pa.string()), column_of(table, column))
    return table.set_column(table.schema.get_field_index(column), column, cells)
