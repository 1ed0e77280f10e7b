"""One caller has one IPv4 address, or one IPv6 network of 64 bits."""

import pytest

from etl.web.rate_limits import caller_of


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
        ("unknown:text", "unknown:text"),
    ],
)
def test_what_counts_as_one_caller(address, caller):
    assert caller_of(address) == caller
