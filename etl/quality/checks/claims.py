"""Whole claims beside the rules: findings about them, claims left out, claims in net sums.

The rules look at cells, rows and keys. Chains of adjustments, and the codes that a payer does not
publish, are found by the engine. Its results are passed in here, so that rows, cents, findings and
quarantine add up with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where
from etl.model.canonical_tables import CLAIM_TABLES
from etl.quality.checks.cascade import DecidedRows, decided_rows
from etl.quality.checks.frames import Frame, Rejections, Work

SUPERSEDED: Final = "claim-superseded"
"""Rule of a claim that is left out because another of its chain replaces it."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Cells or rows of one table that one rule is about.

    Attributes:
        rule: id of the rule.
        table: canonical table.
        column: the column; None for whole rows.
        where: numpy `bool`, shape (rows of the table,).
    """

    rule: str
    table: str
    column: str | None
    where: Any


def readable_rows(work: Work) -> dict[str, pa.Table]:
    """Return the readable rows that no other replaces; rules may still reject them."""
    return {name: frame.table(is_readable(frame)) for name, frame in work.frames.items()}


def note(work: Work, noticed: Iterable[Noticed]) -> None:
    """Record what is noticed in the tables of `readable_rows`."""
    for finding in noticed:
        rule, frame = work.book[finding.rule], work.frames[finding.table]
        where = in_frame(frame, finding.where)
        work.fail_rows(rule, frame, where & work.holds(rule, frame), finding.column)


def chained_rows(work: Work, rejected: Mapping[str, Rejections]) -> tuple[dict[str, pa.Table], Any]:
    """Return the claims and lines of chains, and which of the claims are rejected.

    Of claims that are published, rejected lines are left out.
    """
    claims, lines = work.frames["claim"], work.frames["claim_line"]
    is_rejected = rejected["claim"].rows
    of_rejected = np.append(is_rejected, False)[work.above(lines, "claim")]
    kept = is_readable(lines) & (of_rejected | ~rejected["claim_line"].rows)
    tables = {"claim": claims.table(is_readable(claims)), "claim_line": lines.table(kept)}
    return tables, is_rejected[is_readable(claims)]


def in_frame(frame: Frame, of_readable: Any) -> Bools:
    """Return which rows of a frame are meant by a mask over those of `readable_rows`."""
    where = np.zeros(frame.count, dtype=np.bool_)
    where[np.flatnonzero(is_readable(frame))[of_readable]] = True
    return where


def is_readable(frame: Frame) -> Any:
    """Return which rows of a frame can be read and are not replaced by one with their key."""
    return ~(frame.superseded | frame.bare)


def leave_out(decided: DecidedRows, where: Any, counted: Any) -> DecidedRows:
    """Count accepted claims, with all their rows, as superseded.

    Args:
        decided: the rows.
        where: numpy `bool`, shape (accepted claims,): which are left out.
        counted: likewise: which count in net sums, if they are not left out.
    """
    counted = counted[~where]
    if not where.any():
        return replace(decided, counted=counted)
    work, claims = decided.work, decided.accepted["claim"]
    ids = claims.column("claim_id").filter(pa.array(where)).combine_chunks()
    for name in ("claim", *CLAIM_TABLES):
        frame = work.frames[name]
        here = true_where(pc.is_in(frame.cells("claim_id").text, value_set=ids))
        here &= frame.live & ~decided.rejected[name].rows
        if name == "claim":
            work.record(work.book[SUPERSEDED], frame, np.flatnonzero(here), None)
        frame.superseded |= here
    return decided_rows(work, decided.rejected, counted)
