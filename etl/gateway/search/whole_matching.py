"""Conditions → rows of a whole directory, references followed in both directions."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress
from typing import Final

from etl.gateway.cache import Cache
from etl.gateway.search.dates import stored_span
from etl.gateway.search.query import Query, ReferenceLink, SearchCondition, SortKey
from etl.gateway.search.whole_columns import (
    DirectoryColumns,
    Masks,
    WholeColumn,
    both,
    either,
    flipped,
)
from etl.publish.segments import KEYS, reference_key

_FEW: Final = 16
"""Values of a column up to which their rows are looked up one by one."""


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


def matching_rows(
    columns: DirectoryColumns, kind: str, conditions: Iterable[SearchCondition]
) -> Masks:
    """Return the rows of a type that meet all conditions."""
    met = [_meeting(columns, kind, condition) for condition in conditions]
    return rows_of_all(met) if met else columns.all_rows(kind)


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

    def meeting(self, release: str, kind: str, condition: SearchCondition) -> Masks | None:
        """Return the rows of a type in a release that meet a condition; None if not kept."""
        kept = self._cache.peek((release, kind, condition.asked))
        if kept is None:
            return None
        counts, rows = kept
        masks = []
        for count, of_segment in zip(counts, rows, strict=True):
            mask = bytearray(count)
            for row in of_segment:
                mask[row] = 1
            masks.append(bytes(mask))
        return masks

    def keep(self, release: str, kind: str, condition: SearchCondition, masks: Masks) -> None:
        """Keep the rows of a type in a release that meet a condition."""
        rows = [array("I", compress(range(len(mask)), mask)) for mask in masks]
        value = ([len(mask) for mask in masks], rows)
        self._cache.put(
            (release, kind, condition.asked), value, sum(100 + 4 * len(one) for one in rows)
        )


def referring_rows(
    columns: DirectoryColumns, kind: str, parameter: str, keys: Collection[int]
) -> list[bytearray]:
    """Return the rows of a type that refer to one of some resources."""
    found = columns.no_rows(kind)
    for column, rows in zip(columns.column(kind, parameter), found, strict=True):
        _add(rows, column, _codes_of_keys(column, keys))
    return found


def ordered_places(columns: DirectoryColumns, query: Query, masks: Masks) -> list[tuple[int, int]]:
    """Return shard, and row of the type there, of all rows that are meant, in the asked order.

    Those without a value come last, ties in the order of the rows. Of several dates the earliest
    counts when ascending, the latest when descending.
    """
    kind = query.kind.name
    places = list(columns.places(kind, masks))
    for sort in reversed(query.sorts):
        dates = _dates(columns, kind, sort)
        having = [place for place in places if place[1] in dates[place[0]]]
        having.sort(key=lambda place: dates[place[0]][place[1]], reverse=sort.descending)
        places = having + [place for place in places if place[1] not in dates[place[0]]]
    return [(shard, row) for _, _, shard, row in places]


def _dates(columns: DirectoryColumns, kind: str, sort: SortKey) -> list[dict[int, int]]:
    """Return for each segment the date of its rows that have one."""
    choose = max if sort.descending else min
    spans = []
    for column in columns.column(kind, sort.parameter):
        starts = [stored_span(str(value))[0] for value in column.column.values]
        dates: dict[int, int] = {}
        for code, row in zip(column.column.codes, column.column.rows, strict=True):
            dates[row] = choose(dates.get(row, starts[code]), starts[code])
        spans.append(dates)
    return spans


def _meeting(columns: DirectoryColumns, kind: str, condition: SearchCondition) -> Masks:
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
            _add(rows, column, _codes_of_keys(column, references))
        elif not column.is_reference and column.column.values:
            values = column.folded if condition.is_folded else column.column.values
            good = [code for code, value in enumerate(values) if condition.test(str(value))]
            _add(rows, column, good)
    if condition.negated or condition.missing:
        return [flipped(bytes(rows)) for rows in found]
    return [bytes(rows) for rows in found]


def _linked(columns: DirectoryColumns, kind: str, link: ReferenceLink) -> Masks:
    """Return the rows of a type that meet a condition by way of a reference."""
    there = matching_rows(columns, link.type, (link.condition,))
    if link.reverse:
        return columns.rows_of(kind, _referred(columns, link.type, link.parameter, there))
    keys = columns.keys_of(link.type, there)
    return [bytes(rows) for rows in referring_rows(columns, kind, link.parameter, keys)]


def _add(rows: bytearray, column: WholeColumn, good: Collection[int]) -> None:
    """Add the rows of some values, by their numbers in order."""
    codes, of_pairs = column.column.codes, column.column.rows
    if len(good) == len(column.column.values):
        chosen: Iterable[int] = of_pairs
    elif len(good) <= _FEW or len(good) < len(codes) // _FEW:
        for code in good:
            first = bisect_left(codes, code)
            for row in of_pairs[first : bisect_right(codes, code, first)]:
                rows[row] = 1
        return
    else:
        wanted = bytearray(len(column.column.values))
        for code in good:
            wanted[code] = 1
        chosen = compress(of_pairs, map(wanted.__getitem__, codes))
    for row in chosen:
        rows[row] = 1


def _codes_of_keys(column: WholeColumn, keys: Collection[int]) -> list[int]:
    """Return the numbers of those values of a column of references that are wanted."""
    values = column.column.values
    if not column.is_reference:  # some value is no `Type/id`, so that all of them are texts
        return [code for code, text in enumerate(values) if reference_key(str(text)) in keys]
    if len(keys) > len(values) // _FEW:
        wanted = keys if isinstance(keys, set) else set(keys)
        return list(compress(range(len(values)), map(wanted.__contains__, values)))
    codes = []
    for key in keys:
        at = bisect_left(values, key)
        if at < len(values) and values[at] == key:
            codes.append(at)
    return sorted(codes)


def _referred(columns: DirectoryColumns, kind: str, parameter: str, masks: Masks) -> set[int]:
    """Return the keys that some rows of a type refer to."""
    keys: set[int] = set()
    for column, mask in zip(columns.column(kind, parameter), masks, strict=True):
        codes = set(compress(column.column.codes, map(mask.__getitem__, column.column.rows)))
        values = column.column.values
        keys.update(
            value if isinstance(value, int) else reference_key(str(value))
            for value in map(values.__getitem__, codes)
        )
    return keys
