"""The yearly numbers for CMS: members whose data went to an app, and to an app more than once."""

import asyncio
import csv
import io
from datetime import UTC, date, datetime

from sqlalchemy import select

from etl.auth.database_tables import AccessRow, YearRow
from etl.auth.yearly_numbers import (
    as_csv,
    as_document,
    as_page,
    delete_old_counts,
    yearly_numbers,
)
from tests.given.drafts import draft_like
from tests.integration.auth.standing import ANA, PUBLIC, access

PAYER = "Plan <A>"
LATER = date(2027, 2, 1)


def read(standing, patient, client, when, types=("ExplanationOfBenefit",)):
    """Let an app read a member's data."""
    one = access(0, f"consent of {patient} for {client}", client)
    for resource_type in types:
        read_once = one._replace(patient=patient, when=when, what=resource_type)
        asyncio.run(standing.services.trail.record(read_once))


def numbers(standing, today=LATER):
    standing.services.trail.flush()
    return yearly_numbers(standing.services.database, 2026, PAYER, today)


def test_each_member_counts_once_and_a_second_day_is_a_second_transfer(lasting):
    compass = lasting.services.apps.register(PUBLIC).app.client_id
    other = lasting.services.apps.register(draft_like(PUBLIC, name="Another")).app.client_id
    types = ("Coverage", "Coverage", "ExplanationOfBenefit")
    read(lasting, "one-day", compass, datetime(2026, 3, 1, 9, tzinfo=UTC), types)
    read(lasting, "two-days", compass, datetime(2026, 3, 1, 9, tzinfo=UTC))
    read(lasting, "two-days", compass, datetime(2026, 12, 31, 23, tzinfo=UTC))
    read(lasting, "two-apps", compass, datetime(2026, 1, 1, tzinfo=UTC))
    read(lasting, "two-apps", other, datetime(2026, 1, 1, tzinfo=UTC))
    read(lasting, "another-year", compass, datetime(2025, 12, 31, 23, tzinfo=UTC))
    read(lasting, "another-year", compass, datetime(2027, 1, 1, tzinfo=UTC))
    found = numbers(lasting)
    assert (found.members, found.more_than_once) == (3, 2)
    assert found.apps == (("Another", 1), (PUBLIC.name, 3))
    assert found.is_whole


def rows_left(standing):
    with standing.services.database.read() as session:
        return sorted(session.scalars(select(AccessRow.day)))


def test_identities_go_some_time_after_the_year_and_its_numbers_stay(lasting):
    compass = lasting.services.apps.register(PUBLIC).app.client_id
    other = lasting.services.apps.register(draft_like(PUBLIC, name="Another")).app.client_id
    read(lasting, "one", compass, datetime(2025, 12, 31, 23, tzinfo=UTC))
    for app in (compass, other):
        read(lasting, "two", app, datetime(2026, 2, 1, tzinfo=UTC))
    read(lasting, "one", compass, datetime(2026, 12, 31, 23, tzinfo=UTC))
    read(lasting, "one", compass, datetime(2027, 1, 1, tzinfo=UTC))
    before = numbers(lasting)
    database = lasting.services.database
    delete_old_counts(database, date(2027, 3, 31), 90)  # the ninetieth day after 2026
    assert rows_left(lasting) == ["2026-02-01", "2026-02-01", "2026-12-31", "2027-01-01"]
    for today in (date(2027, 4, 1), date(2027, 4, 2)):
        delete_old_counts(database, today, 90)
        assert rows_left(lasting) == ["2027-01-01"]
    assert numbers(lasting) == before
    assert (before.members, before.more_than_once, before.several_apps) == (2, 1, 1)
    with database.read() as session:
        kept = session.scalars(select(YearRow).order_by(YearRow.year)).all()
        assert [(row.year, row.members) for row in kept] == [(2025, 1), (2026, 2)]
        assert "one" not in str([vars(row) for row in kept])


def test_the_server_deletes_them_when_it_tidies_up(lasting):
    app = lasting.services.apps.register(PUBLIC).app.client_id
    year = lasting.services.clock().year
    for each in (year - 2, year):
        read(lasting, "one", app, datetime(each, 1, 1, tzinfo=UTC))
    lasting.services.trail.flush()
    lasting.services.delete_expired()
    assert rows_left(lasting) == [f"{year}-01-01"]


def test_what_is_written_names_no_member_and_says_that_a_year_is_not_over(lasting):
    app = lasting.services.apps.register(PUBLIC).app.client_id
    read(lasting, ANA.patient, app, datetime(2026, 3, 1, tzinfo=UTC))
    found = numbers(lasting, date(2026, 6, 1))
    page, text = as_page(found), as_csv(as_document(found))
    assert not found.is_whole
    assert "Counted until June 1, 2026" in page
    assert "Plan &lt;A&gt;" in page
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["members"] for row in rows] == ["1", "0", "1"]
    written = f"{page}{text}{as_document(found)}"
    assert ANA.patient not in written
    assert app not in written
