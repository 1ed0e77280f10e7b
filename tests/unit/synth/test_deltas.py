"""The world of day k is the world of day 0 with the deltas 1 to k applied."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from etl.model.canonical_tables import CLAIM_TABLES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import Spec
from tests.unit.synth.written import Row, keyed, world

BUSY = Spec(members=40, seed=9, change_rate=0.35)
DAYS = 5
Tables = dict[str, dict[tuple[str, ...], Row]]


def on(day: int, spec: Spec = BUSY) -> Tables:
    rows = world(replace(spec, day=day))
    return {table: keyed(found, table) for table, found in rows.items()}


def delta(day: int, spec: Spec = BUSY) -> dict[str, list[Row]]:
    return world(replace(spec, kind="delta", day=day))


def applied(tables: Tables, changes: dict[str, list[Row]]) -> Tables:
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


def contents(tables: Tables) -> Tables:
    return {
        table: {key: row | {"record_action": ""} for key, row in rows.items()}
        for table, rows in tables.items()
    }


@pytest.mark.parametrize("spec", [BUSY, replace(BUSY, whole_claims=True),
                                  replace(BUSY, short_form=True)])  # fmt: skip
def test_the_deltas_lead_from_each_day_to_the_next(spec: Spec) -> None:
    tables = on(0, spec)
    for day in range(1, DAYS + 1):
        tables = applied(tables, delta(day, spec))
        assert contents(tables) == contents(on(day, spec))


def test_a_delta_holds_rows_that_changed_and_nothing_else() -> None:
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


def test_every_kind_of_change_comes_about() -> None:
    actions: Counter[tuple[str, str]] = Counter()
    for day in range(1, DAYS + 1):
        for table, rows in delta(day).items():
            actions.update((table, row["record_action"]) for row in rows)

    expected = {
        ("member", "A"), ("member", "U"), ("member", "D"), ("member_address", "A"),
        ("coverage", "A"), ("coverage", "U"), ("coverage", "D"),
        ("claim", "A"), ("claim", "U"), ("claim", "D"),
        ("claim_line", "A"), ("claim_line", "U"), ("claim_line", "D"),
        ("claim_adjustment", "A"), ("claim_adjustment", "U"), ("claim_adjustment", "D"),
        ("practitioner", "U"),
    }  # fmt: skip
    assert expected <= actions.keys()


def test_changed_rows_say_that_they_changed_on_that_day() -> None:
    for day in range(1, DAYS + 1):
        today = replace(BUSY, day=day).date.isoformat()
        stamps = [row["last_updated"] for rows in delta(day).values() for row in rows]

        assert {stamp[:10] for stamp in stamps} == {today}
        assert len(set(stamps)) > 5


def test_no_claim_changes_without_its_own_row_in_the_delta() -> None:
    for day in range(1, DAYS + 1):
        changes = delta(day)
        claims = {row["claim_id"] for row in changes["claim"]}

        assert {row["claim_id"] for table in CLAIM_TABLES for row in changes[table]} <= claims


def test_a_deleted_member_takes_everything_along() -> None:
    gone = 0
    for day in range(1, DAYS + 1):
        changes, before = delta(day), on(day - 1)
        for row in changes["member"]:
            if row["record_action"] != "D":
                continue
            gone += 1
            mine = row["member_id"]
            theirs = [claim for claim in before["claim"].values() if claim["member_id"] == mine]
            deleted = {claim["claim_id"] for claim in changes["claim"]
                       if claim["record_action"] == "D"}  # fmt: skip
            assert {claim["claim_id"] for claim in theirs} <= deleted
    assert gone


def test_whole_claims_send_every_row_of_a_touched_claim() -> None:
    spec = replace(BUSY, whole_claims=True)
    for day in range(1, DAYS + 1):
        changes, after = delta(day, spec), on(day, spec)
        touched = {row["claim_id"] for row in changes["claim"] if row["record_action"] != "D"}
        for table in CLAIM_TABLES:
            sent = {tuple(row[part] for part in TABLES[table].key) for row in changes[table]
                    if row["record_action"] != "D"}  # fmt: skip
            assert sent == {key for key in after[table] if key[0] in touched}


def test_money_and_references_hold_on_every_day() -> None:
    tables = on(DAYS)
    claims = {row["claim_id"]: row for row in tables["claim"].values()}
    coverages = {row["coverage_id"]: row for row in tables["coverage"].values()}
    from decimal import Decimal

    for claim in claims.values():
        assert coverages[claim["coverage_id"]]["member_id"] == claim["member_id"]
        lines = [
            row for row in tables["claim_line"].values() if row["claim_id"] == claim["claim_id"]
        ]
        assert lines
        if "amount_benefit" in lines[0]:
            assert Decimal(claim["amount_benefit"]) == sum(
                Decimal(row["amount_benefit"]) for row in lines
            )
        for link in ("adjusted_from_claim_id", "adjusted_to_claim_id"):
            assert claim.get(link) is None or claim[link] in claims


def test_who_joins_later_is_added_whole_and_is_nobody_of_day_0() -> None:
    first = set(on(0)["member"])
    added = [row for row in delta(3)["member"] if row["record_action"] == "A"]

    assert len(added) == 1
    assert (added[0]["member_id"],) not in first


def test_where_nothing_happens_a_delta_holds_but_the_newcomer_and_the_directory() -> None:
    quiet = delta(1, replace(BUSY, change_rate=0.0))

    assert len(quiet["member"]) == 1
    assert {row["record_action"] for rows in quiet.values() for row in rows} <= {"A", "U"}
    assert len(quiet["practitioner"]) == 1
