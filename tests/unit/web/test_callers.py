"""One caller has one IPv4 address, or one IPv6 network of 64 bits."""

import pytest

from etl.web.rate_limits import caller_of
from tests.given.tables import table


@pytest.mark.parametrize(*table(__file__, "callers"))
def test_what_counts_as_one_caller(address, caller):
    assert caller_of(address) == caller
