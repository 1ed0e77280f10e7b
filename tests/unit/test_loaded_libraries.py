"""A test run fails if a test needs a shared library that `make` did not install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.loaded_libraries import foreign_libraries

MAPS = """\
55d0 r-xp 00000000 08:01 1 /usr/bin/python3.11
7f01 r-xp 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f02 r-xp 00000000 08:01 3 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7f03 r-xp 00000000 08:01 4 /usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so
7f04 r-xp 00000000 08:01 5 /home/payer/.venv/lib/python3.11/pyarrow/libarrow.so.2600
7f05 r-xp 00000000 08:01 6 /usr/lib/x86_64-linux-gnu/libpango-1.0.so.0.5000.12
7f06 rw-p 00000000 00:00 0
7f07 r--p 00000000 08:01 7 /usr/lib/locale/C.utf8/LC_CTYPE
"""


def test_a_library_from_outside_the_environment_is_foreign() -> None:
    environment = [Path("/home/payer/.venv"), Path("/usr/lib/python3.11")]
    assert foreign_libraries(MAPS, environment) == {
        "/usr/lib/x86_64-linux-gnu/libpango-1.0.so.0.5000.12"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which libraries are loaded")
@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["alone", "worker"])
def test_a_run_that_loads_a_foreign_library_fails_and_names_it(
    processes: tuple[str, ...], tmp_path: Path
) -> None:
    modules = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    shutil.copy(min(modules.glob("*.so")), tmp_path / "libforeign.so.1")
    test = "import ctypes\n\n\ndef test_it():\n    ctypes.CDLL({!r})\n"
    (tmp_path / "test_it.py").write_text(test.format(str(tmp_path / "libforeign.so.1")))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", *processes, "test_it.py"]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed" in tested.stdout
    assert f"a test loaded {tmp_path / 'libforeign.so.1'}" in tested.stdout
    assert tested.returncode == pytest.ExitCode.TESTS_FAILED
