"""What the checker finds in one resource, and that it finds nothing where nothing is wrong."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from etl.conform.checker import Checker, find_profile
from etl.conform.findings import IssueSeverity
from etl.errors import UsageError
from etl.profiles.guides import R4
from tests.given.tables import table
from tests.unit.conform import samples
from tests.unit.conform.samples import changed, without

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


PATIENT, COVERAGE = samples.sample("member"), samples.sample("coverage")
INPATIENT, PHARMACY = samples.sample("institutional"), samples.sample("pharmacy")
ORAL, PROFESSIONAL = samples.sample("oral"), samples.sample("professional")


def spoilt(of, *changes):
    """Return a sample with places changed, or taken out."""
    resource = samples.sample(of)
    for at, to in changes:
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", at)]
        resource = changed(resource, *steps, to=json.loads(to)) if to else without(resource, *steps)
    return resource


@pytest.mark.parametrize(*table(__file__, "structure"))
def test_a_fault_of_structure_is_found_at_its_place(of, at, to, path, rule):
    assert found(spoilt(of, (at, to))) == [(path, rule)]


@pytest.mark.parametrize(*table(__file__, "profile"))
def test_a_breach_of_the_profile_is_found_at_its_place(of, at, to, path, rule):
    assert (path, rule) in found(spoilt(of, (at, to)))


@pytest.mark.parametrize(*table(__file__, "guide"))
def test_a_rule_that_the_guide_only_states_is_checked_too(of, at, to, path, rule):
    assert found(spoilt(of, (at, to))) == [(path, rule)]


@pytest.mark.parametrize(*table(__file__, "resources"))
def test_a_resource_has_the_errors_and_warnings_that_are_written_down(
    of, changes, errors, warnings
):
    resource = spoilt(of, *changes)
    assert found(resource) == [tuple(place) for place in errors]
    assert warned(resource) == [tuple(place) for place in warnings or ()]


def test_a_number_that_leads_nowhere_is_a_warning_and_an_error_when_strict():
    broken = changed(INPATIENT, "item", 0, "diagnosisSequence", to=[1, 2])
    place = ("ExplanationOfBenefit.item[0].diagnosisSequence[1]", "guide-sequence-link")
    assert found(broken) == []
    assert warned(broken) == [place]
    assert found(broken, Checker(strict=True)) == [place]


def test_the_basis_profile_of_the_same_claim_is_checked_by_its_own_rules():
    name = "C4BB-ExplanationOfBenefit-Pharmacy-Basis"
    basis = without(PHARMACY, "total") | {"meta": samples.meta(name)}
    bare = without(basis, "item", 0, "adjudication")
    assert found(bare) == []
    judged = CHECKER.check(bare)
    assert judged.profiles == (f"{samples.CANONICAL}{name}|2.2.0",)


def test_a_profile_can_be_chosen_whatever_the_resource_says():
    chosen = Checker(["C4BB-Patient"])
    assert found(without(PATIENT, "meta", "profile"), chosen) == [("Patient.meta.profile", "min")]
    assert found(COVERAGE, chosen) == []


@pytest.mark.parametrize(*table(__file__, "versions"))
def test_another_version_of_the_guide_is_named_as_such(version, named):
    profile = f"{samples.CANONICAL}C4BB-Patient|{version}"
    other = changed(PATIENT, "meta", "profile", to=[profile])
    assert found(other) == [("Patient.meta.profile[0]", "guide-version")]
    (issue,) = (one for _, one in CHECKER.check(other).issues if one.rule.id == "guide-version")
    assert issue.rule.text == (
        f"{named} is not known here; known are 2.2.0 and 2.1.0."
        " The resource was checked as plain FHIR R4."
    )


def test_a_chosen_profile_of_another_version_is_refused_with_those_that_are_known():
    for name in ("C4BB-Patient|2.0.0", f"{samples.CANONICAL}C4BB-Patient|2.0.0"):
        with pytest.raises(UsageError, match=r"C4BB 2\.0\.0 .* known are 2\.2\.0 and 2\.1\.0"):
            find_profile(name)


@pytest.mark.parametrize("stated", ["Patient", f"{R4.canonical}Patient", "Nonsense"])
def test_a_logical_reference_is_held_to_the_type_that_it_states(stated):
    identifier = {"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}
    other = changed(INPATIENT, "provider", to={"type": stated, "identifier": identifier})
    assert found(other) == [("ExplanationOfBenefit.provider", "reference-type")]
    for right in ("Organization", f"{R4.canonical}Practitioner"):
        told = changed(INPATIENT, "provider", to={"type": right, "identifier": identifier})
        assert found(told) == []


def test_a_profile_is_named_by_its_name_or_canonical():
    assert find_profile("C4BB-Patient").version == "2.2.0"
    assert find_profile("C4BB-Patient|2.1.0").version == "2.1.0"
    assert find_profile(f"{samples.CANONICAL}C4BB-Patient|2.2.0").name == "C4BB-Patient"
    for name in ("C4BB-Nobody", "http://example.org/x", "us-core-race"):
        with pytest.raises(UsageError, match="C4BB-Coverage"):
            find_profile(name)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"resourceType": 1}])
def test_json_that_is_no_resource_is_one_finding(value):
    assert found(value) == [("", "resource")]


@pytest.mark.parametrize(*table(__file__, "no_resources"))
def test_json_that_is_no_resource_is_named_as_what_it_is(text, says):
    ((_, issue),) = CHECKER.check(json.loads(text)).issues
    assert says in issue.rule.text


def test_a_type_that_the_guide_does_not_know_is_not_checked_and_said_so():
    judged = CHECKER.check({"resourceType": "Appointment", "nonsense": 1})
    assert [issue.rule.id for _, issue in judged.issues] == ["type-unknown"]
    assert judged.skipped == "type-unknown"


def test_the_header_of_a_resource_block_is_passed_over():
    judged = CHECKER.check({"resourceType": "Parameters", "parameter": []})
    assert (judged.issues, judged.skipped) == ((), "header")


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
