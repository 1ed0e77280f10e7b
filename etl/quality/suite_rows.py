"""Gathers the rows that the suites run over, in bounded memory: a file a table.

with SuiteRows(work / "suites", book, max_rows=100_000) as rows:
    for checked in partitions:
        rows.add(checked.samples)
    run_suites(rows, book, report / "data-docs", ...)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from etl.model.tables import TABLES
from etl.quality.parsed import as_array
from etl.quality.rules import RuleBook
from etl.quality.sample import Sample
from etl.quality.suites import Suite, plan_suite

DEFAULT_ROWS: Final = 100_000
"""Rows of each table that the suites look at, unless configured otherwise."""


class SuiteRows:
    """Rows of every table for the suites, written to disk as they come.

    Attributes:
        suites: table -> its suite.
        covered: table -> rows kept.
        of: table -> rows that there are.
        max_rows: most rows of a table that are kept.
    """

    def __init__(self, folder: Path, book: RuleBook, max_rows: int = DEFAULT_ROWS) -> None:
        self.suites: dict[str, Suite] = {name: plan_suite(book, name) for name in TABLES}
        self.covered: dict[str, int] = {}
        self.of: dict[str, int] = {}
        self._folder = folder
        self.max_rows = max_rows
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

    def room(self, table: str) -> int:
        """Return how many more rows of a table are wanted."""
        return self.max_rows - self.covered.get(table, 0)

    def add(self, samples: Mapping[str, Sample]) -> None:
        """Take rows of one partition, as many as there is room for."""
        for table, sample in samples.items():
            before = self.covered.get(table, 0)
            taken = min(self.room(table), sample.rows.num_rows)
            self.of[table] = self.of.get(table, 0) + sample.of
            self.covered[table] = before + taken
            if not taken:
                continue
            self._write(table, sample, taken)
            kept = self._failures.setdefault(table, {})
            for key, places in sample.failures.items():
                here = places[places < taken]
                if len(here):
                    kept.setdefault(key, []).append(here + before)

    def _write(self, table: str, sample: Sample, taken: int) -> None:
        texts = self.suites[table].texts
        schema = pa.schema([pa.field(name, pa.string()) for name in texts] or [("_", pa.string())])
        arrays = [
            as_array(sample.seen[column])
            if seen and column in sample.seen
            else as_array(sample.rows.column(column))
            for column, seen in texts.values()
        ] or [pa.nulls(sample.rows.num_rows, pa.string())]
        if table not in self._writers:
            # Open until the end: one file a table, and closing is what ends the stream.
            self._writers[table] = pa.ipc.new_stream(str(self._path(table)), schema)
        rows = pa.table(arrays, schema=schema).slice(0, taken)
        self._writers[table].write_table(rows)

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
