"""Nights of an extract that queries make."""

import shutil
from pathlib import Path

import pytest

from tests.integration.nights import worked_on

RIF = Path(__file__).parents[1] / "golden/layouts/cms-rif-synthea/input"


@pytest.mark.slow
def test_a_row_before_all_others_is_no_reason_to_work_on_them_again(payer, tmp_path):
    payer.run(RIF)
    shutil.copytree(RIF, tmp_path / "in")
    file = tmp_path / "in/beneficiary_2021.csv"
    header, first, *others = file.read_text("utf-8").splitlines()
    cells = first.split("|")
    cells[header.split("|").index("BENE_ID")] = "-900"
    cells[header.split("|").index("MBI_NUM")] = "1S00E00AA99"
    file.write_text("\n".join([header, "|".join(cells), first, *others, ""]), "utf-8")
    _, known = worked_on(payer, tmp_path / "in")
    assert known == 2
    changes = payer.release.manifest.counts["changes"]
    assert changes["patients"] == {"added": 1, "changed": 0, "retracted": 0}
