"""Outlines of values."""

import pytest

from etl.model.code_shapes import outline


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Núñez-Smith", "Aaaaa-Aaaaa"),
        ("1234567893", "9999999999"),
        ("ana@example.org", "aaa@aaaaaaa.aaa"),
        ("٣-李", "9-a"),
        ("a" * 40, "a" * 24 + "…"),
        ("x\ty\x1b[31m", "a·a··99a"),
    ],
)
def test_a_value_is_shown_as_an_outline(value, shown):
    assert outline(value) == shown
