"""Record what the engine decides about whole claims: findings, superseded claims, net sums.

The rules check cells, rows and keys. The engine finds adjustment chains and the codes that a payer
doesn't publish. Its results enter here, so that rows, cents, findings and quarantine add up.
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
"""Rule of a claim that another claim of its chain replaces."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Cells or rows of one table that fail one rule.

    Attributes:
        rule: id of the rule.
        table: canonical table.
        column: the column; None if the rows fail as a whole.
        where: numpy `bool`, shape (rows of the table,).
    """

    rule: str
    table: str
    column: str | None
    where: Any


def readable_rows(work: Work) -> dict[str, pa.Table]:
    """Return the readable rows that aren't superseded; rules may still reject them."""
    return {name: frame.table(is_readable(frame)) for name, frame in work.frames.items()}


def record_findings(work: Work, findings: Iterable[Findings]) -> None:
    """Record findings about the tables of `readable_rows`."""
    for finding in findings:
        rule, frame = work.book[finding.rule], work.frames[finding.table]
        is_failing = in_frame(frame, finding.where)
        work.fail_rows(rule, frame, is_failing & work.applies(rule, frame), finding.column)


def chain_rows(work: Work, rejected: Mapping[str, Rejections]) -> tuple[dict[str, pa.Table], Any]:
    """Return the claims and lines of chains, and which claims are rejected.

    Leaves out rejected lines of claims that aren't rejected.
    """
    claims, lines = work.frames["claim"], work.frames["claim_line"]
    is_rejected = rejected["claim"].rows
    parent_rejected = np.append(is_rejected, False)[work.parents(lines, "claim")]
    is_kept = is_readable(lines) & (parent_rejected | ~rejected["claim_line"].rows)
    tables = {"claim": claims.table(is_readable(claims)), "claim_line": lines.table(is_kept)}
    return tables, is_rejected[is_readable(claims)]


def in_frame(frame: Frame, readable_mask: Any) -> Bools:
    """Convert a mask over a table of `readable_rows` to one over its frame."""
    is_meant = np.zeros(frame.count, dtype=np.bool_)
    is_meant[np.flatnonzero(is_readable(frame))[readable_mask]] = True
    return is_meant


def is_readable(frame: Frame) -> Any:
    """Return which rows of a frame are neither malformed nor superseded."""
    return ~(frame.superseded | frame.malformed)


def supersede(decided: DecidedRows, superseded: Any, counted: Any) -> DecidedRows:
    """Mark accepted claims, with all their rows, as superseded.

    Args:
        decided: the rows.
        superseded: numpy `bool`, shape (accepted claims,).
        counted: numpy `bool`, shape (accepted claims,): which count in net sums.
    """
    counted = counted[~superseded]
    if not superseded.any():
        return replace(decided, counted=counted)
    work, claims = decided.work, decided.accepted["claim"]
    ids = claims.column("claim_id").filter(pa.array(superseded)).combine_chunks()
    for name in ("claim", *CLAIM_TABLES):
        frame = work.frames[name]
        is_superseded = true_where(pc.is_in(frame.cells("claim_id").text, value_set=ids))
        is_superseded &= frame.live & ~decided.rejected[name].rows
        if name == "claim":
            work.record(work.book[SUPERSEDED], frame, np.flatnonzero(is_superseded), None)
        frame.superseded |= is_superseded
    return decided_rows(work, decided.rejected, counted)
