"""Dates compare as FHIR R4 search 3.1.1.4.5 says, whatever their precision, zone and prefix."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.gateway.search.dates import span_of, spans_match, stored_span
from tests.property.gateway import oracle

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
PREFIXES = st.sampled_from(["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
FORMATS = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
ZONES = ("", "Z", "+00:00", "-05:00", "+05:30", "-00:30", "+13:00")
MOMENTS = st.builds(
    lambda day, seconds: datetime(2024, 2, 28, tzinfo=UTC) + timedelta(day, seconds),
    st.sampled_from([-400, -60, -1, 0, 0, 1, 1, 2, 30, 306, 307]),
    st.sampled_from([0, 0, 1, 59, 60, 18_000, 86_399]),
)


@st.composite
def written(draw):
    """A date near the end of February 2024, of any precision."""
    form = draw(st.sampled_from(FORMATS))
    text = draw(MOMENTS).strftime(form)
    if form == FORMATS[-1]:
        text += draw(st.sampled_from(["", "", ".5", ".25", ".250", ".000001"]))
    return text + (draw(st.sampled_from(ZONES)) if "T" in text else "")


@st.composite
def kept(draw):
    """A search value of an index: a date, or a period that may be open."""
    if draw(st.booleans()):
        return draw(written())
    days = sorted(draw(st.lists(MOMENTS, min_size=2, max_size=2)))
    start, end = (day.strftime("%Y-%m-%d") for day in days)
    return draw(st.sampled_from([f"{start}/{end}", f"{start}/", f"/{end}"]))


def oracle_range(text):
    start, slash, end = text.partition("/")
    if not slash:
        return oracle.date_range(text)
    ends = {name: one for name, one in (("start", start), ("end", end)) if one}
    return oracle.period_range(ends)


@settings(max_examples=1500, deadline=None)
@given(PREFIXES, written(), kept())
@example("sa", "2024", "2024-02-28")
@example("eb", "2024-02", "2024-01-31T23:59:59Z")
@example("eq", "2024-02-29", "2024-02-28T19:00:00-05:00")
def test_a_prefix_says_of_any_two_dates_what_the_specification_says(prefix, asked, stored):
    now = span_of(NOW.isoformat())[0]
    expected = oracle.date_matches(oracle_range(stored), prefix + asked, NOW)
    assert spans_match(prefix, span_of(asked), stored_span(stored), now) == expected
