"""PractitionerRole and Location: facts of FHIR R4 and US Core, written down by hand.

No profile of the guide is about them and its folder does not define them, yet a directory needs
them. Sources: FHIR R4 4.0.1 (the two resources, days-of-week, location-status, location-mode) and
US Core 7.0.0 (us-core-practitionerrole, us-core-location).
"""

from __future__ import annotations

import re
from typing import Any, Final

R4: Final = "http://hl7.org/fhir/StructureDefinition/"
US_CORE: Final = "http://hl7.org/fhir/us/core/"

Json = dict[str, Any]

# Each row: name, min, max, type, and (strength, value set) where R4 binds one.
_DAYS: Final = ("required", "http://hl7.org/fhir/ValueSet/days-of-week|4.0.1")
_RESOURCE: Final[tuple[tuple[Any, ...], ...]] = (
    ("id", 0, "1", "id"),
    ("meta", 0, "1", "Meta"),
    ("implicitRules", 0, "1", "uri"),
    ("language", 0, "1", "code", ("preferred", "http://hl7.org/fhir/ValueSet/languages")),
    ("text", 0, "1", "Narrative"),
    ("contained", 0, "*", "Resource"),
    ("extension", 0, "*", "Extension"),
    ("modifierExtension", 0, "*", "Extension"),
)
_BACKBONE: Final[tuple[tuple[Any, ...], ...]] = (
    ("id", 0, "1", "string"),
    ("extension", 0, "*", "Extension"),
    ("modifierExtension", 0, "*", "Extension"),
)
R4_ELEMENTS: Final[dict[str, tuple[tuple[Any, ...], ...]]] = {
    "PractitionerRole": (
        ("identifier", 0, "*", "Identifier"),
        ("active", 0, "1", "boolean"),
        ("period", 0, "1", "Period"),
        ("practitioner", 0, "1", "Reference(Practitioner)"),
        ("organization", 0, "1", "Reference(Organization)"),
        (
            "code",
            0,
            "*",
            "CodeableConcept",
            ("example", "http://hl7.org/fhir/ValueSet/practitioner-role"),
        ),
        (
            "specialty",
            0,
            "*",
            "CodeableConcept",
            ("preferred", "http://hl7.org/fhir/ValueSet/c80-practice-codes"),
        ),
        ("location", 0, "*", "Reference(Location)"),
        ("healthcareService", 0, "*", "Reference(HealthcareService)"),
        ("telecom", 0, "*", "ContactPoint"),
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
    "Location": (
        ("identifier", 0, "*", "Identifier"),
        (
            "status",
            0,
            "1",
            "code",
            ("required", "http://hl7.org/fhir/ValueSet/location-status|4.0.1"),
        ),
        (
            "operationalStatus",
            0,
            "1",
            "Coding",
            ("preferred", "http://terminology.hl7.org/ValueSet/v2-0116"),
        ),
        ("name", 0, "1", "string"),
        ("alias", 0, "*", "string"),
        ("description", 0, "1", "string"),
        ("mode", 0, "1", "code", ("required", "http://hl7.org/fhir/ValueSet/location-mode|4.0.1")),
        (
            "type",
            0,
            "*",
            "CodeableConcept",
            (
                "extensible",
                "http://terminology.hl7.org/ValueSet/v3-ServiceDeliveryLocationRoleType",
            ),
        ),
        ("telecom", 0, "*", "ContactPoint"),
        ("address", 0, "1", "Address"),
        (
            "physicalType",
            0,
            "1",
            "CodeableConcept",
            ("example", "http://hl7.org/fhir/ValueSet/location-physical-type"),
        ),
        ("position", 0, "1", "BackboneElement"),
        ("position.longitude", 1, "1", "decimal"),
        ("position.latitude", 1, "1", "decimal"),
        ("position.altitude", 0, "1", "decimal"),
        ("managingOrganization", 0, "1", "Reference(Organization)"),
        ("partOf", 0, "1", "Reference(Location)"),
        ("hoursOfOperation", 0, "*", "BackboneElement"),
        ("hoursOfOperation.daysOfWeek", 0, "*", "code", _DAYS),
        ("hoursOfOperation.allDay", 0, "1", "boolean"),
        ("hoursOfOperation.openingTime", 0, "1", "time"),
        ("hoursOfOperation.closingTime", 0, "1", "time"),
        ("availabilityExceptions", 0, "1", "string"),
        ("endpoint", 0, "*", "Reference(Endpoint)"),
    ),
}

# What US Core 7.0.0 adds to them. The two invariants of PractitionerRole are given as US Core 9.0.0
# corrects them: up to 8.0 they are written `telecom or endpoint`, which no list of two can satisfy.
US_CORE_PROFILES: Final[dict[str, Json]] = {
    "us-core-practitionerrole": {
        "type": "PractitionerRole",
        "must_support": "practitioner organization code specialty location telecom endpoint",
        "elements": {
            "telecom.system": {
                "min": 1,
                "max": "1",
                "types": ["code"],
                "must_support": True,
                "binding": {
                    "strength": "required",
                    "value_set": "http://hl7.org/fhir/ValueSet/contact-point-system|4.0.1",
                },
            },
            "telecom.value": {"min": 1, "max": "1", "types": ["string"], "must_support": True},
        },
        "invariants": {
            "pd-1": "telecom.exists() or endpoint.exists()",
            "us-core-13": (
                "practitioner.exists() or organization.exists() or healthcareService.exists()"
                " or location.exists()"
            ),
        },
    },
    "us-core-location": {
        "type": "Location",
        "must_support": "identifier status name type telecom address managingOrganization",
        "min": {"name": 1},
        "elements": {
            "address.line": {"min": 0, "max": "*", "types": ["string"], "must_support": True},
            "address.city": {"min": 0, "max": "1", "types": ["string"], "must_support": True},
            "address.state": {
                "min": 0,
                "max": "1",
                "types": ["string"],
                "must_support": True,
                "binding": {
                    "strength": "extensible",
                    "value_set": "http://hl7.org/fhir/us/core/ValueSet/us-core-usps-state",
                },
            },
            "address.postalCode": {"min": 0, "max": "1", "types": ["string"], "must_support": True},
        },
        "invariants": {},
    },
}

_RACE: Final = "urn:oid:2.16.840.1.113883.6.238"
_NULL: Final = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
_ISO_4217: Final = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN
BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD
FKP GBP GEL GGP GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS IMP INR IQD IRR ISK JEP JMD JOD
JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR
MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
SAR SBD SCR SDG SEK SGD SHP SLL SOS SPL SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TVD TWD
TZS UAH UGX USD USN UYI UYU UZS VEF VND VUV WST XAF XAG XAU XBA XBB XBC XBD XCD XDR XOF XPD XPF XPT
XSU XTS XUA XXX YER ZAR ZMW ZWL
"""

VALUE_SETS: Final[dict[str, dict[str, str]]] = {
    "http://hl7.org/fhir/ValueSet/days-of-week": {
        "http://hl7.org/fhir/days-of-week": "mon tue wed thu fri sat sun"
    },
    "http://hl7.org/fhir/ValueSet/location-status": {
        "http://hl7.org/fhir/location-status": "active suspended inactive"
    },
    "http://hl7.org/fhir/ValueSet/location-mode": {
        "http://hl7.org/fhir/location-mode": "instance kind"
    },
    "http://hl7.org/fhir/ValueSet/narrative-status": {
        "http://hl7.org/fhir/narrative-status": "generated extensions additional empty"
    },
    "http://hl7.org/fhir/ValueSet/units-of-time": {
        "http://unitsofmeasure.org": "s min h d wk mo a"
    },
    "http://hl7.org/fhir/ValueSet/currencies": {"urn:iso:std:iso:4217": _ISO_4217},
    # VSAC, Healthcare Provider Taxonomy: all of NUCC's codes, which are not here.
    "http://cts.nlm.nih.gov/fhir/ValueSet/2.16.840.1.114222.4.11.1066": {
        "http://nucc.org/provider-taxonomy": ""
    },
    f"{US_CORE}ValueSet/omb-race-category": {
        _RACE: "1002-5 2028-9 2054-5 2076-8 2106-3",
        _NULL: "UNK ASKU",
    },
    f"{US_CORE}ValueSet/omb-ethnicity-category": {_RACE: "2135-2 2186-5", _NULL: "UNK ASKU"},
    f"{US_CORE}ValueSet/detailed-race": {_RACE: "", _NULL: ""},
    f"{US_CORE}ValueSet/detailed-ethnicity": {_RACE: "", _NULL: ""},
}
"""Small value sets of R4 and US Core 7.0.0: value set -> system -> codes; no codes: any of it."""


def _row_facts(type_name: str, row: tuple[Any, ...]) -> Json:
    name, low, high, kind, *binding = row
    target = re.fullmatch(r"Reference\((\w+)\)", kind)
    fact: Json = {"id": f"{type_name}.{name}", "min": low, "max": high}
    fact["types"] = [{"code": "Reference", "targets": [R4 + target[1]]} if target else kind]
    if binding:
        fact["binding"] = {"strength": binding[0][0], "value_set": binding[0][1]}
    if kind == "Extension":
        fact["slicing"] = {"by": [["value", "url"]], "rules": "open"}
    return fact


def directory_type(name: str, rows: tuple[tuple[Any, ...], ...], like: Json) -> Json:
    """Return a resource of some rows; what every resource has is taken from `like`."""
    shared = {"dom-2", "dom-3", "dom-4", "dom-5", "dom-6"}
    root = {"id": name, "min": 0, "max": "*", "invariants": sorted(shared)}
    elements = [root, *(_row_facts(name, row) for row in _RESOURCE)]
    for row in rows:
        elements.append(_row_facts(name, row))
        if row[3] == "BackboneElement":
            elements += [_row_facts(name, (f"{row[0]}.{r[0]}", *r[1:])) for r in _BACKBONE]
    invariants = {k: v for k, v in like["invariants"].items() if k in shared}
    return {
        "name": name,
        "url": R4 + name,
        "version": "4.0.1",
        "type": name,
        "base": R4 + "DomainResource",
        "invariants": dict(sorted(invariants.items())),
        "elements": elements,
    }


def us_core_directory(name: str, base: Json) -> Json:
    """Return the US Core profile of PractitionerRole or Location."""
    extra = US_CORE_PROFILES[name]
    must = {f"{extra['type']}.{n}" for n in extra["must_support"].split()}
    low = {f"{extra['type']}.{n}": v for n, v in extra.get("min", {}).items()}
    elements: list[Json] = []
    for element in base["elements"]:
        fact = dict(element)
        if fact["id"] in low:
            fact["min"] = low[fact["id"]]
        if fact["id"] in must:
            fact["must_support"] = True
        if fact["id"] == extra["type"]:
            fact["invariants"] = [*fact["invariants"], *extra["invariants"]]
        elements.append(fact)
        for child, said in extra["elements"].items():
            if fact["id"] == f"{extra['type']}.{child.split('.')[0]}":
                elements.append({"id": f"{extra['type']}.{child}", **said})
    invariants = dict(base["invariants"])
    for key, expression in extra["invariants"].items():
        invariants[key] = {"severity": "error", "expression": expression}
    return {
        **base,
        "name": name,
        "url": f"{US_CORE}StructureDefinition/{name}",
        "version": "7.0.0",
        "base": base["url"],
        "invariants": dict(sorted(invariants.items())),
        "elements": elements,
    }
