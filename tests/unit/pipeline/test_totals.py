"""Totals of a run: rows that could not be cut are counted like any other."""

from __future__ import annotations

import pyarrow as pa

from etl.pipeline.totals import Totals
from etl.rows import FINDINGS_SCHEMA


def findings(*rows: tuple[str, str | None, int, int | None]) -> pa.Table:
    names = ("rule", "table", "file", "row")
    return pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], schema=FINDINGS_SCHEMA
    )


def test_rows_that_were_cut_wrong_are_in_and_quarantined() -> None:
    totals = Totals()
    totals.add_unreadable(
        findings(
            ("ragged-row", "member", 0, 2),
            ("ragged-row", "member", 0, 9),
            ("ragged-row", "claim", 1, 3),
            ("unknown-file", None, 2, None),
        )
    )
    counts = totals.tally.counts
    assert (counts["member"].rows_in, counts["member"].quarantined) == (2, 2)
    assert (counts["claim"].rows_in, counts["claim"].quarantined) == (1, 1)
    assert counts["coverage"].rows_in == 0


def test_nothing_unmapped_is_nothing_said() -> None:
    assert Totals().unmapped() == ()
