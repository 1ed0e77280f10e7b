"""Traps of real dialects: a made-up row for each, and what becomes of it.

Each was seen in files that payers' exporters wrote. Rows are put behind those of the golden case,
a claim a trap, so that none can hide another.
"""

import csv
import gzip
import re
import shutil

import pytest

from tests.e2e.commands import ROOT, cpcds, done
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
    with (folder / CLAIMS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
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
    with (folder / CLAIMS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(plain), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    done(cpcds("validate", folder, "--report", base / "report", "--workers", "1"))
    rules: dict[str, set[str]] = {}
    with gzip.open(base / "report/report/findings.csv.gz", "rt", encoding="utf-8") as file:
        for one in csv.DictReader(file):
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


RESPELT = {
    "Claim received date": "Claim recieved date",
    "Claim type": "Claim type code",
    "Line discount amount": "Line discount",
    "Plan reported brand generic code": "Plan reported brand-generic code",
    "Claim source inpatient admission code": "Claim inpatient source admission code",
}


def respelt(text):
    """Headers as other releases of the exporter spell them."""
    header, rows = text.split("\n", 1)
    return ",".join(RESPELT.get(one, one) for one in header.split(",")) + "\n" + rows


def sanitised(text):
    """Headers as a database takes them."""
    header, rows = text.split("\n", 1)
    return re.sub(r"[^\w,]", "_", header) + "\n" + rows


@pytest.mark.parametrize(
    "rewritten",
    [
        respelt,
        sanitised,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: re.sub(",(?=,)", ", ", text),
    ],
    ids=["headers-respelt", "headers-with-underscores", "crlf", "byte-order-mark", "blank-cells"],
)
def test_another_way_of_writing_changes_no_row(rewritten, tmp_path, layouts):
    source, folder = GOLDEN / "synthea-members/input", tmp_path / "in"
    shutil.copytree(source, folder)
    path = folder / CLAIMS  # of a set of files this one alone
    path.write_bytes(rewritten(path.read_text(encoding="utf-8")).encode())
    expected = lines_of(source, tmp_path / "one", layouts)
    assert lines_of(folder, tmp_path / "two", layouts) == expected
    assert any("Z\\u00e1rate" in line for line in expected)
