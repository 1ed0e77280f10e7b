"""What members have adds up to what their partition has, however much that is."""

import numpy as np
import pyarrow as pa
import pytest

from etl.columns.places import table_places
from etl.quality.totals import money as money_module
from etl.quality.totals.by_member import (
    MONEY_SCHEMA,
    RowOwners,
    filled_shares,
    sum_filled,
    sum_money,
)
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
    assert sum_money(money(*cents)) == expected


def test_money_is_the_same_where_64_bits_might_not_hold_its_sums(monkeypatch):
    plain = run(world()).money
    monkeypatch.setattr(money_module, "_LARGEST", 1)
    assert run(world()).money == plain
    assert any(totals.source for totals in plain.values())


def test_filled_cells_of_members_add_up_and_follow_from_their_own_rows():
    checked = run(world())
    tables = checked.tables
    # The rows of a claim have one owner, as its type depends on them.
    numbers = {name: owner_numbers(table) for name, table in tables.items()}
    places = np.concatenate([table_places(table) for table in tables.values()])
    order = np.argsort(places)
    codes = np.concatenate(list(numbers.values()))
    owners = RowOwners(np.arange(3, dtype=np.uint64), places[order], codes[order])
    shares = filled_shares(tables, owners)
    assert sum_filled(shares) == checked.filled
    assert any("," in columns for columns in shares.column("columns").to_pylist())
    for owner in range(3):
        own = {
            name: table.filter(pa.array(numbers[name] == owner)) for name, table in tables.items()
        }
        expected = [row for row in shares.to_pylist() if row["owner"] == owner]
        assert filled_shares(own, owners).to_pylist() == expected


def owner_numbers(table):
    if "claim_id" not in table.column_names:
        return np.zeros(table.num_rows, np.int64)
    return np.array(
        [sum(map(ord, claim or "")) % 3 for claim in table["claim_id"].to_pylist()], np.int64
    )
