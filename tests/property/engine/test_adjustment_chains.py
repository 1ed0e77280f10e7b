"""Chains of adjustments: whatever the links and the order, what a slow and obvious reading says."""

from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from etl.claims.adjustment_chains import find_chains
from etl.mapping.plan import Environment
from etl.model.adjustment_chains import Linked, Role, chain_positions, moment
from tests.property.engine.rows import to_table

ENVIRONMENT = Environment("p", b"k", {}, {})

NUMBERS = ["A", "B", "C", "D", "E", "F"]


@st.composite
def linked(draw):
    claims = []
    for owner in ("M1", "M2"):
        for number in draw(st.lists(st.sampled_from(NUMBERS), unique=True, max_size=6)):
            named = st.none() | st.sampled_from([*NUMBERS, "gone"])
            claims.append(
                Linked(
                    owner=owner,
                    claim_id=f"{owner}{number}",
                    prior=_of(owner, draw(named)),
                    successor=_of(owner, draw(named)),
                    adjudicated=draw(st.sampled_from(["2024-01-01", "2024-02-01", "2024-03-01"])),
                    updated=draw(
                        st.sampled_from([None, "2024-04-01", "2024-04-01T01:00:00+02:00"])
                    ),
                    voids=draw(st.integers(0, 5)) == 0,
                    reverses=draw(st.integers(0, 3)) == 0,
                    rejected=draw(st.integers(0, 3)) == 0,
                )
            )
    return claims


def _of(owner, number):
    return None if number is None else f"{owner}{number}"


# -- the oracle: every question asked of every pair of claims, over and over ------------------


def follows(one, other):
    """Whether the second claim comes directly after the first, whichever says so."""
    if one.owner != other.owner or one.claim_id == other.claim_id:
        return False
    return other.prior == one.claim_id or one.successor == other.claim_id


def chain(claim, claims):
    """Return the claim's chain: grown by neighbours until it grows no more."""
    found = [claim]
    while True:
        more = [
            one
            for one in claims
            if one not in found and any(follows(one, in_) or follows(in_, one) for in_ in found)
        ]
        if not more:
            return found
        found += more


def takes_back(claim, claims):
    names_one = claim.prior not in (None, claim.claim_id)
    return claim.voids or (
        claim.reverses and (names_one or any(follows(one, claim) for one in claims))
    )


def last_of(claims):
    """Return the claim that is left of a chain when all that lose to another are struck out."""
    left = [one for one in claims if not any(follows(one, other) for other in claims)] or claims
    standing = [one for one in left if not takes_back(one, claims)]
    left = standing or left
    here = [one for one in left if one.successor in (None, one.claim_id)]
    left = here or left
    newest = max(one.adjudicated or "" for one in left)
    left = [one for one in left if one.adjudicated == newest]
    latest = max(moment(one.updated) for one in left)
    left = [one for one in left if moment(one.updated) == latest]
    return max(left, key=lambda one: one.claim_id or "")


def last_published(claims):
    """Return the claim that is left of a chain when rejected ones are struck out from its end."""
    left = list(claims)
    while left and last_of(left).rejected:
        left.remove(last_of(left))
    return last_of(left) if left else None


def role_of(claim, claims):
    mine = chain(claim, claims)
    if claim != last_of(mine) or claim.rejected:
        return Role.SUPERSEDED
    if takes_back(claim, mine):
        return Role.VOID
    return Role.CURRENT if claim.successor in (None, claim.claim_id) else Role.SUPERSEDED


def leads_back(claim, claims):
    reached = [one for one in claims if follows(claim, one)]
    for one in reached:
        reached += [other for other in claims if follows(one, other) and other not in reached]
    return claim in reached


@given(linked(), st.randoms(use_true_random=False))
@example([], Random(1))
def test_a_chain_has_the_last_claim_that_the_oracle_finds_in_any_order(claims, chance):
    found = {claim.claim_id: p for claim, p in zip(claims, chain_positions(claims), strict=True)}
    for claim in claims:
        place, mine = found[claim.claim_id], chain(claim, claims)
        if claim.rejected:
            continue
        assert place.role is role_of(claim, claims)
        assert place.last == (claim == last_published(mine))
        assert place.bereft == (place.last and claim != last_of(mine))
        assert {claims[at] for at in place.priors} == {o for o in claims if follows(o, claim)}
        assert {claims[at] for at in place.successors} == {o for o in claims if follows(claim, o)}
        assert place.circular or not leads_back(claim, claims)
    turned = list(claims)
    chance.shuffle(turned)
    again = {claim.claim_id: p for claim, p in zip(turned, chain_positions(turned), strict=True)}
    assert {key: _named(place, claims) for key, place in found.items()} == {
        key: _named(place, turned) for key, place in again.items()
    }


def _named(place, claims):
    """Return a place with numbers of claims where it has their positions."""
    names = [[claims[at].claim_id for at in side] for side in (place.priors, place.successors)]
    return replace(place, priors=(), successors=()), names


def row_of(claim):
    return {
        "claim_id": claim.claim_id,
        "member_id": claim.owner,
        "adjusted_from_claim_id": claim.prior,
        "adjusted_to_claim_id": claim.successor,
        "adjudication_date": claim.adjudicated,
    }


@given(linked())
def test_columns_say_what_the_chains_of_the_rows_are(claims):
    rows = [
        row_of(claim)
        | {
            "last_updated": claim.updated,
            "bill_frequency": "8" if claim.voids else "1",
            "amount_benefit": "-1.00" if claim.reverses else "1.00",
            "amount_copay": "0.00",
        }
        for claim in claims
    ]
    found = find_chains(
        {"claim": to_table("claim", rows), "claim_line": to_table("claim_line", [])},
        np.array([claim.rejected for claim in claims], dtype=np.bool_),
    )
    expected = chain_positions(claims)
    assert found.role.to_pylist() == [place.role.value for place in expected]
    assert found.last.tolist() == [place.last for place in expected]
    for rule, flags in (
        ("claim-replaced-twice", [place.rival for place in expected]),
        ("claim-chain-circle", [place.circular for place in expected]),
        ("claim-successor-rejected", [place.bereft for place in expected]),
    ):
        assert found.findings[rule].tolist() == flags
    for at, (claim, place) in enumerate(zip(claims, expected, strict=True)):
        named = [
            str(claims[one].claim_id) for one in place.priors if claims[one].claim_id != claim.prior
        ]
        assert found.priors[at].as_py() == (";".join(named) or None)
        stated = claims[at].updated
        assert found.updated[at].as_py() in {stated, *(one.updated for one in claims)}
        assert (found.updated[at].as_py() is None) == (stated is None)


@given(linked(), st.sampled_from(NUMBERS))
def test_a_claim_without_a_member_is_in_no_chain(claims, named):
    rows = [*map(row_of, claims)]
    incomplete = {
        "claim_id": "M1Z",
        "adjusted_from_claim_id": f"M1{named}",
        "adjusted_to_claim_id": f"M1{named}",
    }
    lines = to_table("claim_line", [])
    without = find_chains({"claim": to_table("claim", rows), "claim_line": lines})
    found = find_chains({"claim": to_table("claim", [*rows, incomplete]), "claim_line": lines})
    assert found.role.to_pylist() == [*without.role.to_pylist(), Role.CURRENT.value]
    assert found.priors.to_pylist() == [*without.priors.to_pylist(), None]
    assert found.successors.to_pylist() == [*without.successors.to_pylist(), None]
