"""Professional claims: visits, therapy, surgery, ambulances, devices; and the vision ones."""

from __future__ import annotations

from etl.synth import sample_codes as codes
from etl.synth.claim_drafts import Claim, Draft, Encounter
from etl.synth.directory import Doctor
from etl.synth.sample_codes import Ailment, BilledService
from etl.synth.seeded_random import iso


def _draft(visit: Encounter, billing: str, claim_type: str = "professional") -> Draft:
    draft = Draft(visit, claim_type, billing)
    network = "outofnetwork" if draft.outside else "innetwork"
    draft.header["rendering_network_status"] = network
    if draft.dice.chance(400):
        draft.header["patient_account_number"] = f"{draft.dice.below(1_000_000):06d}-A"
    return draft


def _service(
    draft: Draft, service: BilledService, place: str, doctor: Doctor, **cells: str
) -> None:
    count = int(cells.get("units", "1"))
    network = "outofnetwork" if draft.outside else "innetwork"
    if draft.dice.chance(250):
        letter = not service.code[0].isdigit()
        cells["service_code_system"] = "HCPCS" if letter else "CPT"
    draft.line(
        service,
        service.cents * count,
        **{
            "units": "1",
            "allowed_units": str(count),
            "place_of_service": place,
            "benefit_payment_status": network,
            "rendering_provider_id": doctor.identifier,
            **cells,
        },
    )


def _team(draft: Draft, doctor: Doctor) -> None:
    life, dice = draft.life, draft.dice
    draft.care("performing" if dice.chance(40) else "rendering", doctor)
    if dice.chance(250):
        draft.care("referring", life.doctor("primary"))
    if dice.chance(60):
        draft.care("pcp" if dice.chance(300) else "primary", life.doctor("primary"))
    if dice.chance(50):
        draft.care("supervising" if dice.chance(300) else "supervisor", life.doctor("primary"))
    if dice.chance(20):
        draft.care("purchasedservice", life.doctor("radiologist"), line_numbers="1")


def _diagnoses(draft: Draft, *found: str) -> None:
    lines = ";".join(row["line_number"] for row in draft.rows["claim_line"])
    point = draft.dice.chance(500)
    for place, code in enumerate(found):
        draft.diagnosis(
            code,
            "principal" if place == 0 else "secondary",
            **({"line_numbers": lines if place == 0 else "1"} if point else {}),
        )


def office(visit: Encounter, ailment: Ailment) -> Claim | None:
    """Return a visit to a doctor's office, with what is done there."""
    life, dice = visit.life, visit.life.dice
    child = life.person.age(visit.day) < 16
    trade = "pediatrician" if child and ailment.specialty == "primary" else ailment.specialty
    if trade == "primary" and dice.chance(200):
        trade = "nurse"
    doctor = life.doctor(trade)
    alone = trade in {"counselor", "therapist"} and dice.chance(600)
    draft = _draft(visit, doctor.identifier if alone else life.place("clinic"))
    _service(draft, dice.pick(codes.OFFICE_VISITS), "11", doctor)
    for service in ailment.services:
        if dice.chance(600):
            _service(draft, service, "11", doctor)
    _diagnoses(draft, *ailment.diagnosis)
    _team(draft, doctor)
    if dice.chance(40):
        draft.add("claim_note", text="Your share was worked out by line.", line_number="1")
    return draft.close()


def telehealth(visit: Encounter, ailment: Ailment) -> Claim | None:
    """Return a visit by video."""
    doctor = visit.life.doctor("primary")
    draft = _draft(visit, visit.life.place("clinic"))
    _service(draft, codes.TELEHEALTH, "10" if visit.day % 2 else "02", doctor)
    _diagnoses(draft, *ailment.diagnosis)
    _team(draft, doctor)
    return draft.close()


def check(visit: Encounter) -> Claim | None:
    """Return a yearly check, free for the member, often with a flu shot."""
    life, dice = visit.life, visit.life.dice
    age = life.person.age(visit.day)
    child = age < 18
    doctor = life.doctor("pediatrician" if child else "primary")
    draft = _draft(visit, life.place("clinic"))
    if child:
        service = codes.CHILD_CHECKS[0 if age < 1 else 1 if age < 5 else 2]
    elif age < 65:
        service = codes.ADULT_CHECKS[0 if age < 40 else 1]
    else:
        service = codes.SENIOR_CHECK
    _service(draft, service, "11", doctor)
    if dice.chance(500):
        _service(
            draft, codes.SHOT, "11", doctor, ndc="00909090901", ndc_quantity="0.5", ndc_unit="ML"
        )
        _service(draft, codes.SHOT_GIVEN, "11", doctor)
    _diagnoses(draft, codes.CHECK_DIAGNOSES["child" if child else "adult"], codes.IMMUNIZATION)
    _team(draft, doctor)
    return draft.close(free=True)


def therapy(visit: Encounter) -> Claim | None:
    """Return two or three sessions of physical therapy over as many weeks."""
    life = visit.life
    doctor = life.doctor("therapist")
    draft = _draft(visit, doctor.npi if draft_alone(visit) else doctor.identifier)
    sessions = life.dice.between(2, 3)
    for week in range(sessions):
        day = visit.day + 7 * week
        draft.until(day)
        for service in (codes.THERAPY, codes.MANUAL_THERAPY):
            count = life.dice.between(1, 3)
            network = "outofnetwork" if draft.outside else "innetwork"
            draft.line(
                service,
                service.cents * count,
                day,
                service_to_date=iso(day),
                units=str(count),
                allowed_units=str(min(count, 2)),
                place_of_service="11",
                benefit_payment_status=network,
                rendering_provider_id=doctor.identifier,
            )
    _diagnoses(draft, "M25.561", "M54.2")
    _team(draft, doctor)
    return draft.close()


def draft_alone(visit: Encounter) -> bool:
    """Return whether a therapist bills by NPI instead of by id."""
    return visit.life.dice.chance(300)


def anesthesia(visit: Encounter) -> Claim | None:
    """Return the anesthesia of an operation; the code begins with zeros."""
    life = visit.life
    doctor = life.doctor("anesthesiologist")
    draft = _draft(visit, doctor.identifier)
    draft.header["service_facility_id"] = life.place("hospital")
    draft.header["medical_record_number"] = f"{life.number:09d}"
    _service(
        draft,
        codes.ANESTHESIA,
        "21",
        doctor,
        modifier_1="AA",
        modifier_2="QS",
        modifier_3="P3",
        modifier_4="59",
    )
    _diagnoses(draft, "M17.11")
    draft.care("rendering", doctor)
    draft.care("supervisor", life.doctor("surgeon"))
    return draft.close(copay=0)


def ambulance(visit: Encounter) -> Claim | None:
    """Return an ambulance ride, with every fact that C4BB has a place for."""
    life, dice = visit.life, visit.life.dice
    rider = life.doctor("emergency")
    draft = _draft(visit, life.place("ambulance"))
    miles = dice.between(3, 48)
    _service(draft, codes.AMBULANCE, "41", rider, modifier_1="RH")
    _service(draft, codes.AMBULANCE_MILES, "41", rider, units=str(miles), modifier_1="RH")
    _diagnoses(draft, "S72.001A", "R42")
    draft.care("rendering", rider)
    units = dice.chance(300) or life.person.part is not None
    pounds = {"unit": "[lb_av]"} if units else {}
    mileage = {"unit": "[mi_i]"} if units else {}
    tenth = dice.below(10)
    facts: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("patientweight", str(dice.between(98, 260)), pounds),
        ("ambulancetransportreason", dice.pick(("A", "B", "C", "D", "E")), {}),
        ("transportationdistance", f"{miles}.{tenth}", mileage),
        ("roundtrippurpose", "Scan at the other hospital, then back", {}),
        ("stretcherpurpose", "Could not sit: broken hip", {}),
        ("pickuplocation", f"{dice.between(1, 99)} Duck Pond Road, Saltmarsh", {}),
        ("dropofflocation", "Emergency entrance, Mercy & Tansy Hospital", {}),
    )
    keep = len(facts) if units else 3
    for kind, value, unit in facts[:keep]:
        lines = "2" if kind == "transportationdistance" else "1;2"
        draft.add("claim_transport", kind=kind, value=value, line_numbers=lines, **unit)
    return draft.close(copay=20000)


def device(visit: Encounter) -> Claim | None:
    """Return a walker, from a supplier."""
    life = visit.life
    doctor = life.doctor("primary")
    draft = _draft(visit, life.place("supplier"))
    _service(draft, codes.WALKER, "12", doctor)
    _diagnoses(draft, "R26.2")
    _team(draft, doctor)
    return draft.close(copay=0)


def eye_exam(visit: Encounter) -> Claim | None:
    """Return an eye examination (claim type vision)."""
    life = visit.life
    doctor = life.doctor("optometrist")
    draft = _draft(visit, life.place("optical"), "vision")
    _service(draft, codes.EYE_EXAM, "11", doctor)
    _service(draft, codes.REFRACTION, "11", doctor)
    _diagnoses(draft, life.dice.pick(codes.EYE_DIAGNOSES))
    draft.care("rendering", doctor)
    return draft.close()


def glasses(visit: Encounter) -> Claim | None:
    """Return frames and lenses; the coating has no code, only words, as vision claims may."""
    life, dice = visit.life, visit.life.dice
    doctor = life.doctor("optometrist")
    draft = _draft(visit, life.place("optical"), "vision")
    _service(draft, codes.FRAMES, "11", doctor)
    _service(draft, codes.LENSES, "11", doctor, units="2")
    if dice.chance(600) or life.person.part:
        network = "outofnetwork" if draft.outside else "innetwork"
        draft.line(
            None,
            4500,
            service_text='Scratch coat, "gold" tier',
            units="1",
            place_of_service="11",
            benefit_payment_status=network,
        )
    _diagnoses(draft, dice.pick(codes.EYE_DIAGNOSES))
    draft.care("rendering", doctor)
    return draft.close()
