"""Compare what the program makes with what it made before a refactoring.

    python -m scripts.same_output [--before FOLDER] [--only PATTERN]

Checks the commit BEFORE out beside this one, runs the same commands with both programs, and
compares every file, exit code, output and HTTP answer byte for byte. Clock and random names are
fixed. Differences that are meant are listed in MEANT, each with its reason; any other difference is
printed, and ends the comparison with exit code 1. Goes when the refactoring is done.

`--before` keeps what the earlier program made in a folder; the next comparison uses it. `--only`
runs the commands whose words match a regular expression (their prerequisites must match as well),
and compares the files that these write. HTTP requests are sent if `serve` matches; they need the
two runs of the samples.
"""

from __future__ import annotations

import argparse
import difflib
import gzip
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
BEFORE: Final = "24f881a4"
"""The commit to compare with. What it changes of the output is listed in its CHANGELOG."""

MEANT: Final[Mapping[str, str]] = {
    r"^(first|second|delta)/(prior_auth\w*\.csv|manifest\.json)$": "synth has prior authorizations",
    r"-synth---members.printed$": "it prints how many",
    r"^members/|^plan.html$|-(run|history|rollback|verify)-(first|second|delta|members).printed$": (
        "runs of them publish prior authorizations too"
    ),
    r"cms-prauc|-layouts---json.printed$": "the layout is new",
}
"""Pattern of a file's path -> why it differs."""

SAMPLES: Final = "cpcds_samples"
ANY_CHANGE: Final = {
    **{
        f"CPCDS_LIMITS__{name}": "1"
        for name in (
            *("FEWER_ROWS", "FEWER_CLAIMS", "RETRACTED_MEMBERS"),
            *("RETRACTED_CLAIMS", "RETRACTED_RESOURCES"),
        )
    },
    "CPCDS_LIMITS__MONEY_CHANGE": "1000000",
}
ENVIRONMENT: Final = {
    **ANY_CHANGE,
    "CPCDS_ID_KEY": "the id key of comparisons, made up of more than 32 characters",
    "CPCDS_SERVE__CURSOR_KEY": "the cursor key of comparisons, 32 characters and more",
    "CPCDS_SERVE__LOG": "off",
    "CPCDS_SERVE__RATE_LIMIT": "100000/minute",
    "CPCDS_PUBLISH__DELTAS": "true",
    "COLUMNS": "120",
    "PYTHONHASHSEED": "0",
}

SANDBOX: Final = {
    "CPCDS_AUTH__MODE": "sandbox",
    "CPCDS_AUTH__DATABASE": "sqlite:///auth/auth.sqlite3",
    "CPCDS_AUTH__AUDIT": "auth/audit",
}
"""Settings of an authorization server whose files are deleted after the requests."""

SIGN_TOKENS: Final = """
import json, sys
from joserfc import jwt
from etl.bootstrap.auth import opened, prepared
from etl.bootstrap.settings import read_settings

base = "https://payer.example"
services = opened(prepared(read_settings(None, serve={"base_url": base})), base)
now, key = int(services.clock().timestamp()), services.keys.signing("access")
alg = key.as_dict(private=False).get("alg") or ("ES256" if key.key_type == "EC" else "RS256")
claims = {
    "iss": base, "aud": base + "/fhir", "client_id": "development", "grant_id": "development",
    "iat": now, "exp": now + 600, "jti": "1", "scope": "patient/*.rs",
}
header = {"alg": alg, "kid": key.kid, "typ": "at+jwt"}
print(json.dumps({
    patient: jwt.encode(header, {**claims, "sub": patient, "patient": patient}, key, [alg])
    for patient in sys.argv[1:]
}))
services.trail.close()
"""

CALL: Final = """
import etl.pipeline.incremental.cache as cache
from etl.cli import main
cache._code_hash = lambda: "the same"  # what a night keeps names the program, and so do release ids
main()
"""
"""What every process of a comparison calls."""

FIXED_CLOCK: Final = """
import ctypes, datetime, gc, os, secrets
def now(cls, tz=None):
    return cls.fromisoformat(os.environ["SAME_OUTPUT_NOW"]).astimezone(tz)
# C code needs the real class, so its method is replaced in place.
gc.get_referents(datetime.datetime.__dict__)[0]["now"] = classmethod(now)
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
real = secrets.token_hex
secrets.token_hex = lambda size=32: "0a" * 4 if size == 4 else real(size)  # ids of runs have 4
"""
"""sitecustomize.py of every process of a comparison."""

_VARYING: Final = (
    (re.compile(rb'("(?:seconds|wall_seconds|cpu_seconds|rate)": ?)[\d.e+-]+'), rb"\1 0"),
    (re.compile(rb"^process \d+ on "), b"process on "),
    (re.compile(rb"\b\d+(\.\d+)? s\b"), b"0 s"),
    (re.compile(rb" +\d+\.\d$", re.MULTILINE), b" 0.0"),
    (re.compile(rb"_page=[\w.~%-]+"), b"_page=sealed"),
)
"""What differs from run to run of one program -> what takes its place."""


@dataclass(frozen=True)
class Command:
    """A call of `cpcds`: its words, and the day on which it is made."""

    words: tuple[str, ...]
    day: int = 1


def commands() -> Iterator[Command]:
    """Return the commands in order; all of them are run in one folder."""
    yield Command(("run", SAMPLES, "--to", "samples"))
    yield Command(("run", f"{SAMPLES}/faulty", "--to", "samples", "--json"), 2)
    yield Command(("validate", f"{SAMPLES}/faulty", "--report", "validated", "--json"))
    yield Command(("convert", SAMPLES, "--out", "converted"))
    yield Command(("convert", SAMPLES, "--out", "basis", "--view", "basis", "--json"))
    synth = ("synth", "--members", "1000", "--seed", "7", "--since", "2024-06-01")
    yield Command((*synth, "--out", "first", "--fault-rate", "0.002"))
    yield Command((*synth, "--out", "second", "--day", "1"))
    yield Command((*synth, "--out", "delta", "--day", "2", "--kind", "delta"))
    yield Command(("run", "first", "--to", "members"))
    yield Command(("run", "second", "--to", "members", "--dry-run", "--html", "plan.html"), 2)
    yield Command(("run", "second", "--to", "members", "--json"), 2)
    yield Command(("run", "delta", "--to", "members", "--json"), 3)
    yield Command(("history", "members", "--json"), 3)
    yield Command(("rollback", "members", "20260102", "--reason", "a comparison"), 4)
    yield Command(("verify", "members"), 4)
    yield Command(("run", f"{SAMPLES}/directory", "--to", "directory", "--json"))
    yield Command(("synth", "--directory", "--practitioners", "60", "--seed", "5", "--out", "dir"))
    yield Command(("run", "dir", "--to", "directory", "--json"), 2)
    yield Command(("mapping", "docs"))
    yield Command(("mapping", "coverage", SAMPLES))
    yield Command(("layouts", "--json"))
    for layout in sorted(path.name for path in (ROOT / "tests/golden/layouts").iterdir()):
        golden = f"golden/{layout}"
        if not (ROOT / "tests/golden/layouts" / layout / "layout.yaml").exists():
            converting = ("convert", f"{golden}/input", "--out", f"from-{layout}", "--json")
            yield Command(("--mappings", "own-mappings", *converting))
            yield Command(("doctor", f"{golden}/input"))


@dataclass(frozen=True)
class Program:
    """A checkout of the project and the folder in which its commands run."""

    root: Path
    folder: Path

    def environment(self, day: int, **more: str) -> dict[str, str]:
        """Return the environment of a command."""
        inherited = {name: text for name, text in os.environ.items() if "CPCDS" not in name}
        return {
            **inherited,
            **ENVIRONMENT,
            "PYTHONPATH": f"{self.folder.parent / 'clock'}{os.pathsep}{self.root}",
            "SAME_OUTPUT_NOW": f"2026-01-{day:02}T03:00:00+00:00",
            **more,
        }

    def prepare(self) -> None:
        """Copy the extracts of this checkout into the folder, the same for both programs."""
        self.folder.mkdir(parents=True)
        shutil.copytree(ROOT / SAMPLES, self.folder / SAMPLES)
        shutil.copytree(ROOT / "tests/golden/layouts", self.folder / "golden")
        shutil.copytree(ROOT / "tests/golden/own-mappings", self.folder / "own-mappings")

    def run_all(self, pattern: str) -> None:
        """Run the matching commands, and keep their exit codes and output with their files."""
        for number, command in enumerate(commands()):
            if not re.search(pattern, " ".join(command.words)):
                continue
            done = subprocess.run(  # noqa: S603 - our own words
                [sys.executable, "-c", CALL, *command.words],
                cwd=self.folder,
                env=self.environment(command.day),
                capture_output=True,
                check=False,
            )
            name = f"{number:02}-{'-'.join(command.words[:2]).replace('/', '-')}"
            printed = f"exit code {done.returncode}\n".encode() + done.stdout + done.stderr
            (self.folder / f"{name}.printed").write_bytes(printed)

    @contextmanager
    def serving(self, target: str, *options: str, **more: str) -> Iterator[int]:
        """Serve a target; yield the port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = ("serve", target, "--port", str(port), "--base-url", "https://payer.example")
        process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-c", CALL, *words, *options],
            cwd=self.folder,
            env=self.environment(5, **more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(300):
                if _answer(port, "/readyz", None)[0] == 200:
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(20)

    def access_tokens(self, patients: Sequence[str]) -> dict[str, str]:
        """Return an access token for each patient."""
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", SIGN_TOKENS, *patients],
            cwd=self.folder,
            env=self.environment(5, **SANDBOX),
            stdout=subprocess.PIPE,
            check=True,
        )
        tokens: dict[str, str] = json.loads(done.stdout)
        return tokens

    def ask_all(self, patients: Sequence[str], requests: Sequence[tuple[str, str | None]]) -> None:
        """Send every request, and keep status, headers and body of its answer."""
        tokens = self.access_tokens(patients)
        with self.serving("samples", "--directory", "directory", **SANDBOX) as port:
            answers = [
                (path, *_answer(port, path, tokens[patient] if patient else None))
                for path, patient in requests
            ]
        answered = [
            f"GET {path}\n{status}\n{headers}\n".encode() + body
            for path, status, headers, body in answers
        ]
        (self.folder / "http.printed").write_bytes(b"\n".join(answered))
        shutil.rmtree(self.folder / "auth")


def _answer(port: int, path: str, token: str | None) -> tuple[int, str, bytes]:
    """Return status, headers and body; status 0 where nothing listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        kept = [
            f"{name}: {text}"
            for name, text in answer.getheaders()
            if name.lower() not in ("date", "x-request-id", "content-length")
        ]
        return answer.status, "\n".join(sorted(kept)), answer.read()
    except OSError:
        return 0, "", b""
    finally:
        connection.close()


def requests_over(converted: Path) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Return patients, and 400 requests about them as path and the patient whose token is sent.

    Args:
        converted: the samples as NDJSON.
    """
    resources = {
        path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in sorted(converted.glob("*.ndjson"))
    }
    claims: dict[str, list[dict[str, Any]]] = {}
    for claim in resources["ExplanationOfBenefit"]:
        claims.setdefault(claim["patient"]["reference"].removeprefix("Patient/"), []).append(claim)
    patients = sorted(claims, key=lambda one: (-len(claims[one]), one))[:3]
    requests: list[tuple[str, str | None]] = [
        (path, None)
        for base in ("/fhir", "/directory")
        for path in (f"{base}/metadata", f"{base}/openapi.json", f"{base}/Patient", f"{base}/no")
    ]
    for patient in patients:
        requests += [(path, patient) for path in islice(_paths(claims[patient]), 100)]
    requests += [(path, None) for path in islice(_directory_paths(resources), 400 - len(requests))]
    return patients, requests


def _paths(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    patient = claims[0]["patient"]["reference"]
    identifier = claims[0]["identifier"][0]["value"]
    day = claims[0]["billablePeriod"]["start"]
    yield f"/fhir/{patient}"
    yield f"/fhir/{patient}/$everything"
    yield f"/fhir/{patient}/$everything?_type=Coverage&_count=1"
    yield "/fhir/Coverage"
    yield "/fhir/Patient?_revinclude=Coverage:beneficiary"
    filters = (
        *("", f"identifier={identifier}", "type=pharmacy", "type=oral,vision", "status=active"),
        *(f"service-date=ge{day}", f"service-date=lt{day[:4]}", f"billable-period-start={day}"),
        *(f"patient={patient}", "_lastUpdated=ge2020", "created=gt2024", "service-date=never"),
        f"_id={claims[0]['id']},{claims[-1]['id']}",
    )
    results = (
        *("", "_count=2", "_summary=count", "_summary=true", "_elements=total", "_sort=-created"),
        *("_include=ExplanationOfBenefit:patient", "_include=*", "_total=none", "_count=0"),
    )
    for text in product(filters, results):
        query = "&".join(filter(None, text))
        yield f"/fhir/ExplanationOfBenefit{'?' if query else ''}{query}"


def _directory_paths(resources: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    for kind in ("Practitioner", "Organization", "Location", "PractitionerRole", "InsurancePlan"):
        for query in (
            *("", "_count=3", "_summary=count", "name=a", "name:contains=e", "_include=*"),
            *("active=true", "address-state=NY", "specialty=207Q00000X", "_sort=_id", "_id=x"),
            *("_revinclude=PractitionerRole:practitioner", "near=42|-71|50|km", "identifier=1"),
            *("_has:PractitionerRole:practitioner:specialty=207Q00000X", "organization.name=a"),
        ):
            yield f"/directory/{kind}{'?' if query else ''}{query}"
        for resource in resources.get(kind, ())[:6]:
            yield f"/fhir/{kind}/{resource['id']}"


def content(path: Path) -> bytes:
    """Return what is in a file, unpacked, without what differs from run to run."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if b"\0" in data[:1024]:
        return data
    for pattern, replacement in _VARYING:
        data = pattern.sub(replacement, data)
    return data


def differences(before: Path, after: Path, is_whole: bool) -> Iterator[str]:
    """Yield a text about each file that only one program made, or that differs.

    Args:
        is_whole: whether files that only the earlier program made are differences.
    """
    names = {
        path.relative_to(folder).as_posix()
        for folder in ((before, after) if is_whole else (after,))
        for path in folder.rglob("*")
        if path.is_file()
    }
    for name in sorted(names):
        if any(re.search(pattern, name) for pattern in MEANT):
            continue
        paths = before / name, after / name
        if not all(path.exists() for path in paths):
            yield f"only {'before' if paths[0].exists() else 'after'}: {name}"
        elif paths[0].read_bytes() != paths[1].read_bytes():
            texts = [content(path) for path in paths]
            if texts[0] != texts[1]:
                yield f"differs: {name}\n{_first_difference(*texts)}"


def _first_difference(before: bytes, after: bytes) -> str:
    lines = [data.decode("utf-8", "replace").splitlines() for data in (before, after)]
    changes = (line for line in difflib.unified_diff(*lines, lineterm="", n=0) if line[:3] != "---")
    return "\n".join(f"    {line[:300]}" for line in islice(changes, 6))


@contextmanager
def _checkout(folder: Path) -> Iterator[None]:
    """Check the commit BEFORE out for a while."""
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--force", "--detach", folder, BEFORE], check=True)  # noqa: S603
    try:
        yield
    finally:
        subprocess.run([*git, "remove", "--force", folder], check=True)  # noqa: S603


def _make_output(program: Program, pattern: str) -> int:
    """Run the commands and send the requests; return the number of requests."""
    (program.folder.parent / "clock").mkdir(parents=True, exist_ok=True)
    (program.folder.parent / "clock/sitecustomize.py").write_text(FIXED_CLOCK)
    program.prepare()
    program.run_all(pattern)
    if not re.search(pattern, "serve"):
        return 0
    patients, requests = requests_over(program.folder / "converted")
    program.ask_all(patients, requests)
    return len(requests)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both programs side by side; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args(arguments)
    work = Path(mkdtemp(prefix="same-"))
    before = Program(work / "checkout", (options.before or work).absolute() / "before")
    after = Program(ROOT, work / "after")
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        making = [pool.submit(_make_output, after, options.only)]
        if not before.folder.exists():
            stack.enter_context(_checkout(before.root))
            making.append(pool.submit(_make_output, before, ""))
        request_counts = [made.result() for made in making]
    found = list(differences(before.folder, after.folder, is_whole=not options.only))
    for text in found:
        print(text)
    files = sum(path.is_file() for path in after.folder.rglob("*"))
    print(f"{files:,} files and {request_counts[0]} answers compared, {len(found)} differ")
    if not found:
        shutil.rmtree(work)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
