"""Every place of every finding, in a file beside the report: places and rule ids, no cell.

The report names the first places of each rule. All of them can be many times the memory of a run:
they are kept on disk in blocks of rows of a file, and each block is sorted by itself, so that the
file is the same whatever partitions they came from.
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
_NONE: Final = -1
_PLACE: Final = np.dtype(
    [("file", "<i4"), ("row", "<i8"), ("table", "<i4"), ("column", "<i4"), ("rule", "<i4")]
)
_HEADER: Final = ("file", "row", "table", "column", "rule")


@dataclass(frozen=True, slots=True)
class ShownPlace:
    """Place of a finding, as the page of its rule shows it.

    Attributes:
        file: name of the file; empty for the extract as a whole.
        row: row as a spreadsheet shows it; None for a whole file.
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
        folder: for what is in progress; what an earlier attempt left there is deleted.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._blocks: set[tuple[int, int]] = set()
        self._words: dict[str, int] = {}

    def add(self, findings: pa.Table) -> None:
        """Keep the places of findings (`etl.rows.FINDINGS_SCHEMA`), in any order."""
        if not findings.num_rows:
            return
        places = np.empty(findings.num_rows, _PLACE)
        for name in ("file", "row"):
            places[name] = findings.column(name).fill_null(_NONE).to_numpy()
        for name in ("table", "column", "rule"):
            places[name] = self._numbers(findings.column(name))
        blocks = np.stack([places["file"], places["row"] // BLOCK_ROWS])
        distinct, which = np.unique(blocks, axis=1, return_inverse=True)
        for number, (file, block) in enumerate(distinct.T.tolist()):
            self._blocks.add((file, block))
            with self._path(file, block).open("ab") as kept:
                kept.write(places[which.ravel() == number].tobytes())

    def write(self, path: Path, names: Sequence[str]) -> dict[str, list[ShownPlace]]:
        """Write all places as CSV with gzip, in the order of files and rows.

        Args:
            path: the file.
            names: names of the extract's files by number.

        Returns:
            Rule -> its first places, `SHOWN_PLACES` at most; without any no file is written.
        """
        if not self._words:
            return {}
        first: dict[str, list[ShownPlace]] = defaultdict(list)
        path.parent.mkdir(parents=True, exist_ok=True)
        words = np.array(list(self._words), dtype=object)
        ranks = np.argsort(np.argsort(words.astype(str)))
        options = csv.WriteOptions(include_header=False, quoting_style="needed")
        # No time and no name in the header of gzip: the same places give the same bytes.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            file.write(f"{','.join(_HEADER)}\n".encode())
            for block in sorted(self._blocks):
                places = np.fromfile(self._path(*block), _PLACE)
                keys = [ranks[places[name]] for name in ("rule", "column", "table")]
                table = _table(places[np.lexsort((*keys, places["row"]))], words, names)
                csv.write_csv(table, file, options)
                _show(table, first)
        return dict(first)

    def _path(self, file: int, block: int) -> Path:
        return self._folder / f"{file}_{block}.places"

    def _numbers(self, column: pa.ChunkedArray) -> Any:
        encoded = column.fill_null("").combine_chunks().dictionary_encode()
        numbers = [
            self._words.setdefault(word, len(self._words))
            for word in encoded.dictionary.to_pylist()
        ]
        return np.array(numbers, np.int32)[encoded.indices.to_numpy()]


def _show(table: pa.Table, first: dict[str, list[ShownPlace]]) -> None:
    """Add places of rules that have fewer than are shown."""
    rules = table.column("rule")
    for rule in rules.unique().to_pylist():
        places = table.filter(pc.equal(rules, rule)).slice(0, SHOWN_PLACES - len(first[rule]))
        first[rule] += [
            ShownPlace(place["file"] or "", place["row"], place["table"], place["column"] or "")
            for place in places.to_pylist()
        ]


def _table(places: Any, words: Any, names: Sequence[str]) -> pa.Table:
    files = np.array([*names, None], dtype=object)  # the last one: the extract as a whole
    texts = np.array([word or None for word in words], dtype=object)
    rows = places["row"]
    columns = [
        pa.array(files[places["file"]], pa.string()),
        pa.array(rows, pa.int64(), mask=rows == _NONE),
        *(pa.array(texts[places[name]], pa.string()) for name in _HEADER[2:]),
    ]
    return pa.table(columns, names=list(_HEADER))
