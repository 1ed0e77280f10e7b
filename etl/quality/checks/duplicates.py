"""Deduplicate rows with the same key.

The content decides, never the order of rows:

* All rows have the same content: one is kept, the others are superseded.
* `last_updated` is filled in all and one content is the newest: it is kept, the others are
  superseded.
* Otherwise it is unknown which one is right, and all are rejected.
* Rows of two members: all are rejected, whatever their dates. A claim shown to the wrong person is
  the worst that can happen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from etl.columns.arrays import true_where
from etl.model.canonical_tables import EVERY_TABLE, HEADERS, KEYS
from etl.quality.checks.frames import Frame, Work
from etl.quality.rules import kinds

_LARGEST: Final = 2**62


def find_duplicates(work: Work, frame: Frame) -> None:
    """Mark superseded rows of one table; record findings about duplicate keys."""
    groups = _group_by_key(frame)
    frame.set_ambiguous(bool(groups) or bool(frame.shared.any()) or bool(frame.malformed.any()))
    if not groups:
        return
    verdicts: dict[str, list[int]] = {"identical": [], "older": [], "conflict": []}
    columns = [name for name in frame.spec.names if not frame.cells(name).empty]
    for rows in groups:
        for verdict, indices in _decide_group(frame, rows, columns).items():
            verdicts[verdict].extend(indices)
    frame.superseded[verdicts["identical"] + verdicts["older"]] = True
    frame.withdrawn &= ~frame.superseded  # a row has one fate
    for rule in work.book.of_kinds(kinds.Duplicate):
        if isinstance(rule.kind, kinds.Duplicate) and frame.name in rule.tables:
            positions = np.array(sorted(verdicts[rule.kind.of]), dtype=np.int64)
            work.record(rule, frame, positions, None)


def _group_by_key(frame: Frame) -> list[Any]:
    """Return the positions of rows that share a key, key by key; ignore incomplete keys."""
    key = frame.spec.key
    has_key = ~frame.malformed
    if frame.name in (*HEADERS, "coverage"):
        # A row without an owner can be in any partition and is rejected: never a duplicate.
        has_key &= frame.filled("member_id") & ~frame.shared
    codes, largest = np.zeros(frame.count, dtype=np.int64), 1
    for column in key:
        has_key &= frame.filled(column)
        if column in ("line_number", "sequence"):
            line_numbers = frame.integers(column)
            part = line_numbers - line_numbers.min()
        else:
            part = frame.cells(column).codes.astype(np.int64) + 1
        part_size = int(part.max()) + 1
        if largest * part_size > _LARGEST:  # would overflow 64 bits: renumber
            codes = np.unique(codes, return_inverse=True)[1]
            largest = frame.count
        codes, largest = codes * part_size + part, largest * part_size
    if has_key.all() and bool(np.all(codes[1:] > codes[:-1])):
        return []  # already sorted, all keys distinct: the usual case
    positions = np.flatnonzero(has_key)
    sorted_positions = positions[np.argsort(codes[positions], kind="stable")]
    keys = codes[sorted_positions]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.array([], int)
    return [rows for rows in np.split(sorted_positions, starts[1:]) if len(rows) > 1]


def find_shared(work: Work, frame: Frame) -> None:
    """Mark headers or coverages whose id two members share, in any partition."""
    for rule in work.book.of_kinds(kinds.KeyOfTwoMembers):
        if frame.name not in rule.tables:
            continue
        cells = frame.cells(KEYS[frame.name])
        is_shared = true_where(work.context.known_keys.shared(frame.name, cells.words))
        keys, members = cells.codes, frame.cells("member_id").codes
        eligible = np.flatnonzero(~(frame.deleted | frame.malformed) & (keys >= 0) & (members >= 0))
        if len(cells.words) < len(eligible):
            pairs = np.unique(np.stack([keys[eligible], members[eligible]]), axis=1)[0]
            is_shared[pairs[1:][pairs[1:] == pairs[:-1]]] = True
        if is_shared.any():
            frame.shared = cells.spread(is_shared, False) & ~(frame.deleted | frame.malformed)
            work.record(rule, frame, np.flatnonzero(frame.shared), KEYS[frame.name])


def _decide_group(frame: Frame, rows: Any, columns: Sequence[str]) -> dict[str, list[int]]:
    """Return the verdicts on the rows of one key; the kept row is in no list."""
    ordered = sorted(
        rows.tolist(), key=lambda position: (int(frame.files[position]), int(frame.rows[position]))
    )
    action, stamp = (column.name for column in EVERY_TABLE)
    contents_by_column = [
        frame.cells(name).text.take(ordered).to_pylist()
        for name in columns
        if name not in (action, stamp)
    ]
    # Add and update mean the same; a deletion does not.
    contents = list(zip(frame.deleted[ordered].tolist(), *contents_by_column, strict=True))
    stamps = frame.cells(stamp).text.take(ordered).to_pylist()
    if len(set(contents)) == 1:
        # The same content was sent twice: keep the row with the latest stamp.
        newest = max(range(len(stamps)), key=lambda index: (_parse_stamp(stamps[index]), -index))
        return {"identical": [*ordered[:newest], *ordered[newest + 1 :]]}
    if any(stamp is None for stamp in stamps):
        return {"conflict": ordered}
    moments = [_parse_stamp(stamp) for stamp in stamps]
    latest = max(moments)
    newest_rows = [index for index, moment in enumerate(moments) if moment == latest]
    if len({contents[index] for index in newest_rows}) > 1:
        return {"conflict": ordered}
    return {
        "identical": [ordered[index] for index in newest_rows[1:]],
        "older": [position for index, position in enumerate(ordered) if index not in newest_rows],
    }


def _parse_stamp(stamp: str | None) -> tuple[datetime, str]:
    """Parse a stamp into a sortable value; a date counts as midnight UTC, as in the output."""
    if stamp is None:
        return datetime.min.replace(tzinfo=UTC), ""
    if len(stamp) == 10:
        stamp += "T00:00:00Z"
    body, zone = (stamp[:-1], "+00:00") if stamp.endswith("Z") else (stamp[:-6], stamp[-6:])
    seconds, _, fraction = body.partition(".")
    try:
        moment = datetime.fromisoformat(seconds + zone).astimezone(UTC)
    except OverflowError:  # the zone leads out of the calendar, in the years 1 and 9999
        moment = datetime.fromisoformat(seconds + "+00:00")
    return moment, fraction.rstrip("0")
