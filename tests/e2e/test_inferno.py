"""What ONC's Inferno asks of a CARIN Blue Button server, by a client that knows nothing of it.

Each test stands for tests of the kits "CARIN for Blue Button" 0.16.0 (guide 2.0.0), "SMART App
Launch" 1.0.0 (STU1, STU2, STU2.2) and ONC's (g)(10). The server is a sandbox with the samples.
"""

import re
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

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
    references,
    resources_of,
)
from tests.e2e.must_support import MUST_SUPPORT, PROFILE, missing, profile_of
from tests.e2e.portal.standing import PASSWORD, publish, stand_up

EOB = "ExplanationOfBenefit"
CARIN = {
    "launch-standalone",
    "client-public",
    "client-confidential-symmetric",
    "sso-openid-connect",
    "context-standalone-patient",
    "permission-offline",
    "permission-patient",
    "permission-user",
}
INCLUDES = {
    "patient": ("patient",),
    "provider": ("provider",),
    "care-team": ("careTeam", "provider"),
    "coverage": ("insurance", "coverage"),
    "insurer": ("insurer",),
    "payee": ("payee", "party"),
}
NOT_IN_CPCDS = {"C4BB-RelatedPerson": {"telecom", "address"}}
"""CPCDS knows a subscriber who is not the member by name alone."""


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


@pytest.fixture(scope="module")
def token(session):
    found: str = session["access_token"]
    return found


@pytest.fixture(scope="module")
def claims(stranger, session, token):
    found = stranger.found(f"{EOB}?patient={session['patient']}", token)
    assert found
    return found


@pytest.fixture(scope="module")
def everyone(stranger, confidential, sandbox):
    """All that the sandbox's members and the resources they refer to hold, by profile."""
    found: dict[str, dict[str, Json]] = {}
    for one in sandbox.members:
        got = stranger.launched(confidential, one.username, PASSWORD, scope=SCOPE + MORE)
        path = f"Patient/{got['patient']}/$everything"
        for mode in ("match", "include"):
            for resource in stranger.found(path, got["access_token"], mode):
                if resource["resourceType"] not in ("PractitionerRole", "Location"):
                    name = f"{resource['resourceType']}/{resource['id']}"
                    found.setdefault(profile_of(resource), {})[name] = resource
    return {profile: list(of_profile.values()) for profile, of_profile in found.items()}


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


# Refresh


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


# Introspection and revocation


# Refusals


def test_nothing_is_read_without_a_token_or_of_another_member(stranger, sandbox, token):
    other = sandbox.members[1].patient
    assert stranger.get(f"Patient/{other}", None).status_code == 401
    assert stranger.get(f"Patient/{other}", token).status_code == 404
    assert stranger.bundle(f"{EOB}?patient={other}", token)["total"] == 0
    unknown = stranger.get(f"{EOB}/unknown", token)
    assert (unknown.status_code, unknown.json()["resourceType"]) == (404, "OperationOutcome")
    assert stranger.get(f"{EOB}?service-date=notadate", token).status_code == 400


# Search


def test_every_search_parameter_alone_finds_what_it_asks_for(stranger, session, token, claims):
    claim = claims[0]
    start = claim["billablePeriod"]["start"]
    before = date.fromisoformat(start[:10]) - timedelta(days=1)
    values = {
        "patient": session["patient"],
        "_id": claim["id"],
        "_lastUpdated": claim["meta"]["lastUpdated"],
        "type": claim["type"]["coding"][0]["code"],
        "identifier": claim["identifier"][0]["value"],
        "service-date": f"gt{before}T00:00:00+00:00",
        "service-start-date": start,
        "billable-period-start": start,
    }
    for name, value in values.items():
        found = stranger.found(f"{EOB}?{name}={quote(value)}", token)
        assert claim["id"] in {one["id"] for one in found}, name
        if name == "_lastUpdated":
            assert {one["meta"]["lastUpdated"] for one in found} == {value}
        if name == "type":
            assert all(value in {c["code"] for c in one["type"]["coding"]} for one in found)
        if name == "identifier":
            assert all(value in {i["value"] for i in one["identifier"]} for one in found)
    coding = claim["type"]["coding"][0]
    for value in (f"{coding['system']}|{coding['code']}", f"{coding['system']}|"):
        assert stranger.bundle(f"{EOB}?type={quote(value)}", token)["total"] > 0
    for value in (f"Patient/{session['patient']}", f"{stranger.base}/Patient/{session['patient']}"):
        assert stranger.bundle(f"{EOB}?patient={quote(value)}", token)["total"] == len(claims)


@pytest.mark.parametrize("parameter", [*INCLUDES, "*"])
def test_an_include_brings_what_is_referred_to_and_nothing_else(stranger, token, claims, parameter):
    paths = INCLUDES.values() if parameter == "*" else [INCLUDES[parameter]]
    assert claims
    for claim in claims[:5]:
        bundle = stranger.bundle(f"{EOB}?_id={claim['id']}&_include={EOB}:{parameter}", token)
        included = {f"{one['resourceType']}/{one['id']}" for one in resources_of(bundle, "include")}
        wanted = {one for path in paths for one in _at(claim, path)}
        assert included == wanted


def test_whatever_is_referred_to_is_read_and_searched_by_id_and_date(
    stranger, token, claims, session
):
    seen = {f"Patient/{session['patient']}", *(r for one in claims for r in references(one))}
    seen |= {ref for one in stranger.found("Coverage", token) for ref in references(one)}
    kinds: dict[str, str] = {}
    for reference in sorted(seen):
        answer = stranger.get(reference, token)
        assert answer.status_code == 200, reference
        resource = answer.json()
        kind, _, resource_id = reference.partition("/")
        assert (resource["resourceType"], resource["id"]) == (kind, resource_id)
        assert resource["meta"]["profile"]
        version = stranger.get(f"{reference}/_history/{resource['meta']['versionId']}", token)
        assert version.json() == resource
        if kind not in kinds:
            kinds[kind] = reference
            (by_id,) = stranger.found(f"{kind}?_id={resource_id}", token)
            assert by_id == resource
            stamp = quote(resource["meta"]["lastUpdated"])
            if kind not in ("PractitionerRole", "Location"):
                dated = stranger.found(f"{kind}?_lastUpdated={stamp}", token)
                assert reference in {f"{one['resourceType']}/{one['id']}" for one in dated}
    assert {"Patient", "Coverage", "Organization", "Practitioner"} <= set(kinds)


# Content


def test_claims_keep_the_three_rules(everyone):
    of = {f"{one['resourceType']}/{one['id']}": one for many in everyone.values() for one in many}
    claims = [one for one in of.values() if one["resourceType"] == EOB]
    assert claims
    for claim in claims:
        systems = {coding["system"] for coding in claim["type"]["coding"]}
        assert "http://terminology.hl7.org/CodeSystem/data-absent-reason" not in systems
        # The tester expects complete alone; the guide's own examples have partial ones as well.
        assert claim["outcome"] in ("complete", "partial")
        assert [one["focal"] for one in claim["insurance"]].count(True) == 1
        for insurance in claim["insurance"]:
            payor = of[insurance["coverage"]["reference"]]["payor"][0]["reference"]
            assert (claim["insurer"]["reference"] == payor) is insurance["focal"]


@pytest.mark.parametrize("profile", MUST_SUPPORT)
def test_the_samples_have_what_must_be_supported(everyone, profile):
    assert missing(profile, everyone.get(profile, [])) == NOT_IN_CPCDS.get(profile, set())


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


def test_every_resource_names_its_profile_and_when_it_changed(everyone):
    assert everyone.keys() >= {profile for profile in MUST_SUPPORT if EOB in profile}
    for name, resources in everyone.items():
        for one in resources:
            assert one["meta"]["profile"][0].startswith(f"{PROFILE}{name}")
            assert datetime.fromisoformat(one["meta"]["lastUpdated"]).tzinfo is not None


def _at(resource, path):
    """Return the references at a path."""
    if isinstance(resource, list):
        return [one for entry in resource for one in _at(entry, path)]
    if not path:
        return [resource["reference"]] if "reference" in resource else []
    return _at(resource[path[0]], path[1:]) if path[0] in resource else []
