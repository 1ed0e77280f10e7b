"""Evaluate formulas by column: the rows of a level for which each is true.

The formulas of `etl.mapping.formulas` are evaluated over the values that rendering has computed:
masks of presence, and texts. For most formulas the first part is false in all rows; then the other
parts aren't evaluated.
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
from etl.engine.evaluate import Values, any_of, collapse, combine
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
                return self._expand(self._any_row(loop, inner), loop.around, level)
            case fm.MinCount(entries=entries, least=least):
                return self._entry_counts(entries, level) >= least
            case fm.WrongFormat(operand=operand, type=name):
                return self._has_wrong_format(operand, name, level)
            case fm.StartsWith(operand=operand, text=text):
                return true_where(pc.starts_with(self.values.text(operand, level), text))
            case fm.AllowedCoding():
                return self._is_allowed_coding(formula, level)
            case _:
                return self.values.holds(formula, level)

    def _any_row(self, loop: Loop, inner: fm.Formula) -> Bools | bool:
        """Return the rows around a loop for which a row of the loop fulfills a formula."""
        loop_rows = self.values.enter(loop)
        mask = self.mask(inner, loop.level)
        if mask is False or loop_rows.size == 0:
            return False
        if mask is True:
            return np.diff(loop_rows.starts) > 0
        matches_before = np.concatenate(([0], np.cumsum(mask)))
        return np.diff(matches_before[loop_rows.starts]) > 0

    def _expand(self, mask: Bools | bool, outer_level: int, level: int) -> Bools | bool:
        """Return the mask of an outer level for the rows of a level inside it."""
        if isinstance(mask, bool) or outer_level == level:
            return mask
        return mask[self.values.outer_rows(level, outer_level)]

    def _entry_counts(self, entries: Sequence[tuple[fm.Loops, fm.Formula]], level: int) -> Indices:
        """Return the number of present entries of each row of a level."""
        size = self.values.levels[level].size
        counts = np.zeros(size, dtype=np.int64)
        for loops, formula in entries:
            if not loops:
                counts += np.asarray(self.mask(formula, level))
                continue
            inner_level = self.enter(loops)
            rows = self.where(self.mask(formula, inner_level), inner_level)
            counts += np.bincount(self.values.outer_rows(inner_level, level)[rows], minlength=size)
        return counts

    def _is_allowed_coding(self, formula: fm.AllowedCoding, level: int) -> Bools | bool:
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
        codings = pc.binary_join_element_wise(systems, code_texts, "|")
        allowed: Bools | bool = true_where(pc.is_in(codings, value_set=pairs, skip_nulls=True))
        if formula.open_systems:
            open_systems = pa.array(sorted(formula.open_systems), pa.string())
            is_open = pc.and_(pc.is_in(systems, value_set=open_systems), code_texts.is_valid())
            allowed = any_of(allowed, true_where(is_open))
        return allowed

    def _has_wrong_format(self, expr: Expr, name: str, level: int) -> Bools | bool:
        own_level = self.values.own_level(expr)
        key = (expr, name)
        if key not in self._shapes:
            self._shapes[key] = collapse(_wrong_values(self.values.text(expr, own_level), name))
        return self._expand(self._shapes[key], own_level, level)


def _wrong_values(texts: pa.StringArray, name: str) -> Bools | bool:
    if name in _MIN_INTEGERS:
        numbers = texts.cast(pa.int64())
        is_out_of_range = pc.or_(
            pc.less(numbers, _MIN_INTEGERS[name]), pc.greater(numbers, _MAX_INTEGER)
        )
        return true_where(is_out_of_range)
    if name in SHAPES:
        return true_where(_unmatched(texts, SHAPES[name]))
    data = text_bytes(texts)
    if not (data <= 0x20).any() and not pc.any(pc.equal(texts, "")).as_py():
        return False  # every format allows values without blanks and control characters
    pattern = re.compile(primitives()[name] or "", re.ASCII)
    return true_where(_unmatched(texts, lambda text: text != "" and bool(pattern.fullmatch(text))))


def _unmatched(texts: pa.StringArray, matches: Callable[[str], bool]) -> pa.BooleanArray:
    marks = over_distinct(
        texts, lambda distinct: [None if matches(text) else "N" for text in distinct]
    )
    return marks.is_valid()
