"""Bad input: one clear sentence that says what and where, the right exit code, nothing left."""

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.commands import SAMPLES, copied, cpcds, done
from tests.given.tables import table

COMMANDS = ("convert", "run", "validate")
_OUT = {"convert": "--out", "run": "--to", "validate": "--report"}


def call(command, extract, out, *more, **environment):
    return cpcds(command, extract, _OUT[command], out, "--workers", "1", *more, **environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_extract_without_a_compulsory_table_is_refused_in_a_sentence(command, small, tmp_path):
    """Every other fault of an extract is a case of tests/unit/sources/test_bad_input.py."""
    extract = copied(small, tmp_path / "extract")
    (extract / "claim.csv").unlink()
    called = call(command, extract, tmp_path / "out")
    assert called.code == 2
    assert "required table claim" in called.sentence
    assert left(tmp_path / "out") == []


def left(out):
    """Return what is in a folder that somebody could take for a result."""
    return sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and not path.relative_to(out).as_posix().startswith(".")
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_folder_is_refused(command, tmp_path):
    called = call(command, tmp_path / "nowhere", tmp_path / "out")
    assert called.code == 2
    assert "nowhere" in called.sentence
    assert not (tmp_path / "out").exists()


# -- configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(*table(__file__, "wrong_settings"))
def test_a_wrong_setting_is_named_with_the_nearest_right_one(toml, words, small, tmp_path):
    Path("cpcds.toml").write_text(toml)
    called = call("run", small, tmp_path / "out")
    assert called.code == 3
    for word in words:
        assert word in called.sentence
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_users_own_is_not_taken_for_an_old_report(small, tmp_path):
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / "mine.csv").write_text("mine")
    called = call("validate", small, tmp_path)
    assert called.code == 2
    assert "quarantine" in called.sentence
    assert (tmp_path / "quarantine" / "mine.csv").read_text() == "mine"


def test_negative_workers_are_refused(small, tmp_path):
    called = cpcds("convert", small, "--out", tmp_path / "out", "--workers", "-3")
    assert called.code == 2
    assert not (tmp_path / "out").exists()


def test_a_missing_configuration_file_is_named(small, tmp_path):
    called = cpcds("--config", tmp_path / "no.toml", "convert", small, "--out", tmp_path / "out")
    assert called.code == 3
    assert "no.toml" in called.sentence


# -- storage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_where_the_results_should_go_is_refused(command, small, tmp_path):
    (tmp_path / "out").write_text("mine")
    called = call(command, small, tmp_path / "out" / "below")
    assert called.code == 5
    assert "out" in called.sentence
    assert "there is a file where a folder is needed" in called.sentence
    assert (tmp_path / "out").read_text() == "mine"


@contextmanager
def no_file_larger_than(size):
    """Have the kernel refuse to let any file grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_writes_that_the_system_refuses_leave_nothing_half_written(command, small, tmp_path):
    out = tmp_path / "out"
    with no_file_larger_than(5_000):
        called = call(command, small, out)
    assert called.code == 5, called.err
    assert "file too large" in called.sentence.lower()
    # A run's objects are no result without the pointer.
    assert [name for name in left(out) if command != "run" or name == "current.json"] == []
    done(call(command, small, out))  # and the next run goes on from there


def test_a_log_file_that_cannot_be_written_is_refused(small, tmp_path):
    called = call("run", small, tmp_path / "out", "--log", str(tmp_path / "no" / "log"))
    assert called.code == 2
    assert "log" in called.sentence
    assert left(tmp_path / "out") == []


@pytest.mark.slow
def test_mistakes_in_several_files_are_told_at_once_a_line_each(tmp_path):
    own = tmp_path / "own"
    (own / "layouts").mkdir(parents=True)
    (own / "rules").mkdir()
    (own / "layouts" / "mine.yaml").write_text("layout: mine\ntitel: Mine\n")
    (own / "rules" / "mine.yaml").write_text("- {id: Mine, check: alowed}\n")
    for command in (("mapping", "check"), ("layouts",)):
        called = cpcds("--mappings", own, *command)
        assert called.code == 3
        lines = [line for line in called.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == len(called.err.splitlines()) > 4
        assert any("layouts/mine.yaml:2: " in line and "'titel'" in line for line in lines)
        assert any("mine.yaml:1: " in line and "rule id 'Mine'" in line for line in lines)
    told = cpcds("--mappings", own, "mapping", "check", "--json")
    assert told.code == 3
    assert len(json.loads(told.out)["problems"]) == len(lines)


def test_a_file_that_ends_too_early_is_not_taken_for_an_interruption(tmp_path, monkeypatch):
    def ends(*_, **__):
        raise EOFError

    monkeypatch.setattr("etl.bootstrap.recorded_run.run_extract", ends)
    with pytest.raises(RuntimeError, match="ended too early"):
        cpcds("run", SAMPLES, "--to", tmp_path / "target")
