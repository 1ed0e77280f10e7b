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
from etl.model.data_models import DataModel, stated_model
from etl.publish.manifest import Changes, Manifest, ReleaseFacts
from etl.quality.totals.limits import FEW, Verdict, percent

_SMALL_SHARE: Final = Decimal("0.01")
"""Share of an amount's sum over all claim types below which a change is not checked."""
_FEW_CLAIMS: Final = 20
_LITTLE_MONEY: Final = Decimal(1000)
"""Below these, a single claim can explain a change, so it is not checked."""

_CLAIM_TYPE: Final = "ExplanationOfBenefit"
_LEVEL_NOUNS: Final = {"claim": "claims", "claim_line": "claim lines"}
_SHOWN: Final = 3
_LOST_SHARE: Final = Decimal("0.1")
"""Share of the rows that must have filled a column for its loss to count."""


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
        lost_columns: number of columns that may be empty although the release before filled them.
        certificate: number of differences between published bytes and rows.
    """

    fewer_rows: Decimal
    fewer_claims: Decimal
    money_change: Decimal
    retracted_members: Decimal
    retracted_claims: Decimal
    retracted_resources: Decimal
    lost_columns: Decimal
    certificate: Decimal

    def of_other_ids(self) -> ReleaseLimits:
        """Return the limits of a run with new ids: everything is retracted."""
        all_of_it = Decimal(1)
        return replace(
            self,
            retracted_members=all_of_it,
            retracted_claims=all_of_it,
            retracted_resources=all_of_it,
        )


@dataclass(frozen=True, slots=True)
class _Loss:
    """A loss or move against the previous release; `says` has counts and shares only."""

    amount: Decimal
    total: Decimal
    says: str

    @property
    def share(self) -> Decimal:
        return _loss_share(self.amount, self.total)

    def is_within(self, allowed: Decimal) -> bool:
        # Multiplied, not divided: exact, and safe if the total is zero.
        return self.amount <= allowed * self.total


def input_verdicts(
    limits: ReleaseLimits, previous: Manifest | None, current: ReleaseFacts
) -> list[Verdict]:
    """Compare rows, claims and money with the previous release, before staging.

    Args:
        limits: the payer's.
        previous: manifest of the release that readers see; None if there is none.
        current: rows and money of this run.
    """
    if previous is None:
        return []
    verdicts = [
        _verdict("fewer_rows", limits.fewer_rows, _row_losses(previous.facts, current), " fewer"),
        _verdict(
            "fewer_claims", limits.fewer_claims, _claim_losses(previous.facts, current), " fewer"
        ),
        _verdict("money_change", limits.money_change, _money_losses(previous.facts, current)),
    ]
    return [verdict for verdict in verdicts if verdict is not None]


def lost_columns_verdict(
    allowed: Decimal, columns: Sequence[Mapping[str, Any]], files: Mapping[str, Sequence[str]]
) -> Verdict:
    """Compare the filled columns of a run with those of the previous release.

    A column is lost if at least a tenth of the rows filled it, and none does now. A column that
    only claims of one type have lost counts, too.

    Args:
        allowed: highest number of lost columns.
        columns: the report's `completeness`, with the previous figures.
        files: canonical table -> files of the extract with its rows.
    """
    details = []
    for column in columns:
        parts = [column, *column["by_claim_type"]]
        lost = [part for part in parts if _is_lost(part)]
        if not lost:
            continue
        # A column that all claims have lost is one loss, not one of each type.
        for part in lost[:1] if lost[0] is column else lost:
            claims = f" of {part['claim_type']} claims" if "claim_type" in part else ""
            source = ", ".join(files.get(column["table"], ())) or "no file"
            past = part["previous"]
            filled = percent(Decimal(past["filled"]) / past["of"])
            details.append(
                f"{source}: column {column['column']} of {column['table']} is empty in all "
                f"{part['of']:,} accepted rows{claims}, but {filled} of {past['of']:,} rows filled "
                "it in the previous release"
            )
    shown = details[:_SHOWN] or ["no column that was filled in the previous release is empty"]
    ending = f", and {len(details) - _SHOWN} similar ones" if len(details) > _SHOWN else ""
    return Verdict(
        "lost_columns",
        str(allowed),
        str(len(details)),
        len(details) <= allowed,
        f"{'; '.join(shown)}{ending}; at most {allowed} lost columns are allowed",
        details=tuple(details),
    )


def _is_lost(part: Mapping[str, Any]) -> bool:
    """Return whether a column is empty now, although a tenth of the rows filled it before."""
    past = part["previous"]
    if past is None or part["filled"] or not part["of"]:
        return False
    # A few rows may differ by chance.
    return bool(past["filled"] >= max(FEW, _LOST_SHARE * past["of"]))


def retraction_verdicts(
    limits: ReleaseLimits, previous: Manifest | None, counts: Mapping[str, Any]
) -> list[Verdict]:
    """Compare what would be retracted with what is published.

    Args:
        limits: the payer's.
        previous: manifest of the release that readers see; None if there is none.
        counts: those of the staged manifest.
    """
    if previous is None:
        return []
    changes = Changes.from_json(counts["changes"])
    published: Mapping[str, int] = previous.counts["resources"]
    retracted = {name: tally.retracted for name, tally in changes.resources.items()}
    members = _retraction_loss("member", changes.patients.retracted, previous.counts["patients"])
    claims = _retraction_loss("claim", retracted.get(_CLAIM_TYPE, 0), published.get(_CLAIM_TYPE, 0))
    model = stated_model(previous.facts.mapping)
    resources = [
        _retraction_loss(f"{name} resource", lost_count, count)
        for name, count in sorted(published.items())
        if _is_compared(lost_count := retracted.get(name, 0), count, model)
    ]
    verdicts = [_verdict("retracted_resources", limits.retracted_resources, resources)]
    if model.has_members:
        verdicts = [
            _verdict("retracted_members", limits.retracted_members, [members]),
            _verdict("retracted_claims", limits.retracted_claims, [claims]),
            *verdicts,
        ]
    return [verdict for verdict in verdicts if verdict is not None]


def _retraction_loss(noun: str, lost_count: int, total: int) -> _Loss:
    share = percent(_loss_share(Decimal(lost_count), Decimal(total)))
    says = f"{lost_count} of {total} published {noun}s ({share}) would be retracted"
    return _Loss(Decimal(lost_count), Decimal(total), says)


def _row_losses(previous: ReleaseFacts, current: ReleaseFacts) -> list[_Loss]:
    """Return the loss of rows of each table."""
    model = stated_model(previous.mapping)
    counts = (
        (table, *(facts.run.get(table, {"in": 0})["in"] for facts in (previous, current)))
        for table in TABLES
    )
    return [
        _count_loss(f"{table} rows", old, new)
        for table, old, new in counts
        if _is_compared(old - new, old, model)
    ]


def _is_compared(lost_count: int, total: int, model: DataModel) -> bool:
    """Return whether a loss is large enough to report.

    A directory has few networks and plans: losing all of them is no accident of small numbers.
    """
    return total >= FEW or (0 < total == lost_count and not model.has_members)


def _claim_losses(previous: ReleaseFacts, current: ReleaseFacts) -> list[_Loss]:
    if "claim" not in previous.run:
        return []
    current_count = current.run.get("claim", {"published": 0})["published"]
    return [_count_loss("accepted claims", previous.run["claim"]["published"], current_count)]


def _count_loss(noun: str, previous: int, count: int) -> _Loss:
    loss, total = Decimal(max(previous - count, 0)), Decimal(previous)
    share = f" ({percent(_loss_share(loss, total))} fewer)" if loss else ""
    return _Loss(loss, total, f"{count} {noun}, after {previous} in the previous release{share}")


def _money_losses(previous: ReleaseFacts, current: ReleaseFacts) -> list[_Loss]:
    """Return how much of each net sum would be missing, or grow without claims.

    A sum of zero has no share. Messages round money to two digits and shares to whole percents,
    so that nobody can subtract two sums over few claims.
    """
    losses = []
    for claim_type, amounts in sorted(previous.totals.items()):
        for name, text in sorted(amounts.items()):
            old, new = Decimal(text), Decimal(current.totals.get(claim_type, {}).get(name, "0"))
            counts = [facts.claims.get(claim_type, {}).get(name) for facts in (previous, current)]
            # What an older manifest does not state is taken to be the same.
            old_claims = counts[0]
            new_claims = old_claims if old_claims is None else counts[1] or 0
            change = _unexplained_change(old, new, old_claims, new_claims)
            small = _SMALL_SHARE * max(
                _total_of(previous.totals, name), _total_of(current.totals, name)
            )
            is_few = old_claims is not None and old_claims < _FEW_CLAIMS
            if not old or is_few or change <= small or change < _LITTLE_MONEY:
                continue
            share = (change / abs(old) * 100).to_integral_value(ROUND_CEILING) / 100
            level, _, category = name.partition(".")
            direction = "grow, beyond its number of claims," if abs(new) > abs(old) else "shrink"
            message = (
                f"the net {category} of {claim_type} {_LEVEL_NOUNS[level]} would {direction} by "
                f"about {_round_amount(change):,} ({percent(share)})"
            )
            if old_claims is not None:
                message += f", from {old_claims:,} claims to {new_claims:,}"
            losses.append(_Loss(share * abs(old), abs(old), message))
    if previous.totals and not losses:
        message = (
            f"no net total of a claim type with {_FEW_CLAIMS} claims or more would shrink, or grow "
            f"beyond its number of claims, by {_LITTLE_MONEY:,} and 1 % of that total over "
            "all claims"
        )
        losses.append(_Loss(Decimal(0), Decimal(1), message))
    return losses


def _unexplained_change(
    old_sum: Decimal, new_sum: Decimal, old_claims: int | None, new_claims: int | None
) -> Decimal:
    """Return the missing part of a sum, or its growth beyond its claims."""
    if old_sum * new_sum > 0 and abs(new_sum) > abs(old_sum):
        growth = Decimal(new_claims or 0) / old_claims if old_claims else Decimal(1)
        return max(abs(new_sum) - abs(old_sum) * max(growth, Decimal(1)), Decimal(0))
    return abs(new_sum - old_sum)


def _round_amount(amount: Decimal) -> Decimal:
    """Round an amount to two significant digits."""
    return amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1)).quantize(Decimal(1))


def _total_of(totals: Mapping[str, Mapping[str, str]], name: str) -> Decimal:
    """Return the absolute sum of an amount over all claim types."""
    return abs(sum((Decimal(total.get(name, "0")) for total in totals.values()), Decimal(0)))


def _verdict(
    name: str, allowed: Decimal, losses: Sequence[_Loss], comparison: str = ""
) -> Verdict | None:
    """Check several losses against one limit; None without losses."""
    if not losses:
        return None
    ordered = sorted(losses, key=lambda loss: (-loss.share, -loss.amount))
    broken = [loss for loss in ordered if not loss.is_within(allowed)]
    shown = broken[:_SHOWN] or ordered[:1]
    ending = f", and {len(broken) - _SHOWN} similar ones" if len(broken) > _SHOWN else ""
    message = ", ".join(loss.says for loss in shown)
    return Verdict(
        limit=name,
        allowed=percent(allowed),
        found=percent(max(loss.share for loss in losses)),
        holds=not broken,
        sentence=f"{message}{ending}; at most {percent(allowed)}{comparison} are allowed",
        details=tuple(loss.says for loss in broken),
    )


def _loss_share(lost_amount: Decimal, total: Decimal) -> Decimal:
    return lost_amount / total if total else Decimal(0)
