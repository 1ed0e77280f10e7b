"""The files under `facts/`: which there are, and their JSON."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Final

from etl.errors import UsageError

VERSIONS: Final = ("2.2.0", "2.1.0")
"""Versions of the guide whose facts are here, the default first."""


def check_version(version: str) -> None:
    """Refuse a version of the guide whose facts are not here.

    Raises:
        UsageError: no such version.
    """
    if version not in VERSIONS:
        raise UsageError(f"C4BB {version} is not known here; known are {' and '.join(VERSIONS)}")


@cache
def listing(folder: str) -> frozenset[str]:
    """Return the names of the files in a folder of the facts."""
    place = resources.files("etl.profiles") / "facts" / folder
    return frozenset(entry.name for entry in place.iterdir())


def read_facts(name: str) -> Any:
    """Return the JSON of one file, named by its path under `facts/`."""
    place = resources.files("etl.profiles") / "facts"
    return json.loads(place.joinpath(*name.split("/")).read_bytes())
