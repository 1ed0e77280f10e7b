"""Formulas by column: where each is true of the rows of a plan's levels.

The formulas of `etl.mapping.formulas` are evaluated over the values that rendering has computed:
masks of presence, and texts. Nearly every formula is false for all rows after its first part, and
costs that part alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, over_distinct, text_bytes, true_where
from etl.engine.evaluate import Values, combined, either, settled
from etl.mapping import formulas as fm
from etl.mapping.expressions import Constant, Expr
from etl.mapping.plan import Loop
from etl.model import logic
from etl.model.code_shapes import SHAPES
from etl.profiles.structures import primitives

_MOST: Final = 2**31 - 1
"""Largest of FHIR's integers, which have 32 bits."""

_LEAST: Final[Mapping[str, int]] = MappingProxyType({"positiveInt": 1, "unsignedInt": 0})


@dataclass(eq=False, slots=True)
class FormulaMasks:
    """Evaluates formulas of one plan over one partition; results are cached.

    Attributes:
        values: the plan's expressions.
    """

    values: Values
    _masks: dict[tuple[int, int], Bools | bool] = field(default_factory=dict)
    _shapes: dict[tuple[Expr, str], Bools | bool] = field(default_factory=dict)

    def enter(self, loops: Sequence[Loop]) -> int:
        """Return the level that some nested loops lead to."""
        level = 0
        for loop in loops:
            self.values.enter(loop)
            level = loop.level
        return level

    def where(self, mask: Bools | bool, level: int) -> Indices:
        """Return the positions of the rows of a level where a mask is true."""
        if mask is False:
            return np.empty(0, dtype=np.int64)
        size = self.values.levels[level].size
        return np.arange(size) if mask is True else np.flatnonzero(mask)

    def mask(self, formula: fm.Formula, level: int) -> Bools | bool:
        """Return where a formula is true; True or False where that is the same in every row."""
        if isinstance(formula, bool):
            return formula
        key = (id(formula), level)
        if key not in self._masks:
            self._masks[key] = settled(self._mask(formula, level))
        return self._masks[key]

    def _mask(self, formula: fm.Formula, level: int) -> Bools | bool:
        match formula:
            case bool():
                return formula
            case logic.AllOf() | logic.AnyOf() | logic.Not():
                return combined(formula, lambda part: self.mask(part, level))
            case fm.Some(loop=loop, inner=inner):
                return self._lifted_some(loop, inner, level)
            case fm.MinCount(entries=entries, least=least):
                return self._count(entries, level) >= least
            case fm.Misshapen(of=of, type=name):
                return self._misshapen(of, name, level)
            case fm.Begins(of=of, text=text):
                return true_where(pc.starts_with(self.values.text(of, level), text))
            case fm.Coded():
                return self._coded(formula, level)
            case _:
                return self.values.holds(formula, level)

    def _lifted_some(self, loop: Loop, inner: fm.Formula, level: int) -> Bools | bool:
        if level != loop.around:
            return self._lifted(self._some(loop, inner), loop.around, level)
        return self._some(loop, inner)

    def _some(self, loop: Loop, inner: fm.Formula) -> Bools | bool:
        rows = self.values.enter(loop)
        mask = self.mask(inner, loop.level)
        if mask is False or rows.size == 0:
            return False
        if mask is True:
            return np.diff(rows.starts) > 0
        running = np.concatenate(([0], np.cumsum(mask)))
        return np.diff(running[rows.starts]) > 0

    def _lifted(self, mask: Bools | bool, home: int, level: int) -> Bools | bool:
        if isinstance(mask, bool) or home == level:
            return mask
        return mask[self.values.up(level, home)]

    def _count(self, entries: Sequence[tuple[tuple[Loop, ...], fm.Formula]], level: int) -> Indices:
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

    def _coded(self, formula: fm.Coded, level: int) -> Bools | bool:
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

    def _misshapen(self, expr: Expr, name: str, level: int) -> Bools | bool:
        home = self.values.home(expr)
        key = (expr, name)
        if key not in self._shapes:
            self._shapes[key] = settled(_misshapen_values(self.values.text(expr, home), name))
        return self._lifted(self._shapes[key], home, level)


def _misshapen_values(texts: pa.StringArray, name: str) -> Bools | bool:
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
