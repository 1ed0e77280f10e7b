"""What Plan-Net's profiles stand on, and its folder does not define: facts of FHIR R4 4.0.1.

Four resources, three extensions and some small value sets, written down by hand from R4's pages.
"""

from __future__ import annotations

from typing import Any, Final

VERSIONS: Final = {"1.2.0": "plan-net-1.2.0", "1.1.0": "plan-net-1.1.0"}
"""Version of the guide -> its folder; the default first."""
ID: Final = "davinci-pdex-plan-net"
R4: Final = "http://hl7.org/fhir/StructureDefinition/"
_SETS: Final = "http://hl7.org/fhir/ValueSet/"

Json = dict[str, Any]
Row = tuple[Any, ...]


def _required(name: str) -> tuple[str, str]:
    return "required", f"{_SETS}{name}|4.0.1"


def _example(name: str) -> tuple[str, str]:
    return "example", f"{_SETS}{name}"


_DAYS: Final = _required("days-of-week")

# Each row: name, min, max, type, and (strength, value set) where R4 binds one.
R4_ELEMENTS: Final[dict[str, tuple[Row, ...]]] = {
    "Endpoint": (
        ("identifier", 0, "*", "Identifier"),
        ("status", 1, "1", "code", _required("endpoint-status")),
        ("connectionType", 1, "1", "Coding", ("extensible", f"{_SETS}endpoint-connection-type")),
        ("name", 0, "1", "string"),
        ("managingOrganization", 0, "1", "Reference(Organization)"),
        ("contact", 0, "*", "ContactPoint"),
        ("period", 0, "1", "Period"),
        ("payloadType", 1, "*", "CodeableConcept", _example("endpoint-payload-type")),
        ("payloadMimeType", 0, "*", "code", _required("mimetypes")),
        ("address", 1, "1", "url"),
        ("header", 0, "*", "string"),
    ),
    "HealthcareService": (
        ("identifier", 0, "*", "Identifier"),
        ("active", 0, "1", "boolean"),
        ("providedBy", 0, "1", "Reference(Organization)"),
        ("category", 0, "*", "CodeableConcept", _example("service-category")),
        ("type", 0, "*", "CodeableConcept", _example("service-type")),
        (
            "specialty",
            0,
            "*",
            "CodeableConcept",
            ("preferred", f"{_SETS}c80-practice-codes"),
        ),
        ("location", 0, "*", "Reference(Location)"),
        ("name", 0, "1", "string"),
        ("comment", 0, "1", "string"),
        ("extraDetails", 0, "1", "markdown"),
        ("photo", 0, "1", "Attachment"),
        ("telecom", 0, "*", "ContactPoint"),
        ("coverageArea", 0, "*", "Reference(Location)"),
        (
            "serviceProvisionCode",
            0,
            "*",
            "CodeableConcept",
            _example("service-provision-conditions"),
        ),
        ("eligibility", 0, "*", "BackboneElement"),
        ("eligibility.code", 0, "1", "CodeableConcept"),
        ("eligibility.comment", 0, "1", "markdown"),
        ("program", 0, "*", "CodeableConcept", _example("program")),
        ("characteristic", 0, "*", "CodeableConcept"),
        ("communication", 0, "*", "CodeableConcept", ("preferred", f"{_SETS}languages")),
        ("referralMethod", 0, "*", "CodeableConcept", _example("service-referral-method")),
        ("appointmentRequired", 0, "1", "boolean"),
        ("availableTime", 0, "*", "BackboneElement"),
        ("availableTime.daysOfWeek", 0, "*", "code", _DAYS),
        ("availableTime.allDay", 0, "1", "boolean"),
        ("availableTime.availableStartTime", 0, "1", "time"),
        ("availableTime.availableEndTime", 0, "1", "time"),
        ("notAvailable", 0, "*", "BackboneElement"),
        ("notAvailable.description", 1, "1", "string"),
        ("notAvailable.during", 0, "1", "Period"),
        ("availabilityExceptions", 0, "1", "string"),
        ("endpoint", 0, "*", "Reference(Endpoint)"),
    ),
    "InsurancePlan": (
        ("identifier", 0, "*", "Identifier"),
        ("status", 0, "1", "code", _required("publication-status")),
        ("type", 0, "*", "CodeableConcept"),
        ("name", 0, "1", "string"),
        ("alias", 0, "*", "string"),
        ("period", 0, "1", "Period"),
        ("ownedBy", 0, "1", "Reference(Organization)"),
        ("administeredBy", 0, "1", "Reference(Organization)"),
        ("coverageArea", 0, "*", "Reference(Location)"),
        ("contact", 0, "*", "BackboneElement"),
        (
            "contact.purpose",
            0,
            "1",
            "CodeableConcept",
            ("extensible", f"{_SETS}contactentity-type"),
        ),
        ("contact.name", 0, "1", "HumanName"),
        ("contact.telecom", 0, "*", "ContactPoint"),
        ("contact.address", 0, "1", "Address"),
        ("endpoint", 0, "*", "Reference(Endpoint)"),
        ("network", 0, "*", "Reference(Organization)"),
        ("coverage", 0, "*", "BackboneElement"),
        ("coverage.type", 1, "1", "CodeableConcept"),
        ("coverage.network", 0, "*", "Reference(Organization)"),
        ("coverage.benefit", 1, "*", "BackboneElement"),
        ("coverage.benefit.type", 1, "1", "CodeableConcept"),
        ("coverage.benefit.requirement", 0, "1", "string"),
        ("coverage.benefit.limit", 0, "*", "BackboneElement"),
        ("coverage.benefit.limit.value", 0, "1", "Quantity"),
        ("coverage.benefit.limit.code", 0, "1", "CodeableConcept"),
        ("plan", 0, "*", "BackboneElement"),
        ("plan.identifier", 0, "*", "Identifier"),
        ("plan.type", 0, "1", "CodeableConcept"),
        ("plan.coverageArea", 0, "*", "Reference(Location)"),
        ("plan.network", 0, "*", "Reference(Organization)"),
        ("plan.generalCost", 0, "*", "BackboneElement"),
        ("plan.generalCost.type", 0, "1", "CodeableConcept"),
        ("plan.generalCost.groupSize", 0, "1", "positiveInt"),
        ("plan.generalCost.cost", 0, "1", "Money"),
        ("plan.generalCost.comment", 0, "1", "string"),
        ("plan.specificCost", 0, "*", "BackboneElement"),
        ("plan.specificCost.category", 1, "1", "CodeableConcept"),
        ("plan.specificCost.benefit", 0, "*", "BackboneElement"),
        ("plan.specificCost.benefit.type", 1, "1", "CodeableConcept"),
        ("plan.specificCost.benefit.cost", 0, "*", "BackboneElement"),
        ("plan.specificCost.benefit.cost.type", 1, "1", "CodeableConcept"),
        (
            "plan.specificCost.benefit.cost.applicability",
            0,
            "1",
            "CodeableConcept",
            _required("insuranceplan-applicability"),
        ),
        ("plan.specificCost.benefit.cost.qualifiers", 0, "*", "CodeableConcept"),
        ("plan.specificCost.benefit.cost.value", 0, "1", "Quantity"),
    ),
    "OrganizationAffiliation": (
        ("identifier", 0, "*", "Identifier"),
        ("active", 0, "1", "boolean"),
        ("period", 0, "1", "Period"),
        ("organization", 0, "1", "Reference(Organization)"),
        ("participatingOrganization", 0, "1", "Reference(Organization)"),
        ("network", 0, "*", "Reference(Organization)"),
        ("code", 0, "*", "CodeableConcept", _example("organization-role")),
        (
            "specialty",
            0,
            "*",
            "CodeableConcept",
            ("preferred", f"{_SETS}c80-practice-codes"),
        ),
        ("location", 0, "*", "Reference(Location)"),
        ("healthcareService", 0, "*", "Reference(HealthcareService)"),
        ("telecom", 0, "*", "ContactPoint"),
        ("endpoint", 0, "*", "Reference(Endpoint)"),
    ),
}

VALUE_SETS: Final[dict[str, dict[str, str]]] = {
    f"{_SETS}endpoint-status": {
        "http://hl7.org/fhir/endpoint-status": ("active suspended error off entered-in-error test")
    },
    f"{_SETS}publication-status": {
        "http://hl7.org/fhir/publication-status": "draft active retired unknown"
    },
    f"{_SETS}insuranceplan-applicability": {
        "http://terminology.hl7.org/CodeSystem/applicability": "in-network out-of-network other"
    },
    f"{_SETS}mimetypes": {"urn:ietf:bcp:13": ""},
}
"""Small value sets of R4: value set -> system -> codes; no codes: any of it."""


def _extension(name: str, *elements: Json) -> Json:
    url = R4 + name
    slicing = {"by": [["value", "url"]], "rules": "open"}
    return {
        "name": name,
        "url": url,
        "version": "4.0.1",
        "type": "Extension",
        "base": R4 + "Extension",
        "invariants": {},
        "elements": [
            {"id": "Extension", "min": 0, "max": "*"},
            {"id": "Extension.id", "min": 0, "max": "1", "types": ["string"]},
            {
                "id": "Extension.extension",
                "min": 0,
                "max": "*",
                "types": ["Extension"],
                "slicing": slicing,
            },
            *elements,
            {"id": "Extension.url", "min": 1, "max": "1", "types": ["uri"], "fixed": url},
        ],
    }


def _part(name: str, kind: str) -> list[Json]:
    at = f"Extension.extension:{name}"
    return [
        {"id": at, "min": 1, "max": "1", "types": ["Extension"]},
        {"id": f"{at}.extension", "min": 0, "max": "0", "types": ["Extension"]},
        {"id": f"{at}.url", "min": 1, "max": "1", "types": ["uri"], "fixed": name},
        {"id": f"{at}.value[x]", "min": 1, "max": "1", "types": [kind]},
    ]


def _value(kind: str, low: int = 1) -> Json:
    return {"id": "Extension.value[x]", "min": low, "max": "1", "types": [kind]}


EXTENSIONS: Final = (
    _extension("geolocation", *_part("latitude", "decimal"), *_part("longitude", "decimal")),
    _extension("location-boundary-geojson", _value("Attachment")),
    _extension("organization-period", _value("Period")),
)
"""Extensions of R4 that Plan-Net's profiles use."""
