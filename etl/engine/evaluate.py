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
from etl.columns.codes import npi_holds
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
"""Ten bits -> the two characters that they are in base 32, as one number."""
_TENS: Final = np.array([30, 20, 10, 0], dtype=np.uint64)
_ID_CHARACTERS: Final = ID_BYTES * 8 // 5
_SHORT: Final = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CONTROLS: Final = tuple((chr(code), _SHORT.get(code, f"\\u{code:04x}")) for code in range(0x20))


def escaped(column: pa.StringArray) -> pa.StringArray:
    """Return a column as it stands between the quotes of JSON (RFC 8259 §7).

    Few columns need it, so the bytes are scanned once first.
    """
    data = text_bytes(column)
    odd = (data < _FIRST_PRINTABLE) | (data == _QUOTE) | (data == _BACKSLASH)
    if not odd.any():
        return column
    bytes_found = np.unique(data[odd])
    result = column
    if _BACKSLASH in bytes_found:  # first: the others put backslashes in
        result = pc.replace_substring(result, "\\", "\\\\")
    if _QUOTE in bytes_found:
        result = pc.replace_substring(result, '"', '\\"')
    for byte in bytes_found[bytes_found < _FIRST_PRINTABLE]:
        result = pc.replace_substring(result, *_CONTROLS[byte])
    return result


def logical_ids(column: pa.StringArray, resource: str, environment: Environment) -> pa.StringArray:
    """Return the logical ids of a column of business keys; `Environment.logical_id`, by column."""
    encoded = column.dictionary_encode()
    keys = encoded.dictionary.to_pylist()
    ids = hashed_ids(keys, resource, environment)
    return ids if len(keys) == len(column) else ids.take(encoded.indices)


def hashed_ids(keys: Sequence[str], resource: str, environment: Environment) -> pa.StringArray:
    """Return the logical ids of some business keys of one resource type."""
    salted = blake2b(environment.salt(resource), digest_size=ID_BYTES, key=environment.id_key)
    digests = []
    for key in keys:
        state = salted.copy()
        state.update(key.encode())
        digests.append(state.digest())
    fives = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 5)
    numbers = np.zeros((len(fives), 8), dtype=np.uint8)
    numbers[:, 3:] = fives
    tens = numbers.view(">u8").astype(np.uint64) >> _TENS & np.uint64(0x3FF)
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * np.int32(_ID_CHARACTERS)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(_PAIRS[tens]))


@dataclass(eq=False)
class Level:
    """The rows of one level of a plan.

    Attributes:
        table: their table.
        rows: their positions in the table; None for all, in order.
        parent: level of the rows around them; None for level 0.
        parents: position of each row's parent in that level, ascending; None for level 0.
        items: texts of a list column, where the rows are those.
        list_column: level of the rows with that column, and its name.
        size: how many rows.
    """

    table: str
    size: int
    rows: Indices | None = None
    parent: int | None = None
    parents: Indices | None = None
    items: pa.StringArray | None = None
    list_column: tuple[int, str] = (0, "")

    @cached_property
    def starts(self) -> Indices:
        """Position of the first row of each parent, and one more for the end."""
        parents = self.parents if self.parents is not None else np.empty(0, dtype=np.int64)
        return starts_of(parents, self.parent_size)

    parent_size: int = 0


@dataclass(eq=False)
class Values:
    """Evaluates expressions of one plan over one partition; results are cached."""

    plan: Plan
    partition: Partition
    environment: Environment
    levels: dict[int, Level] = field(default_factory=dict)
    kept: dict[int, Bools | bool] = field(default_factory=dict)
    _texts: dict[tuple[ex.Expr, int], pa.StringArray] = field(default_factory=dict)
    _at_home: list[tuple[ex.Expr, int]] = field(default_factory=list)
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
            self._at_home.clear()
            self._conditions.clear()

    # -- levels ------------------------------------------------------------------------------

    def enter(self, loop: Loop) -> Level:
        """Return the level of a loop's rows; it is made at first use."""
        if loop.level not in self.levels:
            around = self.levels[loop.around]
            level = (
                self._items(loop, loop.relation)
                if isinstance(loop.relation, str)
                else self._children(loop, loop.relation)
            )
            level.parent_size = around.size
            self.levels[loop.level] = level
            self.kept[loop.level] = self.holds(loop.condition, loop.level)
        return self.levels[loop.level]

    def _children(self, loop: Loop, relation: Many) -> Level:
        owner = self.levels[loop.parent]
        children = self.partition.children(owner.table, relation)
        rows, parents = children.rows, children.parents
        owners = owner.rows
        if loop.parent != loop.around:
            up = self.up(loop.around, loop.parent)
            owners = up if owners is None else owners[up]
        if owners is not None:
            rows, parents = _regrouped(children, owners)
        return Level(relation.table, len(rows), rows, loop.around, parents)

    def _items(self, loop: Loop, column: str) -> Level:
        texts = self._column(loop.parent, (), column)
        if loop.parent != loop.around:
            texts = texts.take(pa.array(self.up(loop.around, loop.parent)))
        lists = pc.split_pattern(texts, ";")
        parents = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
        items = pc.list_flatten(lists)
        table = self.plan.tables[loop.level]
        owner = (loop.parent, column)
        return Level(table, len(items), None, loop.around, parents, items, owner)

    def up(self, from_level: int, to_level: int) -> Indices:
        """Return, for each row of a level, the position of its row in a level around it."""
        level = self.levels[from_level]
        if level.parents is None or level.parent is None:
            raise AssertionError(f"level {to_level} is not around level {from_level}")
        if level.parent == to_level:
            return level.parents
        return self.up(level.parent, to_level)[level.parents]

    # -- texts -------------------------------------------------------------------------------

    def evaluated(self) -> tuple[tuple[ex.Expr, int], ...]:
        """Return every expression that was evaluated, with its own level."""
        return tuple(self._at_home)

    def home(self, node: ex.Expr | ex.Condition) -> int:
        """Return the deepest level that an expression or condition reads."""
        return max(
            (part.level for part in ex.walk(node) if isinstance(part, ex.ColumnOf | ex.LoopIndex)),
            default=0,
        )

    def text(self, expr: ex.Expr, level: int) -> pa.StringArray:
        """Return the values of an expression; shape (rows of the level,), null where absent."""
        key = (expr, level)
        texts = self._texts.get(key)
        if texts is None:
            home = self.home(expr) if level else 0
            if home == level:
                texts = self._evaluate(expr, level)
                self._at_home.append(key)
            else:
                texts = self.text(expr, home).take(pa.array(self.up(level, home)))
            self._texts[key] = texts
        return texts

    def json_text(self, expr: ex.Expr, level: int) -> pa.StringArray:
        """Return the values of an expression, escaped for JSON where they may need it."""
        if expr.kind.plain or isinstance(expr, ex.LogicalId | ex.ProviderReference):
            return self.text(expr, level)
        key = (expr, level)
        texts = self._escaped.get(key)
        if texts is None:
            texts = self._escaped[key] = escaped(self.text(expr, level))
        return texts

    def _evaluate(self, expr: ex.Expr, level: int) -> pa.StringArray:
        match expr:
            case ex.Constant(value=value):
                return pa.repeat(value, self.levels[level].size).cast(pa.string())
            case ex.Absent():
                return pa.nulls(self.levels[level].size, pa.string())
            case ex.ColumnOf(via=via, column=column):
                return self._column(level, via, column)
            case ex.LoopIndex():
                return self._loop_index(level)
            case ex.Joined(parts=parts):
                return self._joined(parts, level)
            case ex.FirstOf(parts=parts):
                return pc.coalesce(*(self._scalar_or_text(part, level) for part in parts))
            case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
                return self._chosen(condition, then, otherwise, level)
            case _:
                return self._changed(expr, self.text(expr.of, level))

    def _scalar_or_text(self, expr: ex.Expr, level: int) -> pa.StringArray | pa.StringScalar:
        if isinstance(expr, ex.Constant):
            return pa.scalar(expr.value, pa.string())
        if isinstance(expr, ex.Absent):
            return pa.scalar(None, pa.string())
        return self.text(expr, level)

    def _joined(self, parts: Sequence[ex.Expr], level: int) -> pa.StringArray:
        pieces = [
            part.value if isinstance(part, ex.Constant) else self.text(part, level)
            for part in parts
        ]
        return join(*pieces, absent_as_empty=False)

    def _chosen(
        self, condition: ex.Condition, then: ex.Expr, otherwise: ex.Expr, level: int
    ) -> pa.StringArray:
        holds = self.holds(condition, level)
        if isinstance(holds, bool):
            return self.text(then if holds else otherwise, level)
        yes, no = (self._scalar_or_text(part, level) for part in (then, otherwise))
        return pc.if_else(pa.array(holds), yes, no)

    def _changed(self, expr: ex.Expr, of: pa.StringArray) -> pa.StringArray:
        match expr:
            case ex.Cast(kind=ex.Kind.INSTANT):
                dated = pc.equal(pc.binary_length(of), 10)
                midnight = join(of, "T00:00:00Z", absent_as_empty=False)
                return pc.if_else(dated, midnight, of)
            case ex.Cast(kind=ex.Kind.BOOLEAN, of=inner) if inner.kind is ex.Kind.FLAG:
                return pc.if_else(pc.equal(of, "Y"), "true", "false")
            case ex.Cast():
                return of
            case ex.Cased(case=case):
                return pc.ascii_lower(of) if case == "lower" else pc.ascii_upper(of)
            case ex.Plus(amount=amount):
                return pc.add(of.cast(pa.int64()), amount).cast(pa.string())
            case ex.Translated(crosswalk=name, column=column):
                crosswalk = self.environment.crosswalks[name]
                return over_distinct(
                    of, lambda texts: [crosswalk.answer(text, column) for text in texts]
                )
            case ex.TranslatedAll(crosswalk=name, column=column, separator=separator):
                crosswalk = self.environment.crosswalks[name]
                return over_distinct(
                    of,
                    lambda texts: [
                        separator.join(
                            crosswalk.answer(word, column) or word for word in text.split(";")
                        )
                        for text in texts
                    ],
                )
            case ex.Shaped(shape=shape):
                if shape == "npi":
                    return pc.if_else(pa.array(npi_holds(of)), of, pa.scalar(None, pa.string()))
                fits = SHAPES[shape]
                return over_distinct(of, lambda texts: [t if fits(t) else None for t in texts])
            case ex.Left(length=length):
                return over_distinct(of, lambda texts: [text[:length] for text in texts])
            case ex.LogicalId(resource=resource):
                return logical_ids(of, resource, self.environment)
            case ex.ProviderReference(resource=resource, only=only):
                return over_distinct(of, lambda texts: self._providers(texts, resource, only))
            case _:
                raise AssertionError(expr)

    def _providers(self, texts: list[str], resource: str, only: bool) -> list[str]:
        environment = self.environment
        providers = [environment.provider(text, resource, only=only) for text in texts]  # type: ignore[arg-type]
        return [
            f"{mention.resource}/{environment.logical_id(mention.resource, mention.key)}"
            for mention in providers
        ]

    def _column(self, at: int, via: tuple[str, ...], column: str) -> pa.StringArray:
        level = self.levels[at]
        if level.items is not None:
            return level.items
        table, rows = level.table, level.rows
        missing: Bools | None = None
        for step in via:
            relation = relations_of(table)[step]
            if not isinstance(relation, One):
                raise AssertionError(step)
            named = self.partition.named(table, relation)
            column_texts = named if rows is None else named[rows]
            if missing is not None:
                column_texts = np.where(missing, -1, column_texts)
            missing = column_texts < 0
            rows, table = np.where(missing, 0, column_texts), relation.table
        texts = self.partition.column(table, column)
        if rows is None:
            return texts
        if missing is not None:
            return texts.take(pa.array(rows, mask=missing))
        return texts.take(pa.array(rows))

    def _loop_index(self, at: int) -> pa.StringArray:
        level, kept = self.levels[at], self.kept.get(at, True)
        counted = np.ones(level.size, dtype=np.int64) if kept is True else np.asarray(kept) * 1
        running = np.concatenate(([0], np.cumsum(counted)))
        parents = level.parents if level.parents is not None else np.empty(0, dtype=np.int64)
        before = running[level.starts[parents]]
        return pa.array(running[1:] - before).cast(pa.string())

    # -- conditions --------------------------------------------------------------------------

    def holds(self, condition: ex.Condition, level: int) -> Bools | bool:
        """Return where a condition holds; True or False where that is the same in every row."""
        key = (condition, level)
        holds = self._conditions.get(key)
        if holds is None:
            home = self.home(condition) if level else 0
            if home == level:
                holds = self._decide(condition, level)
            else:
                outer = self.holds(condition, home)
                holds = outer if isinstance(outer, bool) else outer[self.up(level, home)]
            self._conditions[key] = holds
        return holds

    def _decide(self, condition: ex.Condition, level: int) -> Bools | bool:
        match condition:
            case bool():
                return condition
            case ex.IsPresent(of=of):
                return valid(self.text(of, level))
            case ex.OneOf(of=of, values=values, negated=negated):
                text = self.text(of, level)
                is_listed = pc.is_in(text, value_set=pa.array(values, pa.string()))
                if negated:
                    is_listed = pc.and_(pc.invert(is_listed), text.is_valid())
                return settled(np.asarray(is_listed))
            case ex.Same(left=left, right=right, negated=negated):
                texts = self.text(left, level), self.text(right, level)
                same = pc.not_equal(*texts) if negated else pc.equal(*texts)
                return settled(true_where(same))
            case ex.Before(left=left, right=right, or_same=or_same):
                texts = self._scalar_or_text(left, level), self._scalar_or_text(right, level)
                is_listed = pc.less_equal(*texts) if or_same else pc.less(*texts)
                return settled(true_where(is_listed))
            case logic.AllOf() | logic.AnyOf() | logic.Not():
                return combined(condition, lambda part: self.holds(part, level))


def _regrouped(children: Children, wanted: Indices) -> tuple[Indices, Indices]:
    """Return children again for parents that may repeat and come in any order.

    Args:
        children: related rows of all rows of a table.
        wanted: positions in the table of the parents that are wanted.

    Returns:
        The related rows, grouped, and for each the place of its parent in `wanted`, ascending.
    """
    starts = children.starts[wanted]
    counts = children.starts[wanted + 1] - starts
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    taken = np.arange(total) + np.repeat(starts - ends + counts, counts)
    return children.rows[taken], np.repeat(np.arange(len(wanted)), counts)


def settled(mask: Bools | bool) -> Bools | bool:
    """Return a mask, or the one value that it has in every row."""
    if isinstance(mask, bool):
        return mask
    if mask.all():
        return True
    return mask if mask.any() else False


def both(*masks: Bools | bool) -> Bools | bool:
    """Return where all of some masks hold."""
    arrays = [mask for mask in masks if not isinstance(mask, bool)]
    if False in [mask for mask in masks if isinstance(mask, bool)]:
        return False
    return settled(np.logical_and.reduce(arrays)) if arrays else True


def either(*masks: Bools | bool) -> Bools | bool:
    """Return where one of some masks holds."""
    arrays = [mask for mask in masks if not isinstance(mask, bool)]
    if True in [mask for mask in masks if isinstance(mask, bool)]:
        return True
    return settled(np.logical_or.reduce(arrays)) if arrays else False


def combined(
    combination: logic.AllOf | logic.AnyOf | logic.Not, mask: Callable[[Any], Bools | bool]
) -> Bools | bool:
    """Return where a combination of parts holds.

    Args:
        combination: of conditions, or of formulas.
        mask: returns where a part holds; it is not called for parts that can change nothing.
    """
    if isinstance(combination, logic.Not):
        return opposite(mask(combination.of))
    is_conjunction = isinstance(combination, logic.AllOf)
    masks: Bools | bool = is_conjunction
    for part in combination.parts:
        masks = both(masks, mask(part)) if is_conjunction else either(masks, mask(part))
        if masks is not is_conjunction and isinstance(masks, bool):
            break
    return masks


def opposite(mask: Bools | bool) -> Bools | bool:
    """Return where a mask does not hold."""
    return (not mask) if isinstance(mask, bool) else ~mask
