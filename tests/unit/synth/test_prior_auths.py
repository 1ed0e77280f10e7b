"""Prior authorizations of synthetic extracts: beside the claims, and decided over days."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import Spec
from tests.unit.synth.written import folder_of, hashes, plain, read, world

MANY = Spec(members=300, seed=3, prior_auth_rate=4)
OPTIONAL = {name for name, table in TABLES.items() if table.optional}


@pytest.fixture(scope="module")
def requests():
    return world(MANY)["prior_auth"]


def test_claims_are_the_same_bytes_with_and_without_prior_authorizations():
    spec = replace(MANY, members=20, day=3)
    with_them, without = (
        hashes(folder_of(spec)),
        hashes(folder_of(replace(spec, prior_auth_rate=0))),
    )
    del with_them["manifest.json"], without["manifest.json"]
    assert {f"{name}.csv" for name in OPTIONAL} == with_them.keys() - without.keys()
    assert with_them.items() >= without.items()


def test_there_are_as_many_as_the_rate_says_and_they_are_of_every_kind(requests):
    covered = {
        row["member_id"]
        for row in world(MANY)["coverage"]
        if row["start_date"] <= "2025-07-01" <= row.get("end_date", "9999-12-31")
    }
    asked = sum(row["received_at"].startswith("2025") for row in requests)
    assert 3 < asked / len(covered) < 5
    assert {row["type"] for row in requests} == {"institutional", "professional", "oral", "vision"}
    shares = Counter(row.get("review_action", row["status"]) for row in requests)
    assert set(shares) == {"A1", "A2", "A3", "A6", "cancelled", "active"}
    assert 0.6 < shares["A1"] / len(requests) < 0.85
    assert 0.08 < shares["A3"] / len(requests) < 0.2
    for column in ("extended", "appealed", "overturned", "is_drug"):
        assert 0 < sum(row.get(column) == "Y" for row in requests) < len(requests) / 5


def test_decisions_come_in_time_unless_the_review_was_extended(requests):
    late = Counter()
    for row in requests:
        first = row.get("first_decided_at") or row.get("decided_at")
        if first is None or len(first) == len("2025-01-01"):
            continue
        elapsed = datetime.fromisoformat(first) - datetime.fromisoformat(row["received_at"])
        assert elapsed > timedelta(0)
        limit = timedelta(hours=72) if row["expedited"] == "Y" else timedelta(days=7)
        late[row.get("extended", "N")] += elapsed > limit
    assert late["N"] == 0
    assert late["Y"] > 0


def test_a_request_is_pending_until_the_day_of_its_decision():
    """Each night some are received and some decided, and nothing decided becomes pending again."""
    spec, seen = replace(MANY, members=100), defaultdict(list)
    for day in range(8):
        for row in plain(read(folder_of(replace(spec, day=day))))["prior_auth"]:
            seen[row["prior_auth_id"]].append(row)
            assert row["status_changed_at"][:10] <= f"{spec.as_of + timedelta(days=day):%Y-%m-%d}"
    histories = Counter()
    for rows in seen.values():
        decided = ["decided_at" in row or row["status"] == "cancelled" for row in rows]
        assert decided == sorted(decided)
        histories["new" if len(rows) < 8 else "old", decided[0], decided[-1]] += 1
    assert histories["old", False, True] > 0
    assert histories["new", False, False] > 0
    assert histories["new", False, True] > 0
