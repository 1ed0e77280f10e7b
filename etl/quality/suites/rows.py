"""Gathers the rows that the suites run over, in bounded memory: a file a table.

with SuiteRows(work / "suites", book, Share.of(rows_of_largest_table, most)) as rows:
    for checked in partitions:
        rows.add(checked.samples, checked.counts)
    run_suites(rows, report / "data-docs", ...)
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array
from etl.model.canonical_tables import TABLES
from etl.quality.rules.book import RuleBook
from etl.quality.suites.plan import Suite, plan_suite
from etl.quality.suites.sample import Sample, Share
from etl.quality.totals.rows import RowCounts


class SuiteRows:
    """Rows of every table for the suites, written to disk as they come.

    Attributes:
        suites: table -> its suite.
        covered: table -> rows kept.
        of: table -> rows that there are, without superseded ones.
        share: of which members rows are wanted.
    """

    def __init__(self, folder: Path, book: RuleBook, share: Share) -> None:
        self.suites: dict[str, Suite] = {name: plan_suite(book, name) for name in TABLES}
        self.covered: dict[str, int] = {}
        self.of: dict[str, int] = {}
        self.share = share
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self._failures: dict[str, dict[tuple[str, str], list[Any]]] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete what was gathered: it is members' data."""
        for writer in self._writers.values():
            writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, samples: Mapping[str, Sample], counts: Mapping[str, RowCounts]) -> None:
        """Take the rows of one partition that are to be looked at.

        Args:
            samples: table -> its rows.
            counts: table -> what became of all rows of the partition.
        """
        for table, each in counts.items():
            # Deletions stand for no row either, and are only told apart where all are looked at.
            kept = samples[table].rows.num_rows if table in samples else 0
            there = kept if self.share.is_all else each.rows_in - each.superseded
            self.of[table] = self.of.get(table, 0) + there
        for table, sample in samples.items():
            if not sample.rows.num_rows:
                continue
            before = self.covered.get(table, 0)
            self.covered[table] = before + sample.rows.num_rows
            self._write(table, sample)
            kept_failures = self._failures.setdefault(table, {})
            for key, places in sample.failures.items():
                kept_failures.setdefault(key, []).append(places + before)

    def _write(self, table: str, sample: Sample) -> None:
        texts = self.suites[table].texts
        schema = pa.schema([pa.field(name, pa.string()) for name in texts] or [("_", pa.string())])
        arrays = [sample.text(column, seen=seen) for column, seen in texts.values()]
        arrays = arrays or [pa.nulls(sample.rows.num_rows, pa.string())]
        if table not in self._writers:
            # Open until the end: one file a table, and closing is what ends the stream.
            self._writers[table] = pa.ipc.new_stream(str(self._path(table)), schema)
        self._writers[table].write_table(pa.table(arrays, schema=schema))

    def _path(self, table: str) -> Path:
        return self._folder / f"{table}.arrows"

    def rows(self, table: str) -> pa.Table:
        """Return what was kept of a table: the columns of its suite."""
        writer = self._writers.pop(table, None)
        if writer is not None:
            writer.close()
        with pa.ipc.open_stream(str(self._path(table))) as reader:
            return reader.read_all()

    def passed(self, table: str, rule_id: str) -> Any:
        """Return numpy `bool`, shape (covered rows,): which rows pass a rule in every column."""
        ok = np.ones(self.covered.get(table, 0), dtype=bool)
        for (failed, _), parts in self._failures.get(table, {}).items():
            if failed == rule_id:
                for part in parts:
                    ok[part] = False
        return ok

    def digest(self, table: str, library: str = "") -> str:
        """Return a SHA-256 of what the suite of a table is run over, whatever the rows' order.

        The version of the library that runs it is a part of it, because it makes the pages.

        Two tables of the same rules have the same digest only where every expectation comes to the
        same, and so do their pages.
        """
        digest = hashlib.sha256(library.encode())
        for row in sorted(self._as_bytes(table)):
            digest.update(len(row).to_bytes(8, "little") + row)
        return digest.hexdigest()

    def _as_bytes(self, table: str) -> Iterator[bytes]:
        """Yield each row as bytes from which its cells could be told again."""
        suite = self.suites[table]
        marks = [np.empty((self.covered[table], 0), dtype=bool)]
        marks += [self.passed(table, wanted.rule.id)[:, None] for wanted in suite.wanted]
        passed = np.packbits(np.concatenate(marks, axis=1), axis=1)
        columns = [as_array(column) for column in self.rows(table).columns]
        lengths = [pc.fill_null(pc.binary_length(column), -1).to_numpy() for column in columns]
        sizes = np.stack(lengths, axis=1).astype("<i4")
        joined = pc.binary_join_element_wise(
            *columns, "", null_handling="replace", null_replacement=""
        )
        for size, mark, text in zip(sizes, passed, joined.to_pylist(), strict=True):
            yield size.tobytes() + mark.tobytes() + text.encode()
