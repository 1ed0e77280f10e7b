"""Expressions and conditions over the rows of a plan's levels, a whole column at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, join, over_distinct, text_bytes, true_where, valid
from etl.columns.codes import are_npis
from etl.columns.navigation import Children, starts_of
from etl.engine.partition_columns import Partition
from etl.mapping import expressions as ex
from etl.mapping.plan import Environment, Loop, Plan
from etl.model import logic
from etl.model.code_shapes import SHAPES
from etl.model.logical_ids import ID_BYTES
from etl.model.relations import Many, One, relations_of

_QUOTE, _BACKSLASH, _FIRST_PRINTABLE = 0x22, 0x5C, 0x20
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = np.frombuffer(
    "".join(first + second for first in _BASE32 for second in _BASE32).encode(), dtype=np.uint16
)
"""Ten bits -> two base-32 characters, as one number."""
_TEN_BIT_SHIFTS: Final = np.array([30, 20, 10, 0], dtype=np.uint64)
_ID_CHARACTERS: Final = ID_BYTES * 8 // 5
_SHORT_ESCAPES: Final = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CONTROL_ESCAPES: Final = tuple(
    (chr(code), _SHORT_ESCAPES.get(code, f"\\u{code:04x}")) for code in range(0x20)
)


def escape_json(column: pa.StringArray) -> pa.StringArray:
    """Escape a column's text for JSON strings (RFC 8259 §7).

    Few columns need escapes, so the bytes are scanned first.
    """
    data = text_bytes(column)
    needs_escape = (data < _FIRST_PRINTABLE) | (data == _QUOTE) | (data == _BACKSLASH)
    if not needs_escape.any():
        return column
    escaped_bytes = np.unique(data[needs_escape])
    escaped = column
    if _BACKSLASH in escaped_bytes:  # first, since the other escapes add backslashes
        escaped = pc.replace_substring(escaped, "\\", "\\\\")
    if _QUOTE in escaped_bytes:
        escaped = pc.replace_substring(escaped, '"', '\\"')
    for byte in escaped_bytes[escaped_bytes < _FIRST_PRINTABLE]:
        escaped = pc.replace_substring(escaped, *_CONTROL_ESCAPES[byte])
    return escaped


def logical_ids(column: pa.StringArray, resource: str, environment: Environment) -> pa.StringArray:
    """Return a column's logical IDs: `Environment.logical_id` for many keys at once."""
    encoded = column.dictionary_encode()
    keys = encoded.dictionary.to_pylist()
    ids = hash_keys(keys, resource, environment)
    return ids if len(keys) == len(column) else ids.take(encoded.indices)


def hash_keys(keys: Sequence[str], resource: str, environment: Environment) -> pa.StringArray:
    """Hash the business keys of one resource type to logical IDs."""
    salted = blake2b(environment.salt(resource), digest_size=ID_BYTES, key=environment.id_key)
    digests = []
    for key in keys:
        state = salted.copy()
        state.update(key.encode())
        digests.append(state.digest())
    five_bytes = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 5)
    numbers = np.zeros((len(five_bytes), 8), dtype=np.uint8)
    numbers[:, 3:] = five_bytes
    tens = numbers.view(">u8").astype(np.uint64) >> _TEN_BIT_SHIFTS & np.uint64(0x3FF)
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * np.int32(_ID_CHARACTERS)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(_PAIRS[tens]))


@dataclass(eq=False)
class Level:
    """The rows of one level of a plan.

    Attributes:
        table: table of the rows.
        size: number of rows.
        rows: their positions in the table; None for all, in order.
        parent: level of the rows around them; None for level 0.
        parents: position of each row's parent in that level, ascending; None for level 0.
        items: values of a list column, if the rows are those.
        list_column: level of the rows with that list column, and its name.
        parent_size: number of rows of the parent level.
    """

    table: str
    size: int
    rows: Indices | None = None
    parent: int | None = None
    parents: Indices | None = None
    items: pa.StringArray | None = None
    list_column: tuple[int, str] = (0, "")
    parent_size: int = 0

    @cached_property
    def starts(self) -> Indices:
        """Position of the first row of each parent, and one more for the end."""
        parents = self.parents if self.parents is not None else np.empty(0, dtype=np.int64)
        return starts_of(parents, self.parent_size)


@dataclass(eq=False)
class Values:
    """Evaluates expressions of one plan over one partition; results are cached.

    Attributes:
        plan: the plan.
        partition: accepted rows.
        environment: ids, crosswalks, providers.
        levels: number of a level -> its rows, once it was entered.
        loop_masks: number of a loop's level -> the rows that its condition accepts.
    """

    plan: Plan
    partition: Partition
    environment: Environment
    levels: dict[int, Level] = field(default_factory=dict)
    loop_masks: dict[int, Bools | bool] = field(default_factory=dict)
    _texts: dict[tuple[ex.Expr, int], pa.StringArray] = field(default_factory=dict)
    _evaluated: list[tuple[ex.Expr, int]] = field(default_factory=list)
    _escaped: dict[tuple[ex.Expr, int], pa.StringArray] = field(default_factory=dict)
    _conditions: dict[tuple[ex.Condition, int], Bools | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = self.plan.table
        self.levels[0] = Level(table, self.partition.size(table))
        holds = self.holds(self.plan.condition, 0)
        if holds is not True:
            rows = np.flatnonzero(holds) if holds is not False else np.empty(0, dtype=np.int64)
            self.levels[0] = Level(table, len(rows), rows)
            self._texts.clear()
            self._evaluated.clear()
            self._conditions.clear()

    # -- levels ------------------------------------------------------------------------------

    def enter(self, loop: Loop) -> Level:
        """Return the level of a loop's rows; created at first use."""
        if loop.level not in self.levels:
            outer_level = self.levels[loop.around]
            level = (
                self._list_items(loop, loop.relation)
                if isinstance(loop.relation, str)
                else self._children(loop, loop.relation)
            )
            level.parent_size = outer_level.size
            self.levels[loop.level] = level
            self.loop_masks[loop.level] = self.holds(loop.condition, loop.level)
        return self.levels[loop.level]

    def _children(self, loop: Loop, relation: Many) -> Level:
        owner_level = self.levels[loop.parent]
        children = self.partition.children(owner_level.table, relation)
        rows, parents = children.rows, children.parents
        owner_rows = owner_level.rows
        if loop.parent != loop.around:
            outer_rows = self.outer_rows(loop.around, loop.parent)
            owner_rows = outer_rows if owner_rows is None else owner_rows[outer_rows]
        if owner_rows is not None:
            rows, parents = _group_by_parents(children, owner_rows)
        return Level(relation.table, len(rows), rows, loop.around, parents)

    def _list_items(self, loop: Loop, column: str) -> Level:
        texts = self._column_values(loop.parent, (), column)
        if loop.parent != loop.around:
            texts = texts.take(pa.array(self.outer_rows(loop.around, loop.parent)))
        lists = pc.split_pattern(texts, ";")
        parents = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
        items = pc.list_flatten(lists)
        table = self.plan.tables[loop.level]
        owner = (loop.parent, column)
        return Level(table, len(items), None, loop.around, parents, items, owner)

    def outer_rows(self, from_level: int, to_level: int) -> Indices:
        """Return, for each row of a level, the position of its row in a level around it."""
        level = self.levels[from_level]
        if level.parents is None or level.parent is None:
            raise AssertionError(f"level {to_level} is not around level {from_level}")
        if level.parent == to_level:
            return level.parents
        return self.outer_rows(level.parent, to_level)[level.parents]

    # -- texts -------------------------------------------------------------------------------

    def evaluated(self) -> tuple[tuple[ex.Expr, int], ...]:
        """Return every expression that was evaluated, with the level that it reads."""
        return tuple(self._evaluated)

    def own_level(self, node: ex.Expr | ex.Condition) -> int:
        """Return the deepest level that an expression or condition reads."""
        return max(
            (part.level for part in ex.walk(node) if isinstance(part, ex.ColumnOf | ex.LoopIndex)),
            default=0,
        )

    def text(self, expr: ex.Expr, level: int) -> pa.StringArray:
        """Return the values of an expression; shape (rows of the level,), null if absent."""
        key = (expr, level)
        texts = self._texts.get(key)
        if texts is None:
            home = self.own_level(expr) if level else 0
            if home == level:
                texts = self._evaluate(expr, level)
                self._evaluated.append(key)
            else:
                texts = self.text(expr, home).take(pa.array(self.outer_rows(level, home)))
            self._texts[key] = texts
        return texts

    def json_text(self, expr: ex.Expr, level: int) -> pa.StringArray:
        """Return the values of an expression, escaped for JSON where they may need it."""
        if expr.kind.plain or isinstance(expr, ex.LogicalId | ex.ProviderReference):
            return self.text(expr, level)
        key = (expr, level)
        texts = self._escaped.get(key)
        if texts is None:
            texts = self._escaped[key] = escape_json(self.text(expr, level))
        return texts

    def _evaluate(self, expr: ex.Expr, level: int) -> pa.StringArray:
        match expr:
            case ex.Constant(value=value):
                return pa.repeat(value, self.levels[level].size).cast(pa.string())
            case ex.Absent():
                return pa.nulls(self.levels[level].size, pa.string())
            case ex.ColumnOf(via=via, column=column):
                return self._column_values(level, via, column)
            case ex.LoopIndex():
                return self._loop_index(level)
            case ex.Concat(parts=parts):
                return self._join_parts(parts, level)
            case ex.FirstOf(parts=parts):
                return pc.coalesce(*(self._scalar_or_text(part, level) for part in parts))
            case ex.Choice(condition=condition, then=then, otherwise=otherwise):
                return self._choose(condition, then, otherwise, level)
            case _:
                return self._transform(expr, self.text(expr.operand, level))

    def _scalar_or_text(self, expr: ex.Expr, level: int) -> pa.StringArray | pa.StringScalar:
        if isinstance(expr, ex.Constant):
            return pa.scalar(expr.value, pa.string())
        if isinstance(expr, ex.Absent):
            return pa.scalar(None, pa.string())
        return self.text(expr, level)

    def _join_parts(self, parts: Sequence[ex.Expr], level: int) -> pa.StringArray:
        pieces = [
            part.value if isinstance(part, ex.Constant) else self.text(part, level)
            for part in parts
        ]
        return join(*pieces, absent_as_empty=False)

    def _choose(
        self, condition: ex.Condition, then: ex.Expr, otherwise: ex.Expr, level: int
    ) -> pa.StringArray:
        holds = self.holds(condition, level)
        if isinstance(holds, bool):
            return self.text(then if holds else otherwise, level)
        then_texts, else_texts = (self._scalar_or_text(part, level) for part in (then, otherwise))
        return pc.if_else(pa.array(holds), then_texts, else_texts)

    def _transform(self, expr: ex.Expr, values: pa.StringArray) -> pa.StringArray:
        match expr:
            case ex.Cast(kind=ex.Kind.INSTANT):
                is_date = pc.equal(pc.binary_length(values), 10)
                midnight = join(values, "T00:00:00Z", absent_as_empty=False)
                return pc.if_else(is_date, midnight, values)
            case ex.Cast(kind=ex.Kind.BOOLEAN, operand=inner) if inner.kind is ex.Kind.FLAG:
                return pc.if_else(pc.equal(values, "Y"), "true", "false")
            case ex.Cast():
                return values
            case ex.CaseChange(case=case):
                return pc.ascii_lower(values) if case == "lower" else pc.ascii_upper(values)
            case ex.Plus(amount=amount):
                return pc.add(values.cast(pa.int64()), amount).cast(pa.string())
            case ex.Translation(crosswalk=name, column=column):
                crosswalk = self.environment.crosswalks[name]
                return over_distinct(
                    values, lambda texts: [crosswalk.answer(text, column) for text in texts]
                )
            case ex.ListTranslation(crosswalk=name, column=column, separator=separator):
                crosswalk = self.environment.crosswalks[name]
                return over_distinct(
                    values,
                    lambda texts: [
                        separator.join(
                            crosswalk.answer(word, column) or word for word in text.split(";")
                        )
                        for text in texts
                    ],
                )
            case ex.ShapedText(shape=shape):
                if shape == "npi":
                    return pc.if_else(
                        pa.array(are_npis(values)), values, pa.scalar(None, pa.string())
                    )
                has_shape = SHAPES[shape]
                return over_distinct(
                    values, lambda texts: [text if has_shape(text) else None for text in texts]
                )
            case ex.Prefix(length=length):
                return over_distinct(values, lambda texts: [text[:length] for text in texts])
            case ex.LogicalId(resource=resource):
                return logical_ids(values, resource, self.environment)
            case ex.ProviderReference():
                return over_distinct(values, lambda texts: self._provider_references(texts, expr))
            case _:
                raise AssertionError(expr)

    def _provider_references(self, texts: list[str], expr: ex.ProviderReference) -> list[str]:
        environment = self.environment
        providers = [environment.provider(text, expr.resource, only=expr.only) for text in texts]
        return [
            f"{provider.resource}/{environment.logical_id(provider.resource, provider.key)}"
            for provider in providers
        ]

    def _column_values(self, index: int, via: tuple[str, ...], column: str) -> pa.StringArray:
        level = self.levels[index]
        if level.items is not None:
            return level.items
        table, rows = level.table, level.rows
        missing: Bools | None = None
        for step in via:
            relation = relations_of(table)[step]
            if not isinstance(relation, One):
                raise AssertionError(step)
            referenced_rows = self.partition.referenced_rows(table, relation)
            row_positions = referenced_rows if rows is None else referenced_rows[rows]
            if missing is not None:
                row_positions = np.where(missing, -1, row_positions)
            missing = row_positions < 0
            rows, table = np.where(missing, 0, row_positions), relation.table
        texts = self.partition.column(table, column)
        if rows is None:
            return texts
        if missing is not None:
            return texts.take(pa.array(rows, mask=missing))
        return texts.take(pa.array(rows))

    def _loop_index(self, index: int) -> pa.StringArray:
        level, accepted = self.levels[index], self.loop_masks.get(index, True)
        counts = np.broadcast_to(np.asarray(accepted, dtype=np.int64), level.size)
        entries_so_far = np.concatenate(([0], np.cumsum(counts)))
        parents = level.parents if level.parents is not None else np.empty(0, dtype=np.int64)
        entries_before = entries_so_far[level.starts[parents]]
        return pa.array(entries_so_far[1:] - entries_before).cast(pa.string())

    # -- conditions --------------------------------------------------------------------------

    def holds(self, condition: ex.Condition, level: int) -> Bools | bool:
        """Return the rows in which a condition is true; a bool if all rows agree."""
        key = (condition, level)
        holds = self._conditions.get(key)
        if holds is None:
            home = self.own_level(condition) if level else 0
            if home == level:
                holds = self._decide(condition, level)
            else:
                outer = self.holds(condition, home)
                holds = outer if isinstance(outer, bool) else outer[self.outer_rows(level, home)]
            self._conditions[key] = holds
        return holds

    def _decide(self, condition: ex.Condition, level: int) -> Bools | bool:
        match condition:
            case bool():
                return condition
            case ex.IsPresent(operand=operand):
                return valid(self.text(operand, level))
            case ex.OneOf(operand=operand, values=values, negated=negated):
                text = self.text(operand, level)
                is_listed = pc.is_in(text, value_set=pa.array(values, pa.string()))
                if negated:
                    is_listed = pc.and_(pc.invert(is_listed), text.is_valid())
                return collapse(np.asarray(is_listed))
            case ex.Equality(left=left, right=right, negated=negated):
                texts = self.text(left, level), self.text(right, level)
                matches = pc.not_equal(*texts) if negated else pc.equal(*texts)
                return collapse(true_where(matches))
            case ex.DateOrder(left=left, right=right, or_same=or_same):
                texts = self._scalar_or_text(left, level), self._scalar_or_text(right, level)
                is_earlier = pc.less_equal(*texts) if or_same else pc.less(*texts)
                return collapse(true_where(is_earlier))
            case logic.AllOf() | logic.AnyOf() | logic.Not():
                return combine(condition, lambda part: self.holds(part, level))


def _group_by_parents(children: Children, parent_rows: Indices) -> tuple[Indices, Indices]:
    """Group children by selected parents, which may repeat in any order.

    Args:
        children: related rows of all rows of a table.
        parent_rows: the parents' positions in their table.

    Returns:
        The children, and for each the index of its parent in `parent_rows`, ascending.
    """
    starts = children.starts[parent_rows]
    counts = children.starts[parent_rows + 1] - starts
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    child_indices = np.arange(total) + np.repeat(starts - ends + counts, counts)
    return children.rows[child_indices], np.repeat(np.arange(len(parent_rows)), counts)


def collapse(mask: Bools | bool) -> Bools | bool:
    """Collapse a mask to a bool if all rows agree."""
    if isinstance(mask, bool):
        return mask
    if mask.all():
        return True
    return mask if mask.any() else False


def all_of(*masks: Bools | bool) -> Bools | bool:
    """Return the rows in which all masks are true."""
    arrays = [mask for mask in masks if not isinstance(mask, bool)]
    if False in [mask for mask in masks if isinstance(mask, bool)]:
        return False
    return collapse(np.logical_and.reduce(arrays)) if arrays else True


def any_of(*masks: Bools | bool) -> Bools | bool:
    """Return the rows in which at least one mask is true."""
    arrays = [mask for mask in masks if not isinstance(mask, bool)]
    if True in [mask for mask in masks if isinstance(mask, bool)]:
        return True
    return collapse(np.logical_or.reduce(arrays)) if arrays else False


def combine(
    combination: logic.AllOf | logic.AnyOf | logic.Not, evaluate: Callable[[Any], Bools | bool]
) -> Bools | bool:
    """Return the rows in which a combination of parts is true.

    Args:
        combination: a combination of conditions, or of formulas.
        evaluate: returns the rows in which a part is true; not called for parts that
            can't change the result.
    """
    if isinstance(combination, logic.Not):
        return negate(evaluate(combination.operand))
    is_conjunction = isinstance(combination, logic.AllOf)
    result: Bools | bool = is_conjunction
    operator = all_of if is_conjunction else any_of
    for part in combination.parts:
        result = operator(result, evaluate(part))
        if result is not is_conjunction and isinstance(result, bool):
            break
    return result


def negate(mask: Bools | bool) -> Bools | bool:
    """Return the rows in which a mask is false."""
    return (not mask) if isinstance(mask, bool) else ~mask
