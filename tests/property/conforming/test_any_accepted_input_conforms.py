"""Whatever comes in, what goes out keeps its profile, and nothing is lost on the way."""

import pytest
from fhir.resources.R4B import get_fhir_model_class

from etl.bootstrap import opened_extract
from etl.quality.totals.counts import reconcile
from tests.e2e.commands import same_definitions
from tests.property.conforming.hostile import hostile
from tests.property.conforming.publishing import published, settings, soft

_SHARE = 25
"""One of so many resources is put to fhir.resources as well, which takes its time."""


@pytest.fixture(autouse=True)
def _made_once(monkeypatch):
    monkeypatch.setattr(opened_extract, "load_definitions", same_definitions)


def how(seed):
    """Return settings that differ from seed to seed, some of a payer who lets all through."""
    return {
        "payer": {"default_network_status": "innetwork"} if seed % 3 == 0 else {},
        "rules": {"severities": dict(soft())} if seed % 2 else {},
        "publish": {"view": "basis"} if seed % 5 == 4 else {},
    }


@pytest.mark.parametrize(
    ("seed", "copies", "changes", "least"),
    [
        (1, 15, 3, 45),
        (4, 15, 3, 45),
        # fifteen are every setting of a third with every view
        *(pytest.param(seed, 60, 6, 100, marks=pytest.mark.slow) for seed in range(100, 104)),
        *(pytest.param(seed, 60, 6, 100, marks=pytest.mark.long) for seed in range(104, 160)),
    ],
)
def test_rows_of_any_kind_become_conforming_resources_or_none(
    seed, copies, changes, least, tmp_path
):
    """Enough is published of them, and every row is accounted for."""
    rows = hostile(seed, copies, changes=changes)
    judged = published(tmp_path / "any", rows, settings(**how(seed)))
    assert judged.errors == {}
    assert judged.claims > least
    reconcile(judged.converted.processed.totals.tally.counts)
    for resource in judged.resources(_SHARE):
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def test_what_breaks_its_profile_is_a_finding_of_its_row_whatever_the_payer_softens(tmp_path):
    rows = hostile(0, 2, changes=0)
    for number in (0, 1):
        claim = next(row for row in rows["claim"] if row["claim_id"] == f"oral-{number}")
        for column in ("billing", "rendering"):
            claim.pop(f"{column}_network_status")
        claim.pop("benefit_payment_status")
        for line in rows["claim_line"]:
            if line["claim_id"] == f"oral-{number}":
                line["benefit_payment_status"] = "other" if number else "innetwork"
    judged = published(tmp_path / "oral", rows, settings(rules={"severities": dict(soft())}))
    tally = judged.converted.processed.totals.tally
    assert tally.findings["oral-without-network-status", "claim"] == 1
    assert tally.counts["claim"].quarantined == 1
    assert tally.counts["claim_line"].quarantined == 2
    assert judged.errors == {}


def test_a_rendering_provider_who_is_left_out_is_a_finding(tmp_path):
    rows = hostile(0, 1, changes=0)
    for row in rows["claim_care_team"] + rows["practitioner"]:
        if row.get("claim_id", "outpatient-0") == "outpatient-0":
            row.pop("taxonomy_code", None)
    judged = published(tmp_path / "team", rows, settings())
    tally = judged.converted.processed.totals.tally
    assert tally.findings["incomplete-row", "claim_care_team"] == 1
    assert judged.errors == {}


@pytest.mark.parametrize(
    ("severity", "quarantined"),
    [
        ("reject-claim", 1),
        pytest.param("reject-row", 1, marks=pytest.mark.slow),
        pytest.param("warn", 0, marks=pytest.mark.slow),
    ],
)
def test_a_provider_whom_a_line_alone_names_is_found_and_rejected_there(
    severity, quarantined, tmp_path
):
    rows = hostile(0, 1, changes=0)
    rows["practitioner"].append({"practitioner_id": "BARE", "family_name": "Bare"})
    line = next(row for row in rows["claim_line"] if row["claim_id"] == "outpatient-0")
    line["rendering_provider_id"] = "BARE"
    judged = published(
        tmp_path / "line", rows, settings(rules={"severities": {"incomplete-row": severity}})
    )
    tally = judged.converted.processed.totals.tally
    assert tally.findings["incomplete-row", "claim_line"] == 1
    assert tally.counts["claim_line"].quarantined >= quarantined
    assert (tally.counts["claim_line"].quarantined > 0) is (quarantined > 0)
    assert judged.errors == {}
