"""A provider directory from rows to Plan-Net: what is published, withdrawn, rejected, left out."""

import json
import random
from typing import Any

import pytest

from etl.bootstrap.inspections import extract_coverage
from etl.bootstrap.settings import read_settings
from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from tests.e2e.commands import SAMPLES, contents, cpcds, done, rows_of
from tests.e2e.directories import directory_rows, write_directory
from tests.given.tables import read_tables

Json = dict[str, Any]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The folder of the resources, and what the command says of rows."""
    folder = tmp_path_factory.mktemp("directory")
    extract = write_directory(folder / "in", directory_rows())
    told = done(cpcds("convert", extract, "--out", folder / "out", "--json"))
    return folder / "out", json.loads(told.out)


def resources(folder, kind):
    lines = (folder / f"{kind}.ndjson").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_row_has_one_of_four_fates(converted):
    tables = converted[1]["tables"]
    fates = {
        name: [one.get(fate, 0) for fate in ("in", "published", "quarantined", "withdrawn")]
        for name, one in tables.items()
    }
    assert fates == read_tables(__file__)["fates"]


def test_what_is_made_conforms(converted):
    told = cpcds("conform", converted[0])
    assert told.code == 0, told.out
    assert " 0 errors" in told.out


def test_what_is_unknown_not_published_or_private_is_left_out(converted):
    (codes,) = {
        tuple(one["coding"][0]["code"] for one in role.get("specialty", []))
        for role in resources(converted[0], "PractitionerRole")
        if role["identifier"][0]["value"] == "R1"
    }
    assert codes == ("207R00000X",)
    (plan,) = resources(converted[0], "InsurancePlan")
    assert len(plan["network"]) == 1
    assert [one.get("value") for one in plan["identifier"]] == [
        "PL1",
        "H1234-001-000",
        "abc",
        "def",
    ]
    assert "assigner" in plan["identifier"][2]
    linked = [one["name"] for one in resources(converted[0], "Location") if "partOf" in one]
    assert linked == ["Main"]  # the circle has lost the link of the greater key
    made = "".join(path.read_text("utf-8") for path in converted[0].glob("*.ndjson"))
    assert "987-65-4321" not in made
    assert "1961-02-03" not in made


def test_the_order_of_rows_decides_nothing(tmp_path, converted):
    rows = directory_rows()
    chance = random.Random(7)
    for of_table in rows.values():
        chance.shuffle(of_table)
    extract = write_directory(tmp_path / "in", rows)
    done(cpcds("convert", extract, "--out", tmp_path / "out"))
    assert {
        name: sorted((tmp_path / "out" / name).read_text("utf-8").splitlines())
        for name in contents(tmp_path / "out")
    } == {
        name: sorted((converted[0] / name).read_text("utf-8").splitlines())
        for name in contents(converted[0])
    }


def test_files_of_claims_and_of_a_directory_do_not_mix(tmp_path):
    extract = write_directory(tmp_path, directory_rows())
    (extract / "member.csv").write_text(
        "member_id,family_name,birth_date,gender\nm,n,1990-01-01,F\n"
    )
    told = cpcds("validate", extract, "--report", tmp_path / "out")
    assert told.code == 2
    assert told.sentence


def test_every_must_support_element_that_the_layout_can_feed_is_in_the_samples():
    settings = read_settings(None)
    coverage = extract_coverage(settings, SAMPLES / "directory", lambda event: None)
    assert len(coverage) == 9
    elements = [(one.profile, element) for one in coverage for element in one.elements]
    assert len(elements) > 200
    left = {(profile, one.element): one.status for profile, one in elements}
    left = {key: status for key, status in left.items() if status != "produced"}
    assert left == {
        ("plannet-Network", f"Organization.{name}"): "cannot be"
        for name in ("identifier:NPI", "telecom", "telecom.system", "telecom.value")
    }


def test_the_samples_are_clean_and_what_they_become_conforms(tmp_path):
    told = json.loads(
        done(cpcds("convert", SAMPLES / "directory", "--out", tmp_path / "out", "--json")).out
    )
    fates = {name: table.get("quarantined", 0) for name, table in told["tables"].items()}
    assert len(fates) == 13
    assert set(fates.values()) == {0}
    conformed = cpcds("conform", tmp_path / "out")
    assert conformed.code == 0, conformed.out
    assert " 0 errors" in conformed.out


@pytest.mark.slow
def test_plan_net_1_1_0_is_made_of_the_same_mappings(tmp_path):
    older = {"CPCDS_PUBLISH__PLAN_NET": "1.1.0"}
    done(cpcds("convert", SAMPLES / "directory", "--out", tmp_path / "out", **older))
    conformed = cpcds("conform", tmp_path / "out")
    assert conformed.code == 0, conformed.out
    assert " 0 errors" in conformed.out
    practitioners = resources(tmp_path / "out", "Practitioner")
    assert {one["meta"]["profile"][0].partition("|")[2] for one in practitioners} == {"1.1.0"}
    assert {"extension" in one for one in practitioners} == {False}  # practitioner-period is newer
    done(cpcds("run", SAMPLES / "directory", "--to", tmp_path / "tree", **older))
    release = open_current(LocalStore(tmp_path / "tree")).release
    searched = release.manifest.facts.mapping["search"]
    assert "period" not in searched["Practitioner"]
    assert "period" in searched["Organization"]


def test_every_planted_fault_is_found_by_its_rule(tmp_path):
    extract, out = tmp_path / "in", tmp_path / "out"
    planted = ("--directory", "--practitioners", "68", "--seed", "5", "--fault-rate", "1")
    done(cpcds("synth", *planted, "--out", extract))
    done(cpcds("validate", extract, "--report", out))
    places = ("file", "row", "column")
    found = {
        tuple(one[name] for name in (*places, "rule"))
        for one in rows_of(out / "report" / "findings.csv.gz")
    }
    ledger = [
        tuple(row[name] for name in (*places, "fault")) for row in rows_of(extract / "faults.csv")
    ]
    assert len(ledger) > 40
    assert set(ledger[1:]) - found == set()
