"""Conditions → rows of a block, and their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etl.gateway.release_reader import IndexedBlock, column_name
from etl.gateway.search.comparisons import folded
from etl.gateway.search.dates import stored_span
from etl.gateway.search.query import Query, SearchCondition, SortKey
from etl.publish.search_index import IndexColumn

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
