"""App Registration: the form, its complaints, secrets, and whose apps one sees."""

import pytest

from etl.auth.grants import Client
from etl.auth.records import AppStatus
from etl.auth.registration import ATTESTATIONS
from tests.given.tables import read_tables
from tests.integration.portal.conftest import FORM, browser


def test_a_sandbox_app_works_at_once_and_its_secret_is_shown_once(sandbox, developer):
    client_id, secret = developer.register()
    assert sandbox.services.apps.get(client_id).status is AppStatus.ACTIVE
    assert Client(sandbox.services.apps.get(client_id)).check_client_secret(secret)
    for path in ("/apps", f"/apps/{client_id}", f"/apps/{client_id}/edit", "/patient-access"):
        assert secret not in developer.get(path).text


def test_what_was_filled_in_is_what_is_registered(sandbox, developer):
    client_id, _ = developer.register(
        website="https://lens.example", contact_phone="+1 617 555 0199", plain_launch="yes"
    )
    draft = sandbox.services.apps.get(client_id).draft
    assert draft.name == "Claim Lens"
    assert draft.redirect_uris == ("https://lens.example/done", "http://127.0.0.1:8765/callback")
    assert draft.scopes == ("launch/patient", "patient/*.rs")
    assert draft.client_type == "confidential"
    assert draft.attestations == tuple(ATTESTATIONS)
    assert draft.website == "https://lens.example"
    assert draft.contact_phone == "+1 617 555 0199"
    assert draft.plain_launch


def test_a_public_app_has_no_secret(sandbox, developer):
    client_id, secret = developer.register(kind="public")
    assert secret == ""
    assert sandbox.services.apps.get(client_id).draft.authentication == "none"


def test_an_app_in_production_waits_for_approval(production):
    developer = browser(production).sign_in(production)
    client_id, _ = developer.register()
    assert production.services.apps.get(client_id).status is AppStatus.PENDING
    assert "Waiting for approval" in developer.get("/apps").text
    production.services.apps.approve(client_id, production.services.apps.get(client_id).revision)
    assert "Active" in developer.get("/apps").text


@pytest.mark.parametrize(("field", "value"), read_tables(__file__)["wrong"].items())
def test_a_wrong_field_is_named_with_what_is_wrong(applicant, field, value):
    answer = applicant.send("/apps/new", {**FORM, field: value})
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert answer.text.count('class="error"') == 1
    assert f'href="#{field}"' in answer.text
    assert 'value="Lens LLC"' in answer.text or field == "organization"  # nothing typed is lost


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_every_attestation_has_to_be_confirmed(applicant, name):
    fields = {key: value for key, value in FORM.items() if key != f"attest_{name}"}
    answer = applicant.send("/apps/new", fields)
    assert answer.status_code == 422
    assert f'id="attest_{name}-error"' in answer.text
    assert answer.text.count("Please confirm this.") == 2  # in the summary, and at the box


@pytest.mark.parametrize("uri", read_tables(__file__)["safe_redirect_uris"])
def test_redirect_uris_that_are_safe_are_taken(applicant, uri):
    assert applicant.register(redirect_uris=uri)


def test_what_a_applicant_writes_is_never_html(applicant):
    client_id, _ = applicant.register(name="<img src=x onerror=alert(1)>", description="</p><b>")
    for path in ("/apps", f"/apps/{client_id}", f"/apps/{client_id}/edit"):
        text = applicant.get(path).text
        assert "<img src=x" not in text
        assert "</p><b>" not in text


def test_an_app_is_edited_and_keeps_id_and_secret(sandbox, developer):
    client_id, secret = developer.register()
    page = developer.get(f"/apps/{client_id}/edit").text
    assert "https://lens.example/done" in page
    assert page.count("checked") == 1 + len(ATTESTATIONS)
    answer = developer.send(f"/apps/{client_id}/edit", {**FORM, "name": "Claim Lens 2"})
    assert answer.headers["location"] == f"/apps/{client_id}?saved=yes"
    assert sandbox.services.apps.get(client_id).draft.name == "Claim Lens 2"
    assert Client(sandbox.services.apps.get(client_id)).check_client_secret(secret)


def test_a_new_secret_ends_the_old_one(sandbox, developer):
    client_id, old = developer.register()
    answer = developer.send(f"/apps/{client_id}/secret", {}, page=f"/apps/{client_id}")
    assert "A new secret" in answer.text
    assert not Client(sandbox.services.apps.get(client_id)).check_client_secret(old)
    assert answer.headers["cache-control"] == "no-store"


def test_an_app_is_disabled_and_enabled(sandbox, developer):
    client_id, _ = developer.register()
    developer.send(f"/apps/{client_id}/disable", {}, page=f"/apps/{client_id}")
    assert sandbox.services.apps.get(client_id).status is AppStatus.DISABLED
    assert "The app is disabled" in developer.get(f"/apps/{client_id}").text
    developer.send(f"/apps/{client_id}/enable", {}, page=f"/apps/{client_id}")
    assert sandbox.services.apps.get(client_id).status is AppStatus.ACTIVE


def test_an_app_is_deleted_after_one_more_question(sandbox, developer):
    client_id, _ = developer.register()
    assert "cannot be undone" in developer.get(f"/apps/{client_id}/delete").text
    assert sandbox.services.apps.all() != ()
    answer = developer.send(f"/apps/{client_id}/delete", {})
    assert answer.headers["location"] == "/apps"
    assert developer.get(f"/apps/{client_id}").status_code == 404


@pytest.mark.parametrize("step", ["", "/edit", "/delete"])
def test_another_developers_app_is_not_there(sandbox, step):
    client_id, _ = browser(sandbox).sign_in(sandbox).register()
    other = browser(sandbox).sign_in(sandbox, "eve")
    assert other.get(f"/apps/{client_id}{step}").status_code == 404
    assert client_id not in other.get("/apps").text


@pytest.mark.parametrize("step", ["secret", "disable", "enable", "delete", "edit"])
def test_another_developers_app_cannot_be_touched(sandbox, step):
    client_id, secret = browser(sandbox).sign_in(sandbox).register()
    other = browser(sandbox).sign_in(sandbox, "eve")
    answer = other.send(f"/apps/{client_id}/{step}", FORM, page="/profile")
    assert answer.status_code == 404
    app = sandbox.services.apps.get(client_id)
    assert app.status is AppStatus.ACTIVE
    assert Client(sandbox.services.apps.get(client_id)).check_client_secret(secret)


def test_the_documentation_shows_the_developers_own_client_id(developer):
    assert "your-client-id" in developer.get("/quickstart").text
    client_id, _ = developer.register(redirect_uris="https://api.example/code")
    assert client_id in developer.get("/quickstart").text


def test_every_change_is_in_the_audit_trail(sandbox, developer):
    client_id, _ = developer.register()
    developer.send(f"/apps/{client_id}/secret", {}, page=f"/apps/{client_id}")
    developer.send(f"/apps/{client_id}/delete", {})
    done = (
        "account-opened",
        "developer-sign-in",
        "app-registered",
        "secret-rotated",
        "app-deleted",
    )
    assert sandbox.actions() == [(action, "developer") for action in done]
