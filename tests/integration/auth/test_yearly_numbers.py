"""The yearly numbers for CMS: members whose data went to an app, and to an app more than once."""

import asyncio
import csv
import io
from datetime import UTC, date, datetime
from random import Random

import pytest
from sqlalchemy import select

from etl.auth.database_tables import AccessRow, YearRow
from etl.auth.yearly_numbers import (
    as_csv,
    as_document,
    as_page,
    delete_old_counts,
    yearly_numbers,
)
from etl.reports.public_numbers import public_api_use
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


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_of_programs_are_those_of_a_slow_count(lasting, seed):
    random = Random(seed)
    apps = [
        lasting.services.apps.register(draft_like(PUBLIC, name=f"App {number}")).app.client_id
        for number in range(2)
    ]
    programs = {
        f"member-{number}": set(
            random.sample([("medicaid", ""), ("ma", "H1"), ("ma", "H2")], random.randint(1, 2))
        )
        for number in range(6)
    }
    transfers = set()
    for _ in range(20):
        member, app = f"member-{random.randrange(9)}", random.choice(apps)
        day = random.randint(1, 5)
        read(lasting, member, app, datetime(2026, 3, day, random.randrange(24), tzinfo=UTC))
        transfers.add((member, app, day))
    expected = {}
    for member in {member for member, *_ in transfers}:
        times = sum(transfer[0] == member for transfer in transfers)
        for program in programs.get(member, {("", "")}):
            members, repeated = expected.get(program, (0, 0))
            expected[program] = (members + 1, repeated + (times > 1))
    lasting.services.trail.flush()
    found = yearly_numbers(lasting.services.database, 2026, PAYER, LATER, programs)
    counted = {
        (row.program, row.contract_id): (row.members, row.more_than_once) for row in found.programs
    }
    assert counted == expected
    document = as_document(found)
    rows = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert {(row["program"], row["contract_id"]) for row in rows} == {("", ""), *expected}
    assert ("H1" in as_page(found)) is (("ma", "H1") in expected)
    assert not any(member in f"{document}{rows}" for member in programs)


def test_a_year_without_daily_counts_has_no_numbers_of_programs(lasting):
    app = lasting.services.apps.register(PUBLIC).app.client_id
    read(lasting, "one", app, datetime(2026, 3, 1, tzinfo=UTC))
    lasting.services.trail.flush()
    delete_old_counts(lasting.services.database, date(2027, 12, 31), 90)
    found = yearly_numbers(lasting.services.database, 2026, PAYER, LATER, {"one": {("ma", "H1")}})
    assert (found.members, found.programs) == (1, None)


def test_small_numbers_of_programs_are_withheld_with_what_would_tell_them(lasting):
    counts = {"H1": (500, 400), "H2": (300, 296), "H3": (4, 0)}
    document = {
        "members": 804, "more_than_once": 696, "apps": [],
        "programs": [
            {"program": "ma", "contract_id": name, "members": members, "more_than_once": repeated}
            for name, (members, repeated) in counts.items()
        ],
    }  # fmt: skip
    shown = {row["contract_id"]: row for row in public_api_use(document, 10)["programs"]}
    assert shown["H3"]["members"] is None
    assert shown["H2"]["members"] is None  # or the total less H1 and H2 would tell H3's
    assert (shown["H1"]["members"], shown["H1"]["more_than_once"]) == (500, 400)
    assert shown["H2"]["more_than_once"] is None  # 4 of 300 is a small number, too
    exact = public_api_use(document, 0)["programs"]
    assert [row["members"] for row in exact] == [500, 300, 4]
