"""A claim while it is being written: header, lines and child rows, priced when it is closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from etl.synth.codes import CLAIMS, REFUSALS, BilledService, Denial
from etl.synth.coverages import Cover
from etl.synth.directory import PAYER_NAMES, Doctor, Region, Row
from etl.synth.households import Person
from etl.synth.names import make_npi
from etl.synth.pricing import (
    Amounts,
    ChargeTerms,
    amount_cells,
    format_cents,
    price_charge,
    x12_adjustments,
)
from etl.synth.seeded_random import Dice, draw_timestamp, first_of_year, iso_date, year_of
from etl.synth.spec import Spec

MOST_CLAIMS: Final = 989
"""Three digits of a claim id count a member's claims."""
_LETTERS: Final[dict[str, str]] = CLAIMS["letters"]
_NOTES: Final[tuple[str, ...]] = CLAIMS["refusal_notes"]
_LIVE: Final = ("active",) * 22 + ("Active", "ACTIVE")


@dataclass(slots=True)
class Claim:
    """A claim's rows.

    Attributes:
        header: its row of `claim`.
        rows: child table -> rows, in the order of their keys; tables without rows may be missing.
    """

    header: Row
    rows: dict[str, list[Row]]

    def all_rows(self) -> list[Row]:
        """Return every row of the claim."""
        return [self.header, *(row for rows in self.rows.values() for row in rows)]


@dataclass(slots=True)
class Life:
    """State of a member while the member's claims are written.

    Attributes:
        today: ordinal of the last visible day.
        dice: the stream that the claims draw from.
        count: claims numbered so far.
        deductibles: (coverage id, year) -> cents of the deductible met so far.
    """

    spec: Spec
    person: Person
    member_id: str
    subscriber_id: str
    region: Region
    covers: list[Cover]
    today: int
    dice: Dice
    number: int
    count: int = 0
    deductibles: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether each claim has all that its profile can show."""
        return self.person.script is not None and self.person.script.whole

    def cover_on(self, day: int, *roles: str) -> Cover | None:
        """Return the first coverage in force on a day, by the roles in their order."""
        for role in roles:
            for cover in self.covers:
                if cover.role == role and cover.start <= day <= cover.end:
                    return cover
        return None

    def doctor(self, role: str) -> Doctor:
        """Return a practitioner of the region."""
        return self.dice.pick(self.region.doctors[role])

    def place(self, role: str) -> str:
        """Return an organization of the region."""
        return self.dice.pick(self.region.organization_ids[role])

    def claim_id(self, claim_type: str, day: int) -> str:
        """Return the next claim number; a pharmacy's is all digits, as its switch gives it."""
        self.count += 1
        if claim_type == "pharmacy":
            return f"{self.number:09d}{self.count:03d}"
        into_year = day - first_of_year(year_of(day)) + 1
        letter = _LETTERS[claim_type]
        return f"{letter}{year_of(day) % 100:02d}{into_year:03d}{self.number:09d}{self.count:03d}"


class Encounter(NamedTuple):
    """One occasion that becomes a claim.

    Attributes:
        day: ordinal of the first service.
        cover: the coverage that pays.
        refused: share of the lines that are refused: nothing, the last one, or all.
        second: another coverage that paid first, or None.
        decision_day: when the payer decides the claim; None draws it.
    """

    life: Life
    day: int
    cover: Cover
    refused: str = ""
    second: Cover | None = None
    decision_day: int | None = None


class Draft:
    """Collects a claim's rows; `close` prices and dates it."""

    def __init__(self, visit: Encounter, claim_type: str, billing: str) -> None:
        life = visit.life
        self.visit, self.life, self.dice = visit, life, life.dice
        self.end = visit.day
        self.header: Row = {
            "record_action": "A",
            "claim_id": life.claim_id(claim_type, visit.day),
            "claim_type": claim_type,
            "member_id": life.member_id,
            "coverage_id": visit.cover.identifier,
            "payer_id": visit.cover.plan.payer,
            "status": life.dice.pick(_LIVE),
            "outcome": "complete",
            "billing_provider_id": billing,
        }
        self.rows: dict[str, list[Row]] = {}
        self._charges: list[int] = []
        self.outside = life.dice.chance(70)

    def add(self, table: str, **cells: str) -> Row:
        """Add a child row; `sequence` counts within the claim, or within the line."""
        rows = self.rows.setdefault(table, [])
        line = cells.get("line_number")
        if table in {"claim_adjustment", "claim_tooth", "claim_ingredient"}:
            sequence = 1 + sum(row["line_number"] == line for row in rows)
        else:
            sequence = len(rows) + 1
        row = {"record_action": "A", "claim_id": self.header["claim_id"], **cells}
        row["sequence"] = str(sequence)
        rows.append(row)
        return row

    def line(
        self, service: BilledService | None, cents: int, day: int | None = None, /, **cells: str
    ) -> Row:
        """Add a service line with its charge in cents of 2016."""
        rows = self.rows.setdefault("claim_line", [])
        start = self.visit.day if day is None else day
        year = year_of(start)
        self._charges.append(cents * (100 + 3 * max(0, year - 2016)) // 100)
        row = {
            "record_action": "A",
            "claim_id": self.header["claim_id"],
            "line_number": str(len(rows) + 1),
            "service_from_date": iso_date(start),
        }
        if service:
            if service.code:
                row["service_code"] = service.code
                count = self.dice.below(len(service.modifiers) + 1) if service.modifiers else 0
                for place, modifier in enumerate(service.modifiers[:count], start=1):
                    row[f"modifier_{place}"] = modifier
            if service.words and self.dice.chance(400):
                row["service_text"] = service.words
        row |= cells
        rows.append(row)
        return row

    def care(self, role: str, doctor: Doctor, **cells: str) -> None:
        """Add a member of the care team (MapID 165): by id, by NPI, or an unknown one by NPI."""
        draw = self.dice.below(400)
        provider = doctor.identifier
        if draw == 0:
            provider = make_npi(70_000_000 + self.dice.below(9_999))
        elif draw < 36:
            provider = doctor.npi
        provider_cells = {"provider_id": provider, "taxonomy_code": doctor.taxonomy}
        self.add("claim_care_team", role=role, **provider_cells, **cells)

    @property
    def network(self) -> str:
        """Network status of whoever bills and treats."""
        return "outofnetwork" if self.outside else "innetwork"

    def until(self, day: int) -> None:
        """Set the day of the last service."""
        self.end = max(self.end, day)

    def close(
        self,
        *,
        copay: int | None = None,
        free: bool = False,
        at_counter: bool = False,
        on_lines: bool = True,
        rejection: str = "",
    ) -> Claim | None:
        """Price, date and sign the claim.

        Args:
            copay: cents; None for the plan's.
            free: the member pays nothing (preventive care).
            at_counter: the member's part is paid at once, and the claim is decided that day.
            on_lines: the lines have amounts too, not only the header.
            rejection: NCPDP reject codes of a refused pharmacy claim.

        Returns:
            The claim; None if its services outlast the coverage, or if it is decided or paid after
            the last visible day.
        """
        if not self._set_dates(at_counter):
            return None
        plan = self.visit.cover.plan
        self._copay = 0 if free else plan.copay if copay is None else copay
        priced = [self._price(place, cents, free=free) for place, cents in enumerate(self._charges)]
        self._set_payments(at_counter, [amounts for amounts, _ in priced])
        self._set_totals([amounts for amounts, _ in priced])
        if on_lines or self.life.whole:
            self._set_line_amounts(priced, at_counter, rejection)
        self._set_outcome([refusal for _, refusal in priced], rejection)
        self._add_second_payer()
        claim = Claim(self.header, self.rows)
        for row in claim.all_rows():
            row["last_updated"] = self._stamp
        return claim

    def _set_line_amounts(
        self, priced: list[tuple[Amounts, Denial | None]], at_counter: bool, rejection: str
    ) -> None:
        lines = self.rows["claim_line"]
        for row, (amounts, refusal) in zip(lines, priced, strict=True):
            row |= self._cells if len(priced) == 1 else amount_cells(amounts)
            if not at_counter:
                self._add_adjustments(row, amounts, refusal)
            elif refusal and rejection:
                row["denial_reason"] = rejection

    def _set_dates(self, at_counter: bool) -> bool:
        dice, forced = self.dice, self.visit.decision_day
        if self.end > self.visit.cover.end:
            return False
        if forced is not None:
            received = max(self.end, forced - 3)
            adjudicated = paid = forced
        elif at_counter:
            received = adjudicated = self.end
            paid = self.end + dice.between(7, 14)
        else:
            received = self.end + dice.between(1, 20)
            adjudicated = received + dice.between(1, 14)
            paid = adjudicated + dice.between(1, 7)
        if max(self.end, paid) > (self.life.today if forced is None else forced):
            return False
        self.header |= {
            "statement_from_date": iso_date(self.visit.day),
            "received_date": iso_date(received),
            "adjudication_date": iso_date(adjudicated),
            "paid_date": iso_date(paid),
        }
        if self.end > self.visit.day or dice.chance(600):
            self.header["statement_thru_date"] = iso_date(self.end)
        self._stamp = draw_timestamp(dice, paid)
        return True

    def _price(self, place: int, cents: int, *, free: bool) -> tuple[Amounts, Denial | None]:
        cover, life = self.visit.cover, self.life
        plan = cover.plan
        refused, count = self.visit.refused, len(self._charges)
        is_refused = refused == "all" or (refused == "last" and place == count - 1 and count > 1)
        refusal = self.dice.pick(REFUSALS) if is_refused else None
        key = (cover.identifier, year_of(self.visit.day))
        met = life.deductibles.get(key, 0)
        terms = ChargeTerms(
            discount_percent=plan.discount // 2 if self.outside else plan.discount,
            copay=self._copay,
            coinsurance_percent=0 if free else plan.coinsurance,
            open_deductible=0 if free else plan.deductible - met,
            other_payer_percent=80 if self.visit.second else 0,
            refusal=refusal,
        )
        amounts = price_charge(cents, terms)
        self._copay -= amounts["copay"]
        life.deductibles[key] = met + amounts["deductible"]
        return amounts, refusal

    def _set_payments(self, at_counter: bool, priced: list[Amounts]) -> None:
        """State the payee (MapIDs 120, 121), and what the member paid at the desk."""
        dice, header = self.dice, self.header
        draw = dice.below(40) if self.outside else 99
        payee, party = "provider", header["billing_provider_id"]
        if draw < 12:
            payee, party = "subscriber", self.life.subscriber_id
        elif draw < 22:
            payee, party = "beneficiary", self.life.member_id
        elif draw < 25:
            payee, party = "other", self.life.place("supplier")
        header["payee_type"], header["payee_id"] = payee, party
        to_member = payee in {"subscriber", "beneficiary"}
        wallet = dice.below(10)
        for amounts in priced:
            amounts["paidtopatient" if to_member else "paidtoprovider"] = amounts["benefit"]
            due = amounts["copay"]
            if at_counter:
                due += amounts["deductible"] + amounts["coinsurance"]
                amounts["drugcost"] = amounts["eligible"]
            if due and wallet < 8:
                _split_payment(amounts, due, wallet)

    def _add_adjustments(self, row: Row, amounts: Amounts, refusal: Denial | None) -> None:
        self.rows.setdefault("claim_adjustment", [])
        for group, reason, remark, cents in x12_adjustments(amounts, refusal):
            cells = {"line_number": row["line_number"], "group_code": group}
            cells |= {"reason_code": reason, "amount": format_cents(cents)}
            if remark:
                cells["remark_code"] = remark
            self.add("claim_adjustment", **cells)
        if refusal:
            row["denial_reason"] = _denial_codes(refusal)

    def _set_totals(self, priced: list[Amounts]) -> None:
        categories = dict.fromkeys(category for amounts in priced for category in amounts)
        totals = {
            category: sum(amounts.get(category, 0) for amounts in priced) for category in categories
        }
        self._cells = amount_cells(totals)
        self.header |= self._cells
        self._benefit = totals["benefit"]

    def _set_outcome(self, refusals: list[Denial | None], rejection: str) -> None:
        header, refused = self.header, [refusal for refusal in refusals if refusal]
        header["payment_status"] = "paid"
        header["payment_amount"] = format_cents(self._benefit)
        header["billing_network_status"] = self.network
        header["benefit_payment_status"] = self.network if self.dice.chance(960) else "other"
        if self.dice.chance(100):
            header["currency"] = "USD"
        if not refused:
            return
        header["payment_status"] = "partiallypaid"
        if len(refused) == len(refusals):
            header["payment_status"] = "denied"
            del header["paid_date"], header["payment_amount"]
            if rejection:
                header["denial_reason"] = rejection
        if header["claim_type"] in {"inpatient", "outpatient"}:
            header["denial_reason"] = _denial_codes(refused[0])
        note = {"text": self.dice.pick(_NOTES)}
        if len(refused) == 1:
            place = next(place for place, refusal in enumerate(refusals) if refusal)
            note["line_number"] = self.rows["claim_line"][place]["line_number"]
        self.add("claim_note", **note)

    def _add_second_payer(self) -> None:
        second = self.visit.second
        if second is None:
            return
        cells = {
            "payer_name": PAYER_NAMES[second.plan.payer],
            "payer_id": second.plan.payer,
            "coverage_id": second.identifier,
        }
        if len(self.rows["claim_line"]) == 1:
            cells["line_number"] = "1"
        prior = self.header.get("amount_priorpayerpaid")
        if prior:
            cells["amount_priorpayerpaid"] = prior
        self.add("claim_other_payer", **cells)


def _denial_codes(refusal: Denial) -> str:
    return f"{refusal.reason};{refusal.remark}" if refusal.remark else refusal.reason


def _split_payment(amounts: Amounts, due: int, wallet: int) -> None:
    """Split what the member paid by where it came from."""
    amounts["paidbypatient"] = due
    if wallet < 4:
        amounts["paidbypatientcash"] = due
    elif wallet < 6:
        amounts["paidbypatienthealthaccount"] = due
    elif wallet == 6:
        amounts["paidbypatientother"] = due
    else:
        amounts["paidbypatientcash"] = due // 3
        amounts["paidbypatienthealthaccount"] = due - due // 3
