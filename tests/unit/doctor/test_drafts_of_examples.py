"""The draft of each example's files is a layout without mistakes, and reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.sources import open_extract, partition, read_layout
from tests.e2e.commands import cpcds, done
from tests.unit.sources.dialects import shipped_layouts

GOLDEN = Path(__file__).parents[2] / "golden/layouts"
CROSSWALKS = {
    name: crosswalk for layout in shipped_layouts() for name, crosswalk in layout.crosswalks.items()
}


@pytest.mark.parametrize(
    "name",
    [
        "apcd-cdl",
        "cms-idr",
        "healthsparq",
        "onyx-a",
        "onyx-b",
        "synthea-2019-first",
        "synthea-members",
        "synthea-patients",
        "tuva-input",
        "tuva-input-persons",
    ],
)
def test_the_draft_of_an_example_has_no_mistakes_and_reads_it(name: str, tmp_path: Path) -> None:
    draft = tmp_path / "mine.yaml"
    done(cpcds("doctor", GOLDEN / name / "input", "--write", draft))
    layout = read_layout(draft.read_text(encoding="utf-8"), "mine.yaml", CROSSWALKS)
    extract = open_extract(GOLDEN / name / "input", [layout], layout=layout.name)
    parts = partition(extract, tmp_path / "work", partitions=1)
    assert sum(parts.facts.rows_read.values())
