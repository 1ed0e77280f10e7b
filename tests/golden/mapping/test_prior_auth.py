"""PDex's own example of a prior authorization, made of canonical rows."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.golden.mapping.rendering import read_rows, resources
from tests.golden.mapping.test_cases import CASES, SHARED

EXAMPLES = Path(__file__).parents[4] / "shared" / "ig" / "pdex-2.2.0" / "examples"
EXAMPLE = EXAMPLES / "ExplanationOfBenefit-PDexPriorAuth1.json"
OTHERWISE = {
    # The layout has no column for reserved funds.
    *("fundsReserve", "fundsReserveRequested"),
    # The day of receipt is compulsory; ids and references are the payer's.
    *("supportingInfo", "id", "language", "patient", "insurer", "provider", "insurance"),
}


def compared(value):
    """Return a resource without displays and the names of those whom it refers to."""
    match value:
        case dict():
            return {
                key: compared(one)
                for key, one in value.items()
                if key not in {"display", "id", "text"} and (key, type(one)) != ("reference", str)
            }
        case list():
            return [compared(one) for one in value]
        case _:
            return value


def facts(resource):
    return compared({key: one for key, one in resource.items() if key not in OTHERWISE})


@pytest.mark.shared
@pytest.mark.skipif(not EXAMPLE.is_file(), reason="the guide's example is not beside the project")
def test_the_guides_example_is_made_of_its_facts():
    theirs = json.loads(EXAMPLE.read_text("utf-8"), parse_float=Decimal)
    payer = {"prior_auth_id_system": theirs["identifier"][0]["system"], "claim_id_system": ""}
    rows = SHARED | read_rows(CASES / "prior-auth-of-the-guide")
    (ours,) = (one for one in resources(rows, payer) if one.get("use") == "preauthorization")
    assert facts(ours) == facts(theirs)
