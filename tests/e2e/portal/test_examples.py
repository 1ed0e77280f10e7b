"""The example files of the portal: each is downloaded and run as it is."""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.e2e.portal.standing import registered
from tests.e2e.portal.walking import consent, first_member
from tests.ports import free_port

COMMANDS = {
    "first_claim.py": (sys.executable, "-u"),
    "first_claim.mjs": ("node",),
    "first_claim.sh": ("/bin/sh",),
}


@pytest.mark.parametrize("kind", ["confidential", "public"])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_file_fetches_claims_and_revokes(page, sandbox, tmp_path, name, kind):
    if not shutil.which(COMMANDS[name][0]):
        pytest.skip(f"{COMMANDS[name][0]} is not there")
    client_id, secret = registered(sandbox, public=kind == "public")
    username, password = first_member(page)
    file = tmp_path / name
    file.write_bytes(page.request.get(f"/examples/{name}").body())
    environment = {
        "PATH": os.environ["PATH"],
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": secret,
        "PORT": str(free_port()),
    }
    with subprocess.Popen(
        [*COMMANDS[name], str(file)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    ) as running:
        link = next(line for line in running.stdout if line.startswith("http")).strip()
        page.goto(link)
        consent(page, username, password)
        if name.endswith(".sh"):
            running.stdin.write(page.locator("main pre code").first.inner_text() + "\n")
            running.stdin.flush()
        printed = running.stdout.read()
        assert running.wait(30) == 0, printed
    assert "Access revoked." in printed
    if name.endswith(".sh"):
        assert '"resourceType":"ExplanationOfBenefit"' in printed
    else:
        claims = re.search(r"^(\d+) claims$", printed, re.MULTILINE)
        assert int(claims[1]) == len(re.findall(r"^20\d\d-\d\d-\d\d|^no date", printed, re.M))
        assert int(claims[1]) > 0


@pytest.mark.parametrize("name", ["first_claim.py", "first_claim.mjs"])
def test_an_example_whose_port_is_taken_says_so_and_prints_no_link(page, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(page.request.get(f"/examples/{name}").body())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [*COMMANDS[name], str(file)],
            env={"PATH": os.environ["PATH"], "CLIENT_ID": "anyone", "PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ran.returncode == 1
    assert f"Port {port} cannot be used" in ran.stderr
    assert "http" not in ran.stdout


def test_an_example_without_a_client_id_says_what_to_set(page, tmp_path):
    file = tmp_path / "first_claim.py"
    file.write_bytes(page.request.get("/examples/first_claim.py").body())
    ran = subprocess.run(
        [sys.executable, str(file)], env={}, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 1
    assert ran.stderr.strip() == "Set CLIENT_ID, from App Registration."
