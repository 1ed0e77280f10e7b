"""Conditions → rows of a whole directory, references followed in both directions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import compress, islice, repeat
from typing import Any, Final

from etl.gateway.cache import Cache
from etl.gateway.search.dates import END, stored_span
from etl.gateway.search.query import Query, ReferenceLink, SearchCondition, SortKey
from etl.gateway.search.whole_columns import (
    DirectoryColumns,
    Masks,
    RowNumbers,
    WholeColumn,
    both,
    either,
    flipped,
)
from etl.publish.segments import KEYS, reference_key

_FEW: Final = 16
"""Values of a column up to which their rows are looked up one by one."""


_NO_DATE: Final = END + 1
"""Sorts after every date."""


def columns_read(kind: str, conditions: Iterable[SearchCondition]) -> Iterator[tuple[str, str]]:
    """Yield type and parameter of the columns that conditions on a type read."""
    for condition in conditions:
        if condition.ids:
            yield kind, KEYS
        elif not condition.links:
            yield kind, condition.column or condition.parameter.name
        for link in condition.links:
            # A chain compares keys of the other type with references of this one; `_has` the
            # references of the other with keys of this one.
            yield (kind if link.reverse else link.type), KEYS
            yield (link.type if link.reverse else kind), link.parameter
            yield from columns_read(link.type, (link.condition,))


def rows_of_all(several: Sequence[Masks]) -> Masks:
    """Return the rows that all of some conditions are met by."""
    rows = several[0]
    for met in several[1:]:
        rows = [both(one, other) for one, other in zip(rows, met, strict=True)]
    return rows


class KeptRows:
    """Rows that met a condition, kept for the next search with the same one.

    Searches of a directory repeat what they ask: a network, a specialty, a city.

    Args:
        most: bytes that are kept.
    """

    def __init__(self, most: int) -> None:
        self._cache = Cache(most)

    def get(self, release: str, kind: str, condition: SearchCondition) -> RowNumbers | None:
        """Return the rows of a type in a release that meet a condition; None if not kept."""
        kept: RowNumbers | None = self._cache.peek((release, kind, condition.asked))
        return kept

    def keep(self, release: str, kind: str, condition: SearchCondition, rows: RowNumbers) -> None:
        """Keep the rows of a type in a release that meet a condition."""
        cost = sum(100 + 4 * len(of_segment) for of_segment in rows)
        self._cache.put((release, kind, condition.asked), rows, cost)


def referring_rows(
    columns: DirectoryColumns, kind: str, parameter: str, keys: Collection[int]
) -> list[bytearray]:
    """Return the rows of a type that refer to one of some resources."""
    found = columns.no_rows(kind)
    for column, rows in zip(columns.column(kind, parameter), found, strict=True):
        _add_referring(rows, column, keys)
    return found


def ordered_places(
    columns: DirectoryColumns, query: Query, masks: Masks, here: slice
) -> list[tuple[int, int]]:
    """Return shard, and row of the type there, of a page of the rows that are meant, sorted.

    Those without a value come last, ties in the order of the rows. Of several dates the earliest
    counts when ascending, the latest when descending.
    """
    kind = query.kind.name
    dates = [_dates(columns, kind, sort) for sort in query.sorts]
    by_segment = []  # sorted apart: one sort of all rows would not let other threads run
    for number, mask in enumerate(masks):
        rows = list(compress(range(len(mask)), mask))
        keys = [map(of_sort[number].get, rows, repeat(_NO_DATE)) for of_sort in dates]
        by_segment.append(sorted(zip(*keys, repeat(number), rows)))
    page = islice(merge(*by_segment), here.start, here.stop)
    return [columns.place(kind, number, row) for *_, number, row in page]


def _dates(columns: DirectoryColumns, kind: str, sort: SortKey) -> list[dict[int, int]]:
    """Return for each segment the date of its rows that have one; negative when descending."""
    sign = -1 if sort.descending else 1
    spans = []
    for column in columns.column(kind, sort.parameter):
        starts = [sign * stored_span(str(value))[0] for value in column.column.values]
        dates: dict[int, int] = {}
        for code, row in zip(column.column.codes, column.column.rows, strict=True):
            start = starts[code]
            if dates.setdefault(row, start) > start:
                dates[row] = start
        spans.append(dates)
    return spans


def matching_rows(columns: DirectoryColumns, kind: str, condition: SearchCondition) -> Masks:
    """Return the rows of a type that meet a condition."""
    if condition.ids:
        return columns.rows_of(
            kind, {reference_key(f"{kind}/{logical_id}") for logical_id in condition.ids}
        )
    if condition.links:
        met = [_linked(columns, kind, link) for link in condition.links]
        return [either(masks) for masks in zip(*met, strict=True)]
    name = condition.column or condition.parameter.name
    found = columns.no_rows(kind)
    references = [reference_key(reference) for reference in condition.references]
    for column, rows in zip(columns.column(kind, name), found, strict=True):
        if condition.missing is not None:
            for row in column.column.rows:
                rows[row] = 1
        elif condition.parameter.type == "reference":
            _add_referring(rows, column, references)
        elif not column.is_reference and column.column.values:
            _add(rows, column, column.codes_meeting(condition.test, is_folded=condition.is_folded))
    if condition.negated or condition.missing:
        return [flipped(bytes(rows)) for rows in found]
    return [bytes(rows) for rows in found]


def _linked(columns: DirectoryColumns, kind: str, link: ReferenceLink) -> Masks:
    """Return the rows of a type that meet a condition by way of a reference."""
    there = matching_rows(columns, link.type, link.condition)
    if link.reverse:
        return columns.rows_of(kind, _referred(columns, link.type, link.parameter, there))
    keys = columns.keys_of(link.type, there)
    return [bytes(rows) for rows in referring_rows(columns, kind, link.parameter, keys)]


def _add(rows: bytearray, column: WholeColumn, good: Collection[int]) -> None:
    """Add the rows of some values, by their numbers in order."""
    codes, of_pairs = column.column.codes, column.column.rows
    if len(good) <= _FEW or len(good) < len(codes) // _FEW:
        for code in good:
            first = bisect_left(codes, code)
            for row in of_pairs[first : bisect_right(codes, code, first)]:
                rows[row] = 1
        return
    wanted = bytearray(len(column.column.values))
    for code in good:
        wanted[code] = 1
    _add_wanted(rows, column, wanted)


def _add_wanted(rows: bytearray, column: WholeColumn, wanted: bytes | bytearray) -> None:
    """Add the rows of some values, each marked by its byte."""
    chosen: Iterable[int] = column.column.rows
    if 0 in wanted:
        chosen = compress(chosen, map(wanted.__getitem__, column.column.codes))
    for row in chosen:
        rows[row] = 1


def _add_referring(rows: bytearray, column: WholeColumn, keys: Collection[int]) -> None:
    """Add the rows that refer to one of some resources."""
    values = column.column.values
    if not column.is_reference:  # some value is no `Type/id`, so that all of them are texts
        good = [code for code, text in enumerate(values) if reference_key(str(text)) in keys]
        _add(rows, column, good)
    elif len(keys) > len(values) // _FEW:
        wanted = keys if isinstance(keys, set) else set(keys)
        _add_wanted(rows, column, bytes(map(wanted.__contains__, values)))
    else:
        places = ((bisect_left(values, key), key) for key in keys)
        good = [at for at, key in places if at < len(values) and values[at] == key]
        _add(rows, column, sorted(good))


def _referred(columns: DirectoryColumns, kind: str, parameter: str, masks: Masks) -> set[int]:
    """Return the keys that some rows of a type refer to."""
    keys: set[int] = set()
    for column, mask in zip(columns.column(kind, parameter), masks, strict=True):
        codes = set(compress(column.column.codes, map(mask.__getitem__, column.column.rows)))
        values: Iterable[Any] = map(column.column.values.__getitem__, codes)
        keys.update(values if column.is_reference else map(reference_key, values))
    return keys
