"""Every place of every finding, in a file next to the report: places and rule IDs, no cell.

The report names the first places of each rule. All places can need many times the memory of a run,
so they are kept on disk in blocks of rows of a file. Each block is sorted, so that the file does
not depend on the partitions.
"""

from __future__ import annotations

import gzip
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

BLOCK_ROWS: Final = 1 << 18
SHOWN_PLACES: Final = 1000
"""Number of places that the page of a rule shows."""
_MISSING: Final = -1
_PLACE_TYPE: Final = np.dtype(
    [("file", "<i4"), ("row", "<i8"), ("table", "<i4"), ("column", "<i4"), ("rule", "<i4")]
)
_HEADER: Final = ("file", "row", "table", "column", "rule")


@dataclass(frozen=True, slots=True)
class ShownPlace:
    """Place of a finding, as the page of its rule shows it.

    Attributes:
        file: name of the file; empty for the extract as a whole.
        row: row number as a spreadsheet shows it; None for a whole file.
        table: canonical table.
        column: canonical column; empty for a whole row.
    """

    file: str
    row: int | None
    table: str
    column: str


class FindingPlaces:
    """Places of findings, on disk.

    Args:
        folder: private folder; what an earlier attempt left in it is deleted.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._blocks: set[tuple[int, int]] = set()
        self._text_numbers: dict[str, int] = {}

    def add(self, findings: pa.Table) -> None:
        """Add the places of findings (`etl.rows.FINDINGS_SCHEMA`), in any order."""
        if not findings.num_rows:
            return
        records = np.empty(findings.num_rows, _PLACE_TYPE)
        for name in ("file", "row"):
            records[name] = findings.column(name).fill_null(_MISSING).to_numpy()
        for name in ("table", "column", "rule"):
            records[name] = self._encode_texts(findings.column(name))
        block_keys = np.stack([records["file"], records["row"] // BLOCK_ROWS])
        distinct_keys, indices = np.unique(block_keys, axis=1, return_inverse=True)
        for number, (file, block) in enumerate(distinct_keys.T.tolist()):
            self._blocks.add((file, block))
            with self._path(file, block).open("ab") as block_file:
                block_file.write(records[indices.ravel() == number].tobytes())

    def write(self, path: Path, names: Sequence[str]) -> dict[str, list[ShownPlace]]:
        """Write all places as gzipped CSV, ordered by file and row.

        Args:
            path: the file.
            names: names of the extract's files by number.

        Returns:
            Rule -> its first places, at most `SHOWN_PLACES`. If there are none, no file is written.
        """
        if not self._text_numbers:
            return {}
        shown: dict[str, list[ShownPlace]] = defaultdict(list)
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = np.array(list(self._text_numbers), dtype=object)
        ranks = np.argsort(np.argsort(texts.astype(str)))
        options = csv.WriteOptions(include_header=False, quoting_style="needed")
        # No time and no name in the header of gzip: the same places give the same bytes.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            file.write(f"{','.join(_HEADER)}\n".encode())
            for block in sorted(self._blocks):
                records = np.fromfile(self._path(*block), _PLACE_TYPE)
                keys = [ranks[records[name]] for name in ("rule", "column", "table")]
                table = _place_table(records[np.lexsort((*keys, records["row"]))], texts, names)
                csv.write_csv(table, file, options)
                _add_shown_places(table, shown)
        return dict(shown)

    def _path(self, file: int, block: int) -> Path:
        return self._folder / f"{file}_{block}.places"

    def _encode_texts(self, column: pa.ChunkedArray) -> Any:
        encoded = column.fill_null("").combine_chunks().dictionary_encode()
        numbers = [
            self._text_numbers.setdefault(text, len(self._text_numbers))
            for text in encoded.dictionary.to_pylist()
        ]
        return np.array(numbers, np.int32)[encoded.indices.to_numpy()]


def _add_shown_places(table: pa.Table, shown: dict[str, list[ShownPlace]]) -> None:
    """Add places to rules that have fewer than `SHOWN_PLACES`."""
    rules = table.column("rule")
    for rule in rules.unique().to_pylist():
        first_rows = table.filter(pc.equal(rules, rule)).slice(0, SHOWN_PLACES - len(shown[rule]))
        shown[rule] += [
            ShownPlace(place["file"] or "", place["row"], place["table"], place["column"] or "")
            for place in first_rows.to_pylist()
        ]


def _place_table(records: Any, texts: Any, names: Sequence[str]) -> pa.Table:
    files = np.array([*names, None], dtype=object)  # the last one: the extract as a whole
    text_array = np.array([text or None for text in texts], dtype=object)
    rows = records["row"]
    columns = [
        pa.array(files[records["file"]], pa.string()),
        pa.array(rows, pa.int64(), mask=rows == _MISSING),
        *(pa.array(text_array[records[name]], pa.string()) for name in _HEADER[2:]),
    ]
    return pa.table(columns, names=list(_HEADER))
