"""The last lines of a validation name what its source lacks."""

import json

import pytest

from tests.e2e.commands import ROOT, cpcds, done

SYNTHEA = ROOT / "tests/golden/layouts/synthea-members/input"


@pytest.mark.slow
def test_empty_crosswalks_and_missing_cells_are_named_with_their_counts(tmp_path):
    command = ("validate", SYNTHEA, "--report", tmp_path, "--workers", "1")
    lacking = json.loads(done(cpcds(*command, "--json")).out)["rejected"]
    counts = {one["crosswalk"]: one["cells"] for one in lacking["empty_crosswalks"]}
    assert counts.keys() == {
        "layouts/rxnorm-ndc",
        "layouts/snomed-icd-10-cm",
        "layouts/snomed-service-codes",
    }
    lines = done(cpcds(*command)).out.splitlines()
    for name, cells in counts.items():
        (line,) = [line for line in lines if line.startswith(f"{name} is empty")]
        assert line.split()[-1] == str(cells)
    for one in lacking["missing"]:
        assert any(one["rule"] in line and line.endswith(f" {one['cells']}") for line in lines)
    assert "docs/layouts.md says which" in " ".join(lines)
