"""Access tokens at the door: forged, stolen, over, revoked. One test for each."""

import asyncio
import hmac
import json
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import text

from etl.errors import MappingError
from etl.smart.grants import TokenRefused
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, PUBLIC, stand_up
from tests.security.auth.test_sign_in_attacks import try_member


def grant_of(verifier, token):
    return asyncio.run(verifier.grant_of(token))


def assert_refused(verifier, token):
    with pytest.raises(TokenRefused):
        grant_of(verifier, token)


def issue(standing):
    with standing.client() as browser:
        return str(acting.tokens(browser, standing.register())["access_token"])


def parts(token):
    header, claims, _ = token.split(".")
    return json.loads(urlsafe_b64decode(header + "==")), json.loads(
        urlsafe_b64decode(claims + "==")
    )


def packed(document):
    return urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def resigned(standing, token, **changes):
    """Return the token with other claims, signed by the server's own key."""
    header, claims = parts(token)
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(header, claims, standing.services.keys.signing_key("access"), ["ES256"])


def of_type(kind):
    """Return a forgery: the same claims, signed by the server, of another type of token."""

    def retyped(standing, token):
        header, claims = parts(token)
        named = {**header, "typ": kind} if kind else {"alg": "ES256", "kid": header["kid"]}
        return jwt.encode(named, claims, standing.services.keys.signing_key("access"), ["ES256"])

    return retyped


def unsigned(standing, token):
    del standing
    header, claims = parts(token)
    return f"{packed({**header, 'alg': 'none'})}.{packed(claims)}."


def with_hmac(standing, token):
    header, claims = parts(token)
    key = standing.services.keys.verification_keys("").keys[0]
    assert isinstance(key, ECKey)
    public = key.as_pem(private=False)
    signed = f"{packed({**header, 'alg': 'HS256'})}.{packed(claims)}"
    mac = urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).decode().rstrip("=")
    return f"{signed}.{mac}"


def with_own_key(standing, token):
    del standing
    header, claims = parts(token)
    key = ECKey.generate_key("P-256", auto_kid=True)
    named = {**header, "jwk": key.as_dict(private=False)}
    return jwt.encode(named, claims, key, ["ES256"])


FORGERIES = {
    "alg none": unsigned,
    "the public key as HMAC secret": with_hmac,
    "a key in the header": with_own_key,
    "another key's id": lambda _, token: jwt.encode(
        {**parts(token)[0], "kid": "other"}, parts(token)[1],
        ECKey.generate_key("P-256"), ["ES256"],
    ),
    "another patient, old signature": lambda _, token: ".".join(
        (token.split(".")[0], packed({**parts(token)[1], "patient": "x"}), token.split(".")[2])
    ),
    "another audience": lambda one, token: resigned(one, token, aud="https://other.example/fhir"),
    "several audiences": lambda one, token: resigned(one, token, aud=["https://other.example"]),
    "another issuer": lambda one, token: resigned(one, token, iss="https://other.example"),
    "another type": of_type("JWT"),
    "the type of an id token": of_type("id+jwt"),
    "no type": of_type(None),
    "no end": lambda one, token: resigned(one, token, exp=None),
    "no patient": lambda one, token: resigned(one, token, patient=None),
    "no consent": lambda one, token: resigned(one, token, grant_id=None),
    "too long": lambda _, token: token + "A" * 9000,
    "cut": lambda _, token: token[:-3],
    "nonsense": lambda *_: "nonsense",
    "empty": lambda *_: "",
    "not ASCII": lambda *_: "ä.ö.ü",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # joserfc warns of headers that it finds odd
@pytest.mark.parametrize("forgery", sorted(FORGERIES))
def test_a_forged_token_opens_nothing(standing, forgery):
    token = issue(standing)
    with pytest.raises(TokenRefused) as refused:
        grant_of(standing.services.verifier, FORGERIES[forgery](standing, token))
    assert ANA.patient not in str(refused.value)


def test_a_token_is_over_when_it_said_it_would_be(standing):
    token = issue(standing)
    assert grant_of(standing.services.verifier, token).patient == ANA.patient
    standing.clock.move(seconds=600)
    assert_refused(standing.services.verifier, token)
    standing.clock.move(days=10)  # as long as Authlib's own default would have it live
    with pytest.raises(TokenRefused):
        standing.services.verifier.decode(token)


def test_a_token_never_outlives_the_consent(standing, browser):
    issued = standing.register(PUBLIC)
    code = acting.launched(browser, issued.app.client_id, form={"days": "30"})["code"]
    first = acting.redeem(browser, issued, code).json()
    assert first["expires_in"] == 600
    token = first["refresh_token"]
    standing.clock.move(days=29, hours=23, minutes=55)
    body = acting.refresh(browser, issued, token).json()
    assert body["expires_in"] <= 300
    _, claims = parts(body["access_token"])
    assert claims["exp"] - claims["iat"] == body["expires_in"]


def test_revoking_on_the_members_page_ends_tokens_at_once(standing, browser):
    token = issue(standing)
    assert grant_of(standing.services.verifier, token)
    page = browser.get(try_member(browser, acting.PASSWORD).headers["location"])
    assert "Claims Compass" in page.text
    answer = browser.post("/member/revoke", data=acting.hidden(page))
    assert answer.status_code == 303
    assert "No app has access" in browser.get("/member").text
    assert_refused(standing.services.verifier, token)


def test_another_process_knows_of_it_within_ten_seconds(standing):
    token = issue(standing)
    url = str(standing.services.database.engine.url)
    with stand_up(standing.folder, url=url, clock=standing.clock) as other:
        assert grant_of(other.services.verifier, token)
        (consent,) = standing.services.consents.of_patient(ANA.patient)
        standing.services.consents.revoke(consent.id, by="member", patient=ANA.patient)
        standing.clock.move(seconds=standing.services.configuration.revocation_seconds)
        assert_refused(other.services.verifier, token)


def test_a_disabled_app_reads_nothing_and_an_enabled_one_again(standing):
    token = issue(standing)
    (app,) = standing.services.apps.all()
    standing.services.apps.disable(app.client_id)
    assert_refused(standing.services.verifier, token)
    standing.services.apps.enable(app.client_id)
    assert grant_of(standing.services.verifier, token)
    standing.services.apps.delete(app.client_id)
    assert_refused(standing.services.verifier, token)


def test_where_the_list_cannot_be_read_tokens_are_refused_after_half_a_minute(standing):
    token = issue(standing)
    verifier = standing.services.verifier
    assert grant_of(verifier, token)
    with standing.services.database.write() as session:
        session.execute(text("ALTER TABLE revocation RENAME TO gone"))
    standing.clock.move(seconds=15)
    assert grant_of(verifier, token), "a short outage of the database is no outage of the API"
    standing.clock.move(seconds=15)
    assert_refused(verifier, token)
    with standing.services.database.write() as session:
        session.execute(text("ALTER TABLE gone RENAME TO revocation"))
    assert grant_of(verifier, token)


def test_keys_rotate_without_ending_tokens_and_are_announced_before(standing):
    token = issue(standing)
    keys = standing.services.keys

    def names():
        return {key["kid"] for key in keys.key_set()["keys"]}

    first = names()
    standing.clock.move(days=89, seconds=120)
    announced = names()
    assert first < announced
    assert keys.signing_key("access").kid in first
    standing.clock.move(days=1)
    assert keys.signing_key("access").kid in announced - first
    assert first < names(), "what the old key signed can still be checked"
    fresh = issue(standing)
    assert grant_of(standing.services.verifier, fresh)
    standing.clock.move(days=1, seconds=120)
    assert not first & names()
    with pytest.raises(TokenRefused):
        standing.services.verifier.decode(token)


def test_a_rotation_by_hand_signs_with_new_keys_at_once(standing):
    token = issue(standing)
    before = standing.services.keys.signing_key("access").kid
    standing.services.keys.rotate()
    assert standing.services.keys.signing_key("access").kid != before
    assert grant_of(standing.services.verifier, token)
    assert parts(issue(standing))[0]["kid"] != before


def test_stored_keys_are_no_use_without_the_secret(standing, tmp_path):
    issue(standing)
    raw = b"".join(path.read_bytes() for path in standing.folder.glob("auth.db*"))
    assert b'"d":' not in raw.replace(b" ", b"")
    url = str(standing.services.database.engine.url)
    with (
        stand_up(tmp_path / "other", url=url, secret=b"another one") as other,
        pytest.raises(MappingError, match="another secret"),
    ):
        other.services.keys.signing_key("access")


def test_a_crowd_of_requests_reads_the_list_once(standing):
    token = issue(standing)
    verifier, revocations = standing.services.verifier, standing.services.revocations
    count = 0
    present, lock = revocations.present, threading.Lock()

    def counted():
        nonlocal count
        with lock:
            count += 1
        return present()

    revocations.present = counted
    standing.clock.move(seconds=60)

    async def crowd():
        await asyncio.gather(*(verifier.grant_of(token) for _ in range(50)))

    asyncio.run(crowd())
    assert count == 1


class SlowList:
    """A list of what is revoked that waits before or after it is read, until it is let go on."""

    def __init__(self, revocations, *, reads_first):
        self.began, self.go_on = threading.Event(), threading.Event()
        present = revocations.present

        def slow():
            found = present() if reads_first else None
            revocations.present = present
            self.began.set()
            assert self.go_on.wait(5)
            return found if reads_first else present()

        revocations.present = slow


def test_a_slow_look_at_the_list_does_not_bring_back_what_was_revoked_meanwhile(standing):
    """Two threads read the list: the one that began first must not be the one that is believed."""
    token = issue(standing)
    verifier = standing.services.verifier
    grant = grant_of(verifier, token)
    slow = SlowList(standing.services.revocations, reads_first=True)
    first, second = (threading.Thread(target=verifier._read_revocations) for _ in range(2))
    first.start()
    assert slow.began.wait(5)
    standing.services.consents.revoke(grant.grant, by="member")
    second.start()
    second.join(0.2)
    slow.go_on.set()
    for thread in (first, second):
        thread.join(5)
    assert_refused(verifier, token)


def test_what_was_revoked_here_is_refused_while_another_request_still_reads_the_list(standing):
    token = issue(standing)
    verifier = standing.services.verifier
    grant = grant_of(verifier, token)
    standing.services.consents.revoke(grant.grant, by="member")
    slow = SlowList(standing.services.revocations, reads_first=False)
    reading = threading.Thread(target=verifier._read_revocations)
    reading.start()
    assert slow.began.wait(5)
    threading.Timer(0.2, slow.go_on.set).start()
    assert_refused(verifier, token)
    reading.join(5)
