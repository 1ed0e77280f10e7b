"""Small resources that conform, written by hand: one member, one coverage, a claim of each kind."""

import copy
from typing import Any

Json = dict[str, Any]

CANONICAL = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"
C4BB = "http://hl7.org/fhir/us/carin-bb/CodeSystem/"
THO = "http://terminology.hl7.org/CodeSystem/"
NPI = "http://hl7.org/fhir/sid/us-npi"
NUBC = "https://www.nubc.org/CodeSystem/"
CPT = "http://www.ama-assn.org/go/cpt"
PLACE = "https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set"
WHEN = "2024-03-01T00:00:00Z"


def concept(system: str, code: str, version: str | None = None) -> Json:
    coding = {"system": system, "code": code}
    if version:
        coding["version"] = version
    return {"coding": [coding]}


def meta(profile: str) -> Json:
    return {"lastUpdated": WHEN, "profile": [f"{CANONICAL}{profile}|2.2.0"]}


def reference(kind: str, logical_id: str) -> Json:
    return {"reference": f"{kind}/{logical_id}"}


def info(sequence: int, kind: str, **rest: Any) -> Json:
    return {
        "sequence": sequence,
        "category": concept(f"{C4BB}C4BBSupportingInfoType", kind),
        **rest,
    }


def amount(code: str, value: float) -> Json:
    system = f"{THO}adjudication" if code == "submitted" else f"{C4BB}C4BBAdjudication"
    category = concept(system, code, "1.0.1" if code == "submitted" else None)
    return {"category": category, "amount": {"value": value, "currency": "USD"}}


def status(kind: str, code: str) -> Json:
    return {
        "category": concept(f"{C4BB}C4BBAdjudicationDiscriminator", kind),
        "reason": concept(f"{C4BB}C4BBPayerAdjudicationStatus", code),
    }


def patient() -> Json:
    return {
        "resourceType": "Patient",
        "id": "member",
        "meta": meta("C4BB-Patient"),
        "identifier": [
            {
                "type": concept(f"{THO}v2-0203", "MB", "5.0.0"),
                "system": "https://payer.example.org/member",
                "value": "M1",
            }
        ],
        "name": [{"family": "Okafor", "given": ["Zoë"]}],
        "gender": "female",
        "birthDate": "1980-02-29",
        "address": [{"line": ["1 Main St"], "city": "Springfield", "state": "IL"}],
    }


def coverage() -> Json:
    return {
        "resourceType": "Coverage",
        "id": "coverage",
        "meta": meta("C4BB-Coverage"),
        "identifier": [{"type": concept(f"{THO}v2-0203", "MB"), "value": "M1"}],
        "status": "active",
        "subscriberId": "S1",
        "beneficiary": reference("Patient", "member"),
        "relationship": concept(f"{THO}subscriber-relationship", "self"),
        "period": {"start": "2024-01-01"},
        "payor": [reference("Organization", "payer")],
        "class": [
            {"type": concept(f"{THO}coverage-class", "group"), "value": "G1", "name": "Group"},
            {"type": concept(f"{THO}coverage-class", "plan"), "value": "P1", "name": "Plan"},
        ],
    }


def organization(logical_id: str) -> Json:
    return {
        "resourceType": "Organization",
        "id": logical_id,
        "meta": meta("C4BB-Organization"),
        "identifier": [{"system": NPI, "value": "1234567893"}],
        "active": True,
        "name": "Example Org",
    }


def practitioner() -> Json:
    return {
        "resourceType": "Practitioner",
        "id": "doctor",
        "meta": meta("C4BB-Practitioner"),
        "identifier": [{"system": NPI, "value": "1234567893"}],
        "name": [{"family": "Nguyễn"}],
    }


def related_person() -> Json:
    return {
        "resourceType": "RelatedPerson",
        "id": "subscriber",
        "meta": meta("C4BB-RelatedPerson"),
        "active": True,
        "patient": reference("Patient", "member"),
        "relationship": [concept(f"{THO}v3-RoleCode", "MTH")],
        "name": [{"family": "Okafor"}],
    }


def location() -> Json:
    profile = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-location|7.0.0"
    return {
        "resourceType": "Location",
        "id": "place",
        "meta": {"lastUpdated": WHEN, "profile": [profile]},
        "name": "Main pharmacy",
    }


def role() -> Json:
    profile = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-practitionerrole|7.0.0"
    return {
        "resourceType": "PractitionerRole",
        "id": "role",
        "meta": {"lastUpdated": WHEN, "profile": [profile]},
        "practitioner": reference("Practitioner", "doctor"),
        "organization": reference("Organization", "hospital"),
        "telecom": [{"system": "phone", "value": "555-0100"}],
    }


def claim(profile: str, kind: str, **rest: Any) -> Json:
    return {
        "resourceType": "ExplanationOfBenefit",
        "id": kind,
        "meta": meta(f"C4BB-ExplanationOfBenefit-{profile}"),
        "identifier": [
            {
                "type": concept(f"{C4BB}C4BBIdentifierType", "uc"),
                "system": "https://payer.example.org/claim",
                "value": "C1",
            }
        ],
        "status": "active",
        "type": concept(f"{THO}claim-type", kind, "1.0.1"),
        "use": "claim",
        "patient": reference("Patient", "member"),
        "billablePeriod": {"start": "2024-02-01", "end": "2024-02-03"},
        "created": "2024-02-10",
        "insurer": reference("Organization", "payer"),
        "provider": reference("Organization", "hospital"),
        "outcome": "complete",
        "insurance": [{"focal": True, "coverage": reference("Coverage", "coverage")}],
        "total": [amount("submitted", 100.5)],
        **rest,
    }


def inpatient() -> Json:
    return claim(
        "Inpatient-Institutional",
        "institutional",
        subType=concept(f"{C4BB}C4BBInstitutionalClaimSubType", "inpatient"),
        careTeam=[
            {
                "sequence": 1,
                "provider": reference("Practitioner", "doctor"),
                "role": concept(f"{C4BB}C4BBClaimCareTeamRole", "attending"),
            }
        ],
        supportingInfo=[
            info(1, "admissionperiod", timingPeriod={"start": "2024-02-01", "end": "2024-02-03"}),
            info(2, "clmrecvddate", timingDate="2024-02-05"),
            info(3, "typeofbill", code=concept(f"{NUBC}TypeOfBill", "0111")),
            info(4, "pointoforigin", code=concept(f"{NUBC}PointOfOrigin", "1")),
            info(5, "admtype", code=concept(f"{NUBC}PriorityTypeOfAdmitOrVisit", "3")),
            info(6, "discharge-status", code=concept(f"{NUBC}PatDischargeStatus", "01")),
        ],
        diagnosis=[
            {
                "sequence": 1,
                "diagnosisCodeableConcept": concept("http://hl7.org/fhir/sid/icd-10-cm", "A00.0"),
                "type": [concept(f"{THO}ex-diagnosistype", "principal", "1.0.1")],
            }
        ],
        item=[
            {
                "sequence": 1,
                "careTeamSequence": [1],
                "diagnosisSequence": [1],
                "revenue": concept(f"{NUBC}RevenueCodes", "0120"),
                "productOrService": concept(f"{THO}data-absent-reason", "not-applicable"),
                "servicedDate": "2024-02-01",
                "adjudication": [amount("submitted", 100.5), amount("noncovered", 0)],
            }
        ],
        adjudication=[
            status("billingnetworkstatus", "innetwork"),
            status("benefitpaymentstatus", "innetwork"),
        ],
    )


def pharmacy() -> Json:
    ncpdp = f"{THO}NCPDPDispensedAsWrittenOrProductSelectionCode"
    return claim(
        "Pharmacy",
        "pharmacy",
        supportingInfo=[
            info(1, "dayssupply", valueQuantity={"value": 30}),
            info(2, "dawcode", code=concept(ncpdp, "0")),
            info(3, "refillnum", valueQuantity={"value": 0}),
        ],
        item=[
            {
                "sequence": 1,
                "productOrService": concept("http://hl7.org/fhir/sid/ndc", "00002143301"),
                "servicedDate": "2024-02-01",
                "quantity": {"value": 1},
                "adjudication": [amount("submitted", 100.5)],
            }
        ],
        adjudication=[status("benefitpaymentstatus", "innetwork")],
    )


def professional() -> Json:
    return claim(
        "Professional-NonClinician",
        "professional",
        diagnosis=[
            {
                "sequence": 1,
                "diagnosisCodeableConcept": concept("http://hl7.org/fhir/sid/icd-10-cm", "J45.909"),
                "type": [concept(f"{THO}ex-diagnosistype", "principal", "1.0.1")],
            }
        ],
        item=[
            {
                "sequence": 1,
                "diagnosisSequence": [1],
                "productOrService": concept(CPT, "99213"),
                "servicedPeriod": {"start": "2024-02-01", "end": "2024-02-01"},
                "locationCodeableConcept": concept(PLACE, "11"),
                "adjudication": [
                    amount("submitted", 100.5),
                    status("benefitpaymentstatus", "innetwork"),
                ],
            }
        ],
    )


def oral() -> Json:
    tooth = f"{THO}ADAUniversalToothDesignationSystem"
    return claim(
        "Oral",
        "oral",
        supportingInfo=[info(1, "additionalbodysite", code=concept(tooth, "2"))],
        item=[
            {
                "sequence": 1,
                "informationSequence": [1],
                "productOrService": concept("http://www.ada.org/cdt", "D2140"),
                "servicedDate": "2024-02-01",
                "locationCodeableConcept": concept(PLACE, "11"),
                "bodySite": concept(tooth, "1"),
                "subSite": [concept(f"{THO}ADAToothSurfaceCodes", "M")],
                "adjudication": [
                    amount("submitted", 100.5),
                    status("benefitpaymentstatus", "innetwork"),
                ],
            }
        ],
        adjudication=[
            status("benefitpaymentstatus", "innetwork"),
            status("renderingnetworkstatus", "innetwork"),
        ],
    )


def population() -> list[Json]:
    """All of them; every reference among them resolves."""
    return [
        patient(),
        coverage(),
        related_person(),
        organization("payer"),
        organization("hospital"),
        practitioner(),
        location(),
        role(),
        inpatient(),
        pharmacy(),
        professional(),
        oral(),
    ]


def changed(resource: Json, *path: str | int, to: Any) -> Json:
    """A copy with one place changed."""
    made = copy.deepcopy(resource)
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return made


def without(resource: Json, *path: str | int) -> Json:
    """A copy with one place taken out."""
    made = copy.deepcopy(resource)
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return made
