"""Files of an extract: rows are written as they come; all files appear at once.

Every file is written under a `.partial` name. When all are complete they are renamed, the manifest
last. On an error they are deleted, so that no partial extract is left for a loader.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from etl.errors import StoreError, UsageError
from etl.model.canonical_tables import TABLES
from etl.synth.directory import PAYER_NAMES, Row
from etl.synth.faults import Planted
from etl.synth.spec import Spec

LEDGER: Final = "faults.csv"
MANIFEST: Final = "manifest.json"
_FLUSH_CHARACTERS: Final = 1 << 18
_BATCH_ROWS: Final = 1_000
"""Rows kept as Python values before they become Arrow, which takes a tenth of the memory."""
_GROUP_BATCHES: Final = 16
"""Batches to a Parquet row group."""
_TABLE_FILES: Final = "|".join(table.file_name for table in TABLES.values())
_EXTRACT_FILE: Final = re.compile(
    rf"({_TABLE_FILES})(-[^.]*)?\.(csv|psv|tsv|parquet)(\.gz)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class WrittenExtract:
    """Result of writing an extract.

    Attributes:
        rows: table -> rows, headers not counted.
        bytes: of all files, as they are on disk.
        faults: how many were planted.
    """

    rows: Mapping[str, int]
    bytes: int
    faults: int


class OutputFile(io.BufferedWriter):
    """A new file; writes to an abandoned one are ignored.

    pyarrow writes a footer whenever it lets go of its writer.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self.path = path
        self.abandoned = False

    def write(self, data: Any) -> int:
        """Write bytes."""
        return len(data) if self.abandoned else super().write(data)


class TextFile:
    """Rows as CSV: RFC 4180 quoting, LF, UTF-8 without a BOM, absent is empty."""

    def __init__(self, file: OutputFile, columns: Sequence[str], *, packed: bool) -> None:
        # A name or a time in the gzip header would change the bytes of the same rows.
        self._packer = (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
            if packed
            else None
        )
        self._stream = self._packer or file
        self._blank = dict.fromkeys(columns, "")
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, rows: Sequence[Row], ragged: set[int]) -> None:
        """Write rows, those in `ragged` with one cell too many: a planted fault."""
        comma_count = len(self._blank) - 1
        for place, row in enumerate(rows):
            # Joining is three times as fast as the csv writer, which only rows with quotes need.
            cells = (self._blank | row).values()
            line = ",".join(cells)
            if place in ragged:
                self._writer.writerow([*cells, "?"])
            elif line.count(",") != comma_count or not {'"', "\n", "\r"}.isdisjoint(line):
                self._writer.writerow(cells)
            else:
                self._buffer.write(line + "\n")
        if self._buffer.tell() > _FLUSH_CHARACTERS:
            self._flush()

    def finish(self) -> None:
        """Write the remaining rows, and close the file."""
        self._flush()
        self.close()

    def close(self) -> None:
        """Release the file."""
        if self._packer:
            self._packer.close()

    def _flush(self) -> None:
        self._stream.write(self._buffer.getvalue().encode())
        self._buffer.seek(0)
        self._buffer.truncate()


class ParquetFile:
    """Rows as Parquet, every column a string, absent is null."""

    def __init__(self, file: OutputFile, columns: Sequence[str]) -> None:
        self._schema = pa.schema([pa.field(column, pa.string()) for column in columns])
        stream = pa.PythonFile(file, mode="w")
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")
        self._waiting: list[Row] = []
        self._batches: list[pa.RecordBatch] = []

    def write(self, rows: Sequence[Row], ragged: set[int]) -> None:
        """Write rows; none can have a cell too many."""
        assert not ragged  # noqa: S101 - such faults are planted in text alone
        self._waiting += rows
        if len(self._waiting) >= _BATCH_ROWS:
            self._make_batch()
        if len(self._batches) >= _GROUP_BATCHES:
            self._flush()

    def finish(self) -> None:
        """Write the remaining rows, and close the file."""
        self._make_batch()
        self._flush()
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._writer.close()

    def _make_batch(self) -> None:
        if self._waiting:
            self._batches.append(pa.RecordBatch.from_pylist(self._waiting, schema=self._schema))
            self._waiting.clear()

    def _flush(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches.clear()


class ExtractFiles:
    """The files of one extract while it is written.

    Attributes:
        rows: file name -> rows written to it, headers not counted.
        part: which part the next rows go to, from 0.
    """

    def __init__(self, out: Path, spec: Spec) -> None:
        self.rows: dict[str, int] = {}
        self.part = 0
        self._out, self._spec = out, spec
        self._files: dict[str, OutputFile] = {}
        self._open: dict[str, TextFile | ParquetFile] = {}
        self._ledger: list[tuple[str, str, str, str]] = []

    def begin(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Create the folder, and a file for every table and part.

        Raises:
            UsageError: the folder holds files of another extract.
        """
        parts = range(self._spec.parts)
        names = {self._file_name(table, part): table for part in parts for table in columns}
        self._out.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._out.iterdir()):
            if _EXTRACT_FILE.fullmatch(path.name) and path.name not in names:
                raise UsageError(
                    f"{self._out} holds {path.name} of another extract; "
                    "name an empty folder, or take that one away"
                )
        for name, table in names.items():
            file = self._create_file(name)
            self.rows[name] = 0
            self._open[name] = (
                ParquetFile(file, columns[table])
                if self._spec.format == "parquet"
                else TextFile(file, columns[table], packed=self._spec.gzip)
            )

    def _create_file(self, name: str) -> OutputFile:
        file = self._files[name] = OutputFile(self._out / f"{name}.partial")
        return file

    def _file_name(self, table: str, part: int) -> str:
        suffix = f"-{part + 1:05d}" if self._spec.parts > 1 else ""
        return f"{table}{suffix}.{self._spec.format}{'.gz' if self._spec.gzip else ''}"

    def write(self, tables: Mapping[str, Sequence[Row]], planted: Sequence[Planted]) -> None:
        """Write rows by table, and their faults into the ledger."""
        first_rows: dict[str, int] = {}
        for table, rows in tables.items():
            if rows:
                name = self._file_name(table, self.part)
                first_rows[table] = self.rows[name] + 2  # as in a spreadsheet: the header is 1
                ragged = {fault.place for fault in planted if fault.ragged and fault.table == table}
                self._open[name].write(rows, ragged)
                self.rows[name] += len(rows)
        for fault in planted:
            name = self._file_name(fault.table, self.part)
            row = str(first_rows[fault.table] + fault.place)
            self._ledger.append((name, row, fault.column, fault.rule))

    def finish(self, layout: str) -> WrittenExtract:
        """Close and name every file, the manifest last."""
        for opened in self._open.values():
            opened.finish()
        written: dict[str, int] = {}
        for name, count in self.rows.items():
            table = name.partition(".")[0].partition("-")[0]
            written[table] = written.get(table, 0) + count
        if self._ledger:
            head = [("file", "row", "column", "fault"), (LEDGER, "", "", "unknown-file")]
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([*head, *self._ledger])
            self._create_file(LEDGER).write(text.getvalue().encode())
            self.rows[LEDGER] = len(self._ledger) + 1
        for file in self._files.values():
            file.close()
        manifest = {
            "layout": layout,
            "kind": self._spec.kind,
            "as_of": self._spec.date.isoformat(),
            "payer": next(iter(PAYER_NAMES.values())),
            "files": {
                name: {"rows": self.rows[name], "sha256": _hash_file(file.path)}
                for name, file in self._files.items()
            },
        }
        with self._create_file(MANIFEST) as file:
            file.write(f"{json.dumps(manifest, indent=2, ensure_ascii=False)}\n".encode())
        size = sum(file.path.stat().st_size for file in self._files.values())
        # The manifest comes last: after a crash, an older one doesn't match the new files.
        for name, file in self._files.items():
            file.path.replace(self._out / name)
        if LEDGER not in self._files:
            (self._out / LEDGER).unlink(missing_ok=True)
        return WrittenExtract(MappingProxyType(written), size, len(self._ledger))

    def drop(self) -> None:
        """Delete the unfinished files."""
        for file in self._files.values():
            file.abandoned = True
            with suppress(OSError):  # the disk may be full when the buffer is flushed
                file.close()
            file.path.unlink(missing_ok=True)
        for opened in self._open.values():
            opened.close()


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def extract_files(
    out: Path, spec: Spec, columns: Mapping[str, Sequence[str]]
) -> Iterator[ExtractFiles]:
    """Yield the files to write into; unfinished ones are deleted when the block is left.

    Raises:
        UsageError: the folder holds files of another extract.
        StoreError: the system refused to write, for example because the disk is full.
    """
    files = ExtractFiles(out, spec)
    try:
        files.begin(columns)
        yield files
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or 'the system refused'}; "
            "nothing was left there"
        ) from None
    finally:
        files.drop()
