"""Checks between rows of a directory: references, where a place lies, how old a row is."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import list_values, true_where
from etl.columns.dates import NO_DAY, read_dates
from etl.model.canonical_tables import TABLES, FieldType
from etl.quality.checks.frames import Frame, Work
from etl.quality.checks.us_places import position_outside, zip_outside
from etl.quality.rules import directory_kinds
from etl.quality.rules.book import Rule

_DAY: Final = len("2026-01-01")


def check_directory(work: Work, frame: Frame, rule: Rule) -> None:
    """Run one rule about rows of a directory over one table."""
    looked_at = work.holds(rule, frame) & frame.live & ~frame.withdrawn
    match rule.kind:
        case directory_kinds.Unnamed(named_in=name):
            named = _names(work, name)
            key = frame.cells(frame.spec.key[0]).text
            work.fail(rule, frame, looked_at & ~true_where(pc.is_in(key, value_set=named)))
        case directory_kinds.NoPlace(columns=columns, areas=areas):
            where = looked_at
            for column in columns:
                where = where & ~frame.filled(column)
            key = frame.cells(frame.spec.key[0]).text
            for name in areas:
                named = _names(work, name)
                where = where & ~true_where(pc.is_in(key, value_set=named))
            work.fail(rule, frame, where)
        case directory_kinds.SharedValue(column=column, or_key=or_key):
            work.fail(rule, frame, looked_at & _shared(frame, column, or_key=or_key), column)
        case directory_kinds.Stale(days=days):
            _stale(work, frame, rule, looked_at, int(days))
        case directory_kinds.Elsewhere(columns=columns):
            _elsewhere(work, frame, rule, looked_at, columns)
        case _:
            raise TypeError(f"{rule.check} is no check of directories")


def _names(work: Work, name: str) -> Any:
    """Return what `table.column` names, of rows that are in force."""
    table, _, column = name.partition(".")
    frame = work.frames[table]
    text = frame.cells(column).text.filter(pa.array(frame.live & ~frame.withdrawn))
    found = TABLES[table].column(column)
    if found is not None and found.type is FieldType.LIST:
        return list_values(text)[0]
    return text.drop_null()


def _shared(frame: Frame, column: str, *, or_key: bool) -> Any:
    """Return which rows have a value that another row with another key has as well.

    With `or_key`, also those with a value that is the key of another row.
    """
    text, keys = frame.cells(column).text, frame.cells(frame.spec.key[0]).text
    live = pa.array(frame.live & ~frame.withdrawn)
    pairs = pa.table({"value": text, "key": keys}).filter(live)
    if or_key:
        pairs = pa.concat_tables([pairs, pa.table({"value": keys, "key": keys}).filter(live)])
    counts = pairs.group_by("value").aggregate([("key", "count_distinct")])
    twice = counts.filter(pc.greater(counts.column("key_count_distinct"), 1)).column("value")
    return true_where(pc.is_in(text, value_set=twice.combine_chunks().drop_null()))


def _stale(work: Work, frame: Frame, rule: Rule, looked_at: Any, days: int) -> None:
    as_of, column = work.context.as_of, "last_updated"
    if as_of is None or frame.cells(column).empty:
        return
    cells = frame.cells(column)
    updated = read_dates(pc.utf8_slice_codeunits(cells.words, 0, _DAY)).days
    old = cells.spread((updated < as_of - days) & (updated != NO_DAY), absent=False)
    work.fail(rule, frame, looked_at & old, column)


def _elsewhere(
    work: Work, frame: Frame, rule: Rule, looked_at: Any, columns: tuple[str, ...]
) -> None:
    if rule.crosswalk is None or any(frame.cells(column).empty for column in columns):
        return
    state = frame.cells("state").text
    cells = [frame.cells(column).text for column in columns]
    if len(cells) == 1:
        outside = zip_outside(rule.crosswalk, state, cells[0])
    else:
        outside = position_outside(rule.crosswalk, state, *cells)
    work.fail(rule, frame, looked_at & outside, columns[0])
