"""The newest of an extract's stamps."""

import pyarrow as pa
import pytest

from etl.pipeline.read import newest

NEW_YEAR = "2026-01-01"


@pytest.mark.parametrize(
    ("stamps", "found"),
    [
        ([["2025-03-01", "20250302", "2024-12-31"]], "2025-03-02T00:00:00Z"),
        ([["2025-03-02"], ["2025-03-02T00:00:01Z"], [None]], "2025-03-02T00:00:01Z"),
        # The day as it is written is not the order: 23:30 in Hawaii is the next morning in Paris.
        (
            [["2025-03-01T23:30:00-10:00", "2025-03-02T09:00:00+01:00"]],
            "2025-03-01T23:30:00-10:00",
        ),
        ([["2025-03-02T00:00:00.5Z", "2025-03-02T00:00:00Z"]], "2025-03-02T00:00:00.5Z"),
        ([["2016-12-31T23:59:60Z", "2016-12-31T23:59:58Z"]], "2016-12-31T23:59:58Z"),
        ([["9999-12-31", "2025-03-02", "soon", "2025-03-02T10:00:00"]], "2025-03-02T00:00:00Z"),
        ([["0001-01-01"]], "0001-01-01T00:00:00Z"),
        ([["9999-12-31", "never", None], []], None),
        ([], None),
    ],
)
def test_the_newest_stamp_is_that_of_the_latest_moment_that_can_be_read(stamps, found):
    columns = [pa.array(each, pa.string()) for each in stamps]
    assert newest(columns, NEW_YEAR) == found
    assert newest(reversed(columns), NEW_YEAR) == found
