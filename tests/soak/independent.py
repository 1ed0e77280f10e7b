"""A client that knows nothing of this server but its base URL: what an app's program does."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

TYPES = ("ExplanationOfBenefit", "Coverage", "Patient", "Organization", "Practitioner")
SCOPE = " ".join(
    (
        *("launch/patient", "openid", "fhirUser", "offline_access"),
        *(f"{level}/{name}.read" for level in ("patient", "user") for name in TYPES),
    )
)
CALLBACK = "https://tester.example/callback"
METADATA = {
    "client_name": "Tester",
    "redirect_uris": [CALLBACK],
    "token_endpoint_auth_method": "client_secret_basic",
    "policy_uri": "https://tester.example/privacy",
    "contacts": ["it@tester.example"],
    "scope": SCOPE,
}
"""Client metadata, as `cpcds apps register` takes them."""


class _Form(HTMLParser):
    """The first form of a page, filled in as it stands there."""

    def __init__(self):
        super().__init__()
        self.action = ""
        self.fields = []

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = found["action"]
        elif tag == "input" and "name" in found:
            is_box = found.get("type") in ("checkbox", "radio")
            if not is_box or "checked" in found:
                self.fields.append((found["name"], found.get("value", "")))


@dataclass(frozen=True, slots=True)
class App:
    """A registered client with a secret."""

    client_id: str
    secret: str = field(repr=False)


class Unavailable(Exception):
    """The server answered 503: it did nothing, and the same may be tried again."""


def _check(page, status):
    if page.status_code == 503:
        raise Unavailable(page.text)
    assert page.status_code == status, page.text


@dataclass
class Stranger:
    """Speaks to one server.

    Attributes:
        base: FHIR base URL.
        http: sends requests; follows no redirects.
    """

    base: str
    http: httpx2.Client

    def smart(self):
        answer = self.http.get(
            f"{self.base}/.well-known/smart-configuration", headers={"accept": "application/json"}
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        return answer.json()

    def code(self, app, username, password):
        """Launch, sign in and share; return code and verifier."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_hex(16)
        digest = hashlib.sha256(verifier.encode()).digest()
        sent = {
            "response_type": "code",
            "client_id": app.client_id,
            "redirect_uri": CALLBACK,
            "scope": SCOPE,
            "state": state,
            "aud": self.base,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        url = self.smart()["authorization_endpoint"]
        self.http.cookies.clear()
        page = self._sent(self.http.get(url, params=sent), username=username, password=password)
        _check(page, 303)
        page = self._sent(self.http.get(urljoin(url, page.headers["location"])), decision="allow")
        _check(page, 303)
        target = page.headers["location"]
        assert target.startswith(f"{CALLBACK}?")
        answered = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        assert "error" not in answered
        assert answered["state"] == state
        return answered["code"], verifier

    def _sent(self, page, **filled):
        _check(page, 200)
        form = _Form()
        form.feed(page.text)
        fields = [pair for pair in form.fields if pair[0] not in filled]
        data = {}
        for name, value in [*fields, *filled.items()]:
            data.setdefault(name, []).append(value)
        return self.http.post(urljoin(str(page.url), form.action), data=data)

    def token(self, app, **fields):
        """Ask the token endpoint, with the client authentication of the app."""
        return self.authenticated(app, self.smart()["token_endpoint"], **fields)

    def authenticated(self, app, url, **fields):
        pair = base64.b64encode(f"{app.client_id}:{app.secret}".encode()).decode()
        return self.http.post(url, data=fields, headers={"authorization": f"Basic {pair}"})

    def launched(self, app, username, password):
        """Launch, and trade the code for tokens; look at the answer as testers do."""
        code, verifier = self.code(app, username, password)
        answer = self.token(
            app,
            grant_type="authorization_code",
            code=code,
            redirect_uri=CALLBACK,
            code_verifier=verifier,
        )
        assert answer.status_code == 200, answer.text
        assert "no-store" in answer.headers["cache-control"]
        assert "no-cache" in answer.headers["pragma"]
        body = answer.json()
        for name in ("access_token", "token_type", "scope"):
            assert isinstance(body[name], str)
            assert body[name]
        assert body["token_type"].lower() == "bearer"
        assert isinstance(body["expires_in"], int | float)
        return body
