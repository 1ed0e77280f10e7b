"""Registering apps: by the registry, and by RFC 7591 and RFC 7592 where that is switched on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from sqlalchemy.exc import IntegrityError

from etl.auth.database_tables import DeveloperRow
from etl.auth.records import InvalidForm, Issued, NoSuchApp
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import CALLBACK, DRAFT, PUBLIC, Standing, stand_up

METADATA: dict[str, Any] = {
    "client_name": "Claims Compass",
    "redirect_uris": [CALLBACK],
    "token_endpoint_auth_method": "client_secret_basic",
    "policy_uri": "https://app.example/privacy",
    "contacts": ["jo@app.example"],
    "software_version": "ignored",
}
TOKEN = "an-initial-access-token"  # noqa: S105

GOOD = "a rather long passphrase"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_dynamic_registration_is_off_unless_it_is_switched_on(standing: Standing) -> None:
    with standing.client() as browser:
        answer = browser.post("/oauth/register", json=METADATA)
        document = browser.get("/.well-known/openid-configuration").json()
    assert answer.status_code == 404
    assert "registration_endpoint" not in document


def test_dynamic_registration_asks_for_its_token(tmp_path: Path) -> None:
    with (
        stand_up(tmp_path, registration="token", registration_token=TOKEN) as standing,
        standing.client() as browser,
    ):
        bare = browser.post("/oauth/register", json=METADATA)
        wrong = browser.post("/oauth/register", json=METADATA, headers=bearer("wrong"))
        fine = browser.post("/oauth/register", json=METADATA, headers=bearer(TOKEN))
    assert bare.status_code == wrong.status_code == 401
    assert bare.headers["www-authenticate"].startswith("Bearer")
    assert fine.status_code == 201


def test_a_registered_app_works_and_looks_after_itself(tmp_path: Path) -> None:
    with stand_up(tmp_path, registration="open") as standing, standing.client() as browser:
        answer = browser.post("/oauth/register", json=METADATA)
        document = answer.json()
        assert answer.headers["cache-control"] == "no-store"
        assert document["client_secret_expires_at"] == 0
        client_id = document["client_id"]
        issued = Issued(standing.services.apps.get(client_id), document["client_secret"])
        assert acting.tokens(browser, issued)["patient"]
        path = document["registration_client_uri"].removeprefix(acting.BASE)
        own = bearer(document["registration_access_token"])
        assert browser.get(path, headers=own).json()["client_name"] == "Claims Compass"
        changed = browser.put(path, json={**METADATA, "client_name": "Renamed"}, headers=own)
        assert changed.json()["client_name"] == "Renamed"
        assert "client_secret" not in changed.json()
        assert browser.get(path, headers=bearer("wrong")).status_code == 401
        assert browser.delete(path, headers=bearer("wrong")).status_code == 401
        assert browser.delete(path, headers=own).status_code == 204
        assert browser.get(path, headers=own).status_code == 401


def test_in_production_a_registered_app_waits(tmp_path: Path) -> None:
    with (
        stand_up(tmp_path, registration="open", sandbox=False) as standing,
        standing.client() as browser,
    ):
        document = browser.post("/oauth/register", json=METADATA).json()
        assert standing.services.apps.get(document["client_id"]).status == "pending"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uris": ["http://app.example/x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://app.example"}, "invalid_redirect_uri"),
        ({"client_name": 7}, "invalid_client_metadata"),
        ({"client_name": "x" * 500}, "invalid_client_metadata"),
        ({"client_name": "Claims\u202eCompass"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"scope": "system/*.rs"}, "invalid_client_metadata"),
        ({"policy_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
        ({"policy_uri": "http://169.254.169.254/"}, "invalid_client_metadata"),
        ({"contacts": ["nobody"]}, "invalid_client_metadata"),
    ],
)
def test_metadata_that_cannot_be_taken_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: str
) -> None:
    with stand_up(tmp_path, registration="open") as standing, standing.client() as browser:
        answer = browser.post("/oauth/register", json={**METADATA, **changes})
    assert answer.status_code == 400
    assert answer.json()["error"] == error


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"x" * 100_000])
def test_a_body_that_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    with stand_up(tmp_path, registration="open") as standing, standing.client() as browser:
        assert browser.post("/oauth/register", content=content).status_code == 400


def test_keys_behind_an_address_are_not_fetched(tmp_path: Path) -> None:
    metadata = {
        **METADATA,
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": "http://169.254.169.254/keys",
    }
    key = ECKey.generate_key("P-384", auto_kid=True)
    given = {**metadata, "jwks": {"keys": [key.as_dict(private=False)]}}
    del given["jwks_uri"]
    with stand_up(tmp_path, registration="open") as standing, standing.client() as browser:
        refused = browser.post("/oauth/register", json=metadata)
        fine = browser.post("/oauth/register", json=given)
    assert refused.status_code == 400
    assert fine.status_code == 201
    assert fine.json()["jwks"] == json.loads(json.dumps(given["jwks"]))


def test_registering_is_limited_in_number(tmp_path: Path) -> None:
    rates = {"register": "2/hour"}
    with (
        stand_up(tmp_path, registration="open", rates=rates) as standing,
        standing.client() as browser,
    ):
        codes = [browser.post("/oauth/register", json=METADATA).status_code for _ in range(3)]
    assert codes == [201, 201, 429]


def test_a_developer_reaches_own_apps_only(standing: Standing) -> None:
    apps = standing.services.apps
    mine = apps.register(DRAFT, developer="jo").app
    for other in ("someone", ""):
        with pytest.raises(NoSuchApp):
            apps.get(mine.client_id, developer=other)
        with pytest.raises(NoSuchApp):
            apps.rotate_secret(mine.client_id, developer=other)
        with pytest.raises(NoSuchApp):
            apps.delete(mine.client_id, developer=other)
    assert apps.of_developer("jo") == (mine,)
    assert apps.of_developer("") == ()
    apps.register(DRAFT)
    assert apps.of_developer("") == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"policy_uri": ""},
        {"attestations": ("hipaa",)},
        {"client_type": "public"},
        {"authentication": "none"},
        {"authentication": "private_key_jwt"},
        {"scopes": ()},
        {"scopes": ("openid",)},
        {"contact_phone": "call me"},
        {"redirect_uris": tuple(f"https://app.example/{number}" for number in range(11))},
        {"logo_uri": "data:image/png;base64,x"},
    ],
)
def test_a_form_that_lacks_something_names_the_field(
    standing: Standing, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidForm) as refused:
        standing.register(**changes)
    named = set(refused.value.problems)
    assert named & (set(changes) | {"authentication", "jwks"})


def test_an_app_that_becomes_public_loses_its_secret_and_gets_one_back(standing: Standing) -> None:
    apps = standing.services.apps
    issued = standing.register()
    client_id = issued.app.client_id
    public = apps.edit(client_id, replace(PUBLIC, name="Now public"))
    assert public.secret is None
    assert not apps.has_secret(client_id, issued.secret or "")
    again = apps.edit(client_id, DRAFT)
    assert again.secret is not None
    assert apps.has_secret(client_id, again.secret)


def test_disabling_and_enabling_is_no_way_around_the_approval(tmp_path: Path) -> None:
    with stand_up(tmp_path, sandbox=False) as standing:
        apps, developers = standing.services.apps, standing.services.developers
        signed_up = developers.sign_up(email="jo@app.example", name="Jo", password=GOOD)
        jo = developers.verify_by_operator(signed_up.email).id
        client_id = apps.register(DRAFT, developer=jo).app.client_id
        with pytest.raises(NoSuchApp):
            apps.enable(client_id, developer=jo)
        apps.disable(client_id, developer=jo)
        assert apps.enable(client_id, developer=jo).status == "pending"
        apps.approve(client_id, apps.get(client_id).revision)
        apps.disable(client_id, developer=jo)
        assert apps.enable(client_id, developer=jo).status == "active"
        apps.disable(client_id, developer=jo)
        evil = replace(DRAFT, redirect_uris=("https://evil.example/x",))
        apps.edit(client_id, evil, developer=jo)
        assert apps.enable(client_id, developer=jo).status == "pending"


def test_what_the_operator_disabled_a_developer_cannot_enable(standing: Standing) -> None:
    apps = standing.services.apps
    client_id = apps.register(DRAFT, developer="jo").app.client_id
    apps.disable(client_id)
    apps.disable(client_id, developer="jo")
    with pytest.raises(NoSuchApp, match="operator"):
        apps.enable(client_id, developer="jo")
    apps.edit(client_id, DRAFT, developer="jo")
    assert apps.get(client_id).status == "disabled"
    assert apps.enable(client_id).status == "active"


@pytest.mark.parametrize("field", ["client_name", "description", "organization"])
@pytest.mark.parametrize("text", ["a\x1b]0;owned\x07", "a\x9b31m", "a\u202egnp.exe", "a\ud800"])
def test_no_text_holds_what_a_terminal_or_a_page_would_obey_or_stumble_over(
    tmp_path: Path, field: str, text: str
) -> None:
    with stand_up(tmp_path, registration="open") as standing, standing.client() as browser:
        answer = browser.post(
            "/oauth/register",
            content=json.dumps({**METADATA, field: text}),
            headers={"content-type": "application/json"},
        )
        several = browser.post("/oauth/register", json={**METADATA, "description": "a\r\n\tb"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
    assert several.status_code == 201


def test_what_an_app_changes_of_itself_is_not_told_to_be_the_operators_doing(
    tmp_path: Path,
) -> None:
    with stand_up(tmp_path, registration="open") as standing, standing.client() as browser:
        made = browser.post("/oauth/register", json=METADATA).json()
        url, key = made["registration_client_uri"], bearer(made["registration_access_token"])
        assert browser.put(url, json={**METADATA, "client_name": "B"}, headers=key).is_success
        assert browser.delete(url, headers=key).is_success
        standing.services.trail.settle()
        (file,) = (tmp_path / "audit").iterdir()
        events = [json.loads(line) for line in file.read_bytes().splitlines()]
    doers = {
        one["subtype"][0]["code"]: one["agent"][0]["type"]["text"]
        for one in events
        if one["subtype"][0]["code"].startswith("app-")
    }
    assert doers == {
        "app-registered": "developer",
        "app-edited": "developer",
        "app-deleted": "developer",
    }


def test_inventing_ids_to_manage_is_counted(tmp_path: Path) -> None:
    with (
        stand_up(tmp_path, registration="open", rates={"register": "3/hour"}) as standing,
        standing.client() as browser,
    ):
        codes = [browser.get(f"/oauth/register/x{n}").status_code for n in range(5)]
    assert codes == [401, 401, 401, 429, 429]


def test_an_error_of_the_database_does_not_tell_what_was_to_be_stored(standing: Standing) -> None:
    values = {"email": "jo@app.example", "name": "Jo", "organization": "", "password_hash": "h"}
    with standing.services.database.write() as session:
        session.add(DeveloperRow(id="one", created=1, **values))
    with standing.services.database.read() as session:
        session.add(DeveloperRow(id="two", created=1, **values))
        with pytest.raises(IntegrityError) as caught:
            session.flush()
        session.rollback()
    assert "jo@app.example" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "RSA", "n": "8" * 171, "e": "AQAB"},
        {"kty": "RSA", "n": "8" * 60_000, "e": "AQAB"},
        ECKey.generate_key("P-521").as_dict(private=False),
        ECKey.generate_key("secp256k1").as_dict(private=False),
    ],
    ids=["short", "endless", "P-521", "secp256k1"],
)
def test_keys_are_strong_and_of_a_size_that_can_be_checked(
    standing: Standing, key: dict[str, str]
) -> None:
    with pytest.raises(InvalidForm) as refused:
        standing.register(authentication="private_key_jwt", jwks=json.dumps({"keys": [key]}))
    assert "jwks" in refused.value.problems
