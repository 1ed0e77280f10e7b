"""Conditions → rows, and their order: of a member's block, or of a whole directory.

A block's columns are read row by row. Those of a directory are read once and kept while they are
used; references are followed in both directions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from heapq import merge
from itertools import compress, islice, repeat
from operator import and_
from typing import Any, Final

from etl.errors import StoreError
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.search.comparisons import Test, folded
from etl.gateway.search.dates import END, stored_span
from etl.gateway.search.query import Query, ReferenceLink, SearchCondition, SortKey
from etl.publish.search_index import IndexColumn
from etl.publish.segments import KEYS, Segment, SegmentColumn, reference_key

Masks = Sequence[bytes]
"""For each segment, a byte for each row of a type: 1 where it is meant, else 0."""

RowNumbers = Sequence["array[int]"]
"""For each segment, the rows of a type that are meant: what masks of few rows are kept as."""

_TEXT: Final = 120
"""Bytes in memory of a short text and its folded form."""

_FLIPPED: Final = bytes((1, 0)) + bytes(254)
"""Translation of a mask to that of the other rows."""


@dataclass(slots=True)
class WholeColumn:
    """One column of one type in one segment.

    Attributes:
        column: as it was published.
    """

    column: SegmentColumn
    _folded: Sequence[str] = field(default=(), init=False)

    @property
    def is_reference(self) -> bool:
        """Whether its values are keys."""
        return isinstance(self.column.values, array)

    def codes_meeting(self, test: Test, *, is_folded: bool) -> list[int]:
        """Return the numbers of the texts that pass a test. The column has no references.

        Args:
            test: takes a text.
            is_folded: whether it takes texts without case and accents.
        """
        texts: Sequence[str] = self.column.values  # type: ignore[assignment]
        if is_folded:
            if not self._folded:
                self._folded = list(map(folded, texts))
            texts = self._folded
        return [code for code, text in enumerate(texts) if test(text)]

    @property
    def cost(self) -> int:
        """About how many bytes it takes."""
        each = 8 if self.is_reference else _TEXT
        return 8 * len(self.column.rows) + each * len(self.column.values)


NO_COLUMN: Final = WholeColumn(SegmentColumn((), array("I"), array("I")))
"""A column of a segment in which no row has a value."""


class DirectoryColumns:
    """The columns of one release that were asked for.

    Args:
        segments: those of the release that are not empty.
        held: for each of them its sections by name.
    """

    def __init__(
        self, segments: Sequence[Segment], held: Sequence[Mapping[str, array[int] | WholeColumn]]
    ) -> None:
        self._segments = segments
        self._held = held

    def all_rows(self, kind: str) -> Masks:
        """Return all rows of a type."""
        return [b"\1" * segment.count(kind) for segment in self._segments]

    def no_rows(self, kind: str) -> list[bytearray]:
        """Return none of the rows of a type, to add some."""
        return [bytearray(segment.count(kind)) for segment in self._segments]

    def masks_of(self, kind: str, rows: RowNumbers) -> Masks:
        """Return rows of a type as masks."""
        masks = self.no_rows(kind)
        for mask, of_segment in zip(masks, rows, strict=True):
            for row in of_segment:
                mask[row] = 1
        return [bytes(mask) for mask in masks]

    def column(self, kind: str, parameter: str) -> Iterator[WholeColumn]:
        """Yield a column, segment by segment."""
        name = f"{kind}/{parameter}"
        for held in self._held:
            column = held.get(name, NO_COLUMN)
            assert isinstance(column, WholeColumn)  # noqa: S101 - of a name that is no `_keys`
            yield column

    def keys(self, kind: str) -> Iterator[array[int]]:
        """Yield the keys of a type's rows, segment by segment."""
        for held in self._held:
            keys = held.get(f"{kind}/{KEYS}", _NO_KEYS)
            assert isinstance(keys, array)  # noqa: S101 - of such a name
            yield keys

    def keys_of(self, kind: str, masks: Masks) -> set[int]:
        """Return the keys of some rows."""
        found: set[int] = set()
        for keys, mask in zip(self.keys(kind), masks, strict=True):
            found.update(compress(keys, mask))
        return found

    def rows_of(self, kind: str, keys: set[int]) -> Masks:
        """Return the rows that have one of some keys."""
        return [bytes(map(keys.__contains__, of_segment)) for of_segment in self.keys(kind)]

    def place(self, kind: str, segment: int, row: int) -> tuple[int, int]:
        """Return the shard of a row of a segment, and its row of the type there."""
        return self._segments[segment].shard_of(kind, row)

    def page(self, kind: str, masks: Masks, start: int, stop: int) -> list[tuple[int, int]]:
        """Return shard, and row of the type there, of some of the rows that are meant, in order."""
        page: list[tuple[int, int]] = []
        before = 0
        for segment, mask in zip(self._segments, masks, strict=True):
            here = mask.count(1)
            if before + here > start:
                at = mask.find(1)
                while at >= 0 and before < stop:
                    if before >= start:
                        page.append(segment.shard_of(kind, at))
                    before += 1
                    at = mask.find(1, at + 1)
            else:
                before += here
            if before >= stop:
                break
        return page


_NO_KEYS: Final[array[int]] = array("Q")


def row_numbers(masks: Masks) -> RowNumbers:
    """Return the rows that are meant by masks."""
    return [array("I", compress(range(len(mask)), mask)) for mask in masks]


async def columns_of(tree: ReleaseTree, wanted: Iterable[tuple[str, str]]) -> DirectoryColumns:
    """Return columns of a release.

    Args:
        tree: the release.
        wanted: type and parameter of each column; `_keys` for the keys of the type's rows.

    Raises:
        StoreError: storage failed, or what it holds is damaged, or the release has none.
    """
    columns = list(dict.fromkeys(wanted))
    entries = [entry for entry in tree.manifest.segments if entry is not None]
    if not entries and any(tree.manifest.directory):
        raise StoreError(f"release {tree.id} has no columns to search; publish it with a run")
    segments = await tree.in_turns(map(tree.segment, entries))

    async def section(number: int, kind: str, parameter: str) -> array[int] | WholeColumn:
        segment, name = segments[number], f"{kind}/{parameter}"

        def parsed(data: bytes) -> tuple[array[int] | WholeColumn, int]:
            if parameter == KEYS:
                return segment.keys(kind, data), len(data)
            column = WholeColumn(segment.column(name, data))
            return column, column.cost

        return await tree.section(entries[number], segment, name, parsed)

    held: list[dict[str, array[int] | WholeColumn]] = [{} for _ in segments]
    missing = []
    for number, entry in enumerate(entries):
        for kind, parameter in columns:
            name = f"{kind}/{parameter}"
            kept = tree.held_section(entry, name)
            if kept is not None:
                held[number][name] = kept
            elif segments[number].place(name) is not None:
                missing.append((number, kind, parameter))
    read = await tree.in_turns(section(*one) for one in missing)
    for (number, kind, parameter), found in zip(missing, read, strict=True):
        held[number][f"{kind}/{parameter}"] = found
    return DirectoryColumns(segments, held)


_OF_ALL = {"_id": "ids", "_lastUpdated": "lastUpdated"}


def sections(query: Query) -> list[str]:
    """Return the sections of an index that a query reads, for `ReleaseTree.need`."""
    names = {condition.parameter.name for condition in query.conditions}
    names |= {sort.parameter for sort in query.sorts}
    columns = [
        _OF_ALL.get(column) or column_name(query.kind.name, column) for column in sorted(names)
    ]
    if query.includes:
        columns += [
            "ids",
            *(column_name(include.type, include.parameter) for include in query.includes),
        ]
    return ["parts", *columns]


def matching(
    block: IndexedBlock, resource_type: str, conditions: Iterable[SearchCondition]
) -> Sequence[int]:
    """Return the rows of a type that meet all conditions, in the order of the block."""
    rows: Sequence[int] = block.rows(resource_type)
    for condition in conditions:
        if rows:
            rows = _meeting(block, resource_type, rows, condition)
    return rows


def ordered(
    hits: Sequence[tuple[IndexedBlock, int]], resource_type: str, sorts: Sequence[SortKey]
) -> list[tuple[IndexedBlock, int]]:
    """Return hits in the requested order; those without a value come last, ties keep their order.

    Of several dates the earliest counts when ascending, the latest when descending.
    """
    result = list(hits)
    for sort in reversed(sorts):
        keyed = [(_key(block, resource_type, row, sort), (block, row)) for block, row in result]
        having = [(key, hit) for key, hit in keyed if key is not None]
        having.sort(key=lambda pair: pair[0], reverse=sort.descending)
        result = [hit for _, hit in having] + [hit for key, hit in keyed if key is None]
    return result


def _meeting(
    block: IndexedBlock, resource_type: str, rows: Sequence[int], condition: SearchCondition
) -> Sequence[int]:
    name = condition.parameter.name
    index = block.index
    if name == "_id":
        ids = index.ids
        return [row for row in rows if ids[row] in condition.ids]
    column, first = _column(block, resource_type, name)
    numbers_of_row = column.rows
    if condition.missing is not None:
        return [row for row in rows if (not numbers_of_row[row - first]) is condition.missing]
    values = map(folded, column.values) if condition.is_folded else column.values
    good = {number for number, value in enumerate(values) if condition.test(value)}
    if condition.negated:
        return [row for row in rows if good.isdisjoint(numbers_of_row[row - first])]
    if len(good) == len(column.values) and all(numbers_of_row):
        return rows
    return [row for row in rows if not good.isdisjoint(numbers_of_row[row - first])]


def _column(block: IndexedBlock, resource_type: str, name: str) -> tuple[IndexColumn, int]:
    if name == "_lastUpdated":
        return block.index.last_updated, 0
    return block.values(resource_type, name), block.rows(resource_type).start


def _key(block: IndexedBlock, resource_type: str, row: int, sort: SortKey) -> int | str | None:
    if sort.parameter == "_id":
        return block.index.ids[row]
    column, first = _column(block, resource_type, sort.parameter)
    starts = [stored_span(value)[0] for value in column.values_of(row - first)]
    if not starts:
        return None
    return max(starts) if sort.descending else min(starts)


_FEW: Final = 16
"""Values of a column up to which their rows are looked up one by one."""


_NO_DATE: Final = END + 1
"""Sorts after every date."""


def columns_read(kind: str, conditions: Iterable[SearchCondition]) -> Iterator[tuple[str, str]]:
    """Yield type and parameter of the columns that conditions on a type read."""
    for condition in conditions:
        if condition.ids:
            yield kind, KEYS
        elif not condition.link:
            yield kind, condition.column or condition.parameter.name
        if link := condition.link:
            # A chain compares keys of the other type with references of this one; `_has` the
            # references of the other with keys of this one.
            yield (kind if link.reverse else link.type), KEYS
            yield (link.type if link.reverse else kind), link.parameter
            yield from columns_read(link.type, (link.condition,))


def rows_of_all(several: Sequence[Masks]) -> Masks:
    """Return the rows that all of some conditions are met by."""
    if len(several) == 1:
        return several[0]
    return [
        reduce(and_, map(int.from_bytes, masks)).to_bytes(len(masks[0]))
        for masks in zip(*several, strict=True)
    ]


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
    if condition.link:
        return _linked(columns, kind, condition.link)
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
        return [bytes(rows).translate(_FLIPPED) for rows in found]
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
