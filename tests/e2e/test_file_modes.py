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
@pytest.mark.parametrize("settings", [{}, OPEN_TO_GROUP], ids=["closed", "open"])
def test_files_are_for_their_owner_alone_but_what_a_mode_opens(command, settings, tmp_path):
    found = written(command, tmp_path / "new" / "out", **settings)
    assert S_IMODE((tmp_path / "new").stat().st_mode) == (0o750 if settings else 0o700)
    opened = 0
    for name, (is_folder, mode) in found.items():
        is_open = settings and name.split("/")[0] not in CLOSED
        if is_open and name.startswith("."):
            continue
        opened += bool(is_open)
        folder_mode, file_mode = (0o750, 0o640) if is_open else (0o700, 0o600)
        assert mode == (folder_mode if is_folder else file_mode), name
    assert opened > 2 or not settings
    if command == "run":
        assert {name.split("/")[0] for name in found} >= {*CLOSED[:3], "patients", "reports"}
    if command == "validate":
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
