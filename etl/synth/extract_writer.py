"""Files of an extract: rows are written as they come and hashed; all files appear at once.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from etl.errors import StoreError, UsageError
from etl.model.canonical_tables import TABLES
from etl.synth.directory import Row

LEDGER: Final = "faults.csv"
MANIFEST: Final = "manifest.json"
_FLUSH_CHARACTERS: Final = 1 << 18
_BATCH_ROWS: Final = 1_000
"""Rows kept as Python values before they become Arrow, which takes a tenth of the memory."""
_GROUP_BATCHES: Final = 16
"""Batches to a Parquet row group."""
_PARTIAL: Final = ".partial"
_EXTRACT_FILE: Final = re.compile(
    rf"({'|'.join(TABLES)})(-[^.]*)?\.(csv|psv|tsv|parquet)(\.gz)?", re.IGNORECASE
)


class HashedFile:
    """A new file with a running size and hash.

    Attributes:
        abandoned: further writes are ignored; a library that closes its writer late may still try.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.closed = False
        self.abandoned = False
        self._digest = hashlib.sha256()
        self._stream: IO[bytes] = path.open("wb")

    def write(self, data: Any) -> int:
        """Write bytes."""
        if self.abandoned:
            return len(data)
        self._digest.update(data)
        self.bytes += len(data)
        return self._stream.write(data)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.bytes

    def flush(self) -> None:
        """Flush the buffer to the operating system."""
        self._stream.flush()

    def close(self) -> None:
        """Close the file; closing twice has no effect."""
        self.closed = True
        self._stream.close()

    @property
    def sha256(self) -> str:
        """The hash of what was written."""
        return self._digest.hexdigest()


class RowFile(Protocol):
    """Destination of the rows of one file."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows."""

    def finish(self) -> None:
        """Write what is left; nothing may be written afterwards."""

    def abandon(self) -> None:
        """Release the file, which was abandoned before."""


class TextFile:
    """Rows as CSV: RFC 4180 quoting, LF, UTF-8 without a BOM, absent is empty."""

    def __init__(self, file: HashedFile, columns: Sequence[str], *, packed: bool) -> None:
        self._columns = tuple(columns)
        # A name or a time in the gzip header would change the bytes of the same rows.
        self._packer = (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
            if packed
            else None
        )
        self._stream = self._packer or file
        self._blank = dict.fromkeys(self._columns, "")
        self._buffer = io.StringIO(newline="")
        self._writer = csv.writer(self._buffer, lineterminator="\n")
        self._writer.writerow(self._columns)

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        blank, put = self._blank, self._buffer.write
        between = len(blank) - 1
        for row in rows:
            # Joining is three times as fast as the csv writer; what needs quotes goes to that.
            cells = (blank | row).values()
            line = ",".join(cells)
            plain = line.count(",") == between and '"' not in line and "\n" not in line
            if not plain or "\r" in line:
                self._writer.writerow(cells)
            else:
                put(line + "\n")
        if self._buffer.tell() > _FLUSH_CHARACTERS:
            self._flush()

    def write_ragged(self, row: Row) -> None:
        """Write a row with one cell too many: a planted fault."""
        self._writer.writerow([*map(row.get, self._columns), "?"])

    def finish(self) -> None:
        """Write what is left."""
        self._flush()
        if self._packer:
            self._packer.close()

    def abandon(self) -> None:
        """Let go of the file."""
        if self._packer:
            self._packer.close()

    def _flush(self) -> None:
        self._stream.write(self._buffer.getvalue().encode())
        self._buffer.seek(0)
        self._buffer.truncate()


class ParquetFile:
    """Rows as Parquet, every column a string, absent is null."""

    def __init__(self, file: HashedFile, columns: Sequence[str]) -> None:
        self._schema = pa.schema([pa.field(column, pa.string()) for column in columns])
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), self._schema, compression="zstd"
        )
        self._waiting: list[Row] = []
        self._batches: list[pa.RecordBatch] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._waiting += rows
        if len(self._waiting) >= _BATCH_ROWS:
            self._batch()
        if len(self._batches) >= _GROUP_BATCHES:
            self._flush()

    def finish(self) -> None:
        """Write what is left."""
        self._batch()
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the file: pyarrow would write a footer whenever the writer is collected."""
        self._writer.close()

    def _batch(self) -> None:
        if not self._waiting:
            return
        columns = [
            pa.array([row.get(name) for row in self._waiting], pa.string())
            for name in self._schema.names
        ]
        self._batches.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._waiting.clear()

    def _flush(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches.clear()


class Folder:
    """The files of one extract while it is written.

    Attributes:
        rows: file name -> rows written to it, headers not counted.
    """

    def __init__(self, out: Path, *, ending: str, packed: bool, parts: int) -> None:
        self.rows: dict[str, int] = {}
        self._out = out
        self._ending, self._packed, self._parts = ending, packed, parts
        self._files: dict[str, HashedFile] = {}
        self._open: dict[str, RowFile] = {}
        self._part = 0

    def begin(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Create the folder, and a file for every table and part.

        Raises:
            UsageError: the folder holds files of another extract.
        """
        names = {self.name(table, part): table for part in range(self._parts) for table in columns}
        self._out.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._out.iterdir()):
            if _EXTRACT_FILE.fullmatch(path.name) and path.name not in names:
                raise UsageError(
                    f"{self._out} holds {path.name} of another extract; "
                    "name an empty folder, or take that one away"
                )
        for name, table in names.items():
            file = self._new(name)
            self.rows[name] = 0
            if self._ending == "parquet":
                self._open[name] = ParquetFile(file, columns[table])
            else:
                self._open[name] = TextFile(file, columns[table], packed=self._packed)

    def _new(self, name: str) -> HashedFile:
        file = HashedFile(self._out / f"{name}{_PARTIAL}")
        self._files[name] = file
        return file

    def turn(self, part: int) -> None:
        """Send what comes next to another part, from 0."""
        self._part = part

    def name(self, table: str, part: int | None = None) -> str:
        """Return the name of a table's file in the present or another part."""
        number = self._part if part is None else part
        suffix = f"-{number + 1:05d}" if self._parts > 1 else ""
        return f"{table}{suffix}.{self._ending}{'.gz' if self._packed else ''}"

    def write(self, table: str, rows: Sequence[Row]) -> int:
        """Write rows; return the number of the first as a spreadsheet shows it (header = 1)."""
        name = self.name(table)
        first = self.rows[name] + 2
        self._open[name].write(rows)
        self.rows[name] += len(rows)
        return first

    def write_ragged(self, table: str, row: Row) -> None:
        """Write a row with one cell too many.

        Raises:
            UsageError: the format cannot have such a row.
        """
        name = self.name(table)
        file = self._open[name]
        if not isinstance(file, TextFile):
            raise UsageError("a Parquet row cannot have a cell too many")
        file.write_ragged(row)
        self.rows[name] += 1

    def finish(self, manifest: Mapping[str, object], ledger: Iterable[Sequence[str]]) -> int:
        """Close and name every file, the manifest last; return the bytes of all.

        Args:
            manifest: what it says beside its `files`.
            ledger: rows of `faults.csv`, header included; no such file where there are none.
        """
        for opened in self._open.values():
            opened.finish()
        ledger = list(ledger)
        if ledger:
            self._say(LEDGER, _csv(ledger))
            self.rows[LEDGER] = len(ledger) - 1
        files = {
            name: {"rows": self.rows[name], "sha256": file.sha256}
            for name, file in self._files.items()
        }
        text = json.dumps({**manifest, "files": files}, indent=2, ensure_ascii=False) + "\n"
        self._say(MANIFEST, text)
        for file in self._files.values():
            file.close()
        # An older manifest stays until the last: should this be cut short, it does not match.
        for name, file in self._files.items():
            file.path.replace(self._out / name)
        if LEDGER not in self._files:
            (self._out / LEDGER).unlink(missing_ok=True)
        return sum(file.bytes for file in self._files.values())

    def _say(self, name: str, text: str) -> None:
        self._new(name).write(text.encode())

    def drop(self) -> None:
        """Delete the unfinished files."""
        for file in self._files.values():
            file.abandoned = True
            with suppress(OSError):  # the disk may be full when the buffer is flushed
                file.close()
            file.path.unlink(missing_ok=True)
        for opened in self._open.values():
            opened.abandon()


def _csv(rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


@contextmanager
def folder(out: Path, *, ending: str, packed: bool, parts: int) -> Iterator[Folder]:
    """Yield a folder to write into; unfinished files are deleted when the block is left.

    Raises:
        StoreError: the system refused to write, for example because the disk is full.
    """
    opened = Folder(out, ending=ending, packed=packed, parts=parts)
    try:
        yield opened
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or 'the system refused'}; "
            "nothing was left there"
        ) from None
    finally:
        opened.drop()
