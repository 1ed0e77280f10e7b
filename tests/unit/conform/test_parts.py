"""The parts of the checker alone: primitives, patterns, slices, narrative, references."""

import calendar
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.conform.json_elements import build_matcher, describe, resolved_type, target_of
from etl.conform.narrative import is_narrative
from etl.conform.primitives import TESTS
from etl.conform.slices import NO_SLICE, build_classifier, slice_test
from etl.profiles import guides
from etl.profiles.shapes import target_types
from etl.profiles.structures import TypeChoice, load_profile, primitives, profile_names
from tests.given.tables import table
from tests.unit.conform.samples import C4BB, THO


def contains(pattern, value):
    """Whether `value` matches `pattern`: the plain meaning."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            name in value and contains(inner, value[name]) for name, inner in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and all(
            any(contains(inner, entry) for entry in value) for inner in pattern
        )
    return type(value) is type(pattern) and bool(value == pattern)


def test_every_primitive_type_has_a_test():
    assert set(TESTS) == set(primitives())


@pytest.mark.parametrize(*table(__file__, "primitives"))
def test_right_values_of_a_type_pass_and_wrong_ones_fail(name, right, wrong):
    assert [value for value in right if not TESTS[name](value)] == []
    assert [value for value in [*wrong, None] if TESTS[name](value)] == []


@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32))
def test_a_date_is_right_when_the_calendar_has_it(year, month, day):
    known = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
    assert TESTS["date"](f"{year:04}-{month:02}-{day:02}") is known


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_compiled_pattern_matches_what_the_plain_meaning_matches(pattern, value):
    assert build_matcher(pattern)(value) is contains(pattern, value)


def test_a_pattern_is_named_by_its_code():
    assert describe({"coding": [{"system": "s", "code": "c", "version": "1"}]}) == "s|1|c"


def sliced_elements():
    return [
        (name, element.id)
        for name in profile_names()
        for element in load_profile(name).elements
        if element.slicing
        and load_profile(name).slices(element.id)
        and not element.name.endswith("[x]")
    ]


@given(st.data())
def test_the_fast_way_to_an_entry_s_slice_is_the_first_that_fits(data):
    name, element_id = data.draw(st.sampled_from(sliced_elements()))
    profile = load_profile(name)
    slicing = profile.by_id[element_id].slicing
    slices = profile.slices(element_id)
    coding = st.fixed_dictionaries(
        {
            "system": st.sampled_from(
                [f"{C4BB}{s}" for s in ("C4BBAdjudication", "C4BBSupportingInfoType")]
                + [f"{C4BB}C4BBAdjudicationDiscriminator", f"{THO}adjudication", f"{THO}v2-0203"]
                + [f"{C4BB}C4BBIdentifierType", f"{THO}coverage-class"]
            ),
            "code": st.sampled_from(
                ["coinsurance", "submitted", "allowedunits", "typeofbill", "MB", "uc", "group"]
            ),
        },
        optional={"version": st.sampled_from(["5.0.0", "1.0.1", "9"])},
    )
    concept = st.fixed_dictionaries({"coding": st.lists(coding, max_size=3)})
    ((_, path),) = slicing.by
    entry = data.draw(st.fixed_dictionaries({} if path == "$this" else {path: concept}))
    tests = [slice_test(profile, slicing, one, guides.C4BB) for one in slices]
    expected = next((i for i, test in enumerate(tests) if test(entry)), NO_SLICE)
    assert build_classifier(profile, slicing, slices, guides.C4BB)(entry) == expected


def test_extensions_are_told_apart_by_their_url():
    race = load_profile("us-core-race", guides.US_CORE)
    slicing = race.by_id["Extension.extension"].slicing
    assert slicing is not None
    slices = race.slices("Extension.extension")
    names = [one.slice_name for one in slices]
    classify = build_classifier(race, slicing, slices, guides.C4BB)
    assert names[classify({"url": "text", "valueString": "White"})] == "text"
    assert classify({"url": "other"}) == NO_SLICE


def test_a_slice_that_nothing_tells_apart_cannot_be_compiled():
    profile = load_profile("C4BB-Patient")
    slicing = profile.by_id["Patient.identifier"].slicing
    assert slicing is not None
    with pytest.raises(ValueError, match="nothing tells"):
        build_classifier(profile, slicing, profile.elements[:1], guides.C4BB)


@pytest.mark.parametrize(*table(__file__, "narratives"))
def test_a_narrative_is_the_xhtml_that_fhir_allows(text, holds):
    assert (
        is_narrative(text.replace("{div}", '<div xmlns="http://www.w3.org/1999/xhtml">')) is holds
    )


@pytest.mark.parametrize(*table(__file__, "references"))
def test_a_literal_reference_names_a_type_and_an_id(text, target):
    assert target_of(text) == (tuple(target) or None)


def test_the_type_behind_a_reference_may_be_stated_or_contained():
    root = {"resourceType": "Coverage", "contained": [{"resourceType": "Patient", "id": "p"}]}
    assert resolved_type({"reference": "#p"}, root) == "Patient"
    assert resolved_type({"reference": "#"}, root) == "Coverage"
    assert resolved_type({"reference": "#q"}, root) is None
    assert resolved_type({"type": "Organization", "display": "x"}, root) == "Organization"
    assert resolved_type({"display": "x"}, root) is None


def test_a_profile_allows_the_types_of_the_profiles_it_names():
    base = "http://hl7.org/fhir/"
    targets = (
        f"{base}us/carin-bb/StructureDefinition/C4BB-Patient|2.2.0",
        f"{base}us/core/StructureDefinition/us-core-organization|7.0.0",
        f"{base}StructureDefinition/Device",
    )
    choice = TypeChoice("Reference", targets=targets)
    assert target_types(choice) == {"Patient", "Organization", "Device"}
    anything = TypeChoice("Reference", targets=(f"{base}StructureDefinition/Resource",))
    assert target_types(anything) == frozenset()


def test_a_slice_repeats_in_the_snapshot_what_holds_for_every_entry():
    """The checker relies on it: entries of a slice are checked by the slice's elements alone."""
    assert len(profile_names()) == 16
    for name in profile_names():
        profile = load_profile(name)
        for element in profile.elements:
            for one in profile.slices(element.id):
                if profile.children(one.id):
                    plain = {child.name: child for child in profile.children(element.id)}
                    inside = {child.name: child for child in profile.children(one.id)}
                    assert plain.keys() <= inside.keys(), one.id
                    for child_name, child in plain.items():
                        assert inside[child_name].min >= child.min, one.id
                        assert set(child.invariants) <= set(inside[child_name].invariants)
                assert set(element.invariants) <= set(one.invariants), one.id
                assert re.fullmatch(r"[A-Za-z0-9-]+", one.slice_name or "")
