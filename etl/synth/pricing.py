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

_ALWAYS_STATED: Final = frozenset(CLAIMS["amounts_always_stated"])
"""Categories that are stated even if they are zero."""


class ChargeTerms(NamedTuple):
    """How a plan pays one charge.

    Attributes:
        discount_percent: as agreed with the provider.
        copay: cents.
        coinsurance_percent: of the amount after copay and deductible.
        open_deductible: cents of the year's deductible that the member has not met.
        other_payer_percent: share of the remaining amount that another payer paid first.
        refusal: why the charge is not paid; None if it is.
    """

    discount_percent: int
    copay: int
    coinsurance_percent: int
    open_deductible: int
    other_payer_percent: int = 0
    refusal: Denial | None = None


def price_charge(submitted: int, terms: ChargeTerms) -> Amounts:
    """Return the amounts of one charge. A refused one is paid by the member (PR) or nobody."""
    refusal = terms.refusal
    noncovered = submitted if refusal and refusal.group == "PR" else 0
    discount = submitted * terms.discount_percent // 100
    if refusal:
        discount = submitted - noncovered
    eligible = submitted - noncovered - discount
    copay = min(terms.copay, eligible)
    unpaid = eligible - copay
    deductible = min(terms.open_deductible, unpaid)
    unpaid -= deductible
    coinsurance = unpaid * terms.coinsurance_percent // 100
    unpaid -= coinsurance
    other_payer = unpaid * terms.other_payer_percent // 100
    return {
        "submitted": submitted,
        "eligible": eligible,
        "deductible": deductible,
        "coinsurance": coinsurance,
        "copay": copay,
        "noncovered": noncovered,
        "benefit": unpaid - other_payer,
        "discount": discount,
        "memberliability": deductible + coinsurance + copay + noncovered,
        "priorpayerpaid": other_payer,
    }


def x12_adjustments(amounts: Amounts, refusal: Denial | None) -> list[tuple[str, str, str, int]]:
    """Return the adjustments from the charge to the benefit: X12 group, reason, remark, cents."""
    result = []
    if refusal:
        cents = amounts["noncovered"] + amounts["discount"]
        result.append((*refusal, cents))
    elif amounts["discount"]:
        result.append(("CO", "45", "", amounts["discount"]))
    for category, group, reason in (
        ("deductible", "PR", "1"),
        ("coinsurance", "PR", "2"),
        ("copay", "PR", "3"),
        ("priorpayerpaid", "OA", "23"),
    ):
        if amounts[category]:
            result.append((group, reason, "", amounts[category]))
    return result


@lru_cache(maxsize=1 << 17)
def format_cents(cents: int) -> str:
    """Return cents as the layout writes amounts: two fraction digits."""
    if cents < 0:
        return "-" + format_cents(-cents)
    return f"{cents // 100}.{cents % 100:02d}"


def parse_cents(text: str) -> int:
    """Return the cents of an amount that `format_cents` wrote."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    return sign * int(digits.replace(".", ""))


def amount_cells(amounts: Amounts) -> dict[str, str]:
    """Return amounts as cells; the usual categories always, others unless zero."""
    return {
        f"amount_{category}": format_cents(cents) if cents else "0.00"
        for category, cents in amounts.items()
        if cents or category in _ALWAYS_STATED
    }
