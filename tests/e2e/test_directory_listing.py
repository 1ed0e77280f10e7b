"""Who may read a provider that a claim names by a number of another kind."""

import json

import pytest

from tests.e2e.commands import copied, cpcds, done, published, rows_of, write_rows
from tests.unit.gateway.trees import BASE, grant, opened, run

NUMBER = "123-45-6789"


@pytest.mark.slow
def test_an_id_that_a_claim_alone_gives_is_shown_to_its_member_and_to_nobody_else(small, tmp_path):
    extract = copied(small, tmp_path / "extract")
    claims = rows_of(extract / "claim.csv")
    claims[0]["billing_provider_id"] = NUMBER
    write_rows(extract / "claim.csv", claims[0], claims)
    done(cpcds("run", extract, "--to", tmp_path / "tree", "--workers", "1"))
    held = published(tmp_path / "tree")
    (stub,) = (one for one in held if NUMBER in json.dumps(one.get("identifier", []), default=str))
    assert stub["resourceType"] in ("Organization", "Practitioner")
    name = f"{stub['resourceType']}/{stub['id']}"
    (claim,) = (one for one in held if one.get("provider", {}).get("reference") == name)
    patient = claim["patient"]["reference"].removeprefix("Patient/")
    (another, *_) = (
        one["id"] for one in held if one["resourceType"] == "Patient" and one["id"] != patient
    )
    service = opened(tmp_path / "tree").service
    query = [("_id", stub["id"])]
    found = {
        member: json.loads(
            run(
                service.search(grant(member), stub["resourceType"], query, base=BASE, strict=True)
            ).body
        )["total"]
        for member in (patient, another)
    }
    assert found == {patient: 1, another: 0}
