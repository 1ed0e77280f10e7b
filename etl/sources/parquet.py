"""Parquet files into batches of text, every value written out exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.arrow_text import text_writer
from etl.sources.extract_folder import Listed
from etl.sources.row_batches import Batch, refuse_long_rows

BATCH_ROWS: Final = 1 << 16


def parquet_headers(listed: Listed) -> tuple[str, ...]:
    """Return the column names of a Parquet file.

    Raises:
        ExtractError: it is broken, or a column has a type that has no exact text.
    """
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError):
        raise _broken(listed) from None
    for number, field in enumerate(schema, start=1):
        text_writer(field, f"{listed.name}: column {number} ({field.name})")
    return tuple(name.strip() for name in schema.names)


def parquet_rows(listed: Listed) -> int:
    """Return how many rows a Parquet file says it has."""
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            rows: int = file.metadata.num_rows
    except (pa.ArrowException, OSError):
        raise _broken(listed) from None
    return rows


def read_batches(listed: Listed, headers: tuple[str, ...], size: int) -> Iterator[Batch]:
    """Yield the rows of a Parquet file in order, as `delimited.read_batches` does.

    The first row has number 2, so that a table has the same row numbers in every format.

    Raises:
        ExtractError: it is broken, or has a row longer than `delimited.LONGEST_ROW`.
    """
    number = 2
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                numbers = np.arange(number, number + batch.num_rows, dtype=np.int64)
                number += batch.num_rows
                arrays = [
                    pc.fill_null(text_writer(field, listed.name)(column), "")
                    for field, column in zip(batch.schema, batch.columns, strict=True)
                ]
                rows = pa.RecordBatch.from_arrays(
                    [*arrays, pa.array(numbers)], [*headers, ROW_COLUMN]
                )
                refuse_long_rows(rows, listed.name)
                yield Batch(_filled(rows), (), size * (number - 2) // total)
    except (pa.ArrowException, OSError):
        raise _broken(listed) from None


def _filled(batch: pa.RecordBatch) -> pa.RecordBatch:
    blank = np.ones(batch.num_rows, dtype=bool)
    for column in batch.columns[:-1]:
        blank &= pc.equal(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        if not blank.any():
            return batch
    return batch.filter(pa.array(~blank))


def _broken(listed: Listed) -> ExtractError:
    return ExtractError(f"{listed.name}: the Parquet file is broken or cut off; copy it again")
