"""Whether Spark can be used here, and what the command says where it cannot."""

import pytest
from click.testing import CliRunner

from etl.cli.main import main
from etl.spark import session

NO_PYSPARK = "Spark needs the package pyspark, which is not installed: make install EXTRAS=spark"


def _run(*options):
    result = CliRunner().invoke(main, ["run", "nowhere", "--to", "out", *options])
    return result.exit_code, result.stderr


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("JAVA_HOME", "SPARK_REMOTE"):
        monkeypatch.delenv(name, raising=False)


def test_without_pyspark_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    code, said = _run("--executor", "spark")
    assert code == 2
    assert f"error: {NO_PYSPARK}\n" in said


def test_without_java_it_is_asked_for_but_by_spark_connect(monkeypatch, tmp_path):
    monkeypatch.setattr(session, "find_spec", lambda name: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = _run("--executor", "spark", "--master", "local[2]")
    assert code == 2
    assert "error: Spark needs Java, which is not installed: install version 17" in said
    session.require_spark("sc://host")  # raises nothing
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "Java" not in _run("--executor", "spark", "--master", "local[2]")[1]


def test_options_that_do_not_go_together_are_refused():
    code, said = _run("--master", "local[2]")
    assert code == 2
    assert "it goes with --executor spark" in said
    code, said = _run("--executor", "spark", "--dry-run")
    assert code == 2
    assert "--dry-run works on this machine: leave out --executor spark" in said
