"""What ONC's Inferno asks of a CARIN Blue Button server, by a client that knows nothing of it.

Each test stands for tests of the kits "CARIN for Blue Button" 0.16.0 (guide 2.0.0), "SMART App
Launch" 1.0.0 (STU1, STU2, STU2.2) and ONC's (g)(10). The server is a sandbox with the samples.
"""

import re
from datetime import UTC, datetime

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from etl.auth.registration import draft_of_metadata
from tests.e2e.independent import (
    MORE,
    SCOPE,
    TYPES,
    App,
    Json,
    Stranger,
    app_metadata,
    resources_of,
)
from tests.e2e.must_support import MUST_SUPPORT, missing, profile_of
from tests.e2e.portal.standing import PASSWORD, publish, stand_up
from tests.given.tables import read_tables

EOB = "ExplanationOfBenefit"
CARIN = set(read_tables(__file__)["capabilities"])


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inferno")
    with stand_up(publish(folder), folder) as standing:
        yield standing


@pytest.fixture(scope="module")
def stranger(sandbox):
    with httpx2.Client(follow_redirects=False, timeout=20) as http:
        yield Stranger(f"{sandbox.base}/fhir", http)


def registered(sandbox, method, key=None):
    draft = draft_of_metadata(app_metadata(method, key))
    issued = sandbox.services.apps.register(draft, origin="operator")
    return App(issued.app.client_id, issued.secret or "", key)


@pytest.fixture(scope="module")
def confidential(sandbox):
    return registered(sandbox, "client_secret_basic")


@pytest.fixture(scope="module")
def public(sandbox):
    return registered(sandbox, "none")


@pytest.fixture(scope="module")
def asymmetric(sandbox):
    return registered(sandbox, "private_key_jwt", ECKey.generate_key("P-384"))


@pytest.fixture(scope="module")
def member(sandbox):
    return sandbox.members[0].username


@pytest.fixture(scope="module")
def session(stranger, confidential, member):
    """Tokens of the first member."""
    return stranger.launched(confidential, member, PASSWORD, scope=SCOPE + MORE)


# Discovery


def test_the_well_known_configuration_is_whole(stranger):
    smart = stranger.smart()
    for name in ("authorization_endpoint", "token_endpoint", "introspection_endpoint"):
        assert smart[name].startswith("http")
    assert set(smart["capabilities"]) >= CARIN
    assert all(isinstance(one, str) and one for one in smart["capabilities"])
    assert "authorization_code" in smart["grant_types_supported"]
    assert smart["code_challenge_methods_supported"] == ["S256"]
    assert isinstance(smart["issuer"], str)
    assert isinstance(smart["jwks_uri"], str)


# Standalone launch


@pytest.mark.parametrize("kind", ["confidential", "public", "asymmetric"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_standalone_launch_gives_what_carin_asks_for(request, stranger, member, kind, method):
    app: App = request.getfixturevalue(kind)
    got = stranger.launched(app, member, PASSWORD, method=method)
    granted = got["scope"].split()
    assert {"openid", "fhirUser", "launch/patient"} <= set(granted)
    for level in ("patient", "user"):
        assert {f"{level}/{name}.read" for name in TYPES} <= set(granted)
    assert got["refresh_token"]
    answer = stranger.get(f"Patient/{got['patient']}", got["access_token"])
    assert answer.json()["id"] == got["patient"]


# OpenID Connect


def test_the_id_token_proves_who_the_member_is(stranger, session, confidential):
    raw = session["id_token"]
    unchecked = jwt.decode(raw, stranger.keys(stranger.smart()["jwks_uri"]), algorithms=["RS256"])
    answer = stranger.http.get(f"{unchecked.claims['iss']}/.well-known/openid-configuration")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    told_of = answer.json()
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "issuer"):
        assert isinstance(told_of[name], str)
    for name in ("response_types_supported", "subject_types_supported"):
        assert told_of[name]
    assert "RS256" in told_of["id_token_signing_alg_values_supported"]
    keys = stranger.keys(told_of["jwks_uri"])
    assert any(key.key_type == "RSA" for key in keys.keys)
    token = jwt.decode(raw, keys, algorithms=["RS256"])
    assert token.header["alg"] == "RS256"
    assert token.header["kid"] in {key.kid for key in keys.keys}
    claims = token.claims
    assert claims["iss"] == told_of["issuer"]
    assert confidential.client_id in ([claims["aud"]] if isinstance(claims["aud"], str) else ())
    assert claims["exp"] > datetime.now(UTC).timestamp() - 60
    assert claims["iat"]
    assert 0 < len(claims["sub"]) < 256
    user = stranger.get(
        claims["fhirUser"], session["access_token"], origin="https://tester.example"
    )
    assert user.json()["resourceType"] == "Patient"
    assert claims["fhirUser"].endswith(f"/Patient/{user.json()['id']}")
    assert user.headers["access-control-allow-origin"] in ("*", "https://tester.example")


# Content


def test_the_first_page_of_the_member_that_the_portal_names_has_all_that_claims_can_have(
    stranger, confidential, sandbox
):
    page = stranger.http.get(f"{sandbox.base}/sandbox").text
    (told,) = re.findall(r'<p id="one-page">.*?</p>', page, re.DOTALL)
    (username,) = re.findall(r"<code>(.*?)</code>", told)
    got = stranger.launched(confidential, username, PASSWORD, scope=SCOPE + MORE)
    first = stranger.bundle(f"{EOB}?patient={got['patient']}", got["access_token"])
    by_profile: dict[str, list[Json]] = {}
    for claim in resources_of(first, "match"):
        by_profile.setdefault(profile_of(claim), []).append(claim)
    of_claims = [profile for profile in MUST_SUPPORT if EOB in profile]
    assert {profile: missing(profile, by_profile.get(profile, [])) for profile in of_claims} == {
        profile: set() for profile in of_claims
    }
