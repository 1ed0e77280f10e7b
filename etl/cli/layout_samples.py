"""Sample rows beside a layout, and the canonical rows that they become.

A layout in `FOLDER/NAME.yaml` has them in `FOLDER/NAME/`: the files of a small extract in `input/`,
and in `expected.ndjson` the rows that are meant, a JSON object a line: canonical rows with `table`
and `place`, then findings with `finding`, `table`, `place` and `in`.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa

from etl.errors import UsageError
from etl.sources.extract.opening import open_extract
from etl.sources.layout.model import Layout
from etl.sources.partition.partitions import Partitions
from etl.sources.partition.reading import partition_extract

INPUT: Final = "input"
"""Folder of the sample files."""
EXPECTED: Final = "expected.ndjson"
"""File of the rows that they are meant to become."""

Row: TypeAlias = Mapping[str, str]
"""Canonical row or finding: column -> text, absent ones left out."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that differs from the one that is expected.

    Attributes:
        expected: the row; None where none was expected.
        actual: the row; None where there is none.
    """

    expected: Row | None
    actual: Row | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns in which the two differ; empty where one of them is not there."""
        if self.expected is None or self.actual is None:
            return ()
        names = dict.fromkeys([*self.expected, *self.actual])
        return tuple(name for name in names if self.expected.get(name) != self.actual.get(name))


def samples_of(layout: Layout, folders: Sequence[Path]) -> Path:
    """Return the folder of a layout's samples: beside its file, with the file's name.

    Args:
        layout: the layout.
        folders: where its file may be, the first in which there are samples counts.

    Raises:
        UsageError: the layout has no file.
    """
    if not layout.file:
        raise UsageError(
            f"{layout.name} is built in and has no samples; pass a folder of samples with --samples"
        )
    current_folder = Path()  # a file of a shipped name has its own folder in its place
    beside = [(folder / layout.file).with_suffix("") for folder in (*folders, current_folder)]
    return next((folder for folder in beside if (folder / INPUT).is_dir()), beside[0])


def sample_rows(layout: Layout, folder: Path) -> tuple[Row, ...]:
    """Return the canonical rows and findings of the sample files in a folder.

    Raises:
        UsageError: there are none.
        ExtractError: they are no extract of the layout.
    """
    samples = folder / INPUT
    if not samples.is_dir():
        raise UsageError(
            f"there are no sample files in {samples}; put a small extract there, or use "
            "--samples with the folder that contains input/"
        )
    with tempfile.TemporaryDirectory(prefix="cpcds-samples-") as work:
        extract = open_extract(samples, [layout], layout=layout.name)
        return canonical_rows(partition_extract(extract, Path(work), partitions=1))


def canonical_rows(parts: Partitions) -> tuple[Row, ...]:
    """Return every canonical row of an extract, table by table, then every finding, sorted."""
    rows = []
    names = parts.facts.names
    loaded = [*map(parts.load, range(parts.facts.count)), parts.directory()]
    for part in loaded:
        for name, table in part.tables.items():
            for row in table.to_pylist():
                position = f"{names[row.pop('_file')]}:{row.pop('_row')}"
                filled = {column: text for column, text in row.items() if text is not None}
                rows.append({"table": name, "place": position, **filled})
    findings = pa.concat_tables([parts.facts.findings, *(part.findings for part in loaded)])
    finding_rows = [
        {
            "finding": finding["rule"],
            "table": finding["table"],
            "place": f"{names[finding['file']]}:{finding['row']}",
            "in": finding["column"],
        }
        for finding in findings.to_pylist()
    ]
    return (*rows, *sorted(finding_rows, key=lambda finding: str(tuple(finding.values()))))


def rows_text(rows: Iterable[Row]) -> str:
    """Return rows as the text of `expected.ndjson`."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def expected_rows(path: Path) -> tuple[Row, ...]:
    """Return the rows of an `expected.ndjson`; none where there is no such file.

    Raises:
        UsageError: a line is no JSON object.
    """
    if not path.exists():
        return ()
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row: Any = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UsageError(f"{path}:{number}: not a JSON object; write the file with --write")
        rows.append(row)
    return tuple(rows)


def row_differences(expected: Sequence[Row], actual: Sequence[Row]) -> tuple[RowDifference, ...]:
    """Return where rows differ from those that are expected; their order does not count.

    Rows of one table and place are paired, in order.
    """
    missing, surplus = _missing_rows(expected, actual), _missing_rows(actual, expected)
    unpaired: dict[tuple[str, ...], list[Row]] = {}
    for row in missing:
        unpaired.setdefault(_row_key(row), []).append(row)
    differences = []
    for row in surplus:
        pairs = unpaired.get(_row_key(row))
        differences.append(RowDifference(pairs.pop(0) if pairs else None, row))
    differences += [RowDifference(row, None) for rows in unpaired.values() for row in rows]
    return tuple(differences)


def _missing_rows(rows: Sequence[Row], other_rows: Sequence[Row]) -> list[Row]:
    """Return the rows that others do not have, or have less often."""
    other_counts = Counter(map(_row_text, other_rows))
    missing = []
    for row in rows:
        if other_counts[_row_text(row)]:
            other_counts[_row_text(row)] -= 1
        else:
            missing.append(row)
    return missing


def _row_text(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def _row_key(row: Row) -> tuple[str, ...]:
    return (row.get("finding", ""), str(row.get("table")), str(row.get("place")))
