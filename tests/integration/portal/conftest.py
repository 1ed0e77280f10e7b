"""A portal in a sandbox, and browsers for it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from starlette.testclient import TestClient

from etl.auth.registration import ATTESTATIONS
from tests.given.tables import read_tables
from tests.integration.auth.standing import BASE
from tests.integration.portal.served import PRODUCTION, stand_up

FORM = read_tables(__file__)["form"] | {f"attest_{name}": "yes" for name in ATTESTATIONS}
"""A registration form that can be taken."""


@dataclass
class Browser:
    """Somebody at a browser."""

    client: TestClient

    def get(self, path):
        return self.client.get(path)

    def send(self, path, fields, *, page=""):
        """Send a form as its page would: with the token that is on it."""
        return self.client.post(path, data={**fields, "csrf": self.token(page or path)})

    def token(self, page):
        """Return the token of the forms of a page."""
        return re.search(r'name="csrf" value="([^"]+)"', self.get(page).text)[1]

    def ask_link(self, standing, name="dana", way=""):
        """Ask for a sign-in link; return its path: from the mail, or from a sandbox's page."""
        fields = {"email": f"{name}@lens.example", **({"next": way} if way else {})}
        answer = self.send("/sign-in", fields)
        assert answer.status_code == 200, answer.text
        text = standing.sent[-1].text if standing.sent else answer.text
        match = re.search(rf"{re.escape(BASE)}(/sign-in/[\w.-]+)", text)
        return match[1]

    def sign_in(self, standing, name="dana"):
        answer = self.send(self.ask_link(standing, name), {})
        assert answer.status_code == 303, answer.text
        return self

    def register(self, **changes):
        """Register an app; return its client id and secret."""
        answer = self.send("/apps/new", {**FORM, **changes})
        assert answer.status_code == 200, answer.text
        client = re.search(r'id="client-id">([^<]+)<', answer.text)
        secret = re.search(r'id="client-secret">([^<]+)<', answer.text)
        return client[1], secret[1] if secret else ""


def browser(standing):
    return Browser(
        TestClient(
            standing.app, base_url=BASE, follow_redirects=False, raise_server_exceptions=False
        )
    )


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    """Somebody who changes nothing, on a portal that all tests of reading share."""
    with stand_up(tmp_path_factory.mktemp("reading")) as standing:
        yield browser(standing)


@pytest.fixture(scope="session")
def applicant(tmp_path_factory):
    """A developer whose forms are all refused, or not looked at again."""
    with stand_up(tmp_path_factory.mktemp("applying")) as standing:
        yield browser(standing).sign_in(standing)


@pytest.fixture
def stand(tmp_path):
    """Return what gives a portal that a test has to itself; it ends with the test."""
    with ExitStack() as until_the_end:
        yield lambda **changes: until_the_end.enter_context(stand_up(tmp_path, **changes))


@pytest.fixture
def sandbox(stand):
    return stand()


@pytest.fixture
def production(stand):
    return stand(site=PRODUCTION)


@pytest.fixture
def visitor(sandbox):
    return browser(sandbox)


@pytest.fixture
def developer(visitor, sandbox):
    return visitor.sign_in(sandbox)
