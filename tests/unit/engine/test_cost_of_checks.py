"""The column checks stay a small part of mapping; benchmarks/conforming.py has the figures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.__main__ import accepted
from benchmarks.conforming import share_of_mapping
from etl.bootstrap.settings import Settings
from etl.synth import Spec, write_extract
from tests.e2e.commands import same_definitions


def test_checks_cost_less_than_half_of_mapping_even_of_few_rows(tmp_path: Path) -> None:
    extract = tmp_path / "extract"
    write_extract(extract, Spec(members=150, seed=1))
    definitions = same_definitions(Settings().with_workers(1))
    without, with_checks = share_of_mapping(
        definitions, *accepted(extract, tmp_path, definitions), rounds=3
    )
    assert with_checks < 1.5 * without
