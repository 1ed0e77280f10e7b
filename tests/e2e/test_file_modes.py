"""Whom the files of the commands are for: their owner alone, unless the settings open them."""

import os
from stat import S_IMODE, S_ISDIR

import pytest

from tests.e2e.commands import NO_SUITES, SAMPLES, cpcds, done

FAULTY = SAMPLES / "faulty"
OPEN_TO_GROUP = {"CPCDS_PUBLISH__MODE": "0750"}
CLOSED = ("quarantine", "rows", "memory", "leases", "runs", "staging")
OUTPUTS = {
    "run": ("--to", {"CPCDS_PUBLISH__DELTAS": "true"}),
    "convert": ("--out", {}),
    "validate": ("--report", {}),
}


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    assert os.umask(before) == 0


def modes(folder):
    """Return, of a folder and all below it, whether it is a folder and its mode."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        found[path.relative_to(folder).as_posix()] = (S_ISDIR(mode), S_IMODE(mode))
    return found


def written(command, out, **environment):
    flag, more = OUTPUTS[command]
    arguments = (command, FAULTY, flag, out, "--workers", "2")
    done(cpcds(*arguments, **more, **environment, CPCDS_RUN__PARTITION_ROWS="2000"))
    return modes(out)


@pytest.mark.slow
@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("command", OUTPUTS)
def test_what_is_written_is_for_its_owner_alone_whatever_the_umask(command, tmp_path):
    found = written(command, tmp_path / "new" / "out")
    assert S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert len(found) > 5
    for name, (is_folder, mode) in found.items():
        assert mode == (0o700 if is_folder else 0o600), name
    if command == "run":
        assert {name.split("/")[0] for name in found} >= {*CLOSED[:3], "patients", "reports"}


@pytest.mark.slow
@pytest.mark.parametrize("command", OUTPUTS)
def test_a_mode_opens_what_readers_need_and_never_the_rows(command, tmp_path):
    found = written(command, tmp_path / "out", **OPEN_TO_GROUP)
    opened = 0
    for name, (is_folder, mode) in found.items():
        if name.split("/")[0] in CLOSED:
            assert mode == (0o700 if is_folder else 0o600), name
        elif not name.startswith("."):
            opened += 1
            assert mode == (0o750 if is_folder else 0o640), name
    assert opened > 2
    if command != "convert":
        assert any(name.startswith("quarantine/") for name in found)


@pytest.mark.slow
def test_exact_sums_are_never_opened_even_where_no_row_was_rejected(tmp_path):
    done(cpcds("validate", SAMPLES, "--report", tmp_path, **OPEN_TO_GROUP, **NO_SUITES))
    found = modes(tmp_path / "quarantine")
    assert found == {
        ".": (True, 0o700),
        "sums": (True, 0o700),
        "sums/money.csv": (False, 0o600),
    }
    assert modes(tmp_path)["report"] == (True, 0o750)


def test_another_mode_is_refused(tmp_path):
    called = cpcds("run", FAULTY, "--to", tmp_path, CPCDS_PUBLISH__MODE="0777")
    assert called.code == 3
    assert "publish.mode" in called.sentence
