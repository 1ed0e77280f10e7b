"""A provider directory as releases of a target of its own."""

import gzip
import json
import re

import pytest

from tests.e2e.commands import (
    ANY_CHANGE,
    HEADER,
    SAMPLES,
    cpcds,
    current_manifest,
    done,
    rows_of,
)
from tests.e2e.directories import directory_rows, write_directory
from tests.given.tables import read_tables

KEEPS = {"CPCDS_PUBLISH__DELTAS": "true"}


def synth(out, *more):
    done(cpcds("synth", "--directory", "--practitioners", "70", "--seed", "7", *more, "--out", out))
    return out


def seen(target):
    """Return the resources that readers see by type and id."""
    shards = current_manifest(target)["directory"]["shards"]
    assert shards
    lines = [
        json.loads(line)
        for shard in shards
        for line in gzip.decompress((target / shard["block"]).read_bytes()).splitlines()
    ]
    resources = [one for one in lines if one["resourceType"] != HEADER]
    return {f"{one['resourceType']}/{one['id']}": one for one in resources}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """A target with day 0 and the delta of day 1, the folder of extracts, and the first release."""
    folder = tmp_path_factory.mktemp("nights")
    target = folder / "target"
    done(cpcds("run", synth(folder / "day0"), "--to", target, **KEEPS))
    first = str(current_manifest(target)["release"])
    delta = synth(folder / "delta", "--kind", "delta", "--day", "1")
    done(cpcds("run", delta, "--to", target, **KEEPS))
    return target, folder, first


def test_a_release_is_whole_and_conforms(nights):
    target = nights[0]
    assert "no problems found" in done(cpcds("verify", target)).out
    conformed = done(cpcds("conform", target)).out
    assert " 0 errors" in conformed
    types = {name.partition("/")[0] for name in seen(target)}
    assert types == {
        *("Endpoint", "HealthcareService", "InsurancePlan", "Location", "Organization"),
        *("OrganizationAffiliation", "Practitioner", "PractitionerRole"),
    }
    mapping = current_manifest(target)["mapping"]
    assert (mapping["set"], mapping["model"]) == ("plan-net", "directory")


@pytest.mark.slow
def test_a_delta_publishes_what_the_full_extract_of_its_day_does(nights, tmp_path):
    target = nights[0]
    for name, more in (("day0", ()), ("day1", ("--day", "1"))):
        done(cpcds("run", synth(tmp_path / name, *more), "--to", tmp_path / "target"))
    assert seen(tmp_path / "target") == seen(target)
    before = current_manifest(tmp_path / "target")
    done(cpcds("run", tmp_path / "day1", "--to", tmp_path / "target"))
    assert current_manifest(tmp_path / "target") == before  # the same again is no release


@pytest.mark.slow
def test_claims_and_a_directory_never_share_a_target(nights, tmp_path):
    target, folder, _ = nights
    before = current_manifest(target)
    claims = tmp_path / "claims"
    done(cpcds("synth", "--members", "1", "--out", tmp_path / "members"))
    done(cpcds("run", tmp_path / "members", "--to", claims))
    for extract, to, sentence in (
        (SAMPLES, target, f"{target} contains a provider directory, but this would be claims"),
        (folder / "day0", claims, f"{claims} contains claims, but this would be a provider dir"),
    ):
        for more in ((), ("--dry-run",)):
            told = cpcds("run", extract, "--to", to, *more, **ANY_CHANGE)
            assert (told.code, sentence in told.sentence) == (2, True), told.sentence
    assert current_manifest(target) == before
    for given, sentence in (
        (target, "a provider directory, and is served beside claims as serve.directory"),
        (claims, "claims, and serve.directory (--directory) takes a target with a provider dir"),
    ):
        told = cpcds("serve", given, "--directory", given, "--port", "0")
        assert (told.code, sentence in told.sentence) == (2, True), told.sentence


def test_another_version_of_the_guide_is_refused(nights):
    target, folder, _ = nights
    older = {"CPCDS_PUBLISH__PLAN_NET": "1.1.0"}
    sentence = "contains Plan-Net 1.2.0, but this would be 1.1.0"
    for command in (
        ("run", folder / "day0", "--to", target),
        ("explain", target, "Practitioner/x", "--extract", folder / "day0"),
    ):
        told = cpcds(*command, **older, **ANY_CHANGE)
        assert (told.code, sentence in told.sentence) == (2, True), told.sentence


def test_a_resource_is_traced_to_its_row(tmp_path):
    target = tmp_path / "target"
    done(cpcds("run", SAMPLES / "directory", "--to", target, **KEEPS))
    done(cpcds("convert", SAMPLES / "directory", "--out", tmp_path / "out"))
    lines = (tmp_path / "out/Practitioner.ndjson").read_text("utf-8").splitlines()
    made = json.loads(lines[5])
    key = made["identifier"][-1]["value"]  # the payer's own comes last
    rows = rows_of(SAMPLES / "directory/practitioner.csv")
    number = next(at for at, row in enumerate(rows, 2) if row["practitioner_id"] == key)
    told = done(cpcds("explain", target, f"Practitioner/{made['id']}", "name[0].family")).out
    assert "the published resource is the same" in told
    assert f"practitioner.csv row {number}, directory_practitioner.family_name" in told


def test_a_plan_shows_what_a_run_would_do(nights, tmp_path):
    extract = synth(tmp_path / "day2", "--day", "2")
    told = json.loads(done(cpcds("run", extract, "--to", nights[0], "--dry-run", "--json")).out)
    assert told["resources"]["PractitionerRole"]["changed"] > 0
    assert current_manifest(nights[0])["parent"] == nights[2]


@pytest.mark.slow
def test_a_difference_shows_who_joined_left_and_moved_by_network_and_plan(tmp_path):
    target, rows = tmp_path / "target", directory_rows()
    rows["organization"] += [{"organization_id": "H4", "type": "prvgrp", "name": "Group"}]
    rows["network"][2]["payer_id"] = "P1"  # N3, "Of nobody", of the plan Gold
    rows["practitioner"] += [{"practitioner_id": "D3", "family_name": "Poe", "npi": "1679576722"}]
    rows["provider_role"] += [{"role_id": "R5", "practitioner_id": "D3", "network_ids": "N2"}]
    done(cpcds("run", write_directory(tmp_path / "before", rows), "--to", target))
    rows["provider_role"][0]["organization_id"] = "H4"  # Doe, in N1 and N2
    rows["provider_role"][-1]["network_ids"] = "N3"
    rows["affiliation"] = [{"affiliation_id": "A1", "participating_organization_id": "H4"}]
    rows["affiliation"][0]["network_ids"] = "N1"
    extract = write_directory(tmp_path / "after", rows)
    page = tmp_path / "plan.html"
    planned = done(cpcds("run", extract, "--to", target, "--dry-run", "--html", page)).out
    first = str(current_manifest(target)["release"])
    done(cpcds("run", extract, "--to", target))
    told = done(cpcds("diff", target, first, "current")).out
    shown = read_tables(__file__)["difference"]
    assert shown in told
    assert shown in planned
    assert "<td>Poe</td><td>1679576722</td><td>left</td>" in page.read_text("utf-8")
    found = json.loads(done(cpcds("diff", target, first, "current", "--json")).out)
    assert [one["name"] for one in found["networks"]] == ["Of nobody", "Premium", "Standard"]
    (left,) = found["networks"][2]["left"]
    assert (left["name"], left["after"][0]["name"]) == ("Poe", "Of nobody")
    assert [len(one["added"]) for one in found["plans"]] == [2]


@pytest.mark.slow
def test_output_speaks_of_the_resources_and_rows_of_a_directory(nights, tmp_path):
    target, _, first = nights
    second = str(current_manifest(target)["release"])
    size = len(seen(target))
    pages = [tmp_path / f"{name}.html" for name in ("diff", "plan", "runs")]
    night = synth(tmp_path / "day2", "--day", "2")
    rows = sum(len(path.read_text("utf-8").splitlines()) - 1 for path in night.glob("*.csv"))
    faulty = synth(tmp_path / "faulty", "--fault-rate", "1")
    log = tmp_path / "run.log"
    told = {
        "releases": cpcds("releases", target),
        "diff": cpcds("diff", target, first, second, "--html", pages[0]),
        "plan": cpcds("run", night, "--to", target, "--dry-run", "--html", pages[1]),
        "run": cpcds("run", night, "--to", tmp_path / "target", "--log", log),
        "history": cpcds("history", tmp_path / "target", "--html", pages[2]),
        "verify": cpcds("verify", tmp_path / "target"),
        "validate": cpcds("validate", faulty, "--report", tmp_path / "report"),
        "convert": cpcds("convert", faulty, "--out", tmp_path / "converted"),
    }
    texts = {name: one.out for name, one in told.items()} | {"log": log.read_text("utf-8")}
    texts |= {page.name: page.read_text("utf-8") for page in pages}
    for name, text in texts.items():
        for word in ("members", "claim", "money", "Money", "every cent"):
            assert word not in text.replace("no member data", ""), f"{name}: {word}"
    assert f"full, {size:,} resources: {size:,} added, 0 changed, 0 retracted" in texts["releases"]
    for name in ("run", "history", "log"):
        assert f"0 of {rows:,} rows" in texts[name], name
    for name in ("validate", "convert"):
        assert re.search(r"rejected by \(first cause\) +rows\n", texts[name])
        assert re.search(r"[1-9]\d* of [\d,]+ rows are in quarantine", texts[name])
