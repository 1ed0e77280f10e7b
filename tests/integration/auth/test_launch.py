"""A standalone launch, from the authorize URL to data's door, as SMART App Launch describes it."""

import asyncio
import json
import re
from datetime import timedelta
from html import unescape

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from etl.web.texts import PageTexts
from tests.given.tables import read_tables
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, BASE, CALLBACK, FHIR, SCOPE


def test_a_confidential_app_gets_what_smart_promises(issued, browser):
    back = acting.launched(browser, issued.app.client_id, nonce="nonce-1")
    assert back["state"] == "state-0123456789"
    assert back["iss"] == BASE
    answer = acting.redeem(browser, issued, back["code"])
    keys = KeySet.import_key_set(browser.get("/oauth/jwks").json())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    body = answer.json()
    assert body["token_type"] == "Bearer"  # noqa: S105
    assert body["expires_in"] == 600
    assert body["scope"] == SCOPE
    assert body["patient"] == ANA.patient
    assert body["refresh_token"]
    token = jwt.decode(body["id_token"], keys, ["RS256"])
    assert token.header["alg"] == "RS256"
    assert token.claims["iss"] == BASE
    assert token.claims["aud"] == issued.app.client_id
    assert token.claims["nonce"] == "nonce-1"
    assert token.claims["sub"] == ANA.patient
    assert token.claims["fhirUser"] == f"{FHIR}/Patient/{ANA.patient}"


def test_the_access_token_is_for_the_fhir_base_for_one_member_and_ten_minutes(
    standing, issued, browser
):
    body = acting.tokens(browser, issued)
    keys = KeySet.import_key_set(browser.get("/oauth/jwks").json())
    claims = jwt.decode(body["access_token"], keys, ["ES256"]).claims
    assert claims["exp"] - claims["iat"] == body["expires_in"] == 600
    assert (claims["aud"], claims["iss"]) == (FHIR, BASE)
    assert not {"name", "email", "username"} & claims.keys()
    grant = asyncio.run(standing.services.verifier.grant_of(body["access_token"]))
    assert grant.patient == ANA.patient
    assert grant.client == issued.app.client_id
    assert grant.scopes == tuple(SCOPE.split())
    assert grant.may("ExplanationOfBenefit", "s")


@pytest.mark.parametrize("scope", read_tables(__file__)["scopes"])
def test_scopes_of_both_versions_are_granted_as_they_were_asked_for(standing, browser, scope):
    issued = standing.register(scopes=(*SCOPE.split(), "online_access"))
    body = acting.tokens(browser, issued, scope=scope)
    assert body["scope"] == scope
    assert ("refresh_token" in body) == ("online_access" in scope)
    assert ("id_token" in body) == ("openid" in scope)
    if "openid" in scope:
        keys = KeySet.import_key_set(browser.get("/oauth/jwks").json())
        claims = jwt.decode(body["id_token"], keys, ["RS256"]).claims
        assert ("fhirUser" in claims) == ("fhirUser" in scope)


def test_the_members_pages_say_what_the_payer_wants_them_to_say(tmp_path):
    own = {
        "consent": {"lead": "{app} <is> of {organization}, not {payer}'s.", "share": "Yes, share"},
        "data": {"coverage": "Your plan with {payer}"},
        "member_sign_in": {"own-page": "Which apps see your data."},
    }
    texts = PageTexts("Alder & Co", own=own)
    with acting.stand_up(tmp_path, texts=texts, education_page="/your-data") as standing:
        app = standing.register(name="Steps & <Miles>").app
        browser = standing.client()
        page = acting.ask(browser, app.client_id)
        assert "<strong>Steps &amp; &lt;Miles&gt;</strong> by " in page.text
        consent = acting.sign_in(browser, page).text
        assert "<strong>Steps &amp; &lt;Miles&gt;</strong> &lt;is&gt; of " in consent
        assert "not Alder &amp; Co&#39;s." in consent
        assert "Your plan with Alder &amp; Co" in consent
        assert ">Yes, share</button>" in consent
        assert '<a href="/your-data" target="_blank">' in consent
        days = re.findall(r'name="days" value="([0-9]+)"( checked)?', consent)
        assert days == [("30", ""), ("90", " checked"), ("365", "")]
        ends = [standing.clock() + timedelta(days=int(term)) for term, _ in days]
        untils = re.findall(r" days, until ([^<]+)<", consent)
        assert untils == [f"{end:%B} {end.day}, {end.year}" for end in ends]
        assert "Which apps see your data." in browser.get("/member").text


def test_the_members_pages_are_in_the_language_of_their_reader(tmp_path):
    own = {"vi": {"share": {"language": "Tiếng Việt"}, "consent": {"share": "Chia sẻ"}}}
    with acting.stand_up(tmp_path, texts=PageTexts("Alder", translations=own)) as standing:
        app = standing.register().app
        spanish = standing.client()
        spanish.headers["accept-language"] = "es-US,es;q=0.9"
        page = acting.ask(spanish, app.client_id)
        assert '<html lang="es">' in page.text
        assert ">Iniciar sesión</button>" in page.text
        links = re.findall(r'<a href="([^"]+)" lang="(\w+)"', page.text)
        assert [language for _, language in links] == ["en", "es", "vi"]
        assert "mental, consumo de sustancias, VIH" in acting.sign_in(spanish, page).text
        refused = spanish.get("/oauth/authorize?client_id=nobody")
        assert "La solicitud de la aplicación no es válida." in refused.text

        # A link keeps the app's request, and a cookie the choice.
        vietnamese = spanish.get(f"/oauth/authorize{unescape(links[2][0])}")
        assert '<html lang="vi">' in vietnamese.text
        assert ">Chia sẻ</button>" in acting.sign_in(spanish, vietnamese).text
        assert '<html lang="en">' in spanish.get("/member?lang=en").text
        assert '<html lang="en">' in spanish.get("/member?lang=xx").text


def test_the_member_shares_less_than_was_asked_for(issued, browser):
    body = acting.tokens(
        browser,
        issued,
        form={"kind": ["coverage", "you"], "identity": [], "long_lived": []},
    )
    assert body["scope"] == "launch/patient patient/Patient.rs patient/Coverage.rs"
    assert "refresh_token" not in body
    assert "id_token" not in body


def test_the_member_shares_nothing(standing, issued, browser):
    answer = acting.decide(browser, acting.open_consent(browser, issued.app.client_id), "deny")
    back = acting.returned(answer)
    assert answer.headers["location"].startswith(CALLBACK + "?")
    assert back["error"] == "access_denied"
    assert back["state"] == "state-0123456789"
    assert back["iss"] == BASE
    assert standing.services.consents.of_patient(ANA.patient) == ()


def test_the_token_endpoint_takes_json_with_basic_as_state_portals_write_it(standing, browser):
    issued = standing.register(plain_launch=True)
    page = browser.get(
        "/oauth/authorize",
        params={
            "client_id": issued.app.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
        },
    )
    back = acting.returned(acting.decide(browser, acting.sign_in(browser, page)))
    answer = browser.post(
        "/oauth/token",
        content=json.dumps(
            {
                "code": back["code"],
                "grant_type": "authorization_code",
                "redirect_uri": CALLBACK,
            }
        ),
        headers={"content-type": "application/json", "accept": "application/json"},
        auth=(issued.app.client_id, issued.secret),
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["scope"].split() == list(issued.app.draft.scopes)
    assert answer.json()["patient"] == ANA.patient


def test_the_secret_may_stand_in_the_body(issued, browser):
    code = acting.launched(browser, issued.app.client_id)["code"]
    answer = acting.redeem(
        browser,
        issued,
        code,
        client_id=issued.app.client_id,
        client_secret=issued.secret,
    )
    assert answer.status_code == 200


def test_the_authorize_request_may_be_posted(issued, browser):
    page = browser.post("/oauth/authorize", data=acting.asking(issued.app.client_id))
    back = acting.returned(acting.decide(browser, acting.sign_in(browser, page)))
    assert "code" in back


def test_a_refresh_gives_new_tokens_and_may_ask_for_less(issued, browser):
    first = acting.tokens(browser, issued)
    second = acting.refresh(browser, issued, first["refresh_token"])
    third = acting.refresh(
        browser, issued, second.json()["refresh_token"], scope="patient/Coverage.rs"
    )
    fourth = acting.refresh(browser, issued, third.json()["refresh_token"])
    assert second.json()["scope"] == SCOPE
    assert second.json()["patient"] == ANA.patient
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert second.headers["cache-control"] == "no-store"
    assert third.json()["scope"] == "patient/Coverage.rs"
    assert fourth.json()["scope"] == SCOPE


def test_introspection_tells_what_the_token_says(issued, browser):
    body = acting.tokens(browser, issued)
    active = acting.introspect(browser, issued, body["access_token"])
    refreshing = acting.introspect(browser, issued, body["refresh_token"])
    unknown = acting.introspect(browser, issued, "invalid_token_value")
    told = active.json()
    assert active.status_code == unknown.status_code == 200
    assert told["active"] is True
    assert told["client_id"] == issued.app.client_id
    assert set(told["scope"].split()) == set(body["scope"].split())
    assert told["patient"] == told["sub"] == ANA.patient
    assert told["iss"] == BASE
    assert told["fhirUser"] == f"{FHIR}/Patient/{ANA.patient}"
    assert refreshing.json()["active"] is True
    assert unknown.json() == {"active": False}


def test_discovery_names_the_same_endpoints_everywhere(browser):
    answer = browser.get("/.well-known/openid-configuration")
    other = browser.get("/.well-known/oauth-authorization-server")
    document = answer.json()
    assert document == other.json()
    assert document["issuer"] == BASE
    assert document["jwks_uri"] == f"{BASE}/oauth/jwks"
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]
    assert "private_key_jwt" in document["token_endpoint_auth_methods_supported"]
    assert document["authorization_response_iss_parameter_supported"] is True
    assert answer.headers["access-control-allow-origin"] == "*"
    asked_by_carin = read_tables(__file__)["scopes_of_carin"]
    assert set(asked_by_carin) <= set(document["scopes_supported"])
