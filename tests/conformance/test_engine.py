"""HL7's own engine finds the guide's examples sound and the broken ones broken."""

import gzip
import json
import re
import shutil

import pytest

from conformance import run
from conformance.definitions import lay_out
from conformance.engine import GUIDE, HERE, EngineIssue, UnavailableError
from etl.conform.findings import FIXED_RULES
from tests.golden.mapping.test_cases import CASES, FILES
from tests.unit.conform import samples

ROOT = HERE.parent
DOC = ROOT / "docs" / "conformance.md"


def lines(count, profile="C4BB-Patient"):
    meta = samples.meta(profile)
    return [
        json.dumps({"resourceType": "Patient", "id": str(number), "meta": meta}).encode()
        for number in range(count)
    ]


def test_a_sample_is_spread_over_the_input_and_the_same_every_time():
    many = [*lines(1_000), *lines(3, "C4BB-Practitioner")]
    first, again = run.sampled(many, 10), run.sampled(many, 10)
    assert [s.lines for s in first.values()] == [s.lines for s in again.values()]
    patients = first["C4BB-Patient"]
    assert (len(patients.lines), patients.total) == (10, 1_000)
    numbers = [int(json.loads(line)["id"]) for line in patients.lines]
    assert numbers == sorted(numbers)
    assert max(numbers) > 500
    assert len(first["C4BB-Practitioner"].lines) == 3


def test_every_resource_is_taken_when_all_are_wanted():
    assert len(run.sampled(lines(100), None)["C4BB-Patient"].lines) == 100


def test_resources_are_read_from_plain_and_gzipped_files_below_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.ndjson").write_bytes(b"\n".join(lines(2)) + b"\n")
    (tmp_path / "y.ndjson.gz").write_bytes(gzip.compress(b"\n".join(lines(3)) + b"\n"))
    (tmp_path / "z.json").write_text("{}")
    assert len(list(run.resources([tmp_path]))) == 5


def test_a_missing_tool_is_a_skip_that_is_said_aloud(monkeypatch, capsys):
    def missing(guide):
        del guide
        raise UnavailableError("java is not installed")

    monkeypatch.setattr(run, "prepare", missing)
    assert run.main(["--self-test"]) == 0
    assert capsys.readouterr().out == "conformance: SKIPPED, java is not installed\n"
    assert run.main(["--self-test", "--require"]) == 2


def test_an_error_or_an_unexplained_warning_fails_and_an_explained_one_does_not(tmp_path, capsys):
    path = tmp_path / "C4BB-Patient.ndjson"
    files = {path: run.Sample("C4BB-Patient", lines(1), 1)}

    def issue(severity, rule):
        return EngineIssue(str(path), 1, severity, "Patient", rule, "text")

    assert run.summary(files, [issue("warning", "Terminology_TX_ValueSet_NotFound")])
    assert run.summary(files, [issue("information", "whatever")])
    assert not run.summary(files, [issue("warning", "Something_New")])
    assert not run.summary(files, [issue("error", "Validation_VAL_Profile_Minimum")])
    assert "NOT EXPLAINED" in capsys.readouterr().out


def test_every_rule_of_the_checker_is_documented():
    text = DOC.read_text("utf-8")
    sources = [path.read_text("utf-8") for path in (ROOT / "etl" / "conform").glob("*.py")]
    called = re.compile(r'(?:error|Rule)\(\s*"([a-z0-9-]+)"')
    rules = {rule for source in sources for rule in called.findall(source)} | set(FIXED_RULES)
    rules |= {"binding-required", "binding-extensible", "slice-min", "slice-max", "min", "max"}
    assert len(rules) > 25
    assert sorted(rule for rule in rules if f"`{rule}`" not in text) == []


@pytest.mark.shared
@pytest.mark.skipif(not GUIDE.is_dir(), reason="the guide's definitions are not beside the repo")
def test_definitions_are_the_guide_s_and_value_sets_from_the_facts(tmp_path):
    lay_out(GUIDE, tmp_path)
    found = [json.loads(p.read_text()) for p in tmp_path.rglob("*.json")]
    by_url = {(r["url"], r.get("version")): r for r in found}
    claim_type = by_url["http://terminology.hl7.org/CodeSystem/claim-type", "1.0.1"]
    assert {"institutional", "oral", "pharmacy", "professional", "vision"} <= {
        concept["code"] for concept in claim_type["concept"]
    }
    c4bb, pdex = (
        list((tmp_path / guide).glob("StructureDefinition-*"))
        for guide in ("carin-bb", "davinci-pdex")
    )
    assert (len(c4bb), len(pdex)) == (22, 36)
    detail = "http://hl7.org/fhir/us/davinci-pas/StructureDefinition/extension-itemAuthorizedDetail"
    elements = by_url[detail, "2.2.1"]["snapshot"]["element"]
    slices = [element["sliceName"] for element in elements if "sliceName" in element]
    assert slices == ["productOrServiceCode", "modifier", "unitPrice", "quantity"]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not GUIDE.is_dir(), reason="the guide's definitions are not beside the repo")
@pytest.mark.skipif(
    shutil.which("java") is None or shutil.which("mvn") is None, reason="no Java or no Maven here"
)
def test_the_engine_agrees_that_hand_written_resources_and_prior_authorizations_conform(
    tmp_path, capsys
):
    text = "".join(json.dumps(resource) + "\n" for resource in samples.population())
    text += "".join((CASES / "prior-auth" / name).read_text("utf-8") for name in FILES.values())
    (tmp_path / "all.ndjson").write_text(text, "utf-8")
    code = run.main([str(tmp_path), "--all", "--compare"])
    told = capsys.readouterr().out
    if "SKIPPED" in told:
        pytest.skip(told.strip())
    assert "agree on 20 of 20 resources" in told
    assert code == 0, told
