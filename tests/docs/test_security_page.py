"""docs/security.md names tests that there are."""

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
