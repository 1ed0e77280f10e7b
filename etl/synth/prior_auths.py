"""Prior authorizations: requests, and the decisions on them up to a day.

A request depends only on its member and year, so its days are known without the member's claims.
Its rows also depend on the member's coverages and on the last visible day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from etl.synth.claim_drafts import Claim, Life
from etl.synth.coverages import Cover
from etl.synth.directory import Row
from etl.synth.names import read_toml
from etl.synth.pricing import format_cents, parse_cents
from etl.synth.scripted_members import SCRIPTED_MEMBERS
from etl.synth.seeded_random import Dice, Purpose, first_of_year, iso_date, year_of
from etl.synth.spec import Spec
from etl.synth.templates import fill

_DATA: Final = read_toml("prior_auths")
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
_TIME_TO_DECISION: Final = {True: (60, 70 * 60), False: (4 * 60, 6 * 24 * 60)}
"""Whether a request is expedited -> shortest and longest time to the decision, in minutes."""
_EXTENDED: Final = (8 * 24 * 60, 20 * 24 * 60)
_APPEAL: Final = (20 * 24 * 60, 45 * 24 * 60)
_MAX_DAYS: Final = 66
"""Days after which nothing happens to a request."""
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Request:
    """A request with all its decisions.

    Attributes:
        ordinal: its number among the requests of the member's year.
        service, course: names in `prior_auths.toml`.
        received: when it was received, in seconds since day 0 of the calendar, payer's time zone.
        decided: when it was decided, and when an appeal was; for a cancelled request, when it was
            withdrawn. In seconds, like `received`.
        states_times: whether its rows have times of day.
        script: other facts of a scripted request.
    """

    ordinal: int
    service: str
    course: str
    is_expedited: bool
    received: int
    decided: tuple[int, ...]
    states_times: bool = True
    script: Mapping[str, Any] = field(default_factory=dict)

    @property
    def received_day(self) -> int:
        """Ordinal of the day on which it was received."""
        return self.received // _DAY

    def change_days(self) -> list[int]:
        """Return the days on which the request changes."""
        return [second // _DAY for second in (self.received, *self.decided)]

    def format_moment(self, second: int) -> str:
        """Return a moment as the rows write it."""
        day, second = divmod(second, _DAY)
        if not self.states_times:
            return iso_date(day)
        return f"{iso_date(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}-05:00"


def draw_requests(spec: Spec, index: int, first_day: int, last_day: int) -> Iterator[Request]:
    """Yield the requests of a member that were received from `first_day` to `last_day`.

    Scripted members have scripted requests only, with any day up to `last_day`.
    """
    if index in SCRIPTED_MEMBERS:
        entries = (entry for entry in _DATA["scripted"] if entry["member"] == index)
        requests = map(_scripted_request, entries)
        yield from (request for request in requests if request.received_day <= last_day)
        return
    for year in range(year_of(first_day), year_of(last_day) + 1):
        dice = Dice(spec.seed, Purpose.PRIOR_AUTH, index, year)
        count = int(spec.prior_auth_rate * dice.quantile(_DATA["a_year"]) + dice.random())
        for ordinal in range(count):
            request = _draw_request(dice, ordinal, first_of_year(year))
            if first_day <= request.received_day <= last_day:
                yield request


def has_prior_auth_change(spec: Spec, index: int, day: int) -> bool:
    """Return whether a request of a member is received, decided or withdrawn on a day."""
    today = spec.as_of.toordinal() + day
    return spec.prior_auth_rate > 0 and any(
        today in request.change_days()
        for request in draw_requests(spec, index, today - _MAX_DAYS, today)
    )


def prior_auth_rows(life: Life, index: int, claims: list[Claim]) -> dict[str, list[Row]]:
    """Return the rows of a member's prior authorizations, from the year before day 0 on."""
    spec = life.spec
    tables: dict[str, list[Row]] = {table: [] for table in TABLES}
    first_day = first_of_year(spec.as_of.year - 1)
    for request in draw_requests(spec, index, first_day, life.today):
        day, covers = request.received_day, _SERVICES[request.service]["covers"]
        cover = life.cover_on(day, *covers.split(" "))
        if cover is not None:
            dice = Dice(spec.seed, Purpose.PRIOR_AUTH, index, year_of(day), request.ordinal)
            writer = _RequestWriter(life, request, cover, dice, claims)
            if program := _DATA["programs"].get(cover.plan.payer):
                writer.header |= dict(zip(("program", "contract_id"), program, strict=True))
            for table, rows in writer.rows().items():
                tables[table] += rows
    return tables


def _draw_request(dice: Dice, ordinal: int, first_day: int) -> Request:
    """Return a random request of the year that begins on day `first_day`."""
    received = (first_day + dice.below(365)) * _DAY + dice.between(8 * 3600, 18 * 3600)
    service, course = dice.pick(_CHOICES["services"]), dice.pick(_CHOICES["courses"])
    is_expedited = dice.chance(_DATA["expedited"])
    is_extended = _COURSES[course].get("extended", False)
    bounds = _EXTENDED if is_extended else _TIME_TO_DECISION[is_expedited]
    decision = received + 60 * dice.between(*bounds)
    appeal_decision = decision + 60 * dice.between(*_APPEAL)
    decisions = (decision, appeal_decision) if "appeal" in _COURSES[course] else (decision,)
    states_times = not dice.chance(_DATA["days_alone"])
    return Request(ordinal, service, course, is_expedited, received, decisions, states_times)


def _scripted_request(entry: Mapping[str, Any]) -> Request:
    decisions = tuple(map(_second_of, entry["decided"]))
    received = _second_of(entry["received"])
    is_expedited = entry.get("expedited", False)
    return Request(
        0, entry["service"], entry["course"], is_expedited, received, decisions, script=entry
    )


def _second_of(moment: datetime) -> int:
    return moment.toordinal() * _DAY + moment.hour * 3600 + moment.minute * 60 + moment.second


class _RequestWriter:
    """Writes the rows of a request with the decisions up to the last visible day."""

    def __init__(
        self, life: Life, request: Request, cover: Cover, dice: Dice, claims: list[Claim]
    ) -> None:
        self._life, self._request, self._service = life, request, _SERVICES[request.service]
        requester = dice.pick(life.region.doctors[self._service["requester"]])
        facility_id = dice.pick(life.region.organization_ids[self._service["place"]])
        self._reasons = dice.pick(_DATA["denial_reasons"])
        day = request.received_day
        service_day = day + dice.between(21, 35)
        year = year_of(day)
        day_of_year = day - first_of_year(year) + 1
        use_day = request.script.get("used")
        claim_ids = [
            claim.header["claim_id"]
            for claim in claims
            if use_day and claim.header["statement_from_date"] == use_day.isoformat()
        ]
        self._facts = {
            "number": f"{year % 100:02d}{day_of_year:03d}{life.number:09d}{request.ordinal:03d}",
            "member": life.member_id,
            "coverage": cover.identifier,
            "payer": cover.plan.payer,
            "expedited": "Y" if request.is_expedited else "N",
            "received": request.format_moment(request.received),
            "doctor": requester.identifier,
            "npi": requester.npi,
            "taxonomy": requester.taxonomy,
            "place": facility_id,
            "first": iso_date(service_day),
            "valid_from": iso_date(service_day - 14),
            "valid_to": iso_date(service_day + 166),
            "claims": ";".join(claim_ids),
            "reasons": self._reasons,
            "lines": ";".join(str(number) for number, _ in enumerate(self._service["lines"], 1)),
        }
        self.header = self._row("header", **self._service["header"])
        if self.header["type"] == "institutional":
            self.header["facility_id"] = facility_id

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows by table."""
        lines = [
            self._row("line", line_number=str(number), **cells)
            for number, cells in enumerate(self._service["lines"], start=1)
        ]
        self.header |= self._scripted_cells("header")
        for line in lines:
            line |= self._scripted_cells("line")
        self._apply_decisions(lines)
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
        stamp = {"last_updated": self.header["status_changed_at"]}
        return {
            table: [{column: text for column, text in row.items() if text} | stamp for row in rows]
            for table, rows in tables.items()
        }

    def _apply_decisions(self, lines: list[Row]) -> None:
        """Write the decision, and the one on an appeal, if they are visible."""
        request, course = self._request, _COURSES[self._request.course]
        first_decision, *appeal_decisions = map(request.format_moment, request.decided)
        is_visible = [second // _DAY <= self._life.today for second in request.decided]
        if is_visible[0]:
            self._state_decision(course["action"], first_decision, lines)
        if appeal_decisions and is_visible[1]:
            self._state_decision(course["appeal"], appeal_decisions[0], lines)
            self._facts["overturned"] = "N" if course["appeal"] == "A3" else "Y"
            self._facts["first_decided"] = first_decision
            self._facts["moment"] = appeal_decisions[0]
            self.header |= self._row("appealed")

    def _row(self, name: str, **cells: str) -> Row:
        """Return a row, or part of one: a filled template of `prior_auths.toml`, and cells."""
        texts = _DATA["rows"][name].items()
        return {column: fill(text, self._facts) for column, text in texts} | cells

    def _scripted_cells(self, part: str) -> Row:
        cells = self._request.script.get(part, {})
        return {column: fill(text, self._facts) for column, text in cells.items()}

    def _state_decision(self, action: str, moment: str, lines: list[Row]) -> None:
        """Write a decision, or that the request was withdrawn; replaces an earlier decision."""
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
            line |= self._scripted_cells("line_when_decided")
        header |= self._scripted_cells("when_decided")

    def _decide_line(self, action: str, line: Row, *, is_first: bool, is_only: bool) -> None:
        """Write the decision on a line. A partial approval (A2) approves the first line only."""
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
            cents = parse_cents(line["amount_submitted"]) * approved // requested
            line["amount_eligible"] = format_cents(cents * 4 // 5)
