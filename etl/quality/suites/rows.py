"""The sampled rows of an extract, as the suites check them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array
from etl.quality.rules.book import RuleBook
from etl.quality.suites.plan import Suite, plan_suite
from etl.quality.suites.sample import SAMPLE, Share
from etl.quality.totals.rows import RowCounts


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
