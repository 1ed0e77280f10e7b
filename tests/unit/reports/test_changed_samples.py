"""Values of changed resources are masked so that what changed is still seen."""

import pytest

from etl.reports.changes_page import _mask_pair


@pytest.mark.parametrize(
    ("before", "after", "masked"),
    [
        ("2024-01-02", "2024-01-13", (("9999-99-", "99", ""), ("9999-99-", "99", ""))),
        ("120.50", "1120.50", (("9", "", "99.99"), ("9", "9", "99.99"))),
        ("aba", "ababa", (("aaa", "", ""), ("aaa", "aa", ""))),
        (None, "Muñoz", (None, ("", "Aaaaa", ""))),
        (
            "Organization/abcdefghijklmnop1",
            "Organization/abcdefghijklmnop2",
            (("…aaaaaaaaaaaa", "9", ""), ("…aaaaaaaaaaaa", "9", "")),
        ),
    ],
)
def test_what_differs_stands_apart(before, after, masked):
    assert _mask_pair(before, after) == masked
