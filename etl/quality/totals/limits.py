"""Limits past which a run stops, decided over the totals of all partitions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
"""Limits on what rules reject; all others limit what the extract contains."""
FEW: Final = 10
"""In smaller tables one rejected row is a large share, but no sign of a bad delivery."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit, checked against the totals.

    Attributes:
        limit: which one, as the configuration calls it.
        allowed: the maximum, as text.
        found: the actual value, as text.
        holds: whether the value is within the limit.
        sentence: all of this in words.
        is_setting: whether a setting can raise the limit.
        details: everything beyond the limit, one entry each, if `sentence` has only the first ones.
    """

    limit: str
    allowed: str
    found: str
    holds: bool
    sentence: str
    is_setting: bool = True
    details: tuple[str, ...] = ()


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
    results = [
        _check_share(name, share, counts.get(table, RowCounts()), table)
        for name, share, table in shares
        if share is not None
    ]
    for rule, maximum in sorted(limits.findings.items()):
        number = findings.get(rule, 0)
        is_kept = number <= maximum
        results.append(
            Verdict(
                f"findings.{rule}",
                str(maximum),
                str(number),
                is_kept,
                f"{number} findings of {rule}; at most {maximum} are allowed",
            )
        )
    if limits.unowned_rows is not None:
        results.append(_check_unowned(limits.unowned_rows, unowned))
    return tuple(results)


def _check_unowned(maximum: int, unowned: Mapping[str, int]) -> Verdict:
    number = sum(unowned.values())
    rows_by_file = ", ".join(f"{file}: {rows}" for file, rows in sorted(unowned.items()))
    return Verdict(
        "unowned_rows",
        str(maximum),
        str(number),
        number <= maximum,
        f"{number} rows cannot be read or have no owner, so it is unknown what they belong to"
        f"{f' ({rows_by_file})' if rows_by_file else ''}; at most {maximum} are allowed",
    )


def _check_share(name: str, share: Decimal, counts: RowCounts, table: str) -> Verdict:
    # Multiplied, not divided: exact, and no rows are no reason to stop.
    is_kept = counts.quarantined <= share * counts.rows_in
    actual = percent(Decimal(counts.quarantined) / counts.rows_in) if counts.rows_in else "0 %"
    return Verdict(
        name,
        percent(share),
        actual,
        is_kept,
        f"{counts.quarantined} of {counts.rows_in} {table} rows ({actual}) are in quarantine; "
        f"at most {percent(share)} are allowed",
    )


def percent(share: Decimal) -> str:
    """Format a share as a percentage with at most four decimals."""
    text = f"{(share * 100):.4f}".rstrip("0").rstrip(".")
    return f"{text} %"


def enforce(results: Iterable[Verdict]) -> None:
    """Stop the run if a limit is exceeded.

    Raises:
        DataRejected: at least one limit is exceeded; the message has a sentence for each. Exit
            code 4.
    """
    sentence = refusal(results)
    if sentence:
        raise DataRejected(sentence)


def refusal(results: Iterable[Verdict]) -> str:
    """Explain why nothing is published and what to do; empty if no limit is exceeded."""
    broken = [verdict for verdict in results if not verdict.holds]
    if not broken:
        return ""
    message = f"nothing was published: {broken[0].sentence}. "
    if len(broken) > 1:
        sentences = "".join(f"- {verdict.sentence}\n" for verdict in broken)
        message = f"nothing was published, because {len(broken)} limits are broken:\n{sentences}"
    if not all(verdict.is_setting for verdict in broken):
        return message + "Fix the mapping or the program: no setting allows this."
    variables = " ".join(_override_settings(broken))
    return message + f"Fix the extract or, if this is intended, allow it for one run: {variables}."


def _override_settings(broken: Iterable[Verdict]) -> Iterator[str]:
    """Yield the environment variables that raise the limits just enough."""
    findings = {}
    for verdict in broken:
        name, _, rule = verdict.limit.partition(".")
        share = verdict.found.removesuffix(" %")
        is_share = share != verdict.found
        value = str(Decimal(ceil(Decimal(share))) / 100) if is_share else verdict.found
        if rule:
            findings[rule] = int(value)
        else:
            yield f"CPCDS_LIMITS__{name.upper()}={value}"
    if findings:
        yield f"CPCDS_LIMITS__FINDINGS='{json.dumps(findings)}'"
