"""Prior authorizations: a second family of rows beside claims, whose rows have the same fates."""

import pytest

from tests.given.tables import read_tables
from tests.unit.quality.world import (
    KeysInMemory,
    assert_outcome,
    found,
    outcomes,
    rejected,
    run,
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
def test_a_claim_that_used_it_may_lie_anywhere(claim_ids):
    of = with_prior_auths()
    of["prior_auth"][0]["claim_ids"] = claim_ids
    unknown = ("prior-auth-claim-unknown", "prior_auth", 2, "claim_ids")
    assert found(run(of)) == {unknown}
    known = KeysInMemory(claims=frozenset({"K9"}))
    assert found(run(of, known=known)) == set()


def test_an_authorization_of_two_members_is_nobodys():
    of = with_prior_auths()
    of["prior_auth"].append({**of["prior_auth"][0], "member_id": "M2", "coverage_id": "C2"})
    assert {
        ("prior_auth", 2, "prior-auth-of-two-members"),
        ("prior_auth", 4, "prior-auth-of-two-members"),
        ("prior_auth_line", 2, "hangs-on-rejected"),
    } <= rejected(run(of))
