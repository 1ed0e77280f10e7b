"""Evaluate formulas by column: the rows of a level for which each is true.

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
from etl.engine.evaluate import Values, collapse, combine, either
from etl.mapping import formulas as fm
from etl.mapping.expressions import Constant, Expr
from etl.mapping.plan import Loop
from etl.model import logic
from etl.model.code_shapes import SHAPES
from etl.profiles.structures import primitives

_MAX_INTEGER: Final = 2**31 - 1
"""FHIR integers have 32 bits."""

_MIN_INTEGERS: Final[Mapping[str, int]] = MappingProxyType({"positiveInt": 1, "unsignedInt": 0})


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
        """Enter nested loops; return the level of the innermost one."""
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
        """Return the rows for which a formula is true; a bool if all rows agree."""
        if isinstance(formula, bool):
            return formula
        key = (id(formula), level)
        if key not in self._masks:
            self._masks[key] = collapse(self._evaluate(formula, level))
        return self._masks[key]

    def _evaluate(self, formula: fm.Formula, level: int) -> Bools | bool:
        match formula:
            case bool():
                return formula
            case logic.AllOf() | logic.AnyOf() | logic.Not():
                return combine(formula, lambda part: self.mask(part, level))
            case fm.SomeRow(loop=loop, inner=inner):
                return self._any_entry_at_level(loop, inner, level)
            case fm.MinCount(entries=entries, least=least):
                return self._entry_counts(entries, level) >= least
            case fm.WrongFormat(of=of, type=name):
                return self._is_misshapen(of, name, level)
            case fm.StartsWith(of=of, text=text):
                return true_where(pc.starts_with(self.values.text(of, level), text))
            case fm.AllowedCoding():
                return self._is_coded(formula, level)
            case _:
                return self.values.holds(formula, level)

    def _any_entry_at_level(self, loop: Loop, inner: fm.Formula, level: int) -> Bools | bool:
        if level != loop.around:
            return self._expand(self._any_entry(loop, inner), loop.around, level)
        return self._any_entry(loop, inner)

    def _any_entry(self, loop: Loop, inner: fm.Formula) -> Bools | bool:
        loop_rows = self.values.enter(loop)
        mask = self.mask(inner, loop.level)
        if mask is False or loop_rows.size == 0:
            return False
        if mask is True:
            return np.diff(loop_rows.starts) > 0
        matches_before = np.concatenate(([0], np.cumsum(mask)))
        return np.diff(matches_before[loop_rows.starts]) > 0

    def _expand(self, mask: Bools | bool, home: int, level: int) -> Bools | bool:
        if isinstance(mask, bool) or home == level:
            return mask
        return mask[self.values.up(level, home)]

    def _entry_counts(
        self, entries: Sequence[tuple[tuple[Loop, ...], fm.Formula]], level: int
    ) -> Indices:
        size = self.values.levels[level].size
        counts = np.zeros(size, dtype=np.int64)
        for loops, formula in entries:
            if not loops:
                counts += np.asarray(self.mask(formula, level))
                continue
            inner_level = self.enter(loops)
            rows = self.where(self.mask(formula, inner_level), inner_level)
            counts += np.bincount(self.values.up(inner_level, level)[rows], minlength=size)
        return counts

    def _is_coded(self, formula: fm.AllowedCoding, level: int) -> Bools | bool:
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
        systems, code_texts = self.values.text(system, level), self.values.text(code, level)
        pairs = pa.array(
            [f"{system_name}|{code}" for system_name, code in sorted(formula.pairs)], pa.string()
        )
        is_coded = pc.is_in(
            pc.binary_join_element_wise(systems, code_texts, "|"), value_set=pairs, skip_nulls=True
        )
        coded_rows: Bools | bool = true_where(is_coded)
        if formula.open_systems:
            open_systems = pa.array(sorted(formula.open_systems), pa.string())
            is_open = pc.and_(pc.is_in(systems, value_set=open_systems), code_texts.is_valid())
            coded_rows = either(coded_rows, true_where(is_open))
        return coded_rows

    def _is_misshapen(self, expr: Expr, name: str, level: int) -> Bools | bool:
        own_level = self.values.home(expr)
        key = (expr, name)
        if key not in self._shapes:
            self._shapes[key] = collapse(_misshapen_values(self.values.text(expr, own_level), name))
        return self._expand(self._shapes[key], own_level, level)


def _misshapen_values(texts: pa.StringArray, name: str) -> Bools | bool:
    if name in _MIN_INTEGERS:
        numbers = texts.cast(pa.int64())
        is_out_of_range = pc.or_(
            pc.less(numbers, _MIN_INTEGERS[name]), pc.greater(numbers, _MAX_INTEGER)
        )
        return true_where(is_out_of_range)
    if name in SHAPES:
        return true_where(_find_unfit(texts, SHAPES[name]))
    data = text_bytes(texts)
    if not (data <= 0x20).any() and not pc.any(pc.equal(texts, "")).as_py():
        return False  # every format allows values without blanks and control characters
    pattern = re.compile(primitives()[name] or "", re.ASCII)
    return true_where(_find_unfit(texts, lambda text: text != "" and bool(pattern.fullmatch(text))))


def _find_unfit(texts: pa.StringArray, fits: Callable[[str], bool]) -> pa.BooleanArray:
    unfit_marks = over_distinct(
        texts, lambda distinct_texts: ["N" if not fits(text) else None for text in distinct_texts]
    )
    return unfit_marks.is_valid()
