"""Real files of other layouts, end to end; skipped aloud where they are not beside the project."""

import json
import re
import shutil
from collections import Counter

import pytest

from tests.e2e.commands import ROOT, cpcds, done, published, rows_of

REAL = ROOT.parent / "shared/data/cpcds"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the project"),
]


def run(name, target):
    # Nearly all claims lack what C4BB cannot do without, and the rest is what is looked at.
    allowed = {"CPCDS_LIMITS__REJECTED_CLAIMS": "1"}
    called = done(cpcds("run", REAL / name, "--to", target, "--workers", "1", "--json", **allowed))
    return json.loads(called.out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cms-idr", {"claim": (150, 103, 47), "claim_line": (1039, 693, 346)}),
        ("cms-rif-synthea", {"claim": (107, 70, 37), "claim_line": (365, 144, 221)}),
    ],
)
def test_every_row_of_a_sample_of_cms_is_published_or_quarantined(name, counts, tmp_path):
    said = run(name, tmp_path / "tree")
    rows = {
        name: (table["in"], table["published"], table["quarantined"])
        for name, table in said["tables"].items()
    }
    assert {table: rows[table] for table in counts} == counts
    assert all(read == accepted + rejected for read, accepted, rejected in rows.values())


@pytest.mark.slow
def test_every_prior_authorization_of_a_sample_of_cms_is_published_with_all_its_segments(tmp_path):
    for table in ("PRAUC", "BENE_HSTRY", "PRVDR_HSTRY"):
        shutil.copy(REAL / f"cms-idr/SYNTHETIC_{table}.csv", tmp_path)
    said = run(tmp_path, tmp_path / "tree")
    rows = {name: (table["in"], table["published"]) for name, table in said["tables"].items()}
    assert (rows["prior_auth"], rows["prior_auth_line"]) == ((82, 82), (248, 248))
    made = [one for one in published(tmp_path / "tree") if one.get("use") == "preauthorization"]
    segments = Counter(
        (one["identifier"][0]["value"], int(item["sequence"]))
        for one in made
        for item in one["item"]
    )
    assert segments == Counter(
        (row["UTN"], int(row["CURRENT_SEGMENT"]))
        for row in rows_of(tmp_path / "SYNTHETIC_PRAUC.csv")
    )
    # Of 15 requests nothing was decided yet.
    assert Counter(one["outcome"] for one in made) == {"partial": 41, "complete": 26, "queued": 15}
    done(cpcds("conform", tmp_path / "tree"))


def quarantined(target):
    return {path.name: rows_of(path) for path in sorted(target.glob("quarantine/*/*.csv"))}


def test_all_52_claims_of_synthea_members_are_eobs_or_quarantined_with_a_reason(tmp_path):
    said = run("synthea-members-layout", tmp_path / "tree")
    counts = said["tables"]["claim"]
    assert counts["in"] == counts["published"] + counts["quarantined"] == 52
    assert said["resources"]["ExplanationOfBenefit"] == counts["published"] > 0
    number = "Claim unique identifier"
    rejected = quarantined(tmp_path / "tree")["CPCDS_Claims.csv"]
    assert all(re.fullmatch(r"[a-z0-9-]+(;[a-z0-9-]+)*", row["cpcds_rules"]) for row in rejected)
    source = rows_of(REAL / "synthea-members-layout/CPCDS_Claims.csv")
    resources = published(tmp_path / "tree")
    eobs = [one for one in resources if one["resourceType"] == "ExplanationOfBenefit"]
    became = (
        {one["identifier"][0]["value"] for one in eobs},
        {row[number] for row in rejected},
    )
    assert became[0] | became[1] == {row[number] for row in source}
    assert became[0] & became[1] == set()
    for row in rejected:
        place = int(row.pop("cpcds_row"))
        del row["cpcds_rules"]
        assert row == source[place - 2]
    # Its words never get into a code that they do not belong to.
    text = json.dumps(resources, default=str)
    assert "1969-12-31" not in text
    for word in ("home", "outp", "in", "out", "white"):
        assert f'"code": "{word}"' not in text
    assert not re.search(r'"system": "[^"]*icd-10[^"]*"[^}]*"code": "\d{6,}"', text)
    done(cpcds("conform", tmp_path / "tree"))


def test_google_bigquery_is_read_by_its_own_headers(tmp_path):
    counts = run("google-bigquery-layout", tmp_path / "tree")["tables"]["claim"]
    assert counts["in"] == 4
    assert counts["published"] + counts["quarantined"] + counts["superseded"] == 4
    done(cpcds("conform", tmp_path / "tree"))
