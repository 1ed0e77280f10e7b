"""Prior authorizations: a second family of rows beside claims, whose rows have the same fates."""

import pytest

from etl.columns.dates import day_number
from tests.given.tables import read_tables
from tests.unit.quality.world import (
    KeysInMemory,
    assert_outcome,
    found,
    outcomes,
    rejected,
    run,
    standard_book,
    world,
)


def with_prior_auths():
    rows = read_tables(__file__)["rows"]
    return world() | {table: [dict(row) for row in found] for table, found in rows.items()}


def test_prior_authorizations_without_a_fault_have_no_finding():
    assert found(run(with_prior_auths())) == set()


@outcomes(__file__)
def test_a_fault_has_the_consequences_that_it_has_in_a_claim(outcome):
    assert_outcome(outcome, with_prior_auths())


@pytest.mark.parametrize("claim_ids", ["K9", "K1;K9"])
def test_a_claim_that_used_it_is_unknown_or_anothers_in_another_partition(claim_ids):
    of = with_prior_auths()
    of["prior_auth"][0]["claim_ids"] = claim_ids
    unknown = ("prior-auth-claim-unknown", "prior_auth", 2, "claim_ids")
    assert found(run(of)) == {unknown}
    known = KeysInMemory(claims=frozenset({"K9"}))
    another = ("prior-auth-claim-of-another", "prior_auth", 2, "claim_ids")
    outcome = run(of, known=known)
    assert found(outcome) == {another}
    assert outcome.tables["prior_auth"].column("claim_ids").to_pylist() == [None, None]


def test_an_authorization_of_two_members_is_nobodys():
    of = with_prior_auths()
    of["prior_auth"].append({**of["prior_auth"][0], "member_id": "M2", "coverage_id": "C2"})
    assert {
        ("prior_auth", 2, "prior-auth-of-two-members"),
        ("prior_auth", 4, "prior-auth-of-two-members"),
        ("prior_auth_line", 2, "hangs-on-rejected"),
    } <= rejected(run(of))


def test_a_request_of_the_day_after_the_extract_is_noticed():
    of = with_prior_auths()
    of["prior_auth"][1]["received_at"] = "2099-01-01"
    as_of = day_number("2098-12-31")
    assert ("prior-auth-in-future", "prior_auth", 3, "received_at") in found(run(of, as_of=as_of))


def test_every_rule_of_prior_authorizations_has_a_case():
    cases = read_tables(__file__)["outcomes"]
    told = {rule for case in cases for rule in case.get("rejected", {})}
    told |= {finding[0] for case in cases for finding in case.get("findings", ())}
    told |= {"prior-auth-claim-unknown", "prior-auth-of-two-members", "prior-auth-in-future"}
    assert {rule.id for rule in standard_book().rules if "prior-auth" in rule.id} <= told
