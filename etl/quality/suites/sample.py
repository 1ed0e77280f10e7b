"""The sample that suites check: the rows of some members, as they were checked.

The members follow from the hash of a member's id and the size of the extract alone. So every run
over the same extract checks the same rows, whatever the number of partitions or processes, and the
next night's run checks the same members. Of a small extract, all rows are checked.

A suite runs over all rows that were checked, accepted or not, so that its percentages are those
of the members; and over the values that the rules saw, before any cell of theirs was blanked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array
from etl.columns.digests import Hashes
from etl.columns.places import place_keys
from etl.quality.checks.cascade import DecidedRows
from etl.quality.checks.frames import Frame
from etl.quality.rules.book import RuleBook
from etl.quality.suites.plan import Suite, plan_suite
from etl.quality.totals.counts import RowCounts
from etl.rows import arrow_stream

SAMPLE: Final = "sample-"
"""Beginning of the names of files with sampled rows; the table's name follows."""
_HASH_BITS: Final = 64
_MOST_HALVINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Share:
    """Share of members that the suites check: those with a hash that begins with some zero bits.

    It is a half, a quarter, an eighth and so on of the members. So it seldom changes while an
    extract grows, and then to a part of what it was.

    Attributes:
        halvings: how many zero bits; 0 for all members.
    """

    halvings: int

    @classmethod
    def of(cls, rows: int, most: int) -> Share:
        """Return the largest share of which at most about `most` of `rows` rows are expected."""
        halvings = 0
        while rows >> halvings > most and halvings < _MOST_HALVINGS:
            halvings += 1
        return cls(halvings)

    @property
    def is_all(self) -> bool:
        """Whether every row is in the sample."""
        return self.halvings == 0

    def includes(self, hashes: Any) -> Any:
        """Return numpy `bool`, shape (n,): which hashes (`uint64`) are among them."""
        if self.is_all:
            return np.ones(len(hashes), dtype=bool)
        return hashes >> np.uint64(_HASH_BITS - self.halvings) == 0


@dataclass(frozen=True, slots=True)
class Sample:
    """Writes the checked rows of some members for the suites; can be sent to another process.

    Attributes:
        share: the members.
    """

    share: Share

    def selects(self, members: Hashes) -> Any:
        """Return numpy `bool`, shape (n,): the members that rows are written of."""
        return self.share.includes(members)

    def __call__(
        self, decided: DecidedRows, places: Any, owners: Hashes, /
    ) -> dict[str, list[pa.Buffer]]:
        """Return name -> rows of a table, as an Arrow stream; of tables that have some.

        Args:
            decided: the rows.
            places: numpy `int64`, shape (n,): `place_keys` of the rows that have an owner.
            owners: the hash of the owner of each.
        """
        wanted = None if self.share.is_all else places[self.share.includes(owners)]
        files = {}
        for name, frame in decided.work.frames.items():
            kept = np.flatnonzero(_selected(frame, wanted))
            if len(kept):
                files[f"{SAMPLE}{name}"] = [
                    arrow_stream(_rows(decided, frame, kept), compressed=False)
                ]
        return files


def _selected(frame: Frame, wanted: Any) -> Any:
    """Return which rows of a table are sampled; deletions and superseded rows never are."""
    whole = frame.whole_rows
    return whole if wanted is None else whole & np.isin(place_keys(frame.files, frame.rows), wanted)


def _rows(decided: DecidedRows, frame: Frame, kept: Any) -> pa.Table:
    """Return rows of one table: the columns of its suite."""
    suite = plan_suite(decided.work.book, frame.name)
    at = pa.array(kept)
    columns: dict[str, Any] = {}
    for name, (column, seen) in suite.texts.items():
        text = frame.original.get(column) if seen else None
        columns[name] = as_array(frame.cells(column).text if text is None else text).take(at)
    return pa.table(columns)


@dataclass(frozen=True, slots=True)
class SuiteRows:
    """The sampled rows of every table.

    Attributes:
        suites: table -> its suite.
        covered: table -> rows sampled; tables without are left out.
        of: table -> rows that there are, without superseded ones.
        files: table -> files of `Sample`, in the order of the units.
    """

    suites: Mapping[str, Suite]
    covered: Mapping[str, int]
    of: Mapping[str, int]
    files: Mapping[str, Sequence[Path]]

    @classmethod
    def open(
        cls,
        units: Iterable[Mapping[str, Path]],
        counts: Mapping[str, RowCounts],
        book: RuleBook,
        share: Share,
    ) -> SuiteRows:
        """Return the rows that a sample has written.

        Args:
            units: of each unit, name -> file; others than those of `Sample` are not read.
            counts: table -> counts of all rows of the extract, by fate.
            book: the rules.
            share: the members that the rows belong to.
        """
        files: dict[str, list[Path]] = {}
        for unit in units:
            for name, path in unit.items():
                if name.startswith(SAMPLE):
                    files.setdefault(name.removeprefix(SAMPLE), []).append(path)
        covered = {name: sum(map(_count, paths)) for name, paths in files.items()}
        # Deletions stand for no row either; they are distinguished only where all are checked.
        there = {name: each.rows_in - each.superseded for name, each in counts.items()}
        of = {name: covered.get(name, 0) for name in counts} if share.is_all else there
        return cls({name: plan_suite(book, name) for name in book.model.tables}, covered, of, files)

    def rows(self, table: str) -> pa.Table:
        """Return the rows of a table: the columns of its suite."""
        with ExitStack() as opened:
            return pa.concat_tables(
                opened.enter_context(pa.ipc.open_stream(path.read_bytes())).read_all()
                for path in self.files[table]
            )

    def digest(self, table: str, library: str = "") -> str:
        """Return a SHA-256 of what the suite of a table is run over, whatever the rows' order.

        The version of the library that runs it is a part of it, because it makes the pages.

        Two tables of the same rules with the same digest have the same results and pages.
        """
        digest = hashlib.sha256(library.encode())
        for row in sorted(self._as_bytes(table)):
            digest.update(len(row).to_bytes(8, "little") + row)
        return digest.hexdigest()

    def _as_bytes(self, table: str) -> Iterator[bytes]:
        """Yield each row as bytes from which its cells could be restored."""
        columns = [as_array(each) for each in self.rows(table).columns]
        lengths = [pc.fill_null(pc.binary_length(column), -1).to_numpy() for column in columns]
        sizes = np.stack(lengths, axis=1).astype("<i4")
        joined = pc.binary_join_element_wise(
            *columns, "", null_handling="replace", null_replacement=""
        )
        for size, text in zip(sizes, joined.to_pylist(), strict=True):
            yield size.tobytes() + text.encode()


def _count(path: Path) -> int:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        return sum(batch.num_rows for batch in reader)
