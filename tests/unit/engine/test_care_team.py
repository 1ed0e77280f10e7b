"""The care team: a provider once in a role, by whatever name, with all lines that name him."""

import pytest

from etl.mapping.plan import Provider
from tests.given.tables import table
from tests.unit.engine.rows import prepared

NPI = "1234567893"
DIRECTORY = {"D1": (Provider("Practitioner", "D1"),), NPI: (Provider("Practitioner", "D1"),)}
SHOWN = ("sequence", "role", "provider_id", "taxonomy_code", "line_numbers")


def team(rows, rendering, claim_type):
    """Return the care team of a claim.

    Args:
        rows: role, provider, taxonomy and lines of each row of the claim's care team.
        rendering: whom the lines 1, 2, … name; empty for nobody.
    """
    names = ("role", "provider_id", "taxonomy_code", "line_numbers")
    made = prepared(
        DIRECTORY,
        claim=[{"claim_id": "C1", "claim_type": claim_type, "member_id": "M1"}],
        claim_line=[
            {"claim_id": "C1", "line_number": str(number), "rendering_provider_id": name}
            for number, name in enumerate(rendering, 1)
        ],
        claim_care_team=[
            {"claim_id": "C1", "sequence": str(number), **dict(zip(names, row, strict=True))}
            for number, row in enumerate(rows, 1)
        ],
    )
    return [tuple(row.values()) for row in made["claim_care_team"].select(SHOWN).to_pylist()]


@pytest.mark.parametrize(*table(__file__, "teams"))
def test_a_provider_is_once_in_a_role_with_all_lines(rows, rendering, claim_type, expected):
    found = team(rows, rendering or (), claim_type or "professional")
    assert [[cell or "" for cell in member] for member in found] == expected


def test_claims_do_not_share_members():
    claims = [{"claim_id": name, "claim_type": "oral", "member_id": "M1"} for name in ("C1", "C2")]
    rows = [
        {"claim_id": name, "sequence": "1", "role": "rendering", "provider_id": "D1"}
        for name in ("C1", "C2")
    ]
    lines = [{"claim_id": "C2", "line_number": "1", "rendering_provider_id": NPI}]
    made = prepared(DIRECTORY, claim=claims, claim_line=lines, claim_care_team=rows)
    assert made["claim_care_team"].column("line_numbers").to_pylist() == [None, "1"]


def test_a_provider_of_several_lines_of_a_prior_authorization_is_one_member():
    number = {"prior_auth_id": "A1"}
    rows = prepared(
        prior_auth=[{**number, "type": "professional"}],
        prior_auth_care_team=[
            {
                **number,
                "sequence": "1",
                "role": "referring",
                "provider_id": "P",
                "responsible": "Y",
            },
            {**number, "sequence": "2", "role": "performing", "provider_id": "P"},
            {
                **number,
                "sequence": "3",
                "role": "performing",
                "provider_id": "P",
                "responsible": "Y",
                "line_numbers": "3",
            },
            {**number, "sequence": "4", "provider_id": "R"},
        ],
        prior_auth_line=[
            {**number, "line_number": line, "provider_id": provider}
            for line, provider in (("1", "P"), ("2", "Q"), ("3", "Q"), ("4", None))
        ],
    )["prior_auth_care_team"]
    columns = ("sequence", "role", "provider_id", "line_numbers", "responsible")
    assert list(zip(*(rows.column(name).to_pylist() for name in columns), strict=True)) == [
        ("1", "referring", "P", None, "Y"),
        ("2", "performing", "P", "3;1", "Y"),
        ("4", None, "R", None, None),
        ("5", "rendering", "Q", "2;3", None),
    ]
