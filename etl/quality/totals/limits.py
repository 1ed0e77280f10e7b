"""Limits past which a run stops, decided over the totals of all partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from types import MappingProxyType
from typing import Final

from etl.errors import DataRejected
from etl.model.data_models import model_of
from etl.quality.rules.book import Limits
from etl.quality.totals.counts import RowCounts

REJECTION_LIMITS: Final = frozenset(
    {"rejected_claims", "rejected_members", "rejected_rows", "findings", "unowned_rows"}
)
"""Limits on what rules reject; all others are on what is there."""
FEW: Final = 10
"""Of a table or resource type with fewer, one is a large share, and no sign of a bad delivery."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit, checked against the totals.

    Attributes:
        limit: which one, as the configuration calls it.
        allowed: the most that is allowed, as text.
        found: what was found, as text.
        holds: whether the run may go on.
        sentence: all of this in words.
        is_setting: whether a setting can let it through.
    """

    limit: str
    allowed: str
    found: str
    holds: bool
    sentence: str
    is_setting: bool = True


def verdicts(
    limits: Limits,
    counts: Mapping[str, RowCounts],
    findings: Mapping[str, int],
    unowned: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Check every limit that is set.

    Args:
        limits: the payer's.
        counts: table -> totals of all partitions. Of a directory of providers each table is
            checked by itself, one with fewer than `FEW` rows only where all are in quarantine.
        findings: rule id -> number of findings of all partitions.
        unowned: file -> rows that cannot be read and have no known owner.
    """
    shares = [
        ("rejected_claims", limits.rejected_claims, "claim"),
        ("rejected_members", limits.rejected_members, "member"),
    ]
    if not model_of(counts).has_members:
        shares = [
            ("rejected_rows", limits.rejected_rows, table)
            for table, rows in counts.items()
            if rows.rows_in >= FEW or (rows.rows_in and rows.quarantined == rows.rows_in)
        ]
    reached = [
        _share(name, share, counts.get(table, RowCounts()), table)
        for name, share, table in shares
        if share is not None
    ]
    for rule, most in sorted(limits.findings.items()):
        number = findings.get(rule, 0)
        holds = number <= most
        reached.append(
            Verdict(
                f"findings.{rule}",
                str(most),
                str(number),
                holds,
                f"{number} findings of {rule}; at most {most} are allowed",
            )
        )
    if limits.unowned_rows is not None:
        reached.append(_unowned(limits.unowned_rows, unowned))
    return tuple(reached)


def _unowned(most: int, unowned: Mapping[str, int]) -> Verdict:
    number = sum(unowned.values())
    where = ", ".join(f"{file}: {rows}" for file, rows in sorted(unowned.items()))
    return Verdict(
        "unowned_rows",
        str(most),
        str(number),
        number <= most,
        f"{number} rows cannot be read or have no owner, so it is unknown what they belong to"
        f"{f' ({where})' if where else ''}; at most {most} are allowed",
    )


def _share(name: str, share: Decimal, counts: RowCounts, table: str) -> Verdict:
    # Multiplied, not divided: exact, and no rows are no reason to stop.
    holds = counts.quarantined <= share * counts.rows_in
    found = percent(Decimal(counts.quarantined) / counts.rows_in) if counts.rows_in else "0 %"
    return Verdict(
        name,
        percent(share),
        found,
        holds,
        f"{counts.quarantined} of {counts.rows_in} {table} rows ({found}) are in quarantine; "
        f"at most {percent(share)} are allowed",
    )


def percent(share: Decimal) -> str:
    """Return a share as people write it, with at most four decimals."""
    text = f"{(share * 100):.4f}".rstrip("0").rstrip(".")
    return f"{text} %"


def enforce(looked_at: Iterable[Verdict]) -> None:
    """Stop the run where a limit does not hold.

    Raises:
        DataRejected: with one sentence for every limit that does not hold. Exit code 4.
    """
    sentence = refusal(looked_at)
    if sentence:
        raise DataRejected(sentence)


def refusal(looked_at: Iterable[Verdict]) -> str:
    """Return why nothing is published and what to do; empty where every limit holds."""
    broken = [verdict for verdict in looked_at if not verdict.holds]
    if not broken:
        return ""
    says = f"nothing was published: {'; '.join(verdict.sentence for verdict in broken)}. "
    if not all(verdict.is_setting for verdict in broken):
        return says + "Fix the mapping or the program: no setting allows this."
    variables = " ".join(_way_through(verdict) for verdict in broken)
    return says + f"Fix the extract or, if this is intended, allow it for one run: {variables}."


def _way_through(verdict: Verdict) -> str:
    """Return the setting that lets just this through, as an environment variable."""
    name, _, rule = verdict.limit.partition(".")
    share = verdict.found.removesuffix(" %")
    is_share = share != verdict.found
    value = str(Decimal(ceil(Decimal(share))) / 100) if is_share else verdict.found
    if rule:
        value = f"'{{\"{rule}\": {value}}}'"
    return f"CPCDS_LIMITS__{name.upper()}={value}"
