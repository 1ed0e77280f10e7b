"""A mapping set: all mappings of one version of a guide, compiled for one view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from etl.mapping.plan import Plan
from etl.model.crosswalks import Crosswalk

FINANCIAL: Final = "financial"
"""The view that the mappings are written for: all of it."""

MONEY: Final = "Money"
"""FHIR's type of an amount; a view without it reads no column of money either."""


@dataclass(frozen=True, slots=True)
class View:
    """The definition of a view of a set.

    Attributes:
        name: what it is called (`--view`).
        version: version of the guide; that of the set where empty.
        profiles: bare name of a mapping's profile -> the one that it has in the view; a profile
            that is not named stays.
        types: FHIR types of elements that are left out.
        paths: elements that are left out, with their resource (`ExplanationOfBenefit.total`).
        given: (table, column) -> what the column is taken to hold in every row.
        skipped: MapID -> why the profiles named here leave it out.
        unfed: path of an element -> why those profiles leave it out that mark it.
    """

    name: str = FINANCIAL
    version: str = ""
    profiles: Mapping[str, str] = field(default_factory=dict)
    types: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    given: Mapping[tuple[str, str], str] = field(default_factory=dict)
    skipped: Mapping[int, str] = field(default_factory=dict)
    unfed: Mapping[str, str] = field(default_factory=dict)

    @property
    def states_money(self) -> bool:
        """Whether any resource of the view may state an amount."""
        return MONEY not in self.types


@dataclass(frozen=True, slots=True)
class MappingSet:
    """All mappings of one version of the guide, compiled.

    Attributes:
        name: name of the set.
        version: version of the guide, as it stands in every `meta.profile`.
        plans: in the order of the set file.
        crosswalks: those that the plans translate with.
        view: the view that the plans make.
        views: names of all views of the set, the financial one first.
    """

    name: str
    version: str
    plans: tuple[Plan, ...]
    crosswalks: Mapping[str, Crosswalk]
    view: View = field(default_factory=View)
    views: tuple[str, ...] = (FINANCIAL,)
