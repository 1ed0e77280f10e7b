"""Signed releases, from outside: keys by openssl, a run, a rollback and `cpcds verify`."""

import json
import shutil
import subprocess

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import cpcds, done

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not there")


def openssl(*words):
    program = shutil.which("openssl")
    assert program is not None
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)


@pytest.mark.slow
def test_a_signed_target_is_verified_with_the_public_key_and_the_last_known_release(tmp_path):
    private, public, tree = tmp_path / "release.pem", tmp_path / "release.pub", tmp_path / "tree"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    signed = {"CPCDS_PUBLISH__SIGNING_KEY": str(private), "CPCDS_REPORT__GX_ROWS": "0"}
    releases = []
    for seed in (1, 2):
        extract = tmp_path / f"extract{seed}"
        write_extract(extract, Spec(members=2, seed=seed))
        limits = {"CPCDS_LIMITS__RETRACTED_MEMBERS": "1", "CPCDS_LIMITS__MONEY_CHANGE": "1000000",
                  "CPCDS_LIMITS__FEWER_ROWS": "1", "CPCDS_LIMITS__FEWER_CLAIMS": "1",
                  "CPCDS_LIMITS__RETRACTED_CLAIMS": "1",
                  "CPCDS_LIMITS__RETRACTED_RESOURCES": "1"}  # fmt: skip
        called = done(cpcds("run", extract, "--to", tree, "--workers", "1", "--json",
                            **signed, **limits))  # fmt: skip
        releases.append(json.loads(called.out)["release"])
    said = done(cpcds("verify", tree, "--key", public, "--since", releases[0])).out
    assert "it is signed by key " in said
    assert f"it comes 1 release after {releases[0]}" in said
    done(cpcds("rollback", tree, releases[0], **signed))
    assert (
        json.loads(
            done(cpcds("verify", tree, "--key", public, "--since", releases[1], "--json")).out
        )["releases_since"]
        == 1
    )
    done(cpcds("resume", tree))
    refused = cpcds("verify", tree, "--key", private)
    assert refused.code == 2
    assert "holds no public key" in refused.sentence
    missing = cpcds("run", tmp_path / "extract1", "--to", tree,
                    CPCDS_PUBLISH__SIGNING_KEY=str(tmp_path / "none.pem"))  # fmt: skip
    assert missing.code == 2
    assert "cannot be read" in missing.sentence


@pytest.mark.slow
def test_several_processes_verify_what_one_does(faulty_run, monkeypatch):
    command = ("verify", faulty_run / "tree", "--json")
    alone = done(cpcds(*command))
    monkeypatch.setattr("etl.bootstrap.releases._WORTH_PROCESSES", 0)
    assert done(cpcds(*command, CPCDS_RUN__WORKERS="2")) == alone
    assert json.loads(alone.out)["patients"] == 12
