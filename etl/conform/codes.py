"""Check codes: value-set bindings, the guide's own code systems, and the shapes of other codes.

A value set is enforced as far as its codes are known (`ValueSet.status`). If it includes a licensed
or external code system, only the system and the shape of the code are checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from etl.conform.findings import ConformanceRule, IssueSeverity, error
from etl.profiles.guides import Guide
from etl.profiles.shapes import CONCEPT_TYPES, TEXT_TYPES
from etl.profiles.structures import Binding
from etl.profiles.value_sets import ValueSet, code_systems, value_set

Verdict = Callable[[Any], "ConformanceRule | None"]
"""Checks a value; returns the rule it breaks, or None."""


_CPT_OR_MODIFIER: Final = r"\d{4}[0-9A-Z]|[0-9A-Z]{2}"
_THO: Final = "http://terminology.hl7.org/CodeSystem/"
_NUBC: Final = "https://www.nubc.org/CodeSystem/"

SHAPES: Final = {
    "http://hl7.org/fhir/sid/ndc": (r"\d{11}", "11 digits"),
    "http://hl7.org/fhir/sid/icd-10-cm": (r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?", "as in A00.0"),
    "http://www.cms.gov/Medicare/Coding/ICD10": (r"[0-9A-HJ-NP-Z]{7}", "7 characters, no point"),
    "http://hl7.org/fhir/sid/icd-9-cm": (
        r"\d{2}(\.\d{1,2})?|(\d{3}|V\d{2}|E\d{3})(\.\d{1,2})?",
        "as in 001.0 or 01.23",
    ),
    "http://www.ama-assn.org/go/cpt": (_CPT_OR_MODIFIER, "5 characters, or 2 of a modifier"),
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": (
        r"[A-Z]\d{4}|[0-9A-Z]{2}",
        "a letter and 4 digits, or 2 characters of a modifier",
    ),
    "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/ProspMedicareFeeSvcPmtGen/"
    "HIPPSCodes": (r"[0-9A-Z]{5}", "5 characters"),
    "http://www.ada.org/cdt": (r"D\d{4}", "D and 4 digits"),
    "http://nucc.org/provider-taxonomy": (r"[0-9A-Z]{9}X", "10 characters, the last an X"),
    f"{_NUBC}RevenueCodes": (r"\d{4}", "4 digits"),
    f"{_NUBC}TypeOfBill": (r"0?\d{2}[0-9A-Z]", "3 or 4 characters"),
    f"{_NUBC}PatDischargeStatus": (r"\d{2}", "2 digits"),
    f"{_NUBC}PriorityTypeOfAdmitOrVisit": (r"\d", "1 digit"),
    f"{_NUBC}PointOfOrigin": (r"[0-9A-Z]", "1 character"),
    f"{_NUBC}PointOfOriginNewborn": (r"[0-9A-Z]", "1 character"),
    f"{_THO}NCPDPDispensedAsWrittenOrProductSelectionCode": (r"\d", "1 digit"),
    f"{_THO}NCPDPPrescriptionOriginCode": (r"\d", "1 digit"),
    f"{_THO}NCPDPCompoundCode": (r"\d", "1 digit"),
    f"{_THO}NCPDPBrandGenericIndicator": (r"\d", "1 digit"),
    f"{_THO}NCPDPRejectCode": (r"[0-9A-Z]{1,4}", "up to 4 characters"),
    f"{_THO}ADAAreaOralCavitySystem": (r"\d{2}", "2 digits"),
    "https://x12.org/codesystem.x12.org/ambulance-transport-reason-codes": (r"[A-Z]", "1 letter"),
    "https://x12.org/codes/claim-adjustment-reason-codes": (r"[A-Z]?\d{1,3}", "up to 3 digits"),
    "https://x12.org/codes/remittance-advice-remark-codes": (r"(M|MA|N)\d{1,3}", "as in N130"),
}
"""Code system -> regular expression of its codes, and its description.

Sources: the code systems' documentation; for NDC, the guide (11 digits). Codes of other systems
have no shape to check.
"""


def codings_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the codings of a CodeableConcept or Coding; none if it is malformed."""
    if type(value) is not dict:
        return
    codings = value.get("coding")
    if codings is None and ("code" in value or "system" in value):
        yield value
    elif type(codings) is list:
        yield from (coding for coding in codings if type(coding) is dict)


def member_of(values: ValueSet, value: Any) -> bool | None:
    """Return whether a concept is in a value set, as `memberOf`; None if unknown."""
    answers = {_is_coding_in(values, coding) for coding in codings_of(value)}
    if True in answers:
        return True
    return None if None in answers else False


def _is_coding_in(values: ValueSet, coding: dict[str, Any]) -> bool | None:
    system, code = coding.get("system"), coding.get("code")
    if type(code) is not str or type(system) is not str:
        return None if values.status == "unavailable" else False
    return values.includes(system, code)


def binding_verdict(where: str, binding: Binding, kind: str, guide: Guide) -> Verdict | None:
    """Build the check of a binding; None if nothing can be checked.

    Args:
        where: id of the element, for the message.
        binding: `preferred` and `example` ones are never checked.
        kind: FHIR type of the bound value.
        guide: source of the value sets.
    """
    if binding.strength not in {"required", "extensible"}:
        return None
    values = value_set(binding.value_set, guide)
    if values.status == "unavailable":
        return None
    required = binding.strength == "required"
    rule = ConformanceRule(
        f"binding-{binding.strength}",
        IssueSeverity.ERROR if required else IssueSeverity.WARNING,
        _binding_text(where, values, required=required),
    )
    if kind in CONCEPT_TYPES:
        return _concept_verdict(values, rule)
    if kind in TEXT_TYPES and values.status == "complete":
        codes = frozenset(code.code for code in values.codes)
        return lambda value: None if type(value) is not str or value in codes else rule
    return None


def _binding_text(where: str, values: ValueSet, *, required: bool) -> str:
    name = values.url.rpartition("/")[2]
    must = "must" if required else "should"
    if values.status == "complete":
        return f"{where} {must} have a code of the value set {name}."
    systems = ", ".join(sorted(values.systems))
    return f"{where} {must} have a code of the value set {name}, from a system such as {systems}."


def _concept_verdict(values: ValueSet, rule: ConformanceRule) -> Verdict:
    if values.status == "complete":
        pairs = frozenset((code.system, code.code) for code in values.codes)

        def closed(value: Any) -> ConformanceRule | None:
            for coding in codings_of(value):
                system, code = coding.get("system"), coding.get("code")
                if type(system) is str and type(code) is str and (system, code) in pairs:
                    return None
            return rule

        return closed
    return lambda value: rule if member_of(values, value) is False else None


def coding_verdict(guide: Guide) -> Verdict:
    """Build the check of Codings: known code, right display, right shape."""
    guide_codes = code_systems(guide)
    unknown_rules, display_rules = {}, {}
    for url in guide_codes:
        name = url.rpartition("/")[2]
        unknown_rules[url] = error("code-unknown", f"The code is not one of {name}.")
        display_rules[url] = error(
            "display",
            f"The display is not the one that {name} gives the code; use text for other words.",
        )
    shapes = {
        url: (
            re.compile(shape).fullmatch,
            ConformanceRule(
                "code-shape",
                IssueSeverity.WARNING,
                f"The code has not the shape of codes of {url} ({words}).",
            ),
        )
        for url, (shape, words) in SHAPES.items()
    }

    def verdict(coding: Any) -> ConformanceRule | None:
        system, code = coding.get("system"), coding.get("code")
        if type(system) is not str or type(code) is not str:
            return None
        codes = guide_codes.get(system)
        if codes is not None:
            if code not in codes:
                return unknown_rules[system]
            display = coding.get("display")
            if type(display) is str and display.casefold() != codes[code].casefold():
                return display_rules[system]
            return None
        shape_rule = shapes.get(system)
        if shape_rule is not None and not shape_rule[0](code):
            return shape_rule[1]
        return None

    return verdict
