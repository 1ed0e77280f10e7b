"""The `meta.lastUpdated` of resources of which the source states none."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.dates import read_timestamps
from etl.pipeline.executor import Read
from etl.publish.canonical_json import as_instant, day_instant, instant
from etl.reports import DefaultStamp

_COLUMN: Final = "last_updated"
_ZONES: Final = timedelta(days=2)
"""More than two instants can differ in that are written with the same day."""


def default_stamp(read: Read, when: datetime) -> DefaultStamp:
    """Return the stamp of an extract's resources that state none.

    It is the day of the extract, else the newest `last_updated` in it, so that two runs of one
    extract give the same bytes whenever they are; the clock only where there is neither.

    Args:
        read: the extract.
        when: when the run began.
    """
    if read.extract.as_of is not None:
        return DefaultStamp(day_instant(read.extract.as_of.isoformat()), "as_of")
    stamp = newest(read.partitions.values(_COLUMN), f"{when.astimezone(UTC):%Y-%m-%d}")
    if stamp is not None:
        return DefaultStamp(stamp, "newest_stamp")
    return DefaultStamp(as_instant(when), "clock")


def newest(columns: Iterable[Any], until: str) -> str | None:
    """Return the newest of many stamps as a FHIR instant; None where none can be read.

    Args:
        columns: `string` arrays of any length, as the source wrote them; null where absent.
        until: the last day that counts, as `YYYY-MM-DD`: 9999-12-31 is no stamp.
    """
    kept: set[str] = set()
    for column in columns:
        kept |= _newest_days(column, until)
        kept = _newest_of(kept)
    return max(kept, key=lambda text: (_moment(text), text), default=None)


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


def _newest_of(stamps: set[str]) -> set[str]:
    return {max(stamps, key=lambda text: (_moment(text), text))} if stamps else stamps


def _moment(text: str) -> datetime:
    return instant(text.replace(":60", ":59"))  # a leap second, which Python has not
