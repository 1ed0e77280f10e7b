"""Ledgers taken apart and put together, against rows in lists."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.pipeline.incremental import ledger as ledgers
from etl.pipeline.incremental.ledger import (
    SCHEMAS,
    from_bytes,
    merge_ledgers,
    no_ledger,
    select_owners,
    to_bytes,
)

OWNERS = st.integers(0, 12)
WORDS = st.sampled_from(["claim", "claim_line", "member", ""])


def of_rows(rows, name):
    return pa.Table.from_pylist(rows, schema=SCHEMAS[name])


def owner_of(row):
    return int(row["owner"])


findings = st.lists(
    st.fixed_dictionaries(
        {
            "owner": OWNERS,
            "crosswalk": WORDS,
            "source": WORDS,
            "at": st.integers(0, 3),
            "rule": WORDS,
            "table": WORDS,
            "column": st.none() | WORDS,
        }
    ),
    max_size=30,
)
resources = st.lists(
    st.fixed_dictionaries({"owner": OWNERS, "type": WORDS, "count": st.integers(0, 9)}),
    max_size=30,
)


STRATEGIES = {"findings": findings, "resources": resources}
"""A table with words that may be absent, and one with a number."""
NAMES = tuple(STRATEGIES)


@st.composite
def some_ledgers(draw):
    made = []
    for _ in range(draw(st.integers(0, 3))):
        tables = {name: of_rows(draw(strategies), name) for name, strategies in STRATEGIES.items()}
        made.append({**no_ledger(), **tables})
    return made


@pytest.fixture(params=[0, 1000], autouse=True, ids=["in pieces", "copied"])
def shortest(request, monkeypatch):
    monkeypatch.setattr(ledgers, "_MIN_SLICE_ROWS", request.param)


def rows_of(some, name):
    return [row for one in some for row in one[name].to_pylist()]


@given(some_ledgers())
def test_ledgers_put_together_are_ordered_by_member_and_within_one_as_they_came(some):
    whole = merge_ledgers(some)
    for name in NAMES:
        assert whole[name].to_pylist() == sorted(rows_of(some, name), key=owner_of)


@given(some_ledgers(), st.sets(OWNERS))
def test_of_a_ledger_only_some_members_are_kept(some, owners):
    whole = merge_ledgers(some)
    kept = select_owners(whole, np.array(sorted(owners), dtype=np.uint64))
    for name in NAMES:
        assert kept[name].to_pylist() == [
            row for row in whole[name].to_pylist() if row["owner"] in owners
        ]


@given(some_ledgers(), st.sets(OWNERS))
def test_a_ledger_taken_apart_and_put_together_has_the_same_bytes(some, owners):
    whole = merge_ledgers(some)
    apart = [
        select_owners(whole, np.array(sorted(part), dtype=np.uint64))
        for part in (owners, set(range(13)) - owners)
    ]
    assert to_bytes(merge_ledgers(apart)) == to_bytes(whole)


@given(some_ledgers())
def test_a_ledger_comes_back_from_its_bytes(some):
    whole = merge_ledgers(some)
    back = from_bytes(to_bytes(whole), "a ledger")
    assert back.keys() == SCHEMAS.keys()
    for name, schema in SCHEMAS.items():
        assert back[name].schema == schema
        assert back[name].to_pylist() == whole[name].to_pylist()
