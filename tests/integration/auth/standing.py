"""An authorization server with two sample members, and a browser to drive it."""

import base64
import hashlib
import html
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.testclient import TestClient

from etl.auth.configuration import AuthConfiguration, DemoDirectory
from etl.auth.database import migrate, open_database
from etl.auth.endpoints import routes_of
from etl.auth.records import DemoMember
from etl.auth.registration import ATTESTATIONS, AppDraft
from etl.auth.services import Services
from etl.smart.grants import Access
from etl.web.texts import PageTexts
from tests.given.drafts import draft_like

BASE = "https://api.example"
FHIR = f"{BASE}/fhir"
CALLBACK = "https://app.example/callback"
PASSWORD = "sandbox"  # noqa: S105 - public
SCOPE = "launch/patient openid fhirUser offline_access patient/*.rs"
ANA = DemoMember("ana", "Ana Muñoz Peña", "anaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
BEN = DemoMember("ben", "Ben Okafor", "beeeeeeeeeeeeeeeeeeeeeeeeeeeeeee")

DRAFT = AppDraft(
    name="Claims Compass",
    organization="Compass Health",
    client_type="confidential",
    authentication="secret",
    redirect_uris=(CALLBACK,),
    policy_uri="https://app.example/privacy",
    contact_name="Jo Park",
    contact_email="jo@app.example",
    attestations=tuple(ATTESTATIONS),
)
PUBLIC = draft_like(DRAFT, client_type="public", authentication="none", name="Pocket Claims")


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self):
        return self.now

    def move(self, **by):
        self.now += timedelta(**by)


def configuration(**changes):
    return replace(
        AuthConfiguration(
            base_url=BASE,
            texts=PageTexts("Alder Health Plan"),
            secret=b"of tests only",
            demo=DemoDirectory((ANA, BEN), PASSWORD),
        ),
        **changes,
    )


@dataclass
class Standing:
    """A server; `client()` gives a browser of its own each time."""

    services: Services
    clock: Any
    folder: Path
    app: Starlette

    def client(self):
        base = self.services.configuration.base_url
        return TestClient(self.app, base_url=base, follow_redirects=False)

    def register(self, draft=DRAFT, **changes):
        return self.services.apps.register(draft_like(draft, **changes))


@cache
def _migrated():
    """Return an SQLite file with the tables of the server: making it takes a tenth of a second."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "auth.db")
        database = open_database(f"sqlite:///{path}")
        migrate(database)
        database.close()
        return path.read_bytes()


@contextmanager
def stand_up(
    folder, *, url=None, clock=None, rates=None, is_published=None, mailer=None, **changes
):
    """Give a server on a database in a folder, or on one that is there already."""
    file = folder / "auth.db"
    if not url and not file.exists():
        file.touch(0o600)
        file.write_bytes(_migrated())
    database = open_database(url or f"sqlite:///{file}")
    migrate(database)
    clock = clock or Clock()
    services = Services(
        configuration(**changes),
        database,
        folder / "audit",
        clock=clock,
        randomness=secrets.token_bytes,
        patient_of=lambda member_id: f"patient-of-{member_id}",
        rates=rates,
        is_published=is_published,
        mailer=mailer,
    )
    try:
        yield Standing(services, clock, folder, Starlette(routes=routes_of(services)))
    finally:
        services.trail.close()
        database.close()


def challenge(verifier):
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


VERIFIER = "a-verifier-that-is-long-enough-to-be-one-0123456789"


def asking(client_id, **changes):
    """Return the parameters of an ordinary authorization request."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": SCOPE,
        "state": "state-0123456789",
        "aud": FHIR,
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def ask(browser, client_id, **changes):
    """Return the answer to an authorization request."""
    return browser.get("/oauth/authorize", params=asking(client_id, **changes))


def hidden(page):
    """Return the hidden fields of a page's first form with any."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: html.unescape(value) for name, value in found}


def ticked(page):
    """Return what a form sends when nothing is changed."""
    fields = {}
    for attributes in re.findall(r"<input ([^>]*)>", page.text):
        if " checked" in attributes:
            name = re.search(r'name="([^"]*)"', attributes)
            value = re.search(r'value="([^"]*)"', attributes)
            if name and value:
                fields.setdefault(name.group(1), []).append(value.group(1))
    return fields


def send_sign_in(browser, page, *, username="ana", password=PASSWORD):
    """Send the sign-in page's form."""
    fields = {**hidden(page), "username": username, "password": password}
    return browser.post("/oauth/sign-in", data=fields)


def sign_in(browser, page, **member):
    """Send the sign-in page's form and return the consent page, or what came instead."""
    answer = send_sign_in(browser, page, **member)
    if answer.status_code != 303:
        return answer
    return browser.get(answer.headers["location"])


def open_consent(browser, client_id):
    """Return the consent page for an app, as a member who signed in sees it."""
    return sign_in(browser, ask(browser, client_id))


def decide(browser, page, decision="allow", **changes):
    """Send the consent page's form."""
    data = {**hidden(page), **ticked(page), "decision": decision, **changes}
    return browser.post("/oauth/consent", data=data)


def launched(browser, client_id, **changes):
    """Go from the authorize URL to the redirect back, and return its parameters."""
    username = changes.pop("username", "ana")
    form = changes.pop("form", {})
    page = browser.get("/oauth/authorize", params=asking(client_id, **changes))
    assert page.status_code == 200, page.text
    consent = sign_in(browser, page, username=username)
    assert consent.status_code == 200, consent.text
    answer = decide(browser, consent, **form)
    assert answer.status_code == 303, answer.text
    return returned(answer)


def returned(answer):
    """Return the parameters of a redirect."""
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def redeem(browser, issued, code, *, verifier=VERIFIER, **changes):
    """Exchange a code for tokens, with the secret by Basic where the app has one."""
    data = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        **({"code_verifier": verifier} if verifier else {}),
        **changes,
    }
    return _posted(browser, "/oauth/token", issued, data)


def refresh(browser, issued, token, **changes):
    """Exchange a refresh token."""
    data = {"grant_type": "refresh_token", "refresh_token": token, **changes}
    return _posted(browser, "/oauth/token", issued, data)


def revoke(browser, issued, token):
    """Give a token back."""
    return _posted(browser, "/oauth/revoke", issued, {"token": token})


def introspect(browser, issued, token):
    """Ask about a token."""
    return _posted(browser, "/oauth/introspect", issued, {"token": token})


def tokens(browser, issued, **changes):
    """Return the token response of a whole launch."""
    code = launched(browser, issued.app.client_id, **changes)["code"]
    answer = redeem(browser, issued, code)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _posted(browser, path, issued, data):
    if issued.secret is not None and "client_secret" not in data:
        return browser.post(path, data=data, auth=(issued.app.client_id, issued.secret))
    if issued.secret is None and "client_assertion" not in data:
        data = {"client_id": issued.app.client_id, **data}
    return browser.post(path, data=data)


def access(number, consent, client):
    """Return a search for claims as the gateway tells of it."""
    return Access(
        when=datetime(2026, 3, 1, 12, 0, number, tzinfo=UTC),
        request=f"request-{number}",
        client=client,
        grant=consent,
        patient=ANA.patient,
        interaction="search",
        what="ExplanationOfBenefit",
        query="patient=x&service-date=ge2025",
        outcome=200,
        address="10.0.0.9",
    )
