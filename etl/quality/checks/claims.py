"""What is settled about whole claims beside the rules: what is left out, whose money counts.

The rules look at cells, rows and keys. What a chain of adjustments comes to, and which codes a
payer does not publish, is worked out elsewhere and handed in here, so that rows, cents, findings
and quarantine add up with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import true_where
from etl.model.canonical_tables import CLAIM_TABLES
from etl.quality.checks.cascade import Rejections
from etl.quality.checks.frames import Work

SUPERSEDED: Final = "claim-superseded"
"""Rule of a claim that is left out because another of its chain stands in its place."""


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


@dataclass(frozen=True, slots=True)
class Standing:
    """What becomes of accepted claims; arrays are numpy `bool`, shape (claims,).

    Attributes:
        left_out: not published: another claim of the chain is.
        counted: its money is in the net sums.
    """

    left_out: Any
    counted: Any


class Settling(Protocol):
    """Works out what is settled about the claims of one partition."""

    def notice(self, tables: Mapping[str, pa.Table]) -> Iterable[Noticed]:
        """Return what there is to find in rows that rules may yet reject."""
        ...

    def standing(self, tables: Mapping[str, pa.Table]) -> Standing:
        """Return what becomes of the claims of accepted rows."""
        ...


def find(work: Work, settling: Settling) -> None:
    """Record what is noticed in the rows that stand for themselves."""
    keep = {name: frame.whole_rows & ~frame.shared for name, frame in work.frames.items()}
    tables = {name: frame.table(keep[name]) for name, frame in work.frames.items()}
    for noticed in settling.notice(tables):
        rule, frame = work.book[noticed.rule], work.frames[noticed.table]
        where = np.zeros(frame.count, dtype=bool)
        where[np.flatnonzero(keep[noticed.table])[noticed.where]] = True
        work.fail(rule, frame, where & work.holds(rule, frame), noticed.column)


def leave_out(
    work: Work,
    rejected: Mapping[str, Rejections],
    accepted: Mapping[str, pa.Table],
    where: Any,
) -> None:
    """Count accepted claims, with all their rows, as superseded.

    Args:
        work: the partition.
        rejected: rejected rows of every table; they stay rejected.
        accepted: its accepted rows.
        where: numpy `bool`, shape (accepted claims,).
    """
    if not where.any():
        return
    ids = accepted["claim"].column("claim_id").filter(pa.array(where)).combine_chunks()
    for name in ("claim", *CLAIM_TABLES):
        frame = work.frames[name]
        here = true_where(pc.is_in(frame.cells("claim_id").text, value_set=ids))
        here &= frame.live & ~rejected[name].rows
        if name == "claim":
            work.record(work.book[SUPERSEDED], frame, np.flatnonzero(here), None)
        frame.superseded |= here
