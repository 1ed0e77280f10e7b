"""What the public directory makes of an extract in which claims name providers by other numbers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.commands import copied, cpcds, done, published, rows_of, write_rows
from tests.unit.gateway.trees import BASE, grant, opened, run

NUMBER = "123-45-6789"


def test_an_id_that_a_claim_alone_gives_is_shown_to_its_member_and_to_nobody_else(
    small: Path, tmp_path: Path
) -> None:
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
    service = opened(tmp_path / "tree")
    everybody = grant("", ("patient/*.rs",))
    kinds = ("Organization", "Practitioner", "PractitionerRole", "Location")
    answers = [
        run(service.directory.search(everybody, kind, [("_count", "100")], base=BASE, strict=True))
        for kind in kinds
    ]
    shown = {
        f"{kind}/{entry['resource']['id']}"
        for kind, answer in zip(kinds, answers, strict=True)
        for entry in json.loads(answer.body)["entry"]
    }
    listed = {f"{one['resourceType']}/{one['id']}" for one in held if one["resourceType"] in kinds}
    assert shown == listed - {name}
    assert not any(NUMBER.encode() in answer.body for answer in answers)
    found = run(service.service.search(
        grant(patient), stub["resourceType"], [("identifier", NUMBER)], base=BASE, strict=True
    ))  # fmt: skip
    assert json.loads(found.body)["total"] == 1
