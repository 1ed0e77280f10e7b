"""Files of lines, end to end: every record is published or quarantined."""

import shutil

import pytest

from tests.e2e.commands import ROOT, cpcds, done, rows_of

CASE = ROOT / "tests/golden/layouts/records"


def mappings(base):
    """A folder of one's own with the layout in it."""
    (base / "layouts").mkdir(parents=True)
    shutil.copy(CASE / "layout.yaml", base / "layouts/dock.yaml")
    return base


@pytest.mark.slow
def test_records_of_one_file_have_a_quarantine_each(tmp_path):
    own = ("--mappings", mappings(tmp_path / "own"))
    done(cpcds(*own, "validate", CASE / "input", "--report", tmp_path / "report"))
    quarantine = tmp_path / "report/quarantine"
    counts = {path.name: len(rows_of(path)) for path in sorted(quarantine.glob("*.csv"))}
    assert counts == {
        "claims_0105-claims.csv": 3,
        "claims_0105-lines.csv": 4,
        "claims_0105-lines.ragged.csv": 1,
        "members.csv": 1,
        "policies-policies.csv": 1,
    }
    (ragged,) = rows_of(quarantine / "claims_0105-lines.ragged.csv")
    assert (ragged["cpcds_row"], ragged["text"]) == ("10", "20C0003002000000000 ")
