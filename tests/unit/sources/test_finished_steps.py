"""The list of a work folder: a step counts as long as all that it wrote is what it wrote."""

import pytest

from etl.sources.partition.finished_steps import STEPS_FILE, FinishedSteps, Step
from tests.given.damage import DAMAGE


def added(folder):
    """Add two steps to the list of a folder, and return the file of the first."""
    (folder / "below").mkdir()
    path = folder / "below" / "rows"
    path.write_bytes(b"rows")
    steps = FinishedSteps(folder)
    steps.add_files("read", [path])
    steps.add("begun", facts={"at": "noon"})
    return path


def test_a_step_is_done_as_long_as_its_files_are_what_they_were(tmp_path):
    added(tmp_path)
    found = FinishedSteps(tmp_path).find("read")
    assert list(found.files) == ["below/rows"]
    assert FinishedSteps(tmp_path).find("begun") == Step({}, {"at": "noon"})
    assert FinishedSteps(tmp_path).find("another") is None


@pytest.mark.parametrize("how", DAMAGE)
def test_a_step_with_a_damaged_file_is_not_done(tmp_path, how):
    DAMAGE[how](added(tmp_path))
    assert FinishedSteps(tmp_path).find("read") is None
    assert FinishedSteps(tmp_path).find("begun") is not None


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_list_vouches_for_no_more_than_it_says(tmp_path, how):
    added(tmp_path)
    whole = {name: FinishedSteps(tmp_path).find(name) for name in ("read", "begun")}
    DAMAGE[how](tmp_path / STEPS_FILE)
    for name, step in whole.items():
        assert FinishedSteps(tmp_path).find(name) in (step, None)


def test_every_flipped_bit_of_a_list_is_seen(tmp_path):
    added(tmp_path)
    whole = (tmp_path / STEPS_FILE).read_bytes()
    steps = [FinishedSteps(tmp_path).find(name) for name in ("read", "begun")]
    for at in range(len(whole)):
        (tmp_path / STEPS_FILE).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = [FinishedSteps(tmp_path).find(name) for name in ("read", "begun")]
        assert all(one in (step, None) for one, step in zip(found, steps, strict=True))
        assert whole[at : at + 1] == b"\n" or found != steps


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path):
    path = added(tmp_path)
    with (tmp_path / STEPS_FILE).open("r+b") as file:
        file.truncate((tmp_path / STEPS_FILE).stat().st_size - 5)
    FinishedSteps(tmp_path).add_files("again", [path])
    assert FinishedSteps(tmp_path).find("begun") is None
    assert FinishedSteps(tmp_path).find("again") is not None


def test_of_a_step_that_was_done_twice_the_later_counts(tmp_path):
    path = added(tmp_path)
    path.write_bytes(b"other rows")
    assert FinishedSteps(tmp_path).find("read") is None
    FinishedSteps(tmp_path).add_files("read", [path])
    assert FinishedSteps(tmp_path).find("read") is not None


def test_nothing_counts_once_a_list_was_cleared(tmp_path):
    added(tmp_path)
    FinishedSteps(tmp_path).clear()
    assert FinishedSteps(tmp_path).find("read") is None
