"""The layouts that come with the program: their golden rows, and samples where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from etl.sources import Layout, open_extract
from tests.unit.sources.dialects import shipped_layouts
from tests.unit.sources.extracts import read
from tests.unit.sources.golden import as_text

GOLDEN = Path(__file__).parents[2] / "golden/layouts"
NAMES = ("cms-idr", "cms-rif-synthea", "onyx-a", "onyx-b", "synthea-patients", "tuva-input")


@pytest.fixture(scope="module")
def layouts() -> tuple[Layout, ...]:
    return shipped_layouts()


def test_every_layout_has_golden_rows(layouts: tuple[Layout, ...]) -> None:
    assert {layout.name for layout in layouts} == {"synthea-members", *NAMES}
    assert all((GOLDEN / name / "README.md").is_file() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_known_and_give_the_rows_that_were_written_down(
    name: str, tmp_path: Path, layouts: tuple[Layout, ...]
) -> None:
    """The case's README says what is in it. WRITE_GOLDEN=1 writes the rows anew."""
    folder = GOLDEN / name / "input"
    extract = open_extract(folder, layouts)
    assert extract.layout.name == name
    assert extract.findings.num_rows == 0
    got = as_text(read(folder, tmp_path / "work", 1, layouts=layouts))
    expected = GOLDEN / name / "expected.ndjson"
    if os.environ.get("WRITE_GOLDEN") == "1":
        expected.write_text(got, encoding="utf-8")
    assert got.splitlines() == expected.read_text(encoding="utf-8").splitlines()
