"""Attacks on the token endpoint and its neighbours. One test for each."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from etl.auth import scopes
from etl.auth.apps import IssuedApp
from etl.auth.records import InvalidForm
from tests.given.tables import read_tables, table
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, BASE, CALLBACK, PUBLIC, VERIFIER, stand_up

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEY = ECKey.generate_key("P-384", {"use": "sig", "alg": "ES384"}, auto_kid=True)


@pytest.fixture
def signing(standing):
    """An app that authenticates by signed assertions."""
    keys = json.dumps({"keys": [KEY.as_dict(private=False)]})
    return standing.register(authentication="private_key_jwt", jwks=keys)


def assertion(client_id, *, key=KEY, alg="ES384", **claims):
    now = int(time.time())
    body = {
        "iss": client_id,
        "sub": client_id,
        "aud": f"{BASE}/oauth/token",
        "exp": now + 240,
        "jti": f"jti-{uuid4()}",
        **claims,
    }
    return jwt.encode({"alg": alg}, body, key, [alg])


def signed(text):
    return {"client_assertion_type": ASSERTION, "client_assertion": text}


def test_a_code_is_used_once_and_a_second_use_ends_what_it_opened(issued, browser):
    code = acting.launched(browser, issued.app.client_id)["code"]
    first = acting.redeem(browser, issued, code)
    second = acting.redeem(browser, issued, code)
    body = first.json()
    told = acting.introspect(browser, issued, body["access_token"])
    later = acting.refresh(browser, issued, body["refresh_token"])
    assert first.status_code == 200
    assert second.json()["error"] == "invalid_grant"
    assert told.json() == {"active": False}
    assert later.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(("is_sandbox", "seconds"), [(False, 60), (True, 600)])
def test_a_code_is_over_after_a_minute_and_in_a_sandbox_after_ten(tmp_path, is_sandbox, seconds):
    with stand_up(tmp_path, sandbox=is_sandbox) as standing:
        issued = standing.register()
        if not is_sandbox:
            standing.services.apps.approve(issued.app.client_id, issued.app.revision)
        for late, status in ((1, 200), (0, 400)):
            browser = standing.client()
            code = acting.launched(browser, issued.app.client_id)["code"]
            standing.clock.move(seconds=seconds - late)
            assert acting.redeem(browser, issued, code).status_code == status


@pytest.mark.parametrize(*table(__file__, "verifiers"))
def test_a_stolen_code_without_its_verifier_is_no_use(standing, browser, verifier, error):
    issued = standing.register(PUBLIC)
    code = acting.launched(browser, issued.app.client_id)["code"]
    answer = acting.redeem(browser, issued, code, verifier=verifier)
    after = acting.redeem(browser, issued, code)
    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert after.status_code == 400, "the code was burnt by the wrong try"


def test_a_code_of_another_app_is_no_use(standing, browser):
    """Code injection: the attacker's own app redeems the victim's code."""
    issued, evil = standing.register(), standing.register(name="Evil")
    code = acting.launched(browser, issued.app.client_id)["code"]
    stolen = acting.redeem(browser, evil, code)
    own = acting.redeem(browser, issued, code)
    assert stolen.json()["error"] == "invalid_grant"
    assert own.status_code == 200


def test_a_code_comes_back_with_the_redirect_uri_that_it_went_to(standing, browser):
    other = "https://app.example/other"
    issued = standing.register(redirect_uris=(CALLBACK, other))
    code = acting.launched(browser, issued.app.client_id)["code"]
    answer = acting.redeem(browser, issued, code, redirect_uri=other)
    assert answer.json()["error"] == "invalid_grant"


def test_a_wrong_secret_is_refused_with_a_challenge(issued, browser):
    code = acting.launched(browser, issued.app.client_id)["code"]
    wrong = acting.redeem(browser, IssuedApp(issued.app, "wrong"), code)
    none = acting.redeem(browser, IssuedApp(issued.app, None), code)
    fine = acting.redeem(browser, issued, code)
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"].startswith("Basic")
    assert wrong.json()["error"] == none.json()["error"] == "invalid_client"
    assert fine.status_code == 200


def test_a_rotated_secret_is_no_use_any_more(standing, issued, browser):
    fresh = standing.services.apps.rotate_secret(issued.app.client_id)
    code = acting.launched(browser, issued.app.client_id)["code"]
    assert acting.redeem(browser, issued, code).status_code == 401
    assert acting.redeem(browser, fresh, code).status_code == 200


def test_a_client_cannot_name_another_one_beside_its_own_credentials(standing, browser):
    issued, other = standing.register(), standing.register()
    code = acting.launched(browser, issued.app.client_id)["code"]
    answer = acting.redeem(browser, issued, code, client_id=other.app.client_id)
    assert answer.json()["error"] == "invalid_client"


def test_two_ways_of_authenticating_at_once_are_refused(issued, browser):
    assert issued.secret is not None
    answer = browser.post(
        "/oauth/token",
        data={"grant_type": "authorization_code", "code": "x", "client_secret": issued.secret},
        auth=(issued.app.client_id, issued.secret),
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize("header", read_tables(__file__)["unreadable_headers"])
def test_a_header_that_cannot_be_read_is_an_error_not_a_fault(browser, header):
    answer = browser.post(
        "/oauth/token",
        data={"grant_type": "authorization_code", "code": "x"},
        headers={"authorization": header},
    )
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] in ("invalid_client", "invalid_request")


@pytest.mark.parametrize(*table(__file__, "unreadable_bodies"))
def test_a_body_that_cannot_be_read_is_an_error_not_a_fault(browser, kind, content, times):
    body = content.encode("latin-1") * times
    answer = browser.post("/oauth/token", content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert answer.headers["cache-control"] == "no-store"
    assert "error" in answer.json()


@pytest.mark.parametrize("grant_type", read_tables(__file__)["other_grants"])
def test_other_grants_do_not_exist(issued, browser, grant_type):
    assert issued.secret is not None
    answer = browser.post(
        "/oauth/token",
        data={"grant_type": grant_type, "username": "ana", "password": acting.PASSWORD},
        auth=(issued.app.client_id, issued.secret),
    )
    assert answer.status_code == 400
    assert "access_token" not in answer.json()


def test_credentials_in_the_address_are_not_looked_at(issued, browser):
    code = acting.launched(browser, issued.app.client_id)["code"]
    parameters = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    parameters |= {"client_id": issued.app.client_id, "client_secret": issued.secret or ""}
    parameters["code_verifier"] = VERIFIER
    get = browser.get("/oauth/token", params=parameters)
    post = browser.post("/oauth/token", params=parameters)
    assert get.status_code == 405
    assert post.status_code == 400


def test_two_workers_of_a_confidential_app_that_refresh_at_once_do_not_lose_the_consent(
    standing, issued, browser
):
    first = acting.tokens(browser, issued)
    second = acting.refresh(browser, issued, first["refresh_token"])
    replayed = acting.refresh(browser, issued, first["refresh_token"])
    third = acting.refresh(browser, issued, second.json()["refresh_token"])
    standing.clock.move(seconds=11)
    late = acting.refresh(browser, issued, first["refresh_token"])
    after = acting.refresh(browser, issued, third.json()["refresh_token"])
    assert replayed.json()["error"] == "invalid_grant"
    assert third.status_code == 200
    assert late.json()["error"] == after.json()["error"] == "invalid_grant"


def test_of_many_refreshes_at_once_one_at_most_succeeds(standing, issued, browser):
    token = acting.tokens(browser, issued)["refresh_token"]

    def once(_):
        with standing.client() as other:
            return acting.refresh(other, issued, token)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(once, range(8)))
    assert sum(one.status_code == 200 for one in answers) == 1


def _refresh(token, **more):
    return {"grant_type": "refresh_token", "refresh_token": token, **more}


def test_a_public_app_refreshes_without_its_id_for_the_token_is_bound_to_it(standing, browser):
    issued = standing.register(PUBLIC)
    first = acting.tokens(browser, issued)["refresh_token"]
    second = browser.post("/oauth/token", data=_refresh(first))
    third = browser.post("/oauth/token", json=_refresh(second.json()["refresh_token"]))
    replayed = browser.post("/oauth/token", data=_refresh(first))
    ended = browser.post("/oauth/token", data=_refresh(third.json()["refresh_token"]))
    assert (second.status_code, third.status_code) == (200, 200)
    assert replayed.json()["error"] == ended.json()["error"] == "invalid_grant"


def test_only_a_refresh_token_of_a_public_app_stands_for_its_id(standing, browser):
    issued, another = standing.register(PUBLIC), standing.register(PUBLIC, name="Another")
    confidential = standing.register()
    token = acting.tokens(browser, issued)["refresh_token"]
    stolen = browser.post("/oauth/token", data=_refresh(token, client_id=another.app.client_id))
    unknown = browser.post("/oauth/token", data=_refresh("no-such-token"))
    bound = acting.tokens(browser, confidential)["refresh_token"]
    without_secret = browser.post("/oauth/token", data=_refresh(bound))
    revoked = browser.post("/oauth/revoke", data={"token": token})
    own = acting.refresh(browser, issued, token)
    assert stolen.json()["error"] == "invalid_grant"
    for refused in (unknown, without_secret, revoked):
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert "'client_id' is missing" in refused.json()["error_description"]
    assert own.status_code == 200


@pytest.mark.parametrize("scope", ["patient/*.rs", "patient/Coverage.rs openid", "system/*.rs"])
def test_a_refresh_cannot_widen_the_scope(issued, browser, scope):
    body = acting.tokens(browser, issued, scope="offline_access patient/Coverage.rs")
    answer = acting.refresh(browser, issued, body["refresh_token"], scope=scope)
    after = acting.refresh(browser, issued, body["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    reason = scopes.excess_scopes(("offline_access", "patient/Coverage.rs"), scope.split())
    said = f"The scope is wider than what was granted: {reason}."
    assert answer.json()["error_description"] == said
    assert after.status_code == 200, "what was refused did not use the token up"


def test_a_refresh_token_ends_when_it_lies_idle_and_when_the_consent_does(
    standing, issued, browser
):
    idle = acting.tokens(browser, issued, form={"days": "365"})["refresh_token"]
    standing.clock.move(days=89)
    fresh = acting.refresh(browser, issued, idle).json()["refresh_token"]
    standing.clock.move(days=91)
    assert acting.refresh(browser, issued, fresh).json()["error"] == "invalid_grant"
    short = acting.tokens(browser, issued, form={"days": "30"})["refresh_token"]
    standing.clock.move(days=30)
    assert acting.refresh(browser, issued, short).json()["error"] == "invalid_grant"


def test_an_app_sees_only_its_own_tokens(standing, browser, tmp_path):
    issued, other = standing.register(), standing.register()
    body = acting.tokens(browser, issued)
    told = acting.introspect(browser, other, body["access_token"])
    acting.revoke(browser, other, body["access_token"])
    acting.revoke(browser, other, body["refresh_token"])
    mine = acting.introspect(browser, issued, body["access_token"])
    after = acting.refresh(browser, issued, body["refresh_token"])
    public = acting.introspect(browser, standing.register(PUBLIC), body["access_token"])
    assert told.json() == {"active": False}
    assert mine.json()["active"] is True
    assert after.status_code == 200
    assert public.status_code == 401


def test_a_configured_introspector_sees_all(tmp_path):
    with acting.stand_up(tmp_path, introspectors=("gateway",)) as standing:
        gateway = standing.services.apps.register(acting.DRAFT, client_id="gateway")
        issued = standing.register()
        with standing.client() as browser:
            body = acting.tokens(browser, issued)
            told = acting.introspect(browser, gateway, body["access_token"])
    assert told.json()["patient"] == ANA.patient


def test_a_token_that_is_given_back_is_no_use(standing, browser):
    issued = standing.register(PUBLIC)
    body = acting.tokens(browser, issued)
    access = acting.revoke(browser, issued, body["access_token"])
    with pytest.raises(Exception, match="revoked"):
        standing.services.verifier.active(body["access_token"])
    fresh = acting.refresh(browser, issued, body["refresh_token"]).json()
    acting.revoke(browser, issued, fresh["refresh_token"])
    with pytest.raises(Exception, match="revoked"):
        standing.services.verifier.active(fresh["access_token"])
    gone = acting.refresh(browser, issued, fresh["refresh_token"])
    unknown = acting.revoke(browser, issued, "nonsense")
    assert access.status_code == 200
    assert access.headers["cache-control"] == "no-store"
    assert gone.json()["error"] == "invalid_grant"
    assert unknown.status_code == 200, "RFC 7009 section 2.2"


def test_a_signed_assertion_is_as_good_as_a_secret(browser, signing):
    code = acting.launched(browser, signing.app.client_id)["code"]
    answer = acting.redeem(browser, signing, code, **signed(assertion(signing.app.client_id)))
    token = answer.json()["access_token"]
    form = {"token": token, **signed(assertion(signing.app.client_id))}
    told = browser.post("/oauth/introspect", data=form)
    assert answer.status_code == 200, answer.text
    assert told.json()["active"] is True


def test_an_assertion_is_used_once(browser, signing):
    text = assertion(signing.app.client_id)
    code = acting.launched(browser, signing.app.client_id)["code"]
    first = acting.redeem(browser, signing, code, **signed(text))
    second = acting.refresh(browser, signing, first.json()["refresh_token"], **signed(text))
    assert first.status_code == 200
    assert second.json()["error"] == "invalid_client"


def with_hmac(text):
    """Return an assertion whose header says HS256, signed by what everybody knows."""
    header = urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signed_part = header + b"." + text.split(".")[1].encode()
    mac = hmac.digest(KEY.as_pem(private=False), signed_part, "sha256")
    return (signed_part + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()


OTHER = ECKey.generate_key("P-384", auto_kid=True)
FORGERIES = {
    "another key": lambda me: assertion(me, key=OTHER),
    "another audience": lambda me: assertion(me, aud="https://evil.example/token"),
    "no audience": lambda me: assertion(me, aud=None),
    "over": lambda me: assertion(me, exp=int(time.time()) - 120),
    "valid for a day": lambda me: assertion(me, exp=int(time.time()) + 86_400),
    "another issuer": lambda me: assertion(me, iss="someone"),
    "another subject": lambda me: assertion(me, sub="someone"),
    "no id": lambda me: assertion(me, jti=""),
    "id that is no text": lambda me: assertion(me, jti=7),
    "not signed": lambda me: ".".join((assertion(me).rsplit(".", 1)[0], "")),
    "signed by the public key as if it were a secret": lambda me: with_hmac(assertion(me)),
    "nonsense": lambda _: "a.b.c",
    "text": lambda _: "x",
}


@pytest.mark.parametrize("forgery", sorted(FORGERIES))
def test_a_forged_assertion_is_refused(browser, signing, forgery):
    code = acting.launched(browser, signing.app.client_id)["code"]
    text = FORGERIES[forgery](signing.app.client_id)
    answer = acting.redeem(browser, signing, code, **signed(text))
    assert answer.status_code in (400, 401), answer.text
    assert answer.json()["error"] == "invalid_client"


def test_an_app_with_keys_does_not_get_by_with_its_id(browser, signing):
    code = acting.launched(browser, signing.app.client_id)["code"]
    answer = acting.redeem(browser, signing, code)
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    "jwks",
    [
        "nonsense", "[]", '{"keys": []}',
        json.dumps({"keys": [KEY.as_dict(private=True)]}),
        json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}),
    ],
    ids=["no JSON", "no set", "empty", "private", "shared secret"],
)  # fmt: skip
def test_keys_that_are_none_or_private_cannot_be_registered(standing, jwks):
    with pytest.raises(InvalidForm):
        standing.register(authentication="private_key_jwt", jwks=jwks)


def test_only_sites_of_registered_apps_may_call_the_token_endpoint_from_a_browser(
    standing, browser
):
    standing.register(PUBLIC)
    known = browser.options("/oauth/token", headers={"origin": "https://app.example"})
    unknown = browser.options("/oauth/token", headers={"origin": "https://evil.example"})
    answer = browser.post(
        "/oauth/token",
        data={"grant_type": "authorization_code"},
        headers={"origin": "https://app.example"},
    )
    assert known.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in known.headers
    assert "access-control-allow-origin" not in unknown.headers
    assert "origin" in answer.headers["vary"]


def test_the_site_of_a_new_app_may_call_within_a_second_and_of_a_disabled_one_for_thirty(
    standing, browser
):
    def is_let_in(browser, origin):
        answer = browser.options("/oauth/token", headers={"origin": origin})
        return "access-control-allow-origin" in answer.headers

    assert not is_let_in(browser, "https://app.example")
    issued = standing.register(PUBLIC)
    standing.clock.move(seconds=1)
    assert is_let_in(browser, "https://app.example")
    standing.services.apps.disable(issued.app.client_id)
    standing.clock.move(seconds=30)
    assert not is_let_in(browser, "https://app.example")


def test_guessing_secrets_is_slowed_down_without_keeping_the_owner_out(tmp_path):
    rates = {"client-failure": "3/minute"}
    with acting.stand_up(tmp_path, rates=rates) as standing:
        issued, other = standing.register(), standing.register()
        with standing.client() as browser:
            forged = IssuedApp(issued.app, "wrong")
            wrong = [acting.refresh(browser, forged, "x").status_code for _ in range(5)]
            fine = acting.refresh(browser, other, "x")
            slowed = acting.refresh(browser, issued, "x")
    assert wrong == [401, 401, 401, 429, 429]
    assert fine.json()["error"] == "invalid_grant"
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) > 0


def test_inventing_ids_of_apps_is_no_way_around_the_limits(tmp_path):
    rates = {"client-failure": "3/minute", "token": "5/minute"}
    with acting.stand_up(tmp_path, rates=rates) as standing:
        issued = standing.register()
        with standing.client() as browser:
            forms = [_refresh("x", client_id=f"c{n}") for n in range(8)]
            codes = [browser.post("/oauth/token", data=form).status_code for form in forms]
            fine = acting.refresh(browser, issued, "x")
        standing.services.trail.flush()
        (file,) = (tmp_path / "audit").iterdir()
        written = file.read_text().count("client-refused")
    assert codes == [400, 400, 400, 429, 429, 429, 429, 429]
    assert fine.json()["error"] == "invalid_grant"
    assert written == 3


def test_the_id_token_is_no_access_token_and_keys_are_told_apart(standing, issued, browser):
    body = acting.tokens(browser, issued)
    keys = browser.get("/oauth/jwks").json()
    with pytest.raises(Exception, match="not valid"):
        standing.services.verifier.decode(body["id_token"])
    for key in keys["keys"]:
        assert not {"d", "p", "q", "dp", "dq", "qi"} & set(key)
        assert key["kid"]
        assert key["alg"] in ("RS256", "ES256")
    assert isinstance(KeySet.import_key_set(keys).keys[0], RSAKey | ECKey)
