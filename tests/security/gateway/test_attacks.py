"""Only the member's own data: whatever is tried, a token reaches its member and the directory."""

import pytest

from tests.security.gateway.attacks import ATTACKS
from tests.security.gateway.judging import (
    assert_nothing_of_another,
    empty,
    own,
    refused,
    secrets,
    server,
    words,
)
from tests.unit.gateway.calls import BASE, OTHER_TOKEN, served

WAYS = {"refused": refused, "empty": empty, "own": own}


def test_there_are_attacks_enough_and_each_is_another():
    assert len(ATTACKS) >= 150
    assert len(set(ATTACKS)) == len(ATTACKS)
    assert len(secrets()) > 5


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: f"{one.method} {one.target}"[:90])
def test_an_attack_reaches_nothing_of_another_member(attack):
    said = words()
    target = attack.target.format(**said)
    headers = [(n.lower().encode(), v.format(**said).encode()) for n, v in attack.headers]
    body = attack.body.format(**said).encode()
    got = server().call(target, *headers, method=attack.method, body=body)
    assert any(WAYS[way](got) for way in attack.outcome.split(" or ")), (got.status, got.body[:500])
    assert_nothing_of_another(got)


def test_the_other_member_reaches_all_of_that():
    """So that the table above is about something that there is."""
    said = words()
    for target in (
        "/fhir/Patient/{them}",
        "/fhir/ExplanationOfBenefit/{claim}",
        "/fhir/Coverage/{cover}",
        "/fhir/ExplanationOfBenefit/{claim}/_history/{version}",
        "/fhir/_page/{page}",
        "/fhir/Patient/{them}/$everything",
    ):
        assert server().call(target.format(**said), token=OTHER_TOKEN).status == 200
    for target in ("patient={them}", "identifier={number}", "coverage={cover}", "_id={claim}"):
        path = f"/fhir/ExplanationOfBenefit?{target.format(**said)}"
        assert server().call(path, token=OTHER_TOKEN).json["total"] >= 1


def test_nothing_that_was_asked_stands_in_the_log():
    said = words()
    mine = served()
    for attack in ATTACKS:
        mine.call(
            attack.target.format(**said),
            method=attack.method,
            body=attack.body.format(**said).encode(),
        )
    text = b"".join(mine.log).decode()
    for word in (*secrets(), said["me"], said["mine"], OTHER_TOKEN, BASE, "evil", "passwd"):
        assert word not in text
    assert all(200 <= line["status"] < 500 for line in mine.lines())
