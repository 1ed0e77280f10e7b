"""Log lines are written behind the requests' back, whole, in order, and never in their way."""

import os
import threading
from datetime import UTC, datetime

from etl.gateway.http.monitoring import LogWriter

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)


def test_lines_of_many_threads_stand_whole_and_each_ones_in_order(tmp_path):
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    write = LogWriter(descriptor)

    def some(who):
        for number in range(500):
            write(b"%d %d\n" % (who, number))

    threads = [threading.Thread(target=some, args=(who,)) for who in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    write.flush()
    os.close(descriptor)
    found = [tuple(map(int, line.split())) for line in file.read_bytes().splitlines()]
    for who in range(4):
        assert [number for one, number in found if one == who] == list(range(500))


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_was_dropped_is_told():
    reading, writing = os.pipe()
    write = LogWriter(writing, max_lines=100, now=lambda: NOON)
    line = b"x" * 1023 + b"\n"
    for _ in range(2000):  # a pipe holds some 64 of them: who waited for it would never end
        write(line)
    got = b""
    while b"dropped" not in got:
        got += os.read(reading, 65536)
    whole = got.split(b"\n")
    assert all(len(one) == 1023 for one in whole if one.startswith(b"x"))
    told = next(one for one in whole if b"dropped" in one)
    assert b'"level":"warning"' in told
    assert b'"time":"2026-02-01T12:00:00+00:00"' in told
    os.close(reading)
    os.close(writing)
