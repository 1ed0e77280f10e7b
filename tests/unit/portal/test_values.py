"""What the pages are made from: forms, statements, durations, examples."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from etl.auth.records import InvalidForm
from etl.auth.registration import ATTESTATIONS, AppDraft
from etl.gateway.http import responses
from etl.portal.capability_tables import read_statement
from etl.portal.examples import FILES, LOOPBACK, example_file, page_examples
from etl.portal.forms import KINDS, Form, blank_draft, draft_of, explain_errors, form_of
from etl.portal.portal import ERRORS, local_path
from etl.portal.rendering import code_marks
from etl.portal.site_facts import ServerFacts, duration_text
from tests.given.drafts import draft_like
from tests.given.tables import table

DRAFT = AppDraft(
    name="Claim Lens",
    organization="Lens LLC",
    client_type="public",
    authentication="none",
    redirect_uris=("https://lens.example/done", "com.example.lens:/done"),
    policy_uri="https://lens.example/privacy",
    contact_name="Dana",
    contact_email="dana@lens.example",
    attestations=tuple(ATTESTATIONS),
)
SERVED = ServerFacts(
    base_url="https://api.example",
    fhir="https://api.example/fhir",
    smart={
        "authorization_endpoint": "https://api.example/oauth/authorize",
        "token_endpoint": "https://api.example/oauth/token",
        "revocation_endpoint": "https://api.example/oauth/revoke",
    },
    capability=dict,
)


@pytest.mark.parametrize(("client_type", "authentication"), KINDS.values())
def test_a_draft_survives_its_form(client_type, authentication):
    key = ECKey.generate_key("P-256").as_dict(private=False)
    draft = draft_like(
        DRAFT,
        client_type=client_type,
        authentication=authentication,
        jwks=json.dumps({"keys": [key]}) if authentication == "private_key_jwt" else "",
        plain_launch=client_type == "confidential",
    )
    assert draft_of(form_of(draft)) == draft


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=40), max_size=8))
def test_whatever_is_sent_is_refused_with_sentences_at_fields(values):
    with pytest.raises(InvalidForm) as refused:
        draft_of(Form(values))
    assert set(refused.value.problems) <= set(AppDraft.model_fields)
    assert all(refused.value.problems.values())


def test_the_blank_form_suggests_what_is_known():
    form = blank_draft(name="Dana", email="d@x.example", organization="")
    assert form.value("contact_email") == "d@x.example"
    assert not any(form.ticked(f"attest_{name}") for name in ATTESTATIONS)


def test_a_name_is_all_that_the_blank_form_of_a_sandbox_needs():
    form = blank_draft(name="", email="d@x.example", organization="", redirect_uris=(LOOPBACK,))
    draft = draft_of(Form({**form.values, "name": "Claim Lens"}))
    assert draft.redirect_uris == (LOOPBACK,)
    assert draft.contact_name == "d"


def test_complaints_stand_at_the_forms_own_fields():
    form = Form({"attest_hipaa": "yes"})
    errors = explain_errors(form, {"authentication": "A", "attestations": "B", "name": "C"}).errors
    assert errors["kind"] == "A"
    assert errors["name"] == "C"
    assert set(errors) == {"kind", "name"} | {f"attest_{x}" for x in ATTESTATIONS if x != "hipaa"}


@pytest.mark.parametrize(*table(__file__, "durations"))
def test_a_time_span_is_said_without_rounding(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(*table(__file__, "marked_names"))
def test_marked_names_of_a_statement_are_shown_as_code(text, html):
    assert code_marks(text) == html


@given(st.text(max_size=30))
def test_the_way_back_from_a_sign_in_stays_on_this_server(text):
    path = local_path(text)
    assert path.startswith("/")
    assert not path.startswith("//")
    assert ":" not in path
    assert "\\" not in path


def test_the_shells_examples_hold_the_servers_addresses():
    found = page_examples(SERVED, "my-app", "https://lens.example/done")
    link = str(found["authorize_shell"])
    assert "CLIENT_ID='my-app'" in link
    assert "&redirect_uri=https%3A%2F%2Flens.example%2Fdone\\" in link
    assert "&aud=https%3A%2F%2Fapi.example%2Ffhir\\" in link


@pytest.mark.parametrize("name", FILES)
def test_an_example_file_has_nothing_left_to_fill_in(name):
    text = example_file(name, SERVED, "https://api.example/code")
    assert "{{" not in text
    assert "https://api.example/fhir" in text
    if name.endswith(".py"):
        compile(text, name, "exec")


def test_an_empty_statement_is_an_empty_page_and_no_error():
    statement = read_statement({})
    assert statement.resources == ()


def test_a_statement_names_the_oauth_endpoints_and_the_guides():
    uris = {
        "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
        "extension": [{"url": "token", "valueUri": "https://api.example/oauth/token"}],
    }
    statement = read_statement(
        {
            "implementationGuide": ["http://hl7.org/fhir/us/core/ImplementationGuide/x|6.1.0"],
            "rest": [
                {
                    "security": {"extension": [uris]},
                    "resource": [
                        {"type": "Widget"},
                        {"type": "Patient", "searchRevInclude": ["Coverage:beneficiary"]},
                    ],
                    "operation": [{"name": "bulk-publish"}],
                }
            ],
        }
    )
    assert statement.oauth == {"token": "https://api.example/oauth/token"}
    assert statement.guides == ("US Core 6.1.0",)
    assert [one["type"] for one in statement.resources] == ["Patient", "Widget"]


def test_the_table_of_errors_explains_every_status_of_the_fhir_api():
    explained = [row["code"] for row in ERRORS["fhir"]]
    assert explained == sorted({str(kind.status) for kind in responses.KINDS.values()})
