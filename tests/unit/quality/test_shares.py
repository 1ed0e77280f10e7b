"""What members have adds up to what their partition has, however much that is."""

import pyarrow as pa
import pytest

from etl.quality.totals import money as money_module
from etl.quality.totals.by_member import MONEY_SCHEMA, summed_money
from etl.quality.totals.money import MoneyKey, MoneyTotals
from tests.unit.quality.world import run, world

KEY = MoneyKey("claim", "professional", "paid")


def money(*cents):
    rows = [
        {
            "owner": number,
            "level": KEY.level,
            "claim_type": KEY.claim_type,
            "category": KEY.category,
            "source": each,
            "published": each,
            "quarantined": 0,
            "superseded": 0,
            "net": -each,
            **{f"{fate}_claims": 1 for fate in ("published", "net")},
            **{f"{fate}_claims": 0 for fate in ("quarantined", "superseded")},
        }
        for number, each in enumerate(cents)
    ]
    return pa.Table.from_pylist(rows, schema=MONEY_SCHEMA)


@pytest.mark.parametrize(
    "cents",
    [
        (),
        (1, 2, -4),
        (2**62, 2**62),
        (2**63 - 1, 2**63 - 1, 1),
        (-(2**63) + 1, -(2**63) + 1),
    ],
)
def test_money_of_members_adds_up_exactly_even_beyond_64_bits(cents):
    total = sum(cents)
    count = len(cents)
    whole = MoneyTotals(total, total, 0, 0, -total, count, 0, 0, count)
    expected = {KEY: whole} if cents else {}
    assert summed_money(money(*cents)) == expected


def test_money_is_the_same_where_64_bits_might_not_hold_its_sums(monkeypatch):
    plain = run(world()).money
    monkeypatch.setattr(money_module, "_LARGEST", 1)
    assert run(world()).money == plain
    assert any(totals.source for totals in plain.values())
