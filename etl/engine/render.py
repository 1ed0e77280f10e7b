"""Render resources: plans become JSON, many rows at a time.

A plan is first *resolved* against a partition: every expression becomes a column, values that
are the same in every row become text, and neighboring texts merge. How an optional part is left out
is decided once, for the whole column. The result is a *rope*: texts and columns in output order.
Ropes are then joined some thousand rows at a time: few calls, and little memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, join, join_runs, valid
from etl.engine.element_counts import element_bits
from etl.engine.evaluate import Level, Values, all_of, any_of
from etl.engine.partition_columns import Partition
from etl.mapping import plan as pl
from etl.mapping.expressions import Concat, Constant, Kind
from etl.mapping.must_support import MustSupport
from etl.mapping.plan import Environment

CHUNK_BYTES: Final = 16 << 20
"""Approximate number of bytes of JSON that are joined at a time."""
_FIRST_CHUNK: Final = 1024
_MOST_ROWS: Final = 8192


@dataclass(frozen=True, slots=True)
class ResourceBatch:
    """Consecutive resources of one plan.

    Attributes:
        plan: the plan that made them.
        ids: shape (n,), logical ids, never null.
        compartments: shape (n,), id of the Patient of their compartment; null if in none.
        last_updated: shape (n,), the source's update time; null if not stated.
        bodies: shape (n,), JSON text after `meta`'s stamps: `"profile":[…]},…}`.
        searches: shape (n,), canonical JSON object for the search index.
        rows: shape (n,), position of the row in the plan's table.
        filled: numpy `uint8`, shape (n, bytes): each resource's must-support elements, packed by
            `element_counts.element_bits`; zero bytes if they aren't counted.
    """

    plan: pl.Plan
    ids: pa.StringArray
    compartments: pa.StringArray
    last_updated: pa.StringArray
    bodies: pa.StringArray
    searches: pa.StringArray
    rows: Indices
    filled: Any

    def filter(self, where: Bools) -> ResourceBatch:
        """Return some of the resources."""
        mask = pa.array(where)
        return ResourceBatch(
            self.plan,
            self.ids.filter(mask),
            self.compartments.filter(mask),
            self.last_updated.filter(mask),
            self.bodies.filter(mask),
            self.searches.filter(mask),
            self.rows[where],
            self.filled[where],
        )


@dataclass(frozen=True, slots=True)
class Rendering:
    """A plan that is being run over a partition.

    Attributes:
        plan: the plan.
        values: its expressions over the partition's rows.
        search: whether rows for the search index are wanted.
        elements: the must-support elements that are counted.
    """

    plan: pl.Plan
    values: Values
    search: bool
    elements: MustSupport = ()

    def __iter__(self) -> Iterator[ResourceBatch]:
        """Yield the resources, in the order of the rows of the plan's table."""
        plan, values = self.plan, self.values
        size = values.levels[0].size
        if size == 0:
            return
        resolver = _Resolver(values)
        body = _Rope(0, resolver.resolve_resource(plan))
        search = _Rope(0, resolver.resolve_search(plan) if self.search else ["{}"])
        ids = values.text(plan.id, 0)
        no_values = pa.nulls(size, pa.string())
        compartments = values.text(plan.compartment, 0) if plan.compartment else no_values
        updates = values.text(plan.last_updated, 0) if plan.last_updated else no_values
        rows = values.levels[0].rows
        positions = np.arange(size) if rows is None else rows
        joiner = _Joiner(values)
        filled = element_bits(values, self.elements)
        start_row, row_count = 0, min(size, _FIRST_CHUNK)
        while start_row < size:
            end_row = min(size, start_row + row_count)
            row_count = end_row - start_row
            bodies = joiner.join_rope(body, start_row, end_row)
            yield ResourceBatch(
                plan,
                ids.slice(start_row, row_count),
                compartments.slice(start_row, row_count),
                updates.slice(start_row, row_count),
                bodies,
                joiner.join_rope(search, start_row, end_row),
                positions[start_row:end_row],
                filled[start_row:end_row],
            )
            row_bytes = max(1, bodies.nbytes // row_count)
            row_count = max(1, min(_MOST_ROWS, CHUNK_BYTES // row_bytes))
            start_row = end_row


def render(
    plan: pl.Plan,
    partition: Partition,
    environment: Environment,
    *,
    search: bool = True,
    elements: MustSupport = (),
) -> Rendering:
    """Return the resources that a plan makes of a partition.

    Args:
        plan: the mapping.
        partition: accepted rows.
        environment: ids, crosswalks, providers.
        search: whether rows for the search index are wanted; without, they are `{}`.
        elements: must-support elements of the plan's profile, to count them; none to count none.
    """
    return Rendering(plan, Values(plan, partition, environment), search, elements)


# -- ropes -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class _Optional:
    """A part of a rope that only some rows have.

    Attributes:
        rope: its content. In rows without the part, one of its columns is null; in rows with it,
            none is.
    """

    rope: _Rope


@dataclass(frozen=True, eq=False, slots=True)
class _JoinedEntries:
    """The entries of a loop, joined by commas; "" if there are none.

    Attributes:
        entry: one entry, at the loop's level, with the comma before it.
    """

    entry: _Rope | _Optional


_Piece: TypeAlias = str | pa.StringArray | _Optional | _JoinedEntries


@dataclass(eq=False, slots=True)
class _Rope:
    """Pieces written for each row of a level, from left to right."""

    level: int
    pieces: list[_Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        merged: list[_Piece] = []
        for piece in self.pieces:
            if isinstance(piece, str) and merged and isinstance(merged[-1], str):
                merged[-1] += piece
            elif not isinstance(piece, str) or piece:
                merged.append(piece)
        self.pieces = merged


@dataclass(frozen=True, slots=True)
class _ResolvedNode:
    """A node of the plan, resolved to pieces of a rope.

    Attributes:
        pieces: the node's output in rows that have it.
        present: the rows that have it.
        alive: the rows in which one of its expressions has a value; None if it has no expression.
    """

    pieces: list[_Piece]
    present: Bools | bool
    alive: Bools | bool | None


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Resolves the nodes of a plan to pieces of ropes."""

    values: Values

    def resolve_resource(self, plan: pl.Plan) -> list[_Piece]:
        fields = self.resolve_members(plan.body, 0)
        head = f'"profile":[{_quote(plan.profile)}]}}'
        return [head, *self.comma_before_each(fields, 0), "}"]

    def resolve_search(self, plan: pl.Plan) -> list[_Piece]:
        """Return the search values as canonical JSON: sorted, without empty parameters."""
        parameters = [
            (f"{_quote(parameter)}:", self.resolve_list(node, 0, "[", "]"))
            for parameter, node in sorted(plan.search.items())
        ]
        return ["{", *self.join_with_commas(parameters, 0), "}"]

    def resolve(self, entry: pl.Entry, level: int) -> _ResolvedNode:
        match entry:
            case pl.JsonConstant(json=text):
                return _ResolvedNode([text], present=True, alive=None)
            case pl.Leaf():
                return self.resolve_leaf(entry, level)
            case pl.Guard(condition=condition, node=guarded_node):
                is_true = self.values.holds(condition, level)
                if is_true is False:
                    return _ResolvedNode([], present=False, alive=False)
                resolved = self.resolve(guarded_node, level)
                present = all_of(is_true, resolved.present)
                return _ResolvedNode(resolved.pieces, present, present)
            case pl.ObjectNode():
                return self.resolve_object(entry, level)
            case pl.ListNode():
                return self.resolve_list(entry, level, "[", "]")
            case pl.Splice():
                return self.resolve_list(entry, level, "", "")
            case pl.Loop():
                raise AssertionError("a loop stands in a list")

    def resolve_leaf(self, leaf: pl.Leaf, level: int) -> _ResolvedNode:
        expr = leaf.expr
        if isinstance(expr, Concat):
            pieces: list[_Piece] = ['"']
            present: Bools | bool = True
            for part in expr.parts:
                if isinstance(part, Constant):
                    pieces.append(_quote(part.value)[1:-1])
                    continue
                column = self.values.json_text(part, level)
                pieces.append(column)
                present = all_of(present, valid(column))
            pieces.append('"')
        else:
            column = self.values.json_text(expr, level)
            present = valid(column)
            pieces = ['"', column, '"'] if expr.kind.json == "string" else [column]
            if expr.kind is Kind.FLAG:
                pieces = ['"', column, '"']
        return _ResolvedNode(pieces, present, None if leaf.weak else present)

    def resolve_members(self, node: pl.ObjectNode, level: int) -> list[tuple[str, _ResolvedNode]]:
        return [(f"{_quote(key)}:", self.resolve(member, level)) for key, member in node.members]

    def resolve_object(self, node: pl.ObjectNode, level: int) -> _ResolvedNode:
        fields = self.resolve_members(node, level)
        alive = _any_alive(part for _, part in fields)
        present = any_of(*(part.present for _, part in fields)) if alive is None else alive
        if present is False:
            return _ResolvedNode([], present=False, alive=alive)
        visible_fields = [(label, _without_mask(part, present)) for label, part in fields]
        return _ResolvedNode(
            ["{", *self.join_with_commas(visible_fields, level), "}"], present, alive
        )

    def resolve_list(
        self, node: pl.ListNode | pl.Splice, level: int, opening: str, closing: str
    ) -> _ResolvedNode:
        entries = [("", self.resolve_entry(entry, level)) for entry in node.entries]
        present = any_of(*(part.present for _, part in entries))
        alive = _any_alive(part for _, part in entries)
        if present is False:
            return _ResolvedNode([], present=False, alive=alive)
        visible_entries = [(label, _without_mask(part, present)) for label, part in entries]
        return _ResolvedNode(
            [opening, *self.join_with_commas(visible_entries, level), closing], present, alive
        )

    def resolve_entry(self, entry: pl.Entry, level: int) -> _ResolvedNode:
        return (
            self.resolve_loop(entry) if isinstance(entry, pl.Loop) else self.resolve(entry, level)
        )

    def resolve_loop(self, loop: pl.Loop) -> _ResolvedNode:
        loop_rows = self.values.enter(loop)
        is_true = self.values.loop_masks[loop.level]
        if loop_rows.size == 0 or is_true is False:
            return _ResolvedNode([], present=False, alive=False)
        resolved = self.resolve(loop.node, loop.level)
        has_entry = all_of(is_true, resolved.present)
        if has_entry is False:
            return _ResolvedNode([], present=False, alive=False)
        counts = _entry_counts(loop_rows.starts, has_entry)
        has_rows = counts > 0
        present: Bools | bool = True if has_rows.all() else has_rows
        pieces = [_leading_commas(loop_rows, has_entry), *resolved.pieces]
        entry = (
            _Rope(loop.level, pieces)
            if isinstance(has_entry, bool)
            else _make_optional(loop.level, pieces, has_entry)
        )
        return _ResolvedNode([_JoinedEntries(entry)], present, present)

    def comma_before_each(self, items: list[tuple[str, _ResolvedNode]], level: int) -> list[_Piece]:
        """Write each item with a comma before it."""
        pieces: list[_Piece] = []
        for label, part in items:
            if part.present is True:
                pieces += [f",{label}", *part.pieces]
            elif part.present is not False:
                pieces.append(_make_optional(level, [f",{label}", *part.pieces], part.present))
        return pieces

    def join_with_commas(self, items: list[tuple[str, _ResolvedNode]], level: int) -> list[_Piece]:
        """Join the items that a row has with commas.

        An item that every row has decides where the commas go. Without one, the comma before each
        item depends on whether the row has an earlier item.
        """
        items = [(label, part) for label, part in items if part.present is not False]
        anchor = next(
            (index for index, (_, part) in enumerate(items) if part.present is True), None
        )
        pieces: list[_Piece] = []
        if anchor is not None:
            for label, part in items[:anchor]:
                pieces.append(_make_optional(level, [label, *part.pieces, ","], part.present))
            label, part = items[anchor]
            pieces += [label, *part.pieces, *self.comma_before_each(items[anchor + 1 :], level)]
            return pieces
        has_earlier: Bools | bool = False
        for label, part in items:
            comma: list[_Piece] = []
            if has_earlier is True:
                comma = [","]
            elif has_earlier is not False:
                comma = [pc.if_else(pa.array(has_earlier), f",{label}", label)]
                label = ""  # the label follows the comma
            pieces.append(_make_optional(level, [*comma, label, *part.pieces], part.present))
            has_earlier = any_of(has_earlier, part.present)
        return pieces


def _without_mask(node: _ResolvedNode, outer_present: Bools | bool) -> _ResolvedNode:
    """Drop a node's own mask if it is present wherever the outer node is."""
    if isinstance(node.present, bool) or isinstance(outer_present, bool):
        return node
    if node.present is not outer_present and np.any(outer_present & ~node.present):
        return node
    return replace(node, present=True)


def _any_alive(parts: Iterator[_ResolvedNode]) -> Bools | bool | None:
    conditions = [part.alive for part in parts if part.alive is not None]
    return any_of(*conditions) if conditions else None


def _entry_counts(starts: Indices, has_entry: Bools | bool) -> Indices:
    if has_entry is True:
        return np.diff(starts)
    entries_before = np.concatenate(([0], np.cumsum(has_entry)))
    return np.diff(entries_before[starts])


def _leading_commas(level: Level, has_entry: Bools | bool) -> pa.StringArray:
    """Return the comma before each entry: "" for a list's first; null for no entry.

    Args:
        level: the level of the loop.
        has_entry: the rows that make an entry.
    """
    if level.parents is None:
        raise AssertionError("rows of a list are in others")
    rows = np.arange(level.size) if isinstance(has_entry, bool) else np.flatnonzero(has_entry)
    lists = level.parents[rows]
    is_later_entry = np.zeros(level.size, dtype=np.bool_)
    is_later_entry[rows[1:]] = lists[1:] == lists[:-1]
    commas = pc.if_else(pa.array(is_later_entry), ",", "")
    if isinstance(has_entry, bool):
        return commas
    return pc.if_else(pa.array(has_entry), commas, pa.scalar(None, pa.string()))


@cache
def _quote(text: str) -> str:
    """Return a mapping's text as JSON; cached, since mappings have few texts."""
    return json.dumps(text, ensure_ascii=False)


def _make_optional(level: int, pieces: list[_Piece], mask: Bools | bool) -> _Optional:
    """Make a part optional: null in the rows outside the mask.

    Arrow's join makes a row null if one of its columns is, at no cost. So one column becomes null
    exactly in the rows without the part, and no other is null in the rows with it.
    """
    if isinstance(mask, bool):
        raise AssertionError("a part that all or no rows have is not optional")
    null_index: int | None = None
    for index, piece in enumerate(pieces):
        if isinstance(piece, pa.StringArray) and piece.null_count:
            is_present = valid(piece)
            if null_index is None and np.array_equal(is_present, mask):
                null_index = index
            elif np.any(mask & ~np.asarray(is_present)):
                pieces[index] = pc.fill_null(piece, "")
    if null_index is None:
        null_index = next(
            (index for index, piece in enumerate(pieces) if isinstance(piece, pa.StringArray)), 0
        )
        piece = pieces[null_index]
        if isinstance(piece, _Optional | _JoinedEntries):
            pieces.insert(0, pc.if_else(pa.array(mask), "", pa.scalar(None, pa.string())))
        else:
            pieces[null_index] = pc.if_else(pa.array(mask), piece, pa.scalar(None, pa.string()))
    return _Optional(_Rope(level, pieces))


# -- joining ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Joiner:
    """Joins ropes for consecutive rows."""

    values: Values

    def join_rope(self, rope: _Rope, start: int, stop: int) -> pa.StringArray:
        """Return a rope's text in the rows from `start` to `stop`; never null."""
        pieces = self.piece_texts(rope, start, stop)
        if len(pieces) == 1 and not isinstance(pieces[0], str) and not pieces[0].null_count:
            return pieces[0]
        if all(isinstance(piece, str) for piece in pieces):
            return pa.repeat("".join(map(str, pieces)), stop - start).cast(pa.string())
        return join(*pieces, absent_as_empty=True)

    def piece_texts(self, rope: _Rope, start: int, stop: int) -> list[str | pa.StringArray]:
        result: list[str | pa.StringArray] = []
        for piece in rope.pieces:
            match piece:
                case str():
                    result.append(piece)
                case _Optional():
                    result.append(self.join_optional(piece, start, stop))
                case _JoinedEntries():
                    result.append(self.join_entries(piece, start, stop))
                case _:
                    result.append(piece.slice(start, stop - start))
        return result

    def join_optional(self, part: _Optional, start: int, stop: int) -> pa.StringArray:
        """Return an optional part's text; null in rows without it."""
        pieces = self.piece_texts(part.rope, start, stop)
        for index, inner_piece in enumerate(part.rope.pieces):
            piece = pieces[index]
            if (
                isinstance(inner_piece, _Optional)
                and not isinstance(piece, str)
                and piece.null_count
            ):
                pieces[index] = pc.fill_null(piece, "")
        return join(*pieces, absent_as_empty=False)

    def join_entries(self, part: _JoinedEntries, start: int, stop: int) -> pa.StringArray:
        """Return each row's joined entries."""
        level = part.entry.rope.level if isinstance(part.entry, _Optional) else part.entry.level
        starts = self.values.levels[level].starts[start : stop + 1]
        first, last = int(starts[0]), int(starts[-1])
        if isinstance(part.entry, _Optional):
            entries = self.join_optional(part.entry, first, last)
        else:
            entries = self.join_rope(part.entry, first, last)
        return join_runs(entries, starts - first)
