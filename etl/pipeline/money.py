"""Money of a release, as its manifest states it: claim type -> name -> decimal text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, TypeAlias

from etl.quality import MoneyKey, MoneyTotals

Totals: TypeAlias = Mapping[str, Mapping[str, str]]

_CENT: Final = Decimal(1).scaleb(-2)


def published_money(money: Mapping[MoneyKey, MoneyTotals]) -> Totals:
    """Return the net sums: of each chain of adjustments one claim counts, or none.

    Names are `level.category`, such as `claim_line.benefit`.
    """
    by_category: dict[str, dict[str, str]] = {}
    for key, totals in money.items():
        amounts = by_category.setdefault(key.claim_type, {})
        amounts[f"{key.level}.{key.category}"] = str(Decimal(totals.net) * _CENT)
    return by_category


def money_difference(before: Totals, after: Totals) -> Totals:
    """Return what was added to each sum, without those that stay."""
    differences: dict[str, dict[str, str]] = {}
    for claim_type in sorted(before.keys() | after.keys()):
        old, new = before.get(claim_type, {}), after.get(claim_type, {})
        for name in sorted(old.keys() | new.keys()):
            more = Decimal(new.get(name, "0.00")) - Decimal(old.get(name, "0.00"))
            if more:
                differences.setdefault(claim_type, {})[name] = str(more)
    return differences
