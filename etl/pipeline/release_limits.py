"""Limits against the release before: how much of it one run may lose or move.

A delivery that lost its claims has no invalid row. It is detected because the release before had
them: rows a table, claims, money by claim type, and what would be retracted are held against its
manifest. A fact that an older manifest does not state is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from etl.model.canonical_tables import TABLES
from etl.model.data_models import stated_model
from etl.publish.manifest import Changes, Manifest, ReleaseFacts
from etl.quality.totals.limits import FEW, Verdict, percent

_SMALL: Final = Decimal("0.01")
"""Share of an amount's sum over all claim types below which a change is not checked."""
_FEW_CLAIMS: Final = 20
_LITTLE_MONEY: Final = Decimal(1000)
"""Of a sum over fewer claims, or a change of less money, one claim may be the most: not checked."""

_CLAIMS: Final = "ExplanationOfBenefit"
_LEVELS: Final = {"claim": "claims", "claim_line": "claim lines"}
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class ReleaseLimits:
    """Largest shares of the release before, as decimals: 0 is nothing, 1 is all of it.

    Attributes:
        fewer_rows: rows of a table that may be missing.
        fewer_claims: published claims that may be missing.
        money_change: share of a net sum of a claim type that may go missing, or by which it may
            grow beyond its number of claims.
        retracted_members: published members that may be retracted.
        retracted_claims: published claims that may be retracted.
        retracted_resources: published resources of a type that may be retracted.
    """

    fewer_rows: Decimal
    fewer_claims: Decimal
    money_change: Decimal
    retracted_members: Decimal
    retracted_claims: Decimal
    retracted_resources: Decimal

    def of_other_ids(self) -> ReleaseLimits:
        """Return the limits of a run that gives everything another id: all of it is retracted."""
        every = Decimal(1)
        return replace(
            self, retracted_members=every, retracted_claims=every, retracted_resources=every
        )


@dataclass(frozen=True, slots=True)
class _Loss:
    """A part of the release before that would go, or move; `says` holds counts and shares only."""

    lost: Decimal
    of: Decimal
    says: str

    @property
    def share(self) -> Decimal:
        return _share(self.lost, self.of)

    def within(self, most: Decimal) -> bool:
        # Multiplied, not divided: exact. Of nothing, nothing can be lost.
        return self.lost <= most * self.of


def input_verdicts(
    limits: ReleaseLimits, before: Manifest | None, now: ReleaseFacts
) -> list[Verdict]:
    """Compare rows, claims and money: all that is known before a release is staged.

    Args:
        limits: the payer's.
        before: manifest of the release that readers see; None where there is none.
        now: rows and money of this run.
    """
    if before is None:
        return []
    verdicts = [
        _verdict("fewer_rows", limits.fewer_rows, _rows(before.facts, now), " fewer"),
        _verdict("fewer_claims", limits.fewer_claims, _claims(before.facts, now), " fewer"),
        _verdict("money_change", limits.money_change, _sums(before.facts, now)),
    ]
    return [verdict for verdict in verdicts if verdict is not None]


def retraction_verdicts(
    limits: ReleaseLimits, before: Manifest | None, counts: Mapping[str, Any]
) -> list[Verdict]:
    """Compare what would be retracted with what is published.

    Args:
        limits: the payer's.
        before: manifest of the release that readers see; None where there is none.
        counts: those of the staged manifest.
    """
    if before is None:
        return []
    changes = Changes.from_json(counts["changes"])
    there: Mapping[str, int] = before.counts["resources"]
    types = {name: tally.retracted for name, tally in changes.resources.items()}
    members = _gone("member", changes.patients.retracted, before.counts["patients"])
    claims = _gone("claim", types.get(_CLAIMS, 0), there.get(_CLAIMS, 0))
    of_members = stated_model(before.facts.mapping).has_members
    resources = [
        _gone(f"{name} resource", lost, published)
        for name, published in sorted(there.items())
        if _is_compared(lost := types.get(name, 0), published, of_members=of_members)
    ]
    verdicts = [
        _verdict("retracted_members", limits.retracted_members, [members] if of_members else []),
        _verdict("retracted_claims", limits.retracted_claims, [claims] if of_members else []),
        _verdict("retracted_resources", limits.retracted_resources, resources),
    ]
    return [verdict for verdict in verdicts if verdict is not None]


def _gone(what: str, lost: int, whole: int) -> _Loss:
    share = percent(_share(Decimal(lost), Decimal(whole)))
    says = f"{lost} of {whole} published {what}s ({share}) would be retracted"
    return _Loss(Decimal(lost), Decimal(whole), says)


def _rows(before: ReleaseFacts, now: ReleaseFacts) -> list[_Loss]:
    of_members = stated_model(before.mapping).has_members
    counts = (
        (table, *(facts.run.get(table, {"in": 0})["in"] for facts in (before, now)))
        for table in TABLES
    )
    return [
        _fewer(f"{table} rows", were, are)
        for table, were, are in counts
        if _is_compared(were - are, were, of_members=of_members)
    ]


def _is_compared(lost: int, whole: int, *, of_members: bool) -> bool:
    """Return whether a loss says something about a delivery.

    A directory has few networks and plans: to lose all of them is no accident of small numbers.
    """
    return whole >= FEW or (0 < whole == lost and not of_members)


def _claims(before: ReleaseFacts, now: ReleaseFacts) -> list[_Loss]:
    if "claim" not in before.run:
        return []
    are = now.run.get("claim", {"published": 0})["published"]
    return [_fewer("accepted claims", before.run["claim"]["published"], are)]


def _fewer(what: str, were: int, are: int) -> _Loss:
    lost, whole = Decimal(max(were - are, 0)), Decimal(were)
    share = f" ({percent(_share(lost, whole))} fewer)" if lost else ""
    return _Loss(lost, whole, f"{are} {what}, after {were} in the previous release{share}")


def _sums(before: ReleaseFacts, now: ReleaseFacts) -> list[_Loss]:
    """Return how much of each sum would go missing, or come without claims.

    Of a sum that was nothing there is no share. Money is told to two digits and shares in whole
    percents, so that no sum over few claims is the difference of two.
    """
    sums = []
    for claim_type, amounts in sorted(before.totals.items()):
        for name, text in sorted(amounts.items()):
            was, new = Decimal(text), Decimal(now.totals.get(claim_type, {}).get(name, "0"))
            counts = [facts.claims.get(claim_type, {}).get(name) for facts in (before, now)]
            # What an older manifest does not state is taken to be the same.
            claims_before = counts[0]
            claims_now = claims_before if claims_before is None else counts[1] or 0
            moved = _moved(was, new, claims_before, claims_now)
            small = _SMALL * max(_whole(before.totals, name), _whole(now.totals, name))
            is_few = claims_before is not None and claims_before < _FEW_CLAIMS
            if not was or is_few or moved <= small or moved < _LITTLE_MONEY:
                continue
            share = (moved / abs(was) * 100).to_integral_value(ROUND_CEILING) / 100
            level, _, category = name.partition(".")
            way = "grow, beyond its number of claims," if abs(new) > abs(was) else "shrink"
            says = (
                f"the net {category} of {claim_type} {_LEVELS[level]} would {way} by about "
                f"{_rounded(moved):,} ({percent(share)})"
            )
            if claims_before is not None:
                says += f", from {claims_before:,} claims to {claims_now:,}"
            sums.append(_Loss(share * abs(was), abs(was), says))
    if before.totals and not sums:
        nothing = (
            f"no net total of a claim type with {_FEW_CLAIMS} claims or more would shrink, or grow "
            f"beyond its number of claims, by {_LITTLE_MONEY:,} and 1 % of that total over "
            "all claims"
        )
        sums.append(_Loss(Decimal(0), Decimal(1), nothing))
    return sums


def _moved(
    was: Decimal, new: Decimal, claims_before: int | None, claims_now: int | None
) -> Decimal:
    """Return what of a sum is missing, or what came to it beyond what more claims bring."""
    if was * new > 0 and abs(new) > abs(was):
        more = Decimal(claims_now or 0) / claims_before if claims_before else Decimal(1)
        return max(abs(new) - abs(was) * max(more, Decimal(1)), Decimal(0))
    return abs(new - was)


def _rounded(amount: Decimal) -> Decimal:
    """Return an amount with two digits that are not zero."""
    return amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1)).quantize(Decimal(1))


def _whole(totals: Mapping[str, Mapping[str, str]], name: str) -> Decimal:
    return abs(sum((Decimal(total.get(name, "0")) for total in totals.values()), Decimal(0)))


def _verdict(name: str, most: Decimal, losses: Sequence[_Loss], way: str = "") -> Verdict | None:
    """Return one limit over several losses, each of which may break it; None of none."""
    if not losses:
        return None
    ordered = sorted(losses, key=lambda loss: -loss.lost)
    broken = [loss for loss in ordered if not loss.within(most)]
    shown = broken[:_SHOWN] or ordered[:1]
    more = f", and {len(broken) - _SHOWN} similar ones" if len(broken) > _SHOWN else ""
    says = ", ".join(loss.says for loss in shown)
    return Verdict(
        limit=name,
        allowed=percent(most),
        found=percent(max(loss.share for loss in losses)),
        holds=not broken,
        sentence=f"{says}{more}; at most {percent(most)}{way} are allowed",
    )


def _share(lost: Decimal, whole: Decimal) -> Decimal:
    return lost / whole if whole else Decimal(0)
