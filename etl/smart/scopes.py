"""SMART App Launch scopes: read, compare, narrow.

Sources: SMART App Launch 2.2.0, "Scopes and Launch Context": v2 scopes `patient/Type.cruds` with
the letters in that order, v1 scopes `patient/Type.read` that mean `.rs`, launch and identity
scopes. This server only reads, so `c`, `u`, `d`, v1's `write` and `*`, and `system/` are never
granted.
`user/` scopes of a member reach what `patient/` scopes reach: the member's own data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

PLAIN: Final = ("launch/patient", "openid", "fhirUser", "offline_access", "online_access")
"""Scopes that open no resource type."""

EVERY: Final = "*"
"""The type of a scope that means all types."""

_RESOURCE: Final = re.compile(r"(patient|user)/([A-Z][A-Za-z]{0,63}|\*)\.(read|rs|r|s)")

Interaction = Literal["r", "s"]
"""`r`: read and vread by id; `s`: search."""


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """A scope that opens a resource type.

    Attributes:
        text: the scope as requested, which is how it is granted and returned to the app.
        level: `patient` or `user`.
        type: FHIR resource type, or `*`.
        interactions: `r`, `s` or `rs`.
    """

    text: str
    level: str
    type: str
    interactions: str


def parse(text: str) -> ResourceScope | None:
    """Parse a scope that opens a resource type; None for any other text.

    None also for scopes with a `?` filter, with write letters or another order, and `system/`.
    """
    match = _RESOURCE.fullmatch(text)
    if match is None:
        return None
    level, resource_type, letters = match.groups()
    return ResourceScope(text, level, resource_type, "rs" if letters == "read" else letters)


def grantable(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes that this product can grant, in the order given."""
    return tuple(scope for scope in scopes if scope in PLAIN or parse(scope) is not None)


@lru_cache(maxsize=4096)
def allows(scopes: tuple[str, ...], resource_type: str, interaction: Interaction) -> bool:
    """Return whether one of the scopes allows an interaction with a resource type."""
    return any(
        scope.type in (EVERY, resource_type) and interaction in scope.interactions
        for scope in map(parse, scopes)
        if scope is not None
    )
