"""What the tables of a run call its rows."""

from dataclasses import replace

import pytest

from etl.cli.result_tables import show_summary
from tests.unit.reports.test_report import report


@pytest.mark.parametrize(
    ("release", "fate", "other"),
    [("r1", "published", "accepted"), (None, "accepted", "published")],
)
def test_rows_are_called_published_only_if_a_release_was_made(release, fate, other, capsys):
    show_summary(replace(report(), release=release))
    header = capsys.readouterr().out.splitlines()[0]
    assert fate in header
    assert other not in header
