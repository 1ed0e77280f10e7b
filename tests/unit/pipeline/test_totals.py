"""Totals of a run."""

from etl.pipeline.totals import Totals


def test_nothing_unmapped_is_nothing_said():
    assert Totals().unmapped() == ()
