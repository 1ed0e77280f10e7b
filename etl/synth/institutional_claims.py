"""Inpatient and outpatient claims: stays, births, nursing, dialysis, infusions, injuries."""

from __future__ import annotations

from typing import Final

from etl.synth import sample_codes as codes
from etl.synth.claim_drafts import Claim, Draft, Encounter
from etl.synth.directory import MEDICAL_PAYERS
from etl.synth.sample_codes import BilledService, Stay
from etl.synth.seeded_random import iso, year_of

_POA: Final = ("Y", "Y", "Y", "N", "U", "W", "1")
_ANCILLARY: Final = (
    ("0270", 18400),
    ("0305", 6700),
    ("0324", 31800),
    ("0730", 12500),
    ("0260", 9900),
)
"""(NUBC revenue code, cents) of what a stay is billed for beside room, drugs and laboratory."""
_ONCE: Final = "1"
"""NUBC frequency of a bill: from admission to discharge."""
_HEADER_ONLY: Final = 450
"""Thousandths of institutional claims that state amounts on the header alone."""


def stay(visit: Encounter, case: Stay) -> Claim | None:
    """Return a stay in hospital of several days."""
    days = visit.life.dice.between(*case.days)
    if visit.life.person.death is not None:
        days = min(days, visit.life.person.death - visit.day)
    draft = _admitted(visit, "inpatient", "hospital", visit.day + max(days, 0), "11")
    header, dice = draft.header, draft.dice
    header["admission_type"], header["point_of_origin"] = case.priority, case.origin
    died = visit.life.person.death == draft.end
    header["discharge_status"] = "20" if died else dice.pick(("01", "01", "06", "03"))
    _group(draft, case)
    nights = str(max(1, days))
    draft.line(
        None, case.cents * max(1, days), revenue_code="0120", units=nights, allowed_units=nights
    )
    draft.line(
        None, 42000 * max(1, days), revenue_code="0250", units="1", service_text="drugs given"
    )
    draft.line(
        codes.LAB_PANEL, codes.LAB_PANEL.cents * 2, revenue_code=codes.LAB_PANEL.revenue, units="2"
    )
    for revenue, cents in _ANCILLARY[: dice.between(1, len(_ANCILLARY))]:
        draft.line(None, cents, revenue_code=revenue, units="1")
    if case.operation:
        draft.line(
            case.operation,
            case.operation.cents,
            min(visit.day + 1, draft.end),
            revenue_code=case.operation.revenue,
            units="1",
        )
    _stay_diagnoses(draft, case)
    for place, code in enumerate(case.procedures):
        draft.add(
            "claim_procedure",
            code=code,
            type=("principal", "other", "secondary")[min(place, 2)],
            procedure_date=iso(min(visit.day + place, draft.end)),
            **({"icd_version": "10"} if dice.chance(300) else {}),
        )
    _stay_team(draft, case)
    if case.priority == "3":
        draft.add("claim_note", text="This stay was agreed on beforehand.")
    return draft.close(copay=0, on_lines=not dice.chance(_HEADER_ONLY))


def _admitted(visit: Encounter, claim_type: str, role: str, end: int, bill: str) -> Draft:
    draft = Draft(visit, claim_type, visit.life.place(role))
    draft.until(end)
    header = draft.header
    header["service_facility_id"] = header["billing_provider_id"]
    header["admission_date"] = iso(visit.day)
    header["discharge_date"] = iso(end)
    _bill(draft, bill)
    return draft


def _bill(draft: Draft, bill: str) -> None:
    """State the type of bill whole, or as its three parts (MapIDs 17, 114 to 116)."""
    header, dice = draft.header, draft.dice
    if dice.chance(800):
        header["type_of_bill"] = bill + _ONCE
    else:
        header["bill_facility_type"] = bill[0]
        header["bill_classification"] = bill[1]
        header["bill_frequency"] = _ONCE
    header["patient_account_number"] = f"PAT-{dice.below(10_000_000):07d}"
    header["medical_record_number"] = f"{draft.life.number:09d}"


def _group(draft: Draft, case: Stay) -> None:
    """State the DRG with its version: the federal year less 1983 (MapIDs 33, 32, 113)."""
    header, dice = draft.header, draft.dice
    year = year_of(draft.end)
    version = year - 1983 + (iso(draft.end)[5:] >= "10-01")
    header["drg_version"] = str(version)
    if draft.visit.cover.plan.payer == MEDICAL_PAYERS[2] or dice.chance(250):
        header["drg_code"], header["drg_system"] = case.apr_drg, "APR-DRG"
    else:
        header["drg_code"] = case.ms_drg
        if dice.chance(500):
            header["drg_system"] = "MS-DRG"


def _stay_diagnoses(draft: Draft, case: Stay) -> None:
    draft.diagnosis(case.admitting, "admitting")
    for place, code in enumerate(case.diagnosis):
        draft.diagnosis(
            code,
            "principal" if place == 0 else "other",
            present_on_admission="Y" if place == 0 else draft.dice.pick(_POA),
        )
    for code in case.external:
        draft.diagnosis(code, "externalcauseofinjury", present_on_admission="Y")


def _stay_team(draft: Draft, case: Stay) -> None:
    life, dice = draft.life, draft.dice
    draft.care("attending", life.doctor("hospitalist"))
    if case.operation:
        operator = "obstetrician" if case is codes.DELIVERY else "surgeon"
        draft.care("operating", life.doctor(operator))
        if dice.chance(400) or case is codes.KNEE:
            draft.care("otheroperating", life.doctor("surgeon"))
    if dice.chance(400):
        draft.care("referring", life.doctor("primary"))
    if dice.chance(200):
        draft.care("pcp" if dice.chance(300) else "primary", life.doctor("primary"))


def newborn(visit: Encounter) -> Claim | None:
    """Return the stay of a member born on its first day: priority 4, origin 5 or 6."""
    case = codes.NEWBORN
    days = visit.life.dice.between(*case.days)
    draft = _admitted(visit, "inpatient", "hospital", visit.day + days, "11")
    header, dice = draft.header, draft.dice
    header["admission_type"] = case.priority
    header["point_of_origin"] = case.origin if dice.chance(900) else "6"
    header["discharge_status"] = "01"
    _group(draft, case)
    draft.line(None, case.cents * days, revenue_code="0171", units=str(days))
    draft.line(None, 12000, revenue_code="0300", units="3")
    _stay_diagnoses(draft, case)
    draft.add(
        "claim_procedure", code=case.procedures[0], type="principal", procedure_date=iso(visit.day)
    )
    draft.care("attending", draft.life.doctor("pediatrician"))
    return draft.close(copay=0, on_lines=dice.chance(500))


def old_stay(visit: Encounter) -> Claim | None:
    """Return a stay of the ICD-9 days (services before 2015-10-01)."""
    draft = _admitted(visit, "inpatient", "hospital", visit.day + 2, "11")
    header = draft.header
    header["admission_type"], header["point_of_origin"] = "1", "1"
    header["discharge_status"] = "01"
    header["drg_code"], header["drg_version"] = codes.APPENDIX.ms_drg, "32"
    draft.line(None, 2 * 270000, revenue_code="0120", units="2")
    draft.line(None, 880000, revenue_code="0360", units="1")
    draft.diagnosis(codes.OLD_DIAGNOSES[0], "admitting", icd_version="9")
    for place, code in enumerate(codes.OLD_DIAGNOSES):
        draft.diagnosis(
            code,
            "principal" if place == 0 else "other",
            icd_version="9",
            present_on_admission="Y",
        )
    for place, code in enumerate(codes.OLD_PROCEDURES):
        draft.add(
            "claim_procedure",
            code=code,
            icd_version="9",
            type="principal" if place == 0 else "other",
            procedure_date=iso(visit.day),
        )
    draft.care("attending", draft.life.doctor("hospitalist"))
    draft.care("operating", draft.life.doctor("surgeon"))
    return draft.close(copay=0)


def nursing(visit: Encounter) -> Claim | None:
    """Return weeks in a nursing home, billed by HIPPS code."""
    days = visit.life.dice.between(12, 28)
    draft = _admitted(visit, "inpatient", "nursing", visit.day + days, "21")
    header = draft.header
    header["admission_type"], header["point_of_origin"] = "3", "4"
    header["discharge_status"] = "01"
    service = codes.NURSING_HIPPS
    draft.line(
        service,
        service.cents * days,
        revenue_code=service.revenue,
        service_code_system="HIPPS",
        units=str(days),
        service_to_date=iso(draft.end),
    )
    draft.line(codes.THERAPY, codes.THERAPY.cents * 10, revenue_code="0420", units="10")
    draft.diagnosis("S72.001D", "admitting")
    draft.diagnosis("S72.001D", "principal", present_on_admission="1")
    draft.diagnosis("I10", "other", present_on_admission="Y")
    draft.care("attending", draft.life.doctor("primary"))
    return draft.close(copay=0, on_lines=draft.dice.chance(500))


def _outpatient(visit: Encounter, role: str, bill: str) -> Draft:
    draft = Draft(visit, "outpatient", visit.life.place(role))
    draft.header["service_facility_id"] = draft.header["billing_provider_id"]
    _bill(draft, bill)
    return draft


def _hospital_line(draft: Draft, service: BilledService, count: int = 1, **cells: str) -> None:
    if draft.dice.chance(300) and "service_code_system" not in cells:
        letter = not service.code[0].isdigit()
        cells["service_code_system"] = "HCPCS" if letter else "CPT"
    draft.line(
        service,
        service.cents * count,
        revenue_code=service.revenue,
        units=str(count),
        allowed_units=str(count),
        **cells,
    )


def injury(visit: Encounter) -> Claim | None:
    """Return a visit to the emergency room, with its external cause and the reason for visit."""
    dice = visit.life.dice
    draft = _outpatient(visit, "hospital", "13")
    header = draft.header
    header["admission_type"], header["point_of_origin"] = "1", "1"
    header["discharge_status"] = "01"
    (harm, reason), cause, activity, image = dice.pick(codes.INJURIES)
    _hospital_line(draft, dice.pick(codes.EMERGENCY_VISITS))
    _hospital_line(draft, image)
    for service in (codes.BLOOD_DRAW, codes.BLOOD_COUNT, codes.LAB_PANEL):
        if dice.chance(500):
            _hospital_line(draft, service)
    if dice.chance(500):
        _hospital_line(draft, codes.INJECTION, 2)
    if dice.chance(300):
        _hospital_line(draft, codes.SPLINT)
    draft.diagnosis(reason, "patientreasonforvisit")
    draft.diagnosis(harm, "principal")
    draft.diagnosis(reason, "other")
    draft.diagnosis(cause, "externalcauseofinjury")
    draft.diagnosis(activity, "externalcauseofinjury")
    draft.care("attending", draft.life.doctor("emergency"))
    draft.care("rendering", draft.life.doctor("radiologist"), line_numbers="2")
    return draft.close(copay=15000, on_lines=not dice.chance(_HEADER_ONLY))


def dialysis(visit: Encounter) -> Claim | None:
    """Return one session of dialysis."""
    dice = visit.life.dice
    draft = _outpatient(visit, "dialysis", "72")
    _hospital_line(draft, codes.DIALYSIS)
    if dice.chance(400):
        _hospital_line(draft, codes.DIALYSIS_DRUG, dice.between(5, 40))
    for place, code in enumerate(codes.DIALYSIS_DIAGNOSES[: dice.between(2, 3)]):
        draft.diagnosis(code, "principal" if place == 0 else "other")
    draft.care("attending", draft.life.doctor("nephrologist"))
    return draft.close(copay=0, on_lines=not dice.chance(_HEADER_ONLY))


def infusion(visit: Encounter) -> Claim | None:
    """Return a day of chemotherapy, the drug's NDC beside its HCPCS code."""
    draft = _outpatient(visit, "hospital", "13")
    ndc, quantity, unit = codes.INFUSION_NDC
    for service in codes.CHEMO_SERVICES:
        cells = {"ndc": ndc, "ndc_quantity": quantity, "ndc_unit": unit}
        is_drug = service.code.startswith("J")
        _hospital_line(draft, service, 2, **(cells if is_drug else {}))
    for place, code in enumerate(codes.CHEMO_DIAGNOSES):
        draft.diagnosis(code, "principal" if place == 0 else "other", line_numbers="1;2;3")
    draft.diagnosis("Z51.11", "patientreasonforvisit")
    draft.care("attending", draft.life.doctor("oncologist"))
    draft.care("referring", draft.life.doctor("primary"))
    return draft.close(copay=0)


def laboratory(visit: Encounter) -> Claim | None:
    """Return blood tests, billed by a laboratory's hospital."""
    draft = _outpatient(visit, "laboratory", "14")
    for service in (codes.BLOOD_DRAW, codes.LAB_PANEL, codes.BLOOD_COUNT, codes.SUGAR_TEST):
        _hospital_line(draft, service)
    draft.diagnosis(codes.CHECK_DIAGNOSES["adult"], "principal")
    draft.care("referring", draft.life.doctor("primary"))
    return draft.close(copay=0, on_lines=not draft.dice.chance(_HEADER_ONLY))


def home_health(visit: Encounter) -> Claim | None:
    """Return a month of nurses at home, billed by HIPPS code."""
    draft = _outpatient(visit, "homecare", "32")
    draft.until(visit.day + 29)
    service = codes.HOME_HIPPS
    draft.line(
        service,
        service.cents,
        revenue_code=service.revenue,
        service_code_system="HIPPS",
        units="1",
        service_to_date=iso(draft.end),
    )
    for week in range(4):
        draft.line(
            codes.NURSE_AT_HOME,
            codes.NURSE_AT_HOME.cents,
            visit.day + 7 * week,
            revenue_code=codes.NURSE_AT_HOME.revenue,
            units="4",
            modifier_1="CG",
        )
    draft.diagnosis("Z48.812", "principal")
    draft.diagnosis("I10", "other")
    draft.care("attending", draft.life.doctor("primary"))
    return draft.close(copay=0)
