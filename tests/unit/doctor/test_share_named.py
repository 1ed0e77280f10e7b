"""How many columns are named rightly that the doctor has not seen: a part of the benchmark."""

import pytest

from benchmarks import doctor
from benchmarks.layout_columns import NOTHING, elements_of, shipped_layout


def test_what_columns_are_is_what_their_layout_makes_of_them():
    claims = elements_of(shipped_layout("tuva-input"))["medical_claim"]
    assert claims["claim_start_date"] == ("claim.statement_from_date",)
    assert claims["allowed_amount"] == ("claim_line.amount_eligible",)
    assert claims["procedure_code_2"] == ("claim_procedure.code[other]", "claim_procedure.code")
    # It stands in for another day, and is the day of payment where the layout has that.
    assert claims["paid_date"] == ("claim.adjudication_date", "claim.paid_date", NOTHING)
    assert claims["total_cost_amount"] == (NOTHING,)


def test_a_key_made_of_columns_may_be_the_name_of_each_and_members_of_other_files_are():
    files = elements_of(shipped_layout("cms-idr"))
    assert files["clm_instnl"]["CLM_NUM_SK"][0] == "claim.claim_id"
    assert NOTHING in files["clm_instnl"]["CLM_NUM_SK"]
    assert files["clm_instnl"]["CLM_ADMSN_TYPE_CD"] == ("claim.admission_type",)
    assert files["bene_hstry"]["BENE_LAST_NAME"] == ("member.family_name",)


@pytest.mark.slow
def test_of_a_layout_that_is_hard_to_read_no_amount_is_taken_for_another():
    made = doctor.known_layouts()["cms-idr"]
    assert doctor.score(made, doctor.elements()).amounts_wrong == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["healthsparq", "synthea-patients", "tuva-input"])
def test_without_names_that_only_the_layout_can_have_given_nine_columns_of_ten_are_named(name):
    made = doctor.known_layouts()[name]
    found = doctor.score(made, doctor.elements(frozenset(doctor.own_headers(made))))
    assert found.share >= doctor.LEAST
    assert found.amounts_wrong == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 7, 16])
def test_nine_columns_of_ten_of_a_spoilt_layout_are_named(number):
    made = doctor.variant(number, doctor.known_layouts())
    found = doctor.score(made, doctor.elements())
    assert found.share >= doctor.LEAST
    assert found.amounts_wrong == 0
