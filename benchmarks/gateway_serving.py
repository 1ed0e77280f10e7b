"""A served process to be measured: `cpcds serve` with its authorization server, and real tokens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etl.auth.database_tables import Consent
from etl.auth.grants import AccessTokens, Client
from etl.auth.records import Approval
from etl.auth.registration import ATTESTATIONS, AppDraft
from etl.auth.services import Services
from etl.bootstrap import auth
from etl.bootstrap.settings import read_settings

CPCDS = (sys.executable, "-c", "from etl.cli import main; main()")
SCOPE = "launch/patient patient/*.rs"

_TICKS = os.sysconf("SC_CLK_TCK")
_APP = AppDraft(
    name="Load",
    organization="Benchmark",
    client_type="confidential",
    authentication="secret",
    redirect_uris=("https://app.example/callback",),
    policy_uri="https://app.example/privacy",
    contact_name="Nobody",
    contact_email="nobody@app.example",
    attestations=tuple(ATTESTATIONS),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers.

    Attributes:
        process: the one that was started.
        base: scheme, host and port.
        seconds: from its start to its first answer that it is ready.
        at_start: processor seconds until then.
    """

    process: subprocess.Popen[str]
    base: str
    seconds: float
    at_start: float

    def workers(self) -> list[int]:
        """Return the processes that answer requests: its children that listen, or itself."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = [int(one) for one in children if b"spawn_main" in _command(one)]
        return found or [pid]

    def processor(self) -> float:
        """Return processor seconds of all that answer, since their start."""
        return sum(_processor(pid) for pid in self.workers())

    def memory(self) -> float:
        """Return the resident memory of the largest of them, in MB."""
        return max(_memory(pid) for pid in self.workers())


def environment(folder: Path) -> dict[str, str]:
    """Return the settings of a measured server, with all that it keeps in a folder."""
    return {
        "CPCDS_AUTH__MODE": "sandbox",
        "CPCDS_AUTH__DATABASE": f"sqlite:///{folder / 'auth.sqlite3'}",
        "CPCDS_AUTH__AUDIT": str(folder / "audit"),
        # One machine stands for thousands of apps: its requests are counted, but not limited.
        "CPCDS_SERVE__RATE_LIMIT": "1000000000/minute",
    }


@contextmanager
def served(
    target: str, folder: Path, workers: int, variables: Mapping[str, str]
) -> Iterator[Server]:
    """Serve a target while the block runs; the log is written to a file, as an operator's is."""
    command = [*CPCDS, "serve", target, "--port", "0", "--workers", str(workers)]
    with started(command, folder / "serve.log", dict(variables), "/readyz") as server:
        yield server


@contextmanager
def started(
    command: Sequence[str], log: Path, variables: Mapping[str, str], ready: str
) -> Iterator[Server]:
    """Run a server whose first line names its address, until the block ends."""
    began = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - this program, with arguments of its own
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **variables},
        )
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        line = process.stdout.readline()
        match = re.search(r"http://[^/ ]+", line)
        if match is None:
            sys.exit(f"the server did not start: {line}{log.read_text()[-2000:]}")
        while not _is_ready(match[0] + ready):
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        yield Server(process, match[0], seconds, _processor(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()


def tokens(server: Server, folder: Path, patients: Sequence[str]) -> dict[str, str]:
    """Return an access token for each patient, signed with the running server's own key.

    They are what its token endpoint would give: an app is registered and every patient's consent
    is kept in its database.
    """
    settings = read_settings(
        None,
        auth={
            "mode": "sandbox",
            "database": f"sqlite:///{folder / 'auth.sqlite3'}",
            "audit": str(folder / "audit"),
        },
    )
    services = auth.opened(auth.prepared(settings), server.base)
    try:
        return {one: token_of(services, one) for one in patients}
    finally:
        services.trail.close()
        services.database.close()


def token_of(services: Services, patient: str) -> str:
    """Return an access token for a patient, as `tokens` does."""
    now = datetime.now(UTC)
    app = next(iter(services.apps.all()), None) or services.apps.register(_APP).app
    approval = Approval(patient, tuple(SCOPE.split()), now + timedelta(days=90), now, "")
    consent = services.consents.give(app.client_id, approval)
    with services.database.read() as session:
        row = session.get_one(Consent, consent)
    making = AccessTokens(services.context, services.keys)
    given = making.generate("authorization_code", Client(app), row, SCOPE)
    return str(given["access_token"])


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as got:  # noqa: S310 - our own server
            return bool(got.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0
