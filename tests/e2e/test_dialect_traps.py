"""Traps of real dialects: a made-up row for each, and what becomes of it.

Each was seen in files that payers' exporters wrote. Rows are put behind those of the golden case,
a claim a trap, so that none can hide another.
"""

import csv
import gzip
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.e2e.commands import ROOT, cpcds, done
from tests.unit.sources.dialects import known_layouts
from tests.unit.sources.extracts import all_loaded, read
from tests.unit.sources.golden import as_text

GOLDEN = ROOT / "tests/golden/layouts"
CLAIMS = "CPCDS_Claims.csv"
Cells = Mapping[str, str]


@dataclass(frozen=True)
class Trap:
    """A claim with a trap in it.

    Attributes:
        name: what it is about.
        cells: what its row has in place of the cells of the row that it is made from.
        becomes: canonical table and column -> what it becomes; None for absent.
        rules: findings about its rows; `!` before one that there must not be.
        lines: further rows of the claim.
    """

    name: str
    cells: Cells
    becomes: Mapping[str, str | None] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    lines: tuple[Cells, ...] = ()


TRAPS = (
    Trap("no-end", {"Claim service end date": "1969-12-31", "Service to date": "1970-01-01"},
         {"claim_line.service_to_date": None}, ("date-sentinel", "dialect-sentinel-date")),
    Trap("to-before-from", {"Service to date": "2024-02-01"}, {}, ("line-date-order",)),
    Trap("line-before-claim", {"Service (from) date": "2024-02-01"}, {}, ("line-before-claim",)),
    Trap("place-without-zero", {"Place of service code": "1"}, {}, ("lost-zero-place",)),
    Trap("revenue-without-zero", {"Revenue center code": "450"}, {}, ("lost-zero-revenue",)),
    # What was 0450 before a loader read it as octal cannot be told from 0296.
    Trap("revenue-as-octal", {"Revenue center code": "296"}, {}, ("lost-zero-revenue",)),
    Trap("codes-of-other-systems",
         {"Diagnosis code": "59621000", "Diagnosis code type": "SNOMED",
          "Procedure code": "710824005", "Procedure code type": "SNOMED",
          "National drug code": "314231"},
         {"claim_line.service_code": None, "claim_line.ndc": None},
         ("dialect-foreign-code-system", "claim-without-diagnosis")),
    Trap("npi-that-is-none", {"Claim billing provider NPI": "991234567890"},
         {"claim.billing_provider_id": "991234567890"},
         ("!npi-of-claim",)),
    Trap("totals-of-other-lines",
         {"Claim total submitted amount": "129.16", "Line submitted amount": "13016.27"}, {},
         ("total-of-lines",)),
    Trap("binary-floats",
         {"Claim total submitted amount": "32938.87000000004",
          "Line submitted amount": "22605.583604568004"},
         {"claim.amount_submitted": "32938.87", "claim_line.amount_submitted": "22605.58"},
         ("dialect-rounded-amount",)),
    Trap("negative-liability", {"Member liability": "-12.50"},
         {"claim.amount_memberliability": "-12.50"}, ("amount-negative",)),
    Trap("deductible-on-each-line",
         {"Member paid deductible": "20.00", "Line patient deductible": "20.00"},
         {"claim.amount_deductible": "20.00", "claim_line.amount_deductible": None}),
    Trap("admission-of-an-outpatient", {"Claim type": "outpatient-facility"},
         {"claim.claim_type": "outpatient", "claim.admission_date": "2024-03-01"}),
    Trap("admission-of-a-drug",
         {"Claim type": "pharmacy", "National drug code": "00071015523", "Days supply": "30",
          "DAW product selection code": "0", "Refill number": "0"},
         {"claim.claim_type": "pharmacy", "claim.discharge_date": "2024-03-02"}),
    Trap("diagnosis-only",
         {"Procedure code": "", "Procedure code type": "", "Line submitted amount": "0.00"},
         {"claim_line.service_code": None, "claim_line.amount_submitted": "0.00"}),
    Trap("75-lines", {}, {}, (), tuple({"Line number": str(n)} for n in range(2, 76))),
    Trap("one-number-twice", {"Claim type": "outpatient-facility"}, {}, ("duplicate-conflict",),
         ({"Claim type": "professional-nonclinician"},)),
)  # fmt: skip


@dataclass(frozen=True)
class Sprung:
    """What became of the traps.

    Attributes:
        rows: claim and canonical table -> its rows.
        rules: claim -> rules with a finding at one of its rows.
    """

    rows: Mapping[tuple[str, str], list[dict[str, str]]]
    rules: Mapping[str, set[str]]


@pytest.fixture(scope="module")
def layouts():
    return known_layouts()


@pytest.fixture(scope="module")
def sprung(tmp_path_factory, layouts):
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
        first = {**plain, "Claim unique identifier": trap.name, **trap.cells}
        rows += [first, *({**first, **more} for more in trap.lines)]
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
    return Sprung(made, rules)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_a_trap_of_synthea_is_read_or_reported(trap, sprung):
    for place, text in trap.becomes.items():
        table, column = place.split(".")
        rows = sprung.rows[trap.name, table]
        assert [row[column] for row in rows] == [text] * len(rows), place
    assert len(sprung.rows[trap.name, "claim_line"]) == 1 + len(trap.lines)
    for rule in trap.rules:
        assert (rule.lstrip("!") in sprung.rules[trap.name]) == (rule[0] != "!"), rule


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
