"""Words that a crosswalk knows and has no code for: found where that shows in what is published."""

from functools import cache

import pytest

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.engine.unmapped import UNMAPPED, WITHOUT_CODE, findings
from etl.mapping.library import compile_set
from etl.mapping.plan import Environment
from etl.model.crosswalks import read_crosswalk
from tests.golden.mapping.rendering import ID_KEY, PAYER
from tests.unit.engine.rows import prepared

CLAIM = {
    "claim_id": "C1",
    "member_id": "M1",
    "coverage_id": "V1",
    "payer_id": "P1",
    "statement_from_date": "2024-01-02",
    "adjudication_date": "2024-01-09",
}
ORAL = CLAIM | {"claim_type": "oral"}
LINE = {"claim_id": "C1", "line_number": "1", "service_from_date": "2024-01-02"}
OWN = {
    "care_team_role_pharmacy": "scribe,,,\nprescribing,prescribing,urn:roles,1\n",
    "relationship": "friend,\nself,self\n",
    "telecom_use": "beeper,\nhome,home\n",
}
"""A payer's own words, those without a code among them."""


@cache
def crosswalks():
    known = dict(read_crosswalks([shipped()]))
    for name, lines in OWN.items():
        header = ",".join(("source", *known[name].columns))
        known[name] = known[name].overlaid(read_crosswalk(f"{header}\n{lines}", name, file=name))
    return known


@cache
def mappings():
    texts = read_folder([shipped()], "c4bb", "*.yaml").texts
    payer = {**PAYER, "default_network_status": "innetwork"}
    return compile_set(texts, crosswalks(), payer)


def found(rule=WITHOUT_CODE, **rows):
    """Return table and column of what a rule finds in rows."""
    partition = Partition(prepared(None, **rows))
    environment = Environment("golden", ID_KEY, crosswalks(), {})
    places: set[tuple[str, str]] = set()
    for plan in mappings().plans:
        rendering = render(plan, partition, environment)
        list(rendering)
        for told in findings(rendering.values).values():
            places |= {
                (one["table"], one["column"]) for one in told.to_pylist() if one["rule"] == rule
            }
    return places


def test_a_status_in_whose_place_another_is_published_is_found():
    claim = ORAL | {"rendering_network_status": "other", "billing_network_status": "innetwork"}
    assert found(claim=[claim]) == {("claim", "rendering_network_status")}


def test_a_status_that_nobody_asks_for_is_not_found():
    claim = ORAL | {"rendering_network_status": "in", "benefit_payment_status": "other"}
    assert found(claim=[claim]) == set()


def test_a_status_asked_for_last_is_found_where_the_payers_default_stands_in():
    claim = ORAL | {"benefit_payment_status": "other"}
    assert found(claim=[claim]) == {("claim", "benefit_payment_status")}


@pytest.mark.parametrize("claim_type", ["inpatient", "outpatient", "professional", "pharmacy"])
def test_a_word_is_found_where_a_must_support_element_is_left_out_for_it(claim_type):
    claim = CLAIM | {"claim_type": claim_type, "billing_network_status": "Other"}
    assert found(claim=[claim]) == {("claim", "billing_network_status")}


def test_a_word_is_found_though_only_the_must_support_element_itself_is_left_out():
    telecom = {"member_id": "M1", "sequence": "1", "system": "phone", "value": "1", "use": "beeper"}
    members = [{"member_id": "M1"}]
    assert found(member=members, member_telecom=[telecom]) == {("member_telecom", "use")}


def test_a_word_of_a_list_is_found_in_the_row_of_the_list():
    members = [{"member_id": "M1"}, {"member_id": "M2", "race": "2106-3;of no race"}]
    assert found(UNMAPPED, member=members) == {("member", "race")}
    assert found(UNMAPPED, member=members[:1]) == set()


def test_a_word_is_found_where_its_row_is_left_out_for_it():
    claim = CLAIM | {"claim_type": "pharmacy"}
    team = {"claim_id": "C1", "sequence": "1", "role": "scribe", "provider_id": "X1"}
    assert found(claim=[claim], claim_care_team=[team]) == {("claim_care_team", "role")}
    assert found(UNMAPPED, claim=[claim], claim_care_team=[team]) == set()
    assert found(claim=[claim], claim_care_team=[team | {"role": "prescribing"}]) == set()


def test_a_word_for_which_a_default_is_published_is_found():
    coverage = {"coverage_id": "V1", "member_id": "M1", "payer_id": "P1", "relationship": "friend"}
    assert ("coverage", "relationship") in found(coverage=[coverage])


def test_a_code_system_that_a_profile_does_not_have_is_found_at_the_cell_that_names_it():
    line = LINE | {"service_code": "AB123"}
    stated = line | {"service_code_system": "HIPPS"}
    assert found(claim=[ORAL], claim_line=[stated]) == {("claim_line", "service_code_system")}
    told = line | {"service_code": "99213"}
    assert found(claim=[ORAL], claim_line=[told]) == {("claim_line", "service_code")}


def test_a_word_that_only_a_lesser_element_is_without_is_not_found():
    member = {"member_id": "M1", "race": "UNK;2131-1", "ethnicity": "UNK"}
    address = {"member_id": "M1", "sequence": "1", "use": "mailing", "city": "Elm"}
    assert found(member=[member], member_address=[address]) == set()


def test_words_with_a_code_and_words_that_are_not_known_are_not_found():
    claim = ORAL | {"rendering_network_status": "par", "billing_network_status": "sometimes"}
    assert found(claim=[claim]) == set()
    assert found(UNMAPPED, claim=[claim]) == {("claim", "billing_network_status")}
