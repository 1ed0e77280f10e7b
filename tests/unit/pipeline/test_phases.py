"""Phases of a run: their steps and their times, from its events."""

from itertools import count

from etl.pipeline.progress import (
    PartitionDone,
    Phase,
    Phases,
    StageAdvanced,
    StageBegan,
    StepCounter,
)
from etl.sources.files.listed_files import FileHashed, FileProgress, Partitioned


def ticking():
    return (float(second) for second in count(10))


def test_a_phase_lasts_until_the_next_begins_and_counts_its_own_steps():
    clock, ended = ticking(), list[Phase]()
    phases = Phases(lambda: next(clock), ended.append)
    for event in (
        StageBegan("hash"),
        FileHashed("claim.csv", 700),
        FileHashed("member.csv", 300),
        StageBegan("partitions", 90),
        StageAdvanced(30),
        PartitionDone(0, 2, 5, 50),
        StageAdvanced(60),
    ):
        phases(event)
    assert ended == [Phase("hash", 1.0, 1000, "bytes")]
    phases.end()
    assert phases.finished == (
        Phase("hash", 1.0, 1000, "bytes"),
        Phase("partitions", 1.0, 90, "rows"),
    )
    assert [each.steps for each in phases.finished] == ["1,000 bytes", "90 rows"]


def test_a_phase_that_comes_twice_is_one():
    clock = ticking()
    phases = Phases(lambda: next(clock))
    for stage in ("read", "publish", "read"):
        phases(StageBegan(stage))
        phases(StageAdvanced(2))
    phases.end()
    assert phases.finished == (Phase("read", 2.0, 4, "bytes"), Phase("publish", 1.0, 2, "rows"))


def test_an_end_without_a_phase_is_nothing():
    phases = Phases(lambda: 0.0)
    phases.end()
    assert phases.finished == ()


def test_progress_of_files_that_are_read_side_by_side_adds_up_to_their_bytes():
    counter = StepCounter()
    told = [
        FileProgress("a", 10, 30, 1),
        FileProgress("b", 5, 5, 1),
        FileProgress("a", 30, 30, 3),
        Partitioned(4, 1),
    ]
    assert [counter.steps(event) for event in told] == [10, 5, 20, 0]
    assert counter.steps(StageBegan("read")) == 0
    assert counter.steps(FileProgress("a", 30, 30, 3)) == 30  # read again, in a stage of its own
