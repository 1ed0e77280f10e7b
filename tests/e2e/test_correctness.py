"""What is published says what the source says: accepted by judges, complete, to the cent."""

import json
import re
from importlib import import_module

import pytest

from tests.e2e.commands import (
    SAMPLES,
    converted,
    cpcds,
    done,
    rows_of,
)


@pytest.fixture(scope="session")
def resources(ndjson):
    return converted(ndjson)


def accepted(path, every):
    """Have fhir.resources (R4B) read every n-th resource of each kind; return how many."""
    count = 0
    for file in sorted(path.glob("*.ndjson")):
        model = getattr(import_module(f"fhir.resources.R4B.{file.stem.lower()}"), file.stem)
        for line in file.read_text(encoding="utf-8").splitlines()[::every]:
            model.model_validate_json(line)
            count += 1
    return count


@pytest.mark.parametrize("every", [25, pytest.param(1, marks=pytest.mark.slow)])
def test_fhir_resources_accepts_resources_of_every_type(ndjson, every):
    assert accepted(ndjson, every) >= len(converted(ndjson)) // every > 40


def test_every_claim_of_the_samples_is_converted_and_every_resource_conforms(ndjson, resources):
    """Among what is an error are references that lead nowhere."""
    called = done(cpcds("conform", ndjson, "--json"))
    report = json.loads(called.out)
    assert report["errors"] == 0
    assert sum(report["resources"].values()) == len(resources)
    claims = [one["identifier"][0]["value"] for one in resources if one.get("use") == "claim"]
    assert sorted(claims) == sorted(row["claim_id"] for row in rows_of(SAMPLES / "claim.csv"))


def references(node):
    match node:
        case dict():
            for key, value in node.items():
                if key == "reference" and isinstance(value, str):
                    yield value
                else:
                    yield from references(value)
        case list():
            for value in node:
                yield from references(value)
        case _:
            return


def test_no_member_id_is_in_a_reference_or_id(resources):
    members = {row["member_id"] for row in rows_of(SAMPLES / "member.csv")}
    assert members
    assert resources
    for one in resources:
        for text in (one["id"], *references(one)):
            assert not any(member in text for member in members)
            assert re.fullmatch(r"([A-Za-z]+/)?[a-z2-7]{32}|#.+", text)
