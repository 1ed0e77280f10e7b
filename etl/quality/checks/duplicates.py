"""Rows with the same key: which one stays, and when none may.

Decided on content alone, never on the order of rows:

* all rows have the same content: one stays, the others are superseded;
* `last_updated` is filled in all and one content is the newest: it stays, the rest is superseded;
* else it is not known which is right, and all are rejected;
* rows of two members: all are rejected, whatever their dates. A claim shown to the wrong person is
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
    """Mark superseded rows of one table and record the findings about keys."""
    groups = _same_key(frame)
    frame.tell_ambiguous(bool(groups) or bool(frame.shared.any()) or bool(frame.bare.any()))
    if not groups:
        return
    verdicts: dict[str, list[int]] = {"identical": [], "older": [], "conflict": []}
    columns = [name for name in frame.spec.names if not frame.cells(name).empty]
    for rows in groups:
        for verdict, places in _verdict(frame, rows, columns).items():
            verdicts[verdict].extend(places)
    frame.superseded[verdicts["identical"] + verdicts["older"]] = True
    frame.withdrawn &= ~frame.superseded  # a row has one fate: what was replaced counts as that
    for rule in work.book.of_kinds(kinds.Duplicate):
        if isinstance(rule.kind, kinds.Duplicate) and frame.name in rule.tables:
            positions = np.array(sorted(verdicts[rule.kind.of]), dtype=np.int64)
            work.record(rule, frame, positions, None)


def _same_key(frame: Frame) -> list[Any]:
    """Return, key by key, the places of rows that share one. An incomplete key is none."""
    key = frame.spec.key
    complete = ~frame.bare
    if frame.name in (*HEADERS, "coverage"):
        # A row without an owner lies in any partition and is rejected for it: never a duplicate.
        complete &= frame.filled("member_id") & ~frame.shared
    code, largest = np.zeros(frame.count, dtype=np.int64), 1
    for column in key:
        complete &= frame.filled(column)
        if column in ("line_number", "sequence"):
            number = frame.whole(column)
            part = number - number.min()
        else:
            part = frame.cells(column).codes.astype(np.int64) + 1
        size = int(part.max()) + 1
        if largest * size > _LARGEST:  # not in 64 bits together: number what there is so far
            code = np.unique(code, return_inverse=True)[1]
            largest = frame.count
        code, largest = code * size + part, largest * size
    if complete.all() and bool(np.all(code[1:] > code[:-1])):
        return []  # sorted by key, as rows arrive, and every key its own
    places = np.flatnonzero(complete)
    order = places[np.argsort(code[places], kind="stable")]
    keys = code[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.array([], int)
    return [rows for rows in np.split(order, starts[1:]) if len(rows) > 1]


def find_shared(work: Work, frame: Frame) -> None:
    """Mark headers or coverages with an id that two members share, here or elsewhere."""
    for rule in work.book.of_kinds(kinds.KeyOfTwoMembers):
        if frame.name not in rule.tables:
            continue
        cells = frame.cells(KEYS[frame.name])
        of_words = true_where(work.context.known.shared(frame.name, cells.words))
        keys, members = cells.codes, frame.cells("member_id").codes
        alive = np.flatnonzero(~(frame.deleted | frame.bare) & (keys >= 0) & (members >= 0))
        if len(cells.words) < len(alive):
            pairs = np.unique(np.stack([keys[alive], members[alive]]), axis=1)[0]
            of_words[pairs[1:][pairs[1:] == pairs[:-1]]] = True
        if of_words.any():
            frame.shared = cells.spread(of_words, False) & ~(frame.deleted | frame.bare)
            work.record(rule, frame, np.flatnonzero(frame.shared), KEYS[frame.name])


def _verdict(frame: Frame, rows: Any, columns: Sequence[str]) -> dict[str, list[int]]:
    """Return the verdicts on the rows of one key; the row that stays is in no list."""
    by_place = sorted(
        rows.tolist(), key=lambda position: (int(frame.files[position]), int(frame.rows[position]))
    )
    action, stamp = (column.name for column in EVERY_TABLE)
    said = [
        frame.cells(name).text.take(by_place).to_pylist()
        for name in columns
        if name not in (action, stamp)
    ]
    # Add and update mean the same; a deletion does not.
    contents = list(zip(frame.deleted[by_place].tolist(), *said, strict=True))
    stamps = frame.cells(stamp).text.take(by_place).to_pylist()
    if len(set(contents)) == 1:
        # The same content sent twice: the later stamp is the one that was published last.
        newest = max(range(len(stamps)), key=lambda index: (_moment(stamps[index]), -index))
        return {"identical": [position for n, position in enumerate(by_place) if n != newest]}
    if any(stamp is None for stamp in stamps):
        return {"conflict": by_place}
    moments = [_moment(stamp) for stamp in stamps]
    latest = max(moments)
    at_latest = [n for n, moment in enumerate(moments) if moment == latest]
    if len({contents[n] for n in at_latest}) > 1:
        return {"conflict": by_place}
    stays = at_latest[0]
    return {
        "identical": [by_place[n] for n in at_latest[1:]],
        "older": [
            position for n, position in enumerate(by_place) if n not in at_latest and n != stays
        ],
    }


def _moment(stamp: str | None) -> tuple[datetime, str]:
    """Return a stamp as something to compare; a date is its midnight, UTC, as in the output."""
    if stamp is None:
        return datetime.min.replace(tzinfo=UTC), ""
    if len(stamp) == 10:
        stamp += "T00:00:00Z"
    body, zone = (stamp[:-1], "+00:00") if stamp.endswith("Z") else (stamp[:-6], stamp[-6:])
    whole, _, fraction = body.partition(".")
    try:
        moment = datetime.fromisoformat(whole + zone).astimezone(UTC)
    except OverflowError:  # a zone that leads out of the calendar, in the years 1 and 9999
        moment = datetime.fromisoformat(whole + "+00:00")
    return moment, fraction.rstrip("0")
