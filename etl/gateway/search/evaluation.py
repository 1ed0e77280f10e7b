"""Find the rows that meet search conditions, and sort them: in a member's block or a directory.

Both kinds of columns answer the same questions: which codes (numbers of values) a condition asks
for, and which rows have one of them. A directory's columns are read whole and stay in the cache
while they are used; references between its resources are followed in both directions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from heapq import merge
from itertools import compress, count, islice, repeat
from operator import and_, not_
from typing import Any, Final

from etl.errors import StoreError
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.search.comparisons import folded
from etl.gateway.search.dates import END, stored_span
from etl.gateway.search.query import Query, ReferenceLink, SearchCondition, SortKey
from etl.publish.segments import KEYS, Segment, SegmentColumn, reference_key

Masks = Sequence[bytes | bytearray]
"""Per segment, one byte for each row of a type: 1 if the row is selected, else 0."""

RowNumbers = Sequence["array[int]"]
"""Per segment, the numbers of the selected rows: smaller than masks if these are few."""

_TEXT: Final = 120
"""Estimated bytes in memory of a text and its folded form."""

_NO_DATE: Final = END + 1
"""Sorts after every date."""

_INVERTED: Final = bytes((1, 0)) + bytes(254)
"""`bytes.translate` table that inverts a mask."""


@dataclass(frozen=True, slots=True)
class BlockColumn:
    """One column of one type in a block.

    Attributes:
        values: the distinct values.
        rows: for each row of the type, the codes of its values.
    """

    values: Sequence[str]
    rows: Sequence[Sequence[int]]

    def codes_meeting(self, condition: SearchCondition) -> Collection[int]:
        """Return the codes of the values that a condition asks for."""
        values = map(folded, self.values) if condition.is_folded else self.values
        return {code for code, value in enumerate(values) if condition.test(value)}

    def add_rows(self, mask: bytearray, codes: Collection[int]) -> None:
        """Select the rows that have one of the values with these codes."""
        mask[:] = bytes(map(not_, map(frozenset(codes).isdisjoint, self.rows)))


class BlockColumns:
    """The columns of one block.

    Args:
        block: the block.
    """

    def __init__(self, block: IndexedBlock) -> None:
        self._block = block

    def no_rows(self, kind: str) -> list[bytearray]:
        """Return a mask that selects no row of a type."""
        return [bytearray(len(self._block.rows(kind)))]

    def rows_with_ids(self, kind: str, ids: Collection[str]) -> Masks:
        """Select the rows with one of the ids."""
        rows = self._block.rows(kind)
        return [bytes(map(ids.__contains__, self._block.index.ids[rows.start : rows.stop]))]

    def column(self, kind: str, parameter: str) -> Iterator[BlockColumn]:
        """Yield a column."""
        if parameter == "_lastUpdated":
            rows, column = self._block.rows(kind), self._block.index.last_updated
            yield BlockColumn(column.values, column.rows[rows.start : rows.stop])
        else:
            column = self._block.values(kind, parameter)
            yield BlockColumn(column.values, column.rows)


@dataclass(slots=True)
class WholeColumn:
    """One column of one type in one segment.

    Attributes:
        column: as it was published.
    """

    column: SegmentColumn
    _folded: Sequence[str] = field(default=(), init=False)
    _dates: dict[int, list[int]] = field(default_factory=dict, init=False)

    @property
    def values(self) -> Sequence[str] | array[int]:
        """The distinct values: texts, or keys of references."""
        return self.column.values

    @property
    def is_reference(self) -> bool:
        """Whether its values are keys."""
        return isinstance(self.values, array)

    def codes_meeting(self, condition: SearchCondition) -> Collection[int]:
        """Return the codes of the values that a condition asks for, in ascending order."""
        if self.is_reference:
            return self.codes_of(set(map(reference_key, condition.references)))
        texts: Sequence[str] = self.column.values  # type: ignore[assignment]
        if condition.is_folded:
            if not self._folded:
                self._folded = list(map(folded, texts))
            texts = self._folded
        return [code for code, text in enumerate(texts) if condition.test(text)]

    def codes_of(self, keys: set[int]) -> Collection[int]:
        """Return the codes of the references with one of the keys, in ascending order."""
        values = self.column.values
        if not self.is_reference:  # a value that is not `Type/id` makes a column one of texts
            return [code for code, text in enumerate(values) if reference_key(str(text)) in keys]
        if len(keys) > len(values) // _FEW:
            return list(compress(count(), map(keys.__contains__, values)))
        slots = ((bisect_left(values, key), key) for key in keys)
        return sorted(code for code, key in slots if code < len(values) and values[code] == key)

    def add_rows(self, mask: bytearray, codes: Collection[int]) -> None:
        """Select the rows that have one of the values with these codes, in ascending order."""
        pair_codes, pair_rows = self.column.codes, self.column.rows
        if len(codes) <= _FEW or len(codes) < len(pair_codes) // _FEW:
            for code in codes:
                first = bisect_left(pair_codes, code)
                for row in pair_rows[first : bisect_right(pair_codes, code, first)]:
                    mask[row] = 1
            return
        rows: Iterable[int] = pair_rows
        if len(codes) < len(self.column.values):
            rows = compress(rows, map(frozenset(codes).__contains__, pair_codes))
        for row in rows:
            mask[row] = 1

    def dates(self, row_count: int, sign: int) -> Sequence[int]:
        """Return for each row the start of its earliest date; if `sign` is -1, its latest, negated.

        So the smallest always comes first. They are kept as long as the column is.
        """
        dates = self._dates.get(sign)
        if dates is None:
            starts = [sign * stored_span(str(value))[0] for value in self.values]
            dates = [_NO_DATE] * row_count
            for code, row in zip(self.column.codes, self.column.rows, strict=True):
                dates[row] = min(dates[row], starts[code])
            if starts:  # the empty column is that of all segments
                self._dates[sign] = dates
        return dates

    @property
    def cost(self) -> int:
        """Estimated bytes in memory."""
        value_bytes = 8 if self.is_reference else _TEXT
        return 24 * len(self.column.rows) + value_bytes * len(self.column.values)


NO_COLUMN: Final = WholeColumn(SegmentColumn((), array("I"), array("I")))
"""Column of a segment without values."""


class DirectoryColumns:
    """The requested columns of one release.

    Args:
        segments: the release's segments that are not empty.
        columns: per segment, its columns and keys by name.
    """

    def __init__(
        self, segments: Sequence[Segment], columns: Sequence[Mapping[str, array[int] | WholeColumn]]
    ) -> None:
        self._segments = segments
        self._columns = columns

    def all_rows(self, kind: str) -> Masks:
        """Return masks that select all rows of a type."""
        return [b"\1" * segment.count(kind) for segment in self._segments]

    def no_rows(self, kind: str) -> list[bytearray]:
        """Return masks that select no row of a type, for adding rows."""
        return [bytearray(segment.count(kind)) for segment in self._segments]

    def masks_of(self, kind: str, rows: RowNumbers) -> Masks:
        """Convert row numbers to masks."""
        masks = self.no_rows(kind)
        for mask, segment_rows in zip(masks, rows, strict=True):
            for row in segment_rows:
                mask[row] = 1
        return [bytes(mask) for mask in masks]

    def column(self, kind: str, parameter: str) -> Iterator[WholeColumn]:
        """Yield a column, segment by segment."""
        name = f"{kind}/{parameter}"
        for by_name in self._columns:
            column = by_name.get(name, NO_COLUMN)
            assert isinstance(column, WholeColumn)  # noqa: S101 - only `_keys` is an array
            yield column

    def keys(self, kind: str) -> Iterator[array[int]]:
        """Yield the keys of a type's rows, segment by segment."""
        for by_name in self._columns:
            keys = by_name.get(f"{kind}/{KEYS}", _NO_KEYS)
            assert isinstance(keys, array)  # noqa: S101 - `_keys` is an array
            yield keys

    def keys_of(self, kind: str, masks: Masks) -> set[int]:
        """Return the keys of the selected rows."""
        selected: set[int] = set()
        for keys, mask in zip(self.keys(kind), masks, strict=True):
            selected.update(compress(keys, mask))
        return selected

    def rows_with_ids(self, kind: str, ids: Collection[str]) -> Masks:
        """Select the rows with one of the ids."""
        return self.rows_of(kind, {reference_key(f"{kind}/{logical_id}") for logical_id in ids})

    def rows_of(self, kind: str, keys: set[int]) -> Masks:
        """Select the rows whose key is one of `keys`."""
        return [bytes(map(keys.__contains__, row_keys)) for row_keys in self.keys(kind)]

    def place(self, kind: str, segment: int, row: int) -> tuple[int, int]:
        """Return the shard of a segment's row, and the row's number in the shard."""
        return self._segments[segment].shard_of(kind, row)

    def page(self, kind: str, masks: Masks, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the selected rows number `start` to `stop`, each as its shard and row in it."""
        page: list[tuple[int, int]] = []
        passed = 0
        for segment, mask in zip(self._segments, masks, strict=True):
            count = mask.count(1)
            if passed + count > start:
                row = mask.find(1)
                while row >= 0 and passed < stop:
                    if passed >= start:
                        page.append(segment.shard_of(kind, row))
                    passed += 1
                    row = mask.find(1, row + 1)
            else:
                passed += count
            if passed >= stop:
                break
        return page


_NO_KEYS: Final[array[int]] = array("Q")


def row_numbers(masks: Masks) -> RowNumbers:
    """Convert masks to row numbers."""
    return [array("I", compress(range(len(mask)), mask)) for mask in masks]


async def columns_of(tree: ReleaseTree, requested: Iterable[tuple[str, str]]) -> DirectoryColumns:
    """Read columns of a release, from the cache or its segments.

    Args:
        tree: the release.
        requested: type and parameter of each column; `_keys` for the keys of the type's rows.

    Raises:
        StoreError: storage failed, a segment is damaged, or the release has no columns.
    """
    columns = list(dict.fromkeys(requested))
    entries = [entry for entry in tree.manifest.segments if entry is not None]
    if not entries and any(tree.manifest.directory):
        raise StoreError(f"release {tree.id} has no columns to search; publish it with a run")
    segments = await tree.in_turns(map(tree.segment, entries))

    async def read_section(number: int, kind: str, parameter: str) -> array[int] | WholeColumn:
        segment, name = segments[number], f"{kind}/{parameter}"

        def parse(data: bytes) -> tuple[array[int] | WholeColumn, int]:
            if parameter == KEYS:
                return segment.keys(kind, data), len(data)
            column = WholeColumn(segment.column(name, data))
            return column, column.cost

        return await tree.section(entries[number], segment, name, parse)

    sections: list[dict[str, array[int] | WholeColumn]] = [{} for _ in segments]
    missing = []
    for number, entry in enumerate(entries):
        for kind, parameter in columns:
            name = f"{kind}/{parameter}"
            cached = tree.cached_section(entry, name)
            if cached is not None:
                sections[number][name] = cached
            elif segments[number].section_span(name) is not None:
                missing.append((number, kind, parameter))
    read = await tree.in_turns(read_section(*column) for column in missing)
    for (number, kind, parameter), section in zip(missing, read, strict=True):
        sections[number][f"{kind}/{parameter}"] = section
    return DirectoryColumns(segments, sections)


_COMMON = {"_id": "ids", "_lastUpdated": "lastUpdated"}


def needed_sections(query: Query) -> list[str]:
    """Return the sections of an index that a query reads, for `ReleaseTree.need`."""
    names = {condition.parameter.name for condition in query.conditions}
    names |= {sort.parameter for sort in query.sorts}
    columns = [
        _COMMON.get(column) or column_name(query.kind.name, column) for column in sorted(names)
    ]
    if query.includes:
        columns += [
            "ids",
            *(
                column_name(include.type, include.parameter)
                for include in query.includes
                if include.type == query.kind.name
            ),
        ]
    return ["parts", *columns]


def find_matches(
    block: IndexedBlock, resource_type: str, conditions: Iterable[SearchCondition]
) -> Sequence[int]:
    """Return the rows of a type that meet all conditions, in the order of the block."""
    rows = block.rows(resource_type)
    columns = BlockColumns(block)
    masks = [matching_rows(columns, resource_type, condition) for condition in conditions]
    return list(compress(rows, intersect(masks)[0])) if rows and masks else rows


def sort_hits(
    hits: Sequence[tuple[IndexedBlock, int]], resource_type: str, sorts: Sequence[SortKey]
) -> list[tuple[IndexedBlock, int]]:
    """Return hits in the requested order; hits without a value last, ties in their old order.

    Of several dates, the earliest counts when ascending, the latest when descending.
    """
    result = list(hits)
    for sort in reversed(sorts):
        keyed = [(_sort_key(resource_type, sort, *hit), hit) for hit in result]
        valued = [(key, hit) for key, hit in keyed if key is not None]
        valued.sort(key=lambda pair: pair[0], reverse=sort.descending)
        result = [hit for _, hit in valued] + [hit for key, hit in keyed if key is None]
    return result


def _sort_key(resource_type: str, sort: SortKey, block: IndexedBlock, row: int) -> int | str | None:
    """Return the value by which a resource is sorted; None if it has none."""
    if sort.parameter == "_id":
        return block.index.ids[row]
    if sort.parameter == "_lastUpdated":
        values = block.index.last_updated.values_of(row)
    else:
        first = block.rows(resource_type).start
        values = block.values(resource_type, sort.parameter).values_of(row - first)
    starts = [stored_span(value)[0] for value in values]
    if not starts:
        return None
    return max(starts) if sort.descending else min(starts)


_FEW: Final = 16
"""Up to this many values, or this part of a column, binary search is faster than a scan."""


def columns_read(kind: str, conditions: Iterable[SearchCondition]) -> Iterator[tuple[str, str]]:
    """Yield type and parameter of each column that conditions on a type read."""
    for condition in conditions:
        if condition.ids:
            yield kind, KEYS
        elif not condition.link:
            yield kind, condition.column or condition.parameter.name
        if link := condition.link:
            # A chain compares the linked type's keys with this type's references; `_has` compares
            # the linked type's references with this type's keys.
            yield (kind if link.reverse else link.type), KEYS
            yield (link.type if link.reverse else kind), link.parameter
            yield from columns_read(link.type, (link.condition,))


def intersect(by_condition: Sequence[Masks]) -> Masks:
    """Select the rows that all conditions select."""
    if len(by_condition) == 1:
        return by_condition[0]
    return [
        reduce(and_, map(int.from_bytes, masks)).to_bytes(len(masks[0]))
        for masks in zip(*by_condition, strict=True)
    ]


def referring_rows(
    columns: DirectoryColumns, kind: str, parameter: str, keys: set[int]
) -> list[bytearray]:
    """Select the rows of a type that refer to a resource with one of the keys."""
    masks = columns.no_rows(kind)
    for column, mask in zip(columns.column(kind, parameter), masks, strict=True):
        column.add_rows(mask, column.codes_of(keys))
    return masks


def ordered_places(
    columns: DirectoryColumns, query: Query, masks: Masks, page: slice
) -> list[tuple[int, int]]:
    """Return shard, and row in it, of one page of the selected rows after sorting.

    Rows without a value come last, ties in row order. Of several dates, the earliest counts when
    ascending, the latest when descending.
    """
    kind = query.kind.name
    dates = [
        [
            column.dates(len(mask), -1 if sort.descending else 1)
            for column, mask in zip(columns.column(kind, sort.parameter), masks, strict=True)
        ]
        for sort in query.sorts
    ]
    by_segment = []  # one sort of all rows would block the other threads
    for number, mask in enumerate(masks):
        rows = list(compress(range(len(mask)), mask))
        for sort_dates in reversed(dates):
            rows.sort(key=sort_dates[number].__getitem__)
        by_segment.append(zip(repeat(number), rows))

    def sort_key(place: tuple[int, int]) -> list[int]:
        number, row = place
        return [sort_dates[number][row] for sort_dates in dates]

    page_rows = islice(merge(*by_segment, key=sort_key), page.start, page.stop)
    return [columns.place(kind, number, row) for number, row in page_rows]


def matching_rows(
    columns: BlockColumns | DirectoryColumns, kind: str, condition: SearchCondition
) -> Masks:
    """Select the rows of a type that meet a condition; a block's follow no references."""
    if condition.ids:
        return columns.rows_with_ids(kind, condition.ids)
    if condition.link:
        assert isinstance(columns, DirectoryColumns)  # noqa: S101 - `parse` refuses chains
        return _linked_rows(columns, kind, condition.link)
    masks = columns.no_rows(kind)
    name = condition.column or condition.parameter.name
    read: Iterator[BlockColumn | WholeColumn] = columns.column(kind, name)
    for column, mask in zip(read, masks, strict=True):
        is_compared = condition.missing is None
        codes = column.codes_meeting(condition) if is_compared else range(len(column.values))
        column.add_rows(mask, codes)
    if condition.negated or condition.missing:
        return [mask.translate(_INVERTED) for mask in masks]
    return masks


def _linked_rows(columns: DirectoryColumns, kind: str, link: ReferenceLink) -> Masks:
    """Select the rows of a type that meet a chained condition, or `_has`."""
    linked = matching_rows(columns, link.type, link.condition)
    if link.reverse:
        return columns.rows_of(kind, _target_keys(columns, link.type, link.parameter, linked))
    keys = columns.keys_of(link.type, linked)
    return list(map(bytes, referring_rows(columns, kind, link.parameter, keys)))


def _target_keys(columns: DirectoryColumns, kind: str, parameter: str, masks: Masks) -> set[int]:
    """Return the keys that the selected rows of a type refer to."""
    keys: set[int] = set()
    for column, mask in zip(columns.column(kind, parameter), masks, strict=True):
        codes = set(compress(column.column.codes, map(mask.__getitem__, column.column.rows)))
        values: Iterable[Any] = map(column.column.values.__getitem__, codes)
        keys.update(values if column.is_reference else map(reference_key, values))
    return keys
