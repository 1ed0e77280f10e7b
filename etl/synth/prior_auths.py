"""Prior authorizations: requests, and what was decided about them by a day.

A request is drawn from its member and year alone, so that its days are known without the member's
claims. Its rows follow from it, the member's coverages, and the day that is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from etl.synth.claim_drafts import Claim, Life
from etl.synth.coverages import Cover
from etl.synth.directory import Row
from etl.synth.names import read_data
from etl.synth.pricing import cents_of, money
from etl.synth.scripted_members import CAST
from etl.synth.seeded_random import Dice, Purpose, first_of_year, iso, year_of
from etl.synth.spec import Spec
from etl.synth.templates import fill

_DATA: Final = read_data("prior_auths")
_SERVICES: Final[dict[str, dict[str, Any]]] = _DATA["services"]
_COURSES: Final[dict[str, dict[str, Any]]] = _DATA["courses"]
_CHOICES: Final = {
    name: tuple(choice for choice, entry in entries.items() for _ in range(entry["weight"]))
    for name, entries in (("services", _SERVICES), ("courses", _COURSES))
}
"""Names of services and courses, each as often as its weight says."""
REQUIRED: Final[tuple[Row, ...]] = tuple(
    {"record_action": "A", "last_updated": row["from_date"], **row} for row in _DATA["required"]
)
"""The rows of `prior_auth_required`."""
TABLES: Final = ("prior_auth", "prior_auth_line", "prior_auth_diagnosis", "prior_auth_care_team")
_MINUTES: Final = {True: (60, 70 * 60), False: (4 * 60, 6 * 24 * 60)}
"""Shortest and longest time to the decision, by whether the request is expedited."""
_EXTENDED: Final = (8 * 24 * 60, 20 * 24 * 60)
_APPEAL: Final = (20 * 24 * 60, 45 * 24 * 60)
_LONGEST: Final = 66
"""Days after which nothing happens to a request."""
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and all that will become of it.

    Attributes:
        place: its number among the requests of the member's year.
        service, course: names in `prior_auths.toml`.
        received: seconds since the first day of the calendar, in the payer's zone.
        decided: the same, of the first decision and of the one about an appeal; of a cancelled
            request, when it was withdrawn.
        states_times: whether its rows state times of day.
        script: what a scripted request states beside that.
    """

    place: int
    service: str
    course: str
    is_expedited: bool
    received: int
    decided: tuple[int, ...]
    states_times: bool = True
    script: Mapping[str, Any] = field(default_factory=dict)

    def days(self) -> Iterator[int]:
        """Yield the days on which the request changes."""
        for second in (self.received, *self.decided):
            yield second // _DAY

    def text(self, second: int) -> str:
        """Return a moment as the rows state it."""
        day, second = divmod(second, _DAY)
        if not self.states_times:
            return iso(day)
        return f"{iso(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}-05:00"


def requests_of(spec: Spec, index: int, first: int, last: int) -> Iterator[Request]:
    """Yield the requests of a member that were received on the days from `first` to `last`.

    Those of scripted members are scripted; the others' follow chance.
    """
    if index in CAST:
        found = (_scripted(entry) for entry in _DATA["scripted"] if entry["member"] == index)
        yield from (request for request in found if request.received // _DAY <= last)
        return
    for year in range(year_of(first), year_of(last) + 1):
        dice = Dice(spec.seed, Purpose.PRIOR_AUTH, index, year)
        count = int(spec.prior_auth_rate * dice.quantile(_DATA["a_year"]) + dice.random())
        for place in range(count):
            request = _drawn(dice, place, first_of_year(year))
            if first <= request.received // _DAY <= last:
                yield request


def has_event(spec: Spec, index: int, day: int) -> bool:
    """Return whether a request of a member is received, decided or withdrawn on a day."""
    today = spec.as_of.toordinal() + day
    return spec.prior_auth_rate > 0 and any(
        today in request.days() for request in requests_of(spec, index, today - _LONGEST, today)
    )


def prior_auth_rows(life: Life, index: int, claims: list[Claim]) -> dict[str, list[Row]]:
    """Return the rows of a member's prior authorizations, from the year before day 0 on."""
    spec = life.spec
    tables: dict[str, list[Row]] = {table: [] for table in TABLES}
    for request in requests_of(spec, index, first_of_year(spec.as_of.year - 1), life.today):
        service = _SERVICES[request.service]
        day = request.received // _DAY
        cover = life.cover_on(day, *service["covers"].split(" "))
        if cover is not None:
            dice = Dice(spec.seed, Purpose.PRIOR_AUTH, index, year_of(day), request.place)
            writer = _Writer(life, request, cover, dice, claims)
            if program := _DATA["programs"].get(cover.plan.payer):
                writer.header |= dict(zip(("program", "contract_id"), program, strict=True))
            for table, rows in writer.rows().items():
                tables[table] += rows
    return tables


def _drawn(dice: Dice, place: int, first: int) -> Request:
    """Return a request of the year that begins on day `first`, by chance."""
    received = (first + dice.below(365)) * _DAY + dice.between(8 * 3600, 18 * 3600)
    service, course = dice.pick(_CHOICES["services"]), dice.pick(_CHOICES["courses"])
    is_expedited = dice.chance(_DATA["expedited"])
    is_extended = _COURSES[course].get("extended", False)
    decided = received + 60 * dice.between(*(_EXTENDED if is_extended else _MINUTES[is_expedited]))
    appealed = decided + 60 * dice.between(*_APPEAL)
    moments = (decided, appealed) if "appeal" in _COURSES[course] else (decided,)
    states_times = not dice.chance(_DATA["days_alone"])
    return Request(place, service, course, is_expedited, received, moments, states_times)


def _scripted(entry: Mapping[str, Any]) -> Request:
    decided = tuple(map(_second, entry["decided"]))
    received = _second(entry["received"])
    is_expedited = entry.get("expedited", False)
    return Request(
        0, entry["service"], entry["course"], is_expedited, received, decided, script=entry
    )


def _second(moment: datetime) -> int:
    return moment.toordinal() * _DAY + moment.hour * 3600 + moment.minute * 60 + moment.second


class _Writer:
    """Writes the rows of a request as they are at the end of a day."""

    def __init__(
        self, life: Life, request: Request, cover: Cover, dice: Dice, claims: list[Claim]
    ) -> None:
        self._life, self._request, self._service = life, request, _SERVICES[request.service]
        doctor = dice.pick(life.region.doctors[self._service["requester"]])
        place = dice.pick(life.region.places[self._service["place"]])
        self._reasons = dice.pick(_DATA["denial_reasons"])
        day = request.received // _DAY
        first = day + dice.between(21, 35)
        year = year_of(day)
        into_year = day - first_of_year(year) + 1
        used = request.script.get("used")
        claim_ids = [
            claim.header["claim_id"]
            for claim in claims
            if used and claim.header["statement_from_date"] == used.isoformat()
        ]
        self._facts = {
            "number": f"{year % 100:02d}{into_year:03d}{life.number:09d}{request.place:03d}",
            "member": life.member_id,
            "coverage": cover.identifier,
            "payer": cover.plan.payer,
            "expedited": "Y" if request.is_expedited else "N",
            "received": request.text(request.received),
            "doctor": doctor.identifier,
            "npi": doctor.npi,
            "taxonomy": doctor.taxonomy,
            "place": place,
            "first": iso(first),
            "valid_from": iso(first - 14),
            "valid_to": iso(first + 166),
            "claims": ";".join(claim_ids),
            "reasons": self._reasons,
            "lines": ";".join(str(number) for number, _ in enumerate(self._service["lines"], 1)),
        }
        self.header = self._row("header", **self._service["header"])
        if self.header["type"] == "institutional":
            self.header["facility_id"] = place

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows by table."""
        request = self._request
        lines = [
            self._row("line", line_number=str(number), **cells)
            for number, cells in enumerate(self._service["lines"], start=1)
        ]
        self.header |= self._cells("header")
        for line in lines:
            line |= self._cells("line")
        course = _COURSES[request.course]
        for number, second in enumerate(request.decided):
            if second // _DAY <= self._life.today:
                action = course["appeal"] if number else course["action"]
                self._decide(action, request.text(second), lines)
                if number:
                    self._facts["overturned"] = "N" if action == "A3" else "Y"
                    self._facts["first_decided"] = request.text(request.decided[0])
                    self._facts["moment"] = request.text(second)
                    self.header |= self._row("appealed")
        tables = {
            "prior_auth": [self.header],
            "prior_auth_line": lines,
            "prior_auth_diagnosis": [
                self._row(
                    "diagnosis",
                    sequence=str(number),
                    code=code,
                    type="principal" if number == 1 else "secondary",
                )
                for number, code in enumerate(self._service["diagnoses"], start=1)
            ],
            "prior_auth_care_team": [self._row("care_team")],
        }
        signed = {"last_updated": self.header["status_changed_at"]}
        return {
            table: [{column: text for column, text in row.items() if text} | signed for row in rows]
            for table, rows in tables.items()
        }

    def _row(self, name: str, **cells: str) -> Row:
        """Return a row, or part of one, of the file's cells and others."""
        texts = _DATA["rows"][name].items()
        return {column: fill(text, self._facts) for column, text in texts} | cells

    def _cells(self, part: str) -> Row:
        cells = self._request.script.get(part, {})
        return {column: fill(text, self._facts) for column, text in cells.items()}

    def _decide(self, action: str, moment: str, lines: list[Row]) -> None:
        """State a decision, or that the request was withdrawn, in place of an earlier one."""
        header = self.header
        header["status_changed_at"] = moment
        if not action:
            header |= {"status": "cancelled", "end_circumstance": _DATA["cancelled_text"]}
            return
        header |= {"decided_at": moment, "review_action": action}
        for column in ("denial_reason", "denial_text", "human_reviewed"):
            header.pop(column, None)
        header |= self._row("denied" if action == "A3" else "approved")
        if _COURSES[self._request.course].get("extended"):
            header["extended"] = "Y"
        for number, line in enumerate(lines):
            self._decide_line(action, line, is_first=not number, is_only=len(lines) == 1)
            line |= self._cells("line_when_decided")
        header |= self._cells("when_decided")

    def _decide_line(self, action: str, line: Row, *, is_first: bool, is_only: bool) -> None:
        """State what was decided about a line: of a request that is approved in part, the first."""
        requested = int(line["units_requested"])
        if action == "A6" or (action == "A2" and is_only):
            approved, line["review_action"] = (requested + 1) // 2, "A6"
        elif action == "A2":
            approved = requested if is_first else 0
            line["review_action"] = "A1" if is_first else "A3"
            if not is_first:
                line["denial_reason"] = self._reasons
        else:
            approved = 0 if action == "A3" else requested
        line["units_approved"] = str(approved)
        if "amount_submitted" in line and approved:
            cents = cents_of(line["amount_submitted"]) * approved // requested
            line["amount_eligible"] = money(cents * 4 // 5)
