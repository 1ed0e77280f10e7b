"""Obligations by column: which rows of a partition make a resource that breaks its profile.

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
    made: pa.StringArray,
    types: frozenset[str],
) -> pa.Table:
    """Return the rows of a partition that break obligations of a plan.

    Args:
        values: the plan's expressions, as rendering left them.
        obligations: of the plan; those without a test are skipped.
        made: `Type/id` of all resources of the partition, to which references must lead.
        types: FHIR types of which `made` has all resources; others are not checked.

    Returns:
        `etl.rows.FINDINGS_SCHEMA`, each finding once: about the claim line where an obligation is
        about one, else about the row that the resource is made of. `file` and `row` are null for
        rows that come from no file.
    """
    if values.levels[0].size == 0:
        return no_findings()
    checks = _Checks(values, made, types, FormulaMasks(values))
    places = []
    for obligation in obligations:
        if obligation.test is not None:
            rows, level = checks.rows(obligation.test)
            if len(rows):
                places.append(checks.places(obligation.rule, rows, level))
    return once_each(places)


@dataclass(eq=False, slots=True)
class _Checks:
    values: Values
    made: pa.StringArray
    types: frozenset[str]
    masks: FormulaMasks

    def places(self, rule: str, rows: Indices, level: int) -> pa.Table:
        """Return findings about rows of a level, or about the nearest row above with a place."""
        values = self.values
        while level and values.levels[level].table != _LINES:
            parent = values.levels[level].parent
            if parent is None:
                raise AssertionError(level)
            rows, level = values.up(level, parent)[rows], parent
        position = values.levels[level]
        rows = np.unique(rows)
        positions = rows if position.rows is None else position.rows[rows]
        return values.partition.findings(position.table, positions, rule)

    # -- tests -------------------------------------------------------------------------------

    def rows(self, test: Test) -> tuple[Indices, int]:
        """Return the rows that a test finds, and their level."""
        match test:
            case BrokenRows(loops=loops, broken=formula):
                level = self.masks.enter(loops)
                return self.masks.where(self.masks.mask(formula, level), level), level
            case RepeatedNumber(numbers=numbers, loops=loops):
                level = self.masks.enter(loops)
                owners, keys = self.numbers(numbers, level)
                return _repeated(owners, keys), level
            case UnlistedNumber(named=named, known=known):
                return self.common(named, known, wanted=False), 0
            case SharedNumber(left=left, right=right):
                return self.common(left, right, wanted=True), 0
            case UnnamedEntry():
                return self.alone(test)
            case DanglingReference():
                return self.lost(test)

    def numbers(self, numbers: EntryNumbers, level: int) -> tuple[Indices, Indices]:
        """Return owners, which are rows of a level, and the numbers that their entries carry."""
        owners: list[Indices] = [np.empty(0, dtype=np.int64)]
        parts: list[Indices] = [np.empty(0, dtype=np.int64)]
        for loops, given, number in numbers.sources:
            positions = self.masks.enter(loops)
            rows = self.masks.where(self.masks.mask(given, positions), positions)
            if not len(rows):
                continue
            owners.append(rows if positions == level else self.values.up(positions, level)[rows])
            if isinstance(number, int):
                parts.append(np.full(len(rows), number, dtype=np.int64))
                continue
            texts = self.values.text(number, positions).take(pa.array(rows))
            if numbers.are_texts:
                texts = texts.dictionary_encode().indices
            parts.append(np.asarray(pc.fill_null(texts.cast(pa.int64()), 0), dtype=np.int64))
        return np.concatenate(owners), np.concatenate(parts)

    def common(self, left: EntryNumbers, right: EntryNumbers, *, wanted: bool) -> Indices:
        """Return resources with a left number that some right one is, or (`wanted`) is not."""
        owners, named = self.numbers(left, 0)
        if not len(owners):
            return owners
        is_common = np.isin(_keys(owners, named), _keys(*self.numbers(right, 0)))
        return owners[is_common if wanted else ~is_common]

    def alone(self, test: UnnamedEntry) -> tuple[Indices, int]:
        level = self.masks.enter(test.loops)
        rows = self.masks.where(self.masks.mask(test.given, level), level)
        if not len(rows):
            return rows, level
        owners, named = self.numbers(test.named, level)
        roots = owners if level == 0 else self.values.up(level, 0)[owners]
        is_known = np.isin(_keys(roots, named), _keys(*self.numbers(test.known, 0)))
        return rows[~np.isin(rows, owners[is_known])], level

    def lost(self, test: DanglingReference) -> tuple[Indices, int]:
        """Return rows with a reference that leads to no resource of the partition."""
        level = self.masks.enter(test.loops)
        rows = self.masks.where(self.masks.mask(test.given, level), level)
        texts = self.values.text(test.reference, level).take(pa.array(rows))
        meant = np.zeros(len(rows), dtype=np.bool_)
        for name in sorted(self.types):
            meant |= true_where(pc.starts_with(texts, f"{name}/"))
        if not meant.any():
            return rows[:0], level
        is_made = np.asarray(pc.is_in(texts, value_set=self.made))
        return rows[meant & ~is_made], level


def _keys(owners: Indices, named: Indices) -> Indices:
    return (owners << 32) | (named & 0xFFFFFFFF)


def _repeated(owners: Indices, named: Indices) -> Indices:
    keys = _keys(owners, named)
    if (np.diff(keys) > 0).all():
        return keys[:0]
    ordered = np.sort(keys)
    return np.unique(ordered[1:][np.diff(ordered) == 0] >> 32)
