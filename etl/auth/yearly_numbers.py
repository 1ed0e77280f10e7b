"""The yearly numbers on the Patient Access API that payers report to CMS, as page and CSV.

42 CFR 422.119(f), 431.60(f), 457.730(f) and 45 CFR 156.221(f), from the rule CMS-0057-F: unique
members with data sent to a health app, and those with data sent to one more than once. They are
counted in the database, from the audit trail's daily counts, so that no identity leaves it. Some
time after a year its daily counts are deleted, and its numbers stay.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Subquery, delete, func, select
from sqlalchemy.orm import Session

from etl.auth.database import Database
from etl.auth.database_tables import AccessRow, App, YearRow
from etl.web.pages import open_templates

TRANSFER: Final = "a day (UTC) on which one app read the member's data, however often"
"""Meaning of a transfer: apps fetch one copy in many requests."""


Programs: TypeAlias = Mapping[str, Set[tuple[str, str]]]
"""Patient's logical id -> program and CMS contract of the member, empty if not stated."""
_NO_PROGRAM: Final = frozenset({("", "")})


@dataclass(frozen=True, slots=True)
class ProgramNumbers:
    """Members of one program and contract whose data went to apps.

    Attributes:
        program: the program; empty if not stated.
        contract_id: the CMS contract; empty if not stated.
        members: as in `YearlyNumbers`.
        more_than_once: as in `YearlyNumbers`.
    """

    program: str
    contract_id: str
    members: int
    more_than_once: int


@dataclass(frozen=True, slots=True)
class YearlyNumbers:
    """Members whose data went to apps in a calendar year.

    Attributes:
        year: calendar year, UTC.
        payer: its name.
        until: the last day that is counted: the last of the year, or the day of the report.
        members: unique members with data sent to one app or more.
        more_than_once: those of them with data sent to an app on more than one day, or to several.
        several_apps: those of them with data sent to several apps.
        apps: name of an app and its members, by name.
        programs: the numbers of each program and contract; None if the programs are unknown, or
            the daily counts of the year are deleted.
    """

    year: int
    payer: str
    until: date
    members: int
    more_than_once: int
    several_apps: int
    apps: tuple[tuple[str, int], ...]
    programs: tuple[ProgramNumbers, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the year is over."""
        return self.until == date(self.year, 12, 31)


def yearly_numbers(
    database: Database, year: int, payer: str, today: date, programs: Programs | None = None
) -> YearlyNumbers:
    """Return the numbers of a year.

    Args:
        database: where the audit trail counts accesses by member, app and day.
        year: calendar year, UTC.
        payer: its name.
        today: the day of the report, UTC.
        programs: programs of the members; None if unknown.
    """
    by_program = None
    with database.read() as session:
        row = session.get(YearRow, year)
        if row is None:
            row = _count_year(session, year)
            by_program = None if programs is None else _count_programs(session, year, programs)
        drafts = session.execute(select(App.client_id, App.draft)).all()
    names = {client: draft.name for client, draft in drafts}
    return YearlyNumbers(
        year,
        payer,
        min(date(year, 12, 31), today),
        row.members,
        row.more_than_once,
        row.several_apps,
        tuple(sorted((names[app], count) for app, count in row.apps.items() if app in names)),
        by_program,
    )


def delete_old_counts(database: Database, today: date, days: int) -> None:
    """Delete the daily counts by member of years that ended so many days ago; keep their numbers.

    Args:
        database: where the audit trail counts accesses by member, app and day.
        today: the present day, UTC.
        days: days after the end of a year.
    """
    last = (today - timedelta(days=days)).year - 1  # the newest year that ended before that day
    with database.read() as session:
        first = session.scalar(select(func.min(AccessRow.day)))
    if first is None or int(first[:4]) > last:
        return
    with database.write() as session:
        for year in range(int(first[:4]), last + 1):
            if session.get(YearRow, year) is None:
                session.add(_count_year(session, year))
            session.execute(delete(AccessRow).where(_of_year(year)))


def _of_year(year: int) -> ColumnElement[bool]:
    return AccessRow.day.between(f"{year}-01-01", f"{year}-12-31")


def _transfers(year: int) -> Subquery:
    """Return patient, app and day of each transfer of a year."""
    accesses = select(AccessRow.patient, AccessRow.client_id, AccessRow.day)
    return accesses.where(_of_year(year)).distinct().subquery()


def _count_year(session: Session, year: int) -> YearRow:
    """Return the counts of a year, made of its daily counts."""
    transfers = _transfers(year)
    by_member = (
        select(
            func.count().label("times"),
            func.count(transfers.c.client_id.distinct()).label("apps"),
        )
        .select_from(transfers)
        .group_by(transfers.c.patient)
    ).subquery()
    members, more_than_once, several_apps = session.execute(
        select(
            func.count(),
            func.count().filter(by_member.c.times > 1),
            func.count().filter(by_member.c.apps > 1),
        ).select_from(by_member)
    ).one()
    by_app = session.execute(
        select(AccessRow.client_id, func.count(AccessRow.patient.distinct()))
        .where(_of_year(year))
        .group_by(AccessRow.client_id)
    ).all()
    return YearRow(
        year=year,
        members=members,
        more_than_once=more_than_once,
        several_apps=several_apps,
        apps={str(client): int(count) for client, count in by_app},
    )


def _count_programs(session: Session, year: int, programs: Programs) -> tuple[ProgramNumbers, ...]:
    """Count the members of each program; a member of several programs counts in each."""
    transfers = _transfers(year)
    times = select(transfers.c.patient, func.count()).group_by(transfers.c.patient)
    members: Counter[tuple[str, str]] = Counter()
    more_than_once: Counter[tuple[str, str]] = Counter()
    for patient, count in session.execute(times):
        for program in programs.get(patient, _NO_PROGRAM):
            members[program] += 1
            more_than_once[program] += count > 1
    return tuple(
        ProgramNumbers(*program, members[program], more_than_once[program])
        for program in sorted(members)
    )


def as_document(numbers: YearlyNumbers) -> dict[str, Any]:
    """Return the numbers as plain values, with the meaning of a transfer."""
    document = asdict(numbers) | {"until": numbers.until.isoformat(), "transfer": TRANSFER}
    document["apps"] = [{"app": name, "members": members} for name, members in numbers.apps]
    return document


def as_csv(document: Mapping[str, Any]) -> str:
    """Return the numbers of a document as CSV, a line a number; those withheld are empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("year", "until", "metric", "app", "members", "program", "contract_id"))
    first, total = (document["year"], document["until"]), {"program": "", "contract_id": ""}
    for row in ({**document, **total}, *(document["programs"] or ())):
        program = (row["program"], row["contract_id"])
        rows.writerow((*first, "data went to an app", "", row["members"], *program))
        repeated = row["more_than_once"]
        rows.writerow((*first, "data went to an app more than once", "", repeated, *program))
    for row in document["apps"]:
        rows.writerow((*first, "data went to this app", row["app"], row["members"], "", ""))
    return text.getvalue()


def as_page(numbers: YearlyNumbers) -> str:
    """Return the numbers as one HTML page that loads nothing."""
    document: Mapping[str, Any] = as_document(numbers)
    page = open_templates("etl.auth").get_template("yearly_numbers.html.j2")
    return page.render(numbers=document, is_whole=numbers.is_whole)
