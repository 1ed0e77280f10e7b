"""Differences from the release before, as a report states them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from etl.publish.manifest import ChangeCounts, Changes
from etl.reports.report_values import ReleaseBefore
from etl.reports.small_cells import LEVEL_NAMES

CLAIMS: Final = "ExplanationOfBenefit"
COMPARED_MONEY: Final = ("submitted", "eligible", "benefit", "memberliability")
"""Categories with net sums that are compared: those that every claim states."""
TOTALS_SUMMED: Final = "totals-summed"
"""The rule that counts claims with totals that are summed from their lines."""

_SUMS: Final = ("before", "now", "change")


def changes_since(before: ReleaseBefore, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from the release before.

    Args:
        before: that release.
        document: the report that is being made, without this.
    """
    there, made = before.document, before.changes
    counts = {"patients": None, "resources": {}} if made is None else made.to_json()
    return {
        "since": before.release,
        "members": counts["patients"],
        "resources": counts["resources"],
        "money": [] if made is None or there is None else money_changes(there, document, made),
        "new_rules": None if there is None else _new_rules(there, document),
        "new_unmapped": None if there is None else _new_unmapped(there, document),
    }


def news_since(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the rules that newly find something, and how many words of crosswalks are new.

    Args:
        before: a report's document.
        now: another one; `rules` and `unmapped` of it are enough.
    """
    return _new_rules(before, now), _new_unmapped(before, now)


def money_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], made: Changes
) -> list[dict[str, Any]]:
    """Return by how much net sums changed; the difference that few claims make is their amount.

    Args:
        before: a report's document; empty before the first release.
        now: another one; `money_totals`, `money_check` and `rules` of it are enough.
        made: members and resources that changed.
    """
    claims = made.resources.get(CLAIMS, ChangeCounts())
    is_few = 0 < claims.touched <= now["money_check"]["small_cells"]
    level = money_level([before, now])
    old_sums, new_sums = (net_sums(document, level) for document in (before, now))
    changes = []
    for category in COMPARED_MONEY:
        if category not in old_sums and category not in new_sums:
            continue
        old, new = (sums.get(category, "0.00") for sums in (old_sums, new_sums))
        shown: list[str | None] = [None, None, None]
        if not (is_few or old is None or new is None):
            shown = [old, new, str(Decimal(new) - Decimal(old))]
        sums = dict(zip(_SUMS, shown, strict=True))
        changes.append({"level": level, "category": category, **sums})
    return changes


def money_level(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return the level that has the money of all claims of some reports.

    A header that states no total is published with the sum of its lines: then those of headers
    are not all, and the lines have them.
    """
    is_summed = any(
        rule["rule"] == TOTALS_SUMMED and rule["findings"]
        for document in documents
        for rule in document.get("rules", ())
    )
    return LEVEL_NAMES["claim_line" if is_summed else "claim"]


def net_sums(document: Mapping[str, Any], level: str) -> dict[str, Any]:
    """Return the net sums of a level over all claim types: None where one is withheld."""
    return {
        total["category"]: total["net"]
        for total in document.get("money_totals", ())
        if total["level"] == level
    }


def _new_rules(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    fired = {rule["rule"] for rule in before.get("rules", ()) if rule["findings"]}
    return [rule["rule"] for rule in now["rules"] if rule["findings"] and rule["rule"] not in fired]


def _new_unmapped(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how many words of each crosswalk were not among those of the release before.

    A word is identified by its keyed hash. Where a column has too many to distinguish them, or
    the report before has no hashes, the numbers of words are compared.
    """
    known_words = {(word["crosswalk"], word.get("word")) for word in before.get("unmapped", ())}
    are_hashed = all(word for _, word in known_words)
    words: Sequence[Mapping[str, Any]] = now["unmapped"]
    if are_hashed:
        new = Counter(
            word["crosswalk"]
            for word in words
            if (word["crosswalk"], word["word"]) not in known_words
        )
    else:
        were = Counter(word["crosswalk"] for word in before["unmapped"])
        new = Counter(word["crosswalk"] for word in words) - were
    return [{"crosswalk": name, "words": count} for name, count in sorted(new.items())]
