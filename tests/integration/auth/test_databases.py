"""The same life on SQLite and on PostgreSQL, in one process and in two that share it."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from etl.auth.audit_events import verify_trail
from etl.auth.database import latest_version, migrate, open_database, present_version
from etl.auth.database_tables import Base
from etl.auth.grants import SignedAssertion
from etl.auth.records import SignInRefused
from etl.errors import MappingError
from etl.smart.grants import TokenRefused
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import ANA, PUBLIC
from tests.ports import free_port
from tests.waiting import until


def test_migration_makes_the_tables_that_the_program_uses(database_url):
    database = open_database(database_url)
    assert present_version(database) is None
    migrate(database)
    migrate(database)
    assert present_version(database) == latest_version()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "sqlite"]
)
def test_a_database_that_cannot_be_used_is_named_as_such(url):
    with pytest.raises(MappingError, match=r"auth\.database"):
        open_database(url)


def test_a_whole_life(lasting):
    services = lasting.services
    developer = services.developers.sign_in("jo@app.example")
    assert services.developers.sign_in("jo@app.example").id == developer.id
    issued = services.apps.register(PUBLIC, developer=developer.id)
    assert services.apps.of_developer(developer.id) == (issued.app,)
    with lasting.client() as browser:
        body = acting.tokens(browser, issued)
        second = acting.refresh(browser, issued, body["refresh_token"]).json()
        assert services.verifier.active(second["access_token"]).grant.patient == ANA.patient
        acting.refresh(browser, issued, body["refresh_token"])
        with pytest.raises(TokenRefused):
            services.verifier.active(second["access_token"])
    (consent,) = services.consents.of_patient(ANA.patient)
    assert consent.revoked is not None
    services.keys.rotate()
    lasting.clock.move(days=400)
    services.delete_expired()
    services.trail.flush()
    assert verify_trail((lasting.folder / "audit",), services.database).problems == ()
    services.apps.delete(issued.app.client_id)
    services.developers.delete(developer=developer.id)
    assert services.apps.all() == ()


def test_failures_are_counted_one_by_one_even_at_once(lasting):
    services = lasting.services

    def fail(number):
        services.lockout.count_failure("jo@app.example", f"10.0.0.{number % 2}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail, range(5)))
    with pytest.raises(SignInRefused) as refused:
        services.lockout.check("jo@app.example", "10.9.9.9")
    assert refused.value.retry_after == 60


def test_of_eight_redemptions_at_once_one_at_most_succeeds(lasting):
    issued = lasting.register()
    with lasting.client() as browser:
        code = acting.launched(browser, issued.app.client_id)["code"]

    def once(_):
        with lasting.client() as other:
            return int(acting.redeem(other, issued, code).status_code)

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(once, range(8)))
    assert statuses.count(200) <= 1
    assert set(statuses) <= {200, 400}
    (consent,) = lasting.services.consents.of_patient(ANA.patient)
    assert consent.revoked is not None


def test_an_assertion_is_taken_once_of_many_at_once(lasting):
    services = lasting.services
    one = SignedAssertion(services.context)
    claims = {"sub": "app", "exp": int(lasting.clock().timestamp()) + 60}
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: one.validate_jti(claims, "the same"), range(8)))
    assert taken.count(True) == 1


@contextmanager
def processes(url, folder):
    """Start two servers at the same moment on one database and give their addresses."""
    with ExitStack() as stack:
        started = []
        for _ in range(2):
            port = free_port()
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.auth.server_process", url, str(folder),
                 str(port)],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            started.append((process, port))
        for process, _ in started:
            stack.enter_context(process.stdout)
            assert process.stdout.readline() == "listening\n"
        yield [f"http://127.0.0.1:{port}" for _, port in started]


@pytest.mark.slow
def test_two_processes_that_start_at_once_serve_as_one(database_url, tmp_path):
    with (
        processes(database_url, tmp_path) as (first, second),
        httpx2.Client(base_url=first) as one,
        httpx2.Client(base_url=second) as two,
    ):
        secret = one.post("/test/register", params={"client_id": "shared"}).json()["secret"]
        assert one.get("/oauth/jwks").json() == two.get("/oauth/jwks").json()
        auth = ("shared", secret)

        # A code made by one process is redeemed by the other.
        consent = acting.sign_in(one, acting.ask(one, "shared", aud=f"{first}/fhir"))
        code = acting.returned(acting.decide(one, consent))["code"]
        redeemed = two.post(
            "/oauth/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": acting.CALLBACK,
                "code_verifier": acting.VERIFIER,
            },
            auth=auth,
        )
        body = redeemed.json()
        assert body["patient"] == ANA.patient
        # What one revokes, the other refuses.
        header = {"authorization": f"Bearer {body['access_token']}"}
        assert two.get("/fhir/Patient", headers=header).status_code == 200
        one.post("/oauth/revoke", data={"token": body["refresh_token"]}, auth=auth)
        until(lambda: two.get("/fhir/Patient", headers=header).status_code == 401)
    database = open_database(database_url)
    found = verify_trail((tmp_path / "audit",), database)
    database.close()
    assert found.problems == ()
    assert found.files == 2
    assert found.events == 6


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "ä" * 300, "x" * 5000])
def test_odd_characters_are_an_error_of_the_client_not_of_the_database(lasting, text):
    body = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    json_type = {"content-type": "application/json"}
    with lasting.client() as browser:
        for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
            for odd in ({"client_id": text}, {"token": text, "refresh_token": text}):
                content = json.dumps({**body, **odd})
                answer = browser.post(path, content=content, headers=json_type)
                assert answer.status_code in (400, 401), answer.text
