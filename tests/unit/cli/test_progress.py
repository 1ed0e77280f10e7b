"""Progress in words: how much is done, and about how long it will still take."""

import pytest

from etl.cli.progress import _Lines
from etl.cli.time_left import percent, time_left
from etl.pipeline.progress import StageAdvanced, StageBegan
from etl.sources.files.listed_files import Partitioned
from tests.given.tables import table


@pytest.mark.parametrize(*table(__file__, "times"))
def test_the_time_left_follows_from_the_steps_so_far(elapsed, done, total, left):
    assert time_left(elapsed, done, total) == left


def test_a_share_is_whole_only_when_all_is_done():
    assert [percent(done, 1000) for done in (0, 6, 999, 1000)] == ["0 %", "0 %", "99 %", "100 %"]


def test_lines_say_now_and_then_how_far_a_phase_is(capsys):
    now = 0.0
    show = _Lines(lambda: now)

    def at(second, event):
        nonlocal now
        now = second
        show(event)
        return capsys.readouterr().err

    assert at(1, StageBegan("read", 10)) == "reading …\n"
    assert at(2, Partitioned(7000, 2)) == "7,000 rows in 2 partitions\n"
    assert at(10, StageBegan("partitions", 7000)) == "checking and mapping …\n"
    assert at(39, StageAdvanced(700)) == "", "no half minute has passed"
    assert at(70, StageAdvanced(700)) == (
        "checking and mapping: 20 % of rows, about 4 minutes left\n"
    )
    assert at(71, StageAdvanced(700)) == ""
    assert at(110, StageAdvanced(1400)) == (
        "checking and mapping: 50 % of rows, about 2 minutes left\n"
    )
    assert at(111, StageBegan("bulk")) == "writing bulk files …\n"
    assert at(999, StageAdvanced(5)) == "", "how much there is to do is not known"
