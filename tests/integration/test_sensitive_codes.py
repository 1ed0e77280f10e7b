"""Codes of the payer's value set: in no byte that is published, and counted in the report."""

import csv
import gzip
import json
import re
from pathlib import Path

import pytest

from etl.bootstrap.inspections import conform_to_guide
from tests.e2e.commands import SAMPLES, copied, rows_of
from tests.integration.nights import Payer, blocks, worked_on

pytestmark = pytest.mark.slow

SENSITIVE = Path(__file__).with_name("sensitive_codes.csv")
CODES = {
    "M25.561", "M25561", "N18.6", "N186", "Z00.129", "Z00.00", "B2111ZZ", "139", "90999", "99203",
    "D0120", "Q4081", "00907010777", "00901020151", "00905030150", "0821", "0250",
}  # fmt: skip
MASKED = {
    "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "version": "1.0.0",
    "code": "masked",
    "display": "Masked",
}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sensitive")
    with pytest.MonkeyPatch.context() as patch:
        payer = Payer(folder / "out", patch, {"claims": {"sensitive_codes": SENSITIVE}})
        payer.run(SAMPLES)
        yield payer


def texts(value):
    """Yield every text inside a JSON value, keys as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts(one)


def published(payer):
    """Yield name and content of every file of the target but the quarantine."""
    for name, data in payer.files().items():
        if not name.startswith("quarantine/"):
            content = gzip.decompress(data) if name.endswith(".gz") else data
            yield name, content.decode("utf-8", "replace")


def test_no_published_file_holds_a_sensitive_code(night):
    word = re.compile(r"[0-9A-Za-z.]+")
    kinds = set()
    for name, content in published(night):
        kinds.add(name.partition("/")[0])
        if not name.endswith((".ndjson.gz", ".json")):
            continue
        for line in content.splitlines() if name.endswith(".gz") else [content]:
            for text in texts(json.loads(line)):
                found = CODES & set(word.findall(text))
                assert not found or text.isdigit(), (name, found)
            assert not re.search(rf'"code":"({"|".join(map(re.escape, CODES))})"', line), name
    assert {"patients", "bulk", "directory", "catalog", "reports", "releases"} <= kinds
    pages = [text for name, text in published(night) if name.endswith(".html")]
    distinct = {code for code in CODES if not code.isdigit() or len(code) == 11}
    assert pages
    assert not any(code in page for page in pages for code in distinct)


def eobs(payer):
    for name, content in published(payer):
        if name.startswith("patients/") and name.endswith(".ndjson.gz"):
            for line in content.splitlines():
                resource = json.loads(line)
                if resource["resourceType"] == "ExplanationOfBenefit":
                    yield resource


@pytest.mark.parametrize("use", ["claim", "preauthorization"])
def test_a_masked_diagnosis_says_so_and_keeps_its_place(night, use):
    masked = [
        diagnosis
        for eob in eobs(night)
        for diagnosis in eob.get("diagnosis", ())
        if eob["use"] == use and MASKED.items() >= code_of(diagnosis).items()
    ]
    assert masked
    assert all(diagnosis["type"] and diagnosis["sequence"] for diagnosis in masked)


def code_of(diagnosis):
    (coding,) = diagnosis["diagnosisCodeableConcept"]["coding"]
    return coding


def test_a_claim_whose_profile_cannot_do_without_the_code_is_withheld(night):
    claims = {row["claim_id"]: row for row in rows_of(SAMPLES / "claim.csv")}
    held = set()
    for line in rows_of(SAMPLES / "claim_line.csv"):
        claim = claims[line["claim_id"]]
        if (
            (claim["claim_type"] == "professional" and line["service_code"] == "99203")
            or (claim["claim_type"] == "inpatient" and line["revenue_code"] == "0250")
            or (
                claim["claim_type"] == "pharmacy"
                and claim["compound_code"] != "2"
                and line["ndc"] == "00907010777"
            )
        ):
            held.add(line["claim_id"])
    claims_made = [eob for eob in eobs(night) if eob["use"] == "claim"]
    numbers = {eob["identifier"][0]["value"] for eob in claims_made}
    assert held
    assert numbers == claims.keys() - held
    (report,) = [
        json.loads(text) for name, text in published(night) if name.endswith("/report.json")
    ]
    assert report["tables"]["claim"]["quarantined"] == len(held)
    told = {rule["rule"]: rule for rule in report["rules"]}
    assert told["sensitive-code-required"]["severity"] == "reject-claim"
    codes = [row["code"] for row in rows_of(SAMPLES / "claim_diagnosis.csv")]
    diagnoses = sum(code in ("N18.6", "M25.561") or code.startswith("Z00") for code in codes)
    assert told["sensitive-code"]["tables"]["claim_diagnosis"] == diagnoses
    assert report["money"]
    assert all(line["adds_up"] for line in report["money"])


def test_what_is_published_conforms_to_its_profiles(night):
    report = conform_to_guide([str(night.target)], profiles=(), strict=False)
    assert report.errors == 0


def test_texts_and_notes_go_with_a_code(night):
    for eob in eobs(night):
        if json.dumps(MASKED, separators=(",", ":")) in json.dumps(eob, separators=(",", ":")):
            assert "processNote" not in eob
            for item in eob["item"]:
                assert item["productOrService"].get("text") in (None, "masked")


def test_a_rejected_row_that_is_new_masks_its_claim_the_next_night(tmp_path, monkeypatch):
    extract = copied(SAMPLES, tmp_path / "extract")
    payer = Payer(tmp_path / "out", monkeypatch, {"claims": {"sensitive_codes": SENSITIVE}})
    payer.run(extract)
    claim_id, text = next(
        (eob["identifier"][0]["value"], eob["processNote"][0]["text"])
        for eob in eobs(payer)
        if eob.get("processNote")
    )
    with (extract / "claim_diagnosis.csv").open(newline="") as file:
        header = next(csv.reader(file))
    row = {"claim_id": claim_id, "sequence": "99", "code": "N18 6", "icd_version": "11"}
    with (extract / "claim_diagnosis.csv").open("a", newline="") as file:
        csv.DictWriter(file, header).writerow(row)
    processed, reused = worked_on(payer, extract)
    assert (processed, reused > 0) == (1, True)
    blocks_now = {f"{key}" for key in blocks(payer.release).values()}
    current = [
        line
        for name, content in published(payer)
        if any(name in key for key in blocks_now)
        for line in content.splitlines()
        if claim_id in line
    ]
    assert current
    assert not any(text in line for line in current)
