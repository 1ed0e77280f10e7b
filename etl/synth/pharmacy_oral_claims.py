"""Pharmacy and oral claims."""

from __future__ import annotations

from typing import Final

from etl.synth import sample_codes as codes
from etl.synth.claim_drafts import Claim, Draft, Encounter
from etl.synth.sample_codes import BilledService, Drug
from etl.synth.seeded_random import iso

_TEETH: Final = tuple(str(tooth) for tooth in range(2, 32) if tooth not in {16, 17})
_BACK_TEETH: Final = ("2", "3", "14", "15", "18", "19", "30", "31")
_FRONT_TEETH: Final = ("7", "8", "9", "10", "23", "24", "25", "26")
_MILK_TEETH: Final = ("A", "B", "I", "J", "K", "L", "S", "T")
_SURFACES: Final = ("M;O", "O;D", "M;O;D", "O;B", "O;L")
_FRONT_SURFACES: Final = ("M;I", "I;F", "D;I;L")
_QUADRANTS: Final = ("10", "20", "30", "40")
"""ANSI/ADA 3950: upper right, upper left, lower left, lower right."""


def _dispensed(visit: Encounter, refill: int, authorized: int) -> Draft:
    life, dice = visit.life, visit.life.dice
    draft = Draft(visit, "pharmacy", life.place("pharmacy"))
    draft.header |= {
        "daw_code": dice.pick(("0", "0", "0", "0", "1", "2", "5", "7")),
        "refill_number": str(refill),
        "refills_authorized": str(authorized),
        "rx_origin_code": dice.pick(("3", "3", "3", "1", "2", "4", "5")),
    }
    if dice.chance(300):
        draft.header["service_facility_id"] = draft.header["billing_provider_id"]
    prescriber = life.doctor("primary")
    draft.care("prescribing", prescriber)
    if dice.chance(60):
        draft.care("primary", life.doctor("primary"))
    return draft


def fill(visit: Encounter, drug: Drug, refill: int = 0) -> Claim | None:
    """Return a drug as it was handed over; refused ones carry an NCPDP reject code."""
    draft = _dispensed(visit, refill, max(refill, 3))
    dice = draft.dice
    draft.header |= {
        "days_supply": str(drug.days),
        "brand_generic_code": drug.brand,
        "compound_code": "1" if dice.chance(900) else "0",
    }
    draft.line(None, drug.cents, ndc=drug.ndc, ndc_quantity=drug.quantity, ndc_unit=drug.unit)
    rejection = dice.pick(codes.DRUG_REJECTIONS) if visit.refused else ""
    return draft.close(copay=1000, at_counter=True, rejection=rejection)


def compound(visit: Encounter) -> Claim | None:
    """Return a drug mixed by the pharmacist: compound code 2 and a row for each ingredient."""
    draft = _dispensed(visit, 0, 1)
    dice = draft.dice
    draft.header |= {"days_supply": "30", "brand_generic_code": "2", "compound_code": "2"}
    own = {"ndc": "00900200199"} if dice.chance(300) else {}
    draft.line(None, 18650, ndc_quantity="99.875", ndc_unit="GR", **own)
    for drug, quantity in codes.INGREDIENTS[: dice.between(2, 3)]:
        draft.add(
            "claim_ingredient", line_number="1", ndc=drug.ndc, quantity=quantity, unit=drug.unit
        )
    rejection = dice.pick(codes.DRUG_REJECTIONS) if visit.refused else ""
    return draft.close(copay=2500, at_counter=True, rejection=rejection)


def _chair(visit: Encounter, trade: str = "dentist") -> Draft:
    life = visit.life
    draft = Draft(visit, "oral", life.place("dental"))
    draft.header["rendering_network_status"] = "outofnetwork" if draft.outside else "innetwork"
    if draft.dice.chance(500):
        draft.header["patient_account_number"] = f"TOOTH/{draft.dice.below(100_000):05d}"
    doctor = life.doctor(trade)
    draft.care("rendering", doctor)
    if draft.dice.chance(100):
        draft.care("referring", life.doctor("dentist"))
    return draft


def _work(draft: Draft, service: BilledService, **cells: str) -> str:
    """Add a line of dental work; return its number."""
    network = "outofnetwork" if draft.outside else "innetwork"
    if draft.dice.chance(200):
        cells["service_code_system"] = "CDT"
    if draft.dice.chance(50):
        cells["modifier_1"] = codes.DENTAL_MODIFIER
    row = draft.line(
        service,
        service.cents,
        units="1",
        allowed_units="1",
        place_of_service="11",
        benefit_payment_status=network,
        **cells,
    )
    return row["line_number"]


def checkup(visit: Encounter) -> Claim | None:
    """Return a look, pictures and a cleaning; a child's with a sealant on two milk teeth."""
    draft = _chair(visit)
    child = visit.life.person.age(visit.day) < 13
    _work(draft, codes.CHECKUP[0])
    if child:
        _work(draft, codes.CHILD_CLEANING)
        first, second = draft.dice.pick((_MILK_TEETH[:2], _MILK_TEETH[4:6]))
        line = _work(draft, codes.SEALANT, tooth_number=first)
        draft.add("claim_tooth", line_number=line, tooth_number=second, missing="N")
    else:
        _work(draft, codes.CHECKUP[1])
        _work(draft, codes.CHECKUP[2])
    return draft.close(free=True)


def filling(visit: Encounter) -> Claim | None:
    """Return one to three fillings in back teeth, with their surfaces."""
    draft = _chair(visit)
    for place in range(draft.dice.between(1, 3)):
        _work(
            draft,
            codes.FILLING,
            tooth_number=_BACK_TEETH[(visit.day + place) % len(_BACK_TEETH)],
            tooth_surfaces=draft.dice.pick(_SURFACES),
        )
    draft.diagnosis(codes.TOOTH_DIAGNOSES[0], "principal")
    return draft.close(copay=0)


def front_filling(visit: Encounter) -> Claim | None:
    """Return a filling in a front tooth."""
    draft = _chair(visit)
    _work(
        draft,
        codes.FRONT_FILLING,
        tooth_number=draft.dice.pick(_FRONT_TEETH),
        tooth_surfaces=draft.dice.pick(_FRONT_SURFACES),
    )
    draft.diagnosis(codes.TOOTH_DIAGNOSES[0], "principal", line_numbers="1")
    return draft.close(copay=0)


def crown(visit: Encounter) -> Claim | None:
    """Return a crown, new or in place of an old one."""
    draft = _chair(visit)
    _work(draft, codes.CROWN, tooth_number=draft.dice.pick(_BACK_TEETH))
    if draft.dice.chance(500):
        draft.header["prosthesis_replacement"] = "Y"
        draft.header["prosthesis_prior_date"] = iso(visit.day - draft.dice.between(1900, 4000))
    else:
        draft.header["prosthesis_replacement"] = "N"
    return draft.close(copay=0)


def scaling(visit: Encounter) -> Claim | None:
    """Return deep cleaning, a line a quadrant."""
    draft = _chair(visit)
    for quadrant in _QUADRANTS:
        _work(draft, codes.SCALING, oral_cavity_area=quadrant)
    draft.diagnosis(codes.TOOTH_DIAGNOSES[1], "principal")
    draft.diagnosis("E11.9", "secondary")
    return draft.close(copay=0)


def denture(visit: Encounter) -> Claim | None:
    """Return a partial upper denture in place of an old one: teeth it stands for, areas, gaps."""
    draft = _chair(visit)
    line = _work(draft, codes.DENTURE, oral_cavity_area="01")
    draft.add("claim_tooth", line_number=line, oral_cavity_area="10")
    draft.add("claim_tooth", line_number=line, oral_cavity_area="20", missing="N")
    first = draft.dice.between(3, 8)
    for tooth in range(first, first + 4):
        draft.add("claim_tooth", line_number=line, tooth_number=str(tooth), missing="Y")
    draft.diagnosis(codes.TOOTH_DIAGNOSES[2], "principal")
    draft.header["prosthesis_replacement"] = "Y"
    draft.header["prosthesis_prior_date"] = iso(visit.day - draft.dice.between(2500, 4000))
    draft.add("claim_note", text="We pay for a new denture every five years.", line_number=line)
    return draft.close(copay=0)


def extraction(visit: Encounter) -> Claim | None:
    """Return teeth pulled: one a line, and two more on the last line."""
    draft = _chair(visit)
    start = draft.dice.below(len(_TEETH) - 4)
    _work(draft, codes.EXTRACTION, tooth_number=_TEETH[start])
    line = _work(draft, codes.EXTRACTION, tooth_number=_TEETH[start + 1])
    draft.add("claim_tooth", line_number=line, tooth_number=_TEETH[start + 2], missing="N")
    draft.add("claim_tooth", line_number=line, tooth_number=_TEETH[start + 3])
    draft.diagnosis(codes.TOOTH_DIAGNOSES[0], "principal")
    draft.header["service_facility_id"] = draft.header["billing_provider_id"]
    draft.header["medical_record_number"] = f"{draft.life.number:09d}"
    return draft.close(copay=0)


def braces(visit: Encounter) -> Claim | None:
    """Return braces: the orthodontic facts of the header."""
    draft = _chair(visit, "orthodontist")
    _work(draft, codes.BRACES, oral_cavity_area="00")
    draft.header |= {
        "orthodontics": "Y",
        "orthodontics_date": iso(visit.day),
        "orthodontics_months": str(draft.dice.between(18, 30)),
    }
    return draft.close(copay=0)
