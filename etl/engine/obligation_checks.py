"""Obligations by column: which rows of a partition make a resource that breaks its profile.

The tests of `etl.mapping.obligations` are evaluated over the values that rendering has computed:
masks of presence, and texts. Nearly every formula is false for all rows after its first part, and
costs that part alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, over_distinct, text_bytes, true_where
from etl.engine.evaluate import Values, both, either, opposite
from etl.mapping.expressions import Constant, Expr
from etl.mapping.formulas import (
    All,
    Amount,
    Any_,
    Begins,
    Coded,
    Formula,
    Misshapen,
    No,
    Some,
    When,
)
from etl.mapping.obligations import Obligation
from etl.mapping.plan import Loop
from etl.mapping.row_tests import Alone, Nowhere, Numbers, Points, Rows, Shared, Test, Twice
from etl.model.code_shapes import SHAPES
from etl.profiles.structures import primitives
from etl.rows import no_findings, once_each

_LINES: Final = "claim_line"
_MOST: Final = 2**31 - 1
"""Largest of FHIR's integers, which have 32 bits."""

_LEAST: Final[Mapping[str, int]] = MappingProxyType({"positiveInt": 1, "unsignedInt": 0})


def broken_rows(
    values: Values,
    obligations: Iterable[Obligation],
    *,
    made: pa.StringArray | None = None,
    types: frozenset[str] = frozenset(),
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
    checks = _Checks(values, made, types)
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
    made: pa.StringArray | None
    types: frozenset[str]
    _masks: dict[tuple[int, int], Bools | bool] = field(default_factory=dict)
    _shapes: dict[tuple[Expr, str], Bools | bool] = field(default_factory=dict)

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
            case Rows(loops=loops, broken=formula):
                level = self.enter(loops)
                return self.where(self.mask(formula, level), level), level
            case Twice(numbers=numbers, loops=loops):
                level = self.enter(loops)
                owners, keys = self.numbers(numbers, level)
                return _repeated(owners, keys), level
            case Nowhere(named=named, known=known):
                return self.common(named, known, wanted=False), 0
            case Shared(left=left, right=right):
                return self.common(left, right, wanted=True), 0
            case Alone():
                return self.alone(test)
            case Points():
                return self.lost(test)

    def enter(self, loops: Sequence[Loop]) -> int:
        level = 0
        for loop in loops:
            self.values.enter(loop)
            level = loop.level
        return level

    def where(self, mask: Bools | bool, level: int) -> Indices:
        if mask is False:
            return np.empty(0, dtype=np.int64)
        size = self.values.levels[level].size
        return np.arange(size) if mask is True else np.flatnonzero(mask)

    def numbers(self, numbers: Numbers, level: int) -> tuple[Indices, Indices]:
        """Return owners, which are rows of a level, and the numbers that their entries carry."""
        owners: list[Indices] = [np.empty(0, dtype=np.int64)]
        parts: list[Indices] = [np.empty(0, dtype=np.int64)]
        for loops, given, number in numbers.sources:
            positions = self.enter(loops)
            rows = self.where(self.mask(given, positions), positions)
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

    def common(self, left: Numbers, right: Numbers, *, wanted: bool) -> Indices:
        """Return resources with a left number that some right one is, or (`wanted`) is not."""
        owners, named = self.numbers(left, 0)
        if not len(owners):
            return owners
        is_common = np.isin(_keys(owners, named), _keys(*self.numbers(right, 0)))
        return owners[is_common if wanted else ~is_common]

    def alone(self, test: Alone) -> tuple[Indices, int]:
        level = self.enter(test.loops)
        rows = self.where(self.mask(test.given, level), level)
        if not len(rows):
            return rows, level
        owners, named = self.numbers(test.named, level)
        roots = owners if level == 0 else self.values.up(level, 0)[owners]
        is_known = np.isin(_keys(roots, named), _keys(*self.numbers(test.known, 0)))
        return rows[~np.isin(rows, owners[is_known])], level

    def lost(self, test: Points) -> tuple[Indices, int]:
        """Return rows with a reference that leads to no resource of the partition."""
        level = self.enter(test.loops)
        if self.made is None:
            return np.empty(0, dtype=np.int64), level
        rows = self.where(self.mask(test.given, level), level)
        texts = self.values.text(test.reference, level).take(pa.array(rows))
        meant = np.zeros(len(rows), dtype=np.bool_)
        for name in sorted(self.types):
            meant |= true_where(pc.starts_with(texts, f"{name}/"))
        if not meant.any():
            return np.empty(0, dtype=np.int64), level
        is_made = np.asarray(pc.is_in(texts, value_set=self.made))
        return rows[meant & ~is_made], level

    # -- formulas ----------------------------------------------------------------------------

    def mask(self, formula: Formula, level: int) -> Bools | bool:
        """Return where a formula is true; True or False where that is the same in every row."""
        if isinstance(formula, bool):
            return formula
        key = (id(formula), level)
        if key not in self._masks:
            self._masks[key] = _settled(self._mask(formula, level))
        return self._masks[key]

    def _mask(self, formula: Formula, level: int) -> Bools | bool:
        match formula:
            case bool():
                return formula
            case When(condition=condition):
                return self.values.holds(condition, level)
            case No(of=of):
                return opposite(self.mask(of, level))
            case All(parts=parts):
                result: Bools | bool = True
                for part in parts:
                    result = _settled(both(result, self.mask(part, level)))
                    if result is False:
                        return False
                return result
            case Any_(parts=parts):
                result = False
                for part in parts:
                    result = _settled(either(result, self.mask(part, level)))
                    if result is True:
                        return True
                return result
            case Some(loop=loop, inner=inner):
                return self.lifted_mask_of_some(loop, inner, level)
            case Amount(entries=entries, least=least):
                return self.count(entries, level) >= least
            case Misshapen(of=of, type=name):
                return self.misshapen(of, name, level)
            case Begins(of=of, text=text):
                return true_where(pc.starts_with(self.values.text(of, level), text))
            case Coded():
                return self.coded(formula, level)

    def lifted_mask_of_some(self, loop: Loop, inner: Formula, level: int) -> Bools | bool:
        if level != loop.around:
            return self.lifted(self.mask_of_some(loop, inner), loop.around, level)
        return self.mask_of_some(loop, inner)

    def mask_of_some(self, loop: Loop, inner: Formula) -> Bools | bool:
        rows = self.values.enter(loop)
        mask = self.mask(inner, loop.level)
        if mask is False or rows.size == 0:
            return False
        if mask is True:
            return np.diff(rows.starts) > 0
        running = np.concatenate(([0], np.cumsum(mask)))
        return np.diff(running[rows.starts]) > 0

    def lifted(self, mask: Bools | bool, home: int, level: int) -> Bools | bool:
        if isinstance(mask, bool) or home == level:
            return mask
        return mask[self.values.up(level, home)]

    def count(self, entries: Sequence[tuple[tuple[Loop, ...], Formula]], level: int) -> Indices:
        size = self.values.levels[level].size
        total = np.zeros(size, dtype=np.int64)
        for loops, formula in entries:
            if not loops:
                total += np.asarray(self.mask(formula, level))
                continue
            positions = self.enter(loops)
            rows = self.where(self.mask(formula, positions), positions)
            total += np.bincount(self.values.up(positions, level)[rows], minlength=size)
        return total

    def coded(self, formula: Coded, level: int) -> Bools | bool:
        system, code = formula.system, formula.code
        if isinstance(system, Constant):
            if system.value in formula.open_systems:
                return true_where(self.values.text(code, level).is_valid())
            codes = [
                code for system_name, code in sorted(formula.pairs) if system_name == system.value
            ]
            return true_where(
                pc.is_in(self.values.text(code, level), value_set=pa.array(codes, pa.string()))
            )
        systems, codes_of = self.values.text(system, level), self.values.text(code, level)
        pairs = pa.array(
            [f"{system_name}|{code}" for system_name, code in sorted(formula.pairs)], pa.string()
        )
        is_coded = pc.is_in(
            pc.binary_join_element_wise(systems, codes_of, "|"), value_set=pairs, skip_nulls=True
        )
        coded_rows: Bools | bool = true_where(is_coded)
        if formula.open_systems:
            opened = pa.array(sorted(formula.open_systems), pa.string())
            free = pc.and_(pc.is_in(systems, value_set=opened), codes_of.is_valid())
            coded_rows = either(coded_rows, true_where(free))
        return coded_rows

    def misshapen(self, expr: Expr, name: str, level: int) -> Bools | bool:
        home = self.values.home(expr)
        key = (expr, name)
        if key not in self._shapes:
            self._shapes[key] = _settled(_misshapen(self.values.text(expr, home), name))
        return self.lifted(self._shapes[key], home, level)


def _misshapen(texts: pa.StringArray, name: str) -> Bools | bool:
    if name in _LEAST:
        numbers = texts.cast(pa.int64())
        bad = pc.or_(pc.less(numbers, _LEAST[name]), pc.greater(numbers, _MOST))
        return true_where(bad)
    if name in SHAPES:
        return true_where(_holding(texts, SHAPES[name]))
    data = text_bytes(texts)
    if not (data <= 0x20).any() and not pc.any(pc.equal(texts, "")).as_py():
        return False  # no blank, no control character, nothing empty: every form allows it
    pattern = re.compile(primitives()[name] or "", re.ASCII)
    return true_where(_holding(texts, lambda text: text != "" and bool(pattern.fullmatch(text))))


def _holding(texts: pa.StringArray, fits: Callable[[str], bool]) -> pa.BooleanArray:
    marks = over_distinct(
        texts, lambda all_of: ["N" if not fits(text) else None for text in all_of]
    )
    return marks.is_valid()


def _settled(mask: Bools | bool) -> Bools | bool:
    if isinstance(mask, bool):
        return mask
    if not mask.any():
        return False
    return True if mask.all() else mask


def _keys(owners: Indices, named: Indices) -> Indices:
    return (owners << 32) | (named & 0xFFFFFFFF)


def _repeated(owners: Indices, named: Indices) -> Indices:
    keys = _keys(owners, named)
    if len(keys) < 2 or (np.diff(keys) > 0).all():
        return np.empty(0, dtype=np.int64)
    ordered = np.sort(keys)
    return np.unique(ordered[1:][np.diff(ordered) == 0] >> 32)
