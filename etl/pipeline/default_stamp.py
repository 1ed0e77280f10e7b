"""The `meta.lastUpdated` of resources of which the source states none."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.dates import read_timestamps
from etl.pipeline.executor import Executor, Read
from etl.publish.canonical_json import as_instant, day_instant, instant
from etl.reports import DefaultStamp
from etl.sources import Partitions

_COLUMN: Final = "last_updated"
_ZONES: Final = timedelta(days=2)
"""More than two instants can differ in that are written with the same day."""


def default_stamp(executor: Executor, read: Read, when: datetime) -> DefaultStamp:
    """Return the stamp of an extract's resources that state none.

    It is the day of the extract, else the newest `last_updated` in it, so that two runs of one
    extract give the same bytes whenever they are; the clock only where there is neither.

    Args:
        executor: read the extract.
        read: the extract.
        when: when the run began.
    """
    if read.extract.as_of is not None:
        return DefaultStamp(day_instant(read.extract.as_of.isoformat()), "as_of")
    until = f"{when.astimezone(UTC):%Y-%m-%d}"
    stamps = executor.each_partition(read, partial(_newest_in_partition, until))
    stamp = _newest_of(text.decode() for text in stamps if text)
    if stamp is not None:
        return DefaultStamp(stamp, "newest_stamp")
    return DefaultStamp(as_instant(when), "clock")


def newest(columns: Iterable[Any], until: str) -> str | None:
    """Return the newest of many stamps as a FHIR instant; None where none can be read.

    Args:
        columns: `string` arrays of any length, as the source wrote them; null where absent.
        until: the last day that counts, as `YYYY-MM-DD`: 9999-12-31 is no stamp.
    """
    return _newest_of(stamp for column in columns for stamp in _newest_days(column, until))


def _newest_in_partition(until: str, partitions: Partitions, index: int) -> bytes:
    return (newest(partitions.values(_COLUMN, index), until) or "").encode()


def _newest_days(column: Any, until: str) -> set[str]:
    """Return those stamps of a column that can be the newest, as instants."""
    stamps = pc.drop_null(pc.unique(read_timestamps(column).values))
    stamps = stamps.filter(pc.less_equal(pc.utf8_slice_codeunits(stamps, 0, 10), until))
    last = pc.max(pc.utf8_slice_codeunits(stamps, 0, 10)).as_py()
    if last is None:
        return set()
    since = pa.scalar((date.fromisoformat(last) - min(_ZONES, _since_year_1(last))).isoformat())
    return {
        day_instant(text) for text in stamps.filter(pc.greater_equal(stamps, since)).to_pylist()
    }


def _since_year_1(day: str) -> timedelta:
    return date.fromisoformat(day) - date.min


def _newest_of(stamps: Iterable[str]) -> str | None:
    return max(stamps, key=lambda text: (instant(text), text), default=None)
