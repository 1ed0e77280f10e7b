"""The care team: a provider once in a role, by whatever name, with all lines that name him."""

from etl.mapping.plan import Provider
from tests.unit.engine.rows import prepared

NPI = "1234567893"
DIRECTORY = {"D1": (Provider("Practitioner", "D1"),), NPI: (Provider("Practitioner", "D1"),)}
SHOWN = ("sequence", "role", "provider_id", "taxonomy_code", "line_numbers")


def team(rows, rendering=(), claim_type="professional"):
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
            _filled(claim_id="C1", line_number=str(number), rendering_provider_id=name)
            for number, name in enumerate(rendering, 1)
        ],
        claim_care_team=[
            _filled(claim_id="C1", sequence=str(number), **dict(zip(names, row, strict=True)))
            for number, row in enumerate(rows, 1)
        ],
    )
    return [tuple(row.values()) for row in made["claim_care_team"].select(SHOWN).to_pylist()]


def _filled(**cells):
    return {name: text for name, text in cells.items() if text}


def test_a_person_named_by_npi_and_by_the_payers_id_is_one_member():
    assert team([("rendering", NPI, "", ""), ("rendering", "D1", "", "")]) == [
        ("1", "rendering", NPI, None, None)
    ]


def test_the_lines_of_both_names_are_kept():
    rows = [("rendering", NPI, "", "2"), ("referring", "D1", "", ""), ("rendering", "D1", "", "3")]
    assert team(rows, ["D1", NPI, ""]) == [
        ("1", "rendering", NPI, None, "2;3;1"),
        ("2", "referring", "D1", None, None),
    ]


def test_who_rendered_which_line_is_kept_where_the_team_names_no_lines():
    rows = [("rendering", "A", "", ""), ("rendering", "B", "", "")]
    assert team(rows, ["B", "A", "B"]) == [
        ("1", "rendering", "A", None, "2"),
        ("2", "rendering", "B", None, "1;3"),
    ]


def test_words_for_one_role_are_one_role():
    rows = [("pcp", "D1", "", ""), ("Primary", "D1", "", ""), ("operating", NPI, "", "1")]
    assert team(rows, ["", "D1"]) == [
        ("1", "pcp", "D1", None, None),
        # Who operated on a professional claim has rendered the service.
        ("3", "operating", NPI, None, "1;2"),
    ]


def test_what_is_one_role_for_one_profile_may_be_two_for_another():
    rows = [("operating", "D1", "", ""), ("rendering", "D1", "", "")]
    assert len(team(rows, claim_type="inpatient")) == 2


def test_a_taxonomy_code_stays_whichever_row_states_it():
    rows = [("rendering", NPI, "", ""), ("rendering", "D1", "207Q00000X", "")]
    assert team(rows) == [("1", "rendering", NPI, "207Q00000X", None)]


def test_two_taxonomy_codes_are_two_members():
    rows = [
        ("rendering", "D1", "207Q00000X", "1"),
        ("rendering", NPI, "208D00000X", "2"),
        ("rendering", "D1", "", "3"),
    ]
    assert team(rows) == [
        ("1", "rendering", "D1", "207Q00000X", "1;3"),
        ("2", "rendering", NPI, "208D00000X", "2"),
    ]


def test_a_person_in_two_roles_and_two_persons_in_one_stay_apart():
    rows = [("rendering", "D1", "", ""), ("referring", "D1", "", ""), ("rendering", "X", "", "")]
    assert len(team(rows)) == 3


def test_claims_do_not_share_members():
    claims = [{"claim_id": name, "claim_type": "oral", "member_id": "M1"} for name in ("C1", "C2")]
    rows = [
        {"claim_id": name, "sequence": "1", "role": "rendering", "provider_id": "D1"}
        for name in ("C1", "C2")
    ]
    lines = [{"claim_id": "C2", "line_number": "1", "rendering_provider_id": NPI}]
    made = prepared(DIRECTORY, claim=claims, claim_line=lines, claim_care_team=rows)
    assert made["claim_care_team"].column("line_numbers").to_pylist() == [None, "1"]
