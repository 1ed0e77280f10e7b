"""Chains of adjustments night after night: replacements retract, and money is counted once."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from etl.bootstrap import use_cases
from etl.pipeline.progress import ignore
from etl.publish.reader import open_index, read_all
from tests.integration.nights import live

pytestmark = pytest.mark.slow

CLAIM = "professional,M1,C1,PAY,2024-03-01"
FILES = {
    "member.csv": "member_id,family_name,birth_date,gender\nM1,Doe,1980-05-06,F\n",
    "coverage.csv": "coverage_id,member_id,relationship,payer_id\nC1,M1,self,PAY\n",
    "claim.csv": "claim_id,claim_type,member_id,coverage_id,payer_id,statement_from_date,"
    "adjudication_date,adjusted_from_claim_id,amount_submitted\n",
    "claim_line.csv": "claim_id,line_number,service_from_date,service_code,amount_submitted\n",
    "claim_diagnosis.csv": "claim_id,sequence,code\n",
}


def extract(folder, kind, **claims):
    """Write an extract of claims: number -> day of adjudication, prior claim, amount."""
    folder.mkdir()
    texts = dict(FILES) if kind == "full" else {name: FILES[name] for name in list(FILES)[2:]}
    for number, (day, prior, amount) in claims.items():
        texts["claim.csv"] += f"{number},{CLAIM},{day},{prior},{amount}\n"
        texts["claim_line.csv"] += f"{number},1,2024-03-01,99213,{amount}\n"
        texts["claim_diagnosis.csv"] += f"{number},1,E11.65\n"
    if kind == "delta":  # every file is compulsory, rows are not
        texts = {**{name: FILES[name] for name in ("member.csv", "coverage.csv")}, **texts}
    for name, text in texts.items():
        (folder / name).write_text(text)
    as_of = max(day for day, _, _ in claims.values())
    manifest = {"layout": "cpcds", "kind": kind, "as_of": as_of}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def eobs(release):
    """Return what readers see of each claim, by its number."""
    found = {}
    for unit in live(release):
        for line in read_all(release.store, open_index(release.store, unit)):
            resource = json.loads(line, parse_float=Decimal)
            if resource.get("use") == "claim":
                found[resource["identifier"][0]["value"]] = resource
    return found


def related(eob):
    return [
        (one["relationship"]["coding"][0]["code"], one["reference"]["value"])
        for one in eob.get("related", ())
    ]


def findings(ran, rule):
    """Return how many findings of a rule the report states."""
    return sum(each.findings for each in ran.reported.report.rules if each.rule == rule)


def test_a_replacement_that_comes_later_cancels_the_original_and_its_money(payer, tmp_path):
    payer.run(extract(tmp_path / "one", "full", A=("2024-03-10", "", "100.00")))
    first = payer.release
    assert eobs(first)["A"]["status"] == "active"
    later = extract(tmp_path / "two", "delta", B=("2024-04-10", "A", "90.00"))
    planned = use_cases.plan_extract(payer.settings, later, ignore)
    assert planned.manifest.facts.totals["professional"]["claim.submitted"] == "90.00"
    payer.run(later)
    found = eobs(payer.release)
    assert {number: eob["status"] for number, eob in found.items()} == {
        "A": "cancelled",
        "B": "active",
    }
    assert related(found["A"]) == [("replacedby", "B")]
    assert related(found["B"]) == [("prior", "A")]
    totals = payer.release.manifest.facts.totals
    assert totals["professional"]["claim.submitted"] == "90.00"
    # Two claims changed: what they make is theirs.
    assert {each["change"] for each in planned.money} == {None}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace(",9.00", ",nine"),  # kept, and rejected again each night
        lambda line: f"{line},,,",  # not kept: nobody can say which cell is which
    ],
    ids=["unreadable amount", "ragged line"],
)
def test_what_a_rejected_claim_replaces_stays_cancelled_on_later_nights(spoil, payer, tmp_path):
    first = {"A": ("2024-03-10", "", "100.00"), "B": ("2024-04-10", "A", "9.00")}
    later = {"C": ("2024-05-10", "", "7.00")}

    def spoiled(folder):
        path = folder / "claim_line.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(spoil(x) if x.startswith("B,") else x for x in lines) + "\n")
        return folder

    payer.run(spoiled(extract(tmp_path / "one", "full", **first)))
    ran = payer.run(extract(tmp_path / "two", "delta", **later))
    assert findings(ran, "claim-successor-rejected") == 1
    statuses = {number: eob["status"] for number, eob in eobs(payer.release).items()}
    assert statuses == {"A": "cancelled", "C": "active"}
    fresh = replace(payer, target=tmp_path / "fresh")
    fresh.run(spoiled(extract(tmp_path / "three", "full", **first, **later)))
    versions = [
        {key: eob["meta"]["versionId"] for key, eob in eobs(each.release).items()}
        for each in (payer, fresh)
    ]
    assert versions[0] == versions[1]
    # The replacement comes whole.
    payer.run(extract(tmp_path / "four", "delta", B=("2024-06-10", "A", "9.00")))
    statuses = {number: eob["status"] for number, eob in eobs(payer.release).items()}
    assert statuses == {"A": "cancelled", "B": "active", "C": "active"}
