"""AuditEvents as they stand in the trail."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from etl.auth import audit_events
from etl.smart.grants import Access

READ = Access(
    when=datetime(2026, 2, 1, 9, 30, 1, 250_000, tzinfo=UTC),
    request="r1",
    client="app",
    grant="consent",
    patient="ana",
    interaction="read",
    what="Coverage/c1",
    query="",
    outcome=200,
    address="192.0.2.1",
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INTERACTION = st.sampled_from(["read", "vread", "search", "everything"])


def test_an_event_names_types_that_were_delivered_beside_the_requested_one():
    search = READ._replace(interaction="search", what="ExplanationOfBenefit")
    for delivered, named_types in (
        (("ExplanationOfBenefit",), []),
        (("Coverage", "ExplanationOfBenefit"), ["Coverage, ExplanationOfBenefit"]),
    ):
        event = json.loads(audit_events.access_event(search._replace(delivered=delivered)))
        entities = [each for each in event["entity"] if each.get("name") == "delivered"]
        assert [each["what"]["identifier"]["value"] for each in entities] == named_types


def named(name, value):
    return {"what": {"identifier": {"value": value}}, "name": name}


def test_a_read_is_an_event_of_app_patient_resource_request_and_consent():
    expected = Path(__file__).with_name("read_event.json").read_text()
    assert json.loads(audit_events.access_event(READ)) == json.loads(expected)


@given(
    texts=st.lists(TEXT, min_size=6, max_size=6),
    interaction=INTERACTION,
    what=st.sampled_from(["Coverage", "Coverage/c1", "Patient/someone/ExplanationOfBenefit"]),
    outcome=st.integers(200, 599),
)
def test_an_access_is_canonical_json_that_holds_each_text_as_it_was(
    texts, interaction, what, outcome
):
    request, client, grant, patient, query, address = texts
    access = READ._replace(
        request=request,
        client=client,
        grant=grant,
        patient=patient,
        interaction=interaction,
        what=what,
        query=query,
        outcome=outcome,
        address=address,
    )
    body = audit_events.access_event(access)
    event = json.loads(body)
    assert audit_events.canonical_json(event) == body
    (agent,) = event["agent"]
    assert agent.get("who", {"identifier": {"value": ""}}) == {"identifier": {"value": client}}
    assert agent.get("network", {"address": ""})["address"] == address
    assert event["outcomeDesc"] == f"HTTP {outcome}"
    assert event["action"] == ("E" if interaction == "search" else "R")
    entities = event["entity"]
    first = entities.pop(0) if patient else {"what": {"reference": "Patient/"}}
    assert first["what"] == {"reference": f"Patient/{patient}"}
    asked = entities.pop(0)
    if "/" in what and interaction != "search":
        assert asked["what"] == {"reference": what}
    else:
        assert "name" not in asked
        assert base64.b64decode(asked["query"]).decode() == (f"{what}?{query}" if query else what)
    expected = [named("request", request)]
    assert entities == expected + ([named("consent", grant)] if grant else [])
