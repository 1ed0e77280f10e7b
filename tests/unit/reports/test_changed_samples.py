"""Values of changed resources are masked so that what changed is still seen."""

import pytest

from etl.reports.changes_page import _mask_pair
from tests.given.tables import table


@pytest.mark.parametrize(*table(__file__, "changes"))
def test_what_differs_stands_apart(before, masked_before, after, masked_after):
    assert _mask_pair(before, after) == (
        tuple(masked_before) if masked_before else None,
        tuple(masked_after),
    )
