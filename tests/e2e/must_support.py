"""What the guide's profiles mark must-support, and whether it is there.

A path names elements; `x:slice` looks into the entries of that slice, `x=code` asks for the value.
Source: CARIN Blue Button 2.0.0, snapshots of the profiles.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PROFILE = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

AMOUNTS = frozenset(
    {
        "submitted", "copay", "eligible", "deductible", "benefit", "coinsurance", "noncovered",
        "priorpayerpaid", "paidbypatient", "paidbypatientcash", "paidbypatientother",
        "paidtopatient", "paidtoprovider", "memberliability", "discount", "drugcost",
    }
)  # fmt: skip
SYSTEMS = {
    "NPI": "http://hl7.org/fhir/sid/us-npi",
    "tax": "urn:oid:2.16.840.1.113883.4.4",
    "naiccode": "urn:oid:2.16.840.1.113883.6.300",
}
CODES = {"uniqueclaimid": "uc", "memberid": "mb", "uniquememberid": "um"}

_CLAIM = (
    "meta meta.lastUpdated identifier:uniqueclaimid.value status type use patient billablePeriod "
    "billablePeriod.start insurer provider related related.relationship related.reference payee "
    "payee.type payee.party outcome careTeam careTeam.provider careTeam.role supportingInfo "
    "supportingInfo:clmrecvddate.category supportingInfo:clmrecvddate.timing insurance "
    "insurance.focal insurance.coverage item item.sequence item.productOrService item.noteNumber "
    "item.adjudication item.adjudication.category adjudication adjudication.category "
    "item.adjudication:adjudicationamounttype.category "
    "item.adjudication:adjudicationamounttype.amount "
    "adjudication:billingnetworkstatus.reason total total.category payment payment.type "
    "processNote"
)
_INSTITUTIONAL = (
    f"{_CLAIM} identifier type.coding.code=institutional created "
    "supportingInfo:typeofbill.category "
    "supportingInfo:typeofbill.code supportingInfo:pointoforigin.category "
    "supportingInfo:pointoforigin.code supportingInfo:admtype.category supportingInfo:admtype.code "
    "supportingInfo:discharge-status.category supportingInfo:discharge-status.code "
    "diagnosis.diagnosis diagnosis.type item.revenue item.modifier item.quantity "
    "item.adjudication:adjustmentreason.category item.adjudication:adjustmentreason.reason "
    "item.adjudication:allowedunits.category item.adjudication:allowedunits.value "
    "adjudication:benefitpaymentstatus.reason adjudication:adjustmentreason.reason "
    "total:adjudicationamounttype.amount payment.date processNote.text"
)
_LINES = (
    "careTeam.qualification supportingInfo:servicefacility.category diagnosis diagnosis.diagnosis "
    "diagnosis.type item.modifier item.location item.adjudication:adjustmentreason.category "
    "item.adjudication:adjustmentreason.reason item.adjudication:benefitpaymentstatus.category "
    "item.adjudication:benefitpaymentstatus.reason item.adjudication:allowedunits.category "
    "adjudication:renderingnetworkstatus.reason"
)

MUST_SUPPORT = {
    "C4BB-ExplanationOfBenefit-Inpatient-Institutional": (
        f"{_INSTITUTIONAL} subType.coding.code=inpatient billablePeriod.end "
        "supportingInfo:admissionperiod.category supportingInfo:drg.category "
        "supportingInfo:drg.code diagnosis diagnosis.onAdmission procedure procedure.type "
        "procedure.date procedure.procedure"
    ),
    "C4BB-ExplanationOfBenefit-Outpatient-Institutional": (
        f"{_INSTITUTIONAL} subType.coding.code=outpatient item.servicedDate"
    ),
    "C4BB-ExplanationOfBenefit-Oral": (
        f"{_CLAIM} {_LINES} type.coding.code=oral supportingInfo:orthodontics.category "
        "supportingInfo:orthodontics.value supportingInfo:prosthesis.category "
        "supportingInfo:prosthesis.value supportingInfo:additionalbodysite.sequence "
        "supportingInfo:additionalbodysite.category supportingInfo:additionalbodysite.code "
        "supportingInfo:missingtoothnumber.category supportingInfo:missingtoothnumber.code "
        "item.informationSequence item.serviced item.bodySite "
        "adjudication:benefitpaymentstatus.reason"
    ),
    "C4BB-ExplanationOfBenefit-Pharmacy": (
        f"{_CLAIM} identifier type.coding.code=pharmacy created "
        "supportingInfo:dayssupply.category supportingInfo:dayssupply.value "
        "supportingInfo:dawcode.category supportingInfo:dawcode.code "
        "supportingInfo:refillnum.category supportingInfo:refillnum.value "
        "supportingInfo:refillsauthorized.category supportingInfo:refillsauthorized.value "
        "supportingInfo:brandgenericindicator.category supportingInfo:brandgenericindicator.code "
        "supportingInfo:rxorigincode.category supportingInfo:rxorigincode.code "
        "supportingInfo:compoundcode.category supportingInfo:compoundcode.code item.servicedDate "
        "item.quantity item.adjudication:rejectreason.category "
        "item.adjudication:rejectreason.reason item.detail item.detail.productOrService "
        "item.detail.quantity adjudication:benefitpaymentstatus.reason total.amount "
        "total:adjudicationamounttype.amount payment.date processNote.text"
    ),
    "C4BB-ExplanationOfBenefit-Professional-NonClinician": f"{_CLAIM} {_LINES}",
    "C4BB-Coverage": (
        "meta meta.lastUpdated identifier status subscriberId beneficiary relationship period "
        "payor class class:group.value class:group.name class:plan.value class:plan.name"
    ),
    "C4BB-Patient": (
        "meta meta.lastUpdated identifier identifier.system identifier.value "
        "identifier:memberid.system identifier:memberid.value identifier:uniquememberid.system "
        "identifier:uniquememberid.value name name.family name.given telecom telecom.system "
        "telecom.value telecom.use gender birthDate deceased address address.line address.city "
        "address.state address.postalCode address.country address.period communication "
        "communication.language extension.url=us-core-race extension.url=us-core-ethnicity "
        "extension.url=us-core-birthsex"
    ),
    "C4BB-Organization": (
        "meta meta.lastUpdated identifier identifier:NPI identifier:tax identifier:naiccode active "
        "name telecom address address.line address.city address.state address.postalCode "
        "address.country"
    ),
    "C4BB-Practitioner": (
        "meta meta.lastUpdated identifier identifier:NPI identifier:tax name name.family"
    ),
    "C4BB-RelatedPerson": (
        "meta meta.lastUpdated active patient relationship name telecom address"
    ),
}


def profile_of(resource: Mapping[str, Any]) -> str:
    """Return the name of the profile that a resource says it has."""
    (url,) = resource["meta"]["profile"]
    assert url.startswith(PROFILE), url
    return url.removeprefix(PROFILE).partition("|")[0]


def missing(profile: str, resources: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the must-support paths that no resource of a profile has."""
    return {
        path
        for path in MUST_SUPPORT[profile].split()
        if not any(_has(resource, path) for resource in resources)
    }


def _has(resource: Mapping[str, Any], path: str) -> bool:
    path, _, wanted = path.partition("=")
    found = [one for one in _found([resource], path.split(".")) if _is_there(one)]
    if not wanted:
        return bool(found)
    return any(one == wanted or str(one).endswith(f"/{wanted}") for one in found)


def _found(elements: Iterable[Any], path: list[str]) -> Iterator[Any]:
    if not path:
        yield from elements
        return
    name, _, of_slice = path[0].partition(":")
    for element in elements:
        if isinstance(element, dict):
            for key, value in element.items():
                # A choice of types: timing is timingDate or timingPeriod.
                if key == name or (key.startswith(name) and key[len(name) :][:1].isupper()):
                    entries = value if isinstance(value, list) else [value]
                    chosen = [one for one in entries if not of_slice or _is_of(one, of_slice)]
                    yield from _found(chosen, path[1:])


def _is_of(entry: Mapping[str, Any], of_slice: str) -> bool:
    if of_slice in SYSTEMS:
        return entry.get("system") == SYSTEMS[of_slice]
    concept = entry.get("category") or entry.get("type") or {}
    codes = {one.get("code", "").lower() for one in concept.get("coding", [])}
    if of_slice == "adjudicationamounttype":
        return bool(codes & AMOUNTS)
    return CODES.get(of_slice, of_slice) in codes


def _is_there(value: Any) -> bool:
    if isinstance(value, dict):
        extensions = value.get("extension", [])
        has_reason = any(one.get("url") == ABSENT for one in extensions)
        return not has_reason and bool(set(value) - {"extension", "id"})
    return value not in (None, "", [])
