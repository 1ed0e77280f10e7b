"""Whole files: reading them, what shows only between resources, and the report."""

import gzip
import json
import os
from typing import Any

import pytest

from etl.conform.findings import ConformanceReport, ConformFinding, IssueSeverity, element_path
from etl.conform.population import path_of
from etl.conform.render import as_json, text_lines
from etl.conform.resource_files import Lines, file_sources
from etl.conform.run import conform
from etl.errors import UsageError
from tests.unit.conform import samples
from tests.unit.conform.samples import changed, reference, without

Json = dict[str, Any]
ALL = samples.population()


def lines(*resources):
    texts = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in resources]
    return Lines("some.ndjson", [text + b"\n" for text in texts])


def check(*resources, **options):
    return conform([lines(*resources)], **options)


def told(report):
    return [(f.line, f.path, f.rule) for f in report.findings]


def swapped(index, resource):
    return [*ALL[:index], resource, *ALL[index + 1 :]]


COVERAGE, INPATIENT = 1, 8


@pytest.mark.parametrize("whole", [True, False])
def test_a_population_that_is_whole_and_right_has_no_findings(*, whole):
    report = check(*ALL, is_complete=whole)
    assert told(report) == []
    assert report.resources.total() == len(ALL)
    assert report.profiles["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Patient|2.2.0"]


def test_the_order_of_resources_does_not_matter():
    assert told(check(*reversed(ALL), is_complete=True)) == []


def test_a_reference_that_leads_nowhere_is_found_where_it_stands():
    lost = changed(ALL[INPATIENT], "careTeam", 0, "provider", to=reference("Practitioner", "x"))
    report = check(*swapped(INPATIENT, lost))
    place = "ExplanationOfBenefit.careTeam[0].provider.reference"
    assert told(report) == [(INPATIENT + 1, place, "reference-unresolved")]


def test_a_type_that_is_not_there_at_all_is_judged_only_when_the_input_is_whole():
    rest = [r for r in ALL if r["resourceType"] != "Practitioner"]
    assert told(check(*rest)) == []
    missing = told(check(*rest, is_complete=True))
    assert [rule for _, _, rule in missing] == ["reference-unresolved"]


def test_references_to_servers_are_not_followed_and_versions_are_cut_off():
    elsewhere = {"reference": "https://example.org/fhir/Organization/x"}
    versioned = {"reference": "Organization/payer/_history/3"}
    claim = changed(changed(ALL[INPATIENT], "provider", to=elsewhere), "insurer", to=versioned)
    assert told(check(*swapped(INPATIENT, claim), is_complete=True)) == []


def test_the_same_id_twice_is_found():
    report = check(*ALL, ALL[0])
    assert told(report) == [(len(ALL) + 1, "Patient", "id-duplicate")]


def test_the_patient_must_be_the_beneficiary_of_the_coverage():
    other = changed(samples.sample("member"), "id", to="other")
    theirs = changed(ALL[COVERAGE], "beneficiary", to=reference("Patient", "other"))
    report = check(*swapped(COVERAGE, theirs), other)
    assert told(report) == [
        (INPATIENT + 1, "ExplanationOfBenefit.insurance[0].coverage", "patient-not-beneficiary")
    ]


def test_the_insurer_should_be_the_payor_of_the_focal_coverage():
    other = changed(ALL[COVERAGE], "payor", to=[reference("Organization", "hospital")])
    report = check(*swapped(COVERAGE, other))
    assert [(f.rule, f.severity) for f in report.findings] == [
        ("focal-payor", IssueSeverity.WARNING)
    ]


def test_a_bundle_is_unpacked_and_its_full_urls_are_known():
    urn = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"
    payer = without(samples.sample("payer"), "id")
    covered = changed(samples.sample("coverage"), "payor", to=[{"reference": urn}])
    broken = changed(covered, "status", to="no-such-status")
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"fullUrl": urn, "resource": payer},
            {"fullUrl": "https://example.org/Coverage/coverage", "resource": broken},
        ],
    }
    report = check(bundle)
    assert told(report) == [(1, "Bundle.entry[1].resource.status", "binding-required")]


def test_a_line_that_is_no_json_is_a_finding_and_the_rest_is_checked():
    report = check(b'{"resourceType": "Patient"', b"", b"  ", b"\xff", samples.sample("member"))
    assert told(report) == [(1, "", "json"), (4, "", "encoding")]
    assert report.resources == {"Patient": 1}
    assert report.skipped == {"json": 1, "encoding": 1}


def test_files_are_ndjson_json_or_gzip_alone_or_in_folders(tmp_path):
    text = b"".join(json.dumps(r).encode() + b"\n" for r in ALL)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "all.ndjson.gz").write_bytes(gzip.compress(text))
    (tmp_path / "index.json").write_text("{}")
    (tmp_path / "note.txt").write_text("x")
    folder = conform(file_sources([tmp_path]), is_complete=True)
    assert (folder.resources.total(), folder.errors) == (len(ALL), 0)

    alone = tmp_path / "patient.json"
    alone.write_text(json.dumps(samples.sample("member"), indent=1))
    assert conform(file_sources([alone])).resources == {"Patient": 1}
    plain = tmp_path / "deep" / "x.ndjson"
    plain.write_bytes(text)
    names = [source.name for source in file_sources([tmp_path / "deep"])]
    assert names == ["all.ndjson.gz", "x.ndjson"]


MARK = b"\xef\xbb\xbf"
PATIENT = json.dumps(ALL[0]).encode()
FILES = [
    ("a.ndjson", MARK + PATIENT + b"\n" + PATIENT, None, "byte-order-mark", "byte order mark"),
    ("a.json", MARK + PATIENT, None, "byte-order-mark", "byte order mark"),
    ("b.json", PATIENT.decode().encode("utf-16"), None, "encoding", "UTF-16"),
    ("b.ndjson", PATIENT.decode().encode("utf-16-le"), None, "encoding", "UTF-16"),
    ("c.json", b'{"resourceType": "\xe9"}', None, "encoding", "not UTF-8"),
    ("c.ndjson", PATIENT + b'\n"\xe9"', 2, "encoding", "not UTF-8"),
    ("d.json", PATIENT + b"\n" + PATIENT, None, "json", "ends in .ndjson"),
    ("e.json", b"hello", None, "json", "The file is no JSON"),
    ("e.ndjson", PATIENT + b"\nhello", 2, "json", "The line is no JSON"),
    ("f.json", b" \n", None, "json", "The file is empty"),
    ("g.json", b"null", None, "resource", "a single value"),
]


@pytest.mark.parametrize(
    ("name", "text", "line", "rule", "says"), FILES, ids=[f"{one[0]}-{one[3]}" for one in FILES]
)
def test_a_file_that_is_not_what_it_should_be_is_named_as_what_it_is(
    name, text, line, rule, says, tmp_path
):
    (tmp_path / name).write_bytes(text)
    report = conform(file_sources([tmp_path / name]))
    told_first = next(one for one in report.findings if one.rule == rule)
    assert (told_first.line, told_first.severity) == (line, IssueSeverity.ERROR)
    assert says in told_first.message


def test_what_follows_a_byte_order_mark_is_checked():
    report = check(MARK + PATIENT, *ALL[1:])
    assert told(report) == [(None, "", "byte-order-mark")]
    assert report.resources.total() == len(ALL)
    assert not report.skipped


def test_a_folder_of_single_resources_is_read_when_there_is_no_ndjson(tmp_path):
    for resource in ALL:
        name = f"{resource['resourceType']}-{resource['id']}.json"
        (tmp_path / name).write_text(json.dumps(resource))
    report = conform(file_sources([tmp_path]), is_complete=True)
    assert (report.resources.total(), report.errors) == (len(ALL), 0)


def test_what_cannot_be_read_is_one_clear_sentence(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        file_sources([tmp_path / "none.ndjson"])
    with pytest.raises(UsageError, match=r"no \.ndjson"):
        file_sources([tmp_path])
    cut = tmp_path / "cut.ndjson.gz"
    cut.write_bytes(gzip.compress(b"x" * 10_000)[:-10])
    with pytest.raises(UsageError, match="gzip is broken"):
        conform(file_sources([cut]))
    cut.write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="gzip is broken"):
        conform(file_sources([cut]))


def test_progress_is_told_after_every_source():
    seen: list[tuple[str, int]] = []
    conform(
        [Lines("a", [json.dumps(ALL[0]).encode()]), Lines("b", [])],
        progress=lambda name, count: seen.append((name, count)),
    )
    assert seen == [("a", 1), ("b", 1)]


def test_all_findings_are_counted_and_some_kept():
    broken = [
        changed(without(samples.sample("member"), "gender"), "id", to=f"p{index}")
        for index in range(5)
    ]
    report = check(*broken, keep=2)
    assert (report.errors, len(report.findings)) == (5, 2)
    assert [f.line for f in report.findings] == [1, 2]


def test_the_report_reads_as_text_and_as_json():
    report = check(without(samples.sample("member"), "gender"), b"x")
    text = list(text_lines(report))
    assert text[0].strip() == "1  error json"
    assert any("Patient.gender" in line and "error min" in line for line in text)
    assert "some.ndjson:1  Patient.gender" in [line.strip() for line in text]
    assert text[-1] == "1 resources, 2 errors, 0 warnings"
    values = json.loads(json.dumps(as_json(report)))
    assert values["errors"] == 2
    assert values["findings"][0] == {
        "file": "some.ndjson",
        "line": 1,
        "path": "Patient.gender",
        "profile": "http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Patient|2.2.0",
        "rule": "min",
        "severity": "error",
        "message": "Patient.gender is missing, and the profile requires it.",
    }


def test_a_finding_of_an_element_is_counted_whatever_its_indexes():
    assert element_path("Patient.name[0].given[12]") == "Patient.name.given"
    assert element_path("Patient.gender") == "Patient.gender"
    report = ConformanceReport(keep=1)
    for index in range(3):
        path = f"Patient.name[{index}]"
        report.add(ConformFinding("f", 1, path, "", "min", IssueSeverity.ERROR, "x"))
    assert list(report.counts.values()) == [3]


def test_the_path_of_a_reference_is_found_in_the_resource():
    value = {"a": [{"b": 1}, {"c": {"reference": "Patient/1"}}]}
    assert path_of(value, "Patient/1") == "a[1].c.reference"
    assert path_of(value, "Patient/2") == ""


@pytest.mark.parametrize("within", [False, True])
def test_pipes_devices_and_dangling_links_are_refused_and_not_waited_for(tmp_path, within):
    os.mkfifo(tmp_path / "a.ndjson")
    (tmp_path / "b.ndjson").symlink_to("/dev/zero")
    for name in ("a.ndjson", "b.ndjson"):
        with pytest.raises(UsageError, match="is no regular file"):
            file_sources([tmp_path if within else tmp_path / name])
        (tmp_path / name).unlink()
    (tmp_path / "c.ndjson").symlink_to(tmp_path / "gone.ndjson")
    with pytest.raises(UsageError, match=r"no regular file|no such file"):
        file_sources([tmp_path if within else tmp_path / "c.ndjson"])
