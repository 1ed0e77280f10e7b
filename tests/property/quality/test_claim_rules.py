"""Rules about claims against slow ones that look at a row at a time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.quality.world import Row, World, found, run, world

few = settings(deadline=None, max_examples=60)


def places(of: World, rule: str) -> set[tuple[str, int]]:
    """Return table and place of every row that a rule finds."""
    return {(table, row - 2) for name, table, row, _ in found(run(of)) if name == rule}


@few
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["K0", "K1", "K2"]),
            st.integers(0, 4),
            st.sampled_from(["", "other"]),
            st.booleans(),
        ),
        max_size=8,
        unique_by=lambda row: row[:2],
    )
)
def test_a_first_row_is_missing_where_a_slow_look_says_so(
    made: list[tuple[str, int, str, bool]],
) -> None:
    of = world()
    of["claim_diagnosis"] = [
        Row(
            {"claim_id": claim, "sequence": str(number), "code": "I10" if good else "?"}
            | ({"type": word} if word else {})
        )
        for claim, number, word, good in made
    ]
    expected = set()
    for claim in ("K0", "K1", "K2"):
        left = [(row[1], at) for at, row in enumerate(made) if row[0] == claim and row[3]]
        if left and min(left)[0] > 1 and not made[min(left)[1]][2]:
            expected.add(("claim_diagnosis", min(left)[1]))
    assert places(of, "first-row-missing") == expected
