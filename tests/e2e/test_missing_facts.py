"""A run's last lines name what its source lacks."""

import json

import pytest

from tests.e2e.commands import ROOT, cpcds, done

SYNTHEA = ROOT / "tests/golden/layouts/synthea-members/input"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "option"), [("validate", "--report"), ("convert", "--out"), ("run", "--to")]
)
def test_empty_crosswalks_and_missing_cells_are_named_with_their_counts(command, option, tmp_path):
    def said(*more):
        target = tmp_path / ("json" if more else "text")
        arguments = (command, SYNTHEA, option, target, "--workers", "1", *more)
        limits = {"CPCDS_LIMITS__REJECTED_CLAIMS": "1", "CPCDS_LIMITS__UNOWNED_ROWS": "1"}
        return done(cpcds(*arguments, **limits)).out

    lacking = json.loads(said("--json"))["rejected"]
    counts = {one["crosswalk"]: one["cells"] for one in lacking["empty_crosswalks"]}
    assert counts.keys() == {
        "layouts/rxnorm-ndc",
        "layouts/snomed-icd-10-cm",
        "layouts/snomed-service-codes",
    }
    lines = said().splitlines()
    for name, cells in counts.items():
        (line,) = [line for line in lines if line.startswith(f"{name} is empty")]
        assert line.split()[-1] == str(cells)
    for one in lacking["missing"]:
        assert any(one["rule"] in line and line.endswith(f" {one['cells']}") for line in lines)
    assert "docs/layouts.md says which" in " ".join(lines)
