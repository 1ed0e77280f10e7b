"""The world of day k is the world of day 0 with the deltas 1 to k applied."""

from dataclasses import replace

import pytest

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import Spec
from tests.unit.synth.written import Row, keyed, world

BUSY = Spec(members=40, seed=9, change_rate=0.35)
DAYS = 5
Tables = dict[str, dict[tuple[str, ...], Row]]


def on(day, spec=BUSY):
    rows = world(replace(spec, day=day))
    return {table: keyed(found, table) for table, found in rows.items()}


def delta(day, spec=BUSY):
    return world(replace(spec, kind="delta", day=day))


def applied(tables, changes):
    """Apply a delta the slow way, row by row; the actions must be what they say."""
    result = {table: dict(rows) for table, rows in tables.items()}
    for table, rows in changes.items():
        for row in rows:
            key = tuple(row[part] for part in TABLES[table].key)
            action = row["record_action"]
            assert (key in result[table]) == (action != "A"), (table, key, action)
            if action == "D":
                del result[table][key]
            else:
                result[table][key] = row
    return result


def contents(tables):
    return {
        table: {key: row | {"record_action": ""} for key, row in rows.items()}
        for table, rows in tables.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("spec", [BUSY, replace(BUSY, whole_claims=True),
                                  replace(BUSY, short_form=True, prior_auth_rate=8)])  # fmt: skip
def test_the_deltas_lead_from_each_day_to_the_next(spec):
    tables = on(0, spec)
    for day in range(1, DAYS + 1):
        tables = applied(tables, delta(day, spec))
        assert contents(tables) == contents(on(day, spec))


def test_a_delta_holds_rows_that_changed_and_nothing_else():
    for day in range(1, DAYS + 1):
        before = on(day - 1)
        updates = [
            (before[table].get(tuple(row[part] for part in TABLES[table].key)), row)
            for table, rows in delta(day).items()
            for row in rows
            if row["record_action"] == "U"
        ]
        assert updates
        for old, row in updates:
            assert old is not None
            assert old | {"record_action": "U"} != row
