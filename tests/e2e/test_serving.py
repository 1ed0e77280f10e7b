"""`cpcds serve` as it is started by an operator: a process, a port, signals."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from joserfc import jwt

from etl.auth.signing_keys import ALGORITHM
from etl.auth.verifier import TOKEN_TYPE
from etl.bootstrap.auth import opened, prepared
from etl.bootstrap.setting_groups import AuthSettings
from etl.bootstrap.settings import Settings
from etl.cli import main
from etl.storage.local import LocalStore
from tests.e2e.commands import SAMPLES
from tests.given import quick_server
from tests.given.tables import read_tables, table
from tests.unit.gateway.trees import LISTED, busiest, members, sample_tree
from tests.unit.publish.samples import patient, publish
from tests.waiting import is_alive, until

HEAVY = ("pyarrow", "pandas", "numpy", "great_expectations")
RSS = 150 * 1024
LIBRARIES = {name: set(names) for name, names in read_tables(__file__)["libraries"].items()}


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    base: str
    greeting: list[str]
    log: Path
    token: str = ""

    def get(self, path, token="", **headers):
        token = self.token if token == "" else token
        request = urllib.request.Request(f"{self.base}{path}", headers=headers)  # noqa: S310
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as got:  # noqa: S310
                return got.status, dict(got.headers), got.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def json(self, path, token=""):
        return json.loads(self.get(path, token)[2])

    def processes(self):
        """Return the server's process and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]


@contextlib.contextmanager
def running(tree, folder, *options, command=quick_server.COMMAND, patient="", **environment):
    """Serve a tree; with a Patient's id, as a sandbox, and with an access token for them."""
    log = folder / "log"
    if patient:
        environment = {**sandbox(folder), **environment}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "serve", str(tree), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env={**os.environ, **environment},
        )
        try:
            greeting = [process.stdout.readline().rstrip() for _ in range(3)]
            match = re.search(r"(http://[^/ ]+)/(fhir|directory|formulary)", greeting[0])
            assert match, (greeting, log.read_text())
            token = access_token(match[1], patient, folder) if patient else ""
            server = Running(process, match[1], greeting, log, token)
            until(lambda: server.get("/readyz", None)[0] in (200, 503))
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.stdout.close()


def sandbox(folder):
    """Return the settings of a sandbox that keeps its files in a folder."""
    return {
        "CPCDS_AUTH__MODE": "sandbox",
        "CPCDS_AUTH__DATABASE": f"sqlite:///{folder / 'auth.sqlite3'}",
        "CPCDS_AUTH__AUDIT": str(folder / "audit"),
    }


def access_token(base, patient, folder):
    """Return an access token signed with the key of the sandbox that serves `base`."""
    database = f"sqlite:///{folder / 'auth.sqlite3'}"
    auth = AuthSettings(mode="sandbox", database=database, audit=folder / "token-audit")
    services = opened(prepared(Settings(auth=auth)), base)
    now = int(services.clock().timestamp())
    claims = {
        "iss": base,
        "aud": f"{base}/fhir",
        "sub": patient,
        "client_id": "tests",
        "iat": now,
        "exp": now + 600,
        "jti": "1",
        "grant_id": "tests",
        "patient": patient,
        "scope": "patient/*.rs",
    }
    key = services.keys.signing_key("access")
    algorithm = ALGORITHM["access"]
    header = {"alg": algorithm, "kid": key.kid, "typ": TOKEN_TYPE}
    token = jwt.encode(header, claims, key, algorithms=[algorithm])
    services.trail.close()
    services.database.close()
    return token


def rss(pid):
    """Return the memory of a process, in KB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])


def loaded(pid):
    """Return what heavy libraries a process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in HEAVY if f"/{name}/" in maps]


@pytest.mark.slow
def test_a_server_says_what_it_serves_and_serves_it_in_a_thin_process(tmp_path):
    with running(sample_tree(), tmp_path, patient=busiest()) as server:
        where, what, mode = server.greeting
        assert where.startswith(f"serving {sample_tree()} at {server.base}/fhir")
        release = server.json("/readyz", None)["release"]
        assert what.startswith(f"release {release}, made ")
        assert mode.startswith("mode: sandbox")
        claims = [x for x in members()[busiest()] if x["resourceType"] == "ExplanationOfBenefit"]
        found = server.json("/fhir/ExplanationOfBenefit?_count=100")
        assert found["total"] == len(claims)
        assert found["link"][0]["url"].startswith(f"{server.base}/fhir/")
        assert server.get("/fhir/ExplanationOfBenefit", None)[0] == 401
        for path in ("ExplanationOfBenefit?_include=*", f"Patient/{busiest()}/$everything"):
            assert server.get(f"/fhir/{path}")[0] == 200
        for path in ("/", "/oauth/jwks", "/fhir/metadata"):
            assert server.get(path, None)[0] == 200, path
        assert loaded(server.process.pid) == []
        assert rss(server.process.pid) < RSS
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        assert any(line.get("route") == "/fhir/Patient/[id]/$everything" for line in lines)
        assert busiest() not in server.log.read_text()


def test_one_process_serves_claims_with_a_token_and_a_directory_without(tmp_path):
    with running(sample_tree(), tmp_path, "--directory", str(sample_tree(LISTED))) as server:
        assert server.greeting[0].count("http://") == 2
        assert server.get("/fhir/Coverage", None)[0] == 401
        status, headers, body = server.get("/directory/Organization?type=ntwk", "token-of-nobody")
        assert (status, headers["cache-control"]) == (200, "public, max-age=60")
        types = {one["resource"]["resourceType"] for one in json.loads(body)["entry"]}
        assert types == {"Organization"}


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ("", ["serving"]),
        (
            ", etl.auth.endpoints, etl.bootstrap.auth, etl.bootstrap.portal",
            ["serving", "authorizing"],
        ),
    ],
)
def test_the_command_loads_the_libraries_that_it_needs(more, kinds):
    """A start takes as long as what it loads: each library more is seen here."""
    code = (
        f"import sys, sysconfig; from etl.cli import main;"
        f"import etl.cli.serve, etl.bootstrap.served_app{more};"
        "of = [(one, getattr(module, '__file__', None)) for one, module in sys.modules.items()];"
        "installed = sysconfig.get_path('purelib');"
        "print(*{one.partition('.')[0] for one, file in of if installed in (file or '')})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = set().union(*(LIBRARIES[kind] for kind in kinds))
    assert set(found.stdout.split()) - LIBRARIES["beneath"] == expected


@pytest.mark.slow
def test_workers_count_together_are_thin_and_end_together(tmp_path):
    with running(sample_tree(), tmp_path, "--workers", "2", patient=busiest()) as server:
        until(lambda: len(server.processes()) >= 3)
        for _ in range(20):
            assert server.get("/fhir/ExplanationOfBenefit")[0] == 200

        def counted():
            text = server.get("/metrics", None)[2].decode()
            found = re.search(r'requests_total\{.*ExplanationOfBenefit".*\} (\d+)', text)
            return int(found[1]) if found else 0

        # A request is counted after its response was sent: the last may not be counted yet.
        until(lambda: counted() >= 20)
        assert counted() == 20
        assert "cpcds_object_reads_total" in server.get("/metrics", None)[2].decode()
        # A page link of one worker is good for the other.
        found = server.json("/fhir/ExplanationOfBenefit?_count=1")
        (following,) = [one["url"] for one in found["link"] if one["relation"] == "next"]
        for _ in range(8):
            assert server.get(following.removeprefix(server.base))[0] == 200
        workers = server.processes()[1:]
        assert all(rss(pid) < RSS for pid in workers)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.slow
def test_workers_of_a_server_that_is_killed_end_with_it(tmp_path):
    with running(sample_tree(), tmp_path, "--workers", "2", patient=busiest()) as server:
        until(lambda: len(server.processes()) >= 3)
        workers = server.processes()[1:]
        assert server.get("/fhir/ExplanationOfBenefit")[0] == 200
        server.process.kill()
        until(lambda: not any(is_alive(pid) for pid in workers))


def listens(host, port):
    try:
        socket.create_connection((host, port), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.slow
def test_what_is_under_way_is_finished_before_the_server_ends(tmp_path):
    with running(sample_tree(), tmp_path, patient=busiest()) as server:
        host, _, port = server.base.removeprefix("http://").partition(":")
        body = b"_count=1"
        head = (
            f"POST /fhir/ExplanationOfBenefit/_search HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head.encode() + body[:3])
            assert server.get("/healthz", None)[0] == 200  # so what came before was read
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not listens(host, int(port)))
            connection.sendall(body[3:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("trusted", ['["127.0.0.1"]', "[]"])
def test_only_a_trusted_proxy_says_where_a_request_comes_from(tmp_path, trusted):
    publish(LocalStore(tmp_path / "tree"), [patient("ann", 1)])
    settings = {
        "CPCDS_SERVE__TRUSTED_PROXIES": trusted,
        "CPCDS_SERVE__REFUSED_LIMIT": "2/hour",
    }
    with running(tmp_path / "tree", tmp_path, **settings) as server:

        def asked(address):
            return server.get("/fhir/Patient", "wrong", **{"X-Forwarded-For": address})[0]

        assert [asked("192.0.2.1") for _ in range(3)] == [401, 401, 429]
        assert asked("192.0.2.2") == (401 if trusted != "[]" else 429)


@pytest.mark.slow
def test_a_server_with_another_id_key_than_the_trees_says_so_at_its_start(tmp_path):
    members_file = {"CPCDS_AUTH__DEMO_MEMBERS": str(SAMPLES / "member.csv")}
    settings = {"CPCDS_AUTH__MODE": "sandbox", **members_file}
    others = {"CPCDS_ID_KEY": "7" * 64, "CPCDS_PAYER__ID": "other"}
    with running(sample_tree(), tmp_path, **others, **settings) as server:
        (warning,) = [line for line in server.log.read_text().splitlines() if "warning" in line]
        names = "payer.id and another CPCDS_ID_KEY"
        assert f"{sample_tree()} was published with another {names}, so that no member" in warning
    with running(sample_tree(), tmp_path, **settings) as server:
        assert "warning" not in server.log.read_text()


def test_before_the_first_release_it_waits_for_one(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    with running(tree, tmp_path) as server:
        assert server.greeting[1].startswith("no release yet")
        assert server.greeting[2].startswith("mode: closed")
        assert server.get("/readyz", None)[0] == 503
        assert server.get("/fhir/Patient", "a-token")[0] == 401
        publish(LocalStore(tree), [patient("ann", 1)])
        until(lambda: server.get("/readyz", None)[0] == 200)


@pytest.mark.parametrize(*table(__file__, "refused"))
def test_what_cannot_be_served_is_said_in_one_sentence(
    tmp_path, options, environment, code, sentence
):
    given = [str(tmp_path) if one == "TREE" else one for one in options]
    done = CliRunner().invoke(main, ["serve", *given, "--port", "0"], env=environment)
    assert (done.exit_code, sentence in done.output) == (code, True), done.output
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1


def test_all_that_keeps_a_server_from_starting_is_said_at_once_with_its_place(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("cpcds.toml").write_text(
        "[serve]\npage_size = 500\n[auth]\nmode = 'production'\ndemo_members = 'member.csv'\n"
    )
    environment = {"CPCDS_SERVE__CURSOR_KEY": "short"}
    done = CliRunner().invoke(main, ["serve", str(tmp_path)], env=environment)
    assert done.exit_code == 3
    assert [line.split(": ")[1] for line in done.output.splitlines()] == [
        "CPCDS_SERVE__CURSOR_KEY",
        "cpcds.toml:2",
        "cpcds.toml:5",
        "CPCDS_ID_KEY",
    ]


def test_a_port_in_use_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(main, ["serve", str(tmp_path), "--port", port])
    assert done.exit_code == 2
    assert done.output == (
        f"error: cannot listen on 127.0.0.1, port {port}: address already in use\n"
    )
