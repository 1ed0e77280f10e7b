"""Rows of a table as a delimited file whose bytes depend on the rows alone.

A table has no order, and a database may return its rows in another one each time. So they are
ordered by their digests: the file's hash is a hash of the rows, and its row numbers stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from etl.columns.digests import row_digests, seed_of
from etl.errors import ExtractError
from etl.sources.files.stored_files import TableVersion, disk_error
from etl.sources.parsing.parquet import text_writer

_BITS: Final = 6
"""Rows are gathered by the first bits of their digests, and ordered one such file at a time."""
_HIGH: Final = "\0high"
_LOW: Final = "\0low"


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of one state of a table.

    Attributes:
        origin: the table and its state.
        schema: of the rows.
        batches: the rows, once.
    """

    origin: TableVersion
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def write_rows(rows: TableRows, path: Path) -> None:
    """Write rows as text: a header, then the rows in the order of their digests.

    Args:
        rows: the rows.
        path: the file, which is made; its name stands in messages.

    Raises:
        ExtractError: a column has no name or a type without exact text.
        StoreError: the disk is full.
    """
    names = [name.strip() for name in rows.schema.names]
    for number, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise ExtractError(f"{path.name}: column {number} has no name that a header can have")
    writers = [
        text_writer(field, f"{path.name}: column {number} ({field.name})")
        for number, field in enumerate(rows.schema, start=1)
    ]
    try:
        _write(rows.batches, names, writers, path)
    except OSError as error:
        raise disk_error(error) from None


def _write(
    batches: Iterable[pa.RecordBatch], names: list[str], writers: list[Any], path: Path
) -> None:
    seed = seed_of("", names)
    columns = [f"{number}" for number in range(len(names))]  # names may stand twice
    gathered = pa.schema(
        [(name, pa.string()) for name in columns] + [(_HIGH, pa.uint64()), (_LOW, pa.uint64())]
    )
    buckets = [path.with_name(f".{path.name}.{number}") for number in range(1 << _BITS)]
    files = [pa.OSFile(str(bucket), "wb") for bucket in buckets]
    sinks = [pa.ipc.new_stream(file, gathered) for file in files]
    for batch in batches:
        texts = [
            pc.fill_null(writer(column), "")
            for writer, column in zip(writers, batch.columns, strict=True)
        ]
        digests = row_digests(texts, seed)
        rows = pa.RecordBatch.from_arrays(
            [*texts, pa.array(digests.high), pa.array(digests.low)], schema=gathered
        )
        bucket = digests.high >> np.uint64(64 - _BITS)
        for number in np.unique(bucket).tolist():
            sinks[number].write_batch(rows.filter(pa.array(bucket == number)))
    for sink, file in zip(sinks, files, strict=True):
        sink.close()
        file.close()
    header = pa.schema([(name, pa.string()) for name in names])
    with path.open("xb") as target:
        path.chmod(0o600)
        with arrow_csv.CSVWriter(target, header) as writer:
            for number, bucket_path in enumerate(buckets):
                with pa.memory_map(str(bucket_path)) as stored:
                    rows = pa.ipc.open_stream(stored).read_all()
                    ordered = rows.sort_by([(_HIGH, "ascending"), (_LOW, "ascending")])
                    writer.write_table(ordered.select(columns).rename_columns(names))
                buckets[number].unlink()
