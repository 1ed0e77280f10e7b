"""Error reference of the documentation: `errors.toml`, which names its sources."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error: its code, its meaning, and the remedy for the developer."""

    code: str
    means: str
    cure: str


_TABLES: Final = tomllib.loads(Path(__file__).with_name("errors.toml").read_text(encoding="utf-8"))

FHIR: Final = tuple(ErrorEntry(**entry) for entry in _TABLES["fhir"])
"""Answers of the FHIR API."""

OAUTH: Final = tuple(ErrorEntry(**entry) for entry in _TABLES["oauth"])
"""Errors of the authorize and token endpoints."""
