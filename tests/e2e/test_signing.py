"""Signed releases, from outside: keys by openssl, a run, a rollback and `cpcds verify`."""

import json

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import ANY_CHANGE, cpcds, done
from tests.e2e.test_time_stamps import OPENSSL, openssl

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


@pytest.mark.slow
def test_a_signed_target_is_verified_with_the_public_key_and_the_last_known_release(tmp_path):
    private, public, tree = tmp_path / "release.pem", tmp_path / "release.pub", tmp_path / "tree"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    signed = {"CPCDS_PUBLISH__SIGNING_KEY": str(private)}
    releases = []
    for seed in (1, 2):
        extract = tmp_path / f"extract{seed}"
        write_extract(extract, Spec(members=2, seed=seed))
        command = ("run", extract, "--to", tree, "--workers", "1", "--json")
        releases.append(json.loads(done(cpcds(*command, **signed, **ANY_CHANGE)).out)["release"])
    said = done(cpcds("verify", tree, "--key", public, "--since", releases[0])).out
    assert "signed by key " in said
    assert f"1 release after {releases[0]}" in said
    done(cpcds("rollback", tree, releases[0], **signed))
    said = done(cpcds("verify", tree, "--key", public, "--since", releases[1], "--json")).out
    assert json.loads(said)["releases_since"] == 1
    done(cpcds("resume", tree))
    refused = cpcds("verify", tree, "--key", private)
    assert refused.code == 2
    assert "contains no public key" in refused.sentence
    signed = {"CPCDS_PUBLISH__SIGNING_KEY": str(tmp_path / "none.pem")}
    missing = cpcds("run", tmp_path / "extract1", "--to", tree, **signed)
    assert missing.code == 2
    assert "cannot be read" in missing.sentence
