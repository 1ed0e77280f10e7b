"""Places of rows and digests of members, against loops over rows."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from etl.pipeline.incremental.ledger import Places
from etl.sources.partition.partitions import Partitions

_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a raw table."""

    file: int
    row: int
    owner: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Marked:
    """Stands for partitions of which only marks are asked."""

    tables: dict[str, list[Row]]

    def marks(self, indexes):
        """Return the marks of all tables."""
        del indexes
        return {
            name: pa.table(
                {
                    "_file": pa.array([row.file for row in rows], pa.int32()),
                    "_row": pa.array([row.row for row in rows], pa.int64()),
                    "_owner": pa.array([row.owner for row in rows], pa.uint64()),
                    "_low": pa.array([row.low for row in rows], pa.uint64()),
                    "_high": pa.array([row.high for row in rows], pa.uint64()),
                }
            )
            for name, rows in self.tables.items()
        }


@st.composite
def marked(draw):
    """Return raw tables of one or two files each, rows in order or not, of few members."""
    tables = {}
    file = 0
    for name in draw(st.lists(st.sampled_from("abc"), unique=True)):
        places = []
        for _ in range(draw(st.integers(1, 2))):
            places += [(file, row) for row in range(draw(st.integers(0, 6)))]
            file += 1
        if draw(st.booleans()):
            places = draw(st.permutations(places))
        numbers = st.integers(0, _WORD)
        tables[name] = [
            Row(*place, draw(st.integers(0, 3)), draw(numbers), draw(numbers)) for place in places
        ]
    return {name: tables[name] for name in sorted(tables)}


def mixed(value):
    """Return the finalizer of SplitMix64, one number at a time."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _WORD
    return value ^ (value >> 31)


def places_of(tables):
    """Return the places of raw tables."""
    return Places.from_partitions(cast("Partitions", Marked(tables)), range(1))


@given(marked())
def test_digests_of_a_member_are_sums_over_his_rows(tables):
    sums = {}
    for number, rows in enumerate(tables.values()):
        counted = {}
        for row in sorted(rows, key=lambda one: (one.file, one.row)):
            at = counted.setdefault(row.owner, 0)
            counted[row.owner] += 1
            placed = mixed(row.low ^ mixed(((number << 32) | at) + 1))
            total = sums.setdefault(row.owner, [0, 0, 0])
            for place, part in enumerate((mixed(row.low), mixed(row.high), placed)):
                total[place] = (total[place] + part) & _WORD
    marks = places_of(tables).marks.to_pylist()
    assert [list(mark.values()) for mark in marks] == [
        [owner, *sums[owner]] for owner in sorted(sums)
    ]


@given(marked())
def test_a_place_leads_to_the_members_row_and_back(tables):
    places = places_of(tables)
    for number, (name, rows) in enumerate(tables.items()):
        for row in rows:
            mine = sorted((one.file, one.row) for one in rows if one.owner == row.owner)
            found = places.find_owners(np.array([row.file]), np.array([row.row]))
            assert [int(part[0]) for part in found] == [
                row.owner,
                number,
                mine.index((row.file, row.row)),
            ]
            entry = pa.table(
                {
                    "owner": pa.array([row.owner], pa.uint64()),
                    "source": pa.array([name]),
                    "at": pa.array([mine.index((row.file, row.row))], pa.int32()),
                }
            )
            file, at = places.find_positions(entry)
            assert (int(file[0]), int(at[0])) == (row.file, row.row)
