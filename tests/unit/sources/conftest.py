"""What tests of reading share."""

import pytest

from tests.unit.sources.extracts import write_extract


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a small extract."""
    return write_extract(tmp_path / "in")
