"""Plans into bytes: the JSON of many rows, joined at once.

A plan is first *resolved* against a partition: every expression becomes a column, what is the same
in every row becomes text, and neighbouring texts merge. How an optional part is left out is decided
once, for the whole column. The result is a *rope*: texts and columns in the order in which they are
written. Ropes are then joined some thousand rows at a time: few calls, and little memory.
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

from etl.columns.arrays import Bools, Indices, join, joined_runs, valid
from etl.engine.evaluate import Level, Values, both, either
from etl.engine.must_support import filled_bits
from etl.engine.partition_columns import Partition
from etl.mapping import plan as pl
from etl.mapping.expressions import Constant, Joined, Kind
from etl.mapping.must_support import MustSupport
from etl.mapping.plan import Environment

CHUNK_BYTES: Final = 16 << 20
"""Approximate number of bytes of JSON that are joined at a time."""
_FIRST_CHUNK: Final = 1024
_MOST_ROWS: Final = 8192


@dataclass(frozen=True, slots=True)
class Rendered:
    """Resources of one plan, a run of them.

    Attributes:
        plan: the plan that made them.
        ids: shape (n,), logical ids, never null.
        compartments: shape (n,), id of the Patient of their compartment; null for none.
        last_updated: shape (n,), the source's stamp; null where it states none.
        bodies: shape (n,), JSON text after `meta`'s stamps: `"profile":[…]},…}`.
        searches: shape (n,), canonical JSON object for the search index.
        rows: shape (n,), position of the row in the plan's table.
        filled: numpy `uint8`, shape (n, bytes): the must-support elements that each has, as
            `must_support.filled_bits` has them; no bytes where they were not wanted.
    """

    plan: pl.Plan
    ids: pa.StringArray
    compartments: pa.StringArray
    last_updated: pa.StringArray
    bodies: pa.StringArray
    searches: pa.StringArray
    rows: Indices
    filled: Any

    def only(self, where: Bools) -> Rendered:
        """Return some of the resources."""
        mask = pa.array(where)
        return Rendered(
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

    def __iter__(self) -> Iterator[Rendered]:
        """Yield the resources, in the order of the rows of the plan's table."""
        return _runs(self.plan, self.values, self.elements, with_search=self.search)


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


def _runs(
    plan: pl.Plan, values: Values, elements: MustSupport, *, with_search: bool
) -> Iterator[Rendered]:
    size = values.levels[0].size
    if size == 0:
        return
    maker = _Resolver(values)
    body = _Rope(0, maker.resource(plan))
    search = _Rope(0, maker.search(plan) if with_search else ["{}"])
    ids = values.text(plan.id, 0)
    nothing = pa.nulls(size, pa.string())
    compartments = values.text(plan.compartment, 0) if plan.compartment else nothing
    stamps = values.text(plan.last_updated, 0) if plan.last_updated else nothing
    rows = values.levels[0].rows
    positions = np.arange(size) if rows is None else rows
    joiner = _Joiner(values)
    filled = filled_bits(values, elements)
    start, step = 0, min(size, _FIRST_CHUNK)
    while start < size:
        stop = min(size, start + step)
        bodies = joiner.whole(body, start, stop)
        yield Rendered(
            plan,
            ids.slice(start, stop - start),
            compartments.slice(start, stop - start),
            stamps.slice(start, stop - start),
            bodies,
            joiner.whole(search, start, stop),
            positions[start:stop],
            filled[start:stop],
        )
        written = max(1, bodies.nbytes // (stop - start))
        step = max(1, min(_MOST_ROWS, CHUNK_BYTES // written))
        start = stop


# -- ropes -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class _Optional:
    """A part of a rope that is there in some rows only.

    Attributes:
        rope: its content. Where it is absent, one of its columns is null; where it is present,
            none is.
    """

    rope: _Rope


@dataclass(frozen=True, eq=False, slots=True)
class _Listed:
    """The entries that a loop makes, with commas between them; "" where there is none.

    Attributes:
        entry: one of them, at the loop's level, with the comma before it.
    """

    entry: _Rope | _Optional


_Piece: TypeAlias = str | pa.StringArray | _Optional | _Listed


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
class _Part:
    """A node, resolved.

    Attributes:
        pieces: what is written where it is there.
        present: where it is there.
        alive: where an expression inside is there; None if it has no expression.
    """

    pieces: list[_Piece]
    present: Bools | bool
    alive: Bools | bool | None


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Turns the nodes of a plan into parts of ropes."""

    values: Values

    def resource(self, plan: pl.Plan) -> list[_Piece]:
        members = self.members(plan.body, 0)
        head = f'"profile":[{_quoted(plan.profile)}]}}'
        return [head, *self.following(members, 0), "}"]

    def search(self, plan: pl.Plan) -> list[_Piece]:
        """Return the search values as canonical JSON: by name, what has none left out."""
        values = [
            (f"{_quoted(parameter)}:", self.listing(node, 0, "[", "]"))
            for parameter, node in sorted(plan.search.items())
        ]
        return ["{", *self.sequence(values, 0), "}"]

    def node(self, node: pl.Entry, level: int) -> _Part:
        match node:
            case pl.Fixed(json=text):
                return _Part([text], present=True, alive=None)
            case pl.Leaf():
                return self.leaf(node, level)
            case pl.Guarded(condition=condition, node=inner):
                holds = self.values.holds(condition, level)
                if holds is False:
                    return _Part([], present=False, alive=False)
                part = self.node(inner, level)
                present = both(holds, part.present)
                return _Part(part.pieces, present, present)
            case pl.ObjectNode():
                return self.structure(node, level)
            case pl.ListNode():
                return self.listing(node, level, "[", "]")
            case pl.Spliced():
                return self.listing(node, level, "", "")
            case pl.Loop():
                raise AssertionError("a loop stands in a list")

    def leaf(self, leaf: pl.Leaf, level: int) -> _Part:
        expr = leaf.expr
        if isinstance(expr, Joined):
            pieces: list[_Piece] = ['"']
            present: Bools | bool = True
            for part in expr.parts:
                if isinstance(part, Constant):
                    pieces.append(_quoted(part.value)[1:-1])
                    continue
                column = self.values.json_text(part, level)
                pieces.append(column)
                present = both(present, valid(column))
            pieces.append('"')
        else:
            column = self.values.json_text(expr, level)
            present = valid(column)
            pieces = ['"', column, '"'] if expr.kind.json == "string" else [column]
            if expr.kind is Kind.FLAG:
                pieces = ['"', column, '"']
        return _Part(pieces, present, None if leaf.weak else present)

    def members(self, node: pl.ObjectNode, level: int) -> list[tuple[str, _Part]]:
        return [(f"{_quoted(key)}:", self.node(member, level)) for key, member in node.members]

    def structure(self, node: pl.ObjectNode, level: int) -> _Part:
        members = self.members(node, level)
        alive = _alive(part for _, part in members)
        present = either(*(part.present for _, part in members)) if alive is None else alive
        if present is False:
            return _Part([], present=False, alive=alive)
        inside = [(label, _within(part, present)) for label, part in members]
        return _Part(["{", *self.sequence(inside, level), "}"], present, alive)

    def listing(
        self, node: pl.ListNode | pl.Spliced, level: int, opening: str, closing: str
    ) -> _Part:
        entries = [("", self.entry(entry, level)) for entry in node.entries]
        present = either(*(part.present for _, part in entries))
        alive = _alive(part for _, part in entries)
        if present is False:
            return _Part([], present=False, alive=alive)
        inside = [(label, _within(part, present)) for label, part in entries]
        return _Part([opening, *self.sequence(inside, level), closing], present, alive)

    def entry(self, entry: pl.Entry, level: int) -> _Part:
        return self.loop(entry) if isinstance(entry, pl.Loop) else self.node(entry, level)

    def loop(self, loop: pl.Loop) -> _Part:
        inner = self.values.enter(loop)
        holds = self.values.kept[loop.level]
        if inner.size == 0 or holds is False:
            return _Part([], present=False, alive=False)
        part = self.node(loop.node, loop.level)
        kept = both(holds, part.present)
        if kept is False:
            return _Part([], present=False, alive=False)
        counts = _counts(inner.starts, kept)
        has_rows = counts > 0
        present: Bools | bool = True if has_rows.all() else has_rows
        pieces = [_commas(inner, kept), *part.pieces]
        entry = (
            _Rope(loop.level, pieces)
            if isinstance(kept, bool)
            else _optional(loop.level, pieces, kept)
        )
        return _Part([_Listed(entry)], present, present)

    def following(self, items: list[tuple[str, _Part]], level: int) -> list[_Piece]:
        """Return items that follow something: each with a comma before it."""
        pieces: list[_Piece] = []
        for label, part in items:
            if part.present is True:
                pieces += [f",{label}", *part.pieces]
            elif part.present is not False:
                pieces.append(_optional(level, [f",{label}", *part.pieces], part.present))
        return pieces

    def sequence(self, items: list[tuple[str, _Part]], level: int) -> list[_Piece]:
        """Return items with commas between those that are there.

        An item that is always there decides where the commas go. Without one, the comma of each
        depends on whether any item before it is there.
        """
        items = [(label, part) for label, part in items if part.present is not False]
        anchor = next(
            (index for index, (_, part) in enumerate(items) if part.present is True), None
        )
        pieces: list[_Piece] = []
        if anchor is not None:
            for label, part in items[:anchor]:
                pieces.append(_optional(level, [label, *part.pieces, ","], part.present))
            label, part = items[anchor]
            pieces += [label, *part.pieces, *self.following(items[anchor + 1 :], level)]
            return pieces
        before: Bools | bool = False
        for label, part in items:
            comma: list[_Piece] = []
            if before is True:
                comma = [","]
            elif before is not False:
                comma = [pc.if_else(pa.array(before), f",{label}", label)]
                label = ""  # it is in the comma now
            pieces.append(_optional(level, [*comma, label, *part.pieces], part.present))
            before = either(before, part.present)
        return pieces


def _within(part: _Part, present: Bools | bool) -> _Part:
    """Return a part for use inside another that is there in some rows only.

    A part that is there wherever the outer one is needs no mask of its own.
    """
    if isinstance(part.present, bool) or isinstance(present, bool):
        return part
    if part.present is not present and np.any(present & ~part.present):
        return part
    return replace(part, present=True)


def _alive(parts: Iterator[_Part]) -> Bools | bool | None:
    conditions = [part.alive for part in parts if part.alive is not None]
    return either(*conditions) if conditions else None


def _counts(starts: Indices, kept: Bools | bool) -> Indices:
    if kept is True:
        return np.diff(starts)
    running = np.concatenate(([0], np.cumsum(kept)))
    return np.diff(running[starts])


def _commas(level: Level, kept: Bools | bool) -> pa.StringArray:
    """Return what stands before each entry of a list: nothing before its first; null for no entry.

    Args:
        level: the rows of the lists.
        kept: those that make an entry.
    """
    if level.parents is None:
        raise AssertionError("rows of a list are in others")
    rows = np.arange(level.size) if isinstance(kept, bool) else np.flatnonzero(kept)
    lists = level.parents[rows]
    follows = np.zeros(level.size, dtype=np.bool_)
    follows[rows[1:]] = lists[1:] == lists[:-1]
    commas = pc.if_else(pa.array(follows), ",", "")
    if isinstance(kept, bool):
        return commas
    return pc.if_else(pa.array(kept), commas, pa.scalar(None, pa.string()))


@cache
def _quoted(text: str) -> str:
    """Return a text of a mapping as JSON: there are as many as the mappings hold."""
    return json.dumps(text, ensure_ascii=False)


def _optional(level: int, pieces: list[_Piece], mask: Bools | bool) -> _Optional:
    """Return a part that is there where the mask holds.

    Arrow's join makes a row null when one of its columns is, at no cost. So one column is made null
    exactly where the part is absent, and no other is null where it is present.
    """
    if isinstance(mask, bool):
        raise AssertionError("what is always or never there is no optional part")
    key: int | None = None
    for index, piece in enumerate(pieces):
        if isinstance(piece, pa.StringArray) and piece.null_count:
            is_there = valid(piece)
            if key is None and np.array_equal(is_there, mask):
                key = index
            elif np.any(mask & ~np.asarray(is_there)):
                pieces[index] = pc.fill_null(piece, "")
    if key is None:
        key = next(
            (index for index, piece in enumerate(pieces) if isinstance(piece, pa.StringArray)), 0
        )
        piece = pieces[key]
        if isinstance(piece, _Optional | _Listed):
            pieces.insert(0, pc.if_else(pa.array(mask), "", pa.scalar(None, pa.string())))
        else:
            pieces[key] = pc.if_else(pa.array(mask), piece, pa.scalar(None, pa.string()))
    return _Optional(_Rope(level, pieces))


# -- joining ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Joiner:
    """Joins ropes for a run of rows."""

    values: Values

    def whole(self, rope: _Rope, start: int, stop: int) -> pa.StringArray:
        """Return what a rope is in the rows from `start` to `stop`; never null."""
        pieces = self.pieces(rope, start, stop)
        if len(pieces) == 1 and not isinstance(pieces[0], str) and not pieces[0].null_count:
            return pieces[0]
        if all(isinstance(piece, str) for piece in pieces):
            return pa.repeat("".join(map(str, pieces)), stop - start).cast(pa.string())
        return join(*pieces, absent_as_empty=True)

    def pieces(self, rope: _Rope, start: int, stop: int) -> list[str | pa.StringArray]:
        result: list[str | pa.StringArray] = []
        for piece in rope.pieces:
            match piece:
                case str():
                    result.append(piece)
                case _Optional():
                    result.append(self.optional(piece, start, stop))
                case _Listed():
                    result.append(self.listed(piece, start, stop))
                case _:
                    result.append(piece.slice(start, stop - start))
        return result

    def optional(self, part: _Optional, start: int, stop: int) -> pa.StringArray:
        """Return what an optional part is, null where it is not there."""
        pieces = self.pieces(part.rope, start, stop)
        for index, inner in enumerate(part.rope.pieces):
            piece = pieces[index]
            if isinstance(inner, _Optional) and not isinstance(piece, str) and piece.null_count:
                pieces[index] = pc.fill_null(piece, "")
        return join(*pieces, absent_as_empty=False)

    def listed(self, part: _Listed, start: int, stop: int) -> pa.StringArray:
        """Return the lists of the rows: the texts of their entries, which follow each other."""
        level = part.entry.rope.level if isinstance(part.entry, _Optional) else part.entry.level
        starts = self.values.levels[level].starts[start : stop + 1]
        first, last = int(starts[0]), int(starts[-1])
        if isinstance(part.entry, _Optional):
            entries = self.optional(part.entry, first, last)
        else:
            entries = self.whole(part.entry, first, last)
        return joined_runs(entries, starts - first)
