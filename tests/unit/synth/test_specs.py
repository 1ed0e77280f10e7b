from datetime import date

import pytest

from etl.errors import UsageError
from etl.synth import Spec


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"members": 0}, "members must be 1"),
        ({"members": 10**10}, "members must be 1"),
        ({"kind": "part"}, "kind must be one of full, delta"),
        ({"format": "xlsx"}, "format must be one of csv, parquet"),
        ({"kind": "delta"}, "a delta needs a day"),
        ({"day": -1}, "day must be 0"),
        ({"parts": 0}, "parts must be 1"),
        ({"fault_rate": 1.5}, "fault rate must be 0 to 1"),
        ({"fault_rate": float("nan")}, "fault rate must be 0 to 1"),
        ({"change_rate": -0.1}, "change rate must be 0 to 1"),
        ({"kind": "delta", "day": 1, "fault_rate": 0.1}, "full extracts only"),
        ({"format": "parquet", "gzip": True}, "Parquet files compress themselves"),
        ({"since": date(2025, 6, 1)}, "at least a year before"),
        ({"as_of": date.max}, "days must be 1970-01-01 to 2199-12-31"),
        ({"since": date.min}, "days must be 1970-01-01"),
        ({"as_of": date.min}, "at least a year before"),
    ],
)
def test_a_choice_out_of_range_is_refused_before_anything_is_written(choices, message):
    with pytest.raises(UsageError, match=message):
        Spec(**{"members": 10, **choices})
