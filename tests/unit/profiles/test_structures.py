"""What the profile facts say, checked against things that everyone knows about the guide."""

import pytest

from etl.errors import UsageError
from etl.profiles import structures
from etl.profiles import structures as st
from etl.profiles.guides import (
    C4BB,
    R4,
    US_CORE,
    known_versions,
    read_facts,
    unknown_version,
    versions_of,
)
from etl.profiles.value_sets import code_systems, value_set, value_set_urls

C4BB_2_1_0 = versions_of(C4BB)[1]
INPATIENT = "C4BB-ExplanationOfBenefit-Inpatient-Institutional"
ORAL = "C4BB-ExplanationOfBenefit-Oral"
ITEM = "ExplanationOfBenefit.item"
ADJUDICATION = "http://hl7.org/fhir/us/carin-bb/ValueSet/C4BBAdjudication"


def every_profile():
    names = [(name, guide) for guide in (C4BB, C4BB_2_1_0) for name in st.profile_names(guide)]
    assert len(names) == 2 * 16
    us_core = ("us-core-race", "us-core-location", "us-core-practitionerrole")
    names += [(name, US_CORE) for name in us_core]
    return [st.load_profile(name, guide) for name, guide in names]


def test_every_version_has_the_sixteen_profiles_of_the_guide():
    for guide in (C4BB, C4BB_2_1_0):
        names = st.profile_names(guide)
        assert len(names) == 16
        assert sum(name.endswith("-Basis") for name in names) == 5


def test_2_2_0_wants_the_version_of_claim_type_and_2_1_0_does_not():
    kind = "ExplanationOfBenefit.type"
    (new,) = st.load_profile(INPATIENT).by_id[kind].pattern["coding"]
    (old,) = st.load_profile(INPATIENT, C4BB_2_1_0).by_id[kind].pattern["coding"]
    assert new == {**old, "version": "1.0.1"}


def test_an_amount_slice_is_told_apart_by_a_required_binding():
    profile = st.load_profile(INPATIENT)
    slices = {s.slice_name: s for s in profile.slices("ExplanationOfBenefit.item.adjudication")}
    assert set(slices) >= {"adjudicationamounttype", "adjustmentreason", "allowedunits"}
    amounts = slices["adjudicationamounttype"]
    assert profile.by_id[f"{amounts.id}.amount"].min == 1
    binding = profile.by_id[f"{amounts.id}.category"].binding
    assert (binding.strength, binding.value_set) == ("required", ADJUDICATION)


def test_an_inpatient_claim_requires_its_admission_period_and_revenue_codes():
    profile = st.load_profile(INPATIENT)
    required = {element.id for element in profile.required()}
    assert "ExplanationOfBenefit.supportingInfo:admissionperiod" in required
    assert "ExplanationOfBenefit.item.revenue" in required
    assert "ExplanationOfBenefit.item.detail" not in required


def test_every_element_hangs_on_another_one_of_its_profile():
    for profile in every_profile():
        for element in profile.elements[1:]:
            above = element.id.rpartition(".")[0]
            if element.slice_name:
                assert element in profile.slices(element.id.rpartition(":")[0])
            else:
                assert element in profile.children(above)
            assert above in profile.by_id, element.id


def test_every_type_that_an_element_names_is_known():
    for profile in every_profile():
        for element in profile.elements:
            for choice in element.types:
                known = choice.code in st.primitives() or structures.is_type(choice.code)
                assert known or choice.code == "Resource", (element.id, choice.code)


@pytest.mark.parametrize(
    ("name", "above", "child", "found"),
    [
        # in its type, where the profile is silent
        (INPATIENT, "ExplanationOfBenefit.insurer", "reference", "Reference.reference"),
        # where a content reference points
        (ORAL, f"{ITEM}.detail.adjudication", "amount", f"{ITEM}.adjudication.amount"),
        # in the unsliced element, where a slice is not unfolded
        ("C4BB-Patient", "Patient.extension:race", "url", "Extension.url"),
    ],
)
def test_a_child_that_an_element_does_not_list_is_found(name, above, child, found):
    profile = st.load_profile(name)
    assert st.child(profile, profile.by_id[above], child)[1].id == found


def test_a_choice_is_found_by_the_json_name_of_each_of_its_types_and_no_other():
    profile = st.load_profile(INPATIENT)
    info = profile.by_id["ExplanationOfBenefit.supportingInfo"]
    for name in ("timing[x]", "timingDate", "timingPeriod"):
        found = st.child(profile, info, name)
        assert found is not None, name
        assert found[1].path == "ExplanationOfBenefit.supportingInfo.timing[x]"
    assert st.child(profile, info, "timingString") is None
    assert st.child(profile, info, "timing") is None


def test_the_path_is_the_id_without_slices():
    profile = st.load_profile(INPATIENT)
    found = profile.by_id["ExplanationOfBenefit.supportingInfo:admissionperiod.timing[x]"]
    assert found.path == "ExplanationOfBenefit.supportingInfo.timing[x]"
    assert found.slice_name is None


def test_an_array_stays_one_where_the_profile_allows_a_single_entry():
    payor = st.load_profile("C4BB-Coverage").by_id["Coverage.payor"]
    assert (payor.max, payor.array) == (1, True)
    diagnosis = st.load_profile(INPATIENT).by_id["ExplanationOfBenefit.diagnosis.type"]
    assert (diagnosis.max, diagnosis.array) == (1, True)
    assert not st.load_profile(INPATIENT).by_id["ExplanationOfBenefit.payment"].array
    assert st.load_type("CodeableConcept").by_id["CodeableConcept.coding"].array


def test_a_complete_value_set_says_no_and_an_open_one_says_it_cannot_know():
    amounts = value_set(ADJUDICATION)
    own = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication"
    assert amounts.status == "complete"
    assert amounts.includes(own, "coinsurance") is True
    assert amounts.includes(own, "no-such-code") is False
    revenue = value_set("http://hl7.org/fhir/us/carin-bb/ValueSet/AHANUBCRevenueCodes")
    assert revenue.includes("https://www.nubc.org/CodeSystem/RevenueCodes", "0123") is None
    assert revenue.includes("http://example.org/", "0123") is False
    assert value_set("http://example.org/vs").includes("http://example.org/", "x") is None


def test_2_1_0_has_its_own_icd_9_system_and_shares_the_rest():
    url = "http://hl7.org/fhir/us/carin-bb/ValueSet/CMSICD910PCSProcedureCodes"
    assert "http://www.cms.gov/Medicare/Coding/ICD9" in value_set(url, C4BB_2_1_0).open_systems
    assert "http://hl7.org/fhir/sid/icd-9-cm" in value_set(url).open_systems
    same = "http://hl7.org/fhir/ValueSet/administrative-gender"
    assert value_set(same, C4BB_2_1_0) == value_set(same)


def test_displays_are_those_of_the_guide_s_own_code_systems_only():
    own = code_systems()
    codes = [code for url in value_set_urls() for code in value_set(url).codes if code.display]
    assert codes
    assert {own[code.system][code.code] == code.display for code in codes} == {True}


def test_value_sets_that_profiles_require_and_the_guide_defines_are_known():
    for profile in every_profile():
        for element in profile.elements:
            if element.binding and element.binding.strength == "required":
                url = element.binding.value_set
                if not url.startswith("http://cts.nlm.nih.gov/"):  # VSAC: not to be had
                    assert value_set(url).status != "unavailable", (profile.name, element.id)


def test_map_ids_point_at_elements_that_exist():
    rows = read_facts(C4BB, "map-ids")
    assert len({map_id for map_id, _, _ in rows}) == 108
    for _, name, element in rows:
        assert element in st.load_profile(name).by_id


def test_canonicals_are_found_with_and_without_a_version():
    for text in ("C4BB-Patient", "C4BB-Patient|2.2.0", "C4BB-Patient|2.2"):
        found = st.find_canonical(C4BB.canonical + text)
        assert found is st.load_profile("C4BB-Patient")
    old = st.find_canonical(C4BB.canonical + "C4BB-Patient|2.1.0")
    assert old.version == "2.1.0"
    assert st.find_canonical(C4BB.canonical + "C4BB-Patient|1.0.0") is None
    assert st.find_canonical(C4BB.canonical + "C4BB-Nobody") is None
    assert st.find_canonical(f"{US_CORE.canonical}us-core-location|7.0.0") is not None
    assert st.find_canonical(R4.canonical + "Patient") is st.load_type("Patient")
    assert st.find_canonical("http://example.org/StructureDefinition/x") is None


@pytest.mark.parametrize("name", ["C4BB-Nobody", "value-sets", "../r4/Patient"])
def test_an_unknown_profile_is_a_usage_error(name):
    with pytest.raises(UsageError, match="no profile"):
        st.load_profile(name)


def test_a_version_that_is_not_known_is_told_with_its_guide():
    assert unknown_version(f"{C4BB.canonical}C4BB-Patient|9.9.9") == (C4BB, "9.9.9")
    assert known_versions(C4BB) == "2.2.0 and 2.1.0"
    for canonical in (
        f"{C4BB.canonical}x|2.1",
        f"{C4BB.canonical}x",
        f"{US_CORE.canonical}x|1.0.0",
    ):
        assert unknown_version(canonical) is None


def test_an_unknown_type_or_us_core_profile_is_a_usage_error():
    with pytest.raises(UsageError, match="no FHIR type"):
        st.load_type("primitives")
    with pytest.raises(UsageError, match=r"no profile 'us-core-nothing' in US Core 7\.0\.0"):
        st.load_profile("us-core-nothing", US_CORE)


def test_the_us_core_location_needs_a_name_and_the_role_a_way_to_reach_it():
    assert st.load_profile("us-core-location", US_CORE).by_id["Location.name"].min == 1
    role = st.load_profile("us-core-practitionerrole", US_CORE)
    assert {"pd-1", "us-core-13"} <= set(role.root.invariants)
    assert role.by_id["PractitionerRole.telecom.value"].min == 1
