"""A client that knows nothing of this server but its base URL: what a tester's program does."""

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

TYPES = ("ExplanationOfBenefit", "Coverage", "Patient", "Organization", "Practitioner")
SCOPE = " ".join(
    (
        *("launch/patient", "openid", "fhirUser", "offline_access"),
        *(f"{level}/{name}.read" for level in ("patient", "user") for name in TYPES),
    )
)
MORE = " patient/RelatedPerson.read patient/Location.read patient/PractitionerRole.read"
CALLBACK = "https://tester.example/callback"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Json = dict[str, Any]


class _Form(HTMLParser):
    """The first form of a page, filled in as it stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = found["action"]
        elif tag == "input" and "name" in found:
            is_box = found.get("type") in ("checkbox", "radio")
            if not is_box or "checked" in found:
                self.fields.append((found["name"], found.get("value", "")))


@dataclass(frozen=True, slots=True)
class App:
    """A registered client.

    Attributes:
        client_id: its id.
        secret: empty for none.
        key: of an asymmetric client.
    """

    client_id: str
    secret: str = field(default="", repr=False)
    key: ECKey | RSAKey | None = field(default=None, repr=False)


def app_metadata(method: str, key: ECKey | RSAKey | None = None) -> Json:
    """Return client metadata, as `cpcds apps register` takes them."""
    metadata: Json = {
        "client_name": "Tester",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": method,
        "policy_uri": "https://tester.example/privacy",
        "contacts": ["it@tester.example"],
        "scope": SCOPE + MORE,
    }
    if key is not None:
        metadata["jwks"] = {"keys": [key.as_dict(private=False, kid="tester")]}
    return metadata


class Unavailable(Exception):
    """The server answered 503: it did nothing, and the same may be tried again."""


def _check(page: httpx2.Response, status: int) -> None:
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

    def smart(self) -> Json:
        answer = self.http.get(
            f"{self.base}/.well-known/smart-configuration", headers={"accept": "application/json"}
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        return answer.json()

    def metadata(self) -> Json:
        answer = self.http.get(f"{self.base}/metadata")
        assert answer.status_code == 200
        return answer.json()

    def code(
        self,
        app: App,
        username: str,
        password: str,
        *,
        method: str = "GET",
        scope: str = SCOPE,
        **changes: str | None,
    ) -> tuple[str, str]:
        """Launch, sign in and share; return code and verifier."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_hex(16)
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": app.client_id,
            "redirect_uri": CALLBACK,
            "scope": scope,
            "state": state,
            "aud": self.base,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        sent = {name: value for name, value in asked.items() if value is not None}
        url = self.smart()["authorization_endpoint"]
        self.http.cookies.clear()
        page = (
            self.http.get(url, params=sent) if method == "GET" else self.http.post(url, data=sent)
        )
        page = self._sent(page, username=username, password=password)
        _check(page, 303)
        page = self._sent(self.http.get(urljoin(url, page.headers["location"])), decision="allow")
        _check(page, 303)
        target = page.headers["location"]
        assert target.startswith(f"{CALLBACK}?")
        answered = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        assert "error" not in answered
        assert answered["state"] == state
        return answered["code"], verifier

    def _sent(self, page: httpx2.Response, **filled: str) -> httpx2.Response:
        _check(page, 200)
        form = _Form()
        form.feed(page.text)
        fields = [pair for pair in form.fields if pair[0] not in filled]
        data: dict[str, list[str]] = {}
        for name, value in [*fields, *filled.items()]:
            data.setdefault(name, []).append(value)
        return self.http.post(urljoin(str(page.url), form.action), data=data)

    def token(self, app: App, **fields: str) -> httpx2.Response:
        """Ask the token endpoint, with the client authentication of the app."""
        url: str = self.smart()["token_endpoint"]
        return self.authenticated(app, url, **fields)

    def authenticated(self, app: App, url: str, **fields: str) -> httpx2.Response:
        headers = {}
        if app.key is not None:
            fields |= {"client_assertion_type": ASSERTION, "client_assertion": self.assertion(app)}
        elif app.secret:
            pair = base64.b64encode(f"{app.client_id}:{app.secret}".encode()).decode()
            headers["authorization"] = f"Basic {pair}"
        else:
            fields["client_id"] = app.client_id
        return self.http.post(url, data=fields, headers=headers)

    def assertion(self, app: App, **changes: Any) -> str:
        """Return a signed assertion (RFC 7523)."""
        assert app.key is not None
        algorithm = "ES384" if isinstance(app.key, ECKey) else "RS384"
        claims = {
            "iss": app.client_id,
            "sub": app.client_id,
            "aud": self.smart()["token_endpoint"],
            "exp": int(time.time()) + 240,
            "jti": secrets.token_hex(16),
            **changes,
        }
        header = {"alg": algorithm, "kid": "tester", "typ": "JWT"}
        return jwt.encode(header, claims, app.key, algorithms=[algorithm])

    def redeemed(self, app: App, code: str, verifier: str) -> Json:
        """Trade a code for tokens, and look at the answer as testers do."""
        answer = self.token(
            app,
            grant_type="authorization_code",
            code=code,
            redirect_uri=CALLBACK,
            code_verifier=verifier,
        )
        return told(answer)

    def launched(self, app: App, username: str, password: str, **more: Any) -> Json:
        return self.redeemed(app, *self.code(app, username, password, **more))

    def get(self, path: str, token: str | None, **headers: str) -> httpx2.Response:
        url = path if path.startswith("http") else f"{self.base}/{path}"
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self.http.get(url, headers={"accept": "application/fhir+json", **headers})

    def bundle(self, path: str, token: str) -> Json:
        answer = self.get(path, token)
        assert answer.status_code == 200, (path, answer.text)
        found: Json = answer.json()
        assert (found["resourceType"], found["type"]) == ("Bundle", "searchset")
        return found

    def found(self, path: str, token: str, mode: str = "match") -> list[Json]:
        """Return all resources of a search, page by page."""
        bundle = self.bundle(path, token)
        resources = list(resources_of(bundle, mode))
        while following := [one["url"] for one in bundle["link"] if one["relation"] == "next"]:
            bundle = self.bundle(following[0], token)
            resources += resources_of(bundle, mode)
        return resources

    def keys(self, url: str) -> KeySet:
        answer = self.http.get(url)
        assert answer.status_code == 200
        return KeySet.import_key_set(answer.json())


def challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def told(answer: httpx2.Response) -> Json:
    """Return a token response, checked: RFC 6749 5.1, SMART App Launch."""
    assert answer.status_code == 200, answer.text
    assert "no-store" in answer.headers["cache-control"]
    assert "no-cache" in answer.headers["pragma"]
    body: Json = answer.json()
    for name in ("access_token", "token_type", "scope"):
        assert isinstance(body[name], str)
        assert body[name]
    assert body["token_type"].lower() == "bearer"
    assert isinstance(body["expires_in"], int | float)
    return body


def resources_of(bundle: Mapping[str, Any], mode: str) -> Iterator[Json]:
    for entry in bundle.get("entry", []):
        if entry["search"]["mode"] == mode:
            yield entry["resource"]


def references(resource: Any) -> Iterator[str]:
    """Yield all literal references in a resource."""
    if isinstance(resource, dict):
        for name, value in resource.items():
            if name == "reference" and isinstance(value, str) and re.match(r"[A-Z]\w+/", value):
                yield value
            else:
                yield from references(value)
    elif isinstance(resource, list):
        for one in resource:
            yield from references(one)
