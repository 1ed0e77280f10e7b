"""A disk that is full while an extract is written."""

import resource
import subprocess

import pytest

from tests.e2e.commands import COMMAND


@pytest.mark.parametrize(("form", "most"), [("csv", 3), ("parquet", 0), ("parquet", 5_000)])
def test_a_disk_without_room_is_told_in_one_sentence_and_nothing_stays(tmp_path, form, most):
    out = tmp_path / "out"
    called = subprocess.run(
        [*COMMAND, "synth", "--members", "3", "--format", form, "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    assert called.returncode == 5
    assert called.stdout == ""
    (line,) = called.stderr.splitlines()
    assert line == f"error: {out} cannot be written: File too large; nothing was left there"
    assert list(out.iterdir()) == []
