"""TOML files that the program ships beside its modules."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read_beside(module: str, name: str) -> dict[str, Any]:
    """Return the content of a TOML file in the folder of a module.

    Args:
        module: the module's `__file__`.
        name: of the file.
    """
    return tomllib.loads(Path(module).with_name(name).read_text(encoding="utf-8"))
