"""No test may need a shared library that `make` did not install.

A machine keeps what was once installed on it, so a test can pass there and fail on a fresh one. At
the end of a test run, each pytest process names the libraries that it loaded from outside the
virtual environment; any library that is not listed here fails the run. Only Linux tells what is
loaded.
"""

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest

SYSTEM_LIBRARIES = (
    *("ld-linux", "libc", "libm", "libdl", "libpthread", "librt", "libresolv", "libutil"),
    *("libgcc_s", "libstdc++", "libgomp"),
    # What the interpreter's own modules are linked with.
    *("libpython3", "libz", "libssl", "libcrypto", "libffi", "libbz2", "liblzma", "libsqlite3"),
    *("libexpat", "libuuid", "libcrypt", "libmpdec", "libreadline", "libtinfo", "libncursesw"),
    *("libnss_files", "libnss_dns", "libnss_compat", "libnsl", "libtirpc"),
)
"""Names, without their versions, of libraries that come with any Python on Linux."""

_MAPS = Path("/proc/self/maps")


def foreign_libraries(maps: str, environment: Iterable[Path]) -> set[str]:
    """Return the paths of the loaded libraries that `make` did not install.

    Args:
        maps: the content of a Linux `/proc/<pid>/maps`.
        environment: folders whose libraries `make` or Python's own setup installed.
    """
    mapped_files = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/" in line}
    return {
        path
        for path in mapped_files
        if ".so" in Path(path).suffixes
        and not _is_system_library(Path(path).name)
        and not any(Path(path).is_relative_to(folder) for folder in environment)
    }


def _is_system_library(file_name: str) -> bool:
    return any(file_name.startswith((f"{name}.", f"{name}-")) for name in SYSTEM_LIBRARIES)


class LoadedLibraries:
    """A pytest plugin: fails a run of which a process loaded a foreign library."""

    def __init__(self) -> None:
        self._foreign: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look at this process; a worker of xdist sends its result to the controller."""
        if _MAPS.exists():
            environment = [Path(sys.prefix).resolve(), Path(sysconfig.get_path("stdlib")).resolve()]
            self._foreign |= foreign_libraries(_MAPS.read_text(), environment)
        worker_output = getattr(session.config, "workeroutput", None)
        if worker_output is not None:
            worker_output["foreign_libraries"] = sorted(self._foreign)
        elif self._foreign:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Receive the result of a worker."""
        self._foreign |= set(getattr(node, "workeroutput", {}).get("foreign_libraries", ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the foreign libraries."""
        for path in sorted(self._foreign):
            terminalreporter.write_line(
                f"a test loaded {path}, which make does not install", red=True
            )
