"""The yearly numbers on the Patient Access API that payers report to CMS, as page and CSV.

42 CFR 422.119(f), 431.60(f), 457.730(f) and 45 CFR 156.221(f), from the rule CMS-0057-F: unique
members with data sent to a health app, and those with data sent to one more than once. They are
counted in the database, from the audit trail's daily counts, so that no identity leaves it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import func, select

from etl.auth.database import Database
from etl.auth.database_tables import AccessRow, AppRow

TRANSFER: Final = "a day (UTC) on which one app read the member's data, however often"
"""Meaning of a transfer: apps fetch one copy in many requests."""


@dataclass(frozen=True, slots=True)
class YearlyNumbers:
    """Members whose data went to apps in a calendar year.

    Attributes:
        year: calendar year, UTC.
        payer: its name.
        until: the last day that is counted: the last of the year, or the day of the report.
        members: unique members with data sent to one app or more.
        more_than_once: those of them with data sent to an app on more than one day, or to several.
        apps: name of an app and its members, by name.
    """

    year: int
    payer: str
    until: date
    members: int
    more_than_once: int
    apps: tuple[tuple[str, int], ...]

    @property
    def is_whole(self) -> bool:
        """Whether the year is over."""
        return self.until == date(self.year, 12, 31)


def yearly_numbers(database: Database, year: int, payer: str, today: date) -> YearlyNumbers:
    """Return the numbers of a year.

    Args:
        database: where the audit trail counts accesses by member, app and day.
        year: calendar year, UTC.
        payer: its name.
        today: the day of the report, UTC.
    """
    of_year = AccessRow.day.between(f"{year}-01-01", f"{year}-12-31")
    transfers = (
        select(AccessRow.patient, AccessRow.client_id, AccessRow.day)
        .where(of_year)
        .distinct()
        .subquery()
    )
    by_member = (
        select(func.count().label("times")).select_from(transfers).group_by(transfers.c.patient)
    ).subquery()
    with database.read() as session:
        members = session.scalar(select(func.count()).select_from(by_member)) or 0
        several = session.scalar(
            select(func.count()).select_from(by_member).where(by_member.c.times > 1)
        )
        by_app = session.execute(
            select(AccessRow.client_id, func.count(AccessRow.patient.distinct()))
            .where(of_year)
            .group_by(AccessRow.client_id)
        ).all()
        drafts = session.execute(select(AppRow.client_id, AppRow.draft)).all()
    names = {client: str(draft["name"]) for client, draft in drafts}
    return YearlyNumbers(
        year,
        payer,
        min(date(year, 12, 31), today),
        members,
        several or 0,
        tuple(sorted((names[client], count) for client, count in by_app if client in names)),
    )


def as_document(numbers: YearlyNumbers) -> dict[str, Any]:
    """Return the numbers as plain values, with the meaning of a transfer."""
    found = asdict(numbers) | {"until": numbers.until.isoformat(), "transfer": TRANSFER}
    found["apps"] = [{"app": name, "members": members} for name, members in numbers.apps]
    return found


def as_csv(numbers: YearlyNumbers) -> str:
    """Return the numbers as CSV, a line a number."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("year", "until", "metric", "app", "members"))
    first = (numbers.year, numbers.until.isoformat())
    rows.writerow((*first, "data went to an app", "", numbers.members))
    rows.writerow((*first, "data went to an app more than once", "", numbers.more_than_once))
    for name, members in numbers.apps:
        rows.writerow((*first, "data went to this app", name, members))
    return text.getvalue()


def as_page(numbers: YearlyNumbers) -> str:
    """Return the numbers as one HTML page that loads nothing."""
    document: Mapping[str, Any] = as_document(numbers)
    page = _environment().get_template("yearly_numbers.html.j2")
    return page.render(numbers=document, is_whole=numbers.is_whole)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("etl.auth"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = lambda value: f"{value:,}"
    return made
