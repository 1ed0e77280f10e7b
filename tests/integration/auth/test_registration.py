"""Registering apps: on the portal, and from client metadata by the operator."""

import json
from datetime import UTC, datetime

import pytest
from joserfc.jwk import ECKey
from sqlalchemy.exc import IntegrityError

from etl.auth.database_tables import Developer
from etl.auth.grants import Client
from etl.auth.records import InvalidForm, NoSuchApp
from etl.auth.registration import draft_of_metadata
from tests.given.drafts import draft_like
from tests.given.tables import read_tables, table
from tests.integration.auth.standing import DRAFT, PUBLIC, stand_up

METADATA = read_tables(__file__)["valid_metadata"]


@pytest.mark.parametrize(*table(__file__, "metadata"))
def test_metadata_that_cannot_be_taken_are_refused(standing, changes, field):
    with pytest.raises(InvalidForm) as refused:
        standing.services.apps.register(
            draft_of_metadata({**METADATA, **changes}), origin="operator"
        )
    assert field in refused.value.problems


def test_nothing_registers_itself(browser):
    assert browser.post("/oauth/register", json=METADATA).status_code == 404
    document = browser.get("/.well-known/openid-configuration").json()
    assert "registration_endpoint" not in document


def test_a_developer_reaches_own_apps_only(standing):
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


@pytest.mark.parametrize(*table(__file__, "forms"))
def test_a_form_that_lacks_something_names_the_field(standing, changes):
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in changes.items()}
    with pytest.raises(InvalidForm) as refused:
        standing.register(**values)
    named = set(refused.value.problems)
    assert named & (set(changes) | {"authentication", "jwks"})


def test_an_app_that_becomes_public_loses_its_secret_and_gets_one_back(standing):
    apps = standing.services.apps
    issued = standing.register()
    client_id = issued.app.client_id
    public = apps.edit(client_id, draft_like(PUBLIC, name="Now public"))
    assert public.secret is None
    assert not Client(public.app).check_client_secret(issued.secret or "")
    again = apps.edit(client_id, DRAFT)
    assert Client(again.app).check_client_secret(again.secret)


def test_disabling_and_enabling_is_no_way_around_the_approval(tmp_path):
    with stand_up(tmp_path, sandbox=False) as standing:
        apps, developers = standing.services.apps, standing.services.developers
        jo = developers.sign_in("jo@app.example").id
        client_id = apps.register(DRAFT, developer=jo).app.client_id
        with pytest.raises(NoSuchApp):
            apps.enable(client_id, developer=jo)
        apps.disable(client_id, developer=jo)
        assert apps.enable(client_id, developer=jo).status == "pending"
        apps.approve(client_id, apps.get(client_id).revision)
        apps.disable(client_id, developer=jo)
        assert apps.enable(client_id, developer=jo).status == "active"
        apps.disable(client_id, developer=jo)
        evil = draft_like(DRAFT, redirect_uris=("https://evil.example/x",))
        apps.edit(client_id, evil, developer=jo)
        assert apps.enable(client_id, developer=jo).status == "pending"


def test_what_the_operator_disabled_a_developer_cannot_enable(standing):
    apps = standing.services.apps
    client_id = apps.register(DRAFT, developer="jo").app.client_id
    apps.disable(client_id)
    apps.disable(client_id, developer="jo")
    with pytest.raises(NoSuchApp, match="operator"):
        apps.enable(client_id, developer="jo")
    apps.edit(client_id, DRAFT, developer="jo")
    assert apps.get(client_id).status == "disabled"
    assert apps.enable(client_id).status == "active"


@pytest.mark.parametrize("field", ["name", "description", "organization"])
@pytest.mark.parametrize("text", ["a\x1b]0;owned\x07", "a\x9b31m", "a\u202egnp.exe", "a\ud800"])
def test_no_text_holds_what_a_terminal_or_a_page_would_obey_or_stumble_over(standing, field, text):
    with pytest.raises(InvalidForm) as refused:
        standing.services.apps.register(draft_like(DRAFT, **{field: text}))
    assert field in refused.value.problems
    standing.register(description="a\r\n\tb")


def test_an_error_of_the_database_does_not_tell_what_was_to_be_stored(standing):
    values = {"email": "jo@app.example", "name": "Jo", "organization": ""}
    with standing.services.database.write() as session:
        session.add(Developer(id="one", created=datetime.now(UTC), **values))
    with standing.services.database.read() as session:
        session.add(Developer(id="two", created=datetime.now(UTC), **values))
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
def test_keys_are_strong_and_of_a_size_that_can_be_checked(standing, key):
    with pytest.raises(InvalidForm) as refused:
        standing.register(authentication="private_key_jwt", jwks=json.dumps({"keys": [key]}))
    assert "jwks" in refused.value.problems
