"""Traps of real dialects: a made-up row for each, and what becomes of it.

Each was seen in files that payers' exporters wrote. Rows are put behind those of the golden case,
a claim a trap, so that none can hide another.
"""

import shutil

import pytest

from tests.e2e.commands import ROOT, cpcds, done, rows_of, write_rows
from tests.given.tables import read_tables
from tests.unit.sources.dialects import known_layouts
from tests.unit.sources.extracts import all_loaded, read
from tests.unit.sources.golden import as_text

GOLDEN = ROOT / "tests/golden/layouts"
CLAIMS = "CPCDS_Claims.csv"
TRAPS = read_tables(__file__)["traps"]


@pytest.fixture(scope="module")
def layouts():
    return known_layouts()


@pytest.fixture(scope="module")
def sprung(tmp_path_factory, layouts):
    """The rows of each claim and canonical table, and the rules with a finding at each claim."""
    base = tmp_path_factory.mktemp("traps")
    folder = base / "in"
    shutil.copytree(GOLDEN / "synthea-members/input", folder)
    rows = rows_of(folder / CLAIMS)
    plain = {
        **next(row for row in rows if row["Procedure code type"] == "CPT"),
        "Diagnosis code": "I10",
        "Diagnosis code type": "ICD-10-CM",
        "Diagnosis type": "principal",
        "Service to date": "2024-03-02",
        "Line number": "1",
    }
    for trap in TRAPS:
        first = plain | {"Claim unique identifier": trap["name"]} | trap.get("cells", {})
        rows += [first | {"Line number": str(at + 1)} for at in range(trap.get("lines", 1))]
        rows += [first | other for other in trap.get("others", ())]
    write_rows(folder / CLAIMS, plain, rows)
    done(cpcds("validate", folder, "--report", base / "report", "--workers", "1"))
    rules: dict[str, set[str]] = {}
    for one in rows_of(base / "report/report/findings.csv.gz"):
        if one["file"] == CLAIMS and one["row"]:
            claim = rows[int(one["row"]) - 2]["Claim unique identifier"]
            rules.setdefault(claim, set()).add(one["rule"])
    made: dict[tuple[str, str], list[dict[str, str]]] = {}
    for loaded in all_loaded(read(folder, base / "work", layouts=layouts)):
        for name, table in loaded.tables.items():
            for row in table.to_pylist():
                made.setdefault((row.get("claim_id") or "", name), []).append(row)
    return made, rules


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap["name"])
def test_a_trap_of_synthea_is_read_or_reported(trap, sprung):
    made, rules = sprung
    name = trap["name"]
    for place, text in trap.get("becomes", {}).items():
        table, column = place.split(".")
        rows = made[name, table]
        assert [row[column] for row in rows] == [text or None] * len(rows), place
    others = trap.get("others", ())
    assert len(made[name, "claim_line"]) == trap.get("lines", 1) + len(others)
    for rule in trap.get("rules", ()):
        assert (rule.lstrip("!") in rules[name]) == (rule[0] != "!"), rule


def lines_of(folder, work, layouts):
    return sorted(as_text(read(folder, work, layouts=layouts)).splitlines())


RESPELT = read_tables(__file__)["respelt"]


def test_headers_as_other_releases_of_the_exporter_spell_them_change_no_row(tmp_path, layouts):
    source, folder = GOLDEN / "synthea-members/input", tmp_path / "in"
    shutil.copytree(source, folder)
    path = folder / CLAIMS
    header, rows = path.read_text(encoding="utf-8").split("\n", 1)
    header = ",".join(RESPELT.get(one, one) for one in header.split(","))
    path.write_text(f"{header}\n{rows}", encoding="utf-8")
    expected = lines_of(source, tmp_path / "one", layouts)
    assert lines_of(folder, tmp_path / "two", layouts) == expected
