"""Must-support coverage of small mappings: produced, could be, cannot be, and why."""

import pytest

from etl.mapping.coverage import (
    PresentElements,
    coverage_markdown,
    find_misplaced_skips,
    must_support_coverage,
    written_columns,
)
from tests.given.tables import table
from tests.unit.mapping.mappings import CROSSWALKS, EOB, PATIENT, compiled

CANONICAL = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Patient|2.2.0"
WITH_GENDER = PATIENT + "  gender: \"{{ member.gender | translate('gender') }}\"\n"
SKIPPED = WITH_GENDER + "skip: [ { element: birthDate, reason: nobody is asked } ]\n"


def columns_of(mappings):
    return {plan.name: written_columns(plan, mappings.crosswalks) for plan in mappings.plans}


def of(text, element, filled=None):
    mappings = compiled(text)
    (found,) = must_support_coverage(mappings.plans, columns_of(mappings), filled)
    return next(one for one in found.elements if one.element == element)


@pytest.mark.parametrize(*table(__file__, "statuses"))
def test_an_element_is_produced_could_be_or_cannot_be(lines, element, status, columns, reason):
    found = of(PATIENT + lines, element)
    assert (found.status, found.columns, found.reason) == (status, tuple(columns), reason)


def test_of_given_rows_only_what_they_fill_is_produced():
    filled = {CANONICAL: PresentElements(3, {"Patient.gender": 2})}
    assert of(WITH_GENDER, "Patient.gender", filled).resources == 2
    assert of(WITH_GENDER, "Patient.gender", filled).status == "produced"
    empty = of(WITH_GENDER, "Patient.gender", {})
    assert (empty.status, empty.reason) == ("could be", "no row fills member.gender")
    assert of(SKIPPED, "Patient.birthDate", filled).status == "cannot be"


def test_the_engine_s_own_elements_are_produced():
    assert of(PATIENT, "Patient.meta.lastUpdated").status == "produced"
    stamped = PATIENT.replace("emit:", 'last_updated: "{{ member.last_updated | instant }}"\nemit:')
    assert of(stamped, "Patient.meta.lastUpdated").columns == ("member.last_updated",)


@pytest.mark.parametrize(*table(__file__, "slices"))
def test_an_entry_is_in_each_slice_that_it_can_belong_to(code, slices):
    systems = (
        "http://terminology.hl7.org/CodeSystem/adjudication",
        "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudicationDiscriminator",
    )
    found: set[str] = set()
    for system in systems:
        entry = f'{{ category: {{ coding: [ {{ system: "{system}", code: "{code}" }} ] }} }}'
        text = f"{EOB}  item:\n    - for: line in claim.lines\n      adjudication: [ {entry} ]\n"
        (plan,) = compiled(text).plans
        found |= {name for name in written_columns(plan, CROSSWALKS) if "adjudication:" in name}
    names = {name.partition("adjudication:")[2].partition(".")[0] for name in found}
    assert names & {"adjudicationamounttype", "allowedunits"} == set(slices)


@pytest.mark.parametrize(*table(__file__, "misplaced_skips"))
def test_a_skip_that_is_out_of_place_is_named(element, words):
    text = WITH_GENDER + f"skip: [ {{ element: {element}, reason: x }} ]\n"
    (plan,) = compiled(text).plans
    (found,) = find_misplaced_skips(plan, CROSSWALKS)
    assert found.error_id == "map-skip"
    assert found.where.startswith("m.yaml:")
    assert words in str(found)


def test_markdown_lists_every_element_with_its_columns_or_its_reason():
    mappings = compiled(SKIPPED)
    filled = {CANONICAL: PresentElements(3, {"Patient.gender": 2})}
    text = coverage_markdown(must_support_coverage(mappings.plans, columns_of(mappings), filled))
    assert "## C4BB-Patient (3 resources)" in text
    assert "| `Patient.gender` | produced, 2 | `member.gender` |" in text
    assert "| `Patient.birthDate` | cannot be | nobody is asked |" in text
