"""Reasons: what an adjustment states, no list repeats in the same place."""

from tests.unit.engine.rows import prepared


def reasons(claim_type, claim="", lines=("",), adjustments=()):
    """Return the reasons of a claim, of its lines and of its adjustments, as they are written.

    Args:
        claim, lines: denial reasons.
        adjustments: line, reason code, remark code.
    """
    header = {"claim_id": "C1", "claim_type": claim_type, "member_id": "M1"}
    made = prepared(
        claim=[header | _filled(denial_reason=claim)],
        claim_line=[
            {"claim_id": "C1", "line_number": str(at)} | _filled(denial_reason=reason)
            for at, reason in enumerate(lines, 1)
        ],
        claim_adjustment=[
            {"claim_id": "C1", "line_number": number, "sequence": str(at)}
            | _filled(reason_code=reason, remark_code=remark)
            for at, (number, reason, remark) in enumerate(adjustments, 1)
        ],
    )
    return (
        made["claim"].column("denial_reason").to_pylist()[0],
        made["claim_line"].column("denial_reason").to_pylist(),
        [(row["reason_code"], row["remark_code"]) for row in made["claim_adjustment"].to_pylist()],
    )


def _filled(**cells):
    return {name: text for name, text in cells.items() if text}


def test_a_lines_reason_that_its_adjustment_states_is_written_once():
    stated = [("1", "16", "N290"), ("2", "45", "")]
    got = reasons("professional", "16", ("16;n290;50", "16"), stated)
    assert got == ("16", ["50", "16"], [("16", "N290"), ("45", None)])


def test_a_reason_is_written_once_of_a_list_that_repeats_it():
    assert reasons("oral", lines=("16;96;16",))[1] == ["16;96"]


def test_a_claim_and_its_lines_may_state_the_same():
    got = reasons("outpatient", "29", ("29", "29"), [("2", "29", "")])
    assert got == ("29", ["29", None], [("29", None)])


def test_a_remark_of_two_adjustments_of_a_line_is_written_once():
    got = reasons("vision", lines=("", ""), adjustments=[("1", "45", "N130"), ("1", "2", "N130"),
                                                         ("2", "45", "N130")])  # fmt: skip
    assert got[2] == [("45", "N130"), ("2", None), ("45", "N130")]


def test_a_reject_code_of_a_pharmacy_is_no_adjustment_reason():
    assert reasons("pharmacy", lines=("70",), adjustments=[("1", "70", "")])[1] == ["70"]


def test_a_remark_code_is_compared_with_remark_codes_alone():
    got = reasons("professional", lines=("N20;20",), adjustments=[("1", "N20", "20")])
    assert got[1] == ["N20;20"]
