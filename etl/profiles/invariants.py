"""Constraints of invariants, found by key and wording of the expression.

An expression with another wording than those listed here has no constraint, and a mapping that
makes its subject cannot be checked (`map-unchecked`). Tests hold that every invariant of the
shipped guides has a constraint or a reason in `NOT_CHECKED`, and compare every constraint with the
answer of a FHIRPath library.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.model.logic import AnyOf
from etl.profiles import constraints as c
from etl.profiles.c4bb_invariants import C4BB_GUIDE_RULES, C4BB_INVARIANTS
from etl.profiles.constraints import GuideRule
from etl.profiles.guides import C4BB
from etl.profiles.plan_net_invariants import PLAN_NET_INVARIANTS
from etl.profiles.r4_invariants import R4_INVARIANTS
from etl.profiles.structures import Profile

INVARIANTS: Final[Mapping[tuple[str, str], c.Constraint]] = MappingProxyType(
    {**R4_INVARIANTS, **C4BB_INVARIANTS, **PLAN_NET_INVARIANTS}
)
"""Of all guides: (key, signature of the expression) -> constraint."""

NOT_CHECKED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dom-6": "a warning, which recommends a narrative; none is written",
        "ele-1": "part of what the structure of an object is held to",
        **dict.fromkeys(
            ("age-1", "cnt-3", "rng-2", "tim-4", "tim-5", "tim-9"),
            "compares numbers or words of a data type that only an extension's value can have",
        ),
    }
)
"""Keys of invariants that are left out, and why."""

_META_PROFILE: Final = re.compile(r"meta\.profile\.exists\(\$this\.startsWith\('([^']*)'\)\)")
_CARE_TEAM: Final = re.compile(
    r"\(role\.where\(coding\.where\(codein\(([^)]*)\)\)\.exists\(\)\)\.exists\(\)"
    r"impliesprovider\.all\(resolve\(\)is(\w+)\)\)"
)
"""Roles in a care team and their type of provider: these expressions differ in nothing else."""


def signature(expression: str) -> str:
    """Return what distinguishes one wording of an expression from another; blanks do not count."""
    return hashlib.sha256(_squeezed(expression).encode()).hexdigest()[:8]


def constraint_of(key: str, expression: str) -> c.Constraint | None:
    """Return what an invariant asks; None if its wording is unknown."""
    constraint = INVARIANTS.get((key, signature(expression)))
    if constraint is not None:
        return constraint
    if (match := _META_PROFILE.fullmatch(expression)) is not None:
        return c.ProfileClaim(match[1])
    if (match := _CARE_TEAM.fullmatch(_squeezed(expression))) is not None:
        roles = re.findall(r"'([^']*)'", match[1])
        acting = AnyOf(tuple(c.coded("role", role) for role in roles))
        return c.implies(acting, c.ReferenceTarget("provider", match[2]))
    return None


def _squeezed(expression: str) -> str:
    return re.sub(r"\s+", "", expression)


def guide_rules(profile: Profile) -> tuple[GuideRule, ...]:
    """Return what the guide of a profile states in words about resources of its type."""
    return _GUIDE_RULES.get(profile.terminology.id, {}).get(profile.type, ())


_GUIDE_RULES: Final[Mapping[str, Mapping[str, tuple[GuideRule, ...]]]] = MappingProxyType(
    {C4BB.id: C4BB_GUIDE_RULES}
)
