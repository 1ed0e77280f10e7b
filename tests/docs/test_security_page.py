"""docs/security.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import page

TESTS = Path(__file__).parents[1]
NAMED = set(re.findall(r"`(test_\w+)`", page("docs/security.md")))


def test_every_test_that_the_page_names_exists():
    there = {
        name
        for file in TESTS.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(NAMED) > 60
    assert sorted(NAMED - there) == []


def test_every_section_of_the_rfc_that_asks_something_is_gone_through():
    text = page("docs/security.md")
    rows = re.findall(r"^\| ([0-9., ]+) \|", text.split("## Thirty points")[0], re.MULTILINE)
    sections = {one.strip() for row in rows for one in row.split(",")}
    wanted = {f"4.{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)}
    assert wanted | {"2.1", "2.1.1", "2.1.2", "2.2.2", "2.3", "2.4", "2.5", "2.6"} <= sections
