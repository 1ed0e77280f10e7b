"""Reuse: of three members, 10, 20 and 30, those whose results still hold, change by change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl.columns.digests import NO_HASHES, Hashes
from etl.pipeline.incremental.dependencies import Dependencies
from etl.pipeline.incremental.ledger import RULES, SCHEMAS, Places, no_ledger
from etl.pipeline.incremental.reuse import (
    ComparedFacts,
    PreviousMembers,
    find_unchanged,
    reuse_results,
)
from etl.sources.partition.ids import GlobalKeys

DEPENDENCIES = Dependencies(
    {
        "member": frozenset({("coverage", "card_member_id")}),
        "claim": frozenset({("claim", "adjusts_claim_id")}),
    },
    frozenset(),
    frozenset({("claim", "paid_date")}),
    frozenset(),
)
RULE = {"table": "claim", "rule": "a-rule"}
CLAIM_ROW = {"source": "claim", "at": 0, **RULE}
TODAY = {10: (1, 1, 1), 20: (2, 2, 2), 30: (3, 3, 3)}


def some(*hashes):
    return np.array(hashes, dtype=np.uint64)


@dataclass
class Nights:
    """Two nights of three members, each with a row `low`, `high`; nothing changed.

    Attributes:
        before: member -> low, high, order, latest day, in the ledger.
        now: member -> low, high, order, of today's rows.
        ids: kind -> ids that are there today.
        entries: other tables of the ledger.
    """

    before: dict[int, tuple[int, int, int, int]] = field(
        default_factory=lambda: {10: (1, 1, 1, 100), 20: (2, 2, 2, 200), 30: (3, 3, 3, 300)}
    )
    now: dict[int, tuple[int, int, int]] = field(default_factory=TODAY.copy)
    ids: dict[str, Hashes] = field(default_factory=lambda: {"claims": some(7), "members": some(8)})
    sharers: Hashes = field(default_factory=lambda: NO_HASHES)
    entries: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    days: tuple[int | None, int | None] = (400, 400)
    changed: Hashes = field(default_factory=lambda: NO_HASHES)
    lost: frozenset[str] = frozenset()
    canonical: bool = True

    def ledger(self):
        owners = [
            dict(zip(SCHEMAS["owners"].names, (owner, *marks), strict=True))
            for owner, marks in self.before.items()
        ]
        tables = {"owners": owners, **self.entries}
        made = {name: pa.Table.from_pylist(rows, SCHEMAS[name]) for name, rows in tables.items()}
        return {**no_ledger(), **made}

    def places(self):
        """Return one row a member, in a file of claims from row 2 on."""
        schema = pa.schema([each for each in SCHEMAS["owners"] if each.name != "latest"])
        rows = [
            dict(zip(schema.names, (owner, *marks), strict=True))
            for owner, marks in self.now.items()
        ]
        keys, owners = np.arange(2, 2 + len(self.now), dtype=np.int64), some(*self.now)
        nothing = np.zeros(len(keys), dtype=np.int32)
        marks = pa.Table.from_pylist(rows, schema)
        return Places(("claim",), keys, nothing, owners, nothing, {"claim": (owners, keys)}, marks)

    def previous(self):
        return PreviousMembers(self.ledger(), self.days[0], self.changed, self.lost)

    def kept(self):
        ids = {"member": self.ids["members"], "claim": self.ids["claims"]}
        keys = GlobalKeys(ids, {}, self.sharers)
        now = ComparedFacts(self.places(), keys, DEPENDENCIES, self.days[1], self.canonical)
        return [int(each) for each in find_unchanged(now, self.previous())]


CHANGES = {
    "a cell": {"now": TODAY | {20: (9, 2, 2)}},
    "one half of the digests": {"now": TODAY | {20: (2, 9, 2)}},
    "rows are gone": {"now": {10: (1, 1, 1), 30: (3, 3, 3)}},
    "the member is new": {"before": {10: (1, 1, 1, 100), 30: (3, 3, 3, 300)}},
    "a claim that was looked for is there now": {
        "entries": {"asked": [{"owner": 20, "kind": "claim", "id": 7, "there": False}]}
    },
    "a member who was there is gone": {
        "entries": {"asked": [{"owner": 20, "kind": "member", "id": 7, "there": True}]}
    },
    "a claim is shared with another": {"sharers": some(20)},
    "a provider": {
        "entries": {"names": [{"owner": 20, "name": 55}, {"owner": 30, "name": 56}]},
        "changed": some(55),
    },
    "the block was lost": {
        "entries": {
            "patients": [
                {"owner": 20, "patient": "anna", "own": True},
                {"owner": 30, "patient": "bert", "own": True},
            ]
        },
        "lost": frozenset({"anna"}),
    },
    "rows with a finding moved": {
        "now": TODAY | {20: (2, 2, 9), 30: (3, 3, 9)},
        "entries": {"findings": [{"owner": 20, "crosswalk": RULES, **CLAIM_ROW}]},
    },
    "a rejected row moved": {
        "now": TODAY | {20: (2, 2, 9)},
        "entries": {"rejected": [{"owner": 20, "cause": "a-rule", "rules": "a-rule", **CLAIM_ROW}]},
    },
}
"""What happens to member 20 from one night to the next -> the nights."""


def test_of_two_equal_nights_everybody_is_kept():
    assert Nights().kept() == [10, 20, 30]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_concerns_its_member_alone(name):
    assert Nights(**CHANGES[name]).kept() == [10, 30]


def test_answers_that_are_the_same_change_nothing():
    nights = Nights(sharers=some(40), changed=some(57), lost=frozenset({"carl"}))
    nights.entries["asked"] = [
        {"owner": 20, "kind": "claim", "id": 7, "there": True},
        {"owner": 20, "kind": "member", "id": 7, "there": False},
    ]
    nights.entries["names"] = [{"owner": 20, "name": 55}]
    assert nights.kept() == [10, 20, 30]


def test_another_order_of_rows_matters_only_where_a_row_is_a_canonical_one_and_is_named():
    nights = Nights()
    nights.now[20] = (2, 2, 9)
    assert nights.kept() == [10, 20, 30]
    assert replace(nights, canonical=False).kept() == [10, 30]


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        ((250, 250), [10, 20, 30]),
        ((400, 401), [10, 20, 30]),
        ((150, 250), [10]),
        ((250, 150), [10]),
        ((None, 200), [10, 20]),
        ((200, None), [10, 20]),
        ((None, None), [10, 20, 30]),
    ],
)
def test_another_day_concerns_those_with_a_later_date(days, kept):
    assert Nights(days=days).kept() == kept


@pytest.mark.parametrize("empty", ["before", "now"])
def test_nobody_is_kept_of_nothing(empty):
    nights = Nights()
    getattr(nights, empty).clear()
    assert nights.kept() == []


def test_what_is_reused_is_told_of_the_rows_of_today():
    """Member 10 is gone, so that the row of member 20 moved from row 3 to row 2."""
    nights = Nights()
    finding = {"crosswalk": RULES, "column": "paid_date", **CLAIM_ROW}
    nights.entries = {
        "findings": [{"owner": owner, **finding} for owner in (10, 20, 30)],
        "counts": [
            {"owner": owner, "table": "claim", "in": 1, **dict.fromkeys(fates, 0), "published": 1}
            for fates in [("quarantined", "superseded")]
            for owner in (10, 20, 30)
        ],
        "resources": [{"owner": owner, "type": "Patient", "count": 1} for owner in (10, 20, 30)],
        "missing": [{"owner": 20, "resource": "Organization", "key": "P", "payer": True}],
    }
    del nights.now[10]
    outcome, ledger = reuse_results(nights.previous(), nights.places(), some(20))
    assert outcome.reused == 1
    assert outcome.checked.findings.to_pylist() == [
        {"rule": "a-rule", "table": "claim", "file": 0, "row": 2, "column": "paid_date"}
    ]
    assert outcome.checked.counts["claim"].published == 1
    assert outcome.resources == {"Patient": 1}
    assert [one.key for one in outcome.missing] == ["P"]
    assert {name: table.column("owner").to_pylist() for name, table in ledger.items()} == {
        name: [20] if name in ("owners", *nights.entries) else [] for name in SCHEMAS
    }
