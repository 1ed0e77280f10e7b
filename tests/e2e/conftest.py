"""Extracts and what the command makes of them, once for all tests."""

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import SAMPLES, cpcds, definitions_made_once, done


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A clean extract of a few members."""
    folder = tmp_path_factory.mktemp("small")
    write_extract(folder, Spec(members=4, seed=3))
    return folder


@pytest.fixture(scope="session")
def faulty_run(tmp_path_factory):
    """The faulty samples, published once: `tree`, `night.log`, and `out`, what the command said."""
    folder = tmp_path_factory.mktemp("faulty-run")
    log = folder / "night.log"
    called = cpcds("run", SAMPLES / "faulty", "--to", folder / "tree", "--log", log)
    (folder / "out").write_text(done(called).out)
    return folder


@pytest.fixture(scope="session")
def ndjson(tmp_path_factory):
    """The samples, converted."""
    out = tmp_path_factory.mktemp("ndjson")
    done(cpcds("convert", SAMPLES, "--out", out, "--workers", "1"))
    return out


@pytest.fixture(autouse=True)
def _definitions_are_made_once():
    """Keep definitions between use cases too that a test calls past the command."""
    with definitions_made_once():
        yield


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """Work in an empty folder, so that no cpcds.toml or output/ of this machine plays in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
