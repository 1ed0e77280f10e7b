"""Suppression of small cells: no sum of money over a few claims, and none from which one follows.

A sum over one claim is its amount. So a sum over 1 to `most` claims is withheld, and of the sums
that it could be worked out from, enough that it cannot:

* The source is published + quarantined + superseded: it is withheld where one of them is.
* Published less net is what does not count: where that is of few claims, the net is withheld.
* A sum over all claim types, less those of the types that are shown, leaves those that are not: it
  is withheld where they are of one type, or of few claims together.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from etl.columns.numbers import cents_text
from etl.model.canonical_tables import AMOUNT_CATEGORIES
from etl.quality import MoneyKey, MoneyTotals
from etl.quality.totals.money import LEVELS

SMALL_CELLS: Final = 10
"""Largest number of claims for which a sum is withheld: CMS shows no cell of 1 to 10."""

SUMS: Final = ("source", "published", "quarantined", "superseded", "net")
_PARTS: Final = ("published", "quarantined", "superseded")
LEVEL_NAMES: Final = {"claim": "header", "claim_line": "lines"}
"""Levels, as a report calls them."""


@dataclass(frozen=True, slots=True)
class ShownMoney:
    """The sums of one cell, in cents; None where one is withheld.

    Attributes:
        source, published, quarantined, superseded, net: as in `MoneyTotals`.
        adds_up: whether the exact sums do.
    """

    source: int | None
    published: int | None
    quarantined: int | None
    superseded: int | None
    net: int | None
    adds_up: bool

    @property
    def withheld(self) -> int:
        """Number of withheld sums."""
        return sum(getattr(self, name) is None for name in SUMS)


@dataclass(frozen=True, slots=True)
class MoneyTable:
    """Money of a report, with small cells withheld.

    Attributes:
        cells: by level, claim type and category.
        totals: level and category -> sums over all claim types.
    """

    cells: Mapping[MoneyKey, ShownMoney]
    totals: Mapping[tuple[str, str], ShownMoney]

    @property
    def withheld(self) -> int:
        """Number of withheld sums of cells."""
        return sum(cell.withheld for cell in self.cells.values())


def shown_money(money: Mapping[MoneyKey, MoneyTotals], most: int) -> MoneyTable:
    """Return what may be shown of the sums of a report.

    Args:
        money: by level, claim type and category.
        most: sums over at most so many claims are withheld; 0 to withhold none.
    """
    cells: dict[MoneyKey, ShownMoney] = {}
    totals: dict[tuple[str, str], ShownMoney] = {}
    for level in LEVELS:
        for category in AMOUNT_CATEGORIES:
            rows = {
                key: totals
                for key, totals in money.items()
                if (key.level, key.category) == (level, category)
            }
            if not rows:
                continue
            hidden = {key: _withheld(totals, most) for key, totals in rows.items()}
            cells |= {key: _shown(totals, hidden[key]) for key, totals in rows.items()}
            whole = sum(rows.values(), MoneyTotals())
            totals[level, category] = _shown(
                whole,
                _withheld_of_all([(totals, hidden[key]) for key, totals in rows.items()], most),
            )
    return MoneyTable({key: cells[key] for key in money}, totals)


def _withheld(totals: MoneyTotals, most: int) -> frozenset[str]:
    """Return which sums of one claim type are withheld."""
    names = {
        name
        for name in (*_PARTS, "net")
        if _is_small(getattr(totals, f"{name}_claims"), getattr(totals, name), most)
    }
    not_counting = totals.published_claims - totals.net_claims
    if "published" in names or _is_small(not_counting, totals.published - totals.net, most):
        names.add("net")
    return _with_source(names)


def _withheld_of_all(
    rows: Sequence[tuple[MoneyTotals, frozenset[str]]], most: int
) -> frozenset[str]:
    """Return which sums over all claim types are withheld.

    Args:
        rows: the sums of each claim type, and which of them are withheld.
        most: sums over at most so many claims are withheld.
    """
    withheld = set()
    for name in _PARTS:
        if _give_away([getattr(e, f"{name}_claims") for e, names in rows if name in names], most):
            withheld.add(name)
    # The shown published sums, less the net ones, disclose the claims that do not count.
    hidden = [(totals, "published" not in names) for totals, names in rows if "net" in names]
    for counts_of_group in (
        [totals for totals, _ in hidden],
        [totals for totals, with_published in hidden if with_published],
        [totals for totals, _ in hidden if totals.net_claims],
    ):
        net = [totals.net_claims for totals in counts_of_group]
        not_counting = [totals.published_claims - totals.net_claims for totals in counts_of_group]
        if _give_away(net, most) or _give_away(not_counting, most):
            withheld.add("net")
    return _with_source(withheld)


def _with_source(names: set[str]) -> frozenset[str]:
    return frozenset(names | ({"source"} if names.intersection(_PARTS) else set()))


def _is_small(claims: int, cents: int, most: int) -> bool:
    # An amount without a claim would be a bug of counting: it is not shown either.
    return most > 0 and (0 < claims <= most or (claims == 0 and cents != 0))


def _give_away(counts: Sequence[int], most: int) -> bool:
    """Return whether the sum over some withheld cells discloses few claims."""
    filled = [count for count in counts if count]
    return len(filled) == 1 or 0 < sum(filled) <= most


def _shown(totals: MoneyTotals, withheld: frozenset[str]) -> ShownMoney:
    sums = {name: None if name in withheld else getattr(totals, name) for name in SUMS}
    return ShownMoney(**sums, adds_up=totals.adds_up)


def pooled(counts: Mapping[str, int], most: int) -> tuple[dict[str, int], int]:
    """Return the counts that may be shown, and the sum of those that may not.

    The small ones are put together, with the next larger ones until their sum is not small either:
    where only one is left out, it is the sum of all less what is shown.

    Args:
        counts: of claims, by name.
        most: counts of at most so many claims are not shown alone; 0 to show every count.
    """
    shown = {name: count for name, count in sorted(counts.items()) if count > most}
    rest = sum(counts.values()) - sum(shown.values())
    while 0 < rest <= most and shown:
        rest += shown.pop(min(shown, key=lambda name: (shown[name], name)))
    return shown, rest


def exact_csv(money: Mapping[MoneyKey, MoneyTotals], key: bytes) -> bytes:
    """Return the exact sums, and over how many claims each is, for those who may see claims.

    A manifest states the SHA-256 of each file. That of a few amounts could be found by trying, so
    each row ends with a hash that cannot be made without the key.

    Args:
        money: by level, claim type and category.
        key: of the payer's ids.
    """
    rows = [
        [
            LEVEL_NAMES[cell.level],
            cell.claim_type,
            cell.category,
            *(cents_text(getattr(sums, name)) for name in SUMS),
            *(str(getattr(sums, f"{name}_claims")) for name in SUMS[1:]),
            "yes" if sums.adds_up else "no",
        ]
        for cell, sums in money.items()
    ]
    seal = hashlib.blake2b(_text(rows), key=key, digest_size=16).hexdigest()
    head = ["level", "claim_type", "category", *SUMS, *(f"{name}_claims" for name in SUMS[1:])]
    return _text([[*head, "adds_up", "seal"], *([*row, seal] for row in rows)])


def _text(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
