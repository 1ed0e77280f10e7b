"""Totals of a run."""

from __future__ import annotations

from etl.pipeline.totals import Totals


def test_nothing_unmapped_is_nothing_said():
    assert Totals().unmapped() == ()
