"""The program that runs here, as one text: driver and executors must run the same."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import etl

_LIBRARIES: Final = ("numpy", "pyarrow", "xxhash", "msgspec")
"""Those that blocks are made with."""


@cache
def program_text() -> str:
    """Return the versions of Python and of libraries, and a hash of this package's code."""
    folder = Path(etl.__file__).parent
    code = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        code.update(path.relative_to(folder).as_posix().encode())
        code.update(path.read_bytes())
    major, minor, _ = platform.python_version_tuple()
    libraries = (f"{name} {version(name)}" for name in _LIBRARIES)
    return ", ".join((f"code {code.hexdigest()[:12]}", f"Python {major}.{minor}", *libraries))
