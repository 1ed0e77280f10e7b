"""Rows kept for the suites: those of some members, as they were checked, with their failures.

Whose they are hangs on the hash of a member's id and on the size of the extract, on nothing else:
so every run over the same extract looks at the same rows, in however many partitions or processes,
and the next night's looks at the same members. Of a small extract they are all rows.

A suite runs over all rows that were looked at, accepted or not, so that its percentages are those
of the members; and over the values that the rules saw, before any cell of theirs was blanked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.columns.arrays import as_array
from etl.columns.places import place_keys
from etl.quality.check import Checked
from etl.quality.checks.cascade import DecidedRows
from etl.quality.checks.frames import Frame, Work

_HASH_BITS: Final = 64
_MOST_HALVINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Share:
    """Of which members the suites see the rows: of those whose hash begins with some zero bits.

    It is a half, a quarter, an eighth and so on of the members, so that it seldom changes while an
    extract grows, and then to a part of what it was.

    Attributes:
        halvings: how many zero bits; 0 for everybody.
    """

    halvings: int

    @classmethod
    def of(cls, rows: int, most: int) -> Share:
        """Return the largest share of which at most about `most` of `rows` rows are expected."""
        halvings = 0
        while rows >> halvings > most and halvings < _MOST_HALVINGS:
            halvings += 1
        return cls(halvings)

    @property
    def is_all(self) -> bool:
        """Whether every row is looked at."""
        return self.halvings == 0

    def holds(self, hashes: Any) -> Any:
        """Return numpy `bool`, shape (n,): which hashes (`uint64`) are among them."""
        if self.is_all:
            return np.ones(len(hashes), dtype=bool)
        return hashes >> np.uint64(_HASH_BITS - self.halvings) == 0

    def reaches(self, index: int, count: int) -> bool:
        """Tell whether members of a partition can be among them, of `count` by ranges of hashes."""
        return index << self.halvings < count


@dataclass(frozen=True, slots=True)
class Sampled:
    """Selection of a partition's rows.

    Attributes:
        places: numpy `int64`, ascending: `place_keys` of the rows; None for every row.
    """

    places: Any

    def __bool__(self) -> bool:
        """Whether there can be any."""
        return self.places is None or len(self.places) > 0

    def of(self, frame: Frame) -> Any:
        """Return numpy `bool`, shape (n,): which rows of a table are kept."""
        if self.places is None:
            return np.ones(frame.count, dtype=bool)
        return np.isin(place_keys(frame.files, frame.rows), self.places)


EVERY_ROW: Final = Sampled(None)
NO_ROW: Final = Sampled(np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one table of a partition that stand for themselves.

    Attributes:
        rows: the canonical columns as they are published.
        seen: column -> the same rows' text before rules blanked cells, for the columns blanked.
        failures: (rule id, column or "") -> places of failing rows among `rows`, ascending.
    """

    rows: pa.Table
    seen: Mapping[str, Any]
    failures: Mapping[tuple[str, str], Any]

    def text(self, column: str, *, seen: bool) -> Any:
        """Return a column as the rules saw it, or as it is published."""
        return as_array(
            self.seen[column] if seen and column in self.seen else self.rows.column(column)
        )


def with_samples(checked: Checked, decided: DecidedRows, sampled: Sampled) -> Checked:
    """Return what became of a partition, with the rows of every table that are to be kept."""
    if not sampled:
        return checked
    work = decided.work
    samples = {
        name: _sample_of(work, frame, sampled) for name, frame in work.frames.items() if frame.count
    }
    return replace(checked, samples=samples)


def _sample_of(work: Work, frame: Frame, sampled: Sampled) -> Sample:
    """Return those rows of a table that are to be kept, without deletions and superseded rows."""
    kept = np.flatnonzero(frame.whole_rows & sampled.of(frame))
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
    )
