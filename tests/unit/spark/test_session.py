"""Whether Spark can be used here, and what the command says where it cannot."""

import socket

import pytest
from click.testing import CliRunner

from etl.cli.main import main
from etl.errors import UsageError
from etl.spark import session
from tests.ports import free_port

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
    assert "--dry-run works only on this machine: leave out --executor spark" in said


def test_a_master_that_does_not_answer_is_named_at_once():
    port = free_port()
    for master in (f"spark://127.0.0.1:{port}", f"sc://127.0.0.1:{port}/;token=x"):
        with pytest.raises(UsageError, match="nothing answers there"):
            session.check_master(master)
    with socket.create_server(("127.0.0.1", port)):
        session.check_master(f"spark://127.0.0.1:1,127.0.0.1:{port}")
    for other in (None, "local[2]", "yarn", "k8s://https://host:443"):
        session.check_master(other)


def test_why_spark_did_not_begin_is_said_in_a_sentence(monkeypatch, tmp_path):
    lacks = RuntimeError("must be specified via the spark.authenticate.secret config")
    assert "give master, workers and this driver the same secret" in session._explain_failed_start(
        "spark://host", lacks
    )
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    said = session._explain_failed_start("local[2]", RuntimeError("gateway"))
    assert said == "Spark needs Java 17, and Java 11 is installed: set JAVA_HOME to a newer one"
    java.unlink()
    assert "did not begin with --master yarn (RuntimeError)" in session._explain_failed_start(
        "yarn", RuntimeError()
    )
