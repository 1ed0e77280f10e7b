"""HL7's own engine finds no fault in what the server says of itself, of errors and of accesses.

What it serves of members is judged where it is written (`make conformance`).
"""

import asyncio
import json
import re
from dataclasses import replace

import pytest

from conformance.engine import UnavailableError, judge, prepare
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import stand_up
from tests.unit.gateway.calls import served
from tests.unit.gateway.trees import LISTED, busiest, opened, sample_tree

pytestmark = [pytest.mark.slow, pytest.mark.shared]

EOB = "/fhir/ExplanationOfBenefit"
KNOWN = re.compile(r"Sub-extension url '(introspect|revoke)' is not defined by the Extension \S+")
"""The engine has SMART's first `oauth-uris`. ONC's testers pass over the same two sentences."""


def told():
    """Statements, errors, and Bundles without resources of members."""
    server = served(opened(sample_tree(), listed=sample_tree(LISTED)))
    answers = [server.call(f"/{base}/metadata", token=None) for base in ("fhir", "directory")]
    answers += [server.call(path) for path in ("/fhir/Claim", f"{EOB}?type=|", f"{EOB}/unknown")]
    answers += [
        server.call(EOB, token=None),
        server.call(f"{EOB}?_count=0"),
        server.call(f"{EOB}?type=none&x=1"),
    ]
    return [json.dumps(one.json).encode() for one in answers]


def taken_down(folder):
    """The audit trail of a launch, a refresh, a revocation, and accesses of every kind."""
    with stand_up(folder) as standing, standing.client() as browser:
        issued = standing.register()
        body = acting.tokens(browser, issued)
        fresh = acting.refresh(browser, issued, body["refresh_token"]).json()
        acting.redeem(browser, replace(issued, secret="wrong"), "x")  # noqa: S106 - made up
        acting.revoke(browser, issued, fresh["access_token"])
        search = acting.access(1, "consent", issued.app.client_id)
        for access in (
            search,
            search._replace(query=""),
            search._replace(interaction="read", what="Coverage/c1"),
            search._replace(interaction="everything", what=f"Patient/{busiest()}"),
            search._replace(client="", grant="", patient="", query="", outcome=401),
        ):
            asyncio.run(standing.services.trail.record(access))
    return [
        line for file in (folder / "audit").iterdir() for line in file.read_bytes().split(b"\n")
    ]


def test_what_the_server_tells_and_takes_down_is_fhir(tmp_path):
    try:
        engine = prepare()
    except UnavailableError as error:
        pytest.skip(f"HL7's engine is not there: {error}")
    lines = [*told(), *filter(None, taken_down(tmp_path))]
    file = tmp_path / "served.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    kinds = [json.loads(line)["resourceType"] for line in lines]
    assert set(kinds) == {"CapabilityStatement", "OperationOutcome", "Bundle", "AuditEvent"}
    found = [
        f"{kinds[issue.line - 1]}: {issue.path}: {issue.text}"
        for issue in judge(engine, [file])
        if issue.is_error and not KNOWN.match(issue.text)
    ]
    assert found == []
