"""The page of a difference: what a run would change, or what one release changed of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl.publish.change_counts import Changes
from etl.reports.page import environment


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
class ChangesPage:
    """Contents of the page.

    Attributes:
        title: what is compared.
        before: id of the release before; None before the first.
        after: id of the release after; None where it is planned.
        changes: members and resources.
        money: claim type -> name of the total -> what was added, None where it is withheld;
            None where it is not known.
        limits: limits of a planned run.
        stops: why the run would stop; empty where it would not.
        causes: (rule, claims, rows) that a planned run would reject, by first cause.
        new_rules: rules that find something and found nothing before; None where that is not known.
        new_unmapped: crosswalk and number of words that are newly unmapped; None likewise.
        required: (table, column, share before, share after) of required columns and those with a
            MapID, where the share of filled rows moved; shares between 0 and 1; None likewise.
        samples: changed resources, values masked (`pipeline.masked_samples`).
    """

    title: str
    before: str | None
    after: str | None
    changes: Changes
    money: Mapping[str, Mapping[str, str | None]] | None
    limits: Sequence[LimitLine] = ()
    stops: str = ""
    causes: Sequence[tuple[str, int, int]] = ()
    new_rules: Sequence[str] | None = None
    new_unmapped: Sequence[Mapping[str, Any]] | None = None
    required: Sequence[tuple[str, str, float, float]] | None = None
    samples: Sequence[Any] = ()


def changes_page(page: ChangesPage) -> str:
    """Return the page, which needs no script and loads nothing."""
    names = sorted({name for amounts in (page.money or {}).values() for name in amounts})
    return environment().get_template("changes.html.j2").render(page=page, money_names=names)


def moved_columns(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, str, float, float]]:
    """Return the columns of which the share of filled rows moved by a percentage point or more."""
    was = {(each["table"], each["column"]): each for each in before.get("completeness", ())}
    found = []
    for each in after.get("completeness", ()):
        old = was.get((each["table"], each["column"]))
        if old is None or not old["of"] or not each["of"]:
            continue
        shares = old["filled"] / old["of"], each["filled"] / each["of"]
        if abs(shares[0] - shares[1]) >= 0.01:
            found.append((each["table"], each["column"], *shares))
    return found
