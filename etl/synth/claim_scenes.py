"""Claims written by the scenes of `scenes.toml`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from etl.synth import codes
from etl.synth.claim_drafts import Claim, Draft, Encounter
from etl.synth.directory import MEDICAL_PAYERS, Doctor, Row
from etl.synth.names import read_toml
from etl.synth.scripted_members import ClaimCourse
from etl.synth.seeded_random import Dice, first_of_year, iso_date, year_of
from etl.synth.templates import fill

_POA: Final[tuple[str, ...]] = codes.CLAIMS["present_on_admission"]
_ANCILLARY: Final[tuple[tuple[str, int], ...]] = codes.CLAIMS["ancillary"]
"""(NUBC revenue code, cents) of what a stay is billed for beside room, drugs and laboratory."""
_BACK_TEETH: Final[tuple[str, ...]] = codes.CLAIMS["back_teeth"]

Step = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]
"""Verb, its words, and its cells."""

_DATA: Final = read_toml("scenes")
_PARTS: Final[dict[str, str]] = _DATA.pop("parts")
"""Name that stands for some steps → these steps."""


def _parse(text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    for line in text.strip().splitlines():
        verb, *words = shlex.split(line)
        if verb in _PARTS:
            steps += _parse(_PARTS[verb])
            continue
        plain = tuple(word for word in words if "=" not in word)
        cells = (word.partition("=") for word in words if "=" in word)
        steps.append((verb, plain, tuple((column, cell) for column, _, cell in cells)))
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Scene:
    """A kind of event, as `scenes.toml` describes it."""

    covers: str
    claim: str
    steps: tuple[Step, ...]
    doctor: str = ""
    at: str = ""
    days: str = ""
    copay: int | None = None
    free: bool = False
    on_lines: int | None = None
    header_only: int | None = None


def _scene(entry: dict[str, Any]) -> Scene:
    claim_type = entry["claim"].partition(" ")[0]
    return Scene(**{**entry, "steps": _parse(f"{claim_type}\n{entry['steps']}")})


SCENES: Final = {name: _scene(entry) for name, entry in _DATA.items()}


class CareEvent(NamedTuple):
    """Something that happens to a member on a day, and the course of its claim.

    Attributes:
        day: ordinal of the first service.
        scene: name of a scene, or of a stay with `-stay` behind it.
        course: course of the claim.
        reason: of a visit; one that goes round at the time if it is None.
        drug: what is dispensed.
    """

    day: int
    scene: str
    course: ClaimCourse = ClaimCourse.NONE
    reason: codes.Ailment | None = None
    drug: codes.Drug = codes.DRUGS["painkiller"]
    refill: int = 0

    @property
    def definition(self) -> Scene:
        """The scene that tells it."""
        return SCENES.get(self.scene) or SCENES["stay"]


def acute_ailment(dice: Dice, day: int) -> codes.Ailment:
    """Return an acute ailment that goes round in the quarter of the day."""
    quarter = min(3, (day - first_of_year(year_of(day))) // 92)
    for _ in range(3):
        ailment = dice.pick(codes.ACUTE)
        if dice.below(4) < ailment.season[quarter]:
            break
    return ailment


def write_claim(visit: Encounter, event: CareEvent) -> Claim | None:
    """Return the claim of a scene; None if its coverage or the visible days end too early."""
    return _Writer(visit, event).write()


class _Writer(dict[str, object]):
    """Writes one claim; as a mapping, it holds the facts that the steps use by name.

    A fact that no step chose comes from its method `fact_…`. The verbs of the steps in
    `scenes.toml` are methods too: `stay-lines` is `_stay_lines`.
    """

    def __init__(self, visit: Encounter, event: CareEvent) -> None:
        super().__init__()
        self._visit, self._life, self._dice = visit, visit.life, visit.life.dice
        self._event, self._scene = event, event.definition
        self._ailment = event.reason
        if event.reason is None and event.scene in ("office", "telehealth"):
            self._ailment = acute_ailment(self._dice, visit.day)
        self._case: codes.Stay | None = codes.STAYS.get(event.scene.removesuffix("-stay"))
        self.update(event.drug._asdict())
        if self._case:
            self.update(self._case._asdict())
        self._type, *self._bill = self._scene.claim.split(" ")
        self._age = visit.life.person.age(visit.day)
        self._draft = self._start_draft()
        self |= {
            "network": self._draft.network,
            "record": f"{self._life.number:09d}",
            "billing": self._draft.header["billing_provider_id"],
            "video_place": "10" if visit.day % 2 else "02",
            "check_code": "Z00.129" if self._age < 18 else "Z00.00",
            "doctor": self._scene.doctor,
            "refill": event.refill,
            "refills_authorized": 1 if event.scene == "compound" else max(event.refill, 3),
            "operating": "obstetrician" if self._case is codes.STAYS["delivery"] else "surgeon",
            "child": self._age < 13,
        }

    def write(self) -> Claim | None:
        steps, index = self._scene.steps, 0
        while index < len(steps):
            verb, words, cells = steps[index]
            index += 1
            if verb == "maybe":  # skips the next steps if its condition is not met
                index += 0 if self._is_met(words[0]) else int(words[1]) if words[1:] else 1
            elif verb == "repeat":
                low, _, high = words[0].partition("..")
                for turn in range(self._dice.between(int(low), int(high)) if high else int(low)):
                    self["turn"] = turn
                    self._run(*steps[index])
                index += 1
            else:
                self._run(verb, words, cells)
        rejection = ""
        if self._type == "pharmacy" and self._visit.refused:
            rejection = self._dice.pick(codes.DRUG_REJECTIONS)
        on_lines = self._scene.on_lines is None or self._dice.chance(self._scene.on_lines)
        if self._scene.header_only is not None:
            on_lines = not self._dice.chance(self._scene.header_only)
        return self._draft.close(
            copay=self._scene.copay,
            free=self._scene.free,
            at_counter=self._type == "pharmacy",
            on_lines=on_lines,
            rejection=rejection,
        )

    def __missing__(self, name: str) -> object:
        fact: Callable[[], object] = getattr(self, f"fact_{name}")
        return fact()

    def _is_met(self, condition: str) -> bool:
        name, _, scripted = condition.removeprefix("!").partition("/")
        is_met = self._dice.chance(int(name)) if name.isdigit() else bool(self[name])
        is_scripted = scripted != "" and self._life.person.script is not None
        return (is_met or is_scripted) != condition.startswith("!")

    def _run(self, verb: str, words: tuple[str, ...], cells: tuple[tuple[str, str], ...]) -> None:
        step: Callable[..., None] = getattr(self, f"_{verb.replace('-', '_')}")
        filled = {}
        for column, template in cells:
            text = self._fill_cell(template) if "{" in template or template[0] == "@" else template
            if text:
                filled[column] = text
        step(*words, **filled)

    def _fill_cell(self, text: str) -> str:
        if not text.startswith("@"):
            return fill(text, self, self._dice)
        if text == "@end":
            return iso_date(self._draft.end)
        low, _, high = text[1:].removeprefix("-").partition("..")
        return iso_date(self._visit.day - (self._dice.between(int(low), int(high)) if high else 0))

    # Facts.

    def fact_hospital(self) -> str:
        return self._life.place("hospital")

    def fact_line(self) -> int:
        return len(self._draft.rows["claim_line"])

    def fact_yearly_check(self) -> str:
        for below, name in ((1, "infant"), (5, "toddler"), (18, "child"), (40, "adult")):
            if self._age < below:
                return f"{name}-check"
        return "later-check" if self._age < 65 else "senior-check"

    def fact_exact(self) -> str:
        return "units" if self._dice.chance(300) or self._life.person.script is not None else ""

    def fact_pounds(self) -> str:
        return "[lb_av]" if self["exact"] else ""

    def fact_mile(self) -> str:
        return "[mi_i]" if self["exact"] else ""

    def fact_assisted(self) -> bool:
        return self._dice.chance(400) or self._case is codes.STAYS["knee"]

    def fact_back_tooth(self) -> str:
        return _BACK_TEETH[(self._visit.day + int(str(self["turn"]))) % len(_BACK_TEETH)]

    def fact_gap(self) -> int:
        return int(str(self["first"])) + int(str(self["turn"]))

    def fact_planned(self) -> bool:
        return self._stay.priority == "3"

    def fact_discharge(self) -> str:
        has_died = self._life.person.death == self._draft.end
        return "20" if has_died else self._dice.pick(("01", "01", "06", "03"))

    def _start_draft(self) -> Draft:
        days = 0
        if self._bill:
            role, bill = self._bill
            self["facility"], self["classification"] = bill[0], bill[1]
            days = self._draw_days()
            billing = self._life.place(role)
        elif self._type in ("professional", "vision"):
            self._doctor = self._pick_doctor()
            billing = self._billing_provider()
        else:
            billing = self._life.place("dental" if self._type == "oral" else self._type)
        draft = Draft(self._visit, self._type, billing)
        draft.until(self._visit.day + days)
        return draft

    def _pick_doctor(self) -> Doctor:
        trade = self._scene.doctor
        if trade == "checking":
            trade = "pediatrician" if self._age < 18 else "primary"
        elif trade == "treating" and self._ailment:
            trade = self._ailment.specialty
            if self._age < 16 and trade == "primary":
                trade = "pediatrician"
            if trade == "primary" and self._dice.chance(200):
                trade = "nurse"
        self._doctor_kind = trade
        return self._life.doctor(trade)

    def _billing_provider(self) -> str:
        doctor, at = self._doctor, self._scene.at
        if at == "doctor":
            return doctor.identifier
        if at == "doctor-by-npi":
            return doctor.npi if self._dice.chance(300) else doctor.identifier
        if at == "doctor-or-clinic":
            if self._doctor_kind in {"counselor", "therapist"} and self._dice.chance(600):
                return doctor.identifier
            at = "clinic"
        return self._life.place(at)

    def _draw_days(self) -> int:
        low, _, high = self._scene.days.partition("..")
        days = self._dice.between(int(low), int(high)) if high else int(low or 0)
        if self._case and not self._scene.days:
            days = self._dice.between(*self._case.days)
            if self._life.person.death is not None:
                days = max(0, min(days, self._life.person.death - self._visit.day))
        self["days"] = days
        return days

    # Steps.

    def _header(self, **cells: str) -> None:
        self._draft.header |= cells

    def _choose(self, names: str, *texts: str) -> None:
        chosen = self._dice.pick(texts) if len(texts) > 1 else texts[0]
        for name, text in zip(names.split("/"), chosen.split("/"), strict=True):
            self[name] = fill(text, self, self._dice)

    def _row(self, table: str, **cells: str) -> None:
        self._draft.add(table, **cells)

    def _raw(self, service: str, cents: str, **cells: str) -> None:
        amount, is_daily, _ = fill(cents, self, self._dice).partition("*days")
        total = int(amount) * (int(str(self["days"])) if is_daily else 1)
        self._draft.line(None if service == "-" else codes.SERVICES[service][0], total, **cells)

    def _line(self, name: str, **cells: str) -> None:
        services = codes.SERVICES[fill(name, self, self._dice) if "{" in name else name]
        self._bill_service(self._dice.pick(services) if services[1:] else services[0], **cells)

    def _bill_service(self, service: codes.BilledService, **cells: str) -> None:
        dice, count = self._dice, cells.get("units", "1")
        defaults = {"units": count, "allowed_units": count}
        code_system = "CPT" if service.code[0].isdigit() else "HCPCS"
        if self._bill:
            defaults["revenue_code"] = service.revenue
            has_system = dice.chance(300)
        else:
            defaults |= {"place_of_service": "11", "benefit_payment_status": self._draft.network}
            has_system = dice.chance(200 if self._type == "oral" else 250)
        if self._type == "oral":
            code_system = "CDT"
            if dice.chance(50):
                defaults["modifier_1"] = codes.DENTAL_MODIFIER
        elif not self._bill:
            defaults["rendering_provider_id"] = self._doctor.identifier
        if has_system:
            defaults["service_code_system"] = code_system
        self._draft.line(service, service.cents * int(count), **(defaults | cells))

    def _services(self) -> None:
        assert self._ailment  # noqa: S101 - only visits have them
        for name in self._ailment.services:
            if self._dice.chance(600):
                self._line(name)

    def _sessions(self) -> None:
        """Add a week's session of physical therapy, and some by hand."""
        day = self._visit.day + 7 * int(str(self["turn"]))
        self._draft.until(day)
        for name in ("therapy", "manual-therapy"):
            service, count = codes.SERVICES[name][0], self._dice.between(1, 3)
            cells = {"service_to_date": iso_date(day), "units": str(count)}
            cells |= {"allowed_units": str(min(count, 2)), "place_of_service": "11"}
            cells["benefit_payment_status"] = self._draft.network
            cells["rendering_provider_id"] = self._doctor.identifier
            self._draft.line(service, service.cents * count, day, **cells)

    def _nurse_visit(self) -> None:
        service = codes.SERVICES["nurse-at-home"][0]
        day = self._visit.day + 7 * int(str(self["turn"]))
        cells = {"revenue_code": service.revenue, "units": "4", "modifier_1": "CG"}
        self._draft.line(service, service.cents, day, **cells)

    def _diagnosis(self, code: str, role: str, **cells: str) -> None:
        self._row("claim_diagnosis", code=fill(code, self, self._dice), type=role, **cells)

    def _diagnoses(self, *codes: str) -> None:
        """Add diagnoses, of half the claims with the lines that they are for."""
        all_codes = [fill(code, self, self._dice) for code in codes]
        if self._ailment:
            all_codes += self._ailment.diagnosis
        lines = ";".join(row["line_number"] for row in self._draft.rows["claim_line"])
        has_lines = self._dice.chance(500)
        for index, code in enumerate(all_codes):
            line_cells: Row = {"line_numbers": "1" if index else lines} if has_lines else {}
            role = "secondary" if index else "principal"
            self._row("claim_diagnosis", code=code, type=role, **line_cells)

    def _care(self, role: str, trade: str, **cells: str) -> None:
        role, trade = fill(role, self, self._dice), fill(trade, self, self._dice)
        doctor = self._doctor if trade == "treating" else self._life.doctor(trade)
        self._draft.care(role, doctor, **cells)

    # Steps of stays in hospital.

    @property
    def _stay(self) -> codes.Stay:
        assert self._case  # noqa: S101 - only stays have these steps
        return self._case

    def _group(self) -> None:
        """State the DRG with its version: the federal year less 1983 (MapIDs 33, 32, 113)."""
        header, end = self._draft.header, self._draft.end
        header["drg_version"] = str(year_of(end) - 1983 + (iso_date(end)[5:] >= "10-01"))
        if self._visit.cover.plan.payer == MEDICAL_PAYERS[2] or self._dice.chance(250):
            header["drg_code"], header["drg_system"] = self._stay.apr_drg, "APR-DRG"
        else:
            header["drg_code"] = self._stay.ms_drg
            if self._dice.chance(500):
                header["drg_system"] = "MS-DRG"

    def _stay_lines(self) -> None:
        draft, stay = self._draft, self._stay
        days = max(1, int(str(self["days"])))
        room = {"revenue_code": "0120", "units": str(days), "allowed_units": str(days)}
        draft.line(None, stay.cents * days, **room)
        draft.line(None, 42000 * days, revenue_code="0250", units="1", service_text="drugs given")
        panel = codes.SERVICES["lab-panel"][0]
        draft.line(panel, panel.cents * 2, revenue_code=panel.revenue, units="2")
        for revenue, cents in _ANCILLARY[: self._dice.between(1, len(_ANCILLARY))]:
            draft.line(None, cents, revenue_code=revenue, units="1")
        if stay.operation:
            service = codes.BilledService(*stay.operation)
            day = min(self._visit.day + 1, draft.end)
            draft.line(service, service.cents, day, revenue_code=service.revenue, units="1")

    def _stay_diagnoses(self) -> None:
        stay, add = self._stay, self._row
        add("claim_diagnosis", code=stay.admitting, type="admitting")
        for place, code in enumerate(stay.diagnosis):
            cells = {"type": "other" if place else "principal"}
            cells["present_on_admission"] = self._dice.pick(_POA) if place else "Y"
            add("claim_diagnosis", code=code, **cells)
        for code in stay.external:
            cells = {"type": "externalcauseofinjury", "present_on_admission": "Y"}
            add("claim_diagnosis", code=code, **cells)

    def _stay_procedures(self) -> None:
        for place, code in enumerate(self._stay.procedures):
            cells = {"icd_version": "10"} if self._dice.chance(300) else {}
            cells["procedure_date"] = iso_date(min(self._visit.day + place, self._draft.end))
            role = ("principal", "other", "secondary")[min(place, 2)]
            self._draft.add("claim_procedure", code=code, type=role, **cells)
