"""Reasons: what an adjustment states, no list repeats in the same place."""

import pytest

from tests.given.tables import table
from tests.unit.engine.rows import prepared


@pytest.mark.parametrize(*table(__file__, "reasons"))
def test_a_reason_is_written_once_in_a_place(claim_type, claim, lines, adjustments, left):
    number = {"claim_id": "C1"}
    made = prepared(
        claim=[number | {"claim_type": claim_type, "member_id": "M1", "denial_reason": claim}],
        claim_line=[
            number | {"line_number": str(at), "denial_reason": reason}
            for at, reason in enumerate(lines, 1)
        ],
        claim_adjustment=[
            number
            | {"line_number": line, "sequence": str(at), "reason_code": reason}
            | {"remark_code": remark}
            for at, (line, reason, remark) in enumerate(adjustments or (), 1)
        ],
    )
    claims, rows = (
        made[name].column("denial_reason").fill_null("").to_pylist()
        for name in ("claim", "claim_line")
    )
    stated = [
        [row["reason_code"], row["remark_code"] or ""]
        for row in made["claim_adjustment"].to_pylist()
    ]
    assert [*claims, rows, stated] == left
