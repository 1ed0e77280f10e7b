"""YAML of anyone: bounded in time and memory, and each fault with its place."""

import os

import pytest

from etl.bootstrap.mappings import read_folder
from etl.documents.yaml_text import MOST_CHARACTERS, MOST_DEPTH, read_yaml
from etl.errors import MappingError

ALIAS_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
DEEP = MOST_DEPTH + 1
COSTLY = {
    "alias-bomb": (ALIAS_BOMB, "yaml-size", "aliases counted each time"),
    "recursive-list": ("a: &a [1, *a]", "yaml-size", "an alias within itself"),
    "recursive-map": ("a: &a\n  b: *a\n", "yaml-size", "an alias within itself"),
    "deep-list": ("[" * DEEP + "]" * DEEP, "yaml-size", "within each other"),
    "very-deep": ("[" * 200_000, "yaml-syntax", "not YAML"),
    "long": ("a" * (MOST_CHARACTERS + 1), "yaml-size", "characters"),
    "long-number": ("1" * 1_000_000, "yaml-value", "put it into quotes"),
    "number-to-base-sixty": ("1" + ":1" * 1_000_000, "yaml-value", "put it into quotes"),
    "no-day": ("2025-13-45", "yaml-value", "put it into quotes"),
    "control-character": ("a: \x00", "yaml-syntax", "not YAML"),
}
LONG_LINES = {
    "one-line": ("[" + "a, " * 100_000 + "a] # note", ["a"] * 100_001),
    "blanks": ("a: 1 #" + " " * 1_000_000 + "x", {"a": 1}),
}


@pytest.mark.parametrize(("text", "code", "says"), COSTLY.values(), ids=COSTLY)
def test_a_document_past_a_bound_is_refused_at_once(text, code, says):
    with pytest.raises(MappingError) as caught:  # what was not bounded would not come to an end
        read_yaml(text, "own.yaml")
    assert code in str(caught.value)
    assert says in str(caught.value)
    assert str(caught.value).startswith("own.yaml")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("text", "value"), LONG_LINES.values(), ids=LONG_LINES)
def test_a_long_line_within_the_bounds_is_read(text, value):
    """In time that follows its length: with its square, it would be hours."""
    assert read_yaml(text, "own.yaml") == value


def test_aliases_within_the_bounds_stand_for_what_they_name():
    assert read_yaml("a: &a [1, 2]\nb: [*a, *a]  # twice", "own.yaml") == {
        "a": [1, 2],
        "b": [[1, 2], [1, 2]],
    }


def test_a_note_is_the_comment_at_the_end_of_a_line():
    found = read_yaml("a: 1  # 94, 95 \nb: '#1'\nc: 3 # x # y\n", "own.yaml")
    assert [mark.note for mark in found.marks.values()] == ["94, 95", "", "x # y"]


def test_a_pipe_among_the_mappings_is_refused(tmp_path):
    (tmp_path / "rules").mkdir()
    os.mkfifo(tmp_path / "rules" / "own.yaml")
    with pytest.raises(MappingError, match="no regular file"):
        read_folder([tmp_path], "rules", "*.yaml")


def test_a_large_file_among_the_mappings_is_not_read(tmp_path):
    (tmp_path / "rules").mkdir()
    with (tmp_path / "rules" / "own.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MappingError, match="yaml-size"):
        read_folder([tmp_path], "rules", "*.yaml")
