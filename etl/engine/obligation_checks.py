"""Check obligations by column: find rows whose resources break their profile.

The tests of `etl.mapping.obligations` are evaluated over the values that rendering has computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices, true_where
from etl.engine.evaluate import Values
from etl.engine.formula_masks import FormulaMasks
from etl.mapping.row_tests import (
    BrokenRows,
    DanglingReference,
    EntryNumbers,
    Obligation,
    RepeatedNumber,
    SharedNumber,
    Test,
    UnlistedNumber,
    UnnamedEntry,
)
from etl.rows import no_findings, once_each

_LINES: Final = "claim_line"


def broken_rows(
    values: Values,
    obligations: Iterable[Obligation],
    *,
    references: pa.StringArray,
    types: frozenset[str],
) -> pa.Table:
    """Find the rows of a partition that break a plan's obligations.

    Args:
        values: the plan's evaluated expressions.
        obligations: the plan's obligations; those without a test are skipped.
        references: `Type/id` of all resources of the partition.
        types: FHIR types whose resources are all in `references`; references to other types aren't
            checked.

    Returns:
        `etl.rows.FINDINGS_SCHEMA`, each finding once: about the claim line if an obligation is
        about one, else about the row that the resource is made of. `file` and `row` are null for
        rows that come from no file.
    """
    if values.levels[0].size == 0:
        return no_findings()
    checks = _Checks(values, references, types, FormulaMasks(values))
    findings = []
    for obligation in obligations:
        if obligation.test is not None:
            rows, level = checks.failing_rows(obligation.test)
            if len(rows):
                findings.append(checks.row_findings(obligation.rule, rows, level))
    return once_each(findings)


@dataclass(eq=False, slots=True)
class _Checks:
    values: Values
    references: pa.StringArray
    types: frozenset[str]
    masks: FormulaMasks

    def row_findings(self, rule: str, rows: Indices, level: int) -> pa.Table:
        """Return findings about rows of a level, or about their claim line or root row."""
        values = self.values
        while level and values.levels[level].table != _LINES:
            parent = values.levels[level].parent
            if parent is None:
                raise AssertionError(level)
            rows, level = values.outer_rows(level, parent)[rows], parent
        table_level = values.levels[level]
        rows = np.unique(rows)
        positions = rows if table_level.rows is None else table_level.rows[rows]
        return values.partition.findings(table_level.table, positions, rule)

    # -- tests -------------------------------------------------------------------------------

    def failing_rows(self, test: Test) -> tuple[Indices, int]:
        """Return the rows that fail a test, and their level."""
        match test:
            case BrokenRows(loops=loops, broken=formula):
                level = self.masks.enter(loops)
                return self.masks.where(self.masks.mask(formula, level), level), level
            case RepeatedNumber(numbers=numbers, loops=loops):
                level = self.masks.enter(loops)
                owners, keys = self.entry_numbers(numbers, level)
                return _owners_with_repeats(owners, keys), level
            case UnlistedNumber(named=named, listed=listed):
                return self.shared_numbers(named, listed, is_shared=False), 0
            case SharedNumber(left=left, right=right):
                return self.shared_numbers(left, right, is_shared=True), 0
            case UnnamedEntry():
                return self.unnamed_entries(test)
            case DanglingReference():
                return self.dangling_references(test)

    def entry_numbers(self, numbers: EntryNumbers, level: int) -> tuple[Indices, Indices]:
        """Return the numbers of entries, each with its owner: a row of `level`."""
        owners: list[Indices] = [np.empty(0, dtype=np.int64)]
        arrays: list[Indices] = [np.empty(0, dtype=np.int64)]
        for loops, is_present, number in numbers.sources:
            inner = self.masks.enter(loops)
            rows = self.masks.where(self.masks.mask(is_present, inner), inner)
            if not len(rows):
                continue
            owners.append(rows if inner == level else self.values.outer_rows(inner, level)[rows])
            if isinstance(number, int):
                arrays.append(np.full(len(rows), number, dtype=np.int64))
                continue
            texts = self.values.text(number, inner).take(pa.array(rows))
            if numbers.are_texts:
                texts = texts.dictionary_encode().indices
            arrays.append(np.asarray(pc.fill_null(texts.cast(pa.int64()), 0), dtype=np.int64))
        return np.concatenate(owners), np.concatenate(arrays)

    def shared_numbers(
        self, left: EntryNumbers, right: EntryNumbers, *, is_shared: bool
    ) -> Indices:
        """Return resources with a left number that is (not) one of their right numbers."""
        owners, numbers = self.entry_numbers(left, 0)
        if not len(owners):
            return owners
        in_right = np.isin(_join_keys(owners, numbers), _join_keys(*self.entry_numbers(right, 0)))
        return owners[in_right if is_shared else ~in_right]

    def unnamed_entries(self, test: UnnamedEntry) -> tuple[Indices, int]:
        level = self.masks.enter(test.loops)
        rows = self.masks.where(self.masks.mask(test.condition, level), level)
        if not len(rows):
            return rows, level
        owners, named_numbers = self.entry_numbers(test.named, level)
        roots = owners if level == 0 else self.values.outer_rows(level, 0)[owners]
        is_listed = np.isin(
            _join_keys(roots, named_numbers), _join_keys(*self.entry_numbers(test.listed, 0))
        )
        return rows[~np.isin(rows, owners[is_listed])], level

    def dangling_references(self, test: DanglingReference) -> tuple[Indices, int]:
        """Return rows with a reference to a resource that wasn't made."""
        level = self.masks.enter(test.loops)
        rows = self.masks.where(self.masks.mask(test.condition, level), level)
        texts = self.values.text(test.reference, level).take(pa.array(rows))
        is_checked = np.zeros(len(rows), dtype=np.bool_)
        for name in sorted(self.types):
            is_checked |= true_where(pc.starts_with(texts, f"{name}/"))
        if not is_checked.any():
            return rows[:0], level
        exists = np.asarray(pc.is_in(texts, value_set=self.references))
        return rows[is_checked & ~exists], level


def _join_keys(owners: Indices, numbers: Indices) -> Indices:
    return (owners << 32) | (numbers & 0xFFFFFFFF)


def _owners_with_repeats(owners: Indices, numbers: Indices) -> Indices:
    keys = _join_keys(owners, numbers)
    if (np.diff(keys) > 0).all():
        return keys[:0]
    ordered = np.sort(keys)
    return np.unique(ordered[1:][np.diff(ordered) == 0] >> 32)
