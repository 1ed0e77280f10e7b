"""Rows kept for the suites: some of each table, as they were checked, with their failures.

A suite runs over all rows that were looked at, accepted or not, so that its percentages are those
of the extract; and over the values that the rules saw, before any cell of theirs was blanked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from etl.quality.frames import Frame, Work


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of one table of a partition that stand for themselves.

    Attributes:
        rows: the canonical columns as they are published.
        seen: column -> the same rows' text before rules blanked cells, for the columns blanked.
        failures: (rule id, column or "") -> places of failing rows among `rows`, ascending.
        of: how many rows the table has in this partition, without deletions and superseded rows.
    """

    rows: pa.Table
    seen: Mapping[str, Any]
    failures: Mapping[tuple[str, str], Any]
    of: int


def sample_of(work: Work, frame: Frame, limit: int) -> Sample:
    """Return the first `limit` rows of a table, without deletions and superseded rows."""
    places = np.flatnonzero(frame.live)
    kept = places[:limit]
    at = pa.array(kept)
    position = np.full(frame.count, -1, dtype=np.int64)
    position[kept] = np.arange(len(kept))
    failures: dict[tuple[str, str], Any] = {}
    for failure in work.failures:
        if failure.table != frame.name:
            continue
        here = position[failure.at]
        here = here[here >= 0]
        if len(here):
            key = (work.book.rules[failure.rule].id, failure.column or "")
            failures[key] = np.union1d(failures.get(key, here), here)
    everything = np.ones(frame.count, dtype=bool)
    return Sample(
        rows=frame.table(everything).take(at),
        seen={column: text.take(at) for column, text in frame.seen.items()},
        failures=failures,
        of=len(places),
    )
