"""Money of a release, as its manifest states it: claim type -> name -> decimal text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, TypeAlias

from etl.quality import MoneyKey, MoneyTotals

Totals: TypeAlias = Mapping[str, Mapping[str, str]]

Claims: TypeAlias = Mapping[str, Mapping[str, int]]
"""Claim type -> name -> how many claims have an amount in that sum."""

_CENT: Final = Decimal(1).scaleb(-2)


def published_money(money: Mapping[MoneyKey, MoneyTotals]) -> tuple[Totals, Claims]:
    """Return the net sums, and their claims: of each chain of adjustments one counts, or none.

    Names are `level.category`, such as `claim_line.benefit`.
    """
    sums: dict[str, dict[str, str]] = {}
    claims: dict[str, dict[str, int]] = {}
    for key, totals in money.items():
        name = f"{key.level}.{key.category}"
        sums.setdefault(key.claim_type, {})[name] = str(Decimal(totals.net) * _CENT)
        claims.setdefault(key.claim_type, {})[name] = totals.net_claims
    return sums, claims
