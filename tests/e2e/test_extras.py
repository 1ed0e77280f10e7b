"""The program installed from its lock, by hash, with one extra and nothing else."""

import subprocess

import pytest

from tests.e2e.commands import SAMPLES, cpcds, done
from tests.e2e.test_serving import running
from tests.given.environment import install_extra
from tests.unit.gateway.trees import busiest, sample_tree

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the command as it is in an environment that holds one extra."""
    there = {}

    def install(extra):
        if extra in there:
            return there[extra]
        folder = tmp_path_factory.mktemp(extra)
        install_extra(folder, extra)
        there[extra] = folder / "bin" / "cpcds"
        return there[extra]

    return install


def test_a_host_that_only_publishes_needs_no_web_server(installed, tmp_path):
    command = installed("batch")
    ran = subprocess.run(
        [command, "run", SAMPLES, "--to", tmp_path / "tree"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert done(cpcds("verify", tmp_path / "tree")).code == 0
    refused = subprocess.run(
        [command, "serve", tmp_path / "tree"], capture_output=True, text=True, cwd=tmp_path
    )
    assert refused.returncode == 2
    assert refused.stderr.endswith("which is not installed: make install\n")
    assert refused.stderr.count("\n") == 1


def test_a_host_that_only_serves_needs_no_arrow(installed, tmp_path):
    command = installed("serve")
    with running(sample_tree(), tmp_path, patient=busiest(), command=[str(command)]) as server:
        assert server.json("/fhir/ExplanationOfBenefit")["total"] > 0
        assert server.get("/", None)[0] == 200
        assert server.get("/oauth/jwks", None)[0] == 200
    refused = subprocess.run([command, "validate", SAMPLES], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.endswith("which is not installed: make install\n")
