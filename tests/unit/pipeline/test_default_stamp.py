"""The newest of an extract's stamps."""

import pyarrow as pa
import pytest

from etl.pipeline.read import newest
from tests.given.tables import table

NEW_YEAR = "2026-01-01"


@pytest.mark.parametrize(*table(__file__, "stamps"))
def test_the_newest_stamp_is_that_of_the_latest_moment_that_can_be_read(columns, found):
    stamps = [pa.array([cell or None for cell in cells], pa.string()) for cells in columns]
    assert newest(stamps, NEW_YEAR) == (found or None)
    assert newest(reversed(stamps), NEW_YEAR) == (found or None)
