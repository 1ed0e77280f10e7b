"""What the checker finds in one resource, and that it finds nothing where nothing is wrong."""

from decimal import Decimal
from typing import Any

import pytest

from etl.conform.checker import Checker, profile_named
from etl.conform.findings import IssueSeverity
from etl.errors import UsageError
from etl.profiles.guides import R4
from tests.unit.conform import samples
from tests.unit.conform.samples import C4BB, THO, changed, concept, reference, without

CHECKER = Checker()
Json = dict[str, Any]


def found(resource, checker=CHECKER):
    """The errors of one resource, as (path, rule)."""
    return [
        (issue.path, issue.rule.id)
        for _, issue in checker.check(resource).issues
        if issue.rule.severity is IssueSeverity.ERROR
    ]


def warned(resource):
    return [
        (issue.path, issue.rule.id)
        for _, issue in CHECKER.check(resource).issues
        if issue.rule.severity is IssueSeverity.WARNING
    ]


@pytest.mark.parametrize("resource", samples.population(), ids=lambda r: str(r["id"]))
def test_a_resource_that_conforms_has_no_findings_of_any_kind(resource):
    assert CHECKER.check(resource).issues == ()


PATIENT, COVERAGE = samples.patient(), samples.coverage()
INPATIENT, PHARMACY, ORAL = samples.inpatient(), samples.pharmacy(), samples.oral()
PROFESSIONAL = samples.professional()
ORGANIZATION = samples.organization("payer")

STRUCTURE = {
    "an unknown element": (
        changed(PATIENT, "nickname", to="x"),
        ("Patient.nickname", "unknown-element"),
    ),
    "an element of another type": (
        changed(PATIENT, "name", 0, "code", to="x"),
        ("Patient.name[0].code", "unknown-element"),
    ),
    "a value where an array belongs": (
        changed(PATIENT, "name", to={"family": "A"}),
        ("Patient.name", "shape"),
    ),
    "an array where a value belongs": (
        changed(PATIENT, "gender", to=["female"]),
        ("Patient.gender", "shape"),
    ),
    "text where an object belongs": (
        changed(PATIENT, "name", to=["A"]),
        ("Patient.name[0]", "shape"),
    ),
    "an empty array": (changed(PATIENT, "telecom", to=[]), ("Patient.telecom", "empty")),
    "an empty object": (changed(PATIENT, "photo", to=[{}]), ("Patient.photo[0]", "ele-1")),
    "an object with an id alone": (
        changed(PATIENT, "maritalStatus", to={"id": "a"}),
        ("Patient.maritalStatus", "ele-1"),
    ),
    "null": (changed(PATIENT, "gender", to=None), ("Patient.gender", "null")),
    "null in an array of objects": (
        changed(PATIENT, "name", to=[None, {"family": "A"}]),
        ("Patient.name[0]", "null"),
    ),
    "null in an array of texts": (
        changed(PATIENT, "name", 0, "given", to=["A", None]),
        ("Patient.name[0].given[1]", "null"),
    ),
    "an empty text": (
        changed(PATIENT, "name", 0, "family", to=""),
        ("Patient.name[0].family", "form"),
    ),
    "a number as text": (
        changed(INPATIENT, "total", 0, "amount", "value", to="1.00"),
        ("ExplanationOfBenefit.total[0].amount.value", "form"),
    ),
    "a flag as text": (
        changed(ORGANIZATION, "active", to="true"),
        ("Organization.active", "form"),
    ),
    "true as a number": (
        changed(INPATIENT, "item", 0, "sequence", to=True),
        ("ExplanationOfBenefit.item[0].sequence", "form"),
    ),
    "zero as a positive number": (
        changed(INPATIENT, "item", 0, "sequence", to=0),
        ("ExplanationOfBenefit.item[0].sequence", "form"),
    ),
    "a day that is in no calendar": (
        changed(PATIENT, "birthDate", to="2023-02-29"),
        ("Patient.birthDate", "form"),
    ),
    "a date with a time where none may be": (
        changed(PATIENT, "birthDate", to="1980-02-29T00:00:00Z"),
        ("Patient.birthDate", "form"),
    ),
    "an instant without a zone": (
        changed(PATIENT, "meta", "lastUpdated", to="2024-03-01T00:00:00"),
        ("Patient.meta.lastUpdated", "form"),
    ),
    "an id with an underscore": (changed(PATIENT, "id", to="a_b"), ("Patient.id", "form")),
    "a code outside a closed set": (
        changed(PATIENT, "gender", to="f"),
        ("Patient.gender", "binding-required"),
    ),
    "two types of one choice": (
        changed(PATIENT, "multipleBirthInteger", to=1) | {"multipleBirthBoolean": True},
        ("Patient.multipleBirth", "choice"),
    ),
    "an id of a primitive that is none": (
        changed(PATIENT, "_gender", to={"id": ""}),
        ("Patient._gender.id", "form"),
    ),
    "extensions of texts, one too many": (
        changed(PATIENT, "name", 0, "_given", to=[None, {"id": "a"}]),
        ("Patient.name[0]._given", "shape"),
    ),
    "a currency that there is not": (
        changed(INPATIENT, "total", 0, "amount", "currency", to="USX"),
        ("ExplanationOfBenefit.total[0].amount.currency", "binding-required"),
    ),
}

PROFILE = {
    "a required element missing": (
        without(COVERAGE, "subscriberId"),
        ("Coverage.subscriberId", "min"),
    ),
    "an entry too many": (
        changed(COVERAGE, "payor", to=[reference("Organization", "a")] * 2),
        ("Coverage.payor", "max"),
    ),
    "a pattern without its version": (
        changed(INPATIENT, "type", to=concept(f"{THO}claim-type", "institutional")),
        ("ExplanationOfBenefit.type", "pattern"),
    ),
    "a required slice missing": (
        changed(PATIENT, "identifier", 0, "type", to=concept(f"{THO}v2-0203", "MR")),
        ("Patient.identifier", "slice-min"),
    ),
    "a slice that may be there once, twice": (
        changed(
            INPATIENT, "supportingInfo", 2, to=INPATIENT["supportingInfo"][1] | {"sequence": 3}
        ),
        ("ExplanationOfBenefit.supportingInfo", "slice-max"),
    ),
    "a slice's own requirement": (
        without(INPATIENT, "supportingInfo", 2, "code"),
        ("ExplanationOfBenefit.supportingInfo[2].code", "min"),
    ),
    "a slice's own type": (
        changed(
            INPATIENT, "supportingInfo", 0, to=samples.info(1, "admissionperiod", timingDate="2024")
        ),
        ("ExplanationOfBenefit.supportingInfo[0].timingPeriod", "min"),
    ),
    "an amount, told by membership in a value set, without its amount": (
        without(INPATIENT, "item", 0, "adjudication", 1, "amount"),
        ("ExplanationOfBenefit.item[0].adjudication[1].amount", "min"),
    ),
    "a reference to another type": (
        changed(INPATIENT, "patient", to=reference("Practitioner", "doctor")),
        ("ExplanationOfBenefit.patient", "reference-type"),
    ),
    "a system that is not one of an open set": (
        changed(INPATIENT, "item", 0, "revenue", to=concept("http://example.org/x", "0120")),
        ("ExplanationOfBenefit.item[0].revenue", "binding-required"),
    ),
    "a required code as mere text": (
        changed(COVERAGE, "relationship", to={"text": "self"}),
        ("Coverage.relationship", "binding-required"),
    ),
    "a code that the guide's code system does not have": (
        changed(INPATIENT, "payee", to={"type": concept(f"{C4BB}C4BBPayeeType", "nobody")}),
        ("ExplanationOfBenefit.payee.type.coding[0]", "code-unknown"),
    ),
    "a display that is not the code system's": (
        changed(
            INPATIENT, "identifier", 0, "type", "coding", 0, "display", to="The claim's number"
        ),
        ("ExplanationOfBenefit.identifier[0].type.coding[0]", "display"),
    ),
    "an NPI with a wrong check digit": (
        changed(ORGANIZATION, "identifier", 0, "value", to="1234567890"),
        ("Organization.identifier[0]", "us-core-17"),
    ),
    "an NPI of nine digits": (
        changed(ORGANIZATION, "identifier", 0, "value", to="123456789"),
        ("Organization.identifier[0]", "us-core-16"),
    ),
    "a period that ends before it starts": (
        changed(COVERAGE, "period", to={"start": "2024-02-01", "end": "2024-01-31"}),
        ("Coverage.period", "per-1"),
    ),
    "amounts in the header and in items": (
        changed(INPATIENT, "adjudication", 0, to=samples.amount("submitted", 1)),
        ("ExplanationOfBenefit", "EOB-institutional-item-or-header-adjudication"),
    ),
    "an attending organization": (
        changed(INPATIENT, "careTeam", 0, "provider", to=reference("Organization", "hospital")),
        ("ExplanationOfBenefit.careTeam[0]", "EOB-inst-careTeam-practitioner"),
    ),
    "a body site that no item names": (
        without(ORAL, "item", 0, "informationSequence"),
        ("ExplanationOfBenefit", "Oral-EOB-supportinginfo-additionalbodysite-requires-line-item"),
    ),
    "a local reference to nothing": (
        changed(INPATIENT, "insurer", to={"reference": "#payer"}),
        ("ExplanationOfBenefit.insurer", "ref-1"),
    ),
    "a narrative with a script": (
        changed(
            PATIENT,
            "text",
            to={
                "status": "generated",
                "div": '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>',
            },
        ),
        ("Patient.text.div", "txt-1"),
    ),
    "an extension with a value and extensions": (
        changed(
            PATIENT,
            "extension",
            to=[
                {
                    "url": "http://example.org/e",
                    "valueString": "a",
                    "extension": [{"url": "b", "valueBoolean": True}],
                }
            ],
        ),
        ("Patient.extension[0]", "ext-1"),
    ),
    "a race without its text": (
        changed(
            PATIENT,
            "extension",
            to=[
                {
                    "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                    "extension": [
                        {
                            "url": "ombCategory",
                            "valueCoding": {
                                "system": "urn:oid:2.16.840.1.113883.6.238",
                                "code": "2106-3",
                            },
                        }
                    ],
                }
            ],
        ),
        ("Patient.extension[0].extension", "slice-min"),
    ),
    "a reason of absence that FHIR does not know": (
        changed(
            PATIENT,
            "_birthDate",
            to={
                "extension": [
                    {
                        "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
                        "valueCode": "lost",
                    }
                ]
            },
        ),
        ("Patient._birthDate.extension[0]", "absent-reason"),
    ),
}

GUIDE = {
    "two focal insurances": (
        changed(INPATIENT, "insurance", to=INPATIENT["insurance"] * 2),
        ("ExplanationOfBenefit.insurance[1].focal", "guide-focal"),
    ),
    "a sequence twice": (
        changed(INPATIENT, "supportingInfo", 1, "sequence", to=1),
        ("ExplanationOfBenefit.supportingInfo[1].sequence", "guide-sequence"),
    ),
    "a note that is not there": (
        changed(INPATIENT, "item", 0, "noteNumber", to=[1]),
        ("ExplanationOfBenefit.item[0].noteNumber[0]", "guide-note"),
    ),
    "a newborn admission with another point of origin": (
        changed(INPATIENT, "supportingInfo", 4, "code", "coding", 0, "code", to="4"),
        ("ExplanationOfBenefit.supportingInfo[3].code", "guide-newborn"),
    ),
}


@pytest.mark.parametrize(("broken", "finding"), STRUCTURE.values(), ids=STRUCTURE)
def test_a_fault_of_structure_is_found_at_its_place(broken, finding):
    assert found(broken) == [finding]


@pytest.mark.parametrize(("broken", "finding"), PROFILE.values(), ids=PROFILE)
def test_a_breach_of_the_profile_is_found_at_its_place(broken, finding):
    assert finding in found(broken)


@pytest.mark.parametrize(("broken", "finding"), GUIDE.values(), ids=GUIDE)
def test_a_rule_that_the_guide_only_states_is_checked_too(broken, finding):
    assert found(broken) == [finding]


def test_a_number_that_leads_nowhere_is_a_warning_and_an_error_when_strict():
    broken = changed(INPATIENT, "item", 0, "diagnosisSequence", to=[1, 2])
    place = ("ExplanationOfBenefit.item[0].diagnosisSequence[1]", "guide-sequence-link")
    assert found(broken) == []
    assert warned(broken) == [place]
    assert found(broken, Checker(strict=True)) == [place]


def test_a_newborn_admission_with_a_newborn_point_of_origin_conforms():
    born = changed(INPATIENT, "supportingInfo", 4, "code", "coding", 0, "code", to="4")
    origin = concept(f"{samples.NUBC}PointOfOriginNewborn", "5")
    assert found(changed(born, "supportingInfo", 3, "code", to=origin)) == []
    adult = changed(INPATIENT, "supportingInfo", 3, "code", to=origin)
    assert found(adult) == [("ExplanationOfBenefit", "EOB-inst-pointoforigin")]


def test_a_value_may_be_absent_with_a_reason_where_the_profile_requires_it():
    reason = {
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
                "valueCode": "unknown",
            }
        ]
    }
    nameless = changed(PATIENT, "name", to=[reason])
    assert found(nameless) == []
    assert found(without(COVERAGE, "subscriberId") | {"_subscriberId": reason}) == []


def test_nulls_beside_extensions_keep_their_places():
    reason = {"extension": [{"url": "http://example.org/why", "valueCode": "unknown"}]}
    name = {"family": "A", "given": [None, "B"], "_given": [reason, None]}
    assert found(changed(PATIENT, "name", to=[name])) == []


def test_a_code_of_the_wrong_shape_is_a_warning():
    broken = changed(PHARMACY, "item", 0, "productOrService", "coding", 0, "code", to="2143301")
    assert found(broken) == []
    assert warned(broken) == [
        ("ExplanationOfBenefit.item[0].productOrService.coding[0]", "code-shape")
    ]


def test_the_basis_profile_of_the_same_claim_is_checked_by_its_own_rules():
    name = "C4BB-ExplanationOfBenefit-Pharmacy-Basis"
    basis = without(PHARMACY, "total") | {"meta": samples.meta(name)}
    bare = without(basis, "item", 0, "adjudication")
    assert found(bare) == []
    judged = CHECKER.check(bare)
    assert judged.profiles == (f"{samples.CANONICAL}{name}|2.2.0",)


def test_2_1_0_is_checked_by_the_facts_of_2_1_0():
    old = changed(INPATIENT, "type", to=concept(f"{THO}claim-type", "institutional"))
    old["meta"]["profile"] = [old["meta"]["profile"][0].replace("|2.2.0", "|2.1.0")]
    assert found(old) == []


def test_without_a_profile_a_resource_is_checked_as_plain_r4():
    plain = changed(without(PATIENT, "meta", "profile"), "nickname", to="x")
    assert found(plain) == [
        ("Patient.meta.profile", "profile-missing"),
        ("Patient.nickname", "unknown-element"),
    ]
    assert found(without(PATIENT, "meta")) == [("Patient.meta.profile", "profile-missing")]


def test_a_profile_can_be_chosen_whatever_the_resource_says():
    chosen = Checker(["C4BB-Patient"])
    assert found(without(PATIENT, "meta", "profile"), chosen) == [("Patient.meta.profile", "min")]
    assert found(COVERAGE, chosen) == []


def test_what_meta_profile_names_is_judged_itself():
    other = changed(PATIENT, "meta", "profile", to=[f"{samples.CANONICAL}C4BB-Coverage|2.2.0"])
    assert ("Patient.meta.profile[0]", "profile-type") in found(other)
    unknown = changed(PATIENT, "meta", "profile", 0, to=f"{samples.CANONICAL}C4BB-Nobody|2.2.0")
    assert ("Patient.meta.profile[0]", "profile-unknown") in warned(unknown)
    assert ("Patient.meta.profile", "profile-missing") in found(unknown)
    bare = changed(COVERAGE, "meta", "profile", 0, to=f"{samples.CANONICAL}C4BB-Coverage")
    assert warned(bare) == [("Coverage.meta.profile[0]", "profile-version")]
    asking = changed(PATIENT, "meta", "profile", 0, to=f"{samples.CANONICAL}C4BB-Patient")
    assert warned(asking) == [("Patient", "patient-meta-profile-version")]


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("2.0.0", "C4BB 2.0.0"),
        ("1.1.0", "C4BB 1.1.0"),
        ("2.2.0-ballot", "C4BB 2.2.0-ballot"),
        ("JaneDoe", "That version of C4BB"),
    ],
)
def test_another_version_of_the_guide_is_named_as_such(version, named):
    profile = f"{samples.CANONICAL}C4BB-Patient|{version}"
    other = changed(PATIENT, "meta", "profile", to=[profile])
    assert found(other) == [("Patient.meta.profile[0]", "guide-version")]
    (issue,) = (one for _, one in CHECKER.check(other).issues if one.rule.id == "guide-version")
    assert issue.rule.text == (
        f"{named} is not known here; known are 2.2.0 and 2.1.0."
        " The resource was checked as plain FHIR R4."
    )


def test_another_version_beside_one_that_is_known_is_a_warning():
    names = [f"{samples.CANONICAL}C4BB-Patient|{version}" for version in ("2.0.0", "2.2.0")]
    both = changed(PATIENT, "meta", "profile", to=names)
    assert found(both) == []
    assert warned(both) == [("Patient.meta.profile[0]", "guide-version")]


def test_a_chosen_profile_of_another_version_is_refused_with_those_that_are_known():
    for name in ("C4BB-Patient|2.0.0", f"{samples.CANONICAL}C4BB-Patient|2.0.0"):
        with pytest.raises(UsageError, match=r"C4BB 2\.0\.0 .* known are 2\.2\.0 and 2\.1\.0"):
            profile_named(name)


@pytest.mark.parametrize("stated", ["Patient", f"{R4.canonical}Patient", "Nonsense"])
def test_a_logical_reference_is_held_to_the_type_that_it_states(stated):
    identifier = {"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}
    other = changed(INPATIENT, "provider", to={"type": stated, "identifier": identifier})
    assert found(other) == [("ExplanationOfBenefit.provider", "reference-type")]
    for right in ("Organization", f"{R4.canonical}Practitioner"):
        told = changed(INPATIENT, "provider", to={"type": right, "identifier": identifier})
        assert found(told) == []


def test_a_reference_by_a_search_is_held_to_the_type_that_it_searches():
    other = changed(INPATIENT, "provider", to={"reference": "Patient?identifier=urn:x|1"})
    assert found(other) == [("ExplanationOfBenefit.provider", "reference-type")]
    right = changed(INPATIENT, "provider", to={"reference": "Organization?identifier=urn:x|1"})
    assert found(right) == []


def test_the_type_of_a_reference_is_that_of_what_it_points_to():
    other = changed(
        INPATIENT, "provider", to={"reference": "Organization/o1", "type": "Practitioner"}
    )
    assert found(other) == [("ExplanationOfBenefit.provider.type", "reference-type")]
    missing = changed(INPATIENT, "provider", to={"reference": "#none", "type": "Organization"})
    assert "reference-type" not in {rule for _, rule in found(missing)}


def test_a_profile_is_named_by_its_name_or_canonical():
    assert profile_named("C4BB-Patient").version == "2.2.0"
    assert profile_named("C4BB-Patient|2.1.0").version == "2.1.0"
    assert profile_named(f"{samples.CANONICAL}C4BB-Patient|2.2.0").name == "C4BB-Patient"
    for name in ("C4BB-Nobody", "http://example.org/x", "us-core-race"):
        with pytest.raises(UsageError, match="C4BB-Coverage"):
            profile_named(name)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"resourceType": 1}])
def test_json_that_is_no_resource_is_one_finding(value):
    assert found(value) == [("", "resource")]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"name": "x"}, "no resourceType"),
        ([{"resourceType": "Patient"}], "an array"),
        (None, "a single value"),
        ({"transactionTime": "2024-01-01T00:00:00Z", "output": []}, "a manifest of Bulk Data"),
    ],
)
def test_json_that_is_no_resource_is_named_as_what_it_is(value, says):
    ((_, issue),) = CHECKER.check(value).issues
    assert says in issue.rule.text


def test_a_type_that_the_guide_does_not_know_is_not_checked_and_said_so():
    judged = CHECKER.check({"resourceType": "Appointment", "nonsense": 1})
    assert [issue.rule.id for _, issue in judged.issues] == ["type-unknown"]
    assert judged.skipped == "type-unknown"


def test_the_header_of_a_resource_block_is_passed_over():
    judged = CHECKER.check({"resourceType": "Parameters", "parameter": []})
    assert (judged.issues, judged.skipped) == ((), "header")


def test_a_contained_resource_is_checked_as_plain_r4():
    inside = {"resourceType": "Organization", "id": "o", "name": "A", "nickname": "x"}
    claim = changed(INPATIENT, "contained", to=[inside])
    claim["insurer"] = {"reference": "#o"}
    assert found(claim) == [("ExplanationOfBenefit.contained[0].nickname", "unknown-element")]


def test_a_local_reference_has_the_type_of_what_is_contained():
    inside = {"resourceType": "Organization", "id": "o", "name": "A"}
    claim = changed(INPATIENT, "contained", to=[inside])
    claim["patient"] = {"reference": "#o"}
    assert ("ExplanationOfBenefit.patient", "reference-type") in found(claim)


def test_deep_nesting_is_a_finding_and_no_crash():
    extension: Json = {"url": "http://example.org/e", "valueString": "a"}
    for _ in range(2_000):
        extension = {"url": "http://example.org/e", "extension": [extension]}
    assert ("Patient", "depth") in found(changed(PATIENT, "extension", to=[extension]))


def test_no_message_holds_a_value_of_the_resource():
    marks = iter(range(10_000, 99_999))

    def marked(value):
        if isinstance(value, dict):
            return {name: marked(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [marked(inner) for inner in value]
        return f"SECRET{next(marks)}" if isinstance(value, str) else -next(marks)

    for resource in samples.population():
        spoiled = marked(resource) | {"resourceType": resource["resourceType"]}
        spoiled["meta"] = resource["meta"]
        spoiled["SECRET-1"] = "SECRET2"
        issues = CHECKER.check(spoiled).issues
        assert issues
        for _, issue in issues:
            told = f"{issue.path} {issue.rule.id} {issue.rule.text}"
            assert "SECRET" not in told
            assert not any(str(number) in told for number in range(10_000, next(marks)))


@pytest.mark.parametrize("junk", [1, "x", True, None, [], {}, [[]], [{}], {"a": 1}, [1, "a"]])
def test_junk_at_any_place_is_a_finding_and_no_crash(junk):
    for resource in (PATIENT, INPATIENT, ORAL, PROFESSIONAL):
        for path in places(resource):
            there: Any = resource
            for step in path:
                there = there[step]
            errors = found(changed(resource, *path, to=junk))
            if kind(there) is not kind(junk) or junk in ([], {}):
                assert errors, path


def kind(value):
    """Return the kind of JSON that a value is."""
    return float if type(value) in (int, Decimal) else type(value)


def places(value):
    """Every place of a JSON value but the resource type."""
    parts: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        parts = [(name, inner) for name, inner in value.items() if name != "resourceType"]
    elif isinstance(value, list):
        parts = list(enumerate(value))
    return [(step, *rest) for step, inner in parts for rest in [(), *places(inner)]]


def test_two_details_of_one_item_do_not_have_the_same_sequence():
    details = [{"sequence": 1, "productOrService": {"text": "a"}} for _ in range(2)]
    claim = {"resourceType": "ExplanationOfBenefit", "item": [{"sequence": 1, "detail": details}]}
    issues = [i for _, i in CHECKER.check(claim).issues if i.rule.id == "guide-sequence"]
    assert [i.path for i in issues] == ["ExplanationOfBenefit.item[0].detail[1].sequence"]
