"""Pieces of a sidecar over many nights, held to a dictionary that is written anew each night."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.pipeline.sidecar.pieces import (
    PIECE,
    SCHEMA,
    Sidecar,
    SidecarUpdate,
    UnitSidecar,
    add_owners,
    drop_empty,
    merge_pieces,
    unit_sidecar,
)
from etl.publish.reader import Tree
from tests.memory_store import MemoryStore

COUNTS = (1, 2, 3)
"""Numbers of partitions that a night may have; a unit is one of them."""
OWNERS = tuple(int(number) << 60 for number in range(16))

Rows = Sequence[int]


def entries(rows, extract):
    """Return the entries of some owners, each row at the place that its number says."""
    values = [
        {
            "owner": owner,
            "claim": None,
            "table": "claim",
            "file": 0,
            "row": row,
            "fate": "published",
            "resource": None,
            "patient": None,
            "mapping": None,
            "extract": extract,
        }
        for owner, numbers in sorted(rows.items())
        for row in numbers
    ]
    return add_owners(
        pa.Table.from_pylist(values, SCHEMA) if values else SCHEMA.empty_table(),
        np.array(sorted(rows), np.uint64),
    )


def found(store, sidecar):
    """Return owner, row and extract of each entry that counts."""
    ranges = {}
    for piece in sidecar.pieces:
        ranges.setdefault((piece.first, piece.end), []).append(piece)
    return {
        (each["owner"], each["row"], each["extract"])
        for pieces in ranges.values()
        for each in drop_empty(merge_pieces([store.read(PIECE, one) for one in pieces])).to_pylist()
    }


nights = st.lists(
    st.tuples(
        st.sampled_from(COUNTS),
        st.dictionaries(st.sampled_from(OWNERS), st.lists(st.integers(2, 99), max_size=5)),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=25)
@given(nights=nights)
def test_the_last_piece_with_a_member_counts_and_who_is_gone_is_in_none(nights):
    store, sidecar = Tree(MemoryStore()), None
    known, earlier_keys = {}, set()
    for number, (count, rows) in enumerate(nights):
        extract = f"night{number}"
        kept = {
            owner: known[owner]
            for owner in rows
            if owner in known and known[owner][0] == rows[owner]
        }
        known = {owner: kept.get(owner, (rows[owner], extract)) for owner in rows}
        pieces = []
        for at in range(count):
            unit = range(at, at + 1)
            ours = {owner: rows[owner] for owner in rows if owner * count >> 64 == at}
            fresh = {owner: ours[owner] for owner in ours if owner not in kept}
            before = unit_sidecar(store, sidecar, unit, count)
            assert before is not None
            present = np.array(sorted(ours), np.uint64)
            written = SidecarUpdate(before, entries(fresh, extract), present).write(store, unit)
            assert all(one.first == at for one in written)
            pieces += written
        sidecar = Sidecar(count, pieces)
        assert found(store, sidecar) == {
            (owner, row, of) for owner, (theirs, of) in known.items() for row in theirs
        }
        sizes = [store.read(PIECE, one).num_rows for one in pieces]
        for one, other, size, smaller in zip(pieces, pieces[1:], sizes, sizes[1:], strict=False):
            # Pieces of last night's partitions may stand side by side.
            is_new = other.key not in earlier_keys
            assert one.first != other.first or not is_new or size >= 4 * smaller
        earlier_keys = {one.key for one in pieces}


def test_a_unit_of_whom_nobody_changed_writes_nothing():
    store = Tree(MemoryStore())
    rows = {OWNERS[1]: [2, 3], OWNERS[2]: [4]}
    present = np.array(sorted(rows), np.uint64)
    first = SidecarUpdate(UnitSidecar(), entries(rows, "night"), present).write(store, range(1))
    sidecar = Sidecar(1, first)
    before = unit_sidecar(store, sidecar, range(1), 1)
    assert before is not None
    nothing = entries({}, "later")
    assert SidecarUpdate(before, nothing, present).write(store, range(1)) == first
    twice = unit_sidecar(store, sidecar, range(2), 2)
    assert twice is not None
    assert twice.is_own, "the same members, cut into twice as many partitions"
