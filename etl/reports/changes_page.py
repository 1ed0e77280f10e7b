"""The page of a difference: what a run would change, or what one release changed of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etl.publish.change_counts import Changes
from etl.publish.network_changes import NetworkChanges
from etl.reports.must_support import short_name
from etl.reports.page import environment

_SHOWN: Final = 100
"""Providers of a network that are shown of each change."""


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit, and whether it holds.

    Attributes:
        sentence: the limit in words.
        holds: whether it does.
    """

    sentence: str
    holds: bool


@dataclass(frozen=True, slots=True)
class MovedElement:
    """A must-support element that another share of a profile's resources has.

    Attributes:
        profile: short name of the profile.
        element: the element, by its id in the profile.
        before: how many resources had it, of how many.
        after: how many have it, of how many.
    """

    profile: str
    element: str
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Contents of the page.

    Attributes:
        title: what is compared.
        before: id of the release before; None before the first.
        after: id of the release after; None where it is planned.
        changes: members and resources.
        money: net sums before and now (`changes.money_changes`); None if a report is missing.
        limits: limits of a planned run.
        stops: why the run would stop; empty where it would not.
        causes: (rule, claims, rows) that a planned run would reject, by first cause.
        new_rules: rules that find something and found nothing before; None where that is not known.
        new_unmapped: crosswalk and number of words that are newly unmapped; None likewise.
        must_support: must-support elements of which another share of resources has them; None
            likewise.
        samples: changed resources, values masked (`pipeline.masked_samples`).
        is_directory: whether they are of a directory of providers: without members and money.
        networks: networks and plans of a directory that changed; None of claims, and before the
            first release.
    """

    title: str
    before: str | None
    after: str | None
    changes: Changes
    money: Sequence[Mapping[str, Any]] | None
    limits: Sequence[LimitLine] = ()
    stops: str = ""
    causes: Sequence[tuple[str, int, int]] = ()
    new_rules: Sequence[str] | None = None
    new_unmapped: Sequence[Mapping[str, Any]] | None = None
    must_support: Sequence[MovedElement] | None = None
    samples: Sequence[Any] = ()
    is_directory: bool = False
    networks: NetworkChanges | None = None


def changes_page(page: ChangesPage) -> str:
    """Return the page, which needs no script and loads nothing."""
    return environment().get_template("changes.html.j2").render(page=page, shown=_SHOWN)


def moved_elements(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[MovedElement] | None:
    """Return the must-support elements that another share of a profile's resources has.

    That is a share that moved by a percentage point or more, or to or from none. Profiles that
    have resources in one of the two alone are left out.

    Args:
        before: a report's document.
        after: another one; `must_support` of it is enough.

    Returns:
        None where the report before was made by a program that did not count them.
    """
    if "must_support" not in before:
        return None
    were = {profile["profile"]: profile for profile in before["must_support"]}
    moved = []
    for profile in after["must_support"]:
        old, name = were.get(profile["profile"]), profile["profile"]
        if old is None or not old["resources"] or not profile["resources"]:
            continue
        for element, filled in profile["filled"].items():
            was = (old["filled"].get(element, 0), old["resources"])
            now = (filled, profile["resources"])
            if abs(was[0] / was[1] - now[0] / now[1]) >= 0.01 or bool(was[0]) != bool(now[0]):
                moved.append(MovedElement(short_name(name), element, was, now))
    return moved
