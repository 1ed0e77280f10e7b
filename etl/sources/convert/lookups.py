"""Cells of another raw file: which of its rows fit a row, and whether they agree.

Rows fit that belong to the same member or claim and have the same keys, and that are in force on
the row's day where the layout asks for that. Where several do, the first in the order that the
layout declares counts; where it declares none, or several come first, they must all say the same. A
row that could not be read fits wherever it may fit, with unknown cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, as_array, compound_keys
from etl.columns.dates import NO_DAY, read_dates
from etl.sources.convert.raw_rows import RawRows, number_rank
from etl.sources.layout.column_specs import InForce, Lookup, RowOrder


@dataclass(frozen=True, slots=True)
class SoughtRows:
    """Keys that rows look for in another file.

    Attributes:
        scope: `string`, shape (n,): the owner of each row; "" where that does not matter.
        keys: `string`, shape (n,): scope and keys together; null where there is nothing to look
            for.
        on: `string`, shape (n,): the day on which a row must be in force; None: any day.
    """

    scope: Any
    keys: Any
    on: Any = None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Cells that rows found in another file.

    Attributes:
        values: `string`, shape (n,); null where nothing is found or known.
        torn: which rows found rows that disagree, or that could not be read, shape (n,).
        missing: which rows found none, though the layout says that one is there, shape (n,).
    """

    values: Any
    torn: Bools
    missing: Bools


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Rows of the other file that fit, by what they fit, the more important ones first.

    Attributes:
        fits: ascending: number of what each fits, shape (m,).
        at: number of the row, shape (m,).
        size: how many things there are that rows may fit.
        doubt: of which of them it is not known which rows fit, shape (size,).
    """

    fits: Indices
    at: Indices
    size: int
    doubt: Bools


def look_up(rows: RawRows, source: Lookup, wanted: SoughtRows) -> LookedUp:
    """Return what a lookup finds for each row.

    Args:
        rows: of the other file.
        source: the lookup.
        wanted: what is looked for.
    """
    scope = [rows.column(source.other_scope)] if source.other_scope else []
    keys = compound_keys(*scope, *(rows.column(key) for key in source.key))
    there = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
    encoded = keys.take(pa.array(there)).dictionary_encode()
    group = encoded.indices.to_numpy().astype(np.int64)
    ranks = _ranks(rows, source.order)
    order = np.lexsort((*(rank[there] for rank in reversed(ranks)), group))
    fitting = _Fitting(
        group[order],
        there[order],
        len(encoded.dictionary),
        np.zeros(len(encoded.dictionary), dtype=bool),
    )
    index = pc.index_in(wanted.keys, value_set=encoded.dictionary, skip_nulls=True)
    place = pc.fill_null(index, -1).to_numpy().astype(np.int64)
    if source.in_force is not None:
        fitting, place = _in_force(rows, source.in_force, fitting, place, wanted.on)
    values, torn, counts = _settled(rows.column(source.value), ranks, fitting)
    if source.rows != "any":
        torn |= counts > 1
    ours = np.append(torn, False)[place]
    unread_keys, anything = _unread(rows, source)
    asked = wanted.keys.is_valid()
    if wanted.on is not None:
        asked = pc.and_(asked, wanted.on.is_valid())
    for own, lost in ((wanted.keys, unread_keys), (wanted.scope, anything)):
        ours |= np.asarray(pc.and_(pc.is_in(own, value_set=lost), asked))
    is_there = np.append(counts, 0)[place] > 0
    missing = np.asarray(asked) & ~is_there & ~ours
    if source.rows != "one":
        missing &= False
    answers = values.take(pa.array(np.where(place < 0, 0, place), mask=place < 0))
    return LookedUp(pc.if_else(pa.array(ours), None, answers), ours, missing)


def _in_force(
    rows: RawRows, dates: InForce, fitting: _Fitting, place: Indices, on: Any
) -> tuple[_Fitting, Indices]:
    """Return which rows fit each distinct key and day, and which of these each row looks for."""
    day, bad = _days(on)
    asked = np.flatnonzero((place >= 0) & ((day != NO_DAY) | bad))
    pairs = np.stack([place[asked], np.where(bad[asked], NO_DAY, day[asked])], axis=1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    counts = np.bincount(fitting.fits, minlength=fitting.size)
    starts = np.cumsum(counts) - counts
    sizes = counts[distinct[:, 0]]
    fits = np.repeat(np.arange(len(distinct)), sizes)
    within = np.arange(len(fits)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = fitting.at[np.repeat(starts[distinct[:, 0]], sizes) + within]
    since, odd_since = _days(rows.column(dates.since))
    until, odd_until = _days(rows.column(dates.until))
    wanted = distinct[fits, 1]
    odd = odd_since[at] | odd_until[at] | (wanted == NO_DAY)
    here = (since[at] == NO_DAY) | (since[at] <= wanted)
    here &= (until[at] == NO_DAY) | (wanted <= until[at])
    doubt = np.zeros(len(distinct), dtype=bool)
    doubt[fits[odd]] = True
    kept = here & ~odd
    found = np.full(len(place), -1, dtype=np.int64)
    found[asked] = which.reshape(-1)
    return _Fitting(fits[kept], at[kept], len(distinct), doubt), found


def _days(column: Any) -> tuple[Indices, Bools]:
    """Return the days of dates or instants, `NO_DAY` where there is none, and which are no days."""
    encoded = column.dictionary_encode()
    texts = encoded.dictionary
    instants = pc.match_substring_regex(texts, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")
    read = read_dates(as_array(pc.if_else(instants, pc.utf8_slice_codeunits(texts, 0, 10), texts)))
    at = pc.fill_null(encoded.indices, len(texts)).to_numpy()
    days = np.append(read.days.astype(np.int64), NO_DAY)[at]
    return days, np.append(np.asarray(read.bad), False)[at]


def _settled(column: Any, ranks: list[Any], fitting: _Fitting) -> tuple[Any, Bools, Indices]:
    """Return the cells of the rows that fit, where they disagree, and how many there are."""
    fits, at = fitting.fits, fitting.at
    counts = np.bincount(fits, minlength=fitting.size)
    starts = np.flatnonzero(np.diff(fits, prepend=-1))
    first = np.repeat(starts, np.diff(np.append(starts, len(fits))))
    ties = np.ones(len(fits), dtype=bool)
    for rank in ranks:
        ties &= rank[at] == rank[at[first]]
    said = column.dictionary_encode().indices
    codes = pc.fill_null(said, -1).to_numpy().astype(np.int64)[at]
    torn = fitting.doubt.copy()
    torn[fits[ties & (codes != codes[first])]] = True
    place = np.zeros(fitting.size, dtype=np.int64)
    place[fits[starts]] = at[starts]
    values = column.take(pa.array(place, mask=counts == 0))
    return values, torn, counts


def _unread(rows: RawRows, source: Lookup) -> tuple[Any, Any]:
    """Return the keys of unreadable rows, and the scopes of those that have no keys."""
    table = rows.unread if rows.unread is not None else rows.table.slice(0, 0)
    lost = RawRows(table)
    if source.other_scope:
        scope = lost.column(source.other_scope)
        keys = compound_keys(scope, *(lost.column(key) for key in source.key))
    else:
        scope = pa.repeat(pa.scalar("", pa.string()), lost.count)
        keys = compound_keys(*(lost.column(key) for key in source.key))
    return keys, scope.filter(pc.and_(scope.is_valid(), keys.is_null()))


def _ranks(rows: RawRows, order: tuple[RowOrder, ...]) -> list[Any]:
    """Return the keys that put rows in order, the first the most important."""
    ranks = []
    for key in order:
        cells = rows.column(key.column)
        absent = cells.is_null().to_numpy(zero_copy_only=False)
        sign = -1 if key.descending else 1
        ranks += [absent, *(np.where(absent, 0, sign * rank) for rank in number_rank(cells))]
    return ranks
