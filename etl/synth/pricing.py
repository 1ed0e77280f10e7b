"""Prices of charges: whole cents, and equations that hold to the cent.

* eligible = submitted - noncovered - discount
* memberliability = deductible + coinsurance + copay + noncovered
* eligible = benefit + priorpayerpaid + deductible + coinsurance + copay
* submitted - sum of the X12 adjustments = benefit
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from etl.synth.codes import CLAIMS, Denial

Amounts = dict[str, int]
"""Category of `etl.model.canonical_tables.AMOUNT_CATEGORIES` -> cents."""

ALWAYS: Final = frozenset(CLAIMS["amounts_always_stated"])
"""Categories that are stated even if they are zero."""


class Terms(NamedTuple):
    """The plan's decision about one charge.

    Attributes:
        discount: per cent off, as agreed with the provider.
        copay: cents.
        coinsurance: per cent of what is left after copay and deductible.
        deductible: cents of the year's deductible that are still open.
        prior: per cent of the rest that another payer paid first.
        refusal: why the charge is not paid; None where it is.
    """

    discount: int
    copay: int
    coinsurance: int
    deductible: int
    prior: int = 0
    refusal: Denial | None = None


def price(submitted: int, terms: Terms) -> Amounts:
    """Return the amounts of one charge; a refused one is paid by the member (PR) or by no one."""
    refusal = terms.refusal
    noncovered = submitted if refusal and refusal.group == "PR" else 0
    discount = submitted * terms.discount // 100
    if refusal:
        discount = submitted - noncovered
    eligible = submitted - noncovered - discount
    copay = min(terms.copay, eligible)
    rest = eligible - copay
    deductible = min(terms.deductible, rest)
    rest -= deductible
    coinsurance = rest * terms.coinsurance // 100
    rest -= coinsurance
    prior = rest * terms.prior // 100
    return {
        "submitted": submitted,
        "eligible": eligible,
        "deductible": deductible,
        "coinsurance": coinsurance,
        "copay": copay,
        "noncovered": noncovered,
        "benefit": rest - prior,
        "discount": discount,
        "memberliability": deductible + coinsurance + copay + noncovered,
        "priorpayerpaid": prior,
    }


def adjustments(amounts: Amounts, refusal: Denial | None) -> list[tuple[str, str, str, int]]:
    """Return the adjustments from the charge to the benefit: X12 group, reason, remark, cents."""
    found = []
    if refusal:
        cents = amounts["noncovered"] + amounts["discount"]
        found.append((*refusal, cents))
    elif amounts["discount"]:
        found.append(("CO", "45", "", amounts["discount"]))
    for category, group, reason in (
        ("deductible", "PR", "1"),
        ("coinsurance", "PR", "2"),
        ("copay", "PR", "3"),
        ("priorpayerpaid", "OA", "23"),
    ):
        if amounts[category]:
            found.append((group, reason, "", amounts[category]))
    return found


@lru_cache(maxsize=1 << 17)
def money(cents: int) -> str:
    """Return cents as the layout writes amounts: two fraction digits."""
    if cents < 0:
        return "-" + money(-cents)
    return f"{cents // 100}.{cents % 100:02d}"


def cents_of(text: str) -> int:
    """Return the cents of an amount that `money` wrote."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    return sign * int(digits.replace(".", ""))
