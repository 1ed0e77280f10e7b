"""A view is the same mappings for other profiles, without what it leaves out."""

import json

import pytest

from etl.errors import MappingError
from etl.mapping.library import compile_set
from etl.mapping.static_values import static_value
from tests.given.tables import read_tables, table
from tests.unit.mapping.mappings import CROSSWALKS, EOB, FRAGMENTS, PAYER, SET

_TEXTS = read_tables(__file__)
CLAIM, BASIS = EOB + _TEXTS["claim"], _TEXTS["basis"]


def viewed(claim, view=BASIS, name="basis"):
    texts = {
        "set.yaml": json.dumps({**SET, "views": ["view.yaml"]}),
        "fragments.yaml": FRAGMENTS,
        "m.yaml": claim,
        "view.yaml": view,
    }
    return compile_set(texts, CROSSWALKS, PAYER, view=name)


def body(claim, view=BASIS, name="basis"):
    (plan,) = viewed(claim, view, name).plans
    return {key: static_value(member) for key, member in plan.body.members}


def refusal(claim, view=BASIS, name="basis"):
    with pytest.raises(MappingError) as caught:
        viewed(claim, view, name)
    return caught.value


def test_what_is_of_a_type_that_is_left_out_goes_and_what_stood_for_its_sake_alone():
    assert set(body(CLAIM, name="financial")) - set(body(CLAIM)) == {"total"}
    assert set(body(CLAIM)["payment"]) == {"type"}


def test_what_has_something_else_to_say_stays():
    (entry,) = body(CLAIM)["adjudication"]
    assert set(entry) == {"category", "reason"}
    assert body(CLAIM)["status"] == "active"


def test_an_element_may_be_left_out_by_its_path():
    less = BASIS.replace("[Money]", "[Money, ExplanationOfBenefit.processNote]")
    assert set(body(CLAIM)) - set(body(CLAIM, less)) == {"processNote"}


def test_a_profile_that_is_named_becomes_the_other_one():
    (financial,) = viewed(CLAIM, name="financial").plans
    (basis,) = viewed(CLAIM).plans
    assert financial.profile.endswith("/C4BB-ExplanationOfBenefit-Professional-NonClinician|2.2.0")
    assert basis.profile.endswith("/C4BB-ExplanationOfBenefit-Oral-Basis|2.2.0")


def test_what_is_given_settles_conditions():
    claim = EOB + (
        "  disposition: \"{{ claim.outcome if claim.has_line_amounts == 'Y'"
        ' else claim.status }}"\n'
    )
    given = BASIS + 'given: { claim.has_line_amounts: "Y" }\n'
    assert "map-view" in str(refusal(claim))
    (plan,) = viewed(claim, given).plans
    assert "has_line_amounts" not in str(plan)
    assert "outcome" in str(plan)
    assert "status" not in str(plan.body)


@pytest.mark.parametrize(*table(__file__, "views_without_money"))
def test_a_view_without_money_reads_no_amount_anywhere_else_either(line):
    found = refusal(EOB + line + "\n")
    assert (found.error_id, found.where) == ("map-view", "m.yaml:6")
    assert "this reads an amount" in str(found)


def test_the_search_index_tells_no_amount_either():
    search = 'search:\n  paid: [ "{{ claim.amount_benefit | text }}" ]\n'
    found = refusal(EOB + '  disposition: "{{ claim.outcome }}"\n' + search)
    assert (found.error_id, found.where) == ("map-view", "m.yaml:8")


def test_what_no_element_of_the_view_shows_is_not_searched():
    search = _TEXTS["search"]
    every = {"payment", "outcome", "note", "active"}
    for left_out, gone in (
        ("Money", set[str]()),
        ("ExplanationOfBenefit.payment", {"payment"}),
        ("ExplanationOfBenefit.processNote", {"note"}),
        ("ExplanationOfBenefit.adjudication", {"outcome"}),
    ):
        view = BASIS.replace("[Money]", f"[Money, {left_out}]")
        assert set(viewed(CLAIM + search, view).plans[0].search) == every - gone


def test_columns_of_related_rows_are_given_and_found_out_too():
    line = "  disposition: \"{{ claim.outcome if claim.prior.has_line_amounts == 'Y' }}\"\n"
    assert refusal(EOB + line).error_id == "map-view"
    viewed(EOB + line, BASIS + 'given: { claim.has_line_amounts: "Y" }\n')


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_in_a_view_is_named(view, error_id, words):
    found = refusal(CLAIM, view)
    assert found.error_id == error_id
    assert words in str(found)
    assert "view.yaml" in found.where


def test_a_view_that_there_is_not_is_refused_with_those_that_there_are():
    found = refusal(CLAIM, name="base")
    assert "no view 'base'; there are financial, basis" in str(found)
