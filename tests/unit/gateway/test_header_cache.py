"""Short headers are read once; long ones leave nothing behind."""

import tracemalloc

from etl.gateway.http import request as negotiation
from etl.gateway.http.request import LONGEST, cached_parse


def test_a_short_header_is_read_once_and_a_long_one_each_time():
    read: list[bytes] = []

    @cached_parse
    def reading(header):
        read.append(header)
        return len(header)

    for header in (b"a" * LONGEST, b"b" * (LONGEST + 1)) * 3:
        assert reading(header) == len(header)
    assert [len(one) for one in read] == [LONGEST, *[LONGEST + 1] * 3]


def test_headers_of_a_stranger_do_not_fill_memory():
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(200):
        header = b"%d," % number + b"x" * 100_000
        negotiation.takes_gzip(header)
        negotiation.preferred_handling(header)
        negotiation.negotiate_media({b"accept": b"*/*;x=" + header}, [])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 2_000_000
