"""Differences from the previous release, as a report states them."""

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
"""Categories whose net sums are compared: every claim states them."""
TOTALS_SUMMED: Final = "totals-summed"
"""The rule that counts claims whose totals are summed from their lines."""


def changes_since(previous: ReleaseBefore, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report's differences from the previous release.

    Args:
        previous: the previous release.
        document: the new report, still without `changes`.
    """
    past, changes = previous.document, previous.changes
    counts = {"patients": None, "resources": {}} if changes is None else changes.to_json()
    return {
        "since": previous.release,
        "members": counts["patients"],
        "resources": counts["resources"],
        "money": [] if changes is None or past is None else money_changes(past, document, changes),
        "new_rules": None if past is None else new_rules(past, document),
        "new_unmapped": None if past is None else _new_unmapped(past, document),
    }


def news_since(
    previous: Mapping[str, Any], current: Mapping[str, Any]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the rules that newly find something, and how many words of crosswalks are new.

    Args:
        previous: the document of the previous report.
        current: the document of the new one; only `rules` and `unmapped` are read.
    """
    return new_rules(previous, current), _new_unmapped(previous, current)


def money_changes(
    previous: Mapping[str, Any], current: Mapping[str, Any], changes: Changes
) -> list[dict[str, Any]]:
    """Return by how much net sums changed.

    The new sums are those of the report's other tables. If few claims changed, the difference
    would be their amounts, so it is withheld together with the previous sum.

    Args:
        previous: the document of the previous report; empty before the first release.
        current: the document of the new one; only `money_totals`, `money_check` and `rules` are
            read.
        changes: members and resources that changed.
    """
    claims = changes.resources.get(CLAIMS, ChangeCounts())
    is_few = 0 < claims.touched <= current["money_check"]["small_cells"]
    level = money_level([previous, current])
    previous_sums, current_sums = (net_sums(document, level) for document in (previous, current))
    rows = []
    for category in COMPARED_MONEY:
        if category not in previous_sums and category not in current_sums:
            continue
        old_sum, new_sum = (sums.get(category, "0.00") for sums in (previous_sums, current_sums))
        if is_few and old_sum != new_sum:
            old_sum = None
        is_known = old_sum is not None and new_sum is not None
        change = str(Decimal(new_sum) - Decimal(old_sum)) if is_known else None
        row = {"level": level, "category": category, "before": old_sum, "now": new_sum}
        rows.append(row | {"change": change})
    return rows


def money_level(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return the level whose sums cover all claims of some reports.

    A header without a total is published with the sum of its lines. Then only the lines' sums are
    complete.
    """
    is_summed = any(
        rule["rule"] == TOTALS_SUMMED and rule["findings"]
        for document in documents
        for rule in document.get("rules", ())
    )
    return LEVEL_NAMES["claim_line" if is_summed else "claim"]


def net_sums(document: Mapping[str, Any], level: str) -> dict[str, Any]:
    """Return the net sums of a level over all claim types; None for a withheld one."""
    return {
        total["category"]: total["net"]
        for total in document.get("money_totals", ())
        if total["level"] == level
    }


def new_rules(previous: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return the rules that find something, and found nothing in the previous release."""
    old_rules = {rule["rule"] for rule in previous.get("rules", ()) if rule["findings"]}
    current_rules = [rule["rule"] for rule in current["rules"] if rule["findings"]]
    return [rule for rule in current_rules if rule not in old_rules]


def _new_unmapped(previous: Mapping[str, Any], current: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Count the unmapped words of each crosswalk that the previous release did not have.

    Words are identified by keyed hash. If a column has too many to distinguish them, or the
    previous report has no hashes, the numbers of words are compared.
    """
    old_words = {(word["crosswalk"], word.get("word")) for word in previous.get("unmapped", ())}
    are_hashed = all(word for _, word in old_words)
    words: Sequence[Mapping[str, Any]] = current["unmapped"]
    if are_hashed:
        new_counts = Counter(
            word["crosswalk"]
            for word in words
            if (word["crosswalk"], word["word"]) not in old_words
        )
    else:
        old_counts = Counter(word["crosswalk"] for word in previous["unmapped"])
        new_counts = Counter(word["crosswalk"] for word in words) - old_counts
    return [{"crosswalk": name, "words": count} for name, count in sorted(new_counts.items())]
