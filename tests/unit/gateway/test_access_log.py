"""Lines of the log, which are put together by hand, against a JSON library."""

from datetime import UTC, timedelta, timezone

import orjson
from hypothesis import given
from hypothesis import strategies as st

from etl.gateway.http.monitoring import AccessLog, RequestRecord

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda one: timezone(timedelta(minutes=one)))
MOMENTS = st.datetimes(timezones=st.just(UTC) | ZONES)


@given(
    now=MOMENTS,
    texts=st.lists(TEXT, min_size=5, max_size=5),
    status=st.integers(100, 599),
    sent=st.integers(0, 2**40),
    seconds=st.floats(0, 1e6),
)
def test_a_line_is_what_a_json_library_makes_of_it(now, texts, status, sent, seconds):
    route, client, patient, release, code = texts
    record = RequestRecord(
        "0123456789abcdef", 0.0, route, client, patient, release, (), code, status, sent
    )
    written: list[bytes] = []
    AccessLog(written.append, b"k" * 32, lambda: now).request(record, "GET", seconds)
    (line,) = written
    found = orjson.loads(line)
    told = {
        "time": now,
        "level": "error" if status >= 500 else "info",
        "event": "request",
        "request": record.request,
        "method": "GET",
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "bytes": sent,
        "client": client,
        "patient": found.get("patient", ""),
        "release": release,
        "error": code,
    }
    optional = ("client", "patient", "release", "error")
    present = {name: one for name, one in told.items() if one or name not in optional}
    assert line == orjson.dumps(present, option=orjson.OPT_APPEND_NEWLINE)
    assert ("patient" in found) == bool(patient)
    assert found.get("patient") != patient
