"""The list of a work folder: a step counts as long as all that it wrote is what it wrote."""

from pathlib import Path

import pytest

from etl.sources.partition.spill import LIST, Inventory, Step


def damaged(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


DAMAGE = {
    "missing": Path.unlink,
    "empty": damaged(lambda _: b""),
    "cut off": damaged(lambda data: data[:-1]),
    "flipped": damaged(lambda data: bytes([data[0] ^ 1]) + data[1:]),
    "longer": damaged(lambda data: data + b"\0"),
}


def added(folder):
    """Add two steps to the list of a folder, and return the file of the first."""
    (folder / "below").mkdir()
    path = folder / "below" / "rows"
    path.write_bytes(b"rows")
    inventory = Inventory(folder)
    inventory.add_files("read", [path])
    inventory.add("begun", facts={"at": "noon"})
    return path


def test_a_step_is_done_as_long_as_its_files_are_what_they_were(tmp_path):
    added(tmp_path)
    found = Inventory(tmp_path).step("read")
    assert list(found.files) == ["below/rows"]
    assert Inventory(tmp_path).step("begun") == Step({}, {"at": "noon"})
    assert Inventory(tmp_path).step("another") is None


@pytest.mark.parametrize("how", DAMAGE)
def test_a_step_with_a_damaged_file_is_not_done(tmp_path, how):
    DAMAGE[how](added(tmp_path))
    assert Inventory(tmp_path).step("read") is None
    assert Inventory(tmp_path).step("begun") is not None


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_list_vouches_for_no_more_than_it_says(tmp_path, how):
    added(tmp_path)
    whole = {name: Inventory(tmp_path).step(name) for name in ("read", "begun")}
    DAMAGE[how](tmp_path / LIST)
    for name, step in whole.items():
        assert Inventory(tmp_path).step(name) in (step, None)


def test_every_flipped_bit_of_a_list_is_seen(tmp_path):
    added(tmp_path)
    whole = (tmp_path / LIST).read_bytes()
    steps = [Inventory(tmp_path).step(name) for name in ("read", "begun")]
    for at in range(len(whole)):
        (tmp_path / LIST).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = [Inventory(tmp_path).step(name) for name in ("read", "begun")]
        assert all(one in (step, None) for one, step in zip(found, steps, strict=True))
        assert whole[at : at + 1] == b"\n" or found != steps


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path):
    path = added(tmp_path)
    with (tmp_path / LIST).open("r+b") as file:
        file.truncate((tmp_path / LIST).stat().st_size - 5)
    Inventory(tmp_path).add_files("again", [path])
    assert Inventory(tmp_path).step("begun") is None
    assert Inventory(tmp_path).step("again") is not None


def test_of_a_step_that_was_done_twice_the_later_counts(tmp_path):
    path = added(tmp_path)
    path.write_bytes(b"other rows")
    assert Inventory(tmp_path).step("read") is None
    Inventory(tmp_path).add_files("read", [path])
    assert Inventory(tmp_path).step("read") is not None


def test_nothing_counts_once_a_list_was_cleared(tmp_path):
    added(tmp_path)
    Inventory(tmp_path).clear()
    assert Inventory(tmp_path).step("read") is None
