"""What is published says what the source says: accepted by judges, complete, to the cent."""

import json
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
