"""Prior authorizations through the API: beside claims, and apart from them."""

import pytest

from etl.bootstrap.settings import Settings
from etl.model.logical_ids import logical_id
from tests.e2e.commands import cpcds, done
from tests.e2e.test_prior_auth_report import HEADER, KEPT
from tests.integration.test_adjustment_chains import extract
from tests.unit.gateway.trees import BASE, bundle, grant, opened, run

pytestmark = pytest.mark.slow

EOB = "ExplanationOfBenefit"
PDEX = "http://hl7.org/fhir/us/davinci-pdex/StructureDefinition/pdex-priorauthorization"
ENTERER, GIVER = "1245319599", "1555555550"
"""NPIs that nothing but the prior authorization names."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A claim of March 2024, and a prior authorization of March 2026, of one member."""
    folder = tmp_path_factory.mktemp("prior-auth")
    source = extract(folder / "extract", "full", A=("2024-03-10", "", "100.00"))
    (source / "practitioner.csv").write_text(
        "practitioner_id,npi,family_name,given_name\nDOC,1003000126,Okafor,Ada\n"
    )
    (source / "organization.csv").write_text("organization_id,kind,name\nPAY,payer,Alder\n")
    row = (
        ",PA1,M1,C1,PAY,professional,2026-03-01T08:00:00Z,2026-03-01T12:00:00Z,A1,Y,DOC,,MA,"
        f"2026-03-05,{ENTERER}\n"
    )
    (source / "prior_auth_line.csv").write_text(
        f"prior_auth_id,line_number,service_code,authorized_provider_id\nPA1,1,70551,{GIVER}\n"
    )
    (source / "prior_auth.csv").write_text(f"{HEADER},service_from_date,entered_by_id\n{row}")
    done(cpcds("run", source, "--to", folder / "target", "--workers", "1", **KEPT))
    return opened(folder / "target").service


@pytest.fixture(scope="module")
def member():
    settings = Settings()
    return logical_id(settings.payer.id, settings.id_key_bytes(), "Patient", "M1")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["preauthorization", "claim"]),
        ("use=claim", ["claim"]),
        ("use=preauthorization", ["preauthorization"]),
        (f"_profile={PDEX}", ["preauthorization"]),
        ("status=active", ["preauthorization", "claim"]),
        ("type=professional", ["preauthorization", "claim"]),
        ("type=professional&use=claim", ["claim"]),
        ("service-date=lt2025", ["claim"]),
        ("service-date=ge2026&use=preauthorization", ["preauthorization"]),
        ("service-date=2024-03&use=preauthorization", []),
        ("identifier=PA1", ["preauthorization"]),
        ("_lastUpdated=ge2000", ["preauthorization", "claim"]),
    ],
)
def test_searches_find_prior_authorizations_beside_claims(served, member, query, found):
    pairs = [one.partition("=")[::2] for one in query.split("&") if one]
    answer = run(served.search(grant(member), EOB, pairs, base=BASE, strict=True))
    assert [one["resource"]["use"] for one in bundle(answer).get("entry", [])] == found


def test_everything_has_them_and_those_whom_they_alone_name_can_be_read(served, member):
    answer = run(served.everything(grant(member), member, [], base=BASE))
    resources = [one["resource"] for one in bundle(answer)["entry"]]
    assert sorted(one["use"] for one in resources if one["resourceType"] == EOB) == [
        "claim",
        "preauthorization",
    ]
    people = {
        one["identifier"][0]["value"]: one["id"]
        for one in resources
        if one["resourceType"] == "Practitioner"
    }
    assert people.keys() == {"1003000126", ENTERER, GIVER}
    for person in people.values():
        read = run(served.read(grant(member), "Practitioner", person))
        assert person.encode() in read.body


def test_without_the_scope_of_claims_there_are_none(served, member):
    scopes = ("patient/Coverage.rs", "patient/Patient.rs")
    answer = run(served.everything(grant(member, scopes), member, [], base=BASE))
    assert EOB not in {one["resource"].get("resourceType") for one in bundle(answer)["entry"]}
