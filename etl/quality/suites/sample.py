"""The sample that suites check: the rows of some members.

Only the hash of a member's id and the size of the extract decide who is in the sample. So every run
over the same extract checks the same rows, whatever the number of partitions or processes, and the
next night's run checks the same members. Small extracts are checked in full.

A suite checks accepted and rejected rows, so that its percentages are those of the members, and the
values that the rules saw, before cells were blanked.
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
"""Prefix of the names of files with sampled rows; the table's name follows."""
_HASH_BITS: Final = 64
_MOST_HALVINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Share:
    """Share of members that the suites check: those whose hash begins with some zero bits.

    The share is a power of 1/2. So it seldom changes while an extract grows, and then to a subset.

    Attributes:
        halvings: number of zero bits; 0 for all members.
    """

    halvings: int

    @classmethod
    def at_most(cls, rows: int, most: int) -> Share:
        """Return the largest share with at most about `most` of all `rows`."""
        halvings = 0
        while rows >> halvings > most and halvings < _MOST_HALVINGS:
            halvings += 1
        return cls(halvings)

    @property
    def is_all(self) -> bool:
        """Whether every row is in the sample."""
        return self.halvings == 0

    def includes(self, hashes: Any) -> Any:
        """Return numpy `bool`, shape (n,): which hashes (`uint64`) are in the share."""
        if self.is_all:
            return np.ones(len(hashes), dtype=bool)
        return hashes >> np.uint64(_HASH_BITS - self.halvings) == 0


@dataclass(frozen=True, slots=True)
class Sample:
    """Writes the checked rows of some members for the suites; can be pickled.

    Attributes:
        share: the members.
    """

    share: Share

    def selects(self, members: Hashes) -> Any:
        """Return numpy `bool`, shape (n,): which members are in the sample."""
        return self.share.includes(members)

    def __call__(
        self, decided: DecidedRows, row_keys: Any, owners: Hashes, /
    ) -> dict[str, list[pa.Buffer]]:
        """Return file name -> rows of a table, as an Arrow stream; omits empty tables.

        Args:
            decided: the rows.
            row_keys: numpy `int64`, shape (n,): `place_keys` of the rows that have an owner.
            owners: the hash of the owner of each.
        """
        wanted = None if self.share.is_all else row_keys[self.share.includes(owners)]
        files = {}
        for name, frame in decided.work.frames.items():
            sampled_rows = np.flatnonzero(_is_sampled(frame, wanted))
            if len(sampled_rows):
                files[f"{SAMPLE}{name}"] = [
                    arrow_stream(_sampled_rows(decided, frame, sampled_rows), compressed=False)
                ]
        return files


def _is_sampled(frame: Frame, keys: Any) -> Any:
    """Return which rows of a table are sampled; never deletions and superseded rows."""
    rows = frame.whole_rows
    return rows if keys is None else rows & np.isin(place_keys(frame.files, frame.rows), keys)


def _sampled_rows(decided: DecidedRows, frame: Frame, positions: Any) -> pa.Table:
    """Return rows of one table, with the columns of its suite."""
    suite = plan_suite(decided.work.book, frame.name)
    index = pa.array(positions)
    columns: dict[str, Any] = {}
    for name, (column, as_seen) in suite.texts.items():
        text = frame.original.get(column) if as_seen else None
        columns[name] = as_array(frame.cells(column).text if text is None else text).take(index)
    return pa.table(columns)


@dataclass(frozen=True, slots=True)
class SuiteRows:
    """The sampled rows of every table.

    Attributes:
        suites: table -> its suite.
        covered: table -> number of sampled rows; omits tables without any.
        row_counts: table -> number of all rows, without superseded ones.
        files: table -> files of `Sample`, in the order of the units.
    """

    suites: Mapping[str, Suite]
    covered: Mapping[str, int]
    row_counts: Mapping[str, int]
    files: Mapping[str, Sequence[Path]]

    @classmethod
    def open(
        cls,
        units: Iterable[Mapping[str, Path]],
        counts: Mapping[str, RowCounts],
        book: RuleBook,
        share: Share,
    ) -> SuiteRows:
        """Open the rows that `Sample` has written.

        Args:
            units: for each unit, name -> file; only those of `Sample` are read.
            counts: table -> counts of all rows of the extract, by fate.
            book: the rules.
            share: the members that the rows belong to.
        """
        files: dict[str, list[Path]] = {}
        for unit in units:
            for name, path in unit.items():
                if name.startswith(SAMPLE):
                    files.setdefault(name.removeprefix(SAMPLE), []).append(path)
        covered = {name: sum(map(_count_rows, paths)) for name, paths in files.items()}
        # Deletions should not count either, but are known only if all rows are sampled.
        totals = {name: c.rows_in - c.superseded for name, c in counts.items()}
        row_counts = {name: covered.get(name, 0) for name in counts} if share.is_all else totals
        suites = {name: plan_suite(book, name) for name in book.model.tables}
        return cls(suites, covered, row_counts, files)

    def rows(self, table: str) -> pa.Table:
        """Return the rows of a table, with the columns of its suite."""
        with ExitStack() as opened:
            return pa.concat_tables(
                opened.enter_context(pa.ipc.open_stream(path.read_bytes())).read_all()
                for path in self.files[table]
            )

    def digest(self, table: str, library: str = "") -> str:
        """Return a SHA-256 of a table's rows, in any order, and the library's version.

        Two tables of the same rules with the same digest have the same results and pages.
        """
        digest = hashlib.sha256(library.encode())
        for row in sorted(self._encode_rows(table)):
            digest.update(len(row).to_bytes(8, "little") + row)
        return digest.hexdigest()

    def _encode_rows(self, table: str) -> Iterator[bytes]:
        """Encode each row as unambiguous bytes."""
        columns = [as_array(column) for column in self.rows(table).columns]
        lengths = [pc.fill_null(pc.binary_length(column), -1).to_numpy() for column in columns]
        sizes = np.stack(lengths, axis=1).astype("<i4")
        joined = pc.binary_join_element_wise(
            *columns, "", null_handling="replace", null_replacement=""
        )
        for size, text in zip(sizes, joined.to_pylist(), strict=True):
            yield size.tobytes() + text.encode()


def _count_rows(path: Path) -> int:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        return sum(batch.num_rows for batch in reader)
