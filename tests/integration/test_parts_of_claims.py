"""Deltas with rows that are parts of a claim's row: they end where a full extract does."""

import json
from dataclasses import replace

import pytest

from etl.errors import DataRejected, UsageError
from tests.given.tables import read_tables
from tests.integration.nights import blocks
from tests.integration.test_adjustment_chains import eobs

pytestmark = pytest.mark.slow

TABLES = read_tables(__file__)


@pytest.fixture
def own(payer, tmp_path):
    """Return a payer with the layout of a payer's own, which makes claims from their lines."""
    (tmp_path / "own/layouts").mkdir(parents=True)
    (tmp_path / "own/layouts/lines.yaml").write_text(TABLES["layout"])
    payer.changed = {**payer.changed, "mappings": [str(tmp_path / "own")]}
    return payer


def write(folder, kind, day, layout="cpcds", **files):
    """Write an extract: the name of each file and its lines."""
    folder.mkdir()
    for name, lines in files.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    manifest = {"layout": layout, "kind": kind, "as_of": day}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def diagnoses(payer):
    """Return the codes of each claim's diagnoses, in order."""
    return {
        number: [one["diagnosisCodeableConcept"]["coding"][0]["code"] for one in eob["diagnosis"]]
        for number, eob in eobs(payer.release).items()
    }


@pytest.mark.parametrize("case", TABLES["nights"], ids=lambda case: case["name"])
def test_a_delta_ends_where_a_full_extract_of_its_day_does(payer, tmp_path, case):
    first = {**TABLES["first"], **case.get("first", {})}
    payer.run(write(tmp_path / "full", "full", "2026-01-01", **first))
    payer.run(write(tmp_path / "delta", "delta", "2026-01-02", **case["delta"]))
    loaded = replace(payer, target=tmp_path / "loaded")
    loaded.run(write(tmp_path / "last", "full", "2026-01-02", **{**first, **case["last"]}))
    assert diagnoses(payer) == diagnoses(loaded) == case["diagnoses"]
    totals = [one.release.manifest.facts.totals for one in (payer, loaded)]
    assert totals[0] == totals[1]


def test_a_layout_that_makes_claims_from_lines_replaces_whole_claims(own, tmp_path):
    head, *lines = TABLES["lines"]
    own.run(write(tmp_path / "full", "full", "2026-01-01", "lines", lines=[head, *lines]))
    assert diagnoses(own) == {"B1": ["E11.9", "I10", "R51.9"]}
    corrected = [head, *(line.replace("E119", "I10") for line in lines)]
    own.run(write(tmp_path / "delta", "delta", "2026-01-02", "lines", lines=corrected))
    assert diagnoses(own) == {"B1": ["I10", "R51.9"]}
    before = blocks(own.release)
    with pytest.raises(DataRejected, match="lacks 2 lines of the claims that it changes"):
        own.run(write(tmp_path / "part", "delta", "2026-01-03", "lines", lines=[head, lines[2]]))
    assert blocks(own.release) == before


def test_a_delta_whose_layout_numbers_rows_of_a_file_of_their_own_is_refused(own, tmp_path):
    layouts = tmp_path / "own/layouts"
    changed = TABLES["layout"].replace("claim_diagnosis: { from: lines", TABLES["apart"])
    changed = changed.replace("tables:\n", TABLES["codes"], 1)
    (layouts / "lines.yaml").write_text(changed)
    files = {"lines": TABLES["lines"], "codes": ["CLM,MBR,DX", "B1,M1,I10"]}
    own.run(write(tmp_path / "full", "full", "2026-01-01", "lines", **files))
    with pytest.raises(UsageError, match=r"numbers the rows of claim_diagnosis, .* from codes"):
        own.run(write(tmp_path / "delta", "delta", "2026-01-02", "lines", **files))
